//! The control face under `/_gateway/`.

mod peer;

use http_body_util::BodyExt;
use peer::{Agent, Reply, SOON, TTL, http, open, post, registration, start};
use serde_json::{Value, json};
use svantic_gateway::{Faults, Gateway, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn get(gateway: &Gateway, what: &str) -> Value {
    http(gateway, "GET", &format!("/_gateway/{what}"), &[], "")
        .await
        .json()
}

async fn tell(gateway: &Gateway, what: &str, body: &Value) -> Reply {
    http(
        gateway,
        "POST",
        &format!("/_gateway/{what}"),
        &[],
        &body.to_string(),
    )
    .await
}

#[tokio::test]
async fn dispatch_answers_with_result_error_no_agent_or_timeout() {
    let gateway = start();
    let reply = tell(&gateway, "dispatch", &json!({"skill_id": "echo"})).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "NO_AGENT"));
    let mut agent = Agent::join(&gateway, "a").await;
    for (skill, payload) in [
        ("echo", json!({"result": {"x": 1}})),
        (
            "boom",
            json!({"error": {"code": "HANDLER_ERROR", "message": "no"}}),
        ),
    ] {
        let asking = gateway.clone();
        let body = json!({"skill_id": skill, "args": {}, "instance_id": "a"});
        let task = tokio::spawn(async move { tell(&asking, "dispatch", &body).await });
        let id = agent.next().await["id"].as_str().unwrap().to_owned();
        if let Some(error) = payload.get("error") {
            agent.say("error", error, Some(&id)).await;
        } else {
            agent.say("dispatch_result", &payload, Some(&id)).await;
        }
        let reply = task.await.unwrap();
        assert_eq!(reply.status, 200);
        let mut wanted = payload;
        wanted["dispatch_id"] = id.into();
        assert_eq!(reply.json(), wanted);
    }
    let late = tell(
        &gateway,
        "dispatch",
        &json!({"skill_id": "echo", "timeout": 0.05}),
    )
    .await;
    assert_eq!((late.status, late.code().as_str()), (504, "TIMEOUT"));
    assert_eq!(
        tell(&gateway, "dispatch", &json!({"skil": 1})).await.status,
        400
    );
}

#[tokio::test]
async fn frames_are_read_by_instance() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    let status = json!({
        "instance_id": "a", "status": "available", "current_sessions": 0,
        "max_concurrent_sessions": 0, "consecutive_failures": 0,
    });
    agent.say("heartbeat", &status, None).await;
    assert!(gateway.wait_until(SOON, |seen| seen.totals().heartbeats == 1));
    let frames = get(&gateway, "frames?instance_id=%61").await;
    let frames = frames.as_array().unwrap();
    let seen: Vec<_> = frames
        .iter()
        .map(|frame| {
            (
                frame["direction"].as_str(),
                frame["content"]["type"].as_str(),
            )
        })
        .collect();
    let wanted = [
        (Some("from_agent"), Some("hello")),
        (Some("to_agent"), Some("welcome")),
        (Some("from_agent"), Some("heartbeat")),
    ];
    assert_eq!(seen, wanted);
    assert!(frames.iter().all(|frame| frame["at"].as_f64() > Some(0.0)));
    assert_eq!(frames[2]["frame"], "text");
    assert_eq!(get(&gateway, "frames?instance_id=b").await, json!([]));
    let unnamed = http(&gateway, "GET", "/_gateway/frames", &[], "").await;
    assert_eq!(unnamed.status, 400);
}

