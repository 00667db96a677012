//! Every row of the refusal tables of `protocol.md` 2 to 4: what becomes of `connect`.

use serde_json::{Value, json};

use super::rig::{CONNECT_URL, Rig, http, jwt, seconds};
use crate::error::ErrorKind::{self, Auth, Protocol, Remote};
use crate::machine::action::{Dialed, HttpReply, Output, Reply};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

const TOKEN: &str = "/auth/get_token";
const REGISTER: &str = "/agents/register";

/// Where a step stands after its refusal.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    /// `connect` failed; it can be called again.
    Idle(ErrorKind),
    /// `connect` failed for good.
    Failed(ErrorKind),
    Retry,
}
use Outcome::{Failed, Idle, Retry};

fn body(code: &str) -> Value {
    match code {
        "" => json!("<html>nothing to see</html>"),
        code => json!({"code": code, "error": "it is so"}),
    }
}

fn check(rig: &mut Rig, connect: u64, outcome: Outcome, status: u16, code: &str, parts: &[&str]) {
    let case = format!("{status} {code} {parts:?}");
    let (state, kind) = match outcome {
        Idle(kind) => (State::Idle, kind),
        Failed(kind) => (State::Failed, kind),
        Retry => {
            assert_eq!(rig.machine.link(), LinkState::Backoff, "{case}");
            assert!(!rig.is_done(connect), "{case}");
            return;
        }
    };
    assert_eq!(rig.machine.state(), state, "{case}");
    let error = rig.error(connect);
    assert_eq!(error.kind(), kind, "{case}");
    assert_eq!(error.http_status_code(), Some(status), "{case}");
    let expected = if code.is_empty() {
        format!("HTTP_{status}")
    } else {
        code.to_owned()
    };
    assert_eq!(error.code(), expected, "{case}");
    for part in parts
        .iter()
        .copied()
        .chain([&*format!("HTTP {status}"), code])
    {
        assert!(error.to_string().contains(part), "{part} is not in {error}");
    }
    let failed = rig.events_of(EventKind::Failed).len();
    assert_eq!(failed, usize::from(state == State::Failed), "{case}");
}

#[test]
pub(super) fn of_the_token_endpoint() {
    for (status, code, outcome) in [
        (401, "BAD_CREDENTIALS", Idle(Auth)),
        (401, "", Idle(Auth)),
        (403, "", Idle(Auth)),
        (407, "", Idle(Auth)),
        (400, "MALFORMED", Failed(Remote)),
        (400, "", Retry),
        (404, "", Retry),
        (302, "", Retry),
        (408, "", Retry),
        (425, "", Retry),
        (429, "RATE_LIMITED", Retry),
        (500, "OOPS", Retry),
        (502, "", Retry),
        (503, "", Retry),
    ] {
        let mut rig = Rig::new();
        let connect = rig.connect();
        rig.reply(TOKEN, status, &body(code));
        let parts = [
            "exchanging the credentials",
            "https://mesh.test/auth/get_token",
        ];
        check(&mut rig, connect, outcome, status, code, &parts);
    }
}

#[test]
pub(super) fn of_the_registration() {
    for (status, code, outcome, hint) in [
        (403, "AGENT_TYPE_NOT_ALLOWED", Failed(Remote), "allow-list"),
        (403, "", Retry, ""),
        (
            409,
            "DEPLOYMENT_MODE_MISMATCH",
            Failed(Remote),
            "deregister it first",
        ),
        (409, "", Retry, ""),
        (422, "INVALID_CARD", Failed(Remote), ""),
        (400, "BAD", Failed(Remote), ""),
        (404, "GONE", Failed(Remote), ""),
        (407, "", Idle(Auth), "proxy"),
        (429, "RATE_LIMITED", Retry, ""),
        (500, "OOPS", Retry, ""),
        (503, "", Retry, ""),
        (301, "", Retry, ""),
    ] {
        let mut rig = Rig::new();
        let connect = rig.connect();
        rig.token_ok();
        rig.reply(REGISTER, status, &body(code));
        let parts = [
            "registering the agent",
            "https://mesh.test/agents/register",
            hint,
        ];
        check(&mut rig, connect, outcome, status, code, &parts);
    }
}

