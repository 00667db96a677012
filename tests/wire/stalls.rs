//! A mesh that falls silent at each stage: everything ends by its deadline and says where it hung.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};
use serde_json::json;
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Faults, Gateway, Options, Override, Stage};

use crate::abi::proxy::{drip, until_end};
use crate::abi::raw::{RawServer, accept_upgrade, read_request};
use crate::abi::{Agent, gateway, sees};
use crate::tls::{authority, certificate, file, server_config};

fn stall(gateway: &Gateway, stage: Stage) {
    gateway.set_faults(Faults {
        stall: Some(stage),
        ..Faults::default()
    });
}

struct Row {
    stage: Stage,
    step: &'static str,
    path: &'static str,
    /// The time span that ends this stage before the deadline of connect does.
    limit: &'static str,
    code: &'static str,
}

const fn row(
    stage: Stage,
    step: &'static str,
    path: &'static str,
    limit: &'static str,
    code: &'static str,
) -> Row {
    Row {
        stage,
        step,
        path,
        limit,
        code,
    }
}

const STAGES: &[Row] = &[
    row(
        Stage::Accept,
        "exchanging the credentials",
        "/auth/get_token",
        "http_timeout_ms",
        "TIMEOUT",
    ),
    row(
        Stage::Token,
        "exchanging the credentials",
        "/auth/get_token",
        "http_timeout_ms",
        "TIMEOUT",
    ),
    row(
        Stage::Register,
        "registering the agent",
        "/agents/register",
        "http_timeout_ms",
        "TIMEOUT",
    ),
    row(
        Stage::Upgrade,
        "dialing the WebSocket",
        "/agents/connect",
        "stage_timeout_ms",
        "TIMEOUT",
    ),
    row(
        Stage::Welcome,
        "waiting for the mesh's welcome",
        "/agents/connect",
        "welcome_timeout_ms",
        "NO_WELCOME",
    ),
];

#[test]
fn connect_ends_at_its_own_deadline() {
    for Row {
        stage, step, path, ..
    } in STAGES
    {
        let gateway = gateway();
        stall(&gateway, *stage);
        let agent = Agent::of(&gateway, &json!({"timeout_ms": 250}));
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Timeout, "{failure:?}");
        failure.says(&[
            "timed out after 250 ms",
            step,
            path,
            &gateway.address().to_string(),
            "[TIMEOUT]",
        ]);
        failure.says(&["check `svantic_url`"]);
        agent.is(State::Idle);
        gateway.set_faults(Faults::default());
        agent
            .connect()
            .unwrap_or_else(|failure| panic!("{stage:?}: {failure:?}"));
        agent.serves(&gateway);
    }
}

#[test]
fn a_stage_ends_by_its_own_limit() {
    for Row {
        stage,
        step,
        path,
        limit,
        code,
    } in STAGES
    {
        let gateway = gateway();
        stall(&gateway, *stage);
        let agent = Agent::of(&gateway, &json!({"fail_fast": true, *limit: 150}));
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Timeout, "{failure:?}");
        failure.says(&[
            "150 ms",
            step,
            path,
            &gateway.address().to_string(),
            &format!("[{code}]. "),
        ]);
        agent.is(State::Idle);
        // Without fail_fast it is tried again, and works when the mesh has found its tongue.
        let other = Agent::of(&gateway, &json!({*limit: 150}));
        other.connect_async(5);
        let backoff = other.event("backoff");
        assert_eq!(backoff["cause"], *code);
        gateway.set_faults(Faults::default());
        assert_eq!(other.done(5)["status"], 0, "{stage:?}");
        other.serves(&gateway);
    }
}

#[test]
fn a_silent_tls_handshake() {
    let gateway = Gateway::start(Options {
        tls: true,
        ..Options::default()
    })
    .unwrap();
    stall(&gateway, Stage::Tls);
    for more in [
        json!({"timeout_ms": 250}),
        json!({"fail_fast": true, "http_timeout_ms": 150}),
    ] {
        let agent = Agent::of(&gateway, &more);
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Timeout, "{failure:?}");
        failure.says(&[&gateway.url(), "exchanging the credentials"]);
    }
}

