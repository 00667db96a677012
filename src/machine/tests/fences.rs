//! A peer that lives but answers no pings (`reliability.md` 6.3, T32).

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, millis, seconds};
use crate::machine::LinkState;
use crate::machine::action::Output;
use crate::machine::event::EventKind;
use crate::machine::watch::Progress;

/// Lets time pass with a peer that sends a byte twice a second and never a pong.
fn advance_without_pongs(rig: &mut Rig, by: Duration) {
    let end = rig.now + by;
    while rig.now < end {
        rig.advance(millis(500).min(end - rig.now));
        rig.machine.handle_inbound(rig.now(), rig.conn);
        rig.collect();
    }
}

fn shown(rig: &Rig, field: &str) -> Value {
    rig.machine.snapshot(rig.now())[field].clone()
}

fn level(rig: &Rig) -> Value {
    shown(rig, "connection")["fence_level"].clone()
}

/// A rig with a connection on which fences have been given up, after 30 s.
fn without_fences() -> Rig {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    rig.answer("d1", "1").unwrap();
    advance_without_pongs(&mut rig, seconds(30));
    rig
}

#[test]
pub(super) fn a_peer_that_lives_but_answers_no_ping_is_not_asked_any_more() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    rig.answer("d1", "1").unwrap();
    let fence = rig.pings.clone();
    assert_eq!((fence.len(), level(&rig)), (1, json!(1)));
    advance_without_pongs(&mut rig, millis(9_500));
    assert_eq!(rig.pings.len(), 1);
    advance_without_pongs(&mut rig, millis(20_000));
    assert_eq!(rig.pings, [fence.clone(), fence.clone(), fence].concat());
    assert!(rig.events_of(EventKind::FenceUnsupported).is_empty());
    assert_eq!(shown(&rig, "outbox_items"), 1);
    advance_without_pongs(&mut rig, millis(500));
    assert_eq!(
        rig.events_of(EventKind::FenceUnsupported),
        [&json!({"connection": 1})]
    );
    assert_eq!(
        (level(&rig), shown(&rig, "outbox_items")),
        (json!(0), json!(0))
    );
    assert_eq!(rig.machine.link(), LinkState::Ready);

    rig.pings.clear();
    rig.echo("d2");
    rig.answer("d2", "2").unwrap();
    advance_without_pongs(&mut rig, millis(9_500));
    assert_eq!(shown(&rig, "outbox_items"), 1);
    advance_without_pongs(&mut rig, millis(500));
    assert_eq!(shown(&rig, "outbox_items"), 0, "the socket lived for 10 s");
    advance_without_pongs(&mut rig, seconds(60));
    assert!(rig.pings.is_empty());
    assert_eq!(rig.events_of(EventKind::FenceUnsupported).len(), 1);
}

#[test]
pub(super) fn one_pong_starts_the_count_anew() {
    let mut rig = Rig::ready(&json!({}));
    for n in 0..5 {
        let id = format!("d{n}");
        rig.echo(&id);
        rig.answer(&id, "1").unwrap();
        advance_without_pongs(&mut rig, seconds(25));
        rig.pong();
        assert_eq!(shown(&rig, "outbox_items"), 0);
    }
    assert_eq!(level(&rig), 1);
}

#[test]
pub(super) fn a_silent_peer_is_given_up_and_not_believed() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    rig.answer("d1", "1").unwrap();
    rig.advance(seconds(10));
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    let mut rig = without_fences();
    rig.echo("d2");
    rig.answer("d2", "2").unwrap();
    advance_without_pongs(&mut rig, seconds(5));
    rig.advance(seconds(15));
    assert_eq!(rig.machine.link(), LinkState::Suspect);
    rig.advance(seconds(5));
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    assert_eq!(
        shown(&rig, "outbox_items"),
        1,
        "5 s of life after it are no proof"
    );
}

#[test]
pub(super) fn a_fence_that_has_not_reached_the_peer_is_not_held_against_it() {
    let mut rig = Rig::ready(&json!({}));
    rig.uplink = Some(Box::new(|now| Progress {
        acked: now.as_secs(),
        ping_acked: now >= seconds(45),
        unsure: 0,
    }));
    rig.echo("d1");
    rig.answer("d1", "1").unwrap();
    advance_without_pongs(&mut rig, seconds(49));
    assert_eq!(rig.pings.len(), 1, "and it is not sent twice either");
    rig.pong();
    assert_eq!(
        (level(&rig), shown(&rig, "outbox_items")),
        (json!(1), json!(0))
    );
}

#[test]
pub(super) fn the_next_connection_is_asked_again() {
    let mut rig = without_fences();
    rig.echo("d2");
    rig.answer("d2", "2").unwrap();
    rig.broken();
    rig.next_timeout();
    rig.pings.clear();
    rig.reach_ready();
    assert_eq!((level(&rig), rig.pings.len()), (json!(1), 1));
    rig.pong();
    assert_eq!(shown(&rig, "outbox_items"), 0);
}

#[test]
pub(super) fn draining_ends_when_the_last_answer_is_old_enough() {
    let mut rig = without_fences();
    rig.echo("d2");
    let disconnect = rig.disconnect(seconds(300));
    rig.answer("d2", "2").unwrap();
    advance_without_pongs(&mut rig, millis(9_500));
    assert!(rig.closes.is_empty());
    advance_without_pongs(&mut rig, millis(500));
    assert_eq!(rig.closes.len(), 1);
    rig.closed(1000);
    rig.reply("/agents/deregister", 200, &json!({}));
    assert_eq!(rig.result(disconnect), Ok(Output::Nothing));

    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    rig.answer("d1", "1").unwrap();
    rig.disconnect(seconds(300));
    advance_without_pongs(&mut rig, seconds(30));
    assert_eq!(rig.closes.len(), 1, "and if it is found out meanwhile");
    assert!(rig.events_of(EventKind::ResultDropped).is_empty());
}
