//! Who is believed to be the mesh (`security.md` S-04, S-10, S-11), through everything that a request passes.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, seconds};
use super::rig_calls::{Desk, echo, message};
use crate::machine::event::EventKind;
use crate::protocol::dispatch_auth::tests::forged::forged_tokens;
use crate::protocol::dispatch_auth::tests::{
    HEADER, NOW, SECRET, good_token, signed, with, without,
};
use crate::replay::ReplayTable;

/// An agent whose clock shows the time of the tokens.
fn desk(changes: &Value) -> Desk {
    let mut whole = json!({"instance_id": "i1", "agent_type": "desk", "signing_secret": SECRET});
    for (key, value) in changes.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let mut desk = Desk::new(&whole);
    at_noon(&mut desk.rig);
    desk
}

fn at_noon(rig: &mut Rig) {
    let shown = i64::try_from(rig.now().unix_ms).unwrap();
    rig.wall_offset_ms += i64::try_from(NOW * 1000).unwrap() - shown;
}

fn by_token(token: &str, n: u64) -> Value {
    json!({"skill_id": "echo", "args": {"n": n}, "svantic_auth": {"scheme": "svantic_jwt", "token": token}})
}

fn token(dispatch_id: &str) -> String {
    signed(HEADER, with("dispatch_id", &format!("\"{dispatch_id}\"")))
}

fn status(desk: &mut Desk, data: &Value) -> u16 {
    let call = desk.send(data);
    desk.parts(call)
        .first()
        .map_or(0, |part| part.head.as_ref().unwrap().0)
}

