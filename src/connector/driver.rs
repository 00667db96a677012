//! Carries out what the machine asks for, on the I/O thread. Decides nothing.

use std::cell::Cell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, Stream as _};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::Delivery;
use super::external;
use super::link::{Input, Link};
use super::shared::{Core, DriverState, Shared};
use super::transport::Transport;
use crate::error::{Error, ErrorKind};
use crate::machine::action::{Action, ConnectionNo, Dialed, Reply, RequestId};
use crate::machine::event::{Event, EventKind};
use crate::net::Socket;
use crate::runtime::{self, Runtime, SleepWatch, Sleeper};

/// How long answers of one batch may wait for each other. Until then the driver looks for them by itself, so that
/// one wake-up and one write serve a batch, while a handler that takes long holds up nobody's answer but its own.
const LINGER: Duration = Duration::from_millis(1);

/// How often the driver goes round before it lets other connectors have the thread.
const ROUNDS: usize = 32;

/// Makes the driver of a connector; what is returned starts it. To be called, or dropped, without the machine's lock: a
/// runtime that is just being shut down drops the driver there and then, and its end takes that lock.
pub(super) fn prepare(shared: &Arc<Shared>) -> Result<impl FnOnce() + use<>, Error> {
    let runtime = runtime::get()?;
    let transport = Transport::new(shared, Arc::clone(&runtime))?;
    let handle = runtime.handle().clone();
    let (mut server, mut warning) = (None, None);
    if let Some(listening) = &shared.listening {
        server = listening.start(shared, &handle)?;
        warning = server.is_some().then(|| listening.warning()).flatten();
    }
    // Made here: the runtime may end without having polled the driver once.
    let ending = Ending(Arc::clone(shared));
    let beginning = Box::new(Beginning {
        warning,
        runtime,
        transport,
    });
    Ok(move || {
        handle.spawn(async move {
            // On the I/O thread, which the watch for suspensions belongs to.
            let driver = beginning.begin(&ending.0);
            if AssertUnwindSafe(driver).catch_unwind().await.is_err() {
                let error = panicked();
                let event = Event::new(EventKind::Failed, error.to_json());
                ending.0.sink.deliver(&mut vec![Delivery::Event(event)]);
                ending.0.abandon(&error);
            }
            // What was answered last has still to leave.
            if let Some(server) = server {
                server.end().await;
            }
        });
    })
}

/// What the driver is made of, where its task does not have to have the room for it to the end.
struct Beginning {
    warning: Option<Event>,
    runtime: Arc<Runtime>,
    transport: Transport,
}

impl Beginning {
    #[allow(
        clippy::boxed_local,
        reason = "the box is to end here, and not with the task"
    )]
    fn begin(self: Box<Self>, shared: &Arc<Shared>) -> Driver {
        if let Some(event) = self.warning {
            shared.sink.deliver(&mut vec![Delivery::Event(event)]);
        }
        Driver::new(Arc::clone(shared), &self.runtime, self.transport)
    }
}

fn panicked() -> Error {
    Error::new(
        ErrorKind::Internal,
        "PANIC",
        "a bug in libsvantic: the connector's driver panicked and was ended",
    )
    .hint("free this connector, create another, and report the bug")
}

/// However the driver ends, also by the runtime's: nobody is left waiting.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let shared = &self.0;
        let text = "the library was shut down";
        shared.abandon(&Error::new(ErrorKind::Cancelled, "CANCELLED", text));
        shared.sink.closed();
        shared.lock().driver = DriverState::Ended;
        shared.ended.notify_all();
    }
}

impl Shared {
    /// Fails every operation that is still waited for; later ones find no driver.
    fn abandon(&self, error: &Error) {
        self.lock().driver = DriverState::Ending;
        // What was commanded behind the driver's back has its own answer, such as that the connector is closed.
        self.pump();
        let completions = std::mem::take(&mut self.lock().completions);
        for done in completions.into_values() {
            done.call(Err(error.clone()));
        }
        self.abandon_calls();
    }
}

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
    /// `None` while there are none: it is long before there are any again.
    requests: Option<FuturesUnordered<Exchange>>,
    dial: Option<(ConnectionNo, BoxFuture<'static, Result<Socket, Dialed>>)>,
    link: Option<Link>,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Duration>,
    /// Until when answers need not wake the driver.
    linger_until: Option<Duration>,
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
        Self {
            shared,
            transport,
            _sleep_watch: sleep_watch,
            requests: None,
            dial: None,
            link: None,
            timer: Box::pin(sleep_until(Instant::now())),
            timer_at: None,
            linger_until: None,
            left: None,
        }
    }

    /// Takes in what the network has for us.
    fn gather(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) {
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
            let dialed = match result {
                Ok(socket) => {
                    self.link = Some(Link::new(no, socket));
                    Dialed::Open
                }
                Err(dialed) => dialed,
            };
            inputs.push(Input::Dialed(no, Box::new(dialed)));
        }
        if let Some(link) = &mut self.link
            && !link.read(cx, inputs)
        {
            self.link = None;
        }
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
        if woken_up || machine.poll_timeout().is_some_and(|at| at <= now.mono) {
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
            room.actions.push(action);
        }
        if delivered > 1 && !self.shared.sink.runs_at_once() {
            self.linger_until = Some(now.mono + LINGER);
        } else {
            self.linger_until.take_if(|until| *until <= now.mono);
        }
        let next = machine.poll_timeout();
        core.in_link += std::mem::take(&mut core.handed_over);
        core.lingering = self.linger_until.is_some();
        match (next, self.linger_until) {
            (Some(next), Some(until)) => Some(next.min(until)),
            (next, until) => next.or(until),
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
                    self.shared.sink.deliver(batch);
                    let done = self.shared.lock().take_completion(id);
                    if let Some(done) = done {
                        done.call(*result);
                    }
                }
                Action::Respond(call, response) => self.shared.respond(call, response),
                Action::Finished => finished = true,
            }
        }
        if !batch.is_empty() {
            self.shared.sink.deliver(batch);
        }
        if let Some(link) = &mut self.link
            && !link.flush(cx, inputs)
        {
            self.link = None;
        }
        if self.shared.raw {
            let waiting = self.link.as_ref().map_or(0, Link::waiting_bytes);
            self.shared.lock().in_link = waiting;
        }
        finished
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
        let room = this.left.take().or_else(|| SPARE.take());
        let mut room = room.unwrap_or_default();
        let polled = this.go_round(cx, &mut room);
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
            self.gather(cx, &mut room.inputs);
            let heard = !room.inputs.is_empty();
            let shared = self.shared.external.then(|| Arc::clone(&self.shared));
            let turn = shared.as_ref().map(|shared| shared.turn());
            let next = self.consult(room);
            let acted = !room.actions.is_empty();
            if self.act(cx, room) {
                return Poll::Ready(());
            }
            drop(turn);
            let due = self.rearm(next, cx);
            let more = self.link.as_ref().is_some_and(Link::has_more);
            if !heard && !acted && !due && !more && room.inputs.is_empty() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
