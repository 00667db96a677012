//! R-30 on a socket: frames from hell, and what ends a link after all.

use serde_json::json;
use svantic_rig::GUARD;
use svantic_rig::agent::Agent;
use svantic_rig::bad_frames::{BadFrames, OPCODE_TEXT, push_frame};
use svantic_rig::dice::{from_environment, seed};
use svantic_rig::raw_peer::RawPeer;
use svantic_rig::virtual_link::VirtualLink;

/// A good dispatch goes behind so many bad frames.
const BATCH: usize = 1_000;

fn agent(peer: &RawPeer) -> Agent {
    let changes = json!({
        "svantic_url": peer.url(),
        "reconnect_delays_ms": [0],
        "heartbeat_interval_ms": 3_600_000,
    });
    Agent::connected(VirtualLink::config(&changes))
}

fn good(peer: &RawPeer, id: &str, mut bytes: Vec<u8>) {
    let text = VirtualLink::good(id, "echo");
    push_frame(&mut bytes, true, OPCODE_TEXT, text.as_bytes());
    peer.send(&bytes).expect("the link takes it");
    let answered = peer.wait_until(GUARD, |heard| heard.good.contains(id));
    assert!(answered, "the good dispatch {id} got no result");
}

#[test]
fn bad_frames_on_a_socket_cost_neither_the_link_nor_a_good_dispatch() {
    let frames = from_environment("SVANTIC_RIG_FRAMES", 100_000);
    let mut hell = BadFrames::new(seed("R-30 socket"));
    let peer = RawPeer::start().expect("a raw peer");
    let agent = agent(&peer);
    for n in 0..frames / BATCH {
        let mut bytes = Vec::new();
        for _ in 0..BATCH {
            hell.raw(&mut bytes);
        }
        good(&peer, &format!("good-{n}"), bytes);
    }
    assert_eq!(peer.look(|heard| heard.connections), 1, "the link survived");
    assert_eq!(
        agent.look(svantic_rig::agent_ledger::AgentLedger::reconnects),
        0
    );
    assert_eq!(agent.snapshot()["counters"]["unknown_transitions"], 0);
    let answers = peer.look(|heard| heard.answers);
    println!("R-30: {frames} frames on a socket, {answers} answers");
}

#[test]
fn only_broken_framing_and_oversize_end_the_link_and_say_why() {
    let mut not_utf8 = Vec::new();
    push_frame(&mut not_utf8, true, OPCODE_TEXT, b"\xff\xfe");
    let mut split_character = Vec::new();
    push_frame(
        &mut split_character,
        true,
        OPCODE_TEXT,
        "\"\u{fc}".as_bytes().split_last().unwrap().1,
    );
    let mut oversize = vec![0x81, 127];
    oversize.extend((5_u64 << 20).to_be_bytes());
    oversize.extend(vec![b' '; 5 << 20]);
    for (what, bytes, code) in [
        ("a reserved opcode", vec![0x83, 0], 1002),
        ("a reserved bit", vec![0xc1, 0], 1002),
        ("a masked frame", vec![0x81, 0x81, 1, 2, 3, 4, 0], 1002),
        ("a continuation of nothing", vec![0x80, 0], 1002),
        ("a fragmented ping", vec![0x09, 0], 1002),
        (
            "a long ping",
            [&[0x89, 126, 0, 200][..], &[0; 200]].concat(),
            1002,
        ),
        ("text that is not UTF-8", not_utf8, 1007),
        ("half a character", split_character, 1007),
        ("a message over the limit", oversize, 1009),
    ] {
        let peer = RawPeer::start().expect("a raw peer");
        let agent = agent(&peer);
        good(&peer, "good-before", Vec::new());
        // The agent may close before it has all of it.
        let _ = peer.send(&bytes);
        // Each connection is heard by a thread of its own, so the next one may be there before the end of this one is.
        let back = peer.wait_until(GUARD, |heard| {
            heard.connections == 2 && (code == 1009 || !heard.closes.is_empty())
        });
        assert!(
            back,
            "{what}: the agent did not come back, or closed without a word"
        );
        let closes = peer.look(|heard| heard.closes.clone());
        // A close behind megabytes that nobody reads is lost with the reset that follows it.
        assert!(
            closes == [code] || (code == 1009 && closes.is_empty()),
            "{what}: {closes:?}"
        );
        good(&peer, "good-after", Vec::new());
        drop(agent);
    }
}
