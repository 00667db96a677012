//! The way to the first link, and what `connect` says when there is none.

use serde_json::json;

use super::rig::{CLIENT_SECRET, Rig, http, jwt, millis, seconds, unreachable};
use crate::error::ErrorKind;
use crate::machine::action::{Dialed, HttpReply, LinkEnd, Output, Reply};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

#[test]
pub(super) fn plain_text_to_another_host_is_warned_of() {
    for (url, warned) in [
        ("http://10.0.0.1:8080", true),
        ("http://127.0.0.1:8080", false),
        ("https://mesh.test", false),
    ] {
        let mut rig = Rig::with(&json!({"svantic_url": url, "allow_insecure": true}));
        rig.connect();
        let logged = rig.events_of(EventKind::Log);
        let insecure = |line: &&serde_json::Value| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.contains("unencrypted"))
        };
        assert_eq!(logged.iter().any(insecure), warned, "{url}");
    }
}

#[test]
pub(super) fn token_then_register_then_dial_then_hello_then_welcome() {
    let mut rig = Rig::new();
    assert_eq!(
        (rig.machine.state(), rig.machine.connected()),
        (State::Idle, false)
    );
    let connect = rig.connect();
    assert_eq!(rig.machine.state(), State::Connecting);

    let token = rig.token_ok();
    assert_eq!(Rig::bearer(&token), None);
    assert_eq!(
        Rig::body(&token),
        json!({"client_id":"client-1","client_secret":CLIENT_SECRET,"agent_type":"desk"})
    );
    let registration = rig.register_ok();
    assert_eq!(Rig::bearer(&registration), Some(jwt(1, 86_400)));
    assert_eq!(Rig::body(&registration)["deployment_mode"], "connected");
    assert_eq!(Rig::body(&registration)["tools"][0]["name"], "echo");
    assert!(rig.machine.connected(), "a registration is active");

    assert_eq!(
        rig.dials[0].url.as_str(),
        "wss://mesh.test/agents/connect?instance_id=box-1"
    );
    assert!(rig.sent.is_empty());
    rig.dialed(Dialed::Open);
    assert_eq!(rig.frame_types(), ["hello"], "hello is the first frame");
    rig.advance(seconds(5));
    assert!(rig.sent.is_empty(), "nothing but hello before the welcome");
    assert!(!rig.is_done(connect));

    rig.welcome();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
    assert_eq!(
        (rig.machine.state(), rig.machine.link()),
        (State::Connected, LinkState::Ready)
    );
    assert_eq!(
        rig.events_of(EventKind::Connected),
        [&json!({"connection":1,"resumed":false})]
    );
    rig.advance_alive(seconds(10));
    let heartbeat = rig.frames().remove(0);
    assert_eq!(heartbeat["type"], "heartbeat");
    assert_eq!(
        heartbeat["payload"],
        json!({"instance_id":"box-1","status":"available","current_sessions":0,
               "max_concurrent_sessions":0,"consecutive_failures":0})
    );
}

/// What the application is told are the steps of one way: each begins where the last one ended.
#[test]
fn the_first_link_is_no_reconnection() {
    let way = |rig: &Rig| {
        let told = rig.events_of(EventKind::State).into_iter();
        let step = |event: &serde_json::Value| json!([event["previous"], event["state"]]);
        told.map(step).collect::<Vec<_>>()
    };
    let first = [
        json!(["idle", "connecting"]),
        json!(["connecting", "connected"]),
    ];
    let mut linked = Rig::new();
    linked.connect();
    linked.reach_ready();
    assert_eq!(way(&linked), first);
    let mut hosted = Rig::with(&json!({"public_url": "https://desk.example/a2a"}));
    hosted.connect();
    hosted.token_ok();
    hosted.register_ok();
    assert_eq!(way(&hosted), first);
}

#[test]
pub(super) fn a_supplied_token_needs_no_exchange() {
    let token = jwt(9, 3600);
    let mut rig = Rig::with(&json!({"client_id":null,"client_secret":null,"token":token}));
    let connect = rig.connect();
    let registration = rig.register_ok();
    assert_eq!(Rig::bearer(&registration), Some(token));
    rig.dialed(Dialed::Open);
    rig.welcome();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
}

