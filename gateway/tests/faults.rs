//! Each fault does what it says, and lifting it brings the gateway back.

mod peer;

use std::time::Duration;

use peer::{Agent, SOON, TTL, dial, http, post, registered, registration, start, upgrade};
use serde_json::{Value, json};
use svantic_gateway::{ConnectUrl, Endpoint, Faults, Gateway, Options, Override, Refusal, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

fn with(faults: Faults) -> Gateway {
    Gateway::start(Options {
        faults,
        ..Options::default()
    })
    .unwrap()
}

fn stalled(stage: Stage) -> Gateway {
    with(Faults {
        stall: Some(stage),
        ..Faults::default()
    })
}

#[tokio::test]
async fn every_endpoint_can_be_refused_and_nothing_changes() {
    let gateway = start();
    let _agent = Agent::join(&gateway, "a").await;
    let token = gateway.issue_token("desk", TTL);
    let before = serde_json::to_value(gateway.agents()).unwrap();
    for (endpoint, method, path, body) in [
        (Endpoint::Token, "POST", "/auth/get_token", json!({})),
        (
            Endpoint::Register,
            "POST",
            "/agents/register",
            registration("b"),
        ),
        (
            Endpoint::Deregister,
            "POST",
            "/agents/deregister",
            json!({"agent_type": "desk", "instance_id": "a"}),
        ),
        (
            Endpoint::Heartbeat,
            "POST",
            "/agents/heartbeat",
            json!({"instance_id": "a"}),
        ),
        (
            Endpoint::SessionInit,
            "POST",
            "/sessions/init",
            json!({"instance_id": "a"}),
        ),
        (
            Endpoint::SessionClose,
            "POST",
            "/sessions/close",
            json!({"session_id": "s"}),
        ),
        (
            Endpoint::Connect,
            "GET",
            "/agents/connect?instance_id=a",
            Value::Null,
        ),
    ] {
        let mut refusal = Refusal::new(endpoint, 429).code("SLOW_DOWN").times(1);
        refusal.retry_after = Some("7".to_owned());
        refusal.location = Some("https://evil.example/".to_owned());
        gateway.set_faults(Faults {
            refuse: vec![refusal],
            ..Faults::default()
        });
        let bearer = format!("Bearer {token}");
        let reply = http(
            &gateway,
            method,
            path,
            &[("authorization", &bearer)],
            &body.to_string(),
        )
        .await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (429, "SLOW_DOWN"),
            "{path}"
        );
        assert_eq!(reply.headers["retry-after"], "7");
        assert_eq!(reply.headers["location"], "https://evil.example/");
        assert!(gateway.faults().refuse.is_empty(), "used up");
    }
    assert_eq!(serde_json::to_value(gateway.agents()).unwrap(), before);
    assert!(gateway.sessions().is_empty());
    assert_eq!(gateway.violations(), Vec::<String>::new());

    let mut raw = Refusal::new(Endpoint::Register, 502);
    raw.body = Some("<html>proxy".to_owned());
    gateway.set_faults(Faults {
        refuse: vec![raw],
        ..Faults::default()
    });
    for _ in 0..2 {
        let reply = post(
            &gateway,
            "/agents/register",
            Some(&token),
            &registration("b"),
        )
        .await;
        assert_eq!((reply.status, reply.text.as_str()), (502, "<html>proxy"));
    }
}

#[tokio::test]
async fn a_stalled_request_is_held_until_the_stall_is_lifted() {
    for (stage, path, body) in [
        (Stage::Token, "/auth/get_token", json!({})),
        (Stage::Register, "/agents/register", registration("b")),
        (Stage::Deregister, "/agents/deregister", json!({})),
        (Stage::Heartbeat, "/agents/heartbeat", json!({})),
        (Stage::SessionInit, "/sessions/init", json!({})),
        (Stage::SessionClose, "/sessions/close", json!({})),
        (Stage::Upgrade, "/agents/connect?instance_id=a", json!({})),
    ] {
        let gateway = stalled(stage);
        let token = gateway.issue_token("desk", TTL);
        let asking = gateway.clone();
        let task = tokio::spawn(async move {
            if stage == Stage::Upgrade {
                let refused = upgrade(&asking, path, Some(&token), Some("svantic.v1")).await;
                refused.err().unwrap().0
            } else {
                post(&asking, path, Some(&token), &body).await.status
            }
        });
        let seen = gateway.clone();
        let arrived = tokio::task::spawn_blocking(move || {
            seen.wait_until(SOON, |seen| seen.requests().len() == 1)
        });
        assert!(arrived.await.unwrap());
        assert_eq!(gateway.requests()[0].status, None, "{path}");
        assert!(gateway.agents().is_empty());
        assert!(!task.is_finished());
        gateway.set_faults(Faults::default());
        let wanted = match stage {
            Stage::Register => 200,
            Stage::Upgrade => 404,
            _ => 400,
        };
        assert_eq!(task.await.unwrap(), wanted, "{path}");
    }
}

