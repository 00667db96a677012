//! Dispatches over the wire (`protocol.md` 7): what is refused before a handler sees it, and what a handler sees.

use serde_json::{Value, json};
use svantic_gateway::{Answer, DispatchRequest, Gateway};

use crate::abi::{Agent, answer, code, echo, gateway, sees};

fn agent(gateway: &Gateway) -> Agent {
    let agent = Agent::of(gateway, &json!({}));
    agent.define(&json!({"name": "find_order", "description": "finds an order", "parameters": {
        "type": "object", "required": ["order"], "additionalProperties": false,
        "properties": {"order": {"type": "object", "required": ["id"], "properties": {
            "id": {"type": "string", "minLength": 3}, "lines": {"type": "array", "items": {"type": "integer"}},
        }}},
    }}));
    agent.connect().expect("a good gateway");
    agent
}

fn refused(gateway: &Gateway, agent: &Agent, request: DispatchRequest) -> (String, String) {
    let pending = gateway.begin_dispatch(request.to(agent.id()));
    let Answer::Error { code, message } = answer(&pending) else {
        panic!("it was accepted")
    };
    let event = agent.event("dispatch_refused");
    assert_eq!(event, json!({"dispatch_id": pending.id(), "code": code}));
    (code, message)
}

#[test]
fn what_a_handler_never_sees() {
    let gateway = gateway();
    let agent = agent(&gateway);
    let find = |args: Value| DispatchRequest::new("find_order", args);
    for (request, wanted, says) in [
        (DispatchRequest::default(), "INVALID_DISPATCH", "skill_id"),
        (
            DispatchRequest::new("find_orders", json!({})),
            "UNKNOWN_SKILL",
            "find_orders",
        ),
        (
            DispatchRequest::new("Find_Order", json!({})),
            "UNKNOWN_SKILL",
            "Find_Order",
        ),
        (DispatchRequest::new("", json!({})), "UNKNOWN_SKILL", "\"\""),
        (
            DispatchRequest::new("\"}{é\u{1f980}\n", json!({})),
            "UNKNOWN_SKILL",
            "é\u{1f980}",
        ),
        (find(json!({})), "INVALID_ARGS", "order"),
        (find(json!(null)), "INVALID_ARGS", "order"),
        (find(json!([1])), "INVALID_ARGS", "order"),
        (find(json!("order")), "INVALID_ARGS", "order"),
        (
            DispatchRequest {
                args: None,
                ..find(json!({}))
            },
            "INVALID_ARGS",
            "order",
        ),
        (find(json!({"order": {}})), "INVALID_ARGS", "/order"),
        (
            find(json!({"order": {"id": "ab"}})),
            "INVALID_ARGS",
            "/order/id",
        ),
        (
            find(json!({"order": {"id": "abc", "lines": [1, "two"]}})),
            "INVALID_ARGS",
            "/order/lines/1",
        ),
        (
            find(json!({"order": {"id": "abc"}, "more": 1})),
            "INVALID_ARGS",
            "more",
        ),
    ] {
        let shown = format!("{request:?}");
        let (code, message) = refused(&gateway, &agent, request);
        assert_eq!(code, wanted, "{shown}");
        assert!(message.contains(says), "{message:?} for {shown}");
    }
    let history = agent.history();
    assert!(history.iter().all(|item| item["type"] != "dispatch"));
    let good =
        gateway.begin_dispatch(find(json!({"order": {"id": "abc", "lines": [1]}})).to(agent.id()));
    assert_eq!(agent.dispatch()["dispatch_id"], good.id());
    agent
        .resolve(good.id(), &json!({"state": "shipped"}))
        .unwrap();
    assert_eq!(answer(&good), Answer::Result(json!({"state": "shipped"})));
}

/// `protocol.md` 7, rule 2: arguments that are absent or not an object are none.
#[test]
fn arguments_that_are_none() {
    let gateway = gateway();
    let agent = agent(&gateway);
    for args in [
        None,
        Some(json!(null)),
        Some(json!([1, 2])),
        Some(json!("x")),
        Some(json!(7)),
        Some(json!({})),
    ] {
        let pending = gateway.begin_dispatch(
            DispatchRequest {
                args,
                ..echo(json!({}))
            }
            .to(agent.id()),
        );
        let item = agent.dispatch();
        assert_eq!(item["args"], json!({}));
        agent.resolve(pending.id(), &item["args"]).unwrap();
        assert_eq!(answer(&pending), Answer::Result(json!({})));
    }
}

