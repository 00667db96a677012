//! What the application's threads and the driver have in common: the machine behind its lock, and the way to wake the
//! driver.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::task::AtomicWaker;

use super::berth::Berth;
use super::clock::Clock;
use super::external;
use super::listening::Listening;
use super::observed::Observed;
use super::serve::{Responder, Serving};
use super::{Completion, Delivery, Sink};
use crate::config::DeploymentMode;
use crate::machine::Machine;
use crate::machine::action::{Action, CallId, OperationId};
use crate::machine::time::Now;
use crate::net::proxy::{Proxies, Proxy};
use crate::net::tls::Trust;
use crate::protocol::origin::{BaseUrl, ConnectPolicy};
use crate::rare::{Rare, at_rest};
use crate::runtime::Sleeper;

pub(super) struct Shared {
    pub(super) core: Mutex<Core>,
    pub(super) ended: Condvar,
    /// Wakes the driver.
    pub(super) waker: AtomicWaker,
    /// Where the link is between two polls of the driver.
    pub(super) berth: Berth,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) trust: Arc<Trust>,
    pub(super) proxies: Proxies,
    /// The way of the HTTP calls.
    pub(super) base_proxy: Option<Box<Proxy>>,
    /// Where the library itself serves.
    pub(super) listening: Option<Box<Listening>>,
    pub(super) policy: Arc<ConnectPolicy>,
    pub(super) mode: DeploymentMode,
    /// Whether this is a link without an agent above it.
    pub(super) raw: bool,
    /// Whether the application carries the bytes. Then both sides carry the machine's actions out, in turns.
    pub(super) external: bool,
    pub(super) turn: Mutex<()>,
    /// What serving requests needs, where they may be served.
    pub(super) serving: Option<Box<Serving>>,
    pub(super) instance_id: String,
    pub(super) max_frame_bytes: usize,
    pub(super) busy_poll: Duration,
    pub(super) timeout: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) clock: Clock,
    /// The machine was suspended, which the driver has not heard of yet.
    pub(super) woken_up: AtomicBool,
}

pub(super) struct Core {
    pub(super) machine: Machine,
    pub(super) observed: Observed,
    /// Whether the driver looks for answers by itself in a moment, so that they need not wake it.
    pub(super) lingering: bool,
    /// When the driver wakes by itself.
    pub(super) armed: Option<Duration>,
    pub(super) completions: HashMap<OperationId, Completion>,
    pub(super) next_operation: OperationId,
    /// Who waits for the responses to calls.
    pub(super) calls: Rare<Calls>,
    pub(super) next_call: CallId,
    pub(super) driver: DriverState,
    /// Bytes of frames that the driver has not heard of yet, and of those that wait in its link.
    pub(super) handed_over: usize,
    pub(super) in_link: usize,
    /// The machine has finished, which the driver has not heard of yet.
    pub(super) finished: bool,
}

/// Who waits for the responses to calls.
pub(super) type Calls = HashMap<CallId, Responder>;
at_rest!(Calls);

impl Core {
    /// Who waits for this operation, which has ended.
    pub(super) fn take_completion(&mut self, id: OperationId) -> Option<Completion> {
        let done = self.completions.remove(&id);
        if self.completions.is_empty() {
            // They are rare, and an empty map keeps its room.
            self.completions.shrink_to_fit();
        }
        done
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DriverState {
    NotStarted,
    Running,
    /// Its last words are being delivered.
    Ending,
    Ended,
}

impl Sleeper for Shared {
    fn woken_up(&self) {
        self.woken_up.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Shared {
    /// The mesh.
    pub(super) fn base(&self) -> &BaseUrl {
        &self.policy.base
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// The machine is consistent between its calls, so a panic elsewhere while the lock was held is no
    /// reason to refuse everybody.
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held from asking the machine until what it wants is delivered, so that two threads which do so deliver in
    /// the machine's order. Only where there are two.
    pub(super) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.external
            .then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sees to it that a command takes effect: by the driver, or here and now where it needs no I/O.
    pub(super) fn settle(&self) {
        if self.external {
            self.pump();
        }
        self.waker.wake();
    }

    /// Carries out what needs no I/O.
    pub(super) fn pump(&self) {
        let _turn = self.turn();
        let mut batch = Vec::new();
        let now = self.now();
        loop {
            let mut core = self.lock();
            let Some(action) = core.machine.poll_action() else {
                break;
            };
            core.observed.note(now, &action);
            match action {
                Action::Event(event) => batch.push(Delivery::Event(event)),
                Action::Complete(id, result) => {
                    let done = core.take_completion(id);
                    drop(core);
                    if let Some(done) = done {
                        self.sink.deliver(&mut batch);
                        done.call(*result);
                    }
                }
                Action::Respond(call, response) => {
                    drop(core);
                    self.respond(call, response);
                }
                Action::Finished => core.finished = true,
                action if self.external => batch.extend(external::delivery(action).ok()),
                _ => {}
            }
        }
        self.sink.deliver(&mut batch);
    }
}
