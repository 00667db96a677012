//! What a hosted agent's replies are taken for.

mod peer;

use peer::{
    hosted::{HostedAgent, Served, echo},
    start,
};
use serde_json::{Value, json};
use svantic_gateway::Answer;

fn error(code: &str, message: &str) -> Answer {
    Answer::Error {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// Replies whose outcome is the agent's own, without a violation.
#[tokio::test]
async fn failures_are_read_wherever_a2a_puts_them() {
    let failed = |code: &str| {
        json!({"kind": "task", "id": "t", "contextId": "c", "status": {"state": "failed", "message": {
            "kind": "message", "messageId": "m", "role": "agent", "parts": [
                {"kind": "text", "text": "no such order"},
                {"kind": "data", "data": {"error": {"code": code, "message": "no such order"}}},
            ],
        }}})
    };
    let mut failed_1_0 = json!({"task": failed("OWN_CODE")});
    failed_1_0["task"]["status"]["state"] = "TASK_STATE_FAILED".into();
    let plainly = json!({"kind": "task", "status": {"state": "rejected", "message": {"parts": [{"kind": "text", "text": "no"}]}}});
    let rpc = |error: Value| json!({"error": error});
    let info =
        json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INVALID_ARGS"}]);
    let cases = [
        (
            200,
            json!({"result": failed("HANDLER_ERROR")}),
            error("HANDLER_ERROR", "no such order"),
        ),
        (
            200,
            json!({"result": failed_1_0}),
            error("OWN_CODE", "no such order"),
        ),
        (
            200,
            json!({"result": plainly}),
            error("TASK_REJECTED", "no"),
        ),
        (
            200,
            rpc(json!({"code": -32602, "message": "m", "data": {"code": "INVALID_ARGS"}})),
            error("INVALID_ARGS", "m"),
        ),
        (
            200,
            rpc(json!({"code": -32602, "message": "m", "data": info})),
            error("INVALID_ARGS", "m"),
        ),
        (
            200,
            rpc(json!({"code": -32601, "message": "m"})),
            error("JSONRPC_-32601", "m"),
        ),
        (
            401,
            rpc(json!({"code": -32001, "message": "m"})),
            error("HTTP_401", "m"),
        ),
        (
            503,
            rpc(json!({"code": -32000, "message": "m", "data": {"code": "AGENT_OVERLOADED"}})),
            error("AGENT_OVERLOADED", "m"),
        ),
    ];
    let gateway = start();
    let replies = cases.clone();
    let agent = HostedAgent::start(move |call, before| {
        let (status, body, _) = &replies[before];
        let mut body = body.clone();
        body["jsonrpc"] = "2.0".into();
        body["id"] = call.id().into();
        Served::json(*status, &body)
    })
    .await;
    agent.join(&gateway, "h").await;
    for (status, body, wanted) in &cases {
        let pending = gateway.begin_dispatch(echo(json!({})));
        assert_eq!(pending.outcome().await.as_ref(), Ok(wanted), "{body}");
        let entry = gateway.ledger_entry(pending.id()).unwrap();
        assert_eq!(entry.answers[0].http_status, Some(*status));
    }
    assert_eq!(gateway.totals().errors, 8);
    assert!(
        gateway.violations().is_empty(),
        "{:?}",
        gateway.violations()
    );
}

/// What a proxy says is an error without being a violation; what an agent garbles is both.
#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    let cases: [(Served, &str, bool); 7] = [
        (
            Served::Reply(502, "text/html", "<h1>bad</h1>".to_owned()),
            "HTTP_502",
            false,
        ),
        (
            Served::Reply(200, "text/html", "<h1>hello</h1>".to_owned()),
            "INVALID_REPLY",
            true,
        ),
        (
            Served::json(200, &json!({"result": 1})),
            "INVALID_REPLY",
            true,
        ),
        (
            Served::json(
                200,
                &json!({"jsonrpc": "2.0", "id": "x", "result": {"kind": "message", "parts": []}}),
            ),
            "INVALID_REPLY",
            true,
        ),
        (
            Served::json(
                200,
                &json!({"jsonrpc": "2.0", "id": "x", "result": {"kind": "task", "status": {"state": "working"}}}),
            ),
            "INVALID_REPLY",
            true,
        ),
        (
            Served::Reply(200, "text/event-stream", "data: {}\n\n".to_owned()),
            "INVALID_REPLY",
            true,
        ),
        (
            Served::json(
                200,
                &json!({"jsonrpc": "2.0", "id": "x", "error": {"code": 1, "message": "of another"}}),
            ),
            "JSONRPC_1",
            true,
        ),
    ];
    let gateway = start();
    let replies = cases.clone();
    let agent = HostedAgent::start(move |_, before| replies[before].0.clone()).await;
    agent.join(&gateway, "h").await;
    let mut violations = 0;
    for (served, wanted, violates) in cases {
        let answer = gateway.begin_dispatch(echo(json!({}))).outcome().await;
        let Ok(Answer::Error { code, .. }) = answer else {
            panic!("{served:?}: {answer:?}")
        };
        assert_eq!(code, wanted, "{served:?}");
        violations += usize::from(violates);
        assert_eq!(gateway.violations().len(), violations, "{served:?}");
    }
}
