//! What the application asks the mesh by itself: the token, the patience, and every way in which it ends.

use serde_json::{Value, json};

use super::rig::{CLIENT_SECRET, Rig, http, jwt, millis, seconds, unreachable};
use crate::error::ErrorKind;
use crate::machine::action::{HttpReply, OperationId, Output, Reply};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};
use crate::own_request::OwnRequest;
use crate::protocol::limits::MAX_HTTP_BODY_BYTES;

const PATH: &str = "/agents/register";
const TOKEN: &str = "/auth/get_token";

fn ask_at(rig: &mut Rig, path: &str, headers: Option<&str>) -> OperationId {
    let base = &rig.machine.settings.policy.base;
    let request = OwnRequest::new(base, path, r#"{"instance_id":"box-1"}"#, headers).unwrap();
    let id = rig.next_operation;
    rig.next_operation += 1;
    rig.machine.own_request(rig.now(), id, request, seconds(30));
    rig.collect();
    id
}

fn ask(rig: &mut Rig) -> OperationId {
    ask_at(rig, PATH, None)
}

fn is(json: &str) -> Output {
    Output::Reply(json.to_owned())
}

/// The request is not under way, and goes out again at some time before the deadline.
fn waits_and_asks_again(rig: &mut Rig) {
    assert!(rig.requests.is_empty(), "it is not asked at once");
    let deadline = rig.now + seconds(30);
    while rig.requests.is_empty() && rig.now < deadline {
        rig.next_timeout();
    }
    assert_eq!(rig.requests.len(), 1, "it is asked again");
}

#[test]
fn a_request_without_a_link_gets_its_token_first() {
    let mut rig = Rig::new();
    let id = ask_at(
        &mut rig,
        "/agents/register?x=1",
        Some(r#"{"X-Tenant":"t1"}"#),
    );
    let token = rig.token_ok();
    assert!(token.headers.is_empty() && Rig::bearer(&token).is_none());
    let request = rig.reply(
        "/agents/register?x=1",
        200,
        &json!({"connect_url": "wss://x"}),
    );
    assert_eq!(Rig::bearer(&request), Some(jwt(1, 86_400)));
    assert_eq!(Rig::body(&request), json!({"instance_id": "box-1"}));
    assert_eq!(request.headers["x-tenant"], "t1");
    assert!(request.headers["x-tenant"].is_sensitive());
    assert_eq!(rig.result(id), Ok(is(r#"{"connect_url":"wss://x"}"#)));
    assert_eq!(rig.machine.state(), State::Idle);
    assert!(!rig.machine.connected(), "it is the application's own");

    let second = ask(&mut rig);
    rig.reply(PATH, 204, &json!(null));
    assert_eq!(rig.result(second), Ok(is("null")));
    assert_eq!(rig.tokens, 1, "the token in use is good enough");

    let connect = rig.connect();
    rig.reach_ready();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
    assert_eq!(rig.tokens, 1);
}

#[test]
fn tokens_of_every_source_are_shown() {
    let mut rig =
        Rig::with(&json!({"client_id": null, "client_secret": null, "token": jwt(9, 600)}));
    let id = ask(&mut rig);
    let request = rig.reply(PATH, 200, &json!(1));
    assert_eq!(Rig::bearer(&request), Some(jwt(9, 600)));
    assert_eq!(rig.result(id), Ok(is("1")));
    rig.advance(seconds(601));
    let late = ask(&mut rig);
    assert_eq!(rig.error(late).code(), "TOKEN_EXPIRED");

    let mut rig =
        Rig::with(&json!({"client_id": null, "client_secret": null, "token_provider": true}));
    let id = ask(&mut rig);
    assert_eq!(rig.events_of(EventKind::TokenWanted).len(), 1);
    assert!(rig.requests.is_empty());
    rig.refresh_token(Some(&jwt(5, 600)));
    let request = rig.reply(PATH, 200, &json!({}));
    assert_eq!(Rig::bearer(&request), Some(jwt(5, 600)));
    assert_eq!(rig.result(id), Ok(is("{}")));
}

#[test]
fn failures_that_pass_are_asked_again() {
    let mut busy = http(429, &json!({"error": "slow down"}));
    busy.retry_after = Some(seconds(2));
    for failure in [
        Reply::Failed(unreachable()),
        Reply::Http(http(503, &json!({}))),
        Reply::Http(http(500, &json!({"code": "OOPS"}))),
        Reply::Http(http(408, &json!({"code": "SLOW"}))),
        Reply::Http(busy),
    ] {
        let mut rig = Rig::new();
        let id = ask(&mut rig);
        rig.token_ok();
        rig.answer_request(PATH, &failure);
        let asked_at = rig.now;
        waits_and_asks_again(&mut rig);
        if let Reply::Http(HttpReply { status: 429, .. }) = failure {
            assert!(
                rig.now >= asked_at + seconds(2),
                "Retry-After is waited for"
            );
        }
        assert!(!rig.is_done(id));
        rig.reply(PATH, 200, &json!({}));
        assert_eq!(rig.result(id), Ok(is("{}")), "{failure:?}");
        assert!(rig.machine.poll_timeout().is_some(), "the token's life");
        rig.advance(seconds(40));
        assert!(rig.requests.is_empty() && rig.completed.is_empty());
    }
}

#[test]
fn a_token_that_does_not_come_is_asked_for_again() {
    let mut rig = Rig::new();
    let (first, second) = (ask(&mut rig), ask(&mut rig));
    assert_eq!(rig.requests.len(), 1, "one fetch serves both");
    rig.answer_request(TOKEN, &Reply::Failed(unreachable()));
    waits_and_asks_again(&mut rig);
    rig.token_ok();
    // The other one does not wait for its own time either.
    rig.reply(PATH, 200, &json!(1));
    rig.reply(PATH, 200, &json!(2));
    assert_eq!(rig.result(first), Ok(is("1")));
    assert_eq!(rig.result(second), Ok(is("2")));

    let mut rig = Rig::new();
    let refused = ask(&mut rig);
    rig.reply(TOKEN, 401, &json!({"code": "UNAUTHORIZED"}));
    let error = rig.error(refused);
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Auth, "UNAUTHORIZED")
    );
    assert_eq!(rig.machine.state(), State::Idle);
}

#[test]
fn a_refusal_stands_and_says_why() {
    let mut rig = Rig::new();
    let first = ask(&mut rig);
    rig.token_ok();
    rig.reply(PATH, 200, &json!({}));
    rig.result(first).unwrap();
    for (status, body, kind, code, hint) in [
        (
            409,
            json!({"code": "DEPLOYMENT_MODE_MISMATCH", "error": "hosted"}),
            ErrorKind::Remote,
            "DEPLOYMENT_MODE_MISMATCH",
            "deregister it first",
        ),
        (403, json!({}), ErrorKind::Remote, "HTTP_403", "allow-list"),
        (404, json!({}), ErrorKind::Remote, "HTTP_404", ""),
        (400, json!("?"), ErrorKind::Remote, "HTTP_400", ""),
        (302, json!({}), ErrorKind::Remote, "HTTP_302", "redirects"),
    ] {
        let id = ask(&mut rig);
        rig.reply(PATH, status, &body);
        let error = rig.error(id);
        assert_eq!((error.kind(), error.code()), (kind, code), "{status}");
        assert_eq!(error.http_status_code(), Some(status));
        let text = error.to_string();
        assert!(text.contains("https://mesh.test/agents/register"), "{text}");
        assert!(text.contains(hint), "{text}");
        assert!(rig.requests.is_empty(), "{status} is asked once");
    }
}

#[test]
fn a_reply_is_json_within_the_limit() {
    let mut rig = Rig::new();
    let first = ask(&mut rig);
    rig.token_ok();
    rig.reply(PATH, 200, &json!({}));
    rig.result(first).unwrap();
    let deep = "[".repeat(65) + &"]".repeat(65);
    for body in [
        b"<html>".to_vec(),
        b"\xff".to_vec(),
        vec![b' '; MAX_HTTP_BODY_BYTES],
        deep.into_bytes(),
    ] {
        let id = ask(&mut rig);
        let reply = HttpReply {
            status: 200,
            body,
            ..HttpReply::default()
        };
        rig.answer_request(PATH, &Reply::Http(reply));
        let error = rig.error(id);
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Protocol, "UNEXPECTED_REPLY")
        );
        assert!(rig.requests.is_empty(), "it was taken, and is not repeated");
    }
    for (body, json) in [
        (" \r\n", "null"),
        ("", "null"),
        (" {\"a\":1}\n", "{\"a\":1}"),
    ] {
        let id = ask(&mut rig);
        let reply = HttpReply {
            status: 200,
            body: body.as_bytes().to_vec(),
            ..HttpReply::default()
        };
        rig.answer_request(PATH, &Reply::Http(reply));
        assert_eq!(rig.result(id), Ok(is(json)));
    }
}

#[test]
fn a_401_gets_another_token_once() {
    let mut rig = Rig::new();
    let id = ask(&mut rig);
    rig.token_ok();
    rig.reply(PATH, 401, &json!({}));
    rig.token_ok();
    let request = rig.reply(PATH, 200, &json!({}));
    assert_eq!(Rig::bearer(&request), Some(jwt(2, 86_400)));
    assert_eq!(rig.result(id), Ok(is("{}")));

    let refused = ask(&mut rig);
    rig.reply(PATH, 401, &json!({}));
    // A renewal that fails in passing is tried again, too.
    rig.reply(TOKEN, 503, &json!({}));
    waits_and_asks_again(&mut rig);
    rig.token_ok();
    rig.reply(PATH, 401, &json!({"code": "NOT_YOU"}));
    let error = rig.error(refused);
    assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, "NOT_YOU"));
    assert!(rig.requests.is_empty());

    let mut rig =
        Rig::with(&json!({"client_id": null, "client_secret": null, "token": jwt(9, 600)}));
    let id = ask(&mut rig);
    rig.reply(PATH, 401, &json!({}));
    assert_eq!(rig.error(id).kind(), ErrorKind::Auth);
}

