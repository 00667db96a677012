//! How a token is renewed, whatever the network and the clocks do.

use std::time::Duration;

use serde_json::json;

use super::rig::{Rig, http, jwt, millis, seconds};
use crate::machine::LinkState;
use crate::machine::action::Reply;
use crate::machine::event::EventKind;

const TOKEN: &str = "/auth/get_token";

/// Pings and heartbeats so rare that days pass quickly.
fn quiet() -> serde_json::Value {
    json!({"ping_interval_ms": 1_800_000, "dead_after_ms": 3_600_000, "heartbeat_interval_ms": 3_600_000})
}

/// Lets time pass until a token is asked for.
fn until_renewal(rig: &mut Rig) {
    while rig.requests.is_empty() {
        rig.next_timeout();
        rig.pong();
    }
}

#[test]
pub(super) fn r_18_a_token_is_renewed_between_70_and_80_percent_of_its_life_and_a_fleet_spreads() {
    for life in [5, 60, 300, 86_400] {
        let whole = seconds(life).as_secs_f64();
        let mut shares = Vec::new();
        for seed in 0..1000 {
            let mut rig = Rig::seeded(&quiet(), seed);
            rig.token_lifetime_s = life;
            rig.connect();
            rig.reach_ready();
            until_renewal(&mut rig);
            shares.push(rig.now.as_secs_f64() / whole);
        }
        shares.sort_by(f64::total_cmp);
        let (first, last) = (shares[0], shares[999]);
        assert!(first >= 0.7 && last <= 0.8, "{life} s: {first} to {last}");
        assert!(
            last - first >= 0.08,
            "{life} s: a spread of {first} to {last}"
        );
        // Nor do they come in one lump: no hundredth of the lifetime has more than a fifth of them.
        let fullest = (0..10)
            .map(|n| 0.7 + f64::from(n) * 0.01)
            .map(|from| {
                shares
                    .iter()
                    .filter(|s| (from..from + 0.01).contains(*s))
                    .count()
            })
            .max();
        assert!(fullest < Some(200), "{life} s: {fullest:?}");
    }
}

#[test]
pub(super) fn r_18_no_more_calls_than_the_lifetime_asks_for() {
    for life in [5, 60, 300, 86_400_u64] {
        for seed in 0..20 {
            let mut rig = Rig::seeded(&quiet(), seed);
            rig.token_lifetime_s = life;
            rig.connect();
            rig.reach_ready();
            while rig.now < seconds(life * 20) {
                until_renewal(&mut rig);
                rig.token_ok();
                assert_eq!(rig.machine.link(), LinkState::Ready, "the socket stays");
            }
            let allowed = (rig.now.as_secs_f64() / (0.7 * seconds(life).as_secs_f64())).ceil();
            let calls = f64::from(u32::try_from(rig.tokens).unwrap());
            assert!(
                calls <= allowed + 1.0,
                "{life} s: {calls} calls of {allowed}"
            );
            assert!(calls >= 20.0 / 0.8, "{life} s: {calls} calls");
        }
    }
}

/// Ten minutes with tokens of 20 s and 20 dispatches a second; what the mesh does when a socket's token ends is
/// up to it. Returns how often the link was made.
fn ten_minutes(closes_at_expiry: bool) -> (usize, usize) {
    const LIFE: Duration = Duration::from_secs(20);
    let mut rig = Rig::ready(&json!({}));
    rig.token_lifetime_s = 20;
    rig.refresh_token(None);
    rig.token_ok();
    let (mut expires, mut dials, mut closes) = (rig.now + LIFE, 0, 0);
    let (mut issued, mut asked) = (rig.now, Vec::new());
    for n in 0..12_000 {
        let id = format!("d{n}");
        if rig.machine.link() == LinkState::Ready {
            rig.echo(&id);
            asked.push(id.clone());
            rig.answer(&id, "1").unwrap();
        }
        rig.advance_alive(millis(50));
        if !rig.requests.is_empty() {
            rig.token_ok();
            issued = rig.now;
        }
        if closes_at_expiry && rig.now >= expires {
            closes += 1;
            let before = rig.now;
            // A dispatch whose answer nobody has proven yet.
            let open = format!("open{closes}");
            rig.echo(&open);
            rig.closed(4401);
            assert_eq!(rig.machine.link(), LinkState::Dialing, "no wait, no call");
            rig.answer(&open, "1").unwrap();
            asked.push(open);
            rig.reach_ready();
            dials += 1;
            expires = issued + LIFE;
            assert!(rig.now == before && expires > rig.now);
        }
        for frame in rig.frames() {
            asked.retain(|id| frame["in_reply_to"] != **id);
        }
    }
    assert!(asked.is_empty(), "unanswered: {asked:?}");
    assert!(rig.events_of(EventKind::Backoff).is_empty(), "no penalty");
    let reconnects = rig.events_of(EventKind::Connected).len();
    assert_eq!(reconnects, dials);
    (reconnects, closes)
}

