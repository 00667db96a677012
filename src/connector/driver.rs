//! Carries out what the machine asks for, on the I/O thread. Decides nothing.

mod beginning;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream as _};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::Delivery;
use super::external;
use super::link::{Input, Link, Read};
use super::shared::{Core, Shared};
use super::transport::Transport;
use crate::machine::action::{Action, ConnectionNo, Dialed, Reply, RequestId};
use crate::net::Socket;
use crate::runtime::{BusyPoll, Runtime, SleepWatch, Sleeper};
pub(super) use beginning::prepare;

/// How long answers of one batch may wait for each other. Until then the driver looks for them by itself, so that
/// one wake-up and one write serve a batch, while a handler that takes long holds up nobody's answer but its own.
const LINGER: Duration = Duration::from_millis(1);

/// How often the driver goes round before it lets other connectors have the thread.
const ROUNDS: usize = 32;

/// A request under way.
struct Exchange {
    id: RequestId,
    reply: BoxFuture<'static, Reply>,
}

impl Future for Exchange {
    type Output = (RequestId, Reply);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id;
        self.reply.as_mut().poll(cx).map(|reply| (id, reply))
    }
}

/// Room for what goes through a driver while it is polled. Between two polls it is empty, so the drivers of a thread share it.
#[derive(Default)]
struct Room {
    inputs: Vec<Input>,
    actions: Vec<Action>,
    batch: Vec<Delivery>,
}

impl Room {
    fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.actions.is_empty() && self.batch.is_empty()
    }
}

thread_local! {
    static SPARE: Cell<Option<Box<Room>>> = const { Cell::new(None) };
}

struct Driver {
    shared: Arc<Shared>,
    transport: Transport,
    /// Held so that suspensions are noticed while this runs.
    _sleep_watch: Option<Arc<SleepWatch>>,
    /// Keeps the thread awake after traffic, where that is wanted.
    busy_poll: Option<Arc<BusyPoll>>,
    /// `None` while there are none: it is long before there are any again.
    requests: Option<FuturesUnordered<Exchange>>,
    dial: Option<(ConnectionNo, BoxFuture<'static, Result<Socket, Dialed>>)>,
    /// In its berth while this is not being polled.
    link: Option<Box<Link>>,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Duration>,
    /// Until when answers need not wake the driver.
    linger_until: Option<Duration>,
    /// Whether a timer has run out or an operation has ended in this round. Then room is given back, which dispatches, one
    /// after the other, would only need again.
    gives_back: bool,
    /// What the last poll has left to the next.
    left: Option<Box<Room>>,
}

impl Driver {
    fn new(shared: Arc<Shared>, runtime: &Runtime, transport: Transport) -> Self {
        let sleep_watch = runtime.sleep_watch();
        if let Some(watch) = &sleep_watch {
            let sleeper: Arc<dyn Sleeper> = Arc::clone(&shared) as _;
            watch.join(Arc::downgrade(&sleeper));
        }
        let busy_poll = (!shared.busy_poll.is_zero()).then(|| runtime.busy_poll());
        Self {
            shared,
            transport,
            _sleep_watch: sleep_watch,
            busy_poll,
            requests: None,
            dial: None,
            link: None,
            timer: Box::pin(sleep_until(Instant::now())),
            timer_at: None,
            linger_until: None,
            gives_back: false,
            left: None,
        }
    }

    /// Takes in what the network has for us. `true` if there is more of it.
    fn gather(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) -> bool {
        let mut more = false;
        if let Some(requests) = &mut self.requests {
            while let Poll::Ready(Some((id, reply))) = Pin::new(&mut *requests).poll_next(cx) {
                inputs.push(Input::Replied(id, Box::new(reply)));
            }
            if requests.is_empty() {
                self.requests = None;
            }
        }
        if let Some((no, dial)) = &mut self.dial
            && let Poll::Ready(result) = dial.as_mut().poll(cx)
        {
            let no = *no;
            self.dial = None;
            more = true;
            let dialed = match result {
                Ok(socket) => {
                    self.link = Some(Box::new(Link::new(no, socket)));
                    Dialed::Open
                }
                Err(dialed) => dialed,
            };
            inputs.push(Input::Dialed(no, Box::new(dialed)));
        }
        match self.link.as_mut().map(|link| link.read(cx, inputs)) {
            Some(Read::End) => self.link = None,
            Some(Read::Part) => more = true,
            Some(Read::All) | None => {}
        }
        more
    }

