//! Many calls at once: an event loop is given them in batches and answers in batches, and none is lost or answered twice.

use std::time::Instant;

use super::{
    conversation,
    joined::Joined,
    stage::Stage,
    under_way::{ANSWERED_WITHIN, UnderWay},
};
use crate::{failure::Failure, terminal::say};

const CALLS: usize = 5000;
/// Fewer than the library takes without refusing any (`max_pending_dispatches`).
const AT_ONCE: usize = 1000;

/// Sends the next call whenever the oldest one is answered.
pub(super) fn play(stage: &mut Stage<'_>, agent: &mut Joined) -> Result<(), Failure> {
    let gateway = stage.gateway;
    let call = agent.find_order(ANSWERED_WITHIN);
    let began = Instant::now();
    let mut under_way = UnderWay::new(gateway, AT_ONCE);
    for _ in 0..CALLS {
        under_way.call(call.clone())?;
    }
    under_way.finish()?;
    let took = began.elapsed();
    conversation::exactly_one_answer_each(gateway)?;
    say(&format!(
        "  each of the {CALLS} calls was answered once, all of them within {:.2} s, by a library and a gateway that are \
         not optimised",
        took.as_secs_f64(),
    ));
    Ok(())
}
