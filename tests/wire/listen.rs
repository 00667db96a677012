//! `listen`: the library's own server in front of an agent.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};

use crate::abi::{Agent, GUARD, config, gateway};
use crate::tls::certificate_files;

fn listening(agent: &Agent) -> SocketAddr {
    let snapshot = agent.snapshot();
    let address = snapshot["listening"].as_str().expect("it listens");
    address.parse().expect("an address")
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(GUARD)).unwrap();
    stream
}

/// A client that has sent a request and waits for its response, which is the last on its connection.
struct Asked<S>(S);

impl<S: Read + Write> Asked<S> {
    fn new(mut stream: S, method: &str, path: &str, body: &str) -> Self {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        Self(stream)
    }

    /// The status and the JSON in the body, if there is any.
    fn response(mut self) -> (u16, Value) {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head[9..12].parse().expect("a status");
        (status, serde_json::from_str(body).unwrap_or_default())
    }
}

/// A call of the capability `echo`.
fn call(id: &str, args: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": {
        "kind": "message", "role": "user", "messageId": id,
        "parts": [{"kind": "data", "data": {"skill_id": "echo", "args": args}}],
    }}})
    .to_string()
}

fn post(address: SocketAddr, id: &str, args: &Value) -> Asked<TcpStream> {
    Asked::new(dial(address), "POST", "/send", &call(id, args))
}

fn get_card<S: Read + Write>(stream: S) -> (u16, Value) {
    Asked::new(stream, "GET", "/.well-known/agent-card.json", "").response()
}

#[track_caller]
fn result(response: (u16, Value)) -> Value {
    let (status, body) = response;
    assert_eq!(status, 200, "{body}");
    body["result"]["parts"][0]["data"]["result"].clone()
}

#[track_caller]
fn refuses(address: SocketAddr) {
    let error = TcpStream::connect(address).expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_agent_that_only_listens_registers_and_answers_a_post() {
    let gateway = gateway();
    let agent = Agent::of(&gateway, &json!({"listen": "127.0.0.1:0"}));
    let address = listening(&agent);
    agent.connect().unwrap();
    agent.is(State::Connected);
    assert!(gateway.agent(agent.id()).is_some());
    let (status, card) = get_card(dial(address));
    assert_eq!(status, 200);
    assert_eq!(card["url"], format!("http://{address}/send"));
    assert_eq!(card["skills"][0]["id"], "echo");

    let asked = post(address, "m-1", &json!({"n": 7}));
    let dispatch = agent.dispatch();
    assert_eq!(dispatch["args"], json!({"n": 7}));
    let id = dispatch["dispatch_id"].as_str().unwrap();
    agent.resolve(id, &json!({"n": 8})).unwrap();
    assert_eq!(result(asked.response()), json!({"n": 8}));

    agent.disconnect().unwrap();
    drop(agent);
    refuses(address);
}

#[test]
fn an_address_that_is_taken_is_an_error_of_create() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config("http://127.0.0.1:9");
    config["client_id"] = "id".into();
    config["client_secret"] = "secret".into();
    config["listen"] = taken.local_addr().unwrap().to_string().into();
    let failure = Agent::create(&config).err().expect("it is taken");
    assert_eq!(failure.status, Status::Network);
    failure.says(&["listen", "ADDRESS_IN_USE", "port 0"]);
    drop(taken);
    // What was never served is given back too.
    for _ in 0..2 {
        let agent = Agent::create(&config).expect("it is free");
        let address = listening(&agent);
        drop(agent);
        refuses(address);
    }
}

#[test]
fn without_a_mesh_it_serves_from_the_start_with_tls_or_without() {
    let local = |listen: Value| {
        let mut config = config("http://127.0.0.1:9");
        config.as_object_mut().unwrap().remove("svantic_url");
        let agent = Agent::with(config, &json!({"local": true, "listen": listen}));
        assert_eq!(agent.connect().unwrap_err().status, Status::InvalidState);
        agent
    };
    let agent = local(json!("127.0.0.1:0"));
    let asked = post(listening(&agent), "m-1", &json!({}));
    agent.answers(&json!("plain"));
    assert_eq!(result(asked.response()), "plain");
    let address = listening(&agent);
    drop(agent);
    refuses(address);

    let (certificate, certificate_file, key_file) = certificate_files("listen", "localhost");
    let agent = local(json!({
        "address": "127.0.0.1:0", "certificate_file": certificate_file, "key_file": key_file,
    }));
    let address = listening(&agent);
    let secure = || {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(tls, dial(address))
    };
    let (status, card) = get_card(secure());
    assert_eq!(status, 200);
    let url = card["url"].as_str().unwrap();
    assert!(url.starts_with("https://"), "{url}");
    let asked = Asked::new(secure(), "POST", "/send", &call("m-2", &json!({})));
    agent.answers(&json!("secure"));
    assert_eq!(result(asked.response()), "secure");
    fs::remove_file(certificate_file).unwrap();
    fs::remove_file(key_file).unwrap();
}

#[test]
fn plain_http_for_other_machines_is_warned_of() {
    let local = |listen: &str| {
        let config = config("http://127.0.0.1:9");
        Agent::with(
            config,
            &json!({"svantic_url": null, "local": true, "listen": listen}),
        )
    };
    let agent = local("0.0.0.0:0");
    let told = agent.event_with("log", |data| data["level"] == "warn");
    let told = told["message"].as_str().unwrap();
    assert!(
        told.contains("`listen` 0.0.0.0:") && told.contains("TLS"),
        "{told}"
    );
    let address = SocketAddr::from(([127, 0, 0, 1], listening(&agent).port()));
    assert_eq!(get_card(dial(address)).0, 200);
}

#[test]
fn a_client_that_hangs_up_loses_nothing_but_its_wait() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"listen": "127.0.0.1:0"}));
    let address = listening(&agent);
    let gone = post(address, "gone", &json!({"n": 1}));
    let first = agent.dispatch();
    let stays = post(address, "stays", &json!({"n": 2}));
    let second = agent.dispatch();
    drop(gone);
    // Neither the other's call nor its own is cancelled.
    for (dispatch, text) in [(&first, "one"), (&second, "two")] {
        let id = dispatch["dispatch_id"].as_str().unwrap();
        agent.resolve(id, &json!(text)).unwrap();
    }
    assert_eq!(result(stays.response()), "two");
    // Sent again it finds its answer.
    let again = post(address, "gone", &json!({"n": 1}));
    assert_eq!(result(again.response()), "one");
}

#[test]
fn what_runs_at_the_disconnect_is_answered_and_what_comes_then_is_told_so() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"listen": "127.0.0.1:0"}));
    let address = listening(&agent);
    let running = post(address, "running", &json!({}));
    let dispatch = agent.dispatch();
    agent.disconnect_async(5);
    agent.enters("draining");
    let (status, body) = post(address, "late", &json!({})).response();
    assert_eq!(status, 503);
    assert!(body.to_string().contains("AGENT_SHUTDOWN"), "{body}");
    let id = dispatch["dispatch_id"].as_str().unwrap();
    agent.resolve(id, &json!("the last")).unwrap();
    assert_eq!(result(running.response()), "the last");
    agent.done(5);
    drop(agent);
    refuses(address);
}

#[test]
fn nobody_is_left_waiting_by_an_agent_that_is_freed() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"listen": "127.0.0.1:0"}));
    let address = listening(&agent);
    let running = post(address, "running", &json!({}));
    agent.dispatch();
    drop(agent);
    assert_eq!(running.response().0, 503);
    refuses(address);
}