#[test]
fn a_request_carries_the_context_that_the_mesh_sent() {
    let gateway = gateway();
    let agent = agent(&gateway);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let whole = DispatchRequest {
        session_context: Some(
            json!({"session_id": "s1", "tenant_id": "t1", "other": {"deep": true}}),
        ),
        traceparent: Some(trace.to_owned()),
        baggage: Some("user=alice,plan=pro%20plus;ttl=3".to_owned()),
        ..echo(json!({"n": 1}))
    };
    let headers = json!({"traceparent": trace, "baggage": "user=alice,plan=pro%20plus;ttl=3"});
    for (request, context) in [
        (echo(json!({"n": 1})), json!({})),
        (
            whole.clone(),
            json!({
                "session_id": "s1", "tenant_id": "t1", "traceparent": trace,
                "parent_trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "parent_span_id": "00f067aa0ba902b7",
                "baggage": {"user": "alice", "plan": "pro plus"}, "propagation_headers": headers,
            }),
        ),
        // Looked for in the session's context too.
        (
            DispatchRequest {
                session_context: Some(json!({"traceparent": trace, "baggage": "a=b"})),
                ..echo(json!({"n": 1}))
            },
            json!({
                "traceparent": trace, "parent_trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                "parent_span_id": "00f067aa0ba902b7", "baggage": {"a": "b"},
                "propagation_headers": {"traceparent": trace, "baggage": "a=b"},
            }),
        ),
        // Malformed trace context is absent, never an error; so is a context of the wrong type.
        (
            DispatchRequest {
                traceparent: Some(
                    "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
                ),
                session_context: Some(json!({"session_id": 7, "tenant_id": "t1"})),
                ..echo(json!({"n": 1}))
            },
            json!({"tenant_id": "t1"}),
        ),
        (
            DispatchRequest {
                session_context: Some(json!("s1")),
                ..echo(json!({"n": 1}))
            },
            json!({}),
        ),
    ] {
        let pending = gateway.begin_dispatch(request.to(agent.id()));
        let item = agent.dispatch();
        let mut wanted = json!({
            "type": "dispatch", "dispatch_id": pending.id(), "skill_id": "echo", "args": {"n": 1}, "deadline_ms": 60_000,
        });
        for (key, value) in context.as_object().unwrap() {
            wanted[key] = value.clone();
        }
        assert_eq!(item, wanted);
        agent.resolve(pending.id(), &Value::Null).unwrap();
        assert_eq!(answer(&pending), Answer::Result(Value::Null));
    }
}

#[test]
fn a_dispatch_that_arrives_twice_runs_once() {
    let gateway = gateway();
    let agent = agent(&gateway);
    let twice = |n| {
        DispatchRequest {
            id: Some("again".to_owned()),
            ..echo(json!({"n": n}))
        }
        .to(agent.id())
    };
    // While it runs.
    let first = gateway.begin_dispatch(twice(1));
    let second = gateway.begin_dispatch(twice(1));
    assert_eq!(agent.dispatch()["dispatch_id"], "again");
    agent.resolve("again", &json!("once")).unwrap();
    assert_eq!(
        (answer(&first), answer(&second)),
        (Answer::Result(json!("once")), Answer::Result(json!("once")))
    );
    // After its answer: the same bytes again.
    assert_eq!(
        answer(&gateway.begin_dispatch(twice(2))),
        Answer::Result(json!("once"))
    );
    let ledger = gateway.ledger();
    let answers = &ledger.get("again").unwrap().answers;
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].text, answers[1].text);
    // A refusal is repeated too.
    let bad = || {
        DispatchRequest {
            id: Some("bad".to_owned()),
            ..DispatchRequest::default()
        }
        .to(agent.id())
    };
    for _ in 0..2 {
        assert_eq!(
            code(&answer(&gateway.begin_dispatch(bad()))),
            "INVALID_DISPATCH"
        );
    }
    let asked = agent
        .history()
        .iter()
        .filter(|item| item["type"] == "dispatch")
        .count();
    assert_eq!(asked, 1);
    assert_eq!(agent.snapshot()["counters"]["duplicates"], 3);
    agent
        .resolve("again", &json!("twice"))
        .unwrap_err()
        .says(&["DISPATCH_ENDED"]);
}