    /// Tells the machine and asks what to do. Returns the time of its next timer.
    fn consult(&mut self, room: &mut Room) -> Option<Duration> {
        let mut core = self.shared.lock();
        // Not before: threads that call meanwhile give the machine their time as well.
        let now = self.shared.now();
        let Core {
            machine, observed, ..
        } = &mut *core;
        for input in room.inputs.drain(..) {
            match input {
                Input::Replied(id, reply) => machine.handle_reply(now, id, &reply),
                Input::Dialed(no, dialed) => machine.handle_dialed(now, no, *dialed),
                Input::Inbound(no) => machine.handle_inbound(now, no),
                Input::Text(no, text) => machine.handle_text(now, no, text),
                Input::Pong(no, payload) => machine.handle_pong(now, no, &payload),
                Input::Closed(no, end) => machine.handle_closed(now, no, &end),
            }
        }
        if self.shared.raw && !self.shared.sink.has_room() {
            machine.handle_overrun(now);
        }
        // Only timers look at the kernel's books: nothing that a dispatch causes does.
        let woken_up = self.shared.woken_up.swap(false, Ordering::Acquire);
        self.gives_back = woken_up || machine.poll_timeout().is_some_and(|at| at <= now.mono);
        if self.gives_back {
            let now = self.shared.clock.now_and_slept();
            if let Some(link) = &self.link
                && machine.wants_progress()
            {
                machine.handle_progress(now, link.no, link.progress());
            }
            machine.handle_backlog(now, self.shared.sink.oldest_waiting());
            machine.handle_timeout(now);
        }
        let mut delivered = 0;
        while let Some(action) = machine.poll_action() {
            observed.note(now, &action);
            delivered += usize::from(matches!(action, Action::Deliver(_)));
            self.gives_back |= matches!(action, Action::Complete(..));
            room.actions.push(action);
        }
        if self.gives_back {
            machine.give_back_room();
        }
        if delivered > 1 && !self.shared.sink.runs_at_once() {
            self.linger_until = Some(now.mono + LINGER);
        } else {
            self.linger_until.take_if(|until| *until <= now.mono);
        }
        let next = machine.poll_timeout();
        core.in_link += std::mem::take(&mut core.handed_over);
        core.lingering = self.linger_until.is_some();
        core.armed = match (next, self.linger_until) {
            (Some(next), Some(until)) => Some(next.min(until)),
            (next, until) => next.or(until),
        };
        core.armed
    }

    /// Whether there is more to do or to hear of once this is done. Not behind what is only written, or handed to other threads:
    /// what comes of that and needs the driver wakes it.
    fn leads_on(&self, action: &Action) -> bool {
        match action {
            Action::Send(..) | Action::Ping(..) | Action::Frame(_) | Action::Event(_) => false,
            Action::Deliver(_) => self.shared.sink.runs_at_once(),
            _ => true,
        }
    }

