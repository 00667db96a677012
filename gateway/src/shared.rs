//! What every task of one gateway shares: the options, the locked state, the faults.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    connection,
    faults::{Faults, Refusal, Stage},
    frame_filter::Mutes,
    options::Options,
    state::{Link, Snapshot, State},
    token::Signer,
};

/// The tenant of every agent here; `protocol.md` knows tenants only by their id.
pub(crate) const TENANT: &str = "local-tenant";

pub(crate) struct Shared {
    pub(crate) options: Options,
    /// `http(s)://host:port`.
    pub(crate) url: String,
    pub(crate) signer: Signer,
    pub(crate) faults: watch::Sender<Faults>,
    pub(crate) mutes: Arc<Mutes>,
    pub(crate) stop: watch::Sender<bool>,
    down_until: Mutex<Option<Instant>>,
    state: Mutex<State>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A condition of `wait_until` may panic (an assertion in a test) while it looks; what it saw is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(options: Options, url: String) -> Self {
        let shared = Self {
            state: Mutex::new(State::new(
                options.frame_log_limit,
                options.resend_unanswered,
            )),
            faults: watch::Sender::new(options.faults.clone()),
            options,
            url,
            signer: Signer::random(),
            mutes: Arc::default(),
            stop: watch::Sender::new(false),
            down_until: Mutex::new(None),
            changed: Condvar::new(),
        };
        shared.change_faults(|_| {});
        shared
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&lock(&self.state))
    }

    /// Changes the state and wakes everybody who waits for a change.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut lock(&self.state));
        self.changed.notify_all();
        result
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
        self.mutes
            .set(faults.no_pong, faults.stall == Some(Stage::Close));
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
        drop(faults.wait_for(|faults| faults.stall != Some(stage)).await);
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
        let wanted = |link: &&Link| instance_id.is_none_or(|id| link.instance_id == id);
        self.read(|state| state.links.values().filter(wanted).cloned().collect())
    }

    /// Drops the registration of an instance: its next upgrade gets 404 (protocol.md 4).
    pub(crate) fn forget(&self, instance_id: &str) -> bool {
        self.change(|state| {
            let agent = state.agents.get_mut(instance_id);
            agent.is_some_and(|agent| std::mem::replace(&mut agent.registered, false))
        })
    }
}
