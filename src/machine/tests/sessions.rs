//! Operations beside the link: sessions, and announcing capabilities again.

use serde_json::json;

use super::rig::{Rig, http, jwt, seconds, unreachable};
use crate::error::ErrorKind;
use crate::machine::action::{Output, Reply};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

const INIT: &str = "/sessions/init";
const CLOSE: &str = "/sessions/close";
const REGISTER: &str = "/agents/register";

#[test]
pub(super) fn a_session_is_opened_and_closed() {
    let mut rig = Rig::ready(&json!({}));
    let create = rig.create_session(&json!({"user_id":"u1"}));
    let reply = json!({"session_id":"s1","instance_id":"box-1","agent_type":"desk"});
    let request = rig.reply(INIT, 200, &reply);
    assert_eq!(
        Rig::body(&request),
        json!({"instance_id":"box-1","user_id":"u1"})
    );
    assert_eq!(Rig::bearer(&request), Some(jwt(1, 86_400)));
    let session = Output::Session {
        session_id: "s1".to_owned(),
        reply: reply.to_string(),
    };
    assert_eq!(rig.result(create), Ok(session));

    let close = rig.close_session("s1");
    let request = rig.reply(
        CLOSE,
        200,
        &json!({"ok":true,"session_id":"s1","status":"completed"}),
    );
    assert_eq!(Rig::body(&request), json!({"session_id":"s1"}));
    assert_eq!(rig.result(close), Ok(Output::Nothing));
}

#[test]
pub(super) fn what_fails_says_why() {
    let mut rig = Rig::new();
    for early in [
        rig.create_session(&json!({})),
        rig.close_session("s"),
        rig.re_register(),
    ] {
        let error = rig.error(early);
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::InvalidState, "NOT_CONNECTED")
        );
    }
    let mut rig = Rig::ready(&json!({}));
    let unknown = rig.close_session("s9");
    rig.reply(
        CLOSE,
        404,
        &json!({"code":"SESSION_NOT_FOUND","error":"no"}),
    );
    let error = rig.error(unknown);
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::NotFound, "SESSION_NOT_FOUND")
    );

    let odd = rig.create_session(&json!({}));
    rig.reply(INIT, 200, &json!({"id": 7}));
    assert_eq!(rig.error(odd).kind(), ErrorKind::Protocol);

    let failed = rig.create_session(&json!({}));
    rig.reply(INIT, 500, &json!({"code":"OOPS","error":"broken"}));
    let error = rig.error(failed);
    assert_eq!((error.kind(), error.code()), (ErrorKind::Remote, "OOPS"));
    assert!(
        error.message().contains("https://mesh.test/sessions/init"),
        "{error}"
    );

    let cut = rig.create_session(&json!({}));
    rig.answer_request(INIT, &Reply::Failed(unreachable()));
    assert_eq!(rig.error(cut).kind(), ErrorKind::Network);

    let silent = rig.create_session(&json!({}));
    let late = rig.take(INIT);
    rig.advance_alive(seconds(30));
    let error = rig.error(silent);
    assert_eq!(
        (error.kind(), error.message()),
        (
            ErrorKind::Timeout,
            "create_session timed out after 30000 ms: no answer while opening a session \
             at POST https://mesh.test/sessions/init"
        )
    );
    let reply = Reply::Http(http(200, &json!({"session_id":"s"})));
    rig.machine.handle_reply(rig.now(), late.id, &reply);
    rig.collect();
    assert!(!rig.is_done(silent), "a late reply finds nobody");
}

#[test]
pub(super) fn a_401_is_retried_once_with_a_fresh_token() {
    let mut rig = Rig::ready(&json!({}));
    let create = rig.create_session(&json!({}));
    rig.reply(INIT, 401, &json!({}));
    rig.token_ok();
    let request = rig.reply(INIT, 200, &json!({"session_id":"s1"}));
    assert_eq!(Rig::bearer(&request), Some(jwt(2, 86_400)));
    assert!(rig.result(create).is_ok());

    let refused = rig.create_session(&json!({}));
    rig.reply(INIT, 401, &json!({}));
    rig.token_ok();
    rig.reply(INIT, 401, &json!({}));
    assert_eq!(rig.error(refused).kind(), ErrorKind::Auth);
    assert!(rig.requests.is_empty());

    let no_token = rig.close_session("s1");
    rig.reply(CLOSE, 401, &json!({}));
    rig.reply("/auth/get_token", 401, &json!({}));
    assert_eq!(rig.error(no_token).kind(), ErrorKind::Auth);
}

