//! Nobody listens, or the connection breaks before anything was said.

use std::net::TcpListener;

use serde_json::{Value, json};
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Gateway, Options};

use crate::abi::raw::{RawServer, mesh, read_request};
use crate::abi::{Agent, config};

/// A port of loopback on which nobody listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn agent(url: &str, more: &Value) -> Agent {
    let mut config = config(url);
    config["client_id"] = "c".into();
    config["client_secret"] = "a-secret-for-nobody".into();
    Agent::with(config, more)
}

#[test]
fn a_closed_port_is_named() {
    let port = closed_port();
    for (url, more) in [
        (
            format!("http://127.0.0.1:{port}"),
            json!({"fail_fast": true}),
        ),
        (
            format!("http://127.0.0.1:{port}"),
            json!({"timeout_ms": 300}),
        ),
        (
            format!("http://localhost:{port}"),
            json!({"fail_fast": true}),
        ),
        (
            format!("https://127.0.0.1:{port}"),
            json!({"fail_fast": true}),
        ),
        (
            format!("http://127.0.0.1:{port}/v1/"),
            json!({"fail_fast": true}),
        ),
    ] {
        let agent = agent(&url, &more);
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Network, "{failure:?}");
        let url = url.trim_end_matches('/');
        let target = format!("POST {url}/auth/get_token");
        failure.says(&[
            "[UNREACHABLE]",
            &target,
            "efused",
            "check `svantic_url` (SVANTIC_URL)",
        ]);
        agent.is(State::Idle);
        let backoffs = agent
            .history()
            .iter()
            .filter(|item| item["name"] == "backoff")
            .count();
        assert_eq!(
            backoffs > 1,
            more["timeout_ms"] == 300,
            "{backoffs} attempts with {more}"
        );
    }
}

#[test]
fn a_host_without_an_address_is_named() {
    let agent = agent("https://mesh.invalid", &json!({"fail_fast": true}));
    let failure = agent.connect().unwrap_err();
    assert_eq!(failure.status, Status::Network, "{failure:?}");
    failure.says(&["https://mesh.invalid/auth/get_token", "[UNREACHABLE]"]);
}

#[test]
fn a_websocket_address_where_nobody_listens() {
    let port = closed_port();
    let mesh = mesh(move |head, stream| {
        let registers = head.path == "/agents/register";
        if registers {
            let url = format!("ws://localhost:{port}/agents/connect");
            crate::abi::raw::reply(stream, 200, &json!({"connect_url": url}).to_string());
        }
        registers
    });
    let more = json!({"fail_fast": true, "allowed_connect_hosts": [format!("localhost:{port}")]});
    let agent = agent(&mesh.url(), &more);
    let failure = agent.connect().unwrap_err();
    assert_eq!(failure.status, Status::Network, "{failure:?}");
    let url = format!("ws://localhost:{port}/agents/connect");
    failure.says(&[
        "failed while dialing the WebSocket",
        &url,
        &format!("127.0.0.1:{port}"),
        "efused",
    ]);
    agent.is(State::Idle);
}

/// The peer ends the connection at each step without an answer.
#[test]
fn a_connection_that_ends_without_an_answer() {
    for path in ["/auth/get_token", "/agents/register", "/agents/connect"] {
        // Returning from the handler closes the socket.
        let mesh = mesh(move |head, _| head.path == path);
        let agent = agent(&mesh.url(), &json!({"fail_fast": true}));
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Network, "{failure:?}");
        failure.says(&[path, "[UNREACHABLE]"]);
        agent.is(State::Idle);
    }
    let hangs_up = RawServer::start(|stream| drop(read_request(&stream)));
    let agent = agent(&hangs_up.url(), &json!({"timeout_ms": 300}));
    assert_eq!(agent.connect().unwrap_err().status, Status::Network);
    assert!(hangs_up.connections() > 1, "it was not retried");
}

#[test]
fn a_mesh_that_comes_up_in_time_is_reached() {
    let port = closed_port();
    let agent = agent(&format!("http://127.0.0.1:{port}"), &json!({}));
    agent.connect_async(1);
    agent.event("backoff");
    agent.enters("connecting");
    let options = Options {
        port,
        client_id: "c".to_owned(),
        client_secret: "a-secret-for-nobody".to_owned(),
        ..Options::default()
    };
    let gateway = Gateway::start(options).unwrap();
    assert_eq!(agent.done(1)["status"], 0);
    agent.is(State::Connected);
    agent.serves(&gateway);
}
