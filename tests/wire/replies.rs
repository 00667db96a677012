//! Replies that no sane server sends: split, dripping, cut, endless, with too much of everything.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};

use crate::abi::raw::{Head, RawServer, accept_upgrade, mesh};
use crate::abi::{Agent, config};

fn agent(mesh: &RawServer) -> Agent {
    let mut config = config(&mesh.url());
    config["client_id"] = "c".into();
    config["client_secret"] = "a-secret-for-the-raw-mesh".into();
    Agent::with(
        config,
        &json!({"fail_fast": true, "stage_timeout_ms": 1500, "http_timeout_ms": 1500}),
    )
}

/// A mesh that answers `path` by `reply` and everything else well.
fn answering(
    path: &'static str,
    reply: impl Fn(&Head, &mut TcpStream) + Send + Sync + 'static,
) -> RawServer {
    mesh(move |head, stream| {
        let ours = head.path == path;
        if ours {
            reply(head, stream);
        }
        ours
    })
}

const PATHS: [&str; 3] = ["/auth/get_token", "/agents/register", "/agents/connect"];

fn send(stream: &mut TcpStream, bytes: &[u8]) {
    // The client may have had enough.
    drop(stream.write_all(bytes));
}

/// Nagle's algorithm is off, and every piece is a packet of its own once the peer has had time for the one before.
fn in_pieces(stream: &mut TcpStream, pieces: &[&[u8]]) {
    drop(stream.set_nodelay(true));
    for piece in pieces {
        send(stream, piece);
        sleep(Duration::from_millis(30));
    }
}

#[test]
fn a_body_in_a_packet_of_its_own_still_tells_the_code() {
    for path in PATHS {
        let mesh = answering(path, |_, stream| {
            let (first, second) = (
                br#"{"code":"DEPLOYMENT_MODE_MIS"#,
                br#"MATCH","error":"is hosted"}"#,
            );
            let length = first.len() + second.len();
            let head = format!("HTTP/1.1 409 Conflict\r\nContent-Length: {length}\r\n\r\n");
            in_pieces(stream, &[head.as_bytes(), first, second]);
        });
        let agent = agent(&mesh);
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Remote);
        failure.says(&["HTTP 409", "[DEPLOYMENT_MODE_MISMATCH]", "is hosted", path]);
        agent.is(State::Failed);
    }
}

#[test]
fn a_chunked_body_and_one_that_ends_with_the_connection() {
    for path in PATHS {
        for whole in [
            &b"HTTP/1.1 422 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"cod\r\n7\r\ne\":\"X\"}\r\n0\r\n\r\n"[..],
            &b"HTTP/1.1 422 X\r\nConnection: close\r\n\r\n{\"code\":\"X\"}"[..],
            &b"HTTP/1.0 422 X\r\n\r\n{\"code\":\"X\"}"[..],
        ] {
            let mesh = answering(path, move |_, stream| send(stream, whole));
            let agent = agent(&mesh);
            agent.connect().unwrap_err().says(&["HTTP 422", "[X]", path]);
            agent.is(State::Failed);
        }
    }
}

/// Whatever befalls the body, the status of a refusal is known and reported.
#[test]
fn a_refusal_whose_body_is_cut_or_endless_keeps_its_status() {
    for path in PATHS {
        let cut = answering(path, |_, stream| {
            send(
                stream,
                b"HTTP/1.1 401 X\r\nContent-Length: 5000\r\n\r\n{\"code\":\"UNAUTH",
            );
            drop(stream.shutdown(Shutdown::Both));
        });
        let failure = agent(&cut).connect().unwrap_err();
        assert_eq!(failure.status, Status::Auth, "{path}: {failure:?}");
        failure.says(&["HTTP 401", path]);

        let endless = answering(path, |_, stream| {
            send(
                stream,
                b"HTTP/1.1 401 X\r\nContent-Length: 99999999999\r\n\r\n",
            );
            while stream.write_all(&[b'x'; 8192]).is_ok() {}
        });
        let failure = agent(&endless).connect().unwrap_err();
        assert_eq!(failure.status, Status::Auth, "{path}: {failure:?}");
        failure.says(&["HTTP 401", path]);
        assert!(
            failure.text.len() < 2000,
            "it quotes {} bytes",
            failure.text.len()
        );
    }
}

