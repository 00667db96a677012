//! Answers that the peer closes the connection on (`reliability.md` R-04c and 5.4).

use serde_json::{Value, json};

use super::rig::{Rig, seconds};
use crate::machine::action::LinkEnd;
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

/// What happened to the answers under a peer that closes whenever it reads one to `poison`.
struct Story {
    rig: Rig,
    /// The answers that the peer read, those that it closed on included.
    read: Vec<Value>,
}

impl Story {
    fn begin(ids: &[&str]) -> Self {
        let mut rig = Rig::ready(&json!({"max_in_flight": 10}));
        for id in ids {
            rig.echo(id);
        }
        for id in ids {
            rig.answer(id, "1").unwrap();
        }
        let read = Vec::new();
        Self { rig, read }
    }

    /// The peer reads what was sent, and closes with `code` on a result for `poison`, until all is at rest.
    fn play(&mut self, poison: &str, end: &LinkEnd) {
        self.act(poison, end);
        assert_eq!(self.rig.machine.state(), State::Connected);
        assert_eq!(self.rig.machine.snapshot(self.rig.now())["outbox_items"], 0);
    }

    fn act(&mut self, poison: &str, end: &LinkEnd) {
        for _ in 0..40 {
            let mut angry = false;
            for frame in self.rig.frames() {
                let answer = frame["in_reply_to"].is_string();
                if !answer || angry {
                    continue;
                }
                angry = frame["in_reply_to"] == poison && frame["type"] == "dispatch_result";
                self.read.push(frame);
            }
            if angry {
                self.rig.pings.clear();
                self.rig.ended(end);
                while self.rig.machine.link() == LinkState::Backoff {
                    self.rig.next_timeout();
                }
                self.rig.reach_ready();
            } else {
                self.rig.pong();
            }
        }
    }

    fn reads_of(&self, id: &str) -> Vec<&Value> {
        let of = |frame: &&Value| frame["in_reply_to"] == id;
        self.read.iter().filter(of).collect()
    }

    fn dropped(&self) -> Vec<&Value> {
        self.rig.events_of(EventKind::ResultDropped)
    }
}

fn with_code(code: u16) -> LinkEnd {
    LinkEnd::Closed {
        code: Some(code),
        reason: String::new(),
    }
}

#[test]
pub(super) fn a_result_that_is_closed_on_three_times_is_dropped_and_the_others_flow() {
    for end in [with_code(4400), with_code(1011)] {
        let mut story = Story::begin(&["a", "b", "x", "c", "d"]);
        story.play("x", &end);
        assert_eq!(story.reads_of("x").len(), 3, "{end:?}");
        assert_eq!(
            story.dropped(),
            [&json!({"dispatch_id":"x","reason":"poisoned"})],
            "{end:?}"
        );
        for id in ["a", "b", "c", "d"] {
            let reads = story.reads_of(id);
            assert!(!reads.is_empty(), "{end:?}: {id} was lost");
            assert!(reads.iter().all(|read| read == &reads[0]));
        }
    }
}

/// A peer that breaks over an answer looks like a network that breaks: nothing is given up for that before its time,
/// and nothing waits for it.
#[test]
fn a_result_that_the_connection_breaks_on_goes_behind_the_others_and_is_kept_until_its_deadline() {
    for end in [LinkEnd::Broken("reset".to_owned()), with_code(1012)] {
        let mut story = Story::begin(&["a", "b", "x", "c", "d"]);
        let received = story.rig.now;
        story.act("x", &end);
        for id in ["a", "b", "c", "d"] {
            let reads = story.reads_of(id);
            assert!(!reads.is_empty(), "{end:?}: {id} was lost");
            assert!(reads.iter().all(|read| read == &reads[0]));
        }
        assert!(story.reads_of("x").len() > 3, "{end:?}");
        assert_eq!(
            story.dropped(),
            [&json!({"dispatch_id":"x","reason":"expired"})],
            "{end:?}"
        );
        assert!(story.rig.now >= received + seconds(65));
    }
}

/// The hail of resets in tests/wire, slowed down: whatever the resets hit, every answer arrives in the end.
#[test]
fn no_answer_is_given_up_for_resets() {
    let mut story = Story::begin(&["a", "b", "c"]);
    for _ in 0..6 {
        story.rig.broken();
        story.rig.next_timeout();
        story.rig.reach_ready();
    }
    story.act("nobody", &with_code(1000));
    assert!(story.dropped().is_empty());
    for id in ["a", "b", "c"] {
        assert!(!story.reads_of(id).is_empty(), "{id} was lost");
    }
}

#[test]
pub(super) fn what_was_dropped_is_not_sent_when_the_mesh_asks_again() {
    let mut story = Story::begin(&["x"]);
    story.play("x", &with_code(1011));
    story.rig.echo("x");
    assert_eq!(story.rig.delivered.len(), 1, "nor run again");
    let frames = story.rig.frames();
    assert_eq!(frames[0]["payload"]["code"], "DUPLICATE_DISPATCH");
}