#[test]
fn ids_with_odd_characters() {
    let gateway = gateway();
    let agent = agent(&gateway);
    for (n, id) in [
        "\"quoted\" \\back\\slash\\",
        "line\nbreak\ttab\r",
        "é\u{1f980}\u{202e}",
        "{\"in_reply_to\":\"x\"}",
        " ",
        "../../etc/passwd",
        "%00%n%s",
        "\u{7f}\u{1b}[31m",
        &"x".repeat(128),
        &"é".repeat(64),
    ]
    .into_iter()
    .enumerate()
    {
        let request = DispatchRequest {
            id: Some(id.to_owned()),
            ..echo(json!({"n": 1}))
        };
        let pending = gateway.begin_dispatch(request.to(agent.id()));
        assert_eq!(agent.dispatch()["dispatch_id"], id);
        agent.resolve(id, &json!({"id": id})).unwrap();
        assert_eq!(
            answer(&pending),
            Answer::Result(json!({"id": id})),
            "{id:?}"
        );
        // Refused ones are answered under their odd ids as well.
        let id = Some(format!("{n}{}", id.chars().take(30).collect::<String>()));
        let request = DispatchRequest {
            id,
            ..DispatchRequest::default()
        };
        assert_eq!(
            code(&answer(&gateway.begin_dispatch(request.to(agent.id())))),
            "INVALID_DISPATCH"
        );
    }
    assert_eq!(gateway.violations(), [""; 0]);
}

#[test]
fn answers_of_every_shape_arrive_as_they_are() {
    let gateway = gateway();
    let agent = agent(&gateway);
    for result in [
        json!(null),
        json!(true),
        json!(-0.5),
        json!(u64::MAX),
        json!("\u{0}\u{1f}\u{2028}\"\\é"),
        json!([]),
        json!({"": {"nested": [[[{}]]]}}),
    ] {
        let pending = gateway.begin_dispatch(echo(json!({})).to(agent.id()));
        agent.dispatch();
        agent.resolve(pending.id(), &result).unwrap();
        assert_eq!(answer(&pending), Answer::Result(result));
    }
    for (code, message) in [
        ("HANDLER_ERROR", "no \"such\"\n order é"),
        ("OUT_OF_STOCK", ""),
        ("X", "\u{1f980}"),
    ] {
        let pending = gateway.begin_dispatch(echo(json!({})).to(agent.id()));
        agent.dispatch();
        agent.reject(pending.id(), code, message).unwrap();
        let Answer::Error {
            code: got,
            message: said,
        } = answer(&pending)
        else {
            panic!("no error")
        };
        assert_eq!(got, code);
        assert!(said.ends_with(message), "{said:?}");
    }
}

#[test]
fn a_dispatch_that_nobody_answers_is_answered_at_its_deadline() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"dispatch_timeout_ms": 100}));
    let pending = gateway.begin_dispatch(echo(json!({})).to(agent.id()));
    assert_eq!(agent.dispatch()["deadline_ms"], 100);
    let message = "capability \"echo\" failed: no answer within 100 ms".to_owned();
    assert_eq!(
        answer(&pending),
        Answer::Error {
            code: "HANDLER_ERROR".to_owned(),
            message
        }
    );
    assert_eq!(
        agent.event("dispatch_cancelled"),
        json!({"dispatch_id": pending.id(), "reason": "deadline"})
    );
    agent
        .resolve(pending.id(), &json!(1))
        .unwrap_err()
        .says(&["DISPATCH_ENDED", "deadline"]);
    assert_eq!(gateway.ledger().get(pending.id()).unwrap().answers.len(), 1);
}

/// Answers may leave in any order; one slow handler delays no other.
#[test]
fn answers_in_any_order() {
    let gateway = gateway();
    let agent = agent(&gateway);
    let all: Vec<_> = (0..50)
        .map(|n| gateway.begin_dispatch(echo(json!({"n": n})).to(agent.id())))
        .collect();
    for _ in &all {
        agent.dispatch();
    }
    for (n, pending) in all.iter().enumerate().rev() {
        agent.resolve(pending.id(), &json!(n)).unwrap();
        assert_eq!(answer(pending), Answer::Result(json!(n)));
    }
    sees(&gateway, "every answer once", |seen| {
        seen.ledger()
            .entries()
            .iter()
            .all(|entry| entry.answers.len() == 1)
    });
}
