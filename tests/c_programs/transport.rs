//! A transport from C: over the library's socket against the gateway, and over one that the program carries itself.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use svantic_gateway::{Direction, Gateway};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::{Message, accept_hdr};

use crate::compiler;
use crate::process::{
    Case, HANG, INSTANCE, Under, assert_clean, gateway, result, send_args, start,
};

/// Registers the instance that the program speaks for, as the program's own HTTP client would, and returns where to dial.
fn register(gateway: &Gateway, token: &str) -> String {
    let body = json!({
        "agent_type": "tester",
        "instance_id": INSTANCE,
        "deployment_mode": "connected",
        "agent_card": {
            "name": "tester", "description": "by hand", "version": "1.0.0", "protocolVersion": "0.3.0",
            "url": "https://agent.example/send", "capabilities": {},
            "defaultInputModes": ["application/json"], "defaultOutputModes": ["application/json"],
            "skills": [{"id": "work", "name": "work", "description": "works", "tags": []}],
        },
        "tools": [{"name": "work", "description": "works", "parameters": {"type": "object"}, "tags": []}],
        "max_concurrent_sessions": 0,
    })
    .to_string();
    let address = gateway.address();
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    write!(
        stream,
        "POST /agents/register HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("the gateway reads");
    let mut reply = String::new();
    stream
        .read_to_string(&mut reply)
        .expect("the gateway answers");
    let (head, body) = reply.split_once("\r\n\r\n").expect("an HTTP reply");
    assert!(head.starts_with("HTTP/1.1 200"), "{reply}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    body["connect_url"].as_str().expect("a URL").to_owned()
}

/// Starts a case with a token and, if `registered`, an instance that the gateway knows.
fn start_transport(under: Under, gateway: &Gateway, case: &str, registered: bool) -> Case {
    let token = gateway.issue_token("tester", Duration::from_hours(1));
    let url = if registered {
        register(gateway, &token)
    } else {
        format!("{}/agents/connect", gateway.url().replacen("http", "ws", 1))
    };
    let program = compiler::program(&["c/transport.c"]);
    let variables = [
        ("CHECK_TOKEN", token.as_str()),
        ("CHECK_CONNECT_URL", url.as_str()),
    ];
    Case::spawn_with(under, gateway, &program, case, &variables)
}

/// The frames of the program, as JSON.
fn sent(gateway: &Gateway) -> Vec<Value> {
    let frames = gateway.frames(INSTANCE).into_iter();
    let from_agent = frames.filter(|frame| frame.direction == Direction::FromAgent);
    from_agent.filter_map(|frame| frame.json()).collect()
}

/// No call over HTTP was made for the program, and no frame sent that it has not sent itself.
fn assert_raw(gateway: &Gateway) {
    let paths: Vec<String> = gateway
        .requests()
        .into_iter()
        .map(|request| request.path)
        .filter(|path| !path.starts_with("/agents/connect"))
        .collect();
    assert_eq!(paths, ["/agents/register"], "the test's own");
    assert!(
        sent(gateway)
            .iter()
            .all(|frame| frame["type"] != "heartbeat")
    );
}

pub(crate) fn whole_life_under(under: Under) {
    let gateway = gateway();
    let mut case = start_transport(under, &gateway, "whole_life", true);
    case.says("connected");
    let pending = send_args(&gateway, "work", json!({"n": 1}));
    assert_eq!(result(&pending), json!({"by": "hand"}));
    case.tell("leave");
    case.succeeds();
    let hello = &sent(&gateway)[0];
    assert_eq!(hello["type"], "hello");
    assert_eq!(hello["id"], "first-hello");
    assert_eq!(hello["ts"], "2026-01-02T03:04:05.678Z");
    assert_eq!(hello["payload"]["sdk_version"], "t-1");
    assert_eq!(hello["payload"]["agent_card"]["name"], "by hand");
    let agent = gateway.agent(INSTANCE).expect("it stays registered");
    assert_eq!(agent.deregistrations, 0);
    assert_raw(&gateway);
    assert_clean(&gateway);
}

#[test]
fn hello_welcome_a_dispatch_its_answer_and_a_close_of_our_own() {
    whole_life_under(Under::Nothing);
}

fn cut(case: &str) -> Gateway {
    let gateway = gateway();
    let mut case = start_transport(Under::Nothing, &gateway, case, true);
    case.says("connected");
    assert!(gateway.close(INSTANCE, 1012, "back soon"));
    case.says("again");
    assert!(gateway.wait_ready(INSTANCE, HANG));
    case.tell("leave");
    case.succeeds();
    let hellos: Vec<_> = sent(&gateway)
        .into_iter()
        .filter(|frame| frame["type"] == "hello")
        .collect();
    assert_eq!(hellos.len(), 2);
    assert_eq!(hellos[0]["id"], "first-hello");
    assert_ne!(hellos[1]["id"], "first-hello", "each frame has its own id");
    assert_eq!(hellos[0]["payload"], hellos[1]["payload"]);
    assert_raw(&gateway);
    assert_clean(&gateway);
    gateway
}

#[test]
fn a_lost_link_is_made_again() {
    cut("made_again");
}

#[test]
fn without_auto_reconnect_a_lost_link_leaves_it_idle_and_free_to_connect() {
    cut("not_made_again");
}

#[test]
fn the_application_issues_the_tokens() {
    let gateway = gateway();
    start_transport(Under::Nothing, &gateway, "token_provider", true).succeeds();
    assert_clean(&gateway);
}

#[test]
fn an_instance_that_is_not_registered_fails_connect_with_the_meshs_code() {
    let gateway = gateway();
    start_transport(Under::Nothing, &gateway, "not_registered", false).succeeds();
}

pub(crate) fn wrong_arguments_under(under: Under) {
    let gateway = gateway();
    let cases = "refused_configurations wrong_arguments_and_states";
    start_transport(under, &gateway, cases, false).succeeds();
    assert!(gateway.requests().is_empty(), "the mesh heard of it");
}

#[test]
fn wrong_arguments_and_states() {
    wrong_arguments_under(Under::Nothing);
}

#[test]
fn free_while_the_link_is_up() {
    let gateway = gateway();
    let mut case = start_transport(Under::Nothing, &gateway, "freed_while_up", true);
    case.says("connected");
    case.tell("leave");
    case.succeeds();
    assert_raw(&gateway);
}

/// A mesh that says welcome to one socket, and reads no frame before it is told to. The frames up to the last are counted.
#[allow(
    clippy::result_large_err,
    reason = "the type of the callback is tungstenite's"
)]
fn mesh_that_does_not_read(listener: &TcpListener, read_on: &Receiver<()>) -> usize {
    let (stream, _) = listener.accept().expect("the program dials");
    let agree = |_: &Request, mut response: Response| {
        let protocol = HeaderValue::from_static("svantic.v1");
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        Ok(response)
    };
    let mut socket = accept_hdr(stream, agree).expect("a WebSocket");
    socket.read().expect("the hello");
    let welcome = json!({"v": 1, "type": "welcome", "id": "w", "payload": {"resumed": false}});
    let welcome = Message::text(welcome.to_string());
    socket.send(welcome).expect("the program reads");
    read_on.recv().expect("the test goes on");
    let mut frames = 0;
    loop {
        let message = socket.read().expect("a frame");
        if message.is_text() {
            if message.to_text().expect("a text").contains("last") {
                return frames;
            }
            frames += 1;
        }
    }
}

