//! What a bad agent does is noticed, each kind by its words; what a good one may do is not.

mod peer;

use peer::{Agent, SOON, http, start, upgrade};
use serde_json::json;
use svantic_gateway::{DispatchRequest, Faults, Gateway, Options, Stage};
use tokio_tungstenite::tungstenite::Message;

fn noticed(gateway: &Gateway, words: &str) {
    let found = gateway.wait_until(SOON, |seen| {
        seen.violations().iter().any(|v| v.contains(words))
    });
    assert!(found, "no {words:?} in {:?}", gateway.violations());
}

#[tokio::test]
async fn a_bad_first_frame_is_noticed_and_the_socket_closed() {
    let payload = |instance: &str, agent_type: &str| {
        json!({"instance_id": instance, "agent_type": agent_type, "agent_version": "1",
               "sdk_version": "1", "agent_card": {}})
    };
    for (kind, payload, words) in [
        ("heartbeat", json!({}), "heartbeat before hello"),
        (
            "dispatch_result",
            json!({"result": 1}),
            "dispatch_result before hello",
        ),
        ("hello", json!({}), "hello without the string instance_id"),
        (
            "hello",
            payload("b", "desk"),
            "hello with instance_id \"b\"",
        ),
        (
            "hello",
            payload("a", "other"),
            "hello with agent_type \"other\"",
        ),
    ] {
        let gateway = start();
        let mut agent = Agent::dial(&gateway, "a").await;
        agent.say(kind, &payload, None).await;
        assert_eq!(agent.close_code().await, Some(4400), "{words}");
        noticed(&gateway, words);
        assert!(!gateway.agent("a").unwrap().ready);
    }
}

