//! Large results go out in fragments, with room between them for what must not wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;

use serde_json::{Value, json};

use crate::abi::raw::{WELCOME, accept_upgrade, frame, mesh};
use crate::abi::{Agent, GUARD, config};

const TEXT: u8 = 1;
const PONG: u8 = 10;

struct Fragment {
    is_final: bool,
    opcode: u8,
    payload: Vec<u8>,
}

/// The next masked frame; `None` at the end.
fn next(stream: &mut TcpStream) -> Option<Fragment> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    let mut long = [0; 8];
    let length = match head[1] & 0x7f {
        126 => {
            stream.read_exact(&mut long[6..]).ok()?;
            u64::from_be_bytes(long)
        }
        127 => {
            stream.read_exact(&mut long).ok()?;
            u64::from_be_bytes(long)
        }
        short => short.into(),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).ok()?;
    let mut payload = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut payload).ok()?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Some(Fragment {
        is_final: head[0] & 0x80 != 0,
        opcode: head[0] & 0x0f,
        payload,
    })
}

const DISPATCH: &str = r#"{"v":1,"type":"dispatch","id":"big","payload":{"skill_id":"echo"}}"#;

#[test]
fn a_ping_in_the_middle_of_a_4_mib_result_is_answered_before_its_end() {
    let (report, fragments) = channel();
    let mesh = mesh(move |head, stream| {
        if head.path != "/agents/connect" {
            return false;
        }
        accept_upgrade(head, stream);
        drop(stream.write_all(&frame(0x81, WELCOME.as_bytes())));
        drop(stream.write_all(&frame(0x81, DISPATCH.as_bytes())));
        let mut seen = Vec::new();
        while let Some(fragment) = next(stream) {
            let begins = fragment.opcode == TEXT && !fragment.is_final;
            let ends = fragment.opcode == 0 && fragment.is_final;
            if begins {
                drop(stream.write_all(&frame(0x89, b"in between")));
            }
            if begins || !seen.is_empty() {
                seen.push(fragment);
            }
            if ends {
                drop(report.send(std::mem::take(&mut seen)));
            }
        }
        true
    });
    let mut base = config(&mesh.url());
    base["token"] = "opaque-token-of-the-raw-mesh".into();
    let agent = Agent::with(base, &json!({"max_frame_bytes": 8 << 20}));
    agent.connect().unwrap();
    agent.dispatch();
    // Characters of three bytes, so that fragments end inside of some.
    let text = "€".repeat((4 << 20) / 3);
    agent.resolve("big", &json!(text)).unwrap();
    let fragments = fragments.recv_timeout(GUARD).expect("the whole result");

    let (pongs, pieces): (Vec<_>, Vec<_>) = fragments
        .into_iter()
        .partition(|fragment| fragment.opcode == PONG);
    assert_eq!(pongs.len(), 1, "before the last fragment");
    assert_eq!(pongs[0].payload, b"in between");
    assert!(pieces.len() >= 64);
    assert!(pieces.iter().all(|piece| piece.payload.len() <= 64 << 10));
    assert!(pieces[1..].iter().all(|piece| piece.opcode == 0));
    let whole: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.payload).collect();
    let answer: Value = serde_json::from_slice(&whole).expect("JSON in UTF-8");
    assert_eq!(answer["in_reply_to"], "big");
    assert!(answer["payload"]["result"] == text, "the result is another");
}
