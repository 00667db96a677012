//! The token: renewed in time, never by two at once, never overwritten by an older one.

use std::time::Duration;

use serde_json::json;

use super::rig::{Rig, http, jwt, seconds, unreachable};
use crate::error::ErrorKind;
use crate::machine::action::{Dialed, HttpReply, Output, Reply};
use crate::machine::{LinkState, State};

const TOKEN: &str = "/auth/get_token";

fn secret(rig: &Rig) -> Option<String> {
    use secrecy::ExposeSecret as _;
    Some(rig.machine.token()?.expose_secret().to_owned())
}

fn supplied(lifetime_s: u64) -> serde_json::Value {
    json!({"client_id":null,"client_secret":null,"token":jwt(100, lifetime_s)})
}

fn reply_token(rig: &mut Rig, token: &str) {
    rig.reply(TOKEN, 200, &json!({"token": token}));
}

#[test]
pub(super) fn its_life_is_counted_from_the_request() {
    let mut rig = Rig::new();
    rig.token_lifetime_s = 100;
    rig.connect();
    rig.advance(seconds(9));
    rig.reach_ready();
    rig.advance_alive(seconds(72));
    assert_eq!(
        rig.requests.len(),
        1,
        "renewed before 80 s after the request"
    );
}

#[test]
pub(super) fn a_token_that_is_dead_on_arrival_is_a_failed_attempt_and_no_loop() {
    for (life, delay) in [(0, 0), (5, 6)] {
        let mut rig = Rig::new();
        rig.token_lifetime_s = life;
        let connect = rig.connect();
        rig.advance(seconds(delay));
        rig.token_ok();
        assert_eq!(rig.machine.link(), LinkState::Backoff);
        assert!(rig.requests.is_empty(), "the server is not hammered");
        rig.next_timeout();
        rig.token_lifetime_s = 3600;
        rig.reach_ready();
        assert_eq!(rig.result(connect), Ok(Output::Nothing));
    }
}

#[test]
pub(super) fn a_renewal_that_fails_is_tried_again_while_the_old_one_lives() {
    let mut rig = Rig::new();
    rig.token_lifetime_s = 1000;
    rig.connect();
    rig.reach_ready();
    rig.advance_alive(seconds(805));
    let reply = HttpReply {
        retry_after: Some(seconds(40)),
        ..http(429, &json!({}))
    };
    rig.answer_request(TOKEN, &Reply::Http(reply));
    rig.advance_alive(seconds(39));
    assert!(rig.requests.is_empty(), "Retry-After is honoured");
    rig.advance_alive(seconds(7));
    rig.answer_request(TOKEN, &Reply::Failed(unreachable()));
    rig.advance_alive(seconds(10));
    assert_eq!(rig.machine.state(), State::Connected);
    rig.token_ok();
    assert_eq!(secret(&rig), Some(jwt(2, 1000)));
}

#[test]
pub(super) fn a_supplied_one_takes_effect_at_once_and_the_socket_stays() {
    let mut rig = Rig::ready(&json!({}));
    let refresh = rig.refresh_token(Some(&jwt(50, 3600)));
    assert_eq!(rig.result(refresh), Ok(Output::Nothing));
    assert_eq!(rig.machine.link(), LinkState::Ready);
    rig.create_session(&json!({}));
    assert_eq!(
        Rig::bearer(&rig.take("/sessions/init")),
        Some(jwt(50, 3600))
    );
}