#[test]
pub(super) fn silence_at_each_step_ends_connect_at_its_deadline_and_names_the_step() {
    for (steps, doing) in [
        (
            0,
            "no answer while exchanging the credentials for a token at POST https://mesh.test/auth/get_token",
        ),
        (
            1,
            "no answer while registering the agent at POST https://mesh.test/agents/register",
        ),
        (
            2,
            "no answer while dialing the WebSocket at wss://mesh.test/agents/connect",
        ),
        (
            3,
            "no answer while waiting for the mesh's welcome at wss://mesh.test/agents/connect",
        ),
    ] {
        let mut rig = Rig::new();
        let connect = rig.connect_within(millis(5000));
        if steps > 0 {
            rig.token_ok();
        }
        if steps > 1 {
            rig.register_ok();
        }
        if steps > 2 {
            rig.dialed(Dialed::Open);
        }
        rig.advance(millis(4999));
        assert!(!rig.is_done(connect));
        rig.advance(millis(1));
        let error = rig.error(connect);
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Timeout, "TIMEOUT")
        );
        assert_eq!(
            error.message(),
            format!("connect timed out after 5000 ms: {doing}")
        );
        assert_eq!(rig.machine.state(), State::Idle);
        assert_eq!(
            rig.aborts.len(),
            usize::from(steps > 1),
            "the socket is dropped"
        );
    }
}

#[test]
pub(super) fn a_passing_failure_is_tried_again_within_the_deadline() {
    let mut rig = Rig::new();
    let connect = rig.connect();
    rig.answer_request("/auth/get_token", &Reply::Failed(unreachable()));
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    assert_eq!(rig.events_of(EventKind::Backoff)[0]["cause"], "UNREACHABLE");
    rig.next_timeout();
    assert!(rig.now <= seconds(3), "the first window after a crash");
    rig.token_ok();
    rig.reply("/agents/register", 500, &json!({}));
    rig.next_timeout();
    rig.register_ok();
    rig.dialed(Dialed::Failed(unreachable()));
    rig.next_timeout();
    rig.reach_ready();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
}

#[test]
pub(super) fn a_mesh_that_stays_away_is_named_when_connect_gives_up() {
    let mut rig = Rig::new();
    let connect = rig.connect();
    while !rig.is_done(connect) {
        if rig.requests.is_empty() {
            rig.next_timeout();
        } else {
            rig.answer_request("/auth/get_token", &Reply::Failed(unreachable()));
        }
    }
    assert!(rig.now <= seconds(30));
    let error = rig.error(connect);
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Network, "UNREACHABLE")
    );
    assert!(error.is_retryable());
    assert_eq!(rig.machine.state(), State::Idle);
    assert!(
        rig.machine.poll_timeout().is_none(),
        "nothing is tried any more"
    );

    let again = rig.connect();
    rig.reach_ready();
    assert_eq!(rig.result(again), Ok(Output::Nothing));
}

#[test]
pub(super) fn fail_fast_ends_connect_at_the_first_failure() {
    let mut rig = Rig::with(&json!({"fail_fast": true}));
    let connect = rig.connect();
    rig.reply("/auth/get_token", 500, &json!({}));
    let error = rig.error(connect);
    assert_eq!(
        (error.code(), error.http_status_code()),
        ("HTTP_500", Some(500))
    );
    assert_eq!(rig.machine.state(), State::Idle);
}

#[test]
pub(super) fn a_wait_beyond_the_deadline_fails_at_once() {
    let mut rig = Rig::new();
    let connect = rig.connect();
    rig.token_ok();
    let reply = HttpReply {
        retry_after: Some(seconds(120)),
        ..http(429, &json!({"code":"RATE_LIMITED","error":"slow down"}))
    };
    rig.answer_request("/agents/register", &Reply::Http(reply));
    let error = rig.error(connect);
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Remote, "RATE_LIMITED")
    );
    assert!(error.message().contains("Retry-After 120 s"), "{error}");
    assert_eq!(rig.now, seconds(0));
}

#[test]
pub(super) fn retry_after_is_honoured() {
    let mut rig = Rig::new();
    rig.connect();
    let reply = HttpReply {
        retry_after: Some(seconds(7)),
        ..http(503, &json!({}))
    };
    rig.answer_request("/auth/get_token", &Reply::Http(reply));
    rig.next_timeout();
    assert!(rig.now >= seconds(7) && rig.now <= seconds(17));
    rig.token_ok();
}

#[test]
pub(super) fn a_second_connect_is_refused_and_harms_nothing() {
    let mut rig = Rig::new();
    let first = rig.connect();
    let second = rig.connect();
    let error = rig.error(second);
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::InvalidState, "ALREADY_CONNECTED")
    );
    rig.reach_ready();
    assert_eq!(rig.result(first), Ok(Output::Nothing));
    let third = rig.connect();
    assert_eq!(rig.error(third).code(), "ALREADY_CONNECTED");
    assert_eq!(rig.machine.state(), State::Connected);
}

