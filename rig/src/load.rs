//! Dispatches at a rate, and whoever waits for them.

use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;
use svantic_gateway::{DispatchRequest, Gateway, PendingDispatch};

use crate::{GUARD, dice};

/// From the oldest dispatch without an answer to the newest. The mesh asks again for all of them after every kill, and
/// the library promises to know ten thousand ids with their answers: beyond that the run would be about another thing.
const MOST_UNDER_WAY: usize = 8_000;

/// Sends `count` dispatches of `sleep` with times as in R-01, at most `per_second` of them.
///
/// The pace is the load that is simulated; nothing waits for it, except where a machine cannot keep it up.
pub fn offer(
    gateway: &Gateway,
    count: usize,
    per_second: u32,
    dice: &mut Rng,
) -> Vec<PendingDispatch> {
    let began = Instant::now();
    let gap = Duration::from_secs(1) / per_second;
    let mut pending: Vec<PendingDispatch> = Vec::with_capacity(count);
    for n in 0..u32::try_from(count).unwrap_or(u32::MAX) {
        let early = (gap * n).saturating_sub(began.elapsed());
        // The scheduler does not do better than this.
        if early > Duration::from_millis(2) {
            std::thread::sleep(early);
        }
        // One that is never answered is found when all are awaited.
        if let Some(oldest) = pending.len().checked_sub(MOST_UNDER_WAY) {
            let _ = pending[oldest].wait(GUARD);
        }
        let args = json!({"ms": dice::handler_ms(dice)});
        pending.push(gateway.begin_dispatch(DispatchRequest::new("sleep", args)));
    }
    pending
}

/// Waits for every answer; how many did not come.
pub fn await_all(pending: &[PendingDispatch]) -> usize {
    let until = Instant::now() + 2 * GUARD;
    let missing = pending.iter().filter(|dispatch| {
        let left = until.saturating_duration_since(Instant::now());
        dispatch.wait(left).is_err()
    });
    missing.count()
}
