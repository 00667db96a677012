//! Keeping a client busy with one kind of work, and what that took.

use std::time::{Duration, Instant};

use crate::{
    Failure,
    link::Link,
    traffic::{Traffic, Work},
};

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub enum Amount {
    /// For so long.
    For(Duration),
    /// So many dispatches.
    Dispatches(usize),
}

/// What one measurement saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Dispatches, each answered once and rightly.
    pub dispatches: usize,
    /// How long it took.
    pub took: Duration,
    /// How long each was on its way, in no order.
    pub round_trips: Vec<Duration>,
}

impl Seen {
    /// The median of the round trips.
    pub fn typical_round_trip(&mut self) -> Duration {
        let middle = self.round_trips.len() / 2;
        if self.round_trips.is_empty() {
            return Duration::ZERO;
        }
        *self.round_trips.select_nth_unstable(middle).1
    }
}

/// Dispatches that were sent and not answered yet. Ids are never used twice on a link.
pub struct Load {
    link: Link,
    next: u64,
}

impl Load {
    /// Over this link.
    pub fn new(link: Link) -> Self {
        Self { link, next: 1 }
    }

    /// Keeps `work.window` dispatches unanswered until it was enough, then waits for the last answers.
    ///
    /// # Errors
    ///
    /// When an answer is wrong, comes twice or not at all.
    pub fn run(&mut self, work: Work, amount: Amount) -> Result<Seen, Failure> {
        let mut traffic = Traffic::new(work.size, work.shape);
        let first = self.next;
        let begun = Instant::now();
        let (limit, end) = match amount {
            Amount::For(span) => (usize::MAX, Some(begun + span)),
            Amount::Dispatches(number) => (number, None),
        };
        let mut sent: Vec<Option<Instant>> = Vec::new();
        let mut seen = Seen::default();
        let mut now = begun;
        let mut wanted = work.window;
        loop {
            let over = end.is_some_and(|end| now >= end);
            while wanted > 0 && !over && sent.len() < limit {
                traffic.push(self.link.output(), self.next);
                self.next += 1;
                sent.push(Some(now));
                wanted -= 1;
            }
            if seen.dispatches == sent.len() {
                seen.took = now - begun;
                return Ok(seen);
            }
            self.link.exchange(|message| {
                now = Instant::now();
                if let Some(since) = settle(&mut traffic, &mut sent, first, message)? {
                    seen.round_trips.push(now - since);
                    seen.dispatches += 1;
                    wanted += 1;
                }
                Ok(())
            })?;
        }
    }

    /// Sends `work.window` dispatches at once and waits for all of their answers, again and again: what comes in never
    /// depends on how fast the client is.
    ///
    /// # Errors
    ///
    /// As [`Load::run`].
    pub fn run_in_bursts(&mut self, work: Work, dispatches: usize) -> Result<(), Failure> {
        let mut left = dispatches;
        while left > 0 {
            let burst = Amount::Dispatches(left.min(work.window));
            left -= self.run(work, burst)?.dispatches;
        }
        Ok(())
    }
}

/// When the dispatch was sent that this message answers.
fn settle(
    traffic: &mut Traffic,
    sent: &mut [Option<Instant>],
    first: u64,
    message: &[u8],
) -> Result<Option<Instant>, Failure> {
    let wrong = |why: &str| {
        let shown = String::from_utf8_lossy(&message[..message.len().min(300)]).into_owned();
        Failure::new(format!("a wrong answer: {why}: {shown}"))
    };
    let Some(number) = traffic.answered(message).map_err(wrong)? else {
        return Ok(None);
    };
    let at = number
        .checked_sub(first)
        .and_then(|at| usize::try_from(at).ok());
    at.and_then(|at| sent.get_mut(at)?.take())
        .map(Some)
        .ok_or_else(|| wrong("it was given before, or never asked for"))
}
