//! R-30 without the socket: a million frames from hell through the machine, in a binary of its own, whose memory is
//! counted.

use serde_json::json;
use svantic::machine::State;
use svantic_rig::bad_frames::BadFrames;
use svantic_rig::dice::{from_environment, seed};
use svantic_rig::live_bytes::LiveBytes;
use svantic_rig::virtual_link::VirtualLink;

#[global_allocator]
static MEMORY: LiveBytes = LiveBytes::new();

/// A good dispatch goes behind so many bad frames.
const BATCH: usize = 1_000;

/// Live bytes may differ by what ten thousand remembered answers of uneven length differ by.
const TOLERANCE: isize = 512 << 10;

#[test]
fn a_million_bad_frames_neither_end_nor_grow_the_machine() {
    let frames = from_environment("SVANTIC_RIG_MACHINE_FRAMES", 1_000_000);
    let mut hell = BadFrames::new(seed("R-30 machine"));
    let mut link = VirtualLink::connected(VirtualLink::config(&json!({})), 1);
    let mut settled = 0;
    for n in 0..frames / BATCH {
        for _ in 0..BATCH {
            link.text(&hell.text());
        }
        link.text(&VirtualLink::good(&format!("good-{n}"), "echo"));
        let wanted = format!("\"in_reply_to\":\"good-{n}\",\"payload\":{{\"result\":1}}");
        assert!(link.last_sent.contains(&wanted), "{}", link.last_sent);
        // By then what is remembered by design is full.
        if n == frames / BATCH / 2 {
            settled = MEMORY.live();
        }
    }
    assert_eq!((link.state(), link.dials), (State::Connected, 1));
    let snapshot = link.snapshot();
    assert_eq!(snapshot["counters"]["unknown_transitions"], 0);
    assert_eq!(snapshot["in_flight"], 0);
    let grown = MEMORY.live() - settled;
    println!("R-30: {frames} frames, {grown} bytes more over the second half; {snapshot}");
    assert!(grown <= TOLERANCE, "{grown} bytes more");
}
