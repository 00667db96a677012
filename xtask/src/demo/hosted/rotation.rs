//! Another secret while calls are under way: agents that hold both lose none.

use super::super::{
    conversation,
    joined::Joined,
    stage::Stage,
    under_way::{ANSWERED_WITHIN, UnderWay},
};
use crate::{failure::Failure, terminal::say};

/// For each agent, half of them signed with either secret.
const CALLS: usize = 500;
/// To each agent: fewer than it verifies at once without turning any away (64).
const AT_ONCE: usize = 16;

/// Keeps calls under way at all agents while the secret changes.
pub(super) fn play(stage: &Stage<'_>, agents: &[Joined], next: &str) -> Result<(), Failure> {
    let gateway = stage.gateway;
    let mut under_way = UnderWay::new(gateway, AT_ONCE * agents.len());
    for number in 0..CALLS {
        if number == CALLS / 2 {
            gateway.set_dispatch_secret(None, Some(next));
        }
        for agent in agents {
            under_way.call(agent.find_order(ANSWERED_WITHIN))?;
        }
    }
    under_way.finish()?;
    conversation::exactly_one_answer_each(gateway)?;
    let (calls, at_once) = (CALLS * agents.len(), AT_ONCE * agents.len());
    say(&format!(
        "  each of {calls} calls was answered once, the first half signed with the old secret, the others with the new one;\n  \
         up to {at_once} were under way when it changed, and no agent was started anew"
    ));
    Ok(())
}
