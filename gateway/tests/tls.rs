//! The same gateway over https and wss.

mod peer;

use peer::{Agent, SOON, post};
use serde_json::json;
use svantic_gateway::{Answer, DispatchRequest, Gateway, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn start() -> Gateway {
    Gateway::start(Options {
        tls: true,
        ..Options::default()
    })
    .unwrap()
}

#[tokio::test]
async fn an_agent_that_trusts_the_ca_is_served() {
    let gateway = start();
    assert!(gateway.url().starts_with("https://localhost:"));
    let credentials = json!({
        "client_id": gateway.client_id(), "client_secret": gateway.client_secret(), "agent_type": "desk",
    });
    let reply = post(&gateway, "/auth/get_token", None, &credentials).await;
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    let reply = post(
        &gateway,
        "/agents/register",
        Some(&token),
        &peer::registration("a"),
    )
    .await;
    let url = reply.json()["connect_url"].as_str().unwrap().to_owned();
    assert_eq!(
        url,
        format!(
            "wss://localhost:{}/agents/connect",
            gateway.address().port()
        )
    );
    let mut agent = Agent::redial(&gateway, "a").await;
    agent.greet().await;
    let pending = gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    agent.next().await;
    agent
        .answer(pending.id(), &json!("y".repeat(200_000)))
        .await;
    assert_eq!(
        pending.wait(SOON),
        Ok(Answer::Result(json!("y".repeat(200_000))))
    );
    gateway.abort("a");
    assert!(agent.message().await.is_none());
    assert_eq!(gateway.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn plain_http_and_a_foreign_ca_get_nothing() {
    let gateway = start();
    let mut tcp = tokio::net::TcpStream::connect(gateway.address())
        .await
        .unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    let _ = tcp.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"HTTP"));
    let foreign = start().ca_pem().unwrap();
    assert!(peer::dial_trusting(&gateway, &foreign).await.is_err());
    assert!(gateway.requests().is_empty());
    assert!(peer::start().ca_pem().is_none());
}
