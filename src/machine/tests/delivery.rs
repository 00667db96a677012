//! Answers from the handler to the peer's proof, across connections (`reliability.md` 6.2 and 6.3).

use serde_json::json;

use super::rig::{Rig, millis, seconds};
use crate::machine::event::EventKind;

fn items(rig: &Rig) -> u64 {
    rig.machine.snapshot(rig.now())["outbox_items"]
        .as_u64()
        .unwrap()
}

#[test]
pub(super) fn a_pong_proves_what_was_sent_before_its_ping() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    rig.echo("d2");
    rig.answer("d1", "1").unwrap();
    rig.answer("d2", "2").unwrap();
    assert_eq!(
        rig.order[2..],
        ["send dispatch_result", "ping", "send dispatch_result"]
    );
    assert_eq!(
        (rig.pings.len(), items(&rig)),
        (1, 2),
        "one fence at a time"
    );
    rig.pong();
    assert_eq!(
        (rig.pings.len(), items(&rig)),
        (1, 1),
        "the second was sent after the ping"
    );
    rig.pong();
    assert_eq!((rig.pings.len(), items(&rig)), (0, 0));
}

#[test]
pub(super) fn a_pong_that_answers_no_ping_of_ours_proves_nothing() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    rig.answer("d1", "1").unwrap();
    let (now, conn) = (rig.now(), rig.conn);
    for payload in [
        &u64::MAX.to_be_bytes()[..],
        &7_u64.to_be_bytes(),
        &[0; 8],
        b"",
        b"12345678x",
    ] {
        rig.machine.handle_pong(now, conn, payload);
    }
    rig.collect();
    assert_eq!(items(&rig), 1);
}

#[test]
pub(super) fn the_unproven_is_sent_again_byte_for_byte() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    rig.echo("d2");
    rig.answer("d1", "1").unwrap();
    rig.pong();
    rig.answer("d2", "2").unwrap();
    let unproven = rig.sent[1].1.clone();
    rig.broken();
    rig.next_timeout();
    rig.sent.clear();
    rig.reach_ready();
    assert_eq!(rig.sent.len(), 2, "hello, and the one without proof");
    assert_eq!(rig.sent[1], (rig.conn, unproven));
    rig.pong();
    assert_eq!(items(&rig), 0);
}

#[test]
pub(super) fn what_finished_while_the_link_was_down_goes_first_and_in_order() {
    let mut rig = Rig::ready(&json!({"max_in_flight": 3}));
    for id in ["d1", "d2", "d3"] {
        rig.echo(id);
    }
    rig.broken();
    for id in ["d2", "d3", "d1"] {
        rig.advance(millis(1));
        rig.answer(id, "1").unwrap();
    }
    rig.next_timeout();
    rig.sent.clear();
    rig.reach_ready();
    rig.echo("d4");
    rig.answer("d4", "4").unwrap();
    rig.advance_alive(seconds(10));
    let frames = rig.frames();
    let ids: Vec<_> = frames
        .iter()
        .map(|f| f["in_reply_to"].as_str().unwrap_or("-"))
        .collect();
    assert_eq!(
        ids[..5],
        ["-", "d2", "d3", "d1", "d4"],
        "after hello, before heartbeats"
    );
}

#[test]
pub(super) fn an_answer_is_kept_until_its_dispatchs_deadline_and_no_longer() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    rig.advance_alive(seconds(50));
    rig.broken();
    rig.answer("d1", "1").unwrap();
    // The mesh gave the dispatch up at 60 s; 5 s of grace are for clocks and the way.
    while rig.now < millis(64_999) {
        let due = rig.machine.poll_timeout().unwrap().min(millis(64_999));
        rig.advance(due - rig.now);
        if rig.machine.link() == crate::machine::LinkState::Dialing {
            rig.dialed(crate::machine::action::Dialed::Failed(
                super::rig::unreachable(),
            ));
        }
        while !rig.requests.is_empty() {
            rig.register_ok();
        }
    }
    assert!(rig.events_of(EventKind::ResultDropped).is_empty());
    rig.advance(millis(1));
    assert_eq!(
        rig.events_of(EventKind::ResultDropped),
        [&json!({"dispatch_id":"d1","reason":"expired"})]
    );
    assert_eq!(items(&rig), 0);
}

#[test]
pub(super) fn while_results_pile_up_without_a_link_new_work_is_refused() {
    let mut rig = Rig::ready(&json!({"max_pending_dispatches": 5000}));
    for n in 0..1100 {
        rig.echo(&format!("d{n}"));
    }
    rig.broken();
    for n in 0..1100 {
        rig.answer(&format!("d{n}"), "1").unwrap();
    }
    assert_eq!(items(&rig), 1100, "finished results are never the victim");
    rig.next_timeout();
    rig.reach_ready();
    rig.pong();
    assert_eq!(items(&rig), 0);
    rig.echo("more");
    assert_eq!(rig.delivered.len(), 1101);
}
