//! What every task of one gateway shares: the options, the locked state, the faults.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use crate::{
    connection::{self, Command},
    error::Error,
    faults::{Faults, Refusal, Stage},
    frame_filter::Mutes,
    hosted::{exchange::Reach, posting::Order, routing::Desk},
    options::Options,
    records::{Direction, FrameKind},
    script::{Event, Later},
    snapshot::Snapshot,
    state::{Link, State},
    token::Signer,
};

/// The tenant of every agent here; `protocol.md` knows tenants only by their id.
pub(crate) const TENANT: &str = "local-tenant";

pub(crate) struct Shared {
    pub(crate) options: Options,
    /// `http(s)://host:port`.
    pub(crate) url: String,
    pub(crate) signer: Arc<Signer>,
    /// To hosted agents.
    pub(crate) reach: Reach,
    pub(crate) faults: watch::Sender<Faults>,
    pub(crate) mutes: Arc<Mutes>,
    pub(crate) stop: watch::Sender<bool>,
    /// Steps of a script and ends of silences that wait for their time.
    pub(crate) later: mpsc::UnboundedSender<Later>,
    /// Counts the beginnings of silences and what else decides about silence.
    silences: AtomicU64,
    down_until: Mutex<Option<Instant>>,
    state: Mutex<State>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A condition of `wait_until` may panic (an assertion in a test) while it looks; what it saw is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        url: String,
        later: mpsc::UnboundedSender<Later>,
        orders: mpsc::UnboundedSender<Order>,
    ) -> Result<Self, Error> {
        let signer = Arc::new(Signer::random());
        let hosted = Desk::new(&options, Arc::clone(&signer), orders);
        let shared = Self {
            state: Mutex::new(State::new(&options, hosted)),
            reach: Reach::new(&options)?,
            later,
            silences: AtomicU64::new(0),
            faults: watch::Sender::new(options.faults.clone()),
            options,
            url,
            signer,
            mutes: Arc::default(),
            stop: watch::Sender::new(false),
            down_until: Mutex::new(None),
            changed: Condvar::new(),
        };
        shared.change_faults(|_| {});
        Ok(shared)
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&lock(&self.state))
    }

    /// Changes the state, wakes everybody who waits for a change, and does what the script wants done upon it.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, due) = {
            let mut state = lock(&self.state);
            let result = change(&mut state);
            (result, std::mem::take(&mut state.script.due))
        };
        self.changed.notify_all();
        for step in due {
            self.follow(step);
        }
        result
    }

    /// Tells the script of an event that changes nothing by itself.
    pub(crate) fn happened(&self, event: Event, instance_id: &str) {
        if self.read(|state| state.script.is_waiting()) {
            self.change(|state| state.happened(event, Some(instance_id)));
        }
    }

    pub(crate) fn wait_until(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&Snapshot<'_>) -> bool,
    ) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        loop {
            if condition(&Snapshot { state: &state }) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn change_faults(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.send_modify(change);
        let faults = self.faults.borrow();
        self.mutes.set(&faults);
    }

    /// Puts these faults in the place of all others; a silence that was to end by itself is theirs to decide.
    pub(crate) fn replace_faults(&self, faults: Faults) {
        self.silences.fetch_add(1, Ordering::SeqCst);
        self.change_faults(|now| *now = faults);
    }

    /// Falls silent for this long.
    pub(crate) fn fall_silent(&self, duration: Duration) {
        let silence = self.silences.fetch_add(1, Ordering::SeqCst) + 1;
        self.change_faults(|now| now.silent = true);
        // An error means that the gateway has been stopped.
        let _ = self.later.send(Later::EndSilence(duration, silence));
    }

    pub(crate) fn end_silence(&self, silence: u64) {
        if self.silences.load(Ordering::SeqCst) == silence {
            self.change_faults(|now| now.silent = false);
        }
    }

    /// Returns once the gateway says anything at all.
    pub(crate) async fn unsilenced(&self) {
        if self.faults.borrow().silent {
            let mut faults = self.faults.subscribe();
            drop(faults.wait_for(|faults| !faults.silent).await);
        }
    }

    pub(crate) fn take_refusal(&self, endpoint: crate::Endpoint) -> Option<Refusal> {
        let mut taken = None;
        self.faults.send_if_modified(|faults| {
            taken = faults.take_refusal(endpoint);
            taken.is_some()
        });
        taken
    }

    /// Returns once the gateway is not (or no longer) stalled at `stage`.
    pub(crate) async fn unstalled(&self, stage: Stage) {
        let mut faults = self.faults.subscribe();
        // A silent gateway still reads.
        let silent = |faults: &Faults| faults.silent && stage != Stage::Accept;
        let goes_on = |faults: &Faults| faults.stall != Some(stage) && !silent(faults);
        drop(faults.wait_for(goes_on).await);
    }

    /// Refuses TCP connections for this long.
    pub(crate) fn go_down(&self, duration: Duration) {
        *lock(&self.down_until) = Some(Instant::now() + duration);
    }

    pub(crate) fn is_down(&self) -> bool {
        lock(&self.down_until).is_some_and(|until| Instant::now() < until)
    }

    /// Asks for a close frame on every socket, or on those of one instance.
    pub(crate) fn close_sockets(&self, instance_id: Option<&str>, code: u16, reason: &str) -> bool {
        let links = self.links(instance_id);
        for link in &links {
            connection::close(self, link, code, reason);
        }
        !links.is_empty()
    }

    /// Resets every socket, or those of one instance.
    pub(crate) fn abort_sockets(&self, instance_id: Option<&str>) -> bool {
        let links = self.links(instance_id);
        self.change(|state| {
            for link in &links {
                state.unlink(link.key);
            }
        });
        for link in &links {
            link.abort.notify_one();
        }
        !links.is_empty()
    }

    pub(crate) fn links(&self, instance_id: Option<&str>) -> Vec<Link> {
        self.read(|state| match instance_id {
            Some(id) => state.links_of(id).cloned().collect(),
            None => state.links.values().cloned().collect(),
        })
    }

    /// Sends something on the socket of an instance; false if it has none.
    pub(crate) fn send(
        &self,
        instance_id: &str,
        kind: FrameKind,
        shown: &str,
        command: Command,
    ) -> bool {
        self.change(|state| {
            let Some(link) = state.link_of(instance_id).cloned() else {
                return false;
            };
            state.record_frame(&link, Direction::ToAgent, kind, shown);
            link.commands.send(command).is_ok()
        })
    }

    /// Drops the registration of an instance: its next upgrade gets 404 (protocol.md 4).
    pub(crate) fn forget(&self, instance_id: &str) -> bool {
        self.change(|state| {
            let agent = state.agents.get_mut(instance_id);
            let was = agent.is_some_and(|agent| std::mem::replace(&mut agent.registered, false));
            state.recount(instance_id);
            was
        })
    }
}