#[test]
pub(super) fn of_the_upgrade() {
    for (status, code, outcome) in [
        (400, "MISSING_INSTANCE_ID", Failed(Remote)),
        (400, "UNSUPPORTED_SUBPROTOCOL", Failed(Remote)),
        (400, "", Retry),
        (403, "TENANT_MISMATCH", Failed(Remote)),
        (403, "", Retry),
        (404, "INSTANCE_NOT_FOUND", Retry),
        (407, "", Idle(Auth)),
        (409, "DEPLOYMENT_MODE_MISMATCH", Failed(Remote)),
        (429, "", Retry),
        (503, "RESTARTING", Retry),
        (302, "", Retry),
    ] {
        let mut rig = Rig::new();
        let connect = rig.connect();
        rig.token_ok();
        rig.register_ok();
        rig.dialed(Dialed::Refused(http(status, &body(code))));
        let parts = ["dialing the WebSocket", "wss://mesh.test/agents/connect"];
        check(&mut rig, connect, outcome, status, code, &parts);
    }
}

#[test]
pub(super) fn a_redirect_is_named_and_not_followed() {
    let mut rig = Rig::with(&json!({"fail_fast": true}));
    let connect = rig.connect();
    let reply = HttpReply {
        location: Some("portal.example".to_owned()),
        ..http(302, &json!({}))
    };
    rig.answer_request(TOKEN, &Reply::Http(reply));
    let error = rig.error(connect);
    assert!(
        error
            .message()
            .contains("to portal.example, which is never followed"),
        "{error}"
    );
}

#[test]
pub(super) fn a_200_that_is_no_reply_is_tried_again() {
    let mut rig = Rig::with(&json!({"fail_fast": true}));
    for bad in [
        json!({"token": ""}),
        json!({"token": "a b"}),
        json!({}),
        json!("<html>"),
    ] {
        let connect = rig.connect();
        rig.reply(TOKEN, 200, &bad);
        let error = rig.error(connect);
        assert_eq!(
            (error.kind(), error.code()),
            (Protocol, "UNEXPECTED_REPLY"),
            "{bad}"
        );
    }
    let connect = rig.connect();
    rig.token_ok();
    rig.reply(REGISTER, 200, &json!("<html>"));
    assert_eq!(rig.error(connect).code(), "UNEXPECTED_REPLY");
}

#[test]
pub(super) fn a_401_renews_the_token_once_and_is_then_an_auth_error() {
    for at_dial in [false, true] {
        let mut rig = Rig::new();
        let connect = rig.connect();
        for round in 1..=2 {
            rig.token_ok();
            if at_dial {
                let registered = round == 1;
                if registered {
                    rig.register_ok();
                }
                rig.dialed(Dialed::Refused(http(401, &json!({"code":"UNAUTHORIZED"}))));
            } else {
                let request = rig.reply(REGISTER, 401, &json!({}));
                assert_eq!(
                    Rig::bearer(&request),
                    Some(jwt(round, 86_400)),
                    "a fresh token"
                );
            }
        }
        let error = rig.error(connect);
        assert_eq!(
            (error.kind(), error.http_status_code()),
            (Auth, Some(401)),
            "{error}"
        );
        assert_eq!(rig.events_of(EventKind::AuthFailed).len(), 1);
        assert_eq!(rig.machine.state(), State::Idle);
        assert!(rig.requests.is_empty());
    }
}

#[test]
pub(super) fn a_401_after_which_the_fresh_token_is_good_is_no_failure() {
    let mut rig = Rig::new();
    let connect = rig.connect();
    rig.token_ok();
    rig.reply(REGISTER, 401, &json!({}));
    rig.reach_ready();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
}

#[test]
pub(super) fn a_401_for_a_supplied_token_says_to_supply_another() {
    let mut rig = Rig::with(&json!({"client_id":null,"client_secret":null,"token":jwt(1, 60)}));
    let connect = rig.connect();
    rig.reply(REGISTER, 401, &json!({}));
    let error = rig.error(connect);
    assert_eq!(error.kind(), Auth);
    assert!(error.to_string().contains("refresh_token"), "{error}");
    let again = rig.connect();
    assert_eq!(
        rig.error(again).kind(),
        Auth,
        "the refused token is not shown again"
    );
    rig.refresh_token(Some(&jwt(2, 60)));
    let third = rig.connect();
    rig.reach_ready();
    assert_eq!(rig.result(third), Ok(Output::Nothing));
}

