//! Calls by POST: answered once, remembered, and one table with what comes over a connection.

use serde_json::{Value, json};

use super::rig::seconds;
use super::rig_calls::{Desk, echo, message};
use crate::machine::event::EventKind;

fn event(body: &str) -> Value {
    let json = body.strip_prefix("data: ").unwrap().trim_end();
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_call_is_answered_by_its_handler_and_by_nobody_else() {
    let mut desk = Desk::new(&json!({}));
    desk.headers = vec![
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("baggage", "user=alice"),
    ];
    let data = json!({"capability": "echo", "inputs": {"n": 1},
        "session_context": {"session_id": "s1", "tenant_id": "t1", "baggage": "user=bob"}});
    let call = desk.send(&data);
    assert!(desk.parts(call).is_empty());
    let request: Value = serde_json::from_str(desk.rig.delivered[0].request.text()).unwrap();
    assert_eq!(request["dispatch_id"], "m1", "the message's id");
    assert_eq!(request["args"], json!({"n": 1}));
    assert_eq!(
        (&request["session_id"], &request["tenant_id"]),
        (&json!("s1"), &json!("t1"))
    );
    assert_eq!(
        request["parent_span_id"], "00f067aa0ba902b7",
        "of the header"
    );
    assert_eq!(request["baggage"], json!({"user": "bob"}), "of the session");
    desk.rig.answer("m1", r#"{"n":[1]}"#).unwrap();
    assert_eq!(desk.result(call), json!({"n": [1]}));
    assert!(desk.rig.answer("m1", "2").is_err());
    assert_eq!(desk.snapshot("outbox_items"), 0, "the mesh has its answer");
    assert_eq!(desk.snapshot("calls_waiting"), 0);
    assert_eq!(desk.snapshot("counters")["answered"], 1);
}

#[test]
fn how_work_fails_is_told_as_a_task_and_what_is_no_call_as_an_error() {
    let mut desk = Desk::new(&json!({}));
    let call = desk.send(&echo("d1", 1));
    desk.rig
        .answer_error("d1", "HANDLER_ERROR", "no order")
        .unwrap();
    let (status, body) = desk.answer(call);
    assert_eq!((status, &body["result"]["id"]), (200, &json!("d1")));
    assert_eq!(body["result"]["status"]["state"], "failed");
    let parts = &body["result"]["status"]["message"]["parts"];
    assert_eq!(
        parts[1]["data"]["error"],
        json!({"code": "HANDLER_ERROR", "message": "capability \"echo\" failed: no order"})
    );
    for (data, code) in [
        (json!({"skill_id": "none"}), "UNKNOWN_SKILL"),
        (json!({"args": {}}), "INVALID_DISPATCH"),
        (
            json!({"skill_id": "add", "args": {"a": "sekret"}}),
            "INVALID_ARGS",
        ),
    ] {
        let call = desk.send(&data);
        assert_eq!(desk.refusal(call), (200, -32602, code.to_owned()));
        let streamed = desk.stream(&data);
        let parts = desk.parts(streamed);
        assert_eq!(parts.len(), 1, "A2A 0.3 wants an event");
        assert_eq!(event(&parts[0].body)["error"]["data"]["code"], code);
    }
    let overdue = desk.send(&echo("d2", 1));
    desk.rig.advance(seconds(60));
    let (_, body) = desk.answer(overdue);
    assert!(
        body.to_string().contains("no answer within 60000 ms"),
        "{body}"
    );
    assert!(desk.rig.answer("d2", "1").is_err());
}

#[test]
fn a_text_is_for_the_default_capability_if_there_is_one() {
    let text = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": {
        "messageId": "m1", "parts": [{"kind": "text", "text": "a\"b"}, {"kind": "text", "text": "c"}]}}});
    let mut desk = Desk::new(&json!({}));
    let call = desk.post(text.to_string().as_bytes());
    assert_eq!(
        desk.refusal(call),
        (200, -32602, "INVALID_DISPATCH".to_owned())
    );
    let mut desk = Desk::new(&json!({"default_capability": "echo"}));
    let call = desk.post(text.to_string().as_bytes());
    let request: Value = serde_json::from_str(desk.rig.delivered[0].request.text()).unwrap();
    assert_eq!(request["args"], json!({"text": "a\"b\nc"}));
    desk.rig.answer("m1", "1").unwrap();
    assert_eq!(desk.result(call), 1);
    let mut desk = Desk::new(&json!({"default_capability": "none"}));
    let call = desk.post(text.to_string().as_bytes());
    assert_eq!(
        desk.refusal(call),
        (200, -32602, "UNKNOWN_SKILL".to_owned())
    );
}

