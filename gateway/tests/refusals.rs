//! Every row of the refusal tables of protocol.md: the documented status and code, and no change of state.

mod peer;

use std::time::Duration;

use peer::{Agent, SOON, TTL, http, post, registered, registration, start, upgrade};
use serde_json::{Value, json};
use svantic_gateway::{Error, Gateway, Options};

fn without(mut body: Value, key: &str) -> Value {
    body.as_object_mut().unwrap().remove(key);
    body
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

#[tokio::test]
async fn the_token_endpoint_refuses() {
    let gateway = start();
    let good = json!({
        "client_id": gateway.client_id(), "client_secret": gateway.client_secret(), "agent_type": "desk",
    });
    for (body, status) in [
        (without(good.clone(), "client_id"), 400),
        (without(good.clone(), "client_secret"), 400),
        (without(good.clone(), "agent_type"), 400),
        (with(good.clone(), "agent_type", json!("")), 400),
        (with(good.clone(), "expires_in", json!(0)), 400),
        (with(good.clone(), "expires_in", json!("60")), 400),
        (with(good.clone(), "client_secret", json!("wrong")), 401),
        (with(good.clone(), "client_id", json!("wrong")), 401),
        (json!([]), 400),
        (good.clone(), 200),
    ] {
        let reply = post(&gateway, "/auth/get_token", None, &body).await;
        assert_eq!(reply.status, status, "{body}");
        assert!(status == 200 || !reply.code().is_empty());
        assert!(!reply.text.contains(&gateway.client_secret()));
    }
    assert_eq!(
        http(&gateway, "POST", "/auth/get_token", &[], "{")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn every_other_endpoint_wants_a_good_token() {
    let (gateway, other) = (start(), start());
    let foreign = other.issue_token("desk", TTL);
    let expired = gateway.issue_token("desk", Duration::ZERO);
    for path in [
        "/agents/register",
        "/agents/deregister",
        "/agents/heartbeat",
        "/sessions/init",
        "/sessions/close",
    ] {
        for token in [
            None,
            Some("garbage"),
            Some(foreign.as_str()),
            Some(expired.as_str()),
        ] {
            let reply = post(&gateway, path, token, &registration("a")).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (401, "UNAUTHORIZED"),
                "{path}"
            );
        }
    }
    assert!(gateway.agents().is_empty());
}

#[tokio::test]
async fn registration_refuses() {
    let gateway = Gateway::start(Options {
        allowed_agent_types: Some(vec!["desk".to_owned()]),
        probes_cards: false,
        ..Options::default()
    })
    .unwrap();
    let token = gateway.issue_token("desk", TTL);
    let good = registration("a");
    let hosted = with(registration("h"), "deployment_mode", json!("hosted"));
    let hosted_good = with(hosted.clone(), "url", json!("https://agent.example"));
    for (body, status, code) in [
        (without(good.clone(), "agent_type"), 400, "INVALID_REQUEST"),
        (without(good.clone(), "instance_id"), 400, "INVALID_REQUEST"),
        (
            without(good.clone(), "deployment_mode"),
            400,
            "INVALID_REQUEST",
        ),
        (
            with(good.clone(), "deployment_mode", json!("else")),
            400,
            "INVALID_REQUEST",
        ),
        (
            with(good.clone(), "url", json!("https://x")),
            400,
            "INVALID_REQUEST",
        ),
        (
            with(good.clone(), "agent_card", json!("x")),
            400,
            "INVALID_REQUEST",
        ),
        (
            with(good.clone(), "tools", json!({})),
            400,
            "INVALID_REQUEST",
        ),
        (
            with(
                good.clone(),
                "dispatch_auth",
                json!({"scheme": "x", "required": true}),
            ),
            400,
            "INVALID_REQUEST",
        ),
        (hosted.clone(), 400, "INVALID_REQUEST"),
        (
            with(good.clone(), "agent_type", json!("other")),
            403,
            "AGENT_TYPE_NOT_ALLOWED",
        ),
    ] {
        let reply = post(&gateway, "/agents/register", Some(&token), &body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{body}"
        );
    }
    assert!(gateway.agents().is_empty());
    assert_eq!(gateway.violations().len(), 9);

    assert_eq!(
        post(&gateway, "/agents/register", Some(&token), &good)
            .await
            .status,
        200
    );
    let reply = post(&gateway, "/agents/register", Some(&token), &hosted_good).await;
    assert_eq!(reply.status, 200);
    assert!(reply.json()["connect_url"].is_null());
    let moved = with(hosted_good, "instance_id", json!("a"));
    let reply = post(&gateway, "/agents/register", Some(&token), &moved).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (409, "DEPLOYMENT_MODE_MISMATCH")
    );
    let stranger = gateway.issue_token_of_tenant("other", "desk", TTL);
    let reply = post(&gateway, "/agents/register", Some(&stranger), &good).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (403, "TENANT_MISMATCH")
    );
    assert_eq!(gateway.agent("a").unwrap().registrations, 1);
    // After leaving, the other mode is fine.
    let leave = json!({"agent_type": "desk", "instance_id": "a"});
    assert_eq!(
        post(&gateway, "/agents/deregister", Some(&token), &leave)
            .await
            .status,
        200
    );
    assert_eq!(
        post(&gateway, "/agents/register", Some(&token), &moved)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn deregistration_heartbeats_and_sessions_refuse() {
    let gateway = start();
    let token = registered(&gateway, "a").await;
    for (path, body, status, code) in [
        (
            "/agents/deregister",
            json!({"instance_id": "a"}),
            400,
            "INVALID_REQUEST",
        ),
        (
            "/agents/deregister",
            json!({"agent_type": "desk"}),
            400,
            "INVALID_REQUEST",
        ),
        (
            "/agents/deregister",
            json!({"agent_type": "desk", "instance_id": "b"}),
            404,
            "INSTANCE_NOT_FOUND",
        ),
        ("/agents/heartbeat", json!({}), 400, "INVALID_REQUEST"),
        ("/agents/heartbeat", json!({"v": 1}), 400, "INVALID_REQUEST"),
        (
            "/agents/heartbeat",
            json!({"instance_id": "a", "status": "fine"}),
            400,
            "INVALID_REQUEST",
        ),
        (
            "/agents/heartbeat",
            json!({"instance_id": "a", "current_sessions": -1}),
            400,
            "INVALID_REQUEST",
        ),
        (
            "/agents/heartbeat",
            json!({"instance_id": "b"}),
            404,
            "INSTANCE_NOT_FOUND",
        ),
        ("/sessions/init", json!({}), 400, "INVALID_REQUEST"),
        (
            "/sessions/init",
            json!({"instance_id": "b"}),
            404,
            "INSTANCE_NOT_FOUND",
        ),
        ("/sessions/close", json!({}), 400, "INVALID_REQUEST"),
        (
            "/sessions/close",
            json!({"session_id": "none"}),
            404,
            "SESSION_NOT_FOUND",
        ),
    ] {
        let reply = post(&gateway, path, Some(&token), &body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{path} {body}"
        );
    }
    let record = gateway.agent("a").unwrap();
    assert_eq!((record.heartbeats, record.registered), (0, true));
}

#[tokio::test]
async fn the_upgrade_refuses_with_the_complete_table() {
    let gateway = Gateway::start(Options {
        probes_cards: false,
        ..Options::default()
    })
    .unwrap();
    let token = registered(&gateway, "a").await;
    let stranger = gateway.issue_token_of_tenant("other", "desk", TTL);
    let mut hosted = registration("h");
    hosted["deployment_mode"] = "hosted".into();
    hosted["url"] = "https://agent.example".into();
    post(&gateway, "/agents/register", Some(&token), &hosted).await;
    let ours = Some("svantic.v1");
    let good = "/agents/connect?instance_id=a";
    for (path, token, subprotocol, status, code) in [
        (
            "/agents/connect",
            Some(&token),
            ours,
            400,
            "MISSING_INSTANCE_ID",
        ),
        (
            "/agents/connect?instance_id=",
            Some(&token),
            ours,
            400,
            "MISSING_INSTANCE_ID",
        ),
        (
            "/agents/connect?instance_id=a&instance_id=a",
            Some(&token),
            ours,
            400,
            "MISSING_INSTANCE_ID",
        ),
        (good, Some(&token), None, 400, "UNSUPPORTED_SUBPROTOCOL"),
        (
            good,
            Some(&token),
            Some("svantic.v2"),
            400,
            "UNSUPPORTED_SUBPROTOCOL",
        ),
        (good, None, ours, 401, "UNAUTHORIZED"),
        (good, Some(&"garbage".to_owned()), ours, 401, "UNAUTHORIZED"),
        (good, Some(&stranger), ours, 403, "TENANT_MISMATCH"),
        (
            "/agents/connect?instance_id=b",
            Some(&token),
            ours,
            404,
            "INSTANCE_NOT_FOUND",
        ),
        (
            "/agents/connect?instance_id=h",
            Some(&token),
            ours,
            409,
            "DEPLOYMENT_MODE_MISMATCH",
        ),
    ] {
        let refused = upgrade(&gateway, path, token.map(String::as_str), subprotocol).await;
        let (got, body) = refused.err().expect(code);
        assert_eq!(
            (got, body["code"].as_str().unwrap()),
            (status, code),
            "{path}"
        );
        assert!(body["error"].is_string());
    }
    assert_eq!(gateway.agent("a").unwrap().connections, 0);
    let bearer = format!("Bearer {token}");
    let plain = [
        ("authorization", bearer.as_str()),
        ("sec-websocket-protocol", "svantic.v1"),
    ];
    assert_eq!(http(&gateway, "GET", good, &plain, "").await.status, 400);

    let (_socket, headers) = upgrade(&gateway, good, Some(&token), Some("x, svantic.v1"))
        .await
        .unwrap();
    assert_eq!(headers["sec-websocket-protocol"], "svantic.v1");
    let connected = gateway.wait_until(SOON, |seen| seen.agent("a").unwrap().connections == 1);
    assert!(connected);
}

#[tokio::test]
async fn a_forgotten_instance_registers_again() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    assert!(gateway.forget("a"));
    assert!(!gateway.forget("a"));
    assert!(gateway.abort("a"));
    assert!(agent.message().await.is_none());
    let token = gateway.issue_token("desk", TTL);
    let path = "/agents/connect?instance_id=a";
    let refused = upgrade(&gateway, path, Some(&token), Some("svantic.v1")).await;
    assert_eq!(refused.err().unwrap().0, 404);
    let mut agent = Agent::dial(&gateway, "a").await;
    assert_eq!(agent.greet().await["payload"]["resumed"], true);
}

#[test]
fn a_remote_host_has_to_be_meant() {
    let options = Options {
        host: "0.0.0.0".parse().unwrap(),
        ..Options::default()
    };
    assert!(!format!("{options:?}").contains("local-secret"));
    let error = Gateway::start(options.clone()).unwrap_err();
    assert!(matches!(error, Error::RemoteNotAllowed(_)), "{error}");
    let allowed = Gateway::start(Options {
        allow_remote: true,
        ..options
    });
    let taken = allowed.unwrap().address().port();
    let free_again = Gateway::start(Options {
        port: taken,
        ..Options::default()
    });
    let gateway = free_again.expect("the port of a dropped gateway is free");
    let error = Gateway::start(Options {
        port: gateway.address().port(),
        ..Options::default()
    });
    assert!(matches!(error, Err(Error::Bind(..))));
}