#[test]
fn it_ends_with_its_deadline_and_with_what_was_last_known() {
    let mut rig = Rig::new();
    let silent = ask(&mut rig);
    rig.token_ok();
    let late = rig.take(PATH);
    assert_eq!(late.timeout, seconds(10));
    rig.advance(seconds(30));
    let error = rig.error(silent);
    assert_eq!(
        (error.kind(), error.message()),
        (
            ErrorKind::Timeout,
            "request timed out after 30000 ms: no answer while registering the agent \
             at POST https://mesh.test/agents/register"
        )
    );
    rig.machine
        .handle_reply(rig.now(), late.id, &Reply::Http(http(200, &json!({}))));
    rig.collect();
    assert!(!rig.is_done(silent), "a late reply finds nobody");

    // A wait that would outlast the deadline is not begun.
    let busy = ask(&mut rig);
    let mut patience = http(503, &json!({"code": "MAINTENANCE"}));
    patience.retry_after = Some(seconds(60));
    rig.answer_request(PATH, &Reply::Http(patience));
    let error = rig.error(busy);
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Remote, "MAINTENANCE")
    );
    assert!(
        error
            .message()
            .starts_with("request gave up after 1 attempt: "),
        "{error}"
    );

    // Tried until there is no time left.
    let broken = ask(&mut rig);
    let mut attempts = 0;
    while !rig.is_done(broken) {
        if rig.requests.is_empty() {
            rig.next_timeout();
        } else {
            attempts += 1;
            rig.answer_request(PATH, &Reply::Failed(unreachable()));
        }
    }
    assert!((3..9).contains(&attempts), "{attempts}");
    let error = rig.error(broken);
    assert_eq!(error.kind(), ErrorKind::Network);
    let said = format!("request gave up after {attempts} attempts: ");
    assert!(error.message().starts_with(&said), "{error}");
}