#[test]
fn a_retry_waits_for_or_gets_the_same_answer_and_runs_nothing() {
    let mut desk = Desk::new(&json!({}));
    let first = desk.send(&echo("d1", 1));
    let mut data = echo("d1", 1);
    data["traceparent"] = "another".into();
    let second = desk.send(&data);
    desk.rig.answer("d1", "7").unwrap();
    let late = desk.send(&data);
    let answers = [first, second, late].map(|call| desk.answer(call));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2], "to the letter");
    assert_eq!(desk.delivered(), ["d1"]);
    let other = desk.send(&echo("d1", 2));
    assert_eq!(
        desk.refusal(other),
        (200, -32602, "INVALID_DISPATCH".to_owned())
    );
    assert_eq!(desk.delivered(), [""; 0]);
    // Ten minutes later nobody remembers it.
    desk.rig.advance(seconds(600));
    desk.send(&echo("d2", 1));
    desk.rig.answer("d2", "1").unwrap();
    desk.rig.advance(seconds(1));
    desk.send(&echo("d3", 1));
    desk.rig.answer("d3", "1").unwrap();
    desk.delivered();
    desk.send(&echo("d1", 2));
    assert_eq!(desk.delivered(), ["d1"]);
}

#[test]
fn two_tenants_with_the_same_id_get_each_their_own_answer() {
    let of = |tenant: &str, n: u64| {
        let mut data = echo("d1", n);
        data["session_context"] = json!({"tenant_id": tenant});
        data
    };
    let mut desk = Desk::new(&json!({}));
    let a = desk.send(&of("a", 1));
    let b = desk.send(&of("b", 1));
    let nobody = desk.send(&echo("d1", 1));
    let ids = desk.delivered();
    assert_eq!((ids.len(), ids[0].as_str()), (3, "d1"));
    for (id, answer) in ids.iter().zip(["\"a\"", "\"b\"", "\"nobody\""]) {
        desk.rig.answer(id, answer).unwrap();
    }
    for (call, data, expected) in [
        (a, of("a", 1), "a"),
        (b, of("b", 1), "b"),
        (nobody, echo("d1", 1), "nobody"),
    ] {
        assert_eq!(desk.result(call), expected);
        let again = desk.send(&data);
        assert_eq!(desk.result(again), expected);
    }
    let other = desk.send(&of("b", 2));
    assert_eq!(desk.refusal(other).2, "INVALID_DISPATCH");
    // A thousand other answers later only the ids are known, and still whose they are.
    for n in 0..10_010 {
        let id = format!("x{n}");
        desk.send(&echo(&id, 1));
        desk.rig.answer(&id, "1").unwrap();
    }
    desk.delivered();
    let posted = &desk.rig.machine.inbox.posted;
    assert!(
        ids.iter()
            .chain([&"x9".into()])
            .all(|id| posted.get(id).is_none())
    );
    assert!(posted.get("x10009").is_some());
    let gone = desk.send(&of("a", 1));
    assert_eq!(
        desk.refusal(gone),
        (200, -32603, "DUPLICATE_DISPATCH".to_owned())
    );
    let other = desk.send(&of("c", 1));
    assert_eq!(desk.delivered().len(), 1, "a third one's is not theirs");
    assert!(desk.parts(other).is_empty());
}

