//! What the mesh may send on the link, right and wrong: what costs nothing, and what costs the link.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};

use serde_json::json;
use svantic::ffi::status::svantic_state as State;
use svantic_gateway::{Answer, Direction, Faults, FrameKind};

use crate::abi::raw::{RawServer, WELCOME, accept_upgrade, close_code, frame, mesh};
use crate::abi::{Agent, GUARD, answer, code, config, echo, gateway, sees};

/// Frames that mean nothing to an agent, or nothing good.
fn strange_frames() -> Vec<String> {
    let mut frames: Vec<String> = [
        "",
        " ",
        "null",
        "[]",
        "{}",
        "x",
        "{",
        "\"",
        "0",
        "{\"v\":1}",
        "{\"type\":1}",
        "{\"type\":null}",
        r#"{"v":1,"type":"welcome","id":"w2","payload":{}}"#,
        r#"{"v":1,"type":"hello","id":"h","payload":{}}"#,
        r#"{"v":1,"type":"weather","id":"x","payload":{"sunny":true}}"#,
        r#"{"v":2,"type":"dispatch","id":"v2","payload":{"skill_id":"echo"}}"#,
        r#"{"v":1,"type":"dispatch","payload":{"skill_id":"echo"}}"#,
        r#"{"v":1,"type":"dispatch","id":"","payload":{"skill_id":"echo"}}"#,
        r#"{"v":1,"type":"dispatch","id":7,"payload":{"skill_id":"echo"}}"#,
        r#"{"v":1,"type":"dispatch","id":"nul\u0000","payload":{"skill_id":"echo"}}"#,
        r#"{"v":1,"type":"dispatch","type":"dispatch","id":"twice","payload":{"skill_id":"echo"}}"#,
        r#"{"v":1,"type":"dispatch","id":"twice","id":"thrice","payload":{"skill_id":"echo"}}"#,
        r#"{"v":"1","type":"dispatch","id":"text-v","payload":{"skill_id":"echo"}}"#,
        r#"{"v":1,"type":"error","id":"e","in_reply_to":"nothing","payload":{"code":"X"}}"#,
        "\u{feff}{\"v\":1}",
    ]
    .map(str::to_owned)
    .to_vec();
    let dispatch = |id: &str, args: &str| {
        format!(
            r#"{{"v":1,"type":"dispatch","id":"{id}","payload":{{"skill_id":"echo","args":{args}}}}}"#
        )
    };
    frames.push(dispatch(&"x".repeat(129), "{}"));
    frames.push(dispatch(
        "deep",
        &("{\"a\":".repeat(65) + "1" + &"}".repeat(65)),
    ));
    frames.push(dispatch(
        "many",
        &format!("{{\"a\":[{}0]}}", "0,".repeat(100_001)),
    ));
    frames.push("[".repeat(1 << 20));
    frames.push("{\"a\":".repeat(1 << 18));
    frames.push(format!("{{\"v\":{}}}", "9".repeat(1 << 20)));
    frames
}

#[test]
fn strange_frames_are_counted_and_cost_nothing() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let frames = strange_frames();
    for text in &frames {
        assert!(gateway.send_text(agent.id(), text));
    }
    for _ in 0..3 {
        gateway.send_binary(agent.id(), &[0, 159, 146, 150]);
        gateway.send_binary(agent.id(), &[]);
    }
    agent.serves(&gateway);
    assert_eq!(agent.snapshot()["counters"]["frames_ignored"], frames.len());
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
    // Nothing but the one dispatch got an answer, and nothing else reached the application.
    let handed_out = agent
        .history()
        .iter()
        .filter(|item| item["type"] == "dispatch")
        .count();
    assert_eq!(handed_out, 1);
    assert_eq!(gateway.violations(), [""; 0]);
}

