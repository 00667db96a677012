//! What a server echoes of our secrets shows up nowhere.

use serde_json::json;

use super::rig::{CLIENT_SECRET, Rig, http, jwt, seconds};
use crate::error::ErrorKind;
use crate::machine::action::{Dialed, HttpReply, LinkEnd, NetFailure, Reply};

/// Everything that the application can see, in every form.
fn visible(rig: &Rig) -> String {
    let errors: Vec<_> = rig
        .completed
        .iter()
        .filter_map(|(_, result)| result.as_ref().err())
        .collect();
    let shown: Vec<_> = errors
        .iter()
        .map(|error| format!("{error} {}", error.to_json()))
        .collect();
    let snapshot = rig.machine.snapshot(rig.now());
    let data: Vec<_> = rig
        .events
        .iter()
        .map(|event| event.data.to_string())
        .collect();
    format!("{shown:?} {errors:?} {:?} {data:?} {snapshot}", rig.events)
}

fn assert_hidden(rig: &Rig, secrets: &[&str]) {
    let visible = visible(rig);
    for secret in secrets {
        assert!(!visible.contains(secret), "{secret} shows in {visible}");
    }
}

/// A body that echoes `secret` plainly, inside other text, and escaped as some servers do.
fn echoes(secret: &str) -> Vec<Vec<u8>> {
    let escaped = secret.replace('/', "\\/");
    let unicode: String = secret
        .chars()
        .flat_map(|c| format!("\\u{:04x}", u32::from(c)).into_bytes())
        .map(char::from)
        .collect();
    vec![
        secret.as_bytes().to_vec(),
        format!("<html>{secret}{secret}</html>").into_bytes(),
        json!({"code": secret, "error": format!("bad: {secret}")})
            .to_string()
            .into_bytes(),
        json!({"error": {"code": "X", "message": secret}})
            .to_string()
            .into_bytes(),
        format!(r#"{{"code":"X","error":"{escaped}"}}"#).into_bytes(),
        format!(r#"{{"code":"X","error":"{unicode}","{unicode}":1}}"#).into_bytes(),
    ]
}

#[test]
pub(super) fn in_error_bodies_of_every_step() {
    let token = jwt(1, 86_400);
    for status in [400, 401, 403, 500] {
        for body in [echoes(CLIENT_SECRET), echoes(&token)].concat() {
            for step in 0..4 {
                let mut rig = Rig::with(&json!({"fail_fast": true}));
                rig.connect();
                let reply = HttpReply {
                    status,
                    body: body.clone(),
                    ..HttpReply::default()
                };
                if step > 0 {
                    rig.token_ok();
                }
                if step > 1 {
                    rig.register_ok();
                }
                match step {
                    0 => rig.answer_request("/auth/get_token", &Reply::Http(reply)),
                    1 => rig.answer_request("/agents/register", &Reply::Http(reply)),
                    2 => {
                        rig.dialed(Dialed::Refused(reply));
                        assert_hidden(&rig, &[CLIENT_SECRET, &token]);
                        continue;
                    }
                    _ => {
                        rig.create_session(&json!({}));
                        rig.answer_request("/sessions/init", &Reply::Http(reply))
                    }
                };
                let shown = if step == 0 {
                    vec![CLIENT_SECRET]
                } else {
                    vec![CLIENT_SECRET, &token]
                };
                assert_hidden(&rig, &shown);
            }
        }
    }
}

#[test]
pub(super) fn the_next_client_secret_and_a_provided_token_neither() {
    const NEXT: &str = "s3cret/of-tomorrow";
    for body in echoes(NEXT) {
        let mut rig = Rig::with(&json!({"fail_fast": true, "client_secret_next": NEXT}));
        rig.connect();
        for _ in 0..2 {
            let reply = HttpReply {
                status: 401,
                body: body.clone(),
                ..HttpReply::default()
            };
            rig.answer_request("/auth/get_token", &Reply::Http(reply));
        }
        assert_hidden(&rig, &[CLIENT_SECRET, NEXT]);
    }
    let token = jwt(1, 86_400);
    for body in echoes(&token) {
        let provider = json!({"client_id":null,"client_secret":null,"token_provider":true});
        let mut rig = Rig::with(&provider);
        rig.connect();
        rig.refresh_token(Some(&token));
        let reply = HttpReply {
            status: 403,
            body,
            ..HttpReply::default()
        };
        rig.answer_request("/agents/register", &Reply::Http(reply));
        assert_hidden(&rig, &[&token]);
    }
}

#[test]
pub(super) fn in_close_reasons_and_failures() {
    let token = jwt(1, 86_400);
    let text = format!("{CLIENT_SECRET} {token}");
    for end in [
        LinkEnd::Closed {
            code: Some(4400),
            reason: text.clone(),
        },
        LinkEnd::Broken(text.clone()),
        LinkEnd::Violation(text.clone()),
    ] {
        let mut rig = Rig::ready(&json!({"auto_reconnect": false}));
        rig.ended(&end);
        rig.connect();
        assert_hidden(&rig, &[CLIENT_SECRET, &token]);
    }
    let net = NetFailure {
        kind: ErrorKind::Network,
        text: text.clone(),
    };
    let redirect = HttpReply {
        location: Some(text.clone()),
        ..http(302, &json!({}))
    };
    for dialed in [
        Dialed::Failed(net.clone()),
        Dialed::WrongSubprotocol(Some(text.clone())),
        Dialed::Refused(redirect),
    ] {
        let mut rig = Rig::with(&json!({"fail_fast": true}));
        rig.connect();
        rig.token_ok();
        rig.register_ok();
        rig.dialed(dialed);
        assert_hidden(&rig, &[CLIENT_SECRET, &token]);
    }
    let mut rig = Rig::with(&json!({"fail_fast": true}));
    rig.connect();
    rig.token_ok();
    rig.answer_request("/agents/register", &Reply::Failed(net));
    assert_hidden(&rig, &[CLIENT_SECRET, &token]);
}

#[test]
pub(super) fn in_a_connect_url() {
    let token = jwt(1, 86_400);
    for url in [
        format!("wss://evil.example/{token}?t={token}"),
        format!("wss://mesh.test/{token}?t={token}"),
    ] {
        let mut rig = Rig::with(&json!({"fail_fast": true}));
        rig.connect();
        rig.token_ok();
        rig.reply("/agents/register", 200, &json!({"connect_url": url}));
        rig.dialed(Dialed::Refused(http(503, &json!({}))));
        assert_hidden(&rig, &[&token]);
    }
}

#[test]
pub(super) fn of_a_token_that_has_been_replaced_meanwhile() {
    let mut rig = Rig::ready(&json!({}));
    rig.create_session(&json!({}));
    let init = rig.take("/sessions/init");
    rig.refresh_token(Some(&jwt(50, 3600)));
    let old = jwt(1, 86_400);
    let reply = Reply::Http(http(400, &json!({"code":"X","error": old})));
    rig.machine.handle_reply(rig.now(), init.id, &reply);
    rig.collect();
    assert_hidden(&rig, &[&old]);

    let first = jwt(100, 3600);
    let mut rig = Rig::ready(&json!({"client_id":null,"client_secret":null,"token":first}));
    rig.refresh_token(Some(&jwt(101, 3600)));
    rig.ended(&LinkEnd::Broken(first.clone()));
    assert_hidden(&rig, &[&first]);
}

#[test]
pub(super) fn in_warnings_of_a_renewal() {
    let mut rig = Rig::new();
    rig.token_lifetime_s = 100;
    rig.connect();
    rig.reach_ready();
    rig.advance_alive(seconds(81));
    let token = jwt(1, 100);
    rig.reply(
        "/auth/get_token",
        401,
        &json!({"code":"X","error": format!("{CLIENT_SECRET} {token}")}),
    );
    assert_hidden(&rig, &[CLIENT_SECRET, &token]);
    rig.refresh_token(Some(""));
    rig.broken();
    assert!(
        !visible(&rig).contains("[redacted][redacted]"),
        "an empty token is nothing to look for"
    );
}