#[test]
pub(super) fn a_session_during_an_outage_of_the_socket_works() {
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    assert!(rig.machine.connected(), "a registration is active");
    let create = rig.create_session(&json!({}));
    rig.reply(INIT, 200, &json!({"session_id":"s1"}));
    assert!(rig.result(create).is_ok());
}

#[test]
pub(super) fn capabilities_are_announced_over_a_link_that_stays() {
    let mut rig = Rig::ready(&json!({}));
    rig.define("later");
    let announce = rig.re_register();
    assert!(!rig.is_done(announce));
    let request = rig.register_ok();
    assert_eq!(Rig::body(&request)["tools"].as_array().unwrap().len(), 3);
    assert_eq!(rig.result(announce), Ok(Output::Nothing));
    assert_eq!(rig.events_of(EventKind::Registered)[0]["capabilities"], 3);
    assert_eq!(rig.machine.link(), LinkState::Ready);
    rig.dispatch("d1", &json!({"skill_id":"later"}));
    assert_eq!(rig.delivered.len(), 1);
}

#[test]
pub(super) fn announcements_are_coalesced_and_the_last_list_wins() {
    let mut rig = Rig::ready(&json!({}));
    let first = rig.re_register();
    rig.define("b");
    let second = rig.re_register();
    rig.define("c");
    let third = rig.re_register();
    assert_eq!(rig.requests.len(), 1);
    rig.register_ok();
    assert!(rig.is_done(first) && !rig.is_done(second) && !rig.is_done(third));
    let request = rig.register_ok();
    assert_eq!(Rig::body(&request)["tools"].as_array().unwrap().len(), 4);
    assert!(rig.is_done(second) && rig.is_done(third));
    assert!(rig.requests.is_empty());
}

#[test]
pub(super) fn announcements_during_an_outage_are_one_call_on_the_way_back() {
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    rig.define("b");
    let first = rig.re_register();
    let second = rig.re_register();
    assert!(rig.requests.is_empty());
    rig.next_timeout();
    let request = rig.register_ok();
    assert_eq!(Rig::body(&request)["tools"].as_array().unwrap().len(), 3);
    assert_eq!(
        (rig.result(first), rig.result(second)),
        (Ok(Output::Nothing), Ok(Output::Nothing))
    );
    rig.reach_ready();
    assert!(rig.requests.is_empty());
}

#[test]
pub(super) fn an_announcement_that_fails_says_so_and_the_link_stays() {
    let mut rig = Rig::ready(&json!({}));
    let refused = rig.re_register();
    rig.reply(REGISTER, 403, &json!({"code":"NOT_ALLOWED"}));
    assert_eq!(rig.error(refused).code(), "NOT_ALLOWED");
    let odd = rig.re_register();
    rig.reply(REGISTER, 200, &json!("<html>"));
    assert_eq!(rig.error(odd).code(), "UNEXPECTED_REPLY");
    let renewed = rig.re_register();
    rig.reply(REGISTER, 401, &json!({}));
    rig.token_ok();
    rig.register_ok();
    assert_eq!(rig.result(renewed), Ok(Output::Nothing));
    assert_eq!(rig.machine.state(), State::Connected);
}

#[test]
pub(super) fn a_foreign_url_in_a_later_reply_is_not_dialed() {
    let mut rig = Rig::ready(&json!({}));
    let announce = rig.re_register();
    rig.reply(REGISTER, 200, &json!({"connect_url":"wss://evil.example/"}));
    assert_eq!(rig.result(announce), Ok(Output::Nothing));
    rig.broken();
    rig.next_timeout();
    assert_eq!(rig.dials[0].url.host_str(), Some("mesh.test"));
}