#[tokio::test]
async fn accept_and_tls_stall_before_a_byte_is_said() {
    let gateway = stalled(Stage::Accept);
    let mut stream = dial(&gateway).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0_u8];
    let quiet = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
    assert!(quiet.is_err());
    assert!(gateway.requests().is_empty());
    gateway.set_faults(Faults::default());
    assert_eq!(stream.read(&mut byte).await.unwrap(), 1);

    let gateway = Gateway::start(Options {
        tls: true,
        faults: Faults {
            stall: Some(Stage::Tls),
            ..Faults::default()
        },
        ..Options::default()
    })
    .unwrap();
    let handshake = dial(&gateway);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), handshake)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_registration_reply_can_be_bent() {
    let gateway = start();
    let token = gateway.issue_token("desk", TTL);
    for (url, wanted) in [
        (ConnectUrl::Null, Value::Null),
        (
            ConnectUrl::Text("wss://evil.example/x".into()),
            json!("wss://evil.example/x"),
        ),
    ] {
        gateway.set_faults(Faults {
            connect_url: Some(url),
            extra_register_fields: json!({"novel": [1], "dispatch_auth": {"type": "svantic_jwt"}})
                .as_object()
                .unwrap()
                .clone(),
            ..Faults::default()
        });
        let reply = post(
            &gateway,
            "/agents/register",
            Some(&token),
            &registration("a"),
        )
        .await
        .json();
        assert_eq!(reply["connect_url"], wanted);
        assert_eq!(reply["novel"], json!([1]));
        assert_eq!(reply["dispatch_auth"]["type"], "svantic_jwt");
    }
}

#[tokio::test]
async fn the_101_can_lack_or_change_the_subprotocol() {
    let gateway = start();
    let token = registered(&gateway, "a").await;
    for (fault, wanted) in [
        (Override::Null, None),
        (Override::Text("svantic.v9".into()), Some("svantic.v9")),
    ] {
        gateway.set_faults(Faults {
            subprotocol: Some(fault),
            ..Faults::default()
        });
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "svantic.v1"),
        ];
        let path = "/agents/connect?instance_id=a";
        let response = peer::open(&gateway, "GET", path, &headers, "")
            .await
            .unwrap();
        assert_eq!(response.status(), 101);
        let got = response.headers().get("sec-websocket-protocol");
        assert_eq!(got.map(|value| value.to_str().unwrap()), wanted);
        let accept = &response.headers()["sec-websocket-accept"];
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

#[tokio::test]
async fn texts_can_come_before_the_welcome() {
    let gateway = with(Faults {
        before_welcome: vec![
            "not json".to_owned(),
            r#"{"v":1,"type":"dispatch"}"#.to_owned(),
        ],
        ..Faults::default()
    });
    let mut agent = Agent::dial(&gateway, "a").await;
    agent.hello().await;
    assert_eq!(agent.message().await.unwrap(), Message::text("not json"));
    assert_eq!(agent.next().await["type"], "dispatch");
    assert_eq!(agent.next().await["type"], "welcome");
}

#[tokio::test]
async fn pings_can_go_unanswered() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    agent.send(Message::Ping("1".into())).await;
    assert_eq!(agent.message().await.unwrap(), Message::Pong("1".into()));
    gateway.set_faults(Faults {
        no_pong: true,
        ..Faults::default()
    });
    agent.send(Message::Ping("2".into())).await;
    let two = |seen: &svantic_gateway::Snapshot<'_>| seen.frames("a").any(|f| f.text == "2");
    assert!(gateway.wait_until(SOON, two));
    // Whatever came before this text would have been the pong.
    gateway.send_text("a", "after");
    assert_eq!(agent.message().await.unwrap(), Message::text("after"));
    gateway.set_faults(Faults::default());
    agent.send(Message::Ping("3".into())).await;
    assert_eq!(agent.message().await.unwrap(), Message::Pong("3".into()));
}

#[tokio::test]
async fn a_close_frame_can_go_unanswered() {
    let gateway = stalled(Stage::Close);
    let mut agent = Agent::join(&gateway, "a").await;
    agent.socket.close(None).await.unwrap();
    assert!(gateway.wait_until(SOON, |seen| {
        seen.frames("a")
            .any(|f| f.kind == svantic_gateway::FrameKind::Close)
    }));
    let quiet = tokio::time::timeout(Duration::from_millis(100), agent.message()).await;
    assert!(
        quiet.is_err(),
        "neither a close frame nor the end: {quiet:?}"
    );
    // The peer ends it by itself.
    drop(agent);
    assert!(gateway.wait_until(SOON, |seen| seen.agent("a").unwrap().open_sockets == 0));
}

#[tokio::test]
async fn an_abort_is_a_reset() {
    let gateway = start();
    let agent = Agent::join(&gateway, "a").await;
    gateway.abort("a");
    let mut stream = agent.socket.into_inner();
    let error = stream.read(&mut [0_u8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_socket_whose_peer_reads_nothing_can_be_reset() {
    let gateway = start();
    let agent = Agent::join(&gateway, "a").await;
    let big = "x".repeat(8 << 20);
    for _ in 0..4 {
        gateway.send_text("a", &big);
    }
    // Nobody reads: the sending stands still, and the reset comes through all the same.
    gateway.abort("a");
    let mut stream = agent.socket.into_inner();
    let mut buffer = vec![0_u8; 1 << 20];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    assert!(gateway.wait_until(SOON, |seen| seen.agent("a").unwrap().open_sockets == 0));
}