#[tokio::test]
async fn what_is_known_can_be_read_and_sockets_be_closed() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    assert_eq!(get(&gateway, "agents").await[0]["instance_id"], "a");
    assert_eq!(
        get(&gateway, "requests").await[0]["path"],
        "/agents/register"
    );
    assert_eq!(get(&gateway, "sessions").await, json!([]));
    assert_eq!(
        get(&gateway, "ledger").await,
        json!({"entries": [], "violations": []})
    );
    let close = json!({"instance_id": "a", "code": 1013, "reason": "busy"});
    assert_eq!(tell(&gateway, "close", &close).await.status, 200);
    assert_eq!(agent.close_code().await, Some(1013));
    let mut agent = Agent::join(&gateway, "a").await;
    assert_eq!(
        tell(&gateway, "abort", &json!({"instance_id": "a"}))
            .await
            .status,
        200
    );
    assert!(agent.message().await.is_none());
    assert_eq!(
        tell(&gateway, "forget", &json!({"instance_id": "a"}))
            .await
            .status,
        200
    );
    assert_eq!(
        tell(&gateway, "forget", &json!({"instance_id": "a"}))
            .await
            .status,
        404
    );
    assert_eq!(
        tell(&gateway, "faults", &json!({"stall": "welcome"}))
            .await
            .status,
        200
    );
    assert_eq!(gateway.faults().stall, Some(Stage::Welcome));
    assert_eq!(
        tell(&gateway, "faults", &json!({"stall": "nowhere"}))
            .await
            .status,
        400
    );
    assert_eq!(get(&gateway, "faults").await["stall"], "welcome");
    gateway.set_faults(Faults::default());
    let from_a_page = [("origin", "https://page.example")];
    assert_eq!(
        http(&gateway, "GET", "/_gateway/agents", &from_a_page, "")
            .await
            .status,
        403
    );
    let request =
        b"GET /_gateway/agents HTTP/1.1\r\nhost: rebound.example\r\nconnection: close\r\n\r\n";
    let mut stream = peer::dial(&gateway).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 403"), "{reply}");
    assert_eq!(
        http(&gateway, "GET", "/_gateway/nothing", &[], "")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn watch_shows_frames_and_requests_without_secrets() {
    let gateway = start();
    let mut lines = open(&gateway, "GET", "/_gateway/watch", &[], "")
        .await
        .unwrap()
        .into_body();
    let credentials = json!({
        "client_id": gateway.client_id(), "client_secret": gateway.client_secret(), "agent_type": "desk",
    });
    let token = post(&gateway, "/auth/get_token", None, &credentials)
        .await
        .json()["token"]
        .clone();
    let token = token.as_str().unwrap().to_owned();
    let mut agent = Agent::join(&gateway, "a").await;
    let mut request = svantic_gateway::DispatchRequest::new("echo", json!({"jwt": token}));
    request.svantic_auth = Some(json!({"scheme": "shared_secret", "token": "hush-hush"}));
    let pending = gateway.begin_dispatch(request);
    agent.next().await;
    agent.answer(pending.id(), &json!(1)).await;
    pending.wait(SOON).unwrap();
    post(
        &gateway,
        "/agents/register",
        Some(&gateway.issue_token("desk", TTL)),
        &registration("z"),
    )
    .await;

    let mut seen = String::new();
    while !seen.contains("\"z\"") {
        let frame = tokio::time::timeout(SOON, lines.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        seen.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    for wanted in [
        "get_token",
        "hello",
        "welcome",
        "dispatch_result",
        "[removed]",
    ] {
        assert!(seen.contains(wanted), "{wanted} in {seen}");
    }
    let secrets = [gateway.client_secret(), "hush-hush".to_owned()];
    for secret in secrets.iter().map(String::as_str).chain(token.split('.')) {
        assert!(!seen.contains(secret));
    }
    assert!(
        seen.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    gateway.shutdown();
    while let Some(Ok(_)) = lines.frame().await {}
}

#[tokio::test]
async fn a_gateway_that_stops_says_to_each_watcher_that_this_was_all() {
    for round in 0..16 {
        let gateway = start();
        let mut watching = Vec::new();
        for _ in 0..64 {
            let lines = open(&gateway, "GET", "/_gateway/watch", &[], "").await;
            watching.push(lines.unwrap().into_body());
        }
        gateway.shutdown();
        for (n, lines) in watching.into_iter().enumerate() {
            let cut_off = lines.collect().await.err();
            assert!(
                cut_off.is_none(),
                "watcher {n} of round {round}: {cut_off:?}"
            );
        }
    }
}
