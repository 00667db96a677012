//! Tokens and credentials that are refused again and again, and a supplied token that dies (R-22b).

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, http, jwt, seconds};
use crate::error::ErrorKind;
use crate::machine::action::Dialed;
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

const TOKEN: &str = "/auth/get_token";
const HOUR: Duration = Duration::from_hours(1);

/// What was asked of the mesh while it refused.
#[derive(Debug, Default)]
struct Cost {
    upgrades: usize,
    tokens: usize,
    blocked: usize,
}

/// A mesh that refuses, at the upgrade or already at the token endpoint, for so long.
fn refuse(rig: &mut Rig, token_endpoint_too: bool, how_long: Duration) -> Cost {
    let (start, mut cost) = (rig.now, Cost::default());
    let unauthorized = json!({"code": "UNAUTHORIZED"});
    while rig.now - start < how_long {
        match rig.machine.link() {
            LinkState::Dialing => {
                cost.upgrades += 1;
                rig.dialed(Dialed::Refused(http(401, &unauthorized)));
            }
            LinkState::Authenticating => {
                cost.tokens += 1;
                if token_endpoint_too {
                    rig.reply(TOKEN, 401, &unauthorized);
                } else {
                    rig.token_ok();
                }
            }
            LinkState::Registering => {
                rig.register_ok();
            }
            LinkState::AuthBlocked => {
                cost.blocked += 1;
                let told = rig.events_of(EventKind::AuthFailed).len();
                assert_eq!(told, cost.blocked, "each time it is told");
                rig.next_timeout();
            }
            _ => rig.next_timeout(),
        }
    }
    let patient = cost.upgrades <= 40 && cost.tokens <= 40;
    let goes_on = cost.blocked >= usize::try_from(how_long.as_secs() / 180).unwrap();
    assert!(patient && goes_on, "{cost:?}");
    cost
}

/// From the repair to the welcome.
fn recover(rig: &mut Rig) -> Duration {
    let repaired = rig.now;
    while rig.machine.link() != LinkState::Ready {
        match rig.machine.link() {
            LinkState::AuthBlocked | LinkState::Backoff => rig.next_timeout(),
            _ => rig.reach_ready(),
        }
    }
    rig.now - repaired
}

fn cut() -> Rig {
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    rig
}

#[test]
pub(super) fn r_21_an_hour_of_401_costs_at_most_40_upgrades_and_40_tokens_and_ends_within_4_minutes()
 {
    let mut rig = cut();
    let cost = refuse(&mut rig, false, HOUR);
    assert!(cost.upgrades >= 20, "it does go on: {cost:?}");
    assert!(recover(&mut rig) <= seconds(240));
}

#[test]
pub(super) fn r_21_new_credentials_after_half_an_hour_end_it_at_once() {
    let mut rig = cut();
    refuse(&mut rig, false, HOUR / 2);
    while rig.machine.link() != LinkState::AuthBlocked {
        match rig.machine.link() {
            LinkState::Authenticating => drop(rig.token_ok()),
            LinkState::Registering => drop(rig.register_ok()),
            _ => rig.dialed(Dialed::Refused(http(401, &json!({})))),
        }
    }
    rig.refresh_token(Some(&jwt(900, 3600)));
    assert_eq!(recover(&mut rig), Duration::ZERO);
    assert_eq!(rig.machine.state(), State::Connected);
}

#[test]
pub(super) fn r_21_an_hour_of_a_token_endpoint_that_refuses() {
    let mut rig = cut();
    rig.next_timeout();
    rig.dialed(Dialed::Refused(http(401, &json!({}))));
    let cost = refuse(&mut rig, true, HOUR);
    assert!(
        cost.upgrades == 0 && cost.tokens >= 20,
        "no token, no upgrade: {cost:?}"
    );
    assert!(recover(&mut rig) <= seconds(240));
}

fn supplied(lifetime_s: u64) -> Value {
    json!({"client_id":null,"client_secret":null,"token":jwt(100, lifetime_s)})
}

#[test]
pub(super) fn r_22b_a_token_that_was_refused_is_not_shown_again() {
    let mut rig = Rig::ready(&supplied(3600));
    rig.closed(4401);
    assert_eq!(rig.machine.state(), State::Blocked);
    rig.forget();
    let refresh = rig.refresh_token(Some(&jwt(100, 3600)));
    assert_eq!(rig.error(refresh).code(), "TOKEN_EXPIRED");
    assert!(rig.dials.is_empty() && rig.machine.state() == State::Blocked);
    let refresh = rig.refresh_token(Some(&jwt(101, 3600)));
    assert!(rig.result(refresh).is_ok());
    assert_eq!(rig.machine.link(), LinkState::Dialing);
}

#[test]
pub(super) fn r_22b_setting_the_same_token_again_does_not_lengthen_its_life() {
    let mut rig = Rig::ready(&supplied(60));
    rig.advance_alive(seconds(59));
    let refresh = rig.refresh_token(Some(&jwt(100, 60)));
    assert!(rig.result(refresh).is_ok());
    rig.advance_alive(seconds(2));
    assert_eq!(rig.events_of(EventKind::TokenExpired).len(), 1);
}

#[test]
pub(super) fn r_22b_a_supplied_token_warns_at_80_and_95_percent_and_blocks_the_next_dial_when_dead()
{
    let mut rig = Rig::ready(&supplied(60));
    rig.advance_alive(seconds(47));
    assert!(rig.events_of(EventKind::TokenExpiring).is_empty());
    rig.advance_alive(seconds(1));
    assert_eq!(
        rig.events_of(EventKind::TokenExpiring),
        [&json!({"seconds_left":12})]
    );
    rig.advance_alive(seconds(8));
    assert_eq!(rig.events_of(EventKind::TokenExpiring).len(), 1);
    rig.advance_alive(seconds(1));
    assert_eq!(
        rig.events_of(EventKind::TokenExpiring)[1],
        &json!({"seconds_left":3})
    );
    rig.advance_alive(seconds(3));
    assert_eq!(rig.events_of(EventKind::TokenExpired).len(), 1);
    assert_eq!(
        rig.machine.state(),
        State::Connected,
        "the socket is the mesh's to close"
    );

    let session = rig.create_session(&json!({}));
    let error = rig.error(session);
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(error.to_string().contains("refresh_token"), "{error}");
    let again = rig.re_register();
    assert_eq!(rig.error(again).kind(), ErrorKind::Auth);
    assert!(rig.requests.is_empty(), "a dead token is not shown");

    rig.broken();
    rig.next_timeout();
    assert_eq!(rig.machine.state(), State::Blocked);
    rig.forget();
    rig.advance(seconds(600));
    assert!(rig.dials.is_empty() && rig.requests.is_empty());
    // Neither the one that has expired, nor one that never lived, nor one that ends before it begins.
    let backwards = "e30.eyJpYXQiOjIwMDAsImV4cCI6MTAwMH0.signature";
    for dead in [&jwt(100, 60), &jwt(101, 0), backwards] {
        let refresh = rig.refresh_token(Some(dead));
        let error = rig.error(refresh);
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Auth, "TOKEN_EXPIRED"),
            "{dead}"
        );
        rig.advance(seconds(60));
        assert!(rig.dials.is_empty() && rig.requests.is_empty(), "{dead}");
    }
    rig.refresh_token(Some(&jwt(102, 60)));
    assert_eq!(
        rig.machine.link(),
        LinkState::Registering,
        "at once, with what could not be announced before"
    );
    rig.reach_ready();
    assert_eq!(rig.machine.state(), State::Connected);
}