#[test]
pub(super) fn refresh_without_a_token_exchanges_the_credentials_again() {
    let mut rig = Rig::ready(&json!({}));
    let (first, second) = (rig.refresh_token(None), rig.refresh_token(None));
    assert_eq!(rig.requests.len(), 1, "one fetch at a time");
    rig.token_ok();
    assert_eq!(
        (rig.result(first), rig.result(second)),
        (Ok(Output::Nothing), Ok(Output::Nothing))
    );
    assert_eq!(secret(&rig), Some(jwt(2, 86_400)));

    let refused = rig.refresh_token(None);
    rig.reply(TOKEN, 401, &json!({"code":"REVOKED"}));
    let error = rig.error(refused);
    assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, "REVOKED"));
    assert_eq!(
        rig.machine.state(),
        State::Connected,
        "the old token still lives"
    );

    let silent = rig.refresh_token(None);
    rig.advance_alive(seconds(30));
    assert_eq!(
        rig.error(silent).message(),
        "refresh_token timed out after 30000 ms: no answer while exchanging the credentials for a token \
         at POST https://mesh.test/auth/get_token"
    );

    let mut rig = Rig::ready(&supplied(3600));
    let refresh = rig.refresh_token(None);
    assert_eq!(rig.error(refresh).code(), "NO_CREDENTIALS");
}

#[test]
pub(super) fn an_older_fetch_never_overwrites_a_newer_token() {
    let mut rig = Rig::ready(&json!({}));
    let waiting = rig.refresh_token(None);
    let newer = jwt(50, 3600);
    rig.refresh_token(Some(&newer));
    assert!(rig.is_done(waiting));
    reply_token(&mut rig, &jwt(51, 3600));
    assert_eq!(secret(&rig), Some(newer));
}

#[test]
pub(super) fn a_fetch_that_outlives_a_newer_token_is_used_if_that_was_refused() {
    let mut rig = Rig::new();
    let connect = rig.connect();
    rig.refresh_token(Some(&jwt(50, 3600)));
    let fetch = rig.take(TOKEN);
    let register = rig.reply("/agents/register", 401, &json!({}));
    assert_eq!(Rig::bearer(&register), Some(jwt(50, 3600)));
    assert_eq!(rig.machine.link(), LinkState::Authenticating);
    let reply = Reply::Http(http(200, &json!({"token": jwt(51, 3600)})));
    rig.machine.handle_reply(rig.now(), fetch.id, &reply);
    rig.collect();
    let register = rig.register_ok();
    assert_eq!(Rig::bearer(&register), Some(jwt(51, 3600)));
    rig.reach_ready();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
}

#[test]
pub(super) fn new_credentials_end_the_wait_at_once() {
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    rig.next_timeout();
    rig.dialed(Dialed::Refused(http(401, &json!({}))));
    rig.reply(TOKEN, 403, &json!({}));
    assert_eq!(rig.machine.state(), State::Blocked);
    rig.refresh_token(Some(&jwt(50, 3600)));
    rig.reach_ready();
    assert_eq!(rig.machine.state(), State::Connected);

    let mut rig = Rig::ready(&supplied(3600));
    rig.broken();
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    rig.refresh_token(Some(&jwt(50, 3600)));
    assert_eq!(rig.machine.link(), LinkState::Dialing);
}

#[test]
pub(super) fn one_set_before_connect_is_the_one_that_is_used() {
    let mut rig = Rig::with(&supplied(3600));
    let refresh = rig.refresh_token(Some(&jwt(50, 3600)));
    assert_eq!(rig.result(refresh), Ok(Output::Nothing));
    rig.connect();
    assert_eq!(Rig::bearer(&rig.register_ok()), Some(jwt(50, 3600)));
    let mut rig = Rig::new();
    let refresh = rig.refresh_token(None);
    rig.token_ok();
    assert_eq!(rig.result(refresh), Ok(Output::Nothing));
    assert_eq!(
        (rig.machine.state(), rig.now),
        (State::Idle, Duration::ZERO)
    );
    rig.connect();
    rig.register_ok();
}

#[test]
pub(super) fn one_that_was_set_long_before_connect_is_still_renewed() {
    let mut rig = Rig::new();
    rig.refresh_token(Some(&jwt(50, 100)));
    rig.advance(seconds(90));
    rig.connect();
    rig.reach_ready();
    rig.advance_alive(seconds(11));
    assert_eq!(rig.requests.len(), 1, "a link that is up has a live token");
    rig.token_ok();
}