#[test]
fn session_calls_that_are_never_answered() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"http_timeout_ms": 400}));
    let session = agent.create_session(0).unwrap();
    // Once by the deadline of the call, once by that of its HTTP request.
    for (timeout_ms, said) in [(100, "100 ms"), (0, "400 ms")] {
        stall(&gateway, Stage::SessionInit);
        let failure = agent.create_session(timeout_ms).unwrap_err();
        assert_eq!(failure.status, Status::Timeout);
        failure.says(&[
            said,
            "opening a session",
            "/sessions/init",
            &gateway.url(),
            "[TIMEOUT]",
        ]);
        stall(&gateway, Stage::SessionClose);
        let failure = agent.close_session(&session, timeout_ms).unwrap_err();
        assert_eq!(failure.status, Status::Timeout);
        failure.says(&[
            said,
            "closing a session",
            "/sessions/close",
            &gateway.url(),
            "[TIMEOUT]",
        ]);
        gateway.set_faults(Faults::default());
    }
    agent.serves(&gateway);
    agent.close_session(&session, 0).unwrap();
}

#[test]
fn token_and_registration_while_connected() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"timeout_ms": 1500}));
    stall(&gateway, Stage::Token);
    let failure = agent.refresh_token(None).unwrap_err();
    assert_eq!(failure.status, Status::Timeout);
    failure.says(&["1500 ms", "/auth/get_token", &gateway.url()]);
    stall(&gateway, Stage::Register);
    let failure = agent.re_register().unwrap_err();
    assert_eq!(failure.status, Status::Timeout);
    failure.says(&["1500 ms", "/agents/register", &gateway.url()]);
    agent.is(State::Connected);
    agent.serves(&gateway);
    gateway.set_faults(Faults::default());
    agent.refresh_token(None).unwrap();
    agent.re_register().unwrap();
}

#[test]
fn disconnect_returns_without_the_meshs_goodbye() {
    for stage in [Stage::Close, Stage::Deregister] {
        let gateway = gateway();
        let agent = Agent::connected(&gateway, &json!({}));
        stall(&gateway, stage);
        agent.disconnect().unwrap();
        agent.is(State::Closed);
        let record = gateway.agent(agent.id()).unwrap();
        // The close handshake was given up for the call behind it; that one was sent and not waited for.
        assert_eq!(record.registered, stage == Stage::Deregister, "{stage:?}");
        sees(&gateway, "the farewell", |seen| {
            seen.requests()
                .iter()
                .any(|request| request.path == "/agents/deregister")
        });
    }
}

#[test]
fn disconnect_in_the_middle_of_a_stalled_connect() {
    for stage in [
        Stage::Accept,
        Stage::Token,
        Stage::Register,
        Stage::Upgrade,
        Stage::Welcome,
    ] {
        let gateway = gateway();
        stall(&gateway, stage);
        let agent = Agent::of(&gateway, &json!({}));
        agent.connect_async(3);
        agent.enters("connecting");
        if stage != Stage::Accept {
            sees(&gateway, "the stalled request", |seen| {
                let last = seen.requests().last();
                last.is_some_and(|request| match stage {
                    Stage::Token => request.path == "/auth/get_token",
                    Stage::Register => request.path == "/agents/register",
                    _ => request.path == "/agents/connect",
                })
            });
        }
        agent.disconnect().unwrap();
        agent.is(State::Closed);
        assert_eq!(
            agent.done(3)["status"],
            Status::Cancelled as i32,
            "{stage:?}"
        );
    }
}

/// The handshake's second flight, cut before its end: the client has the server's hello and waits for the rest.
fn half_a_handshake(stream: &mut TcpStream, config: &Arc<ServerConfig>) {
    let mut tls = ServerConnection::new(Arc::clone(config)).unwrap();
    while !tls.wants_write() {
        match tls.read_tls(stream) {
            Ok(1..) => {}
            _ => return,
        }
        if tls.process_new_packets().is_err() {
            return;
        }
    }
    let mut flight = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut flight).unwrap();
    }
    drop(stream.write_all(&flight[..flight.len() / 2]));
}

type Play = Box<dyn Fn(&mut TcpStream) + Send + Sync>;