#[test]
fn fail_fast_asks_once() {
    let mut rig = Rig::with(&json!({"fail_fast": true}));
    let id = ask(&mut rig);
    rig.token_ok();
    rig.reply(PATH, 503, &json!({"code": "BUSY"}));
    assert_eq!(rig.error(id).code(), "BUSY");
    assert!(rig.requests.is_empty());
}

#[test]
fn a_cancelled_one_leaves_nothing_behind() {
    for stage in ["token", "request", "wait"] {
        let mut rig = Rig::new();
        let id = ask(&mut rig);
        if stage != "token" {
            rig.token_ok();
        }
        if stage == "wait" {
            rig.reply(PATH, 503, &json!({"code": "MAINTENANCE"}));
        }
        assert!(rig.cancel(id));
        let error = rig.error(id);
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Cancelled, "CANCELLED")
        );
        let said = match stage {
            "token" => "exchanging the credentials",
            "request" => "registering the agent",
            _ => "MAINTENANCE",
        };
        assert!(error.message().contains(said), "{error}");
        assert!(!rig.cancel(id), "it ends once");
        if stage == "token" {
            // One that comes is used by whoever is next.
            rig.token_ok();
        }
        assert!(rig.requests.is_empty(), "{stage}");
        rig.advance(seconds(60));
        assert!(rig.requests.is_empty(), "{stage}: it is asked again");
    }
}

