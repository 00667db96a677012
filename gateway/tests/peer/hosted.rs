//! A hosted agent: a real HTTP server that shows a card, keeps every call and replies as the test says.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ring::hmac;
use serde_json::{Value, json};
use svantic_gateway::{Answer, DispatchError, DispatchRequest, Gateway};
use tokio::net::{TcpListener, TcpStream};

use super::{TTL, post};

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Call {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn message(&self) -> Value {
        self.json()["params"]["message"].clone()
    }

    /// The data part's content.
    pub(crate) fn data(&self) -> Value {
        let message = self.message();
        let parts = message["parts"].as_array().unwrap();
        let data = parts.iter().find_map(|part| part.get("data"));
        data.cloned().unwrap_or_default()
    }

    /// The reply with this result.
    pub(crate) fn result(&self, result: &Value) -> Served {
        let message = json!({
            "kind": "message", "messageId": "m1", "role": "agent",
            "parts": [{"kind": "data", "data": {"result": result}}],
        });
        Served::json(
            200,
            &json!({"jsonrpc": "2.0", "id": self.id(), "result": message}),
        )
    }

    /// The arguments as the result.
    pub(crate) fn echo(&self) -> Served {
        self.result(&self.data()["args"])
    }
}

/// What a call is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Served {
    Reply(u16, &'static str, String),
    /// The connection breaks.
    HangUp,
    /// No reply, ever.
    Silence,
}

impl Served {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Reply(status, "application/json", body.to_string())
    }
}

type Serving = dyn Fn(&Call, usize) -> Served + Send + Sync;

/// A server on loopback; ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct HostedAgent {
    pub(crate) address: SocketAddr,
    card: Arc<Mutex<Served>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl HostedAgent {
    /// Serves what `serving` makes of each call and of how many came before it.
    pub(crate) async fn start(
        serving: impl Fn(&Call, usize) -> Served + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let agent = Self {
            address,
            card: Arc::new(Mutex::new(Served::Silence)),
            calls: Arc::default(),
        };
        agent.show(Served::json(200, &agent.card()));
        let serving: Arc<Serving> = Arc::new(serving);
        let accepting = agent.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().converse(tcp, Arc::clone(&serving)));
            }
        });
        agent
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/desk", self.address)
    }

    /// A good card, whose endpoint is not the usual one.
    pub(crate) fn card(&self) -> Value {
        json!({
            "name": "desk", "description": "d", "url": format!("{}/call-me", self.url()), "version": "1.0.0",
            "protocolVersion": "0.3.0", "skills": [{"id": "echo", "name": "echo", "description": "e", "tags": []}],
        })
    }

    /// Shows this at the place of the card.
    pub(crate) fn show(&self, card: Served) {
        *self.card.lock().unwrap() = card;
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn registration(&self, instance_id: &str) -> Value {
        json!({
            "agent_type": "desk", "instance_id": instance_id, "deployment_mode": "hosted", "url": self.url(),
        })
    }

    /// Registers as this instance.
    pub(crate) async fn join(&self, gateway: &Gateway, instance_id: &str) {
        self.join_with(gateway, self.registration(instance_id))
            .await;
    }

    pub(crate) async fn join_with(&self, gateway: &Gateway, registration: Value) {
        let token = gateway.issue_token("desk", TTL);
        let reply = post(gateway, "/agents/register", Some(&token), &registration).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }

    async fn converse(self, tcp: TcpStream, serving: Arc<Serving>) {
        let service = service_fn(|request| self.serve(request, &serving));
        // An error is a hang-up of either side.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(tcp), service)
            .await;
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
        serving: &Arc<Serving>,
    ) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let served = if path == "/desk/.well-known/agent-card.json" && head.method == "GET" {
            self.card.lock().unwrap().clone()
        } else {
            let body = body.collect().await.unwrap().to_bytes();
            let call = Call {
                path,
                headers: head.headers,
                text: String::from_utf8(body.to_vec()).unwrap(),
            };
            let before = {
                let mut calls = self.calls.lock().unwrap();
                calls.push(call.clone());
                calls.len() - 1
            };
            serving(&call, before)
        };
        match served {
            Served::Reply(status, content_type, body) => Ok(Response::builder()
                .status(status)
                .header("content-type", content_type)
                .header("location", "http://127.0.0.1:9/elsewhere")
                .body(Full::new(Bytes::from(body)))
                .unwrap()),
            Served::HangUp => Err(std::io::Error::other("hung up")),
            Served::Silence => std::future::pending::<Result<_, Infallible>>()
                .await
                .map_err(|never| match never {}),
        }
    }
}

/// A request for the agent's one skill.
pub(crate) fn echo(args: Value) -> DispatchRequest {
    DispatchRequest::new("echo", args)
}

/// Sends it and waits for what comes of it.
pub(crate) async fn dispatch(
    gateway: &Gateway,
    request: DispatchRequest,
) -> Result<Answer, DispatchError> {
    gateway.begin_dispatch(request).outcome().await
}

/// The header and the claims of a token whose signature this secret made, byte for byte.
pub(crate) fn opened(token: &str, secret: &str) -> Option<(Value, Value)> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    hmac::verify(&key, signed.as_bytes(), &signature).ok()?;
    let read = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    Some((read(header)?, read(claims)?))
}