#[test]
pub(super) fn r_19_a_mesh_that_keeps_the_socket_sees_no_reconnect() {
    assert_eq!(ten_minutes(false), (0, 0));
}

#[test]
pub(super) fn r_19_a_mesh_that_closes_at_expiry_sees_exactly_one_reconnect_for_each() {
    let (reconnects, closes) = ten_minutes(true);
    assert_eq!(reconnects, closes);
    assert!(closes >= 30, "{closes}");
}

#[test]
pub(super) fn r_20_a_token_that_comes_after_three_reconnects_does_not_replace_a_newer_one() {
    let mut rig = Rig::new();
    rig.token_lifetime_s = 1000;
    rig.connect();
    rig.reach_ready();
    rig.advance_alive(seconds(810));
    let slow = rig.take(TOKEN);
    for _ in 0..3 {
        rig.broken();
        rig.next_timeout();
        rig.reach_ready();
        let again = rig.refresh_token(None);
        assert!(rig.requests.is_empty(), "one request at a time");
        assert!(!rig.is_done(again));
    }
    let newer = jwt(900, 3600);
    rig.refresh_token(Some(&newer));
    let generation = rig.machine.auth.generation();
    let reply = Reply::Http(http(200, &json!({"token": jwt(901, 3600)})));
    rig.machine.handle_reply(rig.now(), slow.id, &reply);
    rig.collect();
    assert_eq!(rig.machine.auth.generation(), generation);
    rig.create_session(&json!({}));
    assert_eq!(Rig::bearer(&rig.take("/sessions/init")), Some(newer));
}

/// What a life consists of, with the times; tokens live 60 s, the link is cut twice.
fn life(wall_offset_ms: impl Fn(Duration) -> i64) -> Vec<(Duration, String)> {
    let mut rig = Rig::new();
    rig.token_lifetime_s = 60;
    rig.wall_offset_ms = wall_offset_ms(Duration::ZERO);
    rig.connect();
    rig.reach_ready();
    let mut seen = Vec::new();
    for second in 1..=600 {
        rig.wall_offset_ms = wall_offset_ms(rig.now);
        rig.advance_alive(seconds(1));
        if !rig.requests.is_empty() {
            rig.token_ok();
        }
        if second % 250 == 0 {
            rig.broken();
        }
        if rig.machine.link() == LinkState::Dialing {
            rig.reach_ready();
        }
        let now = rig.now;
        seen.extend(rig.order.drain(..).map(|what| (now, what)));
    }
    assert!(rig.tokens > 10 && rig.events_of(EventKind::Connected).len() == 3);
    seen
}

#[test]
pub(super) fn r_22_a_wrong_or_jumping_wall_clock_changes_nothing() {
    const HOUR: i64 = 3_600_000;
    let right = life(|_| 0);
    for wrong in [HOUR, -HOUR] {
        assert_eq!(life(|_| wrong), right, "{wrong} ms off");
    }
    for day in [24 * HOUR, -24 * HOUR] {
        let jumps = |now: Duration| if now.as_secs() % 120 > 60 { day } else { 0 };
        assert_eq!(life(jumps), right, "jumps by {day} ms");
    }
}
