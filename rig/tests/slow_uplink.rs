//! a slow uplink is not a dead one.

use serde_json::json;
use svantic_gateway::{DispatchRequest, Gateway, Options, PendingDispatch};
use svantic_rig::GUARD;
use svantic_rig::agent::{Agent, config};
use svantic_rig::agent_ledger::AgentLedger;
use svantic_rig::chaos_plan::{Path, Plan};
use svantic_rig::chaos_proxy::ChaosProxy;

/// A result of 512 KiB on its way over 256 KiB/s: 2 MiB at 64 KiB/s with the default timers, everything a twenty-fifth
/// as long. For 1.3 s of upload nothing comes down, which is more than twice the silence after which a peer counts as
/// dead.
fn uploading(two_stage: bool) -> (Gateway, ChaosProxy, Agent, PendingDispatch) {
    let gateway = Gateway::start(Options::default()).expect("a gateway");
    // What the proxy has not read is not acknowledged, as on a slow line.
    let proxy = ChaosProxy::with_receive_buffer(gateway.address(), 0, Some(16 << 10));
    let proxy = proxy.expect("a proxy");
    let changes =
        json!({"ping_interval_ms": 400, "dead_after_ms": 800, "reconnect_delays_ms": [1]});
    let mut config = config(&gateway, Some(&proxy), &changes);
    config.protections.two_stage = two_stage;
    let agent = Agent::connected(config);
    proxy.set(Plan {
        up: Path {
            bytes_per_second: Some(256 << 10),
            ..Path::default()
        },
        ..Plan::default()
    });
    let pending = gateway.begin_dispatch(DispatchRequest::new("big", json!({"bytes": 512 << 10})));
    (gateway, proxy, agent, pending)
}

#[test]
fn a_result_that_takes_longer_than_the_dead_timer_is_delivered_without_a_reconnect() {
    let (_gateway, proxy, agent, pending) = uploading(true);
    pending.wait(GUARD).expect("the whole result");
    assert_eq!(agent.look(AgentLedger::reconnects), 0);
    assert_eq!(proxy.counts().accepted, 1);
}

#[test]
fn by_a_plain_timer_the_same_link_is_lost_again_and_again() {
    let (_gateway, _proxy, agent, pending) = uploading(false);
    let lost = agent.wait_until(GUARD, |ours| ours.reconnects() >= 3);
    assert!(lost && pending.poll().is_none());
}
