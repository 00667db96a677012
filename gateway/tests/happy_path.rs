//! An agent that does everything right is served, remembered, and has no violation.

mod peer;

use peer::{Agent, SOON, TTL, http, post, registration, start};
use serde_json::json;
use svantic_gateway::{Answer, Authorization, Direction, DispatchRequest};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn token_register_connect_dispatch() {
    let gateway = start();
    let credentials = json!({
        "client_id": gateway.client_id(), "client_secret": gateway.client_secret(),
        "agent_type": "desk", "expires_in": 60,
    });
    let reply = post(&gateway, "/auth/get_token", None, &credentials).await;
    assert_eq!(reply.status, 200);
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    let claims = claims_of(&token);
    assert_eq!(claims["agent_type"], "desk");
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        60
    );
    for claim in ["tenant_id", "scopes", "sub", "credential_id"] {
        assert!(!claims[claim].is_null(), "{claim}");
    }

    let mut body = registration("box-1");
    body["dispatch_auth"] = json!({"scheme": "svantic_jwt", "required": false});
    let reply = post(&gateway, "/agents/register", Some(&token), &body)
        .await
        .json();
    assert_eq!(reply["ok"], true);
    assert_eq!(reply["instance_id"], "box-1");
    assert_eq!(reply["deployment_mode"], "connected");
    let url = format!("ws://{}/agents/connect", gateway.address());
    assert_eq!(reply["connect_url"], url);
    assert!(reply["svantic_jwks_url"].is_null());
    assert_eq!(reply["dispatch_auth"], body["dispatch_auth"]);
    assert_eq!(reply["tenant_id"], claims["tenant_id"]);

    let mut agent = Agent::redial(&gateway, "box-1").await;
    let welcome = agent.greet().await;
    assert_eq!(welcome["payload"]["resumed"], false);
    assert!(agent.ready());

    let mut request = DispatchRequest::new("echo", json!({"n": 1}));
    request.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    request.session_context = Some(json!({"session_id": "s1"}));
    let pending = gateway.begin_dispatch(request);
    let dispatch = agent.next().await;
    assert_eq!(dispatch["type"], "dispatch");
    assert_eq!(dispatch["id"], pending.id());
    assert_eq!(dispatch["payload"]["skill_id"], "echo");
    assert_eq!(dispatch["payload"]["args"], json!({"n": 1}));
    assert_eq!(dispatch["payload"]["session_context"]["session_id"], "s1");
    assert!(dispatch["payload"]["traceparent"].is_string());
    let text = agent.answer(pending.id(), &json!({"n": 1})).await;
    assert_eq!(pending.wait(SOON), Ok(Answer::Result(json!({"n": 1}))));

    let pending = gateway.begin_dispatch(DispatchRequest::new("boom", json!({})).to("box-1"));
    agent.next().await;
    let error = json!({"code": "HANDLER_ERROR", "message": "no"});
    agent.say("error", &error, Some(pending.id())).await;
    let (code, message) = ("HANDLER_ERROR".to_owned(), "no".to_owned());
    assert_eq!(pending.wait(SOON), Ok(Answer::Error { code, message }));

    let ledger = gateway.ledger();
    assert_eq!((ledger.entries().len(), ledger.answered()), (2, 2));
    assert_eq!(ledger.unanswered().count(), 0);
    assert_eq!(ledger.entries()[0].answers[0].text, text);
    assert_eq!(ledger.entries()[0].sent[0].connection, 1);

    let record = gateway.agent("box-1").unwrap();
    assert_eq!(
        (record.registrations, record.connections, record.registered),
        (1, 1, true)
    );
    assert_eq!(record.skills(), ["echo"]);
    let requests = gateway.requests();
    assert_eq!(requests[0].path, "/auth/get_token");
    assert_eq!(requests[0].body["client_secret"], "[removed]");
    assert_eq!(requests[0].authorization, Authorization::Absent);
    assert_eq!(requests[1].authorization, Authorization::Valid);
    assert!(
        requests
            .iter()
            .any(|r| r.status == Some(101) && r.path == "/agents/connect")
    );
    let frames = gateway.frames("box-1");
    let kinds: Vec<_> = frames
        .iter()
        .filter_map(svantic_gateway::FrameRecord::frame_type)
        .collect();
    let wanted = [
        "hello",
        "welcome",
        "dispatch",
        "dispatch_result",
        "dispatch",
        "error",
    ];
    assert_eq!(kinds, wanted);
    assert_eq!(frames[0].direction, Direction::FromAgent);
    assert_eq!(gateway.violations(), Vec::<String>::new());
    assert!(!format!("{gateway:?} {requests:?}").contains(&gateway.client_secret()));
}