#[test]
fn a_mesh_that_falls_back_finds_its_dispatch_either_way() {
    let mut desk = Desk::new(&json!({"deployment_mode": "connected"}));
    let connect = desk.rig.connect();
    desk.rig.reach_ready();
    assert!(desk.rig.result(connect).is_ok());
    desk.rig.forget();
    let payload = json!({"skill_id": "echo", "args": {"n": 1}});
    // Over the connection first.
    desk.rig.dispatch("d1", &payload);
    let call = desk.send(&echo("d1", 1));
    desk.rig.answer("d1", "1").unwrap();
    assert_eq!(desk.result(call), 1);
    assert_eq!(desk.rig.frame_types(), ["dispatch_result"]);
    let again = desk.send(&echo("d1", 1));
    assert_eq!(desk.result(again), 1);
    // By POST first.
    let call = desk.send(&echo("d2", 1));
    desk.rig.dispatch("d2", &payload);
    desk.rig.answer("d2", "2").unwrap();
    assert_eq!(desk.result(call), 2);
    let frames = desk.rig.frames();
    assert_eq!((frames.len(), &frames[0]["in_reply_to"]), (1, &json!("d2")));
    desk.rig.dispatch("d2", &payload);
    assert!(desk.rig.frames().is_empty(), "it is on its way");
    // By POST alone: none of it goes over the connection, unless it is asked for there.
    let call = desk.send(&echo("d3", 1));
    desk.rig.answer("d3", "3").unwrap();
    assert_eq!(desk.result(call), 3);
    assert!(desk.rig.frames().is_empty());
    desk.rig.dispatch("d3", &payload);
    assert_eq!(desk.rig.frames()[0]["payload"]["result"], 3);
    assert_eq!(desk.delivered(), ["d1", "d2", "d3"]);
}

#[test]
fn a_stream_begins_at_once_lives_and_ends_with_its_event() {
    let mut desk = Desk::new(&json!({}));
    let call = desk.stream(&echo("d1", 1));
    let parts = desk.parts(call);
    let (status, headers) = parts[0].head.clone().unwrap();
    assert_eq!((status, headers[0].1.as_str()), (200, "text/event-stream"));
    assert_eq!((parts.len(), parts[0].more), (1, true));
    desk.rig.advance(seconds(14));
    assert_eq!(desk.parts(call).len(), 1);
    desk.rig.advance(seconds(32));
    let parts = desk.parts(call);
    assert_eq!(parts.len(), 4, "a comment every 15 s");
    assert!(parts[1..].iter().all(|part| part.body.starts_with(':')));
    desk.rig.answer("d1", "1").unwrap();
    let parts = desk.parts(call);
    let result = &event(&parts[4].body)["result"];
    assert_eq!(
        (parts[4].more, &result["parts"][0]["data"]["result"]),
        (false, &json!(1))
    );
    desk.rig.advance(seconds(600));
    assert_eq!(desk.parts(call).len(), 5);
    assert_eq!(
        desk.rig.machine.poll_timeout(),
        None,
        "nothing is left to be done"
    );
    let again = desk.stream(&echo("d1", 1));
    assert_eq!(desk.parts(again).len(), 1, "there is nothing to wait for");
}

#[test]
fn who_hangs_up_cancels_nothing() {
    let mut desk = Desk::new(&json!({}));
    let call = desk.stream(&echo("d1", 1));
    assert!(desk.rig.machine.cancel_call(call));
    assert!(!desk.rig.machine.cancel_call(call) && !desk.rig.machine.cancel_call(99));
    desk.rig.collect();
    let parts = desk.parts(call);
    assert!(parts[1].cancelled && !parts[1].more);
    desk.rig.advance(seconds(20));
    desk.rig.answer("d1", "1").unwrap();
    let again = desk.send(&echo("d1", 1));
    assert_eq!(desk.result(again), 1);
    assert!(desk.rig.events_of(EventKind::DispatchCancelled).is_empty());
}

#[test]
fn the_forms_of_a2a_1_0_are_answered_in_kind() {
    let mut desk = Desk::new(&json!({}));
    let mut body = message("SendMessage", "m1", &echo("d1", 1));
    body["params"]["message"]["parts"] = json!([{"data": echo("d1", 1)}]);
    let call = desk.post(body.to_string().as_bytes());
    desk.rig.answer("d1", "1").unwrap();
    let (_, answer) = desk.answer(call);
    assert_eq!(answer["result"]["message"]["role"], "ROLE_AGENT");
    // Whoever retries in the other version gets the same in that.
    let again = desk.send(&echo("d1", 1));
    let (_, old) = desk.answer(again);
    assert_eq!(
        old["result"]["messageId"],
        answer["result"]["message"]["messageId"]
    );
    assert_eq!(old["result"]["kind"], "message");
}
