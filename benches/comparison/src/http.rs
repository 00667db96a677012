//! The HTTP side of the mesh: what an agent asks before it has its WebSocket. Everything is granted.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::websocket;

const MAX_BODY: usize = 1 << 20;
/// From 2001 to 2096: no clock makes this token expire.
const CLAIMS: &str = r#"{"sub":"bench","tenant_id":"t1","iat":1000000000,"exp":4000000000}"#;

/// A request, as much of it as matters here.
#[derive(Debug, Default)]
struct Request {
    path: String,
    websocket_key: Option<String>,
    last: bool,
    body: Vec<u8>,
}

/// Answers the requests of a connection until it ends, or until it has become a WebSocket, which is returned.
///
/// # Errors
///
/// When the connection breaks.
pub fn serve(stream: TcpStream, port: u16) -> io::Result<Option<TcpStream>> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        let stream = reader.get_mut();
        if let Some(key) = &request.websocket_key {
            let accept = websocket::accept(key);
            write!(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: svantic.v1\r\n\r\n"
            )?;
            // A client that does not wait for the answer to its upgrade would have its frames in this buffer.
            if !reader.buffer().is_empty() {
                let text = "a frame came before the upgrade was answered";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            return Ok(Some(reader.into_inner()));
        }
        let body = reply(&request, port).to_string();
        let length = body.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
        stream.write_all(format!("{head} {length}\r\n\r\n{body}").as_bytes())?;
        if request.last {
            break;
        }
    }
    Ok(None)
}

fn reply(request: &Request, port: u16) -> Value {
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    match request.path.as_str() {
        "/auth/get_token" => {
            let claims = URL_SAFE_NO_PAD.encode(CLAIMS);
            json!({"token": format!("e30.{claims}.c2lnbmF0dXJl")})
        }
        "/agents/register" => json!({
            "ok": true,
            "tenant_id": "t1",
            "instance_id": asked["instance_id"],
            "deployment_mode": "connected",
            "connect_url": format!("ws://127.0.0.1:{port}/agents/connect"),
            "svantic_jwks_url": null,
            "dispatch_auth": null,
        }),
        _ => json!({"ok": true}),
    }
}

/// Nothing at the end of the connection.
fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut request = Request::default();
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default();
    path.split('?')
        .next()
        .unwrap_or_default()
        .clone_into(&mut request.path);
    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "sec-websocket-key" => request.websocket_key = Some(value.to_owned()),
            "connection" => request.last = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    request.body = vec![0; usize::min(length, MAX_BODY)];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}