#[test]
fn every_forged_token_gets_the_same_answer_and_no_handler() {
    let mut desk = Desk::registered(
        &json!({"instance_id": "i1", "agent_type": "desk", "signing_secret": SECRET, "shared_secret": "hush"}),
    );
    at_noon(&mut desk.rig);
    let mut answers = Vec::new();
    let forged = forged_tokens();
    assert!(forged.len() >= 100);
    for (token, _) in &forged {
        let call = desk.send(&by_token(token, 1));
        answers.extend(desk.parts(call));
    }
    for data in [
        json!({"skill_id": "echo"}),
        json!({"skill_id": "echo", "svantic_auth": null}),
        json!({"skill_id": "echo", "svantic_auth": "x"}),
        json!({"skill_id": "echo", "svantic_auth": {"scheme": "none"}}),
        json!({"skill_id": "echo", "svantic_auth": {"scheme": "shared_secret", "token": SECRET}}),
        json!({"skill_id": "echo", "svantic_auth": {"scheme": "shared_secret", "token": ""}}),
        json!({"skill_id": "none", "svantic_auth": {"scheme": "shared_secret", "token": "hus"}}),
    ] {
        let call = desk.stream(&data);
        answers.extend(desk.parts(call));
    }
    let text = json!({"jsonrpc": "2.0", "id": 7, "method": "message/send", "params": {"message": {
        "messageId": "m", "parts": [{"kind": "text", "text": "hello"}]}}});
    let call = desk.post(text.to_string().as_bytes());
    answers.extend(desk.parts(call));
    assert_eq!(answers.len(), forged.len() + 8);
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    let (status, body) = desk.answer(call);
    assert_eq!((status, &body["error"]["code"]), (401, &json!(-32001)));
    assert!(desk.delivered().is_empty());
    assert_eq!(desk.snapshot("counters")["dispatches"], 0);
    let counted = desk.snapshot("dispatch_auth_refused");
    let sum: u64 = counted
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(sum, answers.len() as u64);
    assert_eq!(
        (&counted["missing_envelope"], &counted["secret_mismatch"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(
        desk.rig.events_of(EventKind::Log).len(),
        1,
        "the log is told once"
    );
    let call = desk.send(&by_token(&good_token(), 1));
    assert!(desk.parts(call).is_empty(), "and the good one runs");
    assert_eq!(desk.delivered(), ["d1"]);
}

#[test]
fn no_bit_of_a_good_token_can_be_flipped_on_the_way() {
    let mut desk = desk(&json!({}));
    let good = good_token();
    let mut refused = 0;
    for at in 0..good.len() {
        for bit in 0..7 {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let token = String::from_utf8(bytes).unwrap();
            refused += usize::from(status(&mut desk, &by_token(&token, 1)) == 401);
        }
    }
    assert_eq!(refused, good.len() * 7);
    assert!(desk.delivered().is_empty());
}

#[test]
fn a_token_is_good_for_one_run_and_its_retries() {
    let mut desk = desk(&json!({}));
    let first = desk.send(&by_token(&token("d1"), 1));
    assert_eq!(desk.delivered(), ["d1"], "the claim's id");
    // Signed anew, as a retry is.
    let again = signed(HEADER, with("exp", &(NOW + 90).to_string()));
    let second = desk.send(&by_token(&again, 1));
    assert_eq!(
        status(&mut desk, &by_token(&token("d1"), 2)),
        401,
        "another body"
    );
    desk.rig.answer("d1", "1").unwrap();
    assert_eq!(
        (desk.result(first), desk.result(second)),
        (json!(1), json!(1))
    );
    assert_eq!(status(&mut desk, &by_token(&again, 1)), 200);
    assert_eq!(status(&mut desk, &by_token(&again, 2)), 401);
    assert_eq!(
        desk.snapshot("dispatch_auth_refused"),
        json!({"replayed": 2})
    );
    // The answer is forgotten before the token is.
    for n in 0..10_001 {
        let id = format!("x{n}");
        desk.rig
            .machine
            .inbox
            .answer(desk.rig.now, &id.as_str().into(), "{}".into());
    }
    let gone = desk.send(&by_token(&again, 1));
    assert_eq!(desk.refusal(gone).2, "DUPLICATE_DISPATCH");
    desk.rig.machine.inbox.clear();
    assert_eq!(status(&mut desk, &by_token(&again, 1)), 401);
    assert!(desk.delivered().is_empty());
    assert_eq!(status(&mut desk, &by_token("e30.e30.x", 1)), 401);
}

#[test]
fn a_call_that_was_turned_away_may_come_again_with_its_token() {
    let mut desk = desk(&json!({"max_in_flight": 1, "max_queued_dispatches": 0}));
    assert_eq!(status(&mut desk, &by_token(&token("d1"), 1)), 0);
    assert_eq!(status(&mut desk, &by_token(&token("d2"), 1)), 503);
    desk.rig.answer("d1", "1").unwrap();
    assert_eq!(status(&mut desk, &by_token(&token("d2"), 1)), 0);
    assert_eq!(desk.delivered(), ["d1", "d2"]);
    assert_eq!(status(&mut desk, &by_token(&token("d2"), 2)), 401);
    // What is wrong stays wrong, and the token is spent.
    let mut wrong = by_token(&token("d3"), 1);
    wrong["skill_id"] = "none".into();
    assert_eq!(status(&mut desk, &wrong), 200);
    assert_eq!(status(&mut desk, &by_token(&token("d3"), 1)), 401);
    assert_eq!(status(&mut desk, &wrong), 200);
}

#[test]
fn a_full_table_turns_away_what_is_new_and_a_clock_set_back_revives_nothing() {
    let mut desk = desk(&json!({}));
    *desk.rig.machine.replay = ReplayTable::new(2);
    assert_eq!(status(&mut desk, &by_token(&token("d1"), 1)), 0);
    assert_eq!(status(&mut desk, &by_token(&token("d2"), 1)), 0);
    assert_eq!(status(&mut desk, &by_token(&token("d3"), 1)), 503);
    assert_eq!(status(&mut desk, &by_token(&token("d1"), 2)), 401);
    assert_eq!(desk.delivered(), ["d1", "d2"]);
    assert_eq!(
        desk.snapshot("dispatch_auth_refused"),
        json!({"replay_table_full": 1, "replayed": 1})
    );
    for minute in 1..80 {
        desk.rig.advance(Duration::from_mins(1));
        if minute == 2 {
            desk.rig.wall_offset_ms -= 3_600_000;
        }
        let call = desk.send(&by_token(&token("d1"), 2));
        assert_eq!(desk.answer(call).0, 401, "minute {minute}");
    }
    assert_eq!(desk.delivered(), [""; 0]);
}

#[test]
fn a_token_for_another_tenant_is_for_nobody_here() {
    let other = signed(HEADER, with("tenant_id", "\"t2\""));
    let mut unregistered = desk(&json!({}));
    assert_eq!(
        status(&mut unregistered, &by_token(&other, 1)),
        0,
        "not known yet"
    );
    let mut desk = Desk::registered(
        &json!({"instance_id": "i1", "agent_type": "desk", "signing_secret": SECRET}),
    );
    at_noon(&mut desk.rig);
    assert_eq!(status(&mut desk, &by_token(&other, 1)), 401);
    let mut says_otherwise = by_token(&token("d1"), 1);
    says_otherwise["session_context"] = json!({"tenant_id": "t2"});
    assert_eq!(status(&mut desk, &says_otherwise), 401);
    assert_eq!(
        desk.snapshot("dispatch_auth_refused"),
        json!({"wrong_audience": 2})
    );
    assert_eq!(status(&mut desk, &by_token(&token("d1"), 1)), 0);
    let request: Value = serde_json::from_str(desk.rig.delivered[0].request.text()).unwrap();
    assert_eq!(request["tenant_id"], "t1", "of the token");
}

#[test]
fn tenants_whose_tokens_name_the_same_dispatch_run_both() {
    let mut desk = desk(&json!({}));
    let a = desk.send(&by_token(&token("d1"), 1));
    let b = desk.send(&by_token(&signed(HEADER, with("tenant_id", "\"t2\"")), 1));
    let ids = desk.delivered();
    assert_eq!(ids.len(), 2);
    desk.rig.answer(&ids[1], "\"b\"").unwrap();
    desk.rig.answer(&ids[0], "\"a\"").unwrap();
    assert_eq!((desk.result(a), desk.result(b)), (json!("a"), json!("b")));
}

#[test]
fn a_token_without_a_tenant_runs_once_whatever_the_body_says_of_one() {
    let mut desk = desk(&json!({"deployment_mode": "connected"}));
    let connect = desk.rig.connect();
    desk.rig.reach_ready();
    assert!(desk.rig.result(connect).is_ok());
    let token = signed(HEADER, without("tenant_id"));
    let on_behalf_of = |tenant: &str| {
        let mut data = by_token(&token, 1);
        data["session_context"] = json!({"tenant_id": tenant});
        data
    };
    assert_eq!(status(&mut desk, &on_behalf_of("a")), 0);
    assert_eq!(status(&mut desk, &on_behalf_of("b")), 401);
    assert_eq!(status(&mut desk, &by_token(&token, 1)), 401);
    desk.rig.dispatch("f1", &on_behalf_of("c"));
    assert_eq!(
        desk.rig.frames().pop().unwrap()["payload"]["code"],
        "DISPATCH_AUTH_FAILED"
    );
    assert_eq!(desk.delivered(), ["d1"]);
    assert_eq!(
        desk.snapshot("dispatch_auth_refused"),
        json!({"replayed": 3})
    );
}

#[test]
fn with_a_shared_secret_an_empty_id_is_none() {
    let mut desk = desk(&json!({"signing_secret": null, "shared_secret": "hush"}));
    for n in 1..3 {
        let mut data = echo("", n);
        data["svantic_auth"] = json!({"scheme": "shared_secret", "token": "hush"});
        assert_eq!(status(&mut desk, &data), 0, "{n}");
    }
    assert_eq!(desk.delivered(), ["m1", "m2"], "the ids of the messages");
}

#[test]
fn a_shared_secret_is_good_as_often_as_it_is_shown_for_another_dispatch() {
    let mut desk =
        desk(&json!({"signing_secret": null, "shared_secret": "old", "shared_secret_next": "new"}));
    for (n, secret) in ["old", "new", "old"].into_iter().enumerate() {
        let mut data = echo(&format!("d{n}"), 1);
        data["svantic_auth"] = json!({"scheme": "shared_secret", "token": secret});
        assert_eq!(status(&mut desk, &data), 0, "{secret}");
    }
    assert_eq!(desk.delivered().len(), 3);
    assert_eq!(status(&mut desk, &by_token(&good_token(), 1)), 401);
}

#[test]
fn what_an_agent_without_a_secret_is_in_for_is_said_once() {
    let logged = |desk: &Desk| {
        let events = desk.rig.events.iter().filter(|e| e.kind == EventKind::Log);
        let levels: Vec<String> = events
            .filter(|e| {
                e.data["message"]
                    .as_str()
                    .unwrap()
                    .contains("SVANTIC_DISPATCH_SECRET")
            })
            .map(|e| e.data["level"].as_str().unwrap().to_owned())
            .collect();
        levels
    };
    let mut open = Desk::new(&json!({}));
    open.send(&echo("d1", 1));
    open.rig.connect();
    open.send(&echo("d2", 1));
    assert_eq!(logged(&open), ["warn"]);
    let mut required =
        Desk::new(&json!({"dispatch_auth": {"scheme": "svantic_jwt", "required": true}}));
    required.rig.connect();
    assert_eq!(logged(&required), ["error"]);
    let mut guarded = desk(&json!({}));
    guarded.rig.connect();
    assert!(logged(&guarded).is_empty());
    let mut connected = Rig::ready(&json!({}));
    connected.echo("d1");
    assert!(connected.events_of(EventKind::Log).is_empty());
    let mut both = Desk::new(&json!({"deployment_mode": "connected"}));
    both.rig.connect();
    assert!(logged(&both).is_empty(), "nobody has called its URL");
    both.send(&echo("d1", 1));
    both.send(&echo("d2", 1));
    assert_eq!(logged(&both), ["warn"]);
}

#[test]
fn over_a_connection_an_envelope_is_verified_where_there_is_one() {
    let mut desk = desk(&json!({"deployment_mode": "connected"}));
    let connect = desk.rig.connect();
    desk.rig.reach_ready();
    assert!(desk.rig.result(connect).is_ok());
    desk.rig.forget();
    desk.rig.dispatch("f0", &json!({"skill_id": "echo"}));
    desk.rig.dispatch("f1", &by_token(&token("d1"), 1));
    desk.rig.dispatch("f1", &by_token(&token("d1"), 1));
    assert_eq!(desk.delivered(), ["f0", "f1"]);
    assert!(desk.rig.frames().is_empty());
    for (frame, data, cause) in [
        ("f2", by_token(&token("d1"), 1), "replayed"),
        ("f3", by_token("e30.e30.x", 1), "malformed_envelope"),
        (
            "f4",
            json!({"skill_id": "echo", "svantic_auth": 7}),
            "malformed_envelope",
        ),
    ] {
        desk.rig.dispatch(frame, &data);
        let frames = desk.rig.frames();
        let payload =
            json!({"code": "DISPATCH_AUTH_FAILED", "message": "the dispatch is not authenticated"});
        assert_eq!(
            (&frames[0]["in_reply_to"], &frames[0]["payload"]),
            (&json!(frame), &payload)
        );
        assert!(
            desk.snapshot("dispatch_auth_refused")[cause].as_u64() > Some(0),
            "{cause}"
        );
    }
    desk.rig.dispatch("f3", &by_token(&token("d3"), 1));
    assert!(desk.rig.frames().is_empty(), "it has its answer");
    assert_eq!(desk.delivered(), [""; 0]);
    // The mesh that falls back to POST with the same token and another id of the frame is not run again.
    let call = desk.send(&by_token(&token("d1"), 1));
    assert_eq!(desk.answer(call).0, 401);
    let message = message("message/send", "m", &by_token(&token("d4"), 1));
    let call = desk.post(message.to_string().as_bytes());
    desk.rig.dispatch("d4", &by_token(&token("d4"), 1));
    desk.rig.answer("d4", "4").unwrap();
    assert_eq!(desk.result(call), 4);
    assert_eq!(desk.rig.frames()[0]["payload"]["result"], 4);
    desk.rig.advance(seconds(1));
}