#[tokio::test]
async fn heartbeat_session_leave() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "box-1").await;
    let token = gateway.issue_token("desk", TTL);
    let heartbeat = json!({
        "instance_id": "box-1", "status": "busy", "current_sessions": 1,
        "max_concurrent_sessions": 1, "consecutive_failures": 0,
    });
    agent.say("heartbeat", &heartbeat, None).await;
    assert!(gateway.wait_until(SOON, |seen| seen.agent("box-1").unwrap().status == "busy"));
    let raw = post(&gateway, "/agents/heartbeat", Some(&token), &heartbeat).await;
    assert_eq!((raw.status, raw.json()), (200, json!({"ok": true})));
    let wrapped =
        json!({"v": 1, "id": "h", "ts": "2026-05-01T08:00:00.000Z", "payload": heartbeat});
    assert_eq!(
        post(&gateway, "/agents/heartbeat", Some(&token), &wrapped)
            .await
            .status,
        200
    );
    assert_eq!(gateway.agent("box-1").unwrap().heartbeats, 3);

    let init = json!({"instance_id": "box-1", "user_id": "u"});
    let session = post(&gateway, "/sessions/init", Some(&token), &init)
        .await
        .json();
    assert_eq!(session["agent_type"], "desk");
    let close = json!({"session_id": session["session_id"]});
    let closed = post(&gateway, "/sessions/close", Some(&token), &close)
        .await
        .json();
    assert_eq!(closed["status"], "completed");
    let own = json!({"instance_id": "box-1", "session_id": "mine"});
    let own = post(&gateway, "/sessions/init", Some(&token), &own)
        .await
        .json();
    assert_eq!(own["session_id"], "mine");
    assert_eq!(gateway.sessions().len(), 2);

    let leave = json!({"agent_type": "desk", "instance_id": "box-1"});
    assert_eq!(
        post(&gateway, "/agents/deregister", Some(&token), &leave)
            .await
            .status,
        200
    );
    assert_eq!(
        post(&gateway, "/agents/deregister", Some(&token), &leave)
            .await
            .status,
        404
    );
    agent.socket.close(None).await.unwrap();
    assert_eq!(agent.message().await.map(|m| m.is_close()), Some(true));
    assert!(gateway.wait_until(SOON, |seen| seen.agent("box-1").unwrap().open_sockets == 0));
    assert!(!gateway.agent("box-1").unwrap().registered);
    assert_eq!(gateway.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn texts_binaries_pings_and_closes_can_be_sent_by_hand() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    assert!(gateway.send_text("a", "not json"));
    assert!(gateway.send_binary("a", &[1, 2]));
    assert!(gateway.ping("a", b"p"));
    assert_eq!(agent.message().await.unwrap(), Message::text("not json"));
    assert_eq!(agent.message().await.unwrap(), Message::binary(vec![1, 2]));
    assert!(agent.message().await.unwrap().is_ping());
    assert!(gateway.close("a", 1012, "restart"));
    assert_eq!(agent.close_code().await, Some(1012));
    assert!(agent.message().await.is_none());
    assert!(gateway.wait_until(SOON, |seen| !seen.is_ready("a")));
    assert!(!gateway.send_text("nobody", "x"));
    assert!(!gateway.abort("nobody"));
}

#[tokio::test]
async fn a_gateway_stops_its_agents_and_its_port() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    let pending = gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    agent.next().await;
    let stopping = gateway.clone();
    let stopped = tokio::task::spawn_blocking(move || stopping.shutdown());
    assert_eq!(agent.close_code().await, Some(1001));
    assert!(agent.message().await.is_none());
    stopped.await.unwrap();
    assert_eq!(
        pending.wait(SOON),
        Err(svantic_gateway::DispatchError::Stopped)
    );
    assert!(peer::open(&gateway, "GET", "/", &[], "").await.is_err());
    gateway.shutdown();
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let gateway = start();
    assert_eq!(http(&gateway, "GET", "/nothing", &[], "").await.status, 404);
    assert_eq!(
        http(&gateway, "GET", "/agents/register", &[], "")
            .await
            .status,
        405
    );
    assert_eq!(gateway.violations(), ["GET /nothing: an unknown path"]);
}

fn claims_of(token: &str) -> serde_json::Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}