#[test]
fn a_thousand_malformed_frames_between_dispatches() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let mut pending = Vec::new();
    for n in 0..1000 {
        gateway.send_text(
            agent.id(),
            &format!("{{\"v\":1,\"type\":\"dispatch\",\"id\":\"cut-{n}\",\"payload\":"),
        );
        if n % 100 == 0 {
            pending.push(gateway.begin_dispatch(echo(json!({"n": n})).to(agent.id())));
        }
    }
    for _ in &pending {
        let item = agent.dispatch();
        agent
            .resolve(item["dispatch_id"].as_str().unwrap(), &item["args"])
            .unwrap();
    }
    for (n, pending) in pending.iter().enumerate() {
        assert_eq!(answer(pending), Answer::Result(json!({"n": n * 100})));
    }
    // Comes in behind the last of them.
    agent.serves(&gateway);
    assert_eq!(agent.snapshot()["counters"]["frames_ignored"], 1000);
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
}

#[test]
fn strange_frames_before_the_welcome() {
    let gateway = gateway();
    let mut before_welcome = strange_frames();
    // A second welcome would be the first.
    before_welcome.retain(|text| !text.contains("welcome"));
    let early =
        r#"{"v":1,"type":"dispatch","id":"early","payload":{"skill_id":"echo","args":{"n":1}}}"#;
    before_welcome.push(early.to_owned());
    gateway.set_faults(Faults {
        before_welcome,
        ..Faults::default()
    });
    let agent = Agent::connected(&gateway, &json!({}));
    assert_eq!(agent.dispatch()["dispatch_id"], "early");
    agent.resolve("early", &json!(null)).unwrap();
    sees(&gateway, "the answer to the early dispatch", |seen| {
        let mut frames = seen.frames(agent.id());
        frames.any(|frame| {
            frame.direction == Direction::FromAgent
                && frame.text.contains(r#""in_reply_to":"early""#)
        })
    });
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
}

#[test]
fn too_many_dispatches_before_the_welcome_cost_the_link() {
    let gateway = gateway();
    let early =
        |n| format!(r#"{{"v":1,"type":"dispatch","id":"e{n}","payload":{{"skill_id":"echo"}}}}"#);
    gateway.set_faults(Faults {
        before_welcome: (0..17).map(early).collect(),
        ..Faults::default()
    });
    let agent = Agent::of(&gateway, &json!({}));
    agent.connect_async(1);
    agent.event("backoff");
    gateway.set_faults(Faults::default());
    assert_eq!(agent.done(1)["status"], 0);
    agent.serves(&gateway);
}

#[test]
fn a_message_over_the_limit_is_closed_with_1009_and_the_link_is_made_again() {
    for (more, bytes) in [
        (json!({}), (4 << 20) + 1),
        (json!({"max_frame_bytes": 1024}), 1025),
    ] {
        let gateway = gateway();
        let agent = Agent::connected(&gateway, &more);
        gateway.send_text(agent.id(), &"x".repeat(bytes));
        let cause = agent.event("disconnected")["cause"].take();
        assert!(
            cause.as_str().unwrap().contains(&bytes.to_string()),
            "{cause}"
        );
        sees(&gateway, "the close code and the next link", |seen| {
            let closed = |frame: &svantic_gateway::FrameRecord| {
                frame.kind == FrameKind::Close
                    && frame.direction == Direction::FromAgent
                    && frame.text.starts_with("1009")
            };
            seen.frames(agent.id()).any(closed) && seen.agent(agent.id()).unwrap().welcomes == 2
        });
        agent.enters("reconnecting");
        agent.enters("connected");
        if bytes > 2000 {
            agent.serves(&gateway);
        }
    }
}

#[test]
fn a_message_at_the_limit_is_taken_and_a_result_at_the_limit_is_sent() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let text = "x".repeat((4 << 20) - 400);
    let pending = gateway.begin_dispatch(echo(json!({"text": text})).to(agent.id()));
    let item = agent.dispatch();
    assert_eq!(item["args"]["text"].as_str().unwrap().len(), text.len());
    agent.resolve(pending.id(), &item["args"]).unwrap();
    assert_eq!(answer(&pending), Answer::Result(json!({"text": text})));
    // Larger is refused here, and the mesh is told instead.
    let pending = gateway.begin_dispatch(echo(json!({})).to(agent.id()));
    agent.dispatch();
    let failure = agent
        .resolve(pending.id(), &json!("x".repeat(4 << 20)))
        .unwrap_err();
    failure.says(&["RESULT_TOO_LARGE", "4194304", "max_frame_bytes"]);
    // Told by the library too: of a batch, only the number of those that were refused comes back.
    let warning = agent.event_with("log", |data| data["level"] == "warn");
    let warning = warning["message"].as_str().unwrap();
    for part in [pending.id(), "echo", "RESULT_TOO_LARGE", "4194304"] {
        assert!(warning.contains(part), "no {part:?} in {warning:?}");
    }
    assert_eq!(code(&answer(&pending)), "RESULT_TOO_LARGE");
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
}

/// A mesh that welcomes, sends these bytes once, and reports the close code that it then reads.
fn sending(bytes: Vec<u8>) -> (RawServer, Receiver<Option<u16>>) {
    let (report, codes) = channel();
    let bytes = std::sync::Mutex::new(Some(bytes));
    let mesh = mesh(move |head, stream| {
        if head.path != "/agents/connect" {
            return false;
        }
        accept_upgrade(head, stream);
        let good = |stream: &mut TcpStream, bytes: &[u8]| drop(stream.write_all(bytes));
        good(stream, &frame(0x81, WELCOME.as_bytes()));
        if let Some(bytes) = bytes.lock().unwrap().take() {
            good(stream, &bytes);
            report.send(close_code(stream)).expect("the test waits");
        }
        while matches!(stream.read(&mut [0; 256]), Ok(1..)) {}
        true
    });
    (mesh, codes)
}

#[test]
fn broken_framing_is_told_and_the_link_is_made_again() {
    let too_long = [&[0x81, 127][..], &(1_u64 << 62).to_be_bytes(), b"x"].concat();
    for (bytes, code) in [
        (frame(0x81, b"\"\xff\xfe\""), 1007),
        (frame(0xc1, b"{}"), 1002),
        (frame(0x83, b"{}"), 1002),
        (frame(0x80, b"{}"), 1002),
        (frame(0x09, b"a ping in pieces"), 1002),
        (frame(0x89, &[b'x'; 126]), 1002),
        // Masked, as only clients send.
        (vec![0x81, 0x82, 1, 2, 3, 4, b'{' ^ 1, b'}' ^ 2], 1002),
        (too_long, 1009),
    ] {
        let (mesh, codes) = sending(bytes.clone());
        let mut config = config(&mesh.url());
        config["token"] = "a-token-of-our-own".into();
        let agent = Agent::with(config, &json!({}));
        agent.connect().unwrap();
        let told = codes
            .recv_timeout(GUARD)
            .expect("the mesh reads to the end");
        assert_eq!(told, Some(code), "{bytes:?}");
        agent.event("disconnected");
        agent.enters("reconnecting");
        agent.enters("connected");
        agent.is(State::Connected);
    }
}

/// A text in many fragments with pings in between is one message.
#[test]
fn fragments_and_pings_in_between() {
    let text =
        br#"{"v":1,"type":"dispatch","id":"pieces","payload":{"skill_id":"echo","args":{"n":3}}}"#;
    let mut bytes = frame(0x01, &text[..1]);
    for at in 1..text.len() - 1 {
        bytes.extend(frame(0x89, b"are you there"));
        bytes.extend(frame(0x00, &text[at..=at]));
    }
    bytes.extend(frame(0x80, &text[text.len() - 1..]));
    let (mesh, _codes) = sending(bytes);
    let mut config = config(&mesh.url());
    config["token"] = "a-token-of-our-own".into();
    let agent = Agent::with(config, &json!({}));
    agent.connect().unwrap();
    let item = agent.dispatch();
    assert_eq!(
        (&item["dispatch_id"], &item["args"]),
        (&json!("pieces"), &json!({"n": 3}))
    );
}