#[test]
fn frames_for_a_peer_that_does_not_read() {
    let gateway = gateway();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (go, read_on) = channel();
    let mesh = thread::spawn(move || mesh_that_does_not_read(&listener, &read_on));
    let program = compiler::program(&["c/transport.c"]);
    let url = format!("ws://{address}/agents/connect");
    let variables = [
        ("CHECK_TOKEN", "e30.e30.e30"),
        ("CHECK_CONNECT_URL", url.as_str()),
    ];
    let case = "peer_that_does_not_read";
    let mut case = Case::spawn_with(Under::Nothing, &gateway, &program, case, &variables);
    case.says("full");
    go.send(()).expect("the mesh waits");
    let frames = mesh.join().expect("the mesh has read all");
    assert!(frames >= 64, "{frames} frames");
    case.tell("leave");
    case.succeeds();
}

macro_rules! by_hand {
    ($($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            let gateway = gateway();
            start(&gateway, "external_socket", stringify!($case)).succeeds();
            assert!(gateway.requests().is_empty(), "the program is its own mesh");
        }
    )*};
}

by_hand!(
    a_conversation,
    no_welcome,
    redialed,
    without_auto_reconnect,
    ends_without_a_word,
    a_refused_token,
    refused_events,
    frames_that_nobody_takes,
    frames_for_a_slow_socket,
    from_many_threads,
);
