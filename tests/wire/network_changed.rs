//! The application says that the network may be another.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use svantic::ffi::status::svantic_state as State;
use svantic_gateway::{Direction, FrameKind};

use crate::abi::raw::{WELCOME, accept_upgrade, frame, mesh};
use crate::abi::{Agent, config, gateway, sees};

#[test]
fn a_good_link_is_probed_and_stays() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    agent.network_changed();
    // No other ping is due for ten seconds of silence, and no answer has a fence.
    sees(&gateway, "the probe", |seen| {
        seen.frames(agent.id())
            .any(|frame| frame.kind == FrameKind::Ping && frame.direction == Direction::FromAgent)
    });
    agent.serves(&gateway);
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
}

#[test]
fn a_link_whose_peer_is_gone_is_made_again_without_a_back_off() {
    let first = AtomicBool::new(true);
    let mesh = mesh(move |head, stream| {
        if head.path != "/agents/connect" {
            return false;
        }
        accept_upgrade(head, stream);
        drop(stream.write_all(&frame(0x81, WELCOME.as_bytes())));
        if first.swap(false, Ordering::SeqCst) {
            // Takes everything and says nothing, as what is left of a connection does behind a NAT that forgot it.
            while matches!(stream.read(&mut [0; 256]), Ok(1..)) {}
        } else {
            while matches!(stream.read(&mut [0; 256]), Ok(1..)) {
                drop(stream.write_all(&frame(0x8a, b"")));
            }
        }
        true
    });
    let mut base = config(&mesh.url());
    base["token"] = "opaque-token-of-the-raw-mesh".into();
    let agent = Agent::with(base, &json!({"reconnect_delays_ms": [3_600_000]}));
    agent.connect().unwrap();
    agent.event("connected");
    agent.network_changed();
    let cause = agent.event("disconnected")["cause"].take();
    assert!(cause.as_str().unwrap().contains("after a probe"), "{cause}");
    agent.event("connected");
    agent.is(State::Connected);
}

#[test]
fn a_back_off_is_cut_short() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"reconnect_delays_ms": [3_600_000]}));
    agent.event("connected");
    assert!(gateway.abort(agent.id()));
    agent.event("backoff");
    agent.network_changed();
    agent.event("connected");
    agent.serves(&gateway);
}