#[test]
fn a_good_reply_that_is_too_large_is_none() {
    for (path, body) in [
        ("/auth/get_token", "token"),
        ("/agents/register", "connect_url"),
    ] {
        let mesh = answering(path, move |_, stream| {
            let body = format!(
                "{{\"padding\":\"{}\",\"{body}\":\"x\"}}",
                "x".repeat(2 << 20)
            );
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            send(stream, head.as_bytes());
            send(stream, body.as_bytes());
        });
        let failure = agent(&mesh).connect().unwrap_err();
        assert_eq!(failure.status, Status::Protocol, "{failure:?}");
        failure.says(&["UNEXPECTED_REPLY", path]);
    }
}

#[test]
fn a_head_that_drips_is_given_up() {
    for path in PATHS {
        let mesh = answering(path, |_, stream| {
            send(stream, b"HTTP/1.1 200 OK\r\n");
            for n in 0_u32.. {
                if stream
                    .write_all(format!("X-{n}: y\r\n").as_bytes())
                    .is_err()
                {
                    return;
                }
                sleep(Duration::from_millis(100));
            }
        });
        let failure = agent(&mesh).connect().unwrap_err();
        assert_eq!(failure.status, Status::Timeout, "{failure:?}");
        failure.says(&["1500 ms", path, "[TIMEOUT]"]);
    }
}

#[test]
fn a_head_without_measure_is_refused() {
    for path in PATHS {
        for (header, count) in [
            ("X-Long: ".to_owned() + &"y".repeat(1 << 20), 1),
            ("X: y".to_owned(), 500),
        ] {
            let mesh = answering(path, move |head, stream| {
                send(stream, b"HTTP/1.1 401 X\r\n");
                for _ in 0..count {
                    send(stream, header.as_bytes());
                    send(stream, b"\r\n");
                }
                if head.path == "/agents/connect" {
                    accept_upgrade(head, stream);
                }
                send(stream, b"\r\n");
            });
            let failure = agent(&mesh).connect().unwrap_err();
            assert_eq!(failure.status, Status::Network, "{failure:?}");
            failure.says(&["[UNREACHABLE]", path]);
        }
    }
}

#[test]
fn what_is_not_http_is_no_reply() {
    for path in PATHS {
        for text in [
            "SSH-2.0-OpenSSH_9.6\r\n",
            "\0\0\0\0\0\0\0\0\r\n\r\n",
            "HTTP/9.9 200 OK\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
        ] {
            let mesh = answering(path, move |_, stream| send(stream, text.as_bytes()));
            let failure = agent(&mesh).connect().unwrap_err();
            assert_eq!(failure.status, Status::Network, "{text:?}: {failure:?}");
            failure.says(&[path]);
        }
    }
}

#[test]
fn a_101_that_does_not_answer_our_upgrade() {
    for text in [
        "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: svantic.v1\r\n\r\n",
        "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: bm90IG91cnM=\r\n\
         Sec-WebSocket-Protocol: svantic.v1\r\n\r\n",
        "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: x\r\n\r\n",
    ] {
        let mesh = answering("/agents/connect", move |_, stream| {
            send(stream, text.as_bytes());
        });
        let failure = agent(&mesh).connect().unwrap_err();
        assert_eq!(failure.status, Status::Network, "{failure:?}");
        failure.says(&[
            "the 101 is not the answer to our WebSocket upgrade",
            "/agents/connect",
        ]);
    }
    // A 200 is a web site, not a mesh.
    let site = answering("/agents/connect", |_, stream| {
        send(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    agent(&site)
        .connect()
        .unwrap_err()
        .says(&["HTTP 200", "/agents/connect"]);
}

/// No compression is offered, so a server that switches it on breaks the protocol.
#[test]
fn compression_that_was_not_offered_is_refused() {
    let mesh = answering("/agents/connect", |head, stream| {
        assert!(head.header("sec-websocket-extensions").is_none());
        let key = head.header("sec-websocket-key").unwrap_or_default();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        let text = format!(
            "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\
             Sec-WebSocket-Protocol: svantic.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        );
        send(stream, text.as_bytes());
        // Until the client hangs up.
        while matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
    });
    let failure = agent(&mesh).connect().unwrap_err();
    assert_eq!(failure.status, Status::Network, "{failure:?}");
    failure.says(&[
        "/agents/connect",
        "switches on a WebSocket extension that was not offered",
    ]);
}
