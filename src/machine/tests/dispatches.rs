//! Dispatches: admission, refusals, exactly one answer (`protocol.md` 7).

use serde_json::{Value, json};

use super::rig::{Rig, parsed, seconds};
use crate::error::ErrorKind;
use crate::machine::State;
use crate::machine::event::EventKind;

/// The one answer that a dispatch got at once.
fn refusal(rig: &mut Rig, id: &str, payload: &Value) -> (String, String) {
    rig.sent.clear();
    rig.dispatch(id, payload);
    let frames = rig.frames();
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!(
        (&frames[0]["type"], &frames[0]["in_reply_to"]),
        (&json!("error"), &json!(id))
    );
    let text = |key: &str| frames[0]["payload"][key].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

#[test]
pub(super) fn a_dispatch_runs_and_is_answered() {
    let mut rig = Rig::ready(&json!({}));
    rig.dispatch(
        "d1",
        &json!({"skill_id":"add","args":{"a":1},"session_context":{"session_id":"s1"}}),
    );
    let dispatch = &rig.delivered[0];
    assert_eq!((&*dispatch.id, dispatch.capability.index), ("d1", 1));
    assert_eq!(
        parsed(dispatch.request.text()),
        json!({"dispatch_id":"d1","skill_id":"add","deadline_ms":60000,"session_id":"s1","args":{"a":1}})
    );
    rig.answer("d1", r#"{"sum":1}"#).unwrap();
    let frames = rig.frames();
    assert_eq!(frames[0]["type"], "dispatch_result");
    assert_eq!(frames[0]["in_reply_to"], "d1");
    assert_eq!(frames[0]["payload"], json!({"result":{"sum":1}}));
    let error = rig.answer("d1", "2").unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::NotFound, "DISPATCH_ENDED")
    );
    assert_eq!(
        rig.answer("unheard of", "2").unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
pub(super) fn what_cannot_run_is_refused_with_its_code() {
    let mut rig = Rig::ready(&json!({}));
    for (n, payload) in [json!({}), json!({"skill_id":7}), json!(null), json!([])]
        .iter()
        .enumerate()
    {
        assert_eq!(
            refusal(&mut rig, &format!("i{n}"), payload).0,
            "INVALID_DISPATCH"
        );
    }
    let (code, text) = refusal(&mut rig, "u", &json!({"skill_id":"fly"}));
    assert_eq!(
        (&*code, &*text),
        ("UNKNOWN_SKILL", "the agent has no capability \"fly\"")
    );
    let args = json!({"skill_id":"add","args":{"a":1,"list":["x",{}]}});
    let (code, text) = refusal(&mut rig, "a", &args);
    assert_eq!(code, "INVALID_ARGS");
    assert!(text.starts_with("args/list/1:"), "{text}");
    let (code, text) = refusal(&mut rig, "m", &json!({"skill_id":"add"}));
    assert_eq!(code, "INVALID_ARGS");
    assert!(text.contains("\"a\""), "{text}");
    assert!(rig.delivered.is_empty());
    assert_eq!(rig.events_of(EventKind::DispatchRefused).len(), 7);
    assert_eq!(rig.machine.state(), State::Connected);
}

#[test]
pub(super) fn args_that_are_absent_or_no_object_are_none() {
    let mut rig = Rig::ready(&json!({}));
    for (n, args) in [json!(null), json!(7), json!("x"), json!([1])]
        .into_iter()
        .enumerate()
    {
        rig.dispatch(&format!("d{n}"), &json!({"skill_id":"echo","args":args}));
        assert_eq!(parsed(rig.delivered[n].request.text())["args"], json!({}));
    }
    rig.dispatch("absent", &json!({"skill_id":"echo"}));
    assert_eq!(parsed(rig.delivered[4].request.text())["args"], json!({}));
}

#[test]
pub(super) fn beyond_the_limit_the_agent_is_overloaded() {
    let mut rig = Rig::ready(&json!({"max_in_flight": 2, "max_queued_dispatches": 0}));
    rig.advance_alive(seconds(10));
    rig.frames();
    rig.echo("d1");
    assert!(rig.frames().is_empty());
    rig.echo("d2");
    assert_eq!(rig.frames()[0]["payload"]["status"], "busy", "told at once");
    assert_eq!(
        refusal(&mut rig, "d3", &json!({"skill_id":"echo"})).0,
        "AGENT_OVERLOADED"
    );
    rig.answer("d1", "1").unwrap();
    rig.echo("d4");
    assert_eq!(rig.delivered.len(), 3);
}

#[test]
pub(super) fn the_status_is_told_at_once_but_not_twice_within_a_second() {
    let mut rig = Rig::ready(&json!({"max_in_flight": 1}));
    rig.advance_alive(seconds(10));
    rig.frames();
    rig.echo("d1");
    rig.answer("d1", "1").unwrap();
    let busy: Vec<_> = rig
        .frames()
        .into_iter()
        .filter(|f| f["type"] == "heartbeat")
        .collect();
    assert_eq!(busy.len(), 1);
    assert_eq!(busy[0]["payload"]["status"], "busy");
    rig.advance(super::rig::millis(999));
    assert!(!rig.frame_types().contains(&"heartbeat".to_owned()));
    rig.advance(super::rig::millis(1));
    assert_eq!(rig.frames()[0]["payload"]["status"], "available");
}

#[test]
pub(super) fn a_dispatch_that_comes_twice_runs_once_and_gets_the_same_bytes() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    rig.echo("d1");
    assert_eq!(rig.delivered.len(), 1, "while running");
    assert!(rig.sent.is_empty());
    rig.answer("d1", "[1]").unwrap();
    let first = rig.sent[0].1.clone();
    rig.echo("d1");
    assert_eq!(rig.sent.len(), 1, "the answer is on its way already");
    rig.pong();
    for _ in 0..3 {
        rig.echo("d1");
        assert_eq!(rig.sent.pop().unwrap().1, first, "once answered");
        rig.pong();
    }
    rig.dispatch("r1", &json!({"skill_id":"fly"}));
    let refused = rig.sent.pop().unwrap().1;
    rig.pong();
    rig.dispatch("r1", &json!({"skill_id":"echo"}));
    assert_eq!(rig.sent.pop().unwrap().1, refused, "a refusal stands too");
    rig.pong();

    rig.echo("d2");
    rig.broken();
    rig.next_timeout();
    rig.reach_ready();
    rig.forget();
    rig.echo("d1");
    assert_eq!(rig.sent[0].1, first, "on another connection");
    rig.echo("d2");
    rig.answer("d2", "2").unwrap();
    assert_eq!(rig.delivered.len(), 2);
    assert_eq!(rig.sent.len(), 2);
}

#[test]
pub(super) fn a_handler_that_is_silent_until_the_deadline_is_answered_for() {
    let mut rig = Rig::ready(&json!({}));
    rig.advance_alive(seconds(10));
    rig.echo("d1");
    rig.advance_alive(seconds(59));
    rig.frames();
    rig.advance(seconds(1));
    let frames = rig.frames();
    let errors: Vec<_> = frames
        .iter()
        .filter(|frame| frame["type"] == "error")
        .collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(
        errors[0]["payload"],
        json!({"code":"HANDLER_ERROR","message":"capability \"echo\" failed: no answer within 60000 ms"})
    );
    assert_eq!(
        rig.events_of(EventKind::DispatchCancelled),
        [&json!({"dispatch_id":"d1","reason":"deadline"})]
    );
    assert_eq!(
        rig.answer("d1", "1").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    rig.advance_alive(seconds(100));
    assert!(!rig.frame_types().contains(&"error".to_owned()));
}

#[test]
pub(super) fn failures_carry_the_handlers_text_and_nothing_else() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    rig.answer_error("d1", "HANDLER_ERROR", "no such order")
        .unwrap();
    rig.echo("d2");
    rig.answer_error("d2", "OUT_OF_STOCK", "sold out").unwrap();
    let payloads: Vec<_> = rig
        .frames()
        .into_iter()
        .map(|frame| frame["payload"].clone())
        .collect();
    assert_eq!(
        payloads,
        [
            json!({"code":"HANDLER_ERROR","message":"capability \"echo\" failed: no such order"}),
            json!({"code":"OUT_OF_STOCK","message":"sold out"})
        ]
    );
    rig.advance_alive(seconds(10));
    let beat = rig
        .frames()
        .into_iter()
        .find(|frame| frame["type"] == "heartbeat")
        .unwrap();
    assert_eq!(beat["payload"]["consecutive_failures"], 2);
    rig.echo("d3");
    rig.answer("d3", "1").unwrap();
    rig.advance_alive(seconds(31));
    let beat = rig
        .frames()
        .into_iter()
        .rfind(|frame| frame["type"] == "heartbeat")
        .unwrap();
    assert_eq!(beat["payload"]["consecutive_failures"], 0);

    let mut rig = Rig::ready(&json!({"redact_handler_errors": true}));
    rig.echo("d1");
    rig.answer_error("d1", "HANDLER_ERROR", "password is hunter2")
        .unwrap();
    rig.echo("d2");
    rig.answer_error("d2", "OUT_OF_STOCK", "sold out").unwrap();
    let frames = rig.frames();
    assert_eq!(
        frames[0]["payload"]["message"],
        "capability \"echo\" failed: the handler failed"
    );
    assert_eq!(frames[1]["payload"]["message"], "sold out");
}

#[test]
pub(super) fn nothing_larger_than_the_limit_is_sent() {
    let mut rig = Rig::ready(&json!({"max_frame_bytes": 1024}));
    rig.echo("d1");
    let large = format!("\"{}\"", "x".repeat(1024));
    let error = rig.answer("d1", &large).unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::InvalidArgument, "RESULT_TOO_LARGE")
    );
    // Whoever hands over a batch hears of no single one.
    let told = rig.events_of(EventKind::Log);
    assert_eq!((told.len(), &told[0]["level"]), (1, &json!("warn")));
    let told = told[0]["message"].to_string();
    for part in ["echo", "d1", "bytes", "1024", "RESULT_TOO_LARGE"] {
        assert!(told.contains(part), "no {part} in {told}");
    }
    rig.echo("d2");
    rig.answer_error("d2", "HANDLER_ERROR", &"é\u{1}".repeat(5000))
        .unwrap();
    rig.dispatch(
        &"\u{1}".repeat(128),
        &json!({"skill_id": "\u{1}".repeat(500)}),
    );
    for (_, text) in &rig.sent {
        assert!(text.len() <= 1024, "{} bytes", text.len());
    }
    let codes: Vec<_> = rig
        .frames()
        .iter()
        .map(|frame| frame["payload"]["code"].clone())
        .collect();
    assert_eq!(
        codes,
        ["RESULT_TOO_LARGE", "HANDLER_ERROR", "UNKNOWN_SKILL"]
    );
    rig.echo("d3");
    rig.answer("d3", "1").unwrap();
    assert_eq!(rig.frame_types(), ["dispatch_result"]);
}

