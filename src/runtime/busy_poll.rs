//! Looking for traffic instead of waiting for it: for a while after the last, the I/O thread asks the kernel again and again
//! and does not go to sleep. To wake a sleeping core takes longer than to answer a dispatch.

use std::future::Future as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::task::AbortHandle;

/// The search of one runtime, for the agents that ask for it. It ends with the last that holds it.
pub(crate) struct BusyPoll {
    search: Arc<Search>,
    task: AbortHandle,
}

struct Search {
    born: Instant,
    /// Until when it goes on, in nanoseconds of its life.
    until: AtomicU64,
    asleep: AtomicBool,
    waker: AtomicWaker,
    /// How often the kernel was asked.
    #[cfg(test)]
    looks: AtomicU64,
}

impl Search {
    fn is_over(&self) -> bool {
        nanos(self.born.elapsed()) >= self.until.load(Ordering::SeqCst)
    }
}

impl BusyPoll {
    /// Starts it, asleep. Called on the I/O thread.
    pub(super) fn start() -> Arc<Self> {
        let search = Arc::new(Search {
            born: Instant::now(),
            until: AtomicU64::new(0),
            asleep: AtomicBool::new(true),
            waker: AtomicWaker::new(),
            #[cfg(test)]
            looks: AtomicU64::new(0),
        });
        let looking = Arc::downgrade(&search);
        let task = tokio::spawn(std::future::poll_fn(move |cx| look(&looking, cx)));
        Arc::new(Self {
            search,
            task: task.abort_handle(),
        })
    }

    /// Something came in: whatever comes within this time finds the thread awake. Never blocks.
    pub(crate) fn traffic(&self, span: Duration) {
        let search = &self.search;
        let until = nanos(search.born.elapsed() + span);
        search.until.fetch_max(until, Ordering::SeqCst);
        if search.asleep.swap(false, Ordering::SeqCst) {
            search.waker.wake();
        }
    }
}

impl Drop for BusyPoll {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn look(search: &Weak<Search>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(search) = search.upgrade() else {
        return Poll::Ready(());
    };
    if search.is_over() {
        search.waker.register(cx.waker());
        search.asleep.store(true, Ordering::SeqCst);
        if search.is_over() {
            return Poll::Pending;
        }
        search.asleep.store(false, Ordering::SeqCst);
    }
    #[cfg(test)]
    search.looks.fetch_add(1, Ordering::Relaxed);
    // Whoever waits for this processor goes first: where there is no other, the handlers do.
    thread::yield_now();
    // Not only to be polled again, but behind a look at the sockets.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
    Poll::Pending
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
impl BusyPoll {
    /// How often the kernel was asked so far, if the thread may sleep now.
    pub(crate) fn looks_until_sleep(&self) -> Option<u64> {
        let asleep = self.search.asleep.load(Ordering::SeqCst);
        asleep.then(|| self.search.looks.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::{Runtime, start};
    use super::*;

    const HANG: Duration = Duration::from_mins(1);

    /// Runs this on the I/O thread, and waits for it.
    fn on_thread<T: Send + 'static>(
        runtime: &Runtime,
        run: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (sender, done) = channel();
        runtime.handle().spawn(async move {
            let _ = sender.send(run.await);
        });
        done.recv_timeout(HANG).expect("the I/O thread hangs")
    }

    fn looks(busy_poll: &BusyPoll) -> u64 {
        busy_poll.search.looks.load(Ordering::Relaxed)
    }

    fn wait_until(holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < HANG, "it never comes");
            thread::yield_now();
        }
    }

    #[test]
    fn the_thread_looks_from_traffic_on_until_its_time_is_over_and_then_sleeps() {
        let runtime = Arc::new(start().unwrap());
        let same = Arc::clone(&runtime);
        let busy_poll = on_thread(&runtime, async move { same.busy_poll() });
        for _ in 0..3 {
            wait_until(|| busy_poll.looks_until_sleep().is_some());
            let before = looks(&busy_poll);
            for _ in 0..50 {
                on_thread(&runtime, async {});
            }
            assert_eq!(looks(&busy_poll), before, "it was asleep");

            busy_poll.traffic(Duration::from_hours(1));
            wait_until(|| looks(&busy_poll) > before + 100);
            assert_eq!(busy_poll.looks_until_sleep(), None);
            // Its time is over.
            busy_poll.search.until.store(0, Ordering::SeqCst);
        }
        runtime.stop.notify_one();
    }

    #[test]
    fn sockets_and_timers_are_served_while_it_looks() {
        let runtime = Arc::new(start().unwrap());
        let same = Arc::clone(&runtime);
        let looks = on_thread(&runtime, async move {
            let busy_poll = same.busy_poll();
            busy_poll.traffic(Duration::from_hours(1));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (mut ours, mut theirs) = (ours.unwrap(), theirs.unwrap().0);
            let mut byte = [0];
            for n in 0..100 {
                ours.write_all(&[n]).await.unwrap();
                theirs.read_exact(&mut byte).await.unwrap();
                assert_eq!(byte, [n]);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(busy_poll.looks_until_sleep(), None);
            looks(&busy_poll)
        });
        assert!(looks > 0);
        runtime.stop.notify_one();
    }

    #[test]
    fn it_ends_with_the_last_that_holds_it() {
        let runtime = Arc::new(start().unwrap());
        let same = Arc::clone(&runtime);
        let (search, shared) = on_thread(&runtime, async move {
            let (one, other) = (same.busy_poll(), same.busy_poll());
            one.traffic(Duration::from_hours(1));
            (Arc::downgrade(&one.search), Arc::ptr_eq(&one, &other))
        });
        assert!(shared, "one serves all agents");
        wait_until(|| search.strong_count() == 0);
        runtime.stop.notify_one();
    }
}
