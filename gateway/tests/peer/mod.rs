//! A plain agent for the tests: raw HTTP and a real WebSocket client, able to do wrong what a library never would.

// Each test file uses its part of it.
#![allow(dead_code)]

pub(crate) mod hosted;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use svantic_gateway::{Gateway, Options};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

pub(crate) const SOON: Duration = Duration::from_secs(10);
pub(crate) const TTL: Duration = Duration::from_secs(500);

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}
pub(crate) type Ws = WebSocketStream<Box<dyn Stream>>;

pub(crate) fn start() -> Gateway {
    Gateway::start(Options::default()).unwrap()
}

pub(crate) async fn dial(gateway: &Gateway) -> std::io::Result<Box<dyn Stream>> {
    match gateway.ca_pem() {
        None => Ok(Box::new(TcpStream::connect(gateway.address()).await?)),
        Some(pem) => dial_trusting(gateway, &pem).await,
    }
}

pub(crate) async fn dial_trusting(
    gateway: &Gateway,
    pem: &str,
) -> std::io::Result<Box<dyn Stream>> {
    let tcp = TcpStream::connect(gateway.address()).await?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_pem(pem) {
        roots.add(certificate).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await?;
    Ok(Box::new(tls))
}

fn rustls_pem(pem: &str) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(Result::unwrap)
        .collect()
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) async fn open(
    gateway: &Gateway,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Response<Incoming>, String> {
    let stream = dial(gateway).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", gateway.address().to_string())
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    sender
        .send_request(request)
        .await
        .map_err(|e| e.to_string())
}

pub(crate) async fn http(
    gateway: &Gateway,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let response = timeout(SOON, open(gateway, method, path, headers, body));
    let response = response.await.expect("a reply in time").expect("a reply");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Reply {
        status,
        headers,
        text: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(crate) async fn post(
    gateway: &Gateway,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> Reply {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    http(gateway, "POST", path, &headers, &body.to_string()).await
}

pub(crate) fn registration(instance_id: &str) -> Value {
    json!({
        "agent_type": "desk", "instance_id": instance_id, "deployment_mode": "connected",
        "agent_card": {"name": "desk", "skills": [{"id": "echo"}]}, "tools": [],
    })
}

/// Registers this instance; the token with which it did.
pub(crate) async fn registered(gateway: &Gateway, instance_id: &str) -> String {
    let token = gateway.issue_token("desk", TTL);
    let body = registration(instance_id);
    post(gateway, "/agents/register", Some(&token), &body).await;
    token
}

/// The upgrade alone: the socket, or status and body of the refusal.
pub(crate) async fn upgrade(
    gateway: &Gateway,
    path: &str,
    token: Option<&str>,
    subprotocol: Option<&str>,
) -> Result<(Ws, HeaderMap), (u16, Value)> {
    let url = format!("ws://{}{path}", gateway.address());
    let mut request = url.into_client_request().unwrap();
    if let Some(token) = token {
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
    }
    if let Some(subprotocol) = subprotocol {
        let subprotocol = subprotocol.parse().unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", subprotocol);
    }
    let stream = dial(gateway).await.unwrap();
    match timeout(SOON, client_async(request, stream))
        .await
        .expect("an upgrade in time")
    {
        Ok((socket, response)) => Ok((socket, response.headers().clone())),
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            Err((response.status().as_u16(), body))
        }
        Err(error) => panic!("{error}"),
    }
}

/// An agent with a socket.
pub(crate) struct Agent {
    pub(crate) gateway: Gateway,
    pub(crate) instance_id: String,
    pub(crate) socket: Ws,
    sent: u32,
}

impl Agent {
    /// Registers and dials, says nothing yet.
    pub(crate) async fn dial(gateway: &Gateway, instance_id: &str) -> Self {
        let token = gateway.issue_token("desk", TTL);
        let reply = post(
            gateway,
            "/agents/register",
            Some(&token),
            &registration(instance_id),
        )
        .await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        Self::redial(gateway, instance_id).await
    }

    /// Dials only.
    pub(crate) async fn redial(gateway: &Gateway, instance_id: &str) -> Self {
        let token = gateway.issue_token("desk", TTL);
        let path = format!("/agents/connect?instance_id={instance_id}");
        let (socket, _) = upgrade(gateway, &path, Some(&token), Some("svantic.v1"))
            .await
            .unwrap();
        Self {
            gateway: gateway.clone(),
            instance_id: instance_id.to_owned(),
            socket,
            sent: 0,
        }
    }

    /// All the way to the welcome.
    pub(crate) async fn join(gateway: &Gateway, instance_id: &str) -> Self {
        let mut agent = Self::dial(gateway, instance_id).await;
        agent.greet().await;
        agent
    }

    pub(crate) async fn greet(&mut self) -> Value {
        self.hello().await;
        let welcome = self.next().await;
        assert_eq!(welcome["type"], "welcome");
        welcome
    }

    pub(crate) async fn hello(&mut self) {
        let hello = json!({
            "instance_id": self.instance_id, "agent_type": "desk", "agent_version": "1.0.0",
            "sdk_version": "0.1.0", "agent_card": {"name": "desk"},
        });
        self.say("hello", &hello, None).await;
    }

    pub(crate) fn frame(
        &mut self,
        kind: &str,
        payload: &Value,
        in_reply_to: Option<&str>,
    ) -> Value {
        self.sent += 1;
        let id = format!(
            "{}-{}-{}",
            self.instance_id,
            uuid::Uuid::new_v4(),
            self.sent
        );
        let mut frame = json!({
            "v": 1, "type": kind, "id": id, "ts": "2026-05-01T08:00:00.000Z", "payload": payload,
        });
        if let Some(id) = in_reply_to {
            frame["in_reply_to"] = id.into();
        }
        frame
    }

    pub(crate) async fn say(
        &mut self,
        kind: &str,
        payload: &Value,
        in_reply_to: Option<&str>,
    ) -> String {
        let text = self.frame(kind, payload, in_reply_to).to_string();
        self.send(Message::text(text.clone())).await;
        text
    }

    pub(crate) async fn answer(&mut self, dispatch_id: &str, result: &Value) -> String {
        self.say(
            "dispatch_result",
            &json!({"result": result}),
            Some(dispatch_id),
        )
        .await
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next message, `None` at the end of the connection (or its failure).
    pub(crate) async fn message(&mut self) -> Option<Message> {
        let next = timeout(SOON, self.socket.next()).await;
        next.expect("a message in time").and_then(Result::ok)
    }

    /// The next text as JSON.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match self.message().await.expect("an open connection") {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The code of the close frame that comes next among non-text messages.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Message::Close(frame) = self.message().await? {
                return frame.map(|frame| frame.code.into());
            }
        }
    }

    pub(crate) fn ready(&self) -> bool {
        self.gateway.wait_ready(&self.instance_id, SOON)
    }
}