#[test]
pub(super) fn connected_mode_needs_a_connect_url_of_the_mesh() {
    for (url, code, part) in [
        (json!(null), "NO_CONNECT_URL", "connect_url"),
        (
            json!("wss://evil.example/agents/connect"),
            "CONNECT_URL_REJECTED",
            "evil.example",
        ),
        (
            json!("ws://mesh.test/agents/connect"),
            "CONNECT_URL_REJECTED",
            "no TLS",
        ),
        (
            json!("wss://u:p@mesh.test/agents/connect"),
            "CONNECT_URL_REJECTED",
            "user name",
        ),
    ] {
        let mut rig = Rig::new();
        let connect = rig.connect();
        rig.token_ok();
        rig.reply(REGISTER, 200, &json!({"ok":true,"connect_url":url}));
        let error = rig.error(connect);
        assert_eq!((error.kind(), error.code()), (Protocol, code));
        assert!(error.message().contains(part), "{error}");
        assert!(rig.dials.is_empty(), "no connection was made");
        assert_eq!(rig.machine.state(), State::Failed);
    }
}

#[test]
pub(super) fn a_host_that_the_caller_lists_may_be_dialed() {
    let mut rig = Rig::with(&json!({"allowed_connect_hosts":["edge.example"]}));
    rig.connect();
    rig.token_ok();
    let url = "wss://edge.example/c?instance_id=box-1";
    rig.reply(REGISTER, 200, &json!({"connect_url": url}));
    assert_eq!(
        rig.dials[0].url.as_str(),
        url,
        "instance_id is not added twice"
    );
}

#[test]
pub(super) fn a_101_without_the_subprotocol_is_final_the_third_time() {
    let mut rig = Rig::new();
    let connect = rig.connect();
    rig.token_ok();
    rig.register_ok();
    for _ in 0..2 {
        rig.dialed(Dialed::WrongSubprotocol(Some("other.v9".to_owned())));
        assert_eq!(rig.machine.link(), LinkState::Backoff);
        rig.next_timeout();
    }
    rig.dialed(Dialed::WrongSubprotocol(None));
    let error = rig.error(connect);
    assert_eq!((error.kind(), error.code()), (Protocol, "SUBPROTOCOL"));
    assert!(
        rig.aborts.is_empty(),
        "a dial that has ended is not dropped again"
    );
    assert_eq!(rig.machine.state(), State::Failed);
}

#[test]
pub(super) fn a_forgotten_instance_registers_at_most_once_in_30_s() {
    let mut rig = Rig::ready(&json!({}));
    rig.advance_alive(seconds(60));
    rig.broken();
    rig.next_timeout();
    let (mut registered, start) = (Vec::new(), rig.now);
    while rig.now - start < seconds(300) {
        match rig.machine.link() {
            LinkState::Dialing => {
                rig.dialed(Dialed::Refused(http(
                    404,
                    &json!({"code":"INSTANCE_NOT_FOUND"}),
                )));
            }
            LinkState::Registering => {
                registered.push(rig.now);
                let url = json!({"connect_url": CONNECT_URL});
                rig.reply(REGISTER, 200, &url);
            }
            _ => rig.next_timeout(),
        }
    }
    assert!(registered.len() > 3, "{registered:?}");
    assert_eq!(registered[0], start, "at once the first time");
    for pair in registered.windows(2) {
        assert!(pair[1] - pair[0] >= seconds(30), "{registered:?}");
    }
    assert!(!rig.events_of(EventKind::InstanceForgotten).is_empty());
}

#[test]
pub(super) fn a_dead_address_is_asked_for_anew_after_three_failures() {
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    for _ in 0..3 {
        rig.next_timeout();
        rig.dialed(Dialed::Failed(super::rig::unreachable()));
    }
    rig.next_timeout();
    let fresh = json!({"connect_url": "wss://mesh.test/other"});
    rig.reply(REGISTER, 200, &fresh);
    assert_eq!(rig.dials.last().unwrap().url.path(), "/other");
}