#[test]
pub(super) fn no_welcome_is_a_failed_attempt() {
    let mut rig = Rig::new();
    let connect = rig.connect();
    rig.token_ok();
    rig.register_ok();
    rig.dialed(Dialed::Open);
    rig.advance(seconds(10));
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    assert_eq!(rig.aborts, [1]);
    assert_eq!(rig.events_of(EventKind::Backoff)[0]["cause"], "NO_WELCOME");
    rig.next_timeout();
    rig.dialed(Dialed::Open);
    rig.ended(&LinkEnd::Broken("reset".to_owned()));
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    rig.next_timeout();
    rig.reach_ready();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
}

/// Stages that each keep their limit must not add up.
#[test]
pub(super) fn the_welcome_gets_what_the_dial_has_left_of_the_attempt() {
    let mut rig = Rig::with(&json!({"fail_fast": true}));
    let connect = rig.connect();
    rig.token_ok();
    rig.register_ok();
    let dial = &rig.dials[0];
    assert_eq!(dial.attempt_timeout, seconds(20));
    assert_eq!(dial.dns_timeout, seconds(5));
    assert_eq!(dial.stage_timeout, seconds(10));
    rig.advance(seconds(15));
    rig.dialed(Dialed::Open);
    rig.advance(millis(4_999));
    assert_eq!(rig.machine.link(), LinkState::Handshaking);
    rig.advance(millis(1));
    assert_eq!(rig.machine.link(), LinkState::Idle);
    let error = rig.error(connect);
    assert_eq!(error.code(), "NO_WELCOME");
    let text = error.to_string();
    assert!(
        text.contains("within 5000 ms") && text.contains("20000 ms"),
        "{text}"
    );
    // A dial that was quick leaves the welcome its own limit.
    let connect = rig.connect();
    rig.register_ok();
    rig.advance(seconds(1));
    rig.dialed(Dialed::Open);
    rig.advance(seconds(10));
    let text = rig.error(connect).to_string();
    assert!(
        text.contains("within 10000 ms") && !text.contains("attempt's"),
        "{text}"
    );
}

#[test]
pub(super) fn a_reply_of_an_attempt_that_was_given_up_does_not_count_for_the_next() {
    let mut rig = Rig::new();
    rig.connect_within(seconds(1));
    rig.token_ok();
    let late = rig.take("/agents/register");
    rig.advance(seconds(2));
    let again = rig.connect();
    let refused = Reply::Http(http(403, &json!({"code":"NOT_ALLOWED"})));
    rig.machine.handle_reply(rig.now(), late.id, &refused);
    rig.collect();
    assert_eq!(rig.machine.link(), LinkState::Registering);
    rig.reach_ready();
    assert_eq!(rig.result(again), Ok(Output::Nothing));
}

#[test]
pub(super) fn dispatches_before_the_welcome_are_held_and_too_many_cost_the_connection() {
    let mut rig = Rig::new();
    rig.connect();
    rig.token_ok();
    rig.register_ok();
    rig.dialed(Dialed::Open);
    rig.echo("d1");
    rig.text("nonsense");
    rig.echo("d2");
    assert!(rig.delivered.is_empty());
    rig.welcome();
    let ids: Vec<_> = rig.delivered.iter().map(|dispatch| &*dispatch.id).collect();
    assert_eq!(ids, ["d1", "d2"]);

    rig.broken();
    rig.next_timeout();
    rig.dialed(Dialed::Open);
    for n in 0..17 {
        rig.echo(&format!("e{n}"));
    }
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    assert_eq!(rig.aborts, [2]);
    assert_eq!(rig.delivered.len(), 2);
}

#[test]
pub(super) fn after_the_first_success_the_link_is_made_again_for_ever() {
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    let start = rig.now;
    let mut dials = 0;
    while rig.now - start < seconds(7 * 24 * 3600) {
        rig.next_timeout();
        if let Some(reply) = rig.next_path() {
            if reply == "/auth/get_token" {
                rig.token_ok();
            } else {
                rig.register_ok();
            }
        }
        if rig.machine.link() == LinkState::Dialing {
            dials += 1;
            rig.dialed(Dialed::Failed(unreachable()));
        }
    }
    assert_eq!(rig.machine.state(), State::Reconnecting);
    assert!((20_000..25_000).contains(&dials), "one in 30 s: {dials}");
    let back = rig.now;
    while rig.machine.link() != LinkState::Ready {
        if rig.machine.link() == LinkState::Backoff {
            rig.next_timeout();
        } else {
            rig.reach_ready();
        }
    }
    assert!(rig.now - back <= seconds(62));
}
