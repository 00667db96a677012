//! Dispatches to hosted agents: how they are called, and what becomes of what they reply.

mod peer;

use std::time::Duration;

use peer::{
    Agent, SOON, TTL,
    hosted::{Call, HostedAgent, Served, dispatch, echo},
    post, start,
};
use serde_json::json;
use svantic_gateway::{A2aMethod, Answer, DispatchError, DispatchRequest, Gateway};

async fn heartbeat(gateway: &Gateway, instance_id: &str, status: &str) {
    let token = gateway.issue_token("desk", TTL);
    let body = json!({"instance_id": instance_id, "status": status});
    let reply = post(gateway, "/agents/heartbeat", Some(&token), &body).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_dispatch_is_a_call_at_the_endpoint_of_the_card() {
    let gateway = start();
    let agent = HostedAgent::start(|call, _| call.echo()).await;
    agent.join(&gateway, "h").await;
    let mut request = echo(json!({"n": 1}));
    request.id = Some("d-1".to_owned());
    request.session_context = Some(json!({"session_id": "s1"}));
    request.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    request.baggage = Some("k=v".to_owned());
    let answer = dispatch(&gateway, request.clone()).await;
    assert_eq!(answer, Ok(Answer::Result(json!({"n": 1}))));
    let [call] = agent.calls().try_into().unwrap();
    assert_eq!(call.path, "/desk/call-me");
    assert_eq!(call.headers["content-type"], "application/json");
    assert!(!call.headers.contains_key("a2a-version"));
    let data = json!({
        "skill_id": "echo", "args": {"n": 1}, "session_context": {"session_id": "s1"},
        "traceparent": request.traceparent, "baggage": "k=v",
    });
    let message = json!({
        "kind": "message", "messageId": "d-1", "role": "user", "parts": [{"kind": "data", "data": data}],
    });
    let whole = json!({
        "jsonrpc": "2.0", "id": "d-1", "method": "message/send", "params": {"message": message},
    });
    assert_eq!(call.json(), whole);

    let entry = gateway.ledger_entry("d-1").unwrap();
    assert_eq!((entry.sends, entry.copies), (1, 1));
    assert_eq!(entry.sent[0].url, Some(format!("{}/call-me", agent.url())));
    assert_eq!(entry.answers[0].http_status, Some(200));
    assert!(entry.answered_after.is_some());
    let totals = gateway.totals();
    assert_eq!((totals.sent, totals.posted, totals.results), (1, 1, 1));
    let frames = gateway.frames("h");
    assert_eq!(frames[0].json(), Some(whole));
    assert_eq!(frames.len(), 2);
    assert!(gateway.violations().is_empty());
}

#[tokio::test]
async fn every_method_is_called_and_read_as_its_version_writes_it() {
    let gateway = start();
    let agent = HostedAgent::start(|call, _| {
        let method = call.json()["method"].as_str().unwrap().to_owned();
        let result = json!({"result": method});
        let message = match method.as_str() {
            "SendMessage" | "SendStreamingMessage" => json!({"message": {
                "messageId": "m", "role": "ROLE_AGENT", "parts": [{"data": result}],
            }}),
            _ => json!({
                "kind": "message", "messageId": "m", "role": "agent", "parts": [{"kind": "data", "data": result}],
            }),
        };
        let body = json!({"jsonrpc": "2.0", "id": call.id(), "result": message});
        if method.to_lowercase().contains("stream") {
            let events = format!(": still at it\r\n\r\ndata: {body}\r\n\r\n");
            Served::Reply(200, "text/event-stream", events)
        } else {
            Served::json(200, &body)
        }
    })
    .await;
    agent.join(&gateway, "h").await;
    for method in [
        A2aMethod::MessageSend,
        A2aMethod::MessageStream,
        A2aMethod::SendMessage,
        A2aMethod::SendStreamingMessage,
    ] {
        let answer = dispatch(&gateway, echo(json!({})).by(method)).await;
        assert_eq!(answer, Ok(Answer::Result(method.name().into())));
        let call = agent.calls().pop().unwrap();
        let is_1_0 = method.name().starts_with("Send");
        assert_eq!(call.headers.contains_key("a2a-version"), is_1_0);
        let role = if is_1_0 { "ROLE_USER" } else { "user" };
        assert_eq!(call.message()["role"], role);
        assert_eq!(call.message().get("kind").is_some(), !is_1_0);
        assert_eq!(call.data()["skill_id"], "echo");
    }
    assert!(gateway.violations().is_empty());
}

#[tokio::test]
async fn a_text_goes_alone_when_there_is_nothing_else() {
    let gateway = start();
    let agent = HostedAgent::start(|call, _| call.result(&json!("heard"))).await;
    agent.join(&gateway, "h").await;
    let request = DispatchRequest {
        text: Some("where is A17?".to_owned()),
        ..DispatchRequest::default()
    };
    dispatch(&gateway, request).await.unwrap();
    let parts = agent.calls()[0].message()["parts"].clone();
    assert_eq!(parts, json!([{"kind": "text", "text": "where is A17?"}]));
}

#[tokio::test]
async fn a_broken_connection_is_tried_once_more_with_the_same_bytes() {
    let gateway = start();
    let agent = HostedAgent::start(|call, before| match before {
        0 => Served::HangUp,
        _ => call.echo(),
    })
    .await;
    agent.join(&gateway, "h").await;
    let pending = gateway.begin_dispatch(echo(json!({"n": 1})));
    assert_eq!(pending.outcome().await, Ok(Answer::Result(json!({"n": 1}))));
    let [first, second] = agent.calls().try_into().unwrap();
    assert_eq!(first.text, second.text);
    assert_eq!(gateway.ledger_entry(pending.id()).unwrap().sends, 2);
    assert_eq!(gateway.totals().post_retries, 1);

    let mut request = echo(json!({"n": 2}));
    request.loses_first_reply = true;
    let pending = gateway.begin_dispatch(request);
    assert_eq!(pending.outcome().await, Ok(Answer::Result(json!({"n": 2}))));
    let calls = agent.calls();
    assert_eq!(calls.len(), 4);
    assert_eq!(calls[2].text, calls[3].text);
    let entry = gateway.ledger_entry(pending.id()).unwrap();
    assert_eq!((entry.sends, entry.copies), (2, 1));
}

#[tokio::test]
async fn an_agent_that_breaks_twice_is_unreachable_and_says_why() {
    let gateway = start();
    let agent = HostedAgent::start(|_, _| Served::HangUp).await;
    agent.join(&gateway, "h").await;
    let pending = gateway.begin_dispatch(echo(json!({})));
    let outcome = pending.outcome().await;
    let Err(DispatchError::Unreachable(why)) = outcome else {
        panic!("{outcome:?}")
    };
    let endpoint = format!("{}/call-me", agent.url());
    assert!(why.contains(&endpoint), "{why}");
    assert_eq!(agent.calls().len(), 2);
    let entry = gateway.ledger_entry(pending.id()).unwrap();
    assert_eq!((entry.copies, entry.unreachable), (0, Some(why)));
    assert_eq!(gateway.ledger().running(), 0);
}

#[tokio::test]
async fn a_silent_agent_times_out() {
    let gateway = start();
    let agent = HostedAgent::start(|_, _| Served::Silence).await;
    agent.join(&gateway, "h").await;
    let request = echo(json!({})).within(Duration::from_millis(50));
    assert_eq!(
        dispatch(&gateway, request).await,
        Err(DispatchError::Timeout)
    );
    assert_eq!(gateway.totals().timed_out, 1);
}

#[tokio::test]
async fn who_drains_or_has_left_gets_nothing() {
    let gateway = start();
    let agent = HostedAgent::start(|call, _| call.echo()).await;
    agent.join(&gateway, "h").await;
    let soon = Duration::from_millis(50);
    for status in ["draining", "offline"] {
        heartbeat(&gateway, "h", status).await;
        assert!(!gateway.agent("h").unwrap().ready);
        let request = echo(json!({})).to("h").within(soon);
        assert_eq!(
            dispatch(&gateway, request).await,
            Err(DispatchError::NoAgent)
        );
    }
    let waiting = gateway.begin_dispatch(echo(json!({"n": 1})).to("h"));
    heartbeat(&gateway, "h", "busy").await;
    assert_eq!(waiting.outcome().await, Ok(Answer::Result(json!({"n": 1}))));
    assert_eq!(agent.calls().len(), 1);

    let token = gateway.issue_token("desk", TTL);
    let gone = json!({"agent_type": "desk", "instance_id": "h"});
    let reply = post(&gateway, "/agents/deregister", Some(&token), &gone).await;
    assert_eq!(reply.status, 200);
    for request in [echo(json!({})), echo(json!({})).to("h")] {
        let outcome = dispatch(&gateway, request.within(soon)).await;
        assert_eq!(outcome, Err(DispatchError::NoAgent));
    }
    let waiting = gateway.begin_dispatch(echo(json!({"n": 2})));
    agent.join(&gateway, "h").await;
    assert_eq!(waiting.outcome().await, Ok(Answer::Result(json!({"n": 2}))));
    assert!(gateway.forget("h"));
    assert!(!gateway.agent("h").unwrap().ready);
    assert_eq!(agent.calls().len(), 2);
}

#[tokio::test]
async fn connected_and_hosted_agents_take_turns() {
    let gateway = start();
    let hosted = HostedAgent::start(|call, _| call.result(&json!("hosted"))).await;
    hosted.join(&gateway, "a-hosted").await;
    let mut connected = Agent::join(&gateway, "b-connected").await;
    assert!(connected.ready());
    let first = gateway.begin_dispatch(echo(json!({})));
    let second = gateway.begin_dispatch(echo(json!({})));
    assert_eq!(first.outcome().await, Ok(Answer::Result(json!("hosted"))));
    let id = connected.next().await["id"].as_str().unwrap().to_owned();
    assert_eq!(id, second.id());
    connected.answer(&id, &json!("connected")).await;
    assert_eq!(
        second.outcome().await,
        Ok(Answer::Result(json!("connected")))
    );
}

// The gateway is waited for on the test's own thread, so the agent needs another.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_same_id_and_a_repetition_are_the_same_bytes_again() {
    let gateway = start();
    let agent = HostedAgent::start(|call: &Call, _| call.echo()).await;
    agent.join(&gateway, "h").await;
    let mut request = echo(json!({"n": 1}));
    request.id = Some("d-1".to_owned());
    dispatch(&gateway, request.clone()).await.unwrap();
    dispatch(&gateway, request).await.unwrap();
    assert!(gateway.repeat_last_dispatch("h"));
    let three = |seen: &svantic_gateway::Snapshot<'_>| {
        seen.ledger()
            .get("d-1")
            .is_some_and(|entry| entry.copies == 3)
    };
    assert!(gateway.wait_until(SOON, three));
    let calls = agent.calls();
    assert!(calls.iter().all(|call| call.text == calls[0].text));
    assert!(gateway.ledger_entry("d-1").unwrap().all_identical);
    assert_eq!(gateway.totals().duplicates_identical, 2);
    assert!(!gateway.repeat_last_dispatch("nobody"));
    assert!(gateway.violations().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_repetition_that_is_lost_does_not_end_the_dispatch_that_waits() {
    let gateway = start();
    let agent = HostedAgent::start(|call: &Call, before| match before {
        0 => Served::Silence,
        1 | 2 => Served::HangUp,
        _ => call.echo(),
    })
    .await;
    agent.join(&gateway, "h").await;
    let pending = gateway.begin_dispatch(echo(json!({"n": 1})));
    while agent.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(gateway.repeat_last_dispatch("h"));
    let lost = |seen: &svantic_gateway::Snapshot<'_>| {
        let entry = seen.ledger().get(pending.id());
        entry.is_some_and(|entry| entry.unreachable.is_some())
    };
    assert!(gateway.wait_until(SOON, lost));
    assert!(gateway.repeat_last_dispatch("h"));
    assert!(matches!(pending.outcome().await, Ok(Answer::Result(_))));
}
