//! Who is connected, what we wait for from each, and who has to go when there is no room.
//!
//! Whoever keeps us waiting longest goes first, so that clients which open connections and say nothing push each other
//! out, and not one that has something to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::Limits;

/// What a connection is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The head of a request, after a TLS handshake if there is one.
    Head,
    /// The body of a request.
    Body,
    /// Ourselves: a place for a large body.
    Queue,
    /// The rest of a large body.
    Large,
    /// Ourselves: the response, or the client's taking it.
    Response,
    /// Another request, perhaps.
    Idle,
    /// The client's end, after ours.
    Linger,
}

/// Why a connection is ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It took too long.
    Late,
    /// Another needed its seat, or the server ends.
    Unseated,
}

/// One connection's seat.
pub(super) struct Seat {
    state: Mutex<State>,
    /// Wakes its task.
    pub(super) waker: AtomicWaker,
}

struct State {
    phase: Phase,
    since: Instant,
    /// What has come of a body since then.
    bytes: usize,
    /// Since when the client takes nothing of what is written.
    stalled: Option<Instant>,
    ended: bool,
    /// No further request is taken.
    closing: bool,
}

impl Seat {
    fn new(closing: bool) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Head,
                since: Instant::now(),
                bytes: 0,
                stalled: None,
                ended: false,
                closing,
            }),
            waker: AtomicWaker::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        state.phase = phase;
        state.since = Instant::now();
        state.bytes = 0;
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Bytes have come: of an idle client the first of its next request.
    pub(super) fn heard(&self) {
        if self.phase() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// So much of a body has come.
    pub(super) fn received(&self, bytes: usize) {
        self.lock().bytes += bytes;
    }

    /// When whoever sits there has to give way to others: what it sent of a body has bought it time.
    fn gives_way(&self, patience: Duration, pace: u32) -> Instant {
        let state = self.lock();
        if !matches!(state.phase, Phase::Body | Phase::Large) {
            return state.since;
        }
        let bytes = u32::try_from(state.bytes).unwrap_or(u32::MAX);
        let bought = Duration::from_secs(1) * bytes / pace;
        state.since + patience + bought
    }

    /// Bytes were taken, or could not be written.
    pub(super) fn wrote(&self, taken: bool) {
        let mut state = self.lock();
        if taken {
            state.stalled = None;
        } else {
            state.stalled.get_or_insert_with(Instant::now);
        }
    }

    /// When it has waited long enough. The body's time is kept by those who read it.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let state = self.lock();
        let limit = match state.phase {
            Phase::Head => Some(limits.header),
            Phase::Idle => Some(limits.idle),
            Phase::Linger => Some(limits.linger),
            Phase::Body | Phase::Queue | Phase::Large | Phase::Response => None,
        };
        let phase = limit.map(|limit| state.since + limit);
        let stall = state.stalled.map(|since| since + limits.stall);
        phase.into_iter().chain(stall).min()
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.lock().stalled.is_some()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.lock().ended
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    fn end(&self) {
        self.lock().ended = true;
        self.waker.wake();
    }
}

/// All seats.
pub(super) struct Seats {
    table: Mutex<Table>,
    limit: usize,
    patience: Duration,
    pace: u32,
    /// Told when the last seat is free.
    empty: Notify,
}

#[derive(Default)]
struct Table {
    taken: BTreeMap<u64, Arc<Seat>>,
    next: u64,
    closing: bool,
}

impl Seats {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            limit: limits.connections,
            patience: limits.patience,
            pace: limits.pace,
            empty: Notify::new(),
        })
    }

    /// A seat, if need be that of another: of one that has not asked anything yet before that of one that has.
    pub(super) fn take(self: &Arc<Self>) -> Option<Taken> {
        let mut table = lock(&self.table);
        if table.taken.len() >= self.limit {
            let ranks = [
                Phase::Linger,
                Phase::Head,
                Phase::Body,
                Phase::Large,
                Phase::Queue,
                Phase::Idle,
            ];
            let now = Instant::now();
            let mut victims = ranks.iter().filter_map(|phase| self.first(&table, *phase));
            let (victim, _) = victims.find(|(_, gives_way)| *gives_way <= now)?;
            table.taken.remove(&victim)?.end();
        }
        let (id, seat) = (table.next, Arc::new(Seat::new(table.closing)));
        table.next += 1;
        table.taken.insert(id, Arc::clone(&seat));
        let seats = Arc::clone(self);
        Some(Taken { seats, id, seat })
    }

    /// When the slowest large body has to give way; `None` while there is none.
    pub(super) fn slowest_body(&self) -> Option<Instant> {
        let first = self.first(&lock(&self.table), Phase::Large);
        first.map(|(_, gives_way)| gives_way)
    }

    /// Ends the connection with the slowest large body, if it has to give way.
    pub(super) fn end_slowest_body(&self) {
        let mut table = lock(&self.table);
        if let Some((id, gives_way)) = self.first(&table, Phase::Large)
            && gives_way <= Instant::now()
            && let Some(seat) = table.taken.remove(&id)
        {
            seat.end();
        }
    }

    /// Who in this phase has to give way first, and when.
    fn first(&self, table: &Table, phase: Phase) -> Option<(u64, Instant)> {
        let seats = table.taken.iter();
        seats
            .filter(|(_, seat)| seat.phase() == phase)
            .map(|(id, seat)| (*id, seat.gives_way(self.patience, self.pace)))
            .min_by_key(|(_, gives_way)| *gives_way)
    }

    /// Lets every connection end with the response that it waits for.
    pub(super) fn close(&self) {
        let mut table = lock(&self.table);
        table.closing = true;
        for seat in table.taken.values() {
            seat.lock().closing = true;
            if seat.phase() == Phase::Head {
                seat.end();
            }
            seat.waker.wake();
        }
    }

    /// Ends every connection.
    pub(super) fn end(&self) {
        for seat in lock(&self.table).taken.values() {
            seat.end();
        }
    }

    /// Waits until nobody is there.
    pub(super) async fn emptied(&self) {
        loop {
            let told = self.empty.notified();
            if lock(&self.table).taken.is_empty() {
                return;
            }
            told.await;
        }
    }

    #[cfg(test)]
    pub(super) fn phases(&self) -> Vec<Phase> {
        lock(&self.table)
            .taken
            .values()
            .map(|seat| seat.phase())
            .collect()
    }
}

/// A seat that is taken until this is dropped.
pub(super) struct Taken {
    seats: Arc<Seats>,
    id: u64,
    seat: Arc<Seat>,
}

impl Taken {
    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut table = lock(&self.seats.table);
        table.taken.remove(&self.id);
        if table.taken.is_empty() {
            self.seats.empty.notify_waiters();
        }
    }
}

/// Every change under these locks is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