#[tokio::test]
async fn bad_texts_and_envelopes_are_noticed() {
    let ts = "2026-05-01T08:00:00.000Z";
    for (text, words) in [
        ("nonsense".to_owned(), "not JSON"),
        ("{\"v\":1".to_owned(), "not JSON"),
        ("[]".to_owned(), "bad envelope"),
        (json!({"v": 2, "type": "heartbeat", "id": "x", "ts": ts, "payload": {}}).to_string(), "v is 2"),
        (json!({"v": 1, "type": "heartbeat", "id": "", "ts": ts, "payload": {}}).to_string(), "id of 0 bytes"),
        (json!({"v": 1, "type": "heartbeat", "id": "x", "ts": "now", "payload": {}}).to_string(), "ISO-8601"),
        (json!({"v": 1, "type": "heartbeat", "id": "x", "ts": ts}).to_string(), "missing field `payload`"),
        (json!({"v": 1, "type": "heartbeat", "id": "x", "ts": ts, "payload": {}, "y": 1}).to_string(), "unknown field"),
        (format!(r#"{{"v":1,"v":1,"type":"x","id":"x","ts":"{ts}","payload":{{}}}}"#), "duplicate field"),
        (json!({"v": 1, "type": "gossip", "id": "x", "ts": ts, "payload": {}}).to_string(), "unknown frame type"),
        (json!({"v": 1, "type": "heartbeat", "id": "x", "ts": ts, "payload": {"status": "fine"}}).to_string(), "status \"fine\""),
        (json!({"v": 1, "type": "heartbeat", "id": "x", "ts": ts, "payload": {"instance_id": "b"}}).to_string(), "another instance"),
        (json!({"v": 1, "type": "heartbeat", "id": "x", "ts": ts, "payload": {}}).to_string(), "heartbeat frame without status"),
    ] {
        let gateway = start();
        let mut agent = Agent::join(&gateway, "a").await;
        agent.send(Message::text(text)).await;
        noticed(&gateway, words);
    }
}

#[tokio::test]
async fn wrong_answers_are_noticed() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    let mut other = Agent::join(&gateway, "b").await;
    agent.hello().await;
    noticed(&gateway, "a second hello");
    agent.send(Message::binary(vec![1])).await;
    noticed(&gateway, "binary message");
    agent.answer("never-sent", &json!(1)).await;
    noticed(&gateway, "\"never-sent\" is no dispatch");
    agent
        .say("dispatch_result", &json!({"result": 1}), None)
        .await;
    noticed(&gateway, "without in_reply_to");
    agent.say("dispatch_result", &json!({}), Some("x")).await;
    noticed(&gateway, "dispatch_result without result");
    agent.say("error", &json!({"code": "X"}), Some("x")).await;
    noticed(&gateway, "error without the string message");

    let pending = gateway.begin_dispatch(DispatchRequest::new("echo", json!({})).to("a"));
    agent.next().await;
    other.answer(pending.id(), &json!(1)).await;
    noticed(&gateway, "not sent to this instance");
    assert!(
        pending.poll().is_none(),
        "an answer of somebody else counts for nothing"
    );
    agent.answer(pending.id(), &json!(1)).await;
    pending.wait(SOON).unwrap();
    agent.answer(pending.id(), &json!(2)).await;
    noticed(&gateway, "two different answers");
    assert_eq!(gateway.ledger().get(pending.id()).unwrap().answers.len(), 2);

    let mut frame = agent.frame("heartbeat", &json!({}), None);
    agent.send(Message::text(frame.to_string())).await;
    frame["ts"] = "2026-05-01T08:00:01.000Z".into();
    agent.send(Message::text(frame.to_string())).await;
    noticed(&gateway, "used for two different frames");
}

#[tokio::test]
async fn the_same_answer_again_is_fine() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    let pending = gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    agent.next().await;
    let text = agent.answer(pending.id(), &json!(1)).await;
    agent.send(Message::text(text)).await;
    agent.answer(pending.id(), &json!(1)).await;
    let id = pending.id().to_owned();
    assert!(
        gateway.wait_until(SOON, |seen| seen.ledger().get(&id).unwrap().answers.len()
            == 3)
    );
    assert_eq!(gateway.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_frame_between_hello_and_welcome_is_noticed() {
    let gateway = Gateway::start(Options {
        faults: Faults {
            stall: Some(Stage::Welcome),
            ..Faults::default()
        },
        ..Options::default()
    })
    .unwrap();
    let mut agent = Agent::dial(&gateway, "a").await;
    agent.hello().await;
    agent.say("heartbeat", &json!({}), None).await;
    noticed(&gateway, "between hello and welcome: heartbeat");
    gateway.set_faults(Faults::default());
    assert_eq!(agent.next().await["type"], "welcome");
}

#[tokio::test]
async fn a_late_hello_is_noticed() {
    let gateway = Gateway::start(Options {
        hello_timeout: std::time::Duration::from_millis(50),
        ..Options::default()
    })
    .unwrap();
    let mut agent = Agent::dial(&gateway, "a").await;
    assert_eq!(agent.close_code().await, Some(4408));
    noticed(&gateway, "no hello in time");
}

#[tokio::test]
async fn bad_requests_are_noticed_and_no_secret_is_kept() {
    let gateway = start();
    let token = gateway.issue_token("desk", peer::TTL);
    let path = format!("/agents/connect?instance_id=a&token={token}");
    assert!(
        upgrade(&gateway, &path, None, Some("svantic.v1"))
            .await
            .is_err()
    );
    noticed(&gateway, "a credential in the query");
    noticed(&gateway, "no Authorization");
    assert!(
        upgrade(
            &gateway,
            "/agents/connect",
            Some(&token),
            Some("svantic.v1")
        )
        .await
        .is_err()
    );
    noticed(&gateway, "refused with 400");
    noticed(&gateway, "MISSING_INSTANCE_ID");
    http(
        &gateway,
        "POST",
        "/agents/register",
        &[("cookie", "a=b")],
        "{}",
    )
    .await;
    noticed(&gateway, "a cookie");
    let bearer = format!("Bearer {token}");
    http(
        &gateway,
        "POST",
        "/agents/register",
        &[("authorization", &bearer)],
        "x",
    )
    .await;
    noticed(&gateway, "not a JSON object");
    let kept = format!("{:?} {:?}", gateway.requests(), gateway.violations());
    for part in token.split('.') {
        assert!(!kept.contains(part));
    }
}
