//! A mesh that does not know the instance any more. The first module by name, since its waiting is the longest.

use serde_json::json;
use svantic_gateway::{Gateway, Options};

use crate::abi::{Agent, gateway, sees};

/// It is registered with at most once in 30 s.
#[test]
fn a_forgotten_instance_registers_again() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"reconnect_delays_ms": [0, 1000]}));
    assert!(gateway.forget(agent.id()) && gateway.abort(agent.id()));
    agent.event("instance_forgotten");
    agent.enters("connected");
    agent.serves(&gateway);
    sees(&gateway, "a second registration", |seen| {
        seen.agent(agent.id()).unwrap().registrations == 2
    });
    let history = gateway.requests();
    let upgrades = history
        .iter()
        .filter(|request| request.path == "/agents/connect");
    let refused = upgrades
        .filter(|request| request.status == Some(404))
        .count();
    assert!(refused > 1, "{refused}");
}

#[test]
fn a_restarted_mesh_that_has_forgotten_everything() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let options = Options {
        port: gateway.address().port(),
        client_secret: gateway.client_secret(),
        ..Options::default()
    };
    gateway.shutdown();
    assert_eq!(agent.event("disconnected")["code"], 1001);
    // The third failure on one URL makes it ask for another.
    for _ in 0..4 {
        agent.event("backoff");
    }
    agent.enters("reconnecting");
    let gateway = Gateway::start(options).unwrap();
    agent.enters("connected");
    agent.serves(&gateway);
    let record = gateway.agent(agent.id()).unwrap();
    assert_eq!(
        (record.registrations, record.skills()),
        (1, vec!["echo".to_owned()])
    );
}
