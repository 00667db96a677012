//! An uplink so slow that pings wait behind a large answer (R-35; 5.6).

use serde_json::json;

use super::real_timers;
use super::role::{agent, gateway};
use super::topology::{SERVER_V4, Topology};

/// The same with pings that do not ask what the peer's kernel has acknowledged.
#[test]
fn r_35_by_a_plain_timer_the_slow_link_is_lost_while_it_delivers() {
    let Some(topology) = Topology::build("r_35 by a plain timer") else {
        return;
    };
    if let Err(why) = topology.throttle(64 << 10) {
        println!("SKIPPED r_35 by a plain timer: {why}");
        return;
    }
    let (mut gateway, greeting) = gateway(&topology, SERVER_V4);
    let timers = json!({"ping_interval_ms": 1000, "dead_after_ms": 2500, "plain_timer": true});
    let mut far = agent(&topology, &greeting, &timers);
    gateway.say("work {}");
    far.next("dispatch", |line| line["dispatch"].is_string());
    far.say("answer 524288");
    let (_, data) = far.event("disconnected");
    assert_ne!(data["cause"], "client_close");
}

#[test]
fn r_35_a_large_answer_over_a_slow_uplink_costs_no_link() {
    let Some(topology) = Topology::build("r_35") else {
        return;
    };
    let (rate, bytes, timers) = if real_timers() {
        (64 << 10, 2 << 20, json!({}))
    } else {
        let timers = json!({"ping_interval_ms": 1000, "dead_after_ms": 2500});
        (64 << 10, 512 << 10, timers)
    };
    if let Err(why) = topology.throttle(rate) {
        println!("SKIPPED r_35: {why}");
        return;
    }
    let (mut gateway, greeting) = gateway(&topology, SERVER_V4);
    let mut far = agent(&topology, &greeting, &timers);
    gateway.say("work {}");
    far.next("dispatch", |line| line["dispatch"].is_string());
    let started = std::time::Instant::now();
    far.say(&format!("answer {bytes}"));
    let (at, answer) = gateway.next("answer", |line| line["answer"].is_string());
    println!(
        "R-35 {bytes} bytes at {rate} a second: answered after {:?}",
        at - started
    );
    assert!(
        answer["answer"].as_str().unwrap().contains("Result"),
        "{answer}"
    );
    far.say("disconnect");
    let seen = far
        .next("an end of the link", |line| line["event"] == "disconnected")
        .1;
    assert_eq!(
        seen["data"]["cause"], "client_close",
        "the link must have lived until we closed it"
    );
}