#[test]
pub(super) fn malformed_frames_never_cost_the_connection() {
    let mut rig = Rig::ready(&json!({}));
    let deep = format!(
        r#"{{"type":"dispatch","id":"x","payload":{}"#,
        "[".repeat(10_000)
    );
    for text in [
        "",
        "{",
        "null",
        "[]",
        "\u{0}",
        "{}",
        r#"{"type":7}"#,
        r#"{"v":2,"type":"dispatch","id":"x","payload":{"skill_id":"echo"}}"#,
        r#"{"type":"dispatch","payload":{"skill_id":"echo"}}"#,
        r#"{"type":"dispatch","id":"","payload":{"skill_id":"echo"}}"#,
        r#"{"type":"dispatch","id":5,"payload":{"skill_id":"echo"}}"#,
        r#"{"type":"welcome","payload":{"resumed":true}}"#,
        r#"{"type":"invented","id":"x"}"#,
        r#"{"type":"hello"}"#,
        &deep,
    ] {
        rig.text(text);
    }
    assert!(rig.sent.is_empty() && rig.delivered.is_empty());
    rig.text(r#"{"type":"dispatch","id":"dup","payload":{"skill_id":"echo","skill_id":"echo"}}"#);
    assert_eq!(rig.frames()[0]["payload"]["code"], "INVALID_DISPATCH");
    rig.echo("d1");
    assert_eq!(rig.delivered.len(), 1);
    assert_eq!(rig.machine.state(), State::Connected);
    let ignored = &rig.machine.snapshot(rig.now())["counters"]["frames_ignored"];
    assert_eq!(ignored, 15);
}

#[test]
fn the_room_of_one_dispatch_is_that_of_the_next_until_it_is_given_back() {
    let mut rig = Rig::ready(&json!({}));
    for id in ["a", "b"] {
        rig.echo(id);
        rig.answer(id, "1").unwrap();
        rig.pong();
        assert_ne!(rig.machine.actions.capacity(), 0);
    }
    rig.machine.give_back_room();
    assert_eq!(rig.machine.actions.capacity(), 0);
    rig.echo("c");
    rig.answer("c", "1").unwrap();
}
