//! A router that swallows packets: neither side is told anything.

use std::time::Duration;

use serde_json::json;

use super::real_timers;
use super::role::{agent, gateway};
use super::topology::{SERVER_V4, Topology};

#[test]
fn r_05_an_idle_half_open_link_is_noticed_and_made_again() {
    let Some(topology) = Topology::build("r_05") else {
        return;
    };
    let (_gateway, greeting) = gateway(&topology, SERVER_V4);
    let timers = if real_timers() {
        json!({})
    } else {
        json!({"ping_interval_ms": 500, "dead_after_ms": 1000})
    };
    let far = agent(&topology, &greeting, &timers);
    topology.black_hole();
    let cut = std::time::Instant::now();
    let (noticed, data) = far.event("disconnected");
    println!(
        "R-05 idle half-open: noticed after {:?} ({})",
        noticed - cut,
        data["cause"]
    );
    assert_eq!(data["code"], serde_json::Value::Null);
    topology.mend();
    far.event("connected");
}

/// With the idle timers far away, it is the unacknowledged bytes that give the dead link away.
#[test]
fn r_06_unacknowledged_bytes_give_a_half_open_link_away_and_the_answer_is_not_lost() {
    let Some(topology) = Topology::build("r_06") else {
        return;
    };
    let (mut gateway, greeting) = gateway(&topology, SERVER_V4);
    let idle = json!({"ping_interval_ms": 120_000, "dead_after_ms": 3_600_000});
    let timers = if real_timers() { json!({}) } else { idle };
    let mut far = agent(&topology, &greeting, &timers);
    gateway.say("work {}");
    far.next("dispatch", |line| line["dispatch"].is_string());
    topology.black_hole();
    let cut = std::time::Instant::now();
    far.say("answer 100");
    let (noticed, data) = far.event("disconnected");
    println!(
        "R-06 with unacknowledged bytes: noticed after {:?} ({})",
        noticed - cut,
        data["cause"]
    );
    topology.mend();
    far.event("connected");
    let (_, answer) = gateway.next("answer", |line| line["answer"].is_string());
    assert!(
        answer["answer"].as_str().unwrap().contains("Result"),
        "{answer}"
    );
}

#[test]
fn r_26_a_disconnect_ends_although_nobody_answers() {
    let Some(topology) = Topology::build("r_26") else {
        return;
    };
    for fill in [false, true] {
        let (mut gateway, greeting) = gateway(&topology, SERVER_V4);
        let mut far = agent(&topology, &greeting, &json!({}));
        gateway.say("work {}");
        far.next("dispatch", |line| line["dispatch"].is_string());
        topology.black_hole();
        if fill {
            // Far more than the kernel takes without an acknowledgement.
            far.say("answer 4000000");
        }
        let asked = std::time::Instant::now();
        far.say("disconnect");
        let (done, _) = far.next("the end", |line| line["done"] == "disconnect");
        let took = done - asked;
        println!("R-26 disconnect into a black hole, send buffer full: {fill}: {took:?}");
        // Its own limits are 1 s for the close handshake and 5 s for the deregistration.
        assert!(took < Duration::from_mins(1), "{took:?}");
        far.wait_ended();
        topology.mend();
    }
}
