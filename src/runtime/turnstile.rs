//! Lets what starts on the network start one after the other.
//!
//! A thousand connectors that begin at once would hold a thousand half-made connections with all that belongs to one,
//! and take longer for it: the thread that serves them is one. So a start waits for those before it, and then until the
//! thread has seen to what the network had for it. Nothing waits for an answer of the network: whom a slow mesh keeps
//! waiting holds up nobody.

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// See the [module documentation](self).
pub(crate) struct Turnstile(Semaphore);

impl Turnstile {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(1))
    }

    /// Waits for one's turn. Called on the I/O thread.
    pub(crate) async fn pass(&self) {
        // It is never closed, and would then keep nobody.
        let _turn = self.0.acquire().await;
        // The runtime polls again once it has asked the kernel for news.
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_go_one_after_the_other_and_in_order() {
        let turnstile = Arc::new(Turnstile::new());
        let passed = Arc::new(Mutex::new(Vec::new()));
        let walkers: Vec<_> = (0..100)
            .map(|n| {
                let (turnstile, passed) = (Arc::clone(&turnstile), Arc::clone(&passed));
                tokio::spawn(async move {
                    turnstile.pass().await;
                    passed.lock().unwrap().push(n);
                })
            })
            .collect();
        yield_now().await;
        assert!(
            passed.lock().unwrap().len() <= 1,
            "nobody goes at once but the first"
        );
        for walker in walkers {
            walker.await.unwrap();
        }
        assert_eq!(*passed.lock().unwrap(), (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn who_gives_up_lets_the_next_one_go() {
        let turnstile = Arc::new(Turnstile::new());
        let mut first = Box::pin(turnstile.pass());
        let polled = (&mut first).now_or_never();
        assert!(
            polled.is_none(),
            "it has its turn, and waits for the kernel"
        );
        drop(first);
        let second = tokio::time::timeout(Duration::from_mins(1), turnstile.pass());
        second.await.unwrap();
    }
}
