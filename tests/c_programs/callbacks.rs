//! Dispatches by callbacks: every answer, from every place, and what the mesh got.

use serde_json::json;
use svantic_gateway::DispatchRequest;

use crate::compiler;
use crate::process::{
    Case, HANG, INSTANCE, Under, assert_clean, error, gateway, play, result, send, send_args,
    start, start_under,
};

pub(crate) fn answer_in_the_handler_under(under: Under) {
    play(under, "callbacks", "answer_in_the_handler", |gateway| {
        for _ in 0..20 {
            assert_eq!(result(&send(gateway, "echo")), "ok");
        }
    });
}

#[test]
fn answer_in_the_handler() {
    answer_in_the_handler_under(Under::Nothing);
}

pub(crate) fn answer_later_under(under: Under) {
    play(
        under,
        "callbacks",
        "answer_later_from_another_thread",
        |gateway| {
            assert_eq!(
                result(&send(gateway, "later")),
                json!({"answered": "later"})
            );
        },
    );
}

#[test]
fn answer_later_from_another_thread() {
    answer_later_under(Under::Nothing);
}

#[test]
fn answered_twice() {
    play(Under::Nothing, "callbacks", "answered_twice", |gateway| {
        assert_eq!(result(&send(gateway, "twice")), 1);
    });
}

#[test]
fn never_answered() {
    play(Under::Nothing, "callbacks", "never_answered", |gateway| {
        let (code, message) = error(&send(gateway, "never"));
        assert_eq!(code, "HANDLER_ERROR");
        assert_eq!(
            message,
            "capability \"never\" failed: no answer within 200 ms"
        );
    });
}

#[test]
fn broken_results() {
    play(Under::Nothing, "callbacks", "broken_results", |gateway| {
        for which in 0..11 {
            let (code, _) = error(&send_args(gateway, "broken", json!({"which": which})));
            assert_eq!(code, "INVALID_RESULT", "number {which}");
        }
    });
}

#[test]
fn huge_result() {
    play(Under::Nothing, "callbacks", "huge_result", |gateway| {
        let (code, message) = error(&send(gateway, "huge"));
        assert_eq!(code, "RESULT_TOO_LARGE");
        assert!(message.contains("the limit is 4194304"), "{message}");
    });
}

#[test]
fn deep_result() {
    play(Under::Nothing, "callbacks", "deep_result", |gateway| {
        let (code, message) = error(&send(gateway, "deep"));
        assert_eq!(code, "INVALID_RESULT");
        assert_eq!(message, "the handler's result is nested too deeply");
        let deepest = result(&send_args(gateway, "deep", json!({"levels": 64})));
        assert_eq!(deepest.to_string().len(), 128);
    });
}

pub(crate) fn rejections_under(under: Under) {
    play(under, "callbacks", "rejections", |gateway| {
        let (code, message) = error(&send(gateway, "fail"));
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("HANDLER_ERROR", "capability \"fail\" failed: it broke")
        );
        let (code, message) = error(&send_args(gateway, "fail", json!({"named": true})));
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("OUT_OF_STOCK", "none \"left\" €")
        );
    });
}

#[test]
fn rejections() {
    rejections_under(Under::Nothing);
}

pub(crate) fn every_kind_of_result_under(under: Under) {
    play(under, "callbacks", "every_kind_of_result", |gateway| {
        let kinds = [
            json!(null),
            json!(true),
            json!(false),
            json!(-1.5e3),
            json!("é 🦀 \" \\ \0"),
            json!([]),
            json!([1, [2, {"a": 3}]]),
            json!({}),
            json!({"nested": {"deep": [null]}}),
        ];
        for (which, expected) in kinds.iter().enumerate() {
            assert_eq!(
                &result(&send_args(gateway, "kind", json!({"which": which}))),
                expected
            );
        }
        for args in [
            json!({}),
            json!({"text": "Grüße, 世界 🌍 \u{7f}\u{80}\u{2028}"}),
            json!({"control": "tab\tnewline\nnul\0", "numbers": [0, -0.0, 1e300, u64::MAX, i64::MIN]}),
            json!({"long": "x".repeat(1 << 20)}),
        ] {
            assert_eq!(result(&send_args(gateway, "mirror", args.clone())), args);
        }
    });
}

#[test]
fn every_kind_of_result() {
    every_kind_of_result_under(Under::Nothing);
}

#[test]
fn ten_thousand_dispatches() {
    play(Under::Nothing, "callbacks", "ten_thousand", |gateway| {
        let sent: Vec<_> = (0..10_000).map(|_| send(gateway, "many")).collect();
        for pending in &sent {
            assert_eq!(result(pending), "ok");
        }
    });
}