/// The scheme to dial, the stage that never ends, and the peer.
fn slow_peers(tls: &Arc<ServerConfig>) -> Vec<(&'static str, &'static str, Play)> {
    let tls_stage = "the TLS handshake";
    let upgrade = "the WebSocket upgrade";
    vec![
        ("wss", tls_stage, Box::new(until_end)),
        // The head of a record of 16 KiB, which takes a minute and more to come.
        (
            "wss",
            tls_stage,
            Box::new(|tcp| drip(tcp, b"\x16\x03\x03\x40\x00\x02")),
        ),
        ("wss", tls_stage, {
            let tls = Arc::clone(tls);
            Box::new(move |tcp| {
                half_a_handshake(tcp, &tls);
                until_end(tcp);
            })
        }),
        ("wss", tls_stage, {
            let tls = Arc::clone(tls);
            Box::new(move |tcp| {
                half_a_handshake(tcp, &tls);
                // More of the record that was begun, which never gets whole.
                drip(tcp, b"");
            })
        }),
        ("ws", upgrade, Box::new(until_end)),
        ("ws", upgrade, {
            Box::new(|tcp| {
                if read_request(tcp).is_some() {
                    drip(tcp, b"HTTP/1.1 101 Switching Protocols");
                }
            })
        }),
        ("ws", upgrade, {
            Box::new(|tcp| {
                if read_request(tcp).is_some() {
                    drip(tcp, b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nX-Slow: ");
                }
            })
        }),
        ("ws", "the hello", {
            Box::new(|tcp| {
                if let Some(head) = read_request(tcp) {
                    accept_upgrade(&head, tcp);
                    until_end(tcp);
                }
            })
        }),
        ("ws", "the hello", {
            Box::new(|tcp| {
                if let Some(head) = read_request(tcp) {
                    accept_upgrade(&head, tcp);
                    // A text of 65,535 bytes.
                    drip(tcp, b"\x81\x7e\xff\xff");
                }
            })
        }),
    ]
}

/// A peer that is silent, or that always has one byte more to say, at each step of opening the WebSocket (R-31;
/// TCP is in the tests of `src/net`, a proxy's CONNECT in `proxy.rs`). A limit is for the whole of its stage.
#[test]
fn silent_and_dripping_peers_end_with_their_stage_or_with_the_attempt() {
    let gateway = gateway();
    let ours = authority("ours");
    let ca = file("stalls.pem", ours.pem().as_bytes());
    let tls = server_config(certificate("localhost", false, Some(&ours)));
    for (number, (scheme, stage, play)) in slow_peers(&tls).into_iter().enumerate() {
        let server = RawServer::start(move |mut tcp| play(&mut tcp));
        let place = format!("localhost:{}", server.address().port());
        let url = format!("{scheme}://{place}/agents/connect");
        gateway.set_faults(Faults {
            connect_url: Some(Override::Text(url.clone())),
            ..Faults::default()
        });
        let welcome = stage == "the hello";
        for (limit, says) in [
            (
                "stage_timeout_ms",
                format!("{stage} took longer than 150 ms"),
            ),
            (
                "attempt_timeout_ms",
                format!("the attempt, at last {stage}, took longer than 150 ms"),
            ),
        ] {
            let (limit, says, code) = match (welcome, limit) {
                (false, _) => (limit, says, "[TIMEOUT]"),
                (true, "stage_timeout_ms") => {
                    let says = "no welcome within 150 ms of the hello".to_owned();
                    ("welcome_timeout_ms", says, "[NO_WELCOME]")
                }
                (true, _) => {
                    let says = "all that was left of the attempt's 150 ms".to_owned();
                    (limit, says, "[NO_WELCOME]")
                }
            };
            // The other limits would outlive connect.
            let mut more = json!({
                "stage_timeout_ms": 3_600_000, "welcome_timeout_ms": 3_600_000, "attempt_timeout_ms": 3_600_000,
                "fail_fast": true, "ca_file": ca, "allowed_connect_hosts": [place],
            });
            more[limit] = 150.into();
            let agent = Agent::of(&gateway, &more);
            let failure = agent.connect().unwrap_err();
            assert_eq!(failure.status, Status::Timeout, "{number}: {failure:?}");
            failure.says(&[&says, code, &url]);
            agent.is(State::Idle);
        }
    }
}