    /// Does what was asked for. `true` when the machine has finished.
    fn act(&mut self, cx: &mut Context<'_>, room: &mut Room) -> bool {
        let mut finished = self.shared.external && self.shared.lock().finished;
        let Room {
            inputs,
            actions,
            batch,
        } = room;
        for action in actions.drain(..) {
            let action = if self.shared.external {
                match external::delivery(action) {
                    Ok(delivery) => {
                        batch.push(delivery);
                        continue;
                    }
                    Err(action) => action,
                }
            } else {
                action
            };
            match action {
                Action::Request(request) => {
                    let id = request.id;
                    let reply = self.transport.request(&self.shared, *request, batch);
                    let requests = self.requests.get_or_insert_default();
                    requests.push(Exchange { id, reply });
                }
                Action::AbortRequest(id) => {
                    let requests = self.requests.take().into_iter().flatten();
                    let others = requests.filter(|exchange| exchange.id != id);
                    self.requests = Some(others.collect());
                }
                Action::Dial(dial) => {
                    self.link = None;
                    let no = dial.conn;
                    self.dial = Some((no, self.transport.dial(&self.shared, dial, batch)));
                }
                Action::Send(no, text) => self.write(no, Message::Text(text)),
                Action::Ping(no, payload) => {
                    if let Some(link) = self.link.as_mut().filter(|link| link.no == no) {
                        link.ping(payload);
                    }
                }
                Action::Close(no, code, reason) => {
                    let frame = CloseFrame {
                        code: CloseCode::from(code),
                        reason: reason.into_owned().into(),
                    };
                    self.write(no, Message::Close(Some(frame)));
                }
                Action::Abort(no) => {
                    self.dial.take_if(|(dialing, _)| *dialing == no);
                    self.link.take_if(|link| link.no == no);
                }
                Action::Deliver(dispatch) => batch.push(Delivery::Dispatch(dispatch)),
                Action::Frame(text) => batch.push(Delivery::Frame(text)),
                Action::Event(event) => batch.push(Delivery::Event(event)),
                Action::Complete(id, result) => {
                    // What happened before is told before.
                    self.deliver(batch);
                    let done = self.shared.lock().take_completion(id);
                    if let Some(done) = done {
                        done.call(*result);
                    }
                }
                Action::Respond(call, response) => self.shared.respond(call, response),
                Action::Finished => finished = true,
            }
        }
        if self.shared.external {
            // In its turn; what others hear can wait until all is written.
            self.deliver(batch);
        }
        if let Some(link) = &mut self.link
            && !link.flush(cx, inputs)
        {
            self.link = None;
        }
        if let Some(link) = self.link.as_mut().filter(|_| self.gives_back) {
            link.give_back_room();
        }
        if self.shared.raw {
            let waiting = self.link.as_ref().map_or(0, |link| link.waiting_bytes());
            self.shared.lock().in_link = waiting;
        }
        finished
    }

    fn deliver(&self, batch: &mut Vec<Delivery>) {
        if !batch.is_empty() {
            self.shared.sink.deliver(batch);
        }
    }

    fn write(&mut self, no: ConnectionNo, message: Message) {
        if let Some(link) = self.link.as_mut().filter(|link| link.no == no) {
            link.push(message);
        }
    }

    /// Sleeps until the machine's next timer. `true` if that is now.
    fn rearm(&mut self, at: Option<Duration>, cx: &mut Context<'_>) -> bool {
        let Some(at) = at else {
            self.timer_at = None;
            return false;
        };
        if self.timer_at != Some(at) {
            self.timer_at = Some(at);
            let instant = Instant::from_std(self.shared.clock.instant(at));
            self.timer.as_mut().reset(instant);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Registered before looking, so that a command given in between is not slept through.
        this.shared.waker.register(cx.waker());
        let Ok(link) = this.shared.berth.take() else {
            // Whoever has it wakes this one.
            return Poll::Pending;
        };
        this.link = link;
        let room = this.left.take().or_else(|| SPARE.take());
        let mut room = room.unwrap_or_default();
        let polled = this.go_round(cx, &mut room);
        if polled.is_pending()
            && let Some(mut link) = this.link.take()
        {
            link.leave(cx.waker());
            this.shared.berth.put(link);
        }
        // Last: whoever answers these may run at once, in this thread's place, and finds the link in its berth.
        this.deliver(&mut room.batch);
        if room.is_empty() {
            SPARE.set(Some(room));
        } else {
            this.left = Some(room);
        }
        polled
    }
}

impl Driver {
    fn go_round(&mut self, cx: &mut Context<'_>, room: &mut Room) -> Poll<()> {
        for _ in 0..ROUNDS {
            let mut again = self.gather(cx, &mut room.inputs);
            if let Some(busy_poll) = &self.busy_poll
                && !room.inputs.is_empty()
            {
                busy_poll.traffic(self.shared.busy_poll);
            }
            let shared = self.shared.external.then(|| Arc::clone(&self.shared));
            let turn = shared.as_ref().map(|shared| shared.turn());
            let next = self.consult(room);
            again |= room.actions.iter().any(|action| self.leads_on(action));
            if self.act(cx, room) {
                return Poll::Ready(());
            }
            drop(turn);
            again |= self.link.as_ref().is_some_and(|link| link.has_more());
            again |= !room.inputs.is_empty();
            // Not before the answers of this round have left.
            if !again && !self.rearm(next, cx) {
                return Poll::Pending;
            }
            self.deliver(&mut room.batch);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