#[test]
fn disconnect_drains() {
    let gateway = gateway();
    let mut case = start(&gateway, "callbacks", "disconnect_drains");
    case.says("connected");
    let slow = send(&gateway, "slow");
    case.says("draining");
    let (code, _) = error(&send(&gateway, "slow"));
    assert_eq!(
        code, "AGENT_SHUTDOWN",
        "of a dispatch that came while draining"
    );
    assert_eq!(slow.poll(), None, "the running one is let finish");
    case.tell("answer");
    assert_eq!(result(&slow), "finished");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn disconnect_gives_up_at_its_time_limit() {
    let gateway = gateway();
    let mut case = start(&gateway, "callbacks", "disconnect_gives_up");
    case.says("connected");
    let (code, _) = error(&send(&gateway, "slow"));
    assert_eq!(code, "AGENT_SHUTDOWN");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn free_and_shutdown_answer_what_runs() {
    for by in [None, Some(("CHECK_BY_SHUTDOWN", "1"))] {
        let gateway = gateway();
        let program = compiler::program(&["c/callbacks.c"]);
        let variables: Vec<_> = by.into_iter().collect();
        let mut case = Case::spawn_with(
            Under::Nothing,
            &gateway,
            &program,
            "free_answers_what_runs",
            &variables,
        );
        case.says("connected");
        let (code, _) = error(&send(&gateway, "slow"));
        assert_eq!(code, "AGENT_SHUTDOWN");
        case.succeeds();
        assert_eq!(gateway.agent(INSTANCE).unwrap().deregistrations, 1);
        assert_clean(&gateway);
    }
}

pub(crate) fn freed_in_a_handler_under(under: Under) {
    let gateway = gateway();
    let mut case = start_under(under, &gateway, "reentrancy", "freed_in_a_handler");
    case.says("connected");
    let (code, _) = error(&send(&gateway, "free_me"));
    assert_eq!(code, "AGENT_SHUTDOWN");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn freed_in_a_handler() {
    freed_in_a_handler_under(Under::Nothing);
}

#[test]
fn freed_beside_another_handler() {
    let gateway = gateway();
    let mut case = start(&gateway, "reentrancy", "freed_beside_another_handler");
    case.says("connected");
    for args in [json!({}), json!({"free": true})] {
        let dispatch = DispatchRequest::new("work", args).to(INSTANCE);
        let _answered_below = gateway.begin_dispatch(dispatch);
    }
    case.succeeds();
    for entry in gateway.ledger().entries() {
        assert!(
            entry.answers[0].text.contains("AGENT_SHUTDOWN"),
            "{entry:?}"
        );
    }
    assert_clean(&gateway);
}

#[test]
fn freed_in_an_event() {
    crate::process::run("reentrancy", "freed_in_an_event");
}

#[test]
fn freed_in_a_completion() {
    crate::process::run("reentrancy", "freed_in_a_completion");
}

pub(crate) fn free_waits_under(under: Under) {
    let gateway = gateway();
    let mut case = start_under(under, &gateway, "reentrancy", "free_waits_for_a_callback");
    case.says("connected");
    let waits = send(&gateway, "wait");
    case.says("freeing");
    let (code, _) = error(&waits);
    assert_eq!(code, "AGENT_SHUTDOWN");
    case.tell("answered");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn free_waits_for_a_callback() {
    free_waits_under(Under::Nothing);
}

#[test]
fn shutdown_tells_of_a_callback() {
    let gateway = gateway();
    let mut case = start(&gateway, "reentrancy", "shutdown_tells_of_a_callback");
    case.says("connected");
    let (code, _) = error(&send(&gateway, "wait"));
    assert_eq!(code, "AGENT_SHUTDOWN");
    case.succeeds();
}

#[test]
fn would_deadlock() {
    let gateway = gateway();
    let mut case = start(&gateway, "reentrancy", "would_deadlock");
    case.says("connected");
    assert_eq!(result(&send(&gateway, "deadlock")), "not yet closed");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn blocking_calls_in_a_handler() {
    play(
        Under::Nothing,
        "reentrancy",
        "blocking_calls_in_a_handler",
        |gateway| {
            assert_eq!(result(&send(gateway, "everything")), "all of them");
            assert_eq!(gateway.agent(INSTANCE).unwrap().registrations, 2);
        },
    );
}

#[test]
fn a_token_given_in_an_event() {
    let gateway = gateway();
    let case = start(&gateway, "reentrancy", "a_token_given_in_an_event");
    case.succeeds();
    let tokens = gateway
        .requests()
        .iter()
        .filter(|request| request.path == "/auth/get_token")
        .count();
    assert_eq!(tokens, 1, "the second agent has asked its application only");
    assert_clean(&gateway);
}

#[test]
fn another_agent_ended_in_a_handler() {
    let gateway = gateway();
    let mut case = start(&gateway, "reentrancy", "another_agent_ended_in_a_handler");
    case.says("connected");
    for (skill, args) in [
        ("end_second", json!({"disconnect": true})),
        ("end_third", json!({})),
    ] {
        let _ended_by_the_agent =
            gateway.begin_dispatch(DispatchRequest::new(skill, args).to("one"));
    }
    assert!(gateway.wait_until(HANG, |seen| {
        ["two", "three"].iter().all(|id| {
            seen.agent(id)
                .is_some_and(|agent| agent.deregistrations == 1)
        })
    }));
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}
