//! The look at a hosted agent's card when it registers.

mod peer;

use std::time::Duration;

use peer::{
    Reply, TTL,
    hosted::{HostedAgent, Served},
    post, start,
};
use serde_json::{Value, json};
use svantic_gateway::{Gateway, Options};

async fn register(gateway: &Gateway, registration: &Value) -> Reply {
    let token = gateway.issue_token("desk", TTL);
    post(gateway, "/agents/register", Some(&token), registration).await
}

async fn agent() -> HostedAgent {
    HostedAgent::start(|call, _| call.echo()).await
}

#[tokio::test]
async fn a_card_that_is_read_is_the_agents_card_and_its_url_the_endpoint() {
    let (gateway, agent) = (start(), agent().await);
    agent.join(&gateway, "h").await;
    let record = gateway.agent("h").unwrap();
    assert!(record.is_hosted() && record.ready);
    assert_eq!(record.agent_card, agent.card());
    assert_eq!(record.skills(), ["echo"]);
    assert_eq!(record.url, Some(agent.url()));
    let endpoint = format!("{}/call-me", agent.url());
    assert_eq!(record.endpoint, Some(endpoint));

    let mut grown = agent.card();
    grown["skills"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": "more"}));
    agent.show(Served::json(200, &grown));
    agent.join(&gateway, "h").await;
    assert_eq!(gateway.agent("h").unwrap().skills(), ["echo", "more"]);
    assert_eq!(gateway.totals().probes, 2);
    assert!(gateway.violations().is_empty());
}

#[tokio::test]
async fn a_card_that_cannot_be_read_is_a_502_that_names_its_url() {
    let (gateway, agent) = (start(), agent().await);
    let card_url = format!("{}/.well-known/agent-card.json", agent.url());
    let without = |key: &str| {
        let mut card = agent.card();
        card.as_object_mut().unwrap().remove(key);
        Served::json(200, &card)
    };
    let with = |key: &str, value: Value| {
        let mut card = agent.card();
        card[key] = value;
        Served::json(200, &card)
    };
    let html = Served::Reply(200, "text/html", "<html>".to_owned());
    let large = with("description", "x".repeat(4 << 20).into());
    for (card, why) in [
        (Served::json(404, &json!({})), "HTTP 404"),
        (Served::json(302, &json!({})), "redirects are not followed"),
        (Served::json(503, &agent.card()), "HTTP 503"),
        (html, "not JSON"),
        (Served::json(200, &json!([])), "not a JSON object"),
        (without("name"), "no name"),
        (with("name", json!("")), "no name"),
        (without("url"), "no url"),
        (with("url", json!("ftp://x/y")), "no http(s) URL"),
        (without("skills"), "no skills"),
        (with("skills", json!([{"name": "x"}])), "no id"),
        (large, "larger than"),
        (Served::HangUp, "connection"),
    ] {
        agent.show(card);
        let reply = register(&gateway, &agent.registration("h")).await;
        assert_eq!((reply.status, reply.code().as_str()), (502, "PROBE_FAILED"));
        assert!(reply.text.contains(&card_url), "{}", reply.text);
        assert!(reply.text.contains(why), "{why}: {}", reply.text);
        assert!(gateway.agents().is_empty());
    }
    assert_eq!(agent.calls().len(), 0);
}

#[tokio::test]
async fn nobody_there_or_somewhere_else_is_a_502() {
    let gateway = start();
    let agent = agent().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for (url, why) in [
        (nobody.as_str(), "refused"),
        ("http://192.0.2.1:9", "not on this machine"),
        ("http://[2001:db8::1]:9", "not on this machine"),
        ("https://127.0.0.1:9", "certificate authority"),
        ("nonsense", "no URL"),
        ("ftp://127.0.0.1:9", "neither http nor https"),
    ] {
        let mut registration = agent.registration("h");
        registration["url"] = url.into();
        let reply = register(&gateway, &registration).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (502, "PROBE_FAILED"),
            "{url}"
        );
        assert!(reply.text.contains(url), "{}", reply.text);
        assert!(reply.text.contains(why), "{url}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_card_that_never_comes_is_a_502_in_time() {
    let gateway = Gateway::start(Options {
        probe_timeout: Duration::from_millis(50),
        ..Options::default()
    })
    .unwrap();
    let agent = agent().await;
    agent.show(Served::Silence);
    let reply = register(&gateway, &agent.registration("h")).await;
    assert_eq!((reply.status, reply.code().as_str()), (502, "PROBE_FAILED"));
    assert!(reply.text.contains("0.05 s"), "{}", reply.text);
}

#[tokio::test]
async fn without_the_probe_the_registration_is_believed() {
    let gateway = Gateway::start(Options {
        probes_cards: false,
        ..Options::default()
    })
    .unwrap();
    let endpoint = |id: &str| gateway.agent(id).unwrap().endpoint;
    let mut registration = json!({
        "agent_type": "desk", "instance_id": "plain", "deployment_mode": "hosted", "url": "http://127.0.0.1:9/a/",
    });
    assert_eq!(register(&gateway, &registration).await.status, 200);
    assert_eq!(endpoint("plain").unwrap(), "http://127.0.0.1:9/a/send");
    registration["instance_id"] = "carded".into();
    registration["agent_card"] = json!({"url": "http://127.0.0.1:9/b"});
    assert_eq!(register(&gateway, &registration).await.status, 200);
    assert_eq!(endpoint("carded").unwrap(), "http://127.0.0.1:9/b");
    assert_eq!(gateway.totals().probes, 0);
}

#[tokio::test]
async fn what_is_refused_anyway_is_not_probed() {
    let gateway = start();
    let agent = agent().await;
    agent.join(&gateway, "h").await;
    let mut other_mode = peer::registration("h");
    let reply = register(&gateway, &other_mode).await;
    assert_eq!(reply.code(), "DEPLOYMENT_MODE_MISMATCH");
    other_mode["instance_id"] = "c".into();
    assert_eq!(register(&gateway, &other_mode).await.status, 200);
    let reply = register(&gateway, &agent.registration("c")).await;
    assert_eq!(reply.code(), "DEPLOYMENT_MODE_MISMATCH");
    assert_eq!(gateway.totals().probes, 1);
}
