//! however the peer behaves, a disconnect comes to its end.

use std::time::Duration;

use serde_json::{Value, json};
use svantic::machine::event::EventKind;
use svantic_gateway::{DispatchRequest, Faults, Gateway, Options, Stage};
use svantic_rig::GUARD;
use svantic_rig::agent::{Agent, config};
use svantic_rig::chaos_plan::{Flow, Path, Plan};
use svantic_rig::chaos_proxy::ChaosProxy;

fn closed_once(agent: &Agent, gateway: &Gateway) {
    assert!(agent.wait_until(GUARD, |ours| ours.closed));
    let ledger = agent.ledger();
    let states: Vec<&Value> = ledger
        .events
        .iter()
        .filter(|(kind, _)| *kind == EventKind::State)
        .map(|(_, data)| &data["state"])
        .collect();
    assert_eq!(states.last(), Some(&&json!("closed")));
    assert_eq!(ledger.count(EventKind::Draining), 1);
    assert_eq!(ledger.count(EventKind::Disconnected), 1);
    let record = gateway.agent("rig-1").expect("its record");
    assert_eq!(record.deregistrations, 1);
    assert_eq!(agent.snapshot()["counters"]["unknown_transitions"], 0);
}

#[test]
fn a_peer_that_never_answers_the_close_frame_is_left() {
    let gateway = Gateway::start(Options::default()).expect("a gateway");
    let mut config = config(&gateway, None, &json!({}));
    config.timing.close = Duration::from_millis(100);
    let agent = Agent::connected(config);
    gateway.set_faults(Faults {
        stall: Some(Stage::Close),
        ..Faults::default()
    });
    agent.disconnect(GUARD).expect("an end");
    closed_once(&agent, &gateway);
}

#[test]
fn a_full_send_buffer_does_not_hold_up_the_end() {
    const ANSWERS: usize = 4;
    let gateway = Gateway::start(Options::default()).expect("a gateway");
    let proxy = ChaosProxy::with_receive_buffer(gateway.address(), 0, Some(4 << 10));
    let proxy = proxy.expect("a proxy");
    let mut config = config(&gateway, Some(&proxy), &json!({}));
    config.timing.close = Duration::from_millis(100);
    let agent = Agent::connected(config);
    let stopped = Path {
        flow: Flow::Stop,
        ..Path::default()
    };
    proxy.set(Plan {
        up: stopped,
        ..Plan::default()
    });
    for _ in 0..ANSWERS {
        let args = json!({"bytes": (4 << 20) - 1_024});
        gateway.begin_dispatch(DispatchRequest::new("big", args));
    }
    assert!(agent.wait_until(GUARD, |ours| ours.answers == ANSWERS as u64));
    agent
        .disconnect(Duration::from_millis(200))
        .expect("an end although nothing can be written");
    closed_once(&agent, &gateway);
    assert_eq!(
        agent.look(|ours| ours.count(EventKind::ResultDropped)),
        ANSWERS,
        "what was not delivered is told of"
    );
    assert_eq!(gateway.ledger().answered(), 0);
}