#[test]
fn it_goes_on_while_the_agent_drains_and_ends_with_it() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    let (answered, open) = (ask(&mut rig), ask(&mut rig));
    let leaving = rig.disconnect(seconds(20));
    let begun = ask(&mut rig);
    rig.reply(PATH, 200, &json!(1));
    assert_eq!(rig.result(answered), Ok(is("1")));
    rig.reply(PATH, 503, &json!({}));
    assert!(!rig.is_done(open), "it is to be asked again");
    rig.reply(PATH, 200, &json!(2));
    assert_eq!(rig.result(begun), Ok(is("2")));
    rig.machine.stop(rig.now());
    rig.collect();
    assert_eq!(rig.machine.link(), LinkState::Closing);
    let late = ask(&mut rig);
    assert_eq!(rig.error(late).kind(), ErrorKind::InvalidState);
    rig.closed(1000);
    rig.reply("/agents/deregister", 200, &json!({}));
    assert_eq!(rig.machine.state(), State::Closed);
    assert_eq!(rig.error(open).kind(), ErrorKind::Cancelled);
    assert!(rig.result(leaving).is_ok());
    let after = ask(&mut rig);
    assert_eq!(rig.error(after).code(), "CLOSED");
}

#[test]
fn one_that_waits_is_not_asked_again_during_the_farewell() {
    let mut rig = Rig::ready(&json!({}));
    let id = ask(&mut rig);
    rig.reply(PATH, 503, &json!({}));
    rig.machine.stop(rig.now());
    rig.collect();
    rig.advance(millis(900));
    assert!(rig.requests.is_empty());
    rig.advance(seconds(10));
    assert_eq!(rig.error(id).kind(), ErrorKind::Cancelled);
}

#[test]
fn an_agent_that_never_connected_ends_it_at_once() {
    for disconnect in [true, false] {
        let mut rig = Rig::new();
        let id = ask(&mut rig);
        rig.token_ok();
        if disconnect {
            rig.disconnect(seconds(30));
        } else {
            rig.machine.stop(rig.now());
            rig.collect();
        }
        assert_eq!(rig.error(id).kind(), ErrorKind::Cancelled);
        assert_eq!(rig.machine.state(), State::Closed);
        assert_eq!(rig.finished, 1);
    }
}

#[test]
fn an_attempt_to_connect_that_fails_leaves_it_alone() {
    let mut rig = Rig::with(&json!({"fail_fast": true}));
    let id = ask(&mut rig);
    let connect = rig.connect();
    rig.token_ok();
    let own = rig.take(PATH);
    rig.reply(PATH, 503, &json!({}));
    rig.error(connect);
    assert_eq!(rig.machine.state(), State::Idle);
    rig.machine
        .handle_reply(rig.now(), own.id, &Reply::Http(http(200, &json!(1))));
    rig.collect();
    assert_eq!(rig.result(id), Ok(is("1")));
}

#[test]
fn no_secret_of_it_shows() {
    let headers = json!({"X-Api-Key": "key-0123456789-abcdef", "X-N": "1"}).to_string();
    let path = "/agents/register?key=query-0123456789";
    let shown = |rig: &mut Rig, id| {
        let error = rig.error(id);
        let text = format!("{error} {error:?} {:?}", rig.events);
        for secret in ["0123456789-abcdef", "query-0123456789", CLIENT_SECRET] {
            assert!(!text.contains(secret), "{text}");
        }
        text
    };
    let mut rig = Rig::new();
    let id = ask_at(&mut rig, path, Some(&headers));
    rig.token_ok();
    let echo: Value = json!({"code": "NO", "error":
        format!("1 key-0123456789-abcdef {} {CLIENT_SECRET}", jwt(1, 86_400))});
    rig.reply(path, 418, &echo);
    let text = shown(&mut rig, id);
    assert!(text.contains("HTTP 418 NO: 1 [redacted]"), "{text}");
    let id = ask_at(&mut rig, path, Some(&headers));
    assert!(rig.cancel(id));
    shown(&mut rig, id);
}