#[test]
pub(super) fn a_result_that_is_too_big_for_the_peer_is_replaced_by_an_error() {
    let mut story = Story::begin(&["a", "x", "c"]);
    story.play("x", &with_code(1009));
    let reads = story.reads_of("x");
    assert_eq!(reads.len(), 4);
    let replacement = reads[3].clone();
    assert_eq!(
        (&replacement["type"], &replacement["payload"]["code"]),
        (&json!("error"), &json!("RESULT_TOO_LARGE"))
    );
    assert_eq!(
        story.dropped(),
        [&json!({"dispatch_id":"x","reason":"too_large"})]
    );
    assert!(!story.reads_of("a").is_empty() && !story.reads_of("c").is_empty());
    story.rig.echo("x");
    assert_eq!(story.rig.frames(), [replacement], "it is the answer now");
}

#[test]
pub(super) fn after_a_1009_the_oldest_without_proof_goes_alone() {
    let mut rig = Rig::ready(&json!({"max_in_flight": 10}));
    for id in ["a", "b"] {
        rig.echo(id);
        rig.answer(id, "1").unwrap();
    }
    rig.advance_alive(seconds(0));
    // An upload may take its time before the peer sees how large it is.
    rig.advance(seconds(5));
    rig.closed(1009);
    rig.next_timeout();
    rig.frames();
    rig.pings.clear();
    rig.reach_ready();
    let sent: Vec<_> = rig
        .frames()
        .iter()
        .map(|f| f["in_reply_to"].clone())
        .collect();
    assert_eq!(sent, [json!(null), json!("a")]);
    rig.echo("c");
    rig.answer("c", "1").unwrap();
    assert!(!rig.frames().iter().any(|f| f["in_reply_to"].is_string()));
    for id in ["b", "c"] {
        rig.pong();
        assert_eq!(rig.frames()[0]["in_reply_to"], id);
    }
    rig.pong();
    assert!(rig.events_of(EventKind::ResultDropped).is_empty());
}

#[test]
pub(super) fn what_expires_alone_makes_room_for_the_others() {
    let mut rig = Rig::ready(&json!({"max_in_flight": 10, "dead_after_ms": 60_000}));
    rig.echo("a");
    rig.answer("a", "1").unwrap();
    rig.closed(1009);
    rig.next_timeout();
    rig.reach_ready();
    rig.advance(seconds(30));
    rig.machine.handle_inbound(rig.now(), rig.conn);
    rig.echo("b");
    rig.answer("b", "1").unwrap();
    rig.frames();
    while rig.events_of(EventKind::ResultDropped).is_empty() {
        rig.advance(seconds(1));
    }
    let next = rig.frames();
    assert!(next.iter().any(|f| f["in_reply_to"] == "b"), "{next:?}");
}

#[test]
pub(super) fn an_innocent_answer_is_not_dropped_for_three_losses_of_the_link() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("a");
    rig.answer("a", "1").unwrap();
    for n in 0..3 {
        rig.pings.clear();
        rig.advance(seconds(if n == 1 { 2 } else { 1 }));
        rig.broken();
        rig.next_timeout();
        rig.reach_ready();
    }
    rig.pong();
    assert!(rig.events_of(EventKind::ResultDropped).is_empty());
}

#[test]
pub(super) fn draining_ends_with_the_last_answer_given_up() {
    let mut story = Story::begin(&["x"]);
    for _ in 0..2 {
        story.rig.closed(1011);
        story.rig.next_timeout();
        story.rig.reach_ready();
    }
    let disconnect = story.rig.disconnect(seconds(300));
    story.rig.closed(1011);
    story.rig.reply("/agents/deregister", 200, &json!({}));
    assert!(story.rig.result(disconnect).is_ok());
}

/// Without the guard one answer keeps the connector from ever being connected for longer than a moment, or ends it.
#[test]
fn r_04c_fails_without_the_guard() {
    for end in [with_code(1009), with_code(1011)] {
        let mut story = Story::begin(&["a", "x", "c"]);
        story.rig = super::trial::ready(&json!({"max_in_flight": 10}), 1, |p| {
            p.poison_guard = false;
        });
        for id in ["a", "x", "c"] {
            story.rig.echo(id);
        }
        for id in ["a", "x", "c"] {
            story.rig.answer(id, "1").unwrap();
        }
        story.act("x", &end);
        assert!(story.reads_of("x").len() > 3, "{end:?}");
        let reasons: Vec<_> = story.dropped().iter().map(|d| &d["reason"]).collect();
        assert!(reasons.iter().all(|r| *r == "expired"), "{reasons:?}");
        assert!(
            story.reads_of("c").is_empty(),
            "what is behind it is held up"
        );
    }
}
