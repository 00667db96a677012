//! A transport: the link without an agent above it (`protocol.md` 4).

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::rig::{Rig, http, jwt, millis, parsed, seconds, unreachable};
use crate::agent::Agent;
use crate::config::Config;
use crate::error::ErrorKind;
use crate::machine::action::{Dialed, LinkEnd, OperationId, Output};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, Machine, Settings, State};
use crate::protocol::limits::MAX_EARLY_FRAMES;

const WELCOME: &str = r#"{"v":1,"type":"welcome","id":"w","payload":{"resumed":true}}"#;

/// A transport with `changes` in its configuration; `null` takes a key away.
pub(super) fn transport(changes: &Value) -> Rig {
    seeded(changes, 7)
}

fn seeded(changes: &Value, seed: u64) -> Rig {
    let mut config = json!({
        "connect_url": "wss://mesh.test/agents/connect",
        "token": jwt(1, 86_400),
        "hello": {"instance_id": "box-1", "agent_type": "desk"},
    });
    for (key, value) in changes.as_object().expect("an object of changes") {
        if value.is_null() {
            config.as_object_mut().unwrap().remove(key);
        } else {
            config[key] = value.clone();
        }
    }
    let config = Config::parse_transport(&config.to_string(), &|_| None).expect("a configuration");
    let settings = Settings::from_config(&config, "");
    let agent = Agent::new(config.identity, config.mode, config.svantic_url.as_str());
    Rig::of(Machine::new(settings, agent, config.credentials, seed))
}

/// One whose link is ready, with everything that led there forgotten.
pub(super) fn ready(changes: &Value) -> Rig {
    let mut rig = transport(changes);
    let connect = rig.connect();
    rig.dialed(Dialed::Open);
    rig.text(WELCOME);
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
    rig.forget();
    rig.raw.clear();
    rig
}

fn close(rig: &mut Rig, code: u16, reason: &str) -> OperationId {
    let (now, id) = (rig.now(), rig.next_operation);
    rig.next_operation += 1;
    rig.machine
        .close_transport(now, id, code, reason, seconds(30));
    rig.collect();
    id
}

/// The links that STATE has told of.
fn links(rig: &Rig) -> Vec<&str> {
    let told = rig.events_of(EventKind::State).into_iter();
    told.map(|data| data["link"].as_str().unwrap()).collect()
}

fn assert_no_http(rig: &Rig) {
    assert!(rig.requests.is_empty() && rig.beats.is_empty());
}

#[test]
pub(super) fn it_dials_at_once_and_says_what_the_caller_said_and_hands_everything_on() {
    let mut rig = transport(&json!({
        "hello": {"z": 1, "instance_id": "box 1", "a": 12_345_678_901_234_567_u64},
        "hello_id": "my \"own\" id", "hello_ts": "yesterday",
        "connect_url": "wss://mesh.test:9443/agents/connect?region=eu",
    }));
    let connect = rig.connect();
    assert_eq!(
        (rig.machine.link(), rig.requests.len()),
        (LinkState::Dialing, 0)
    );
    assert_eq!(
        rig.dials[0].url.as_str(),
        "wss://mesh.test:9443/agents/connect?region=eu&instance_id=box+1"
    );
    rig.dialed(Dialed::Open);
    assert_eq!(
        &*rig.sent[0].1,
        r#"{"v":1,"type":"hello","id":"my \"own\" id","ts":"yesterday","payload":{"a":12345678901234567,"instance_id":"box 1","z":1}}"#
    );
    assert_eq!(
        rig.machine.send_frame("{}".into()).unwrap_err().code(),
        "NOT_READY"
    );
    rig.text(r#"{"type":"dispatch","id":"d1"}"#);
    rig.text(r#" {"any":"thing"}"#);
    assert!(
        rig.raw.is_empty() && !rig.is_done(connect),
        "the welcome comes first"
    );
    rig.text(WELCOME);
    rig.text(r#"{"type":"dispatch","id":"d2","payload":{"skill_id":"echo"}}"#);
    let raw: Vec<&str> = rig.raw.iter().map(|text| &**text).collect();
    assert_eq!(
        raw,
        [
            WELCOME,
            r#"{"type":"dispatch","id":"d1"}"#,
            r#" {"any":"thing"}"#,
            r#"{"type":"dispatch","id":"d2","payload":{"skill_id":"echo"}}"#,
        ],
        "as they came"
    );
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
    assert_eq!(links(&rig), ["dialing", "handshaking", "ready"]);
    let connected = rig.events_of(EventKind::Connected);
    assert_eq!(connected, [&json!({"connection": 1, "resumed": true})]);
    assert!(rig.delivered.is_empty() && rig.machine.connected());
    let place = |what: &str| rig.order.iter().position(|one| one == what);
    assert!(place("frame welcome") < place(&format!("complete {connect}")));
    rig.forget();
    rig.machine.send_frame(r#"{"mine":1}"#.into()).unwrap();
    rig.collect();
    assert_eq!(&*rig.sent[0].1, r#"{"mine":1}"#);
    rig.sent.clear();
    rig.advance_alive(seconds(300));
    assert!(rig.sent.is_empty(), "heartbeats are the caller's");
    assert!(
        rig.order.iter().any(|what| what == "ping"),
        "liveness is not"
    );
    assert_no_http(&rig);
}

#[test]
pub(super) fn t55_without_auto_reconnect_a_loss_leads_back_to_idle_and_connect_works_again() {
    let ends: [fn(&mut Rig); 4] = [
        |rig| rig.closed(1012),
        |rig| rig.closed(4401),
        |rig| rig.broken(),
        |rig| rig.advance(seconds(25)),
    ];
    for end in ends {
        let mut rig = ready(&json!({"auto_reconnect": false}));
        end(&mut rig);
        assert_eq!(
            (rig.machine.state(), rig.machine.connected()),
            (State::Idle, false)
        );
        assert_eq!(rig.events_of(EventKind::Disconnected).len(), 1);
        assert!(rig.events_of(EventKind::Failed).is_empty());
        rig.advance(seconds(3600));
        assert!(rig.dials.is_empty(), "by itself nothing is done");
        let connect = rig.connect();
        assert_eq!(rig.machine.state(), State::Connecting);
        rig.dialed(Dialed::Open);
        rig.text(WELCOME);
        assert_eq!(rig.result(connect), Ok(Output::Nothing));
        assert_no_http(&rig);
    }
}

#[test]
fn without_auto_reconnect_the_first_failure_ends_connect_unless_fail_fast_is_off() {
    let mut rig = transport(&json!({"auto_reconnect": false}));
    let connect = rig.connect();
    rig.dialed(Dialed::Failed(unreachable()));
    assert_eq!(rig.error(connect).code(), "UNREACHABLE");
    assert_eq!(rig.machine.state(), State::Idle);
    let connect = rig.connect();
    rig.dialed(Dialed::Open);
    rig.advance(seconds(10));
    assert_eq!(rig.error(connect).code(), "NO_WELCOME");
    assert_eq!(rig.aborts.len(), 1);
    let mut rig = transport(&json!({
        "auto_reconnect": false, "fail_fast": false, "reconnect_delays_ms": [5],
    }));
    let connect = rig.connect();
    rig.dialed(Dialed::Failed(unreachable()));
    rig.advance(millis(5));
    assert_eq!((rig.dials.len(), rig.is_done(connect)), (2, false));
}

#[test]
fn a_missing_welcome_is_told_by_the_link_and_followed_by_the_next_attempt() {
    let mut rig = transport(&json!({"welcome_timeout_ms": 100, "reconnect_delays_ms": [50, 70]}));
    rig.connect();
    rig.dialed(Dialed::Open);
    rig.advance(millis(100));
    assert_eq!(links(&rig), ["dialing", "handshaking", "backoff"]);
    rig.advance(millis(50));
    assert_eq!(rig.dials.len(), 2);
    rig.dialed(Dialed::Open);
    assert_eq!(
        links(&rig),
        ["dialing", "handshaking", "backoff", "handshaking"]
    );
}

/// However long the link is down, and however often its address fails: nothing but dials.
#[test]
fn an_outage_costs_no_http_call() {
    let mut rig = ready(&json!({"reconnect_delays_ms": [1000]}));
    rig.closed(1012);
    for _ in 0..600 {
        rig.advance(seconds(1));
        assert_eq!(rig.machine.link(), LinkState::Dialing);
        rig.dialed(Dialed::Failed(unreachable()));
    }
    rig.advance(seconds(1));
    rig.dialed(Dialed::Open);
    rig.text(WELCOME);
    assert_eq!(rig.machine.state(), State::Connected);
    assert_ne!(parsed(&rig.sent[0].1)["id"], json!("w"));
    assert_no_http(&rig);
}

#[test]
fn an_instance_that_is_not_known_is_the_callers_to_register() {
    let unknown = || {
        Dialed::Refused(http(
            404,
            &json!({"code": "INSTANCE_NOT_FOUND", "error": "who?"}),
        ))
    };
    let mut rig = transport(&json!({}));
    let connect = rig.connect();
    rig.dialed(unknown());
    let error = rig.error(connect);
    assert_eq!(
        (error.code(), rig.machine.state()),
        ("INSTANCE_NOT_FOUND", State::Idle)
    );
    assert!(
        error.to_string().contains("register the instance"),
        "{error}"
    );
    let mut rig = ready(&json!({"reconnect_delays_ms": [10]}));
    rig.broken();
    rig.advance(millis(10));
    rig.dialed(unknown());
    assert_eq!(rig.events_of(EventKind::InstanceForgotten).len(), 1);
    assert_eq!(rig.machine.state(), State::Reconnecting);
    rig.advance(millis(10));
    rig.dialed(Dialed::Open);
    rig.text(WELCOME);
    assert_eq!(rig.machine.state(), State::Connected);
    assert_no_http(&rig);
}

#[test]
fn a_refused_token_is_replaced_by_the_application_or_blocks() {
    let refused = || Dialed::Refused(http(401, &json!({"code": "UNAUTHORIZED"})));
    let mut rig = transport(&json!({}));
    let connect = rig.connect();
    rig.dialed(refused());
    assert_eq!(rig.error(connect).kind(), ErrorKind::Auth);
    assert_eq!(rig.machine.state(), State::Idle);

    let mut rig = transport(&json!({"token": null, "token_provider": true}));
    let connect = rig.connect();
    assert_eq!(rig.machine.link(), LinkState::Authenticating);
    rig.refresh_token(Some(&jwt(2, 3600)));
    rig.dialed(refused());
    let wanted = rig.events_of(EventKind::TokenWanted);
    let reasons: Vec<_> = wanted
        .iter()
        .map(|data| data["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["missing", "refused"]);
    rig.refresh_token(Some(&jwt(3, 3600)));
    rig.dialed(Dialed::Open);
    rig.text(WELCOME);
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
    assert_no_http(&rig);
}

#[test]
fn a_close_says_what_the_caller_wants_and_deregisters_nothing() {
    let mut rig = ready(&json!({}));
    let done = close(&mut rig, 4242, "enough");
    assert_eq!(rig.closes, [(rig.conn, 4242, "enough".into())]);
    assert_eq!(close(&mut rig, 1000, "another"), done + 1);
    rig.closed(4242);
    assert_eq!(rig.result(done), Ok(Output::Nothing));
    assert_eq!(rig.machine.state(), State::Closed);
    let told = &rig.events_of(EventKind::Disconnected)[0];
    assert_eq!(
        (&told["code"], &told["cause"]),
        (&json!(4242), &json!("enough"))
    );
    assert_eq!((rig.finished, rig.closes.len()), (1, 1));
    assert_no_http(&rig);
    assert_eq!(
        rig.machine.send_frame("{}".into()).unwrap_err().kind(),
        ErrorKind::InvalidState
    );

    let mut rig = ready(&json!({}));
    let done = rig.disconnect(seconds(30));
    assert_eq!(rig.closes, [(rig.conn, 1000, "client_close".into())]);
    rig.advance(seconds(1));
    assert_eq!(
        rig.result(done),
        Ok(Output::Nothing),
        "a peer that does not answer"
    );
    assert_eq!(rig.sent.len(), 0, "no last heartbeat");
}

/// The peer of an external socket answers no pings, so it is asked for none.
#[test]
fn an_external_socket_is_never_pinged() {
    let mut rig =
        ready(&json!({"external_socket": true, "ping_interval_ms": 10, "dead_after_ms": 20}));
    rig.advance(seconds(3600));
    rig.suspend(seconds(3600));
    rig.network_changed();
    rig.advance(seconds(60));
    assert_eq!(rig.machine.link(), LinkState::Ready);
    assert!(rig.pings.is_empty() && rig.aborts.is_empty());
    rig.closed(1012);
    rig.network_changed();
    assert_eq!(
        rig.machine.link(),
        LinkState::Dialing,
        "a wait is cut short all the same"
    );
}

#[test]
fn an_external_socket_that_fails_is_closed_and_an_older_one_is_ignored() {
    let mut rig = ready(&json!({"external_socket": true, "reconnect_delays_ms": [1]}));
    let now = rig.now();
    rig.machine
        .handle_socket_error(now, rig.conn + 1, "of another".to_owned());
    assert_eq!(rig.machine.link(), LinkState::Ready);
    rig.machine
        .handle_socket_error(now, rig.conn, "broken".to_owned());
    rig.collect();
    assert_eq!(rig.aborts, [rig.conn]);
    assert_eq!(rig.events_of(EventKind::Disconnected)[0]["cause"], "broken");
}

#[test]
fn what_is_no_json_object_is_never_handed_on_and_costs_nothing() {
    let mut rig = ready(&json!({}));
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    for text in ["", "nonsense", "[]", "7", "{} {}", r#"{"a":"#, &deep] {
        rig.text(text);
    }
    assert!(rig.raw.is_empty());
    rig.text(r#"{"v":2,"type":7,"id":{}}"#);
    assert_eq!(
        rig.raw.len(),
        1,
        "what a frame says is the caller's business"
    );
    assert_eq!(rig.machine.link(), LinkState::Ready);
}

#[test]
fn too_many_frames_before_the_welcome_cost_the_connection() {
    let mut rig = transport(&json!({}));
    rig.connect();
    rig.dialed(Dialed::Open);
    for _ in 0..=MAX_EARLY_FRAMES {
        rig.text("{}");
    }
    assert_eq!(
        (rig.aborts.len(), rig.machine.link()),
        (1, LinkState::Backoff)
    );
}

#[test]
fn frames_that_are_not_taken_cost_the_connection_and_only_a_ready_one() {
    let mut rig = ready(&json!({"reconnect_delays_ms": [10]}));
    let now = rig.now();
    rig.machine.handle_overrun(now);
    rig.machine.handle_overrun(now);
    rig.collect();
    assert_eq!(
        (rig.aborts.len(), rig.machine.link()),
        (1, LinkState::Backoff)
    );
    let told = &rig.events_of(EventKind::Disconnected)[0]["cause"];
    assert_eq!(
        told,
        "the application does not take the frames that came in"
    );
}

#[test]
fn a_frame_over_the_limit_is_refused() {
    let mut rig = ready(&json!({"max_frame_bytes": 1024}));
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(1024));
    let error = rig.machine.send_frame(text.into()).unwrap_err();
    assert_eq!(error.code(), "FRAME_TOO_LARGE");
}

/// Whatever happens in whatever order: no HTTP call, hello first and nothing else before the welcome, alternating events,
/// and an end.
#[test]
fn any_order_of_things_is_survived() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let provider = rng.bool();
        let mut rig = seeded(
            &json!({
                "auto_reconnect": rng.bool(),
                "external_socket": rng.bool(),
                "token": (!provider).then(|| jwt(1, 86_400)),
                "token_provider": provider,
                "reconnect_delays_ms": if rng.bool() { json!([10, 100]) } else { json!(null) },
            }),
            seed,
        );
        let (mut token, mut up) = (2, false);
        for _ in 0..200 {
            rig.forget();
            // What is not open does not end, but is refused.
            let open = rig.machine.link() != LinkState::Dialing;
            match rng.u8(0..13) {
                0 => drop(rig.connect()),
                1 => rig.dialed(Dialed::Open),
                2 => rig.dialed(Dialed::Failed(unreachable())),
                3 => {
                    let status = [401, 403, 404, 429, 500, 502][rng.usize(0..6)];
                    rig.dialed(Dialed::Refused(http(status, &json!({}))));
                }
                4 | 5 => rig.text(WELCOME),
                6 => rig.text("{}"),
                7 if open => {
                    let code = [1000, 1006, 1008, 1012, 4400, 4401, 4409][rng.usize(0..7)];
                    rig.closed(code);
                }
                8 if open => rig.ended(&LinkEnd::Broken("cut".to_owned())),
                9 => rig.advance(Duration::from_millis(rng.u64(0..30_000))),
                10 => {
                    token += 1;
                    rig.refresh_token(Some(&jwt(token, 3600)));
                }
                11 => rig.network_changed(),
                _ => {
                    let ready = rig.machine.connected();
                    let sent = rig.machine.send_frame("{}".into());
                    assert_eq!(
                        sent.is_ok(),
                        ready && rig.machine.link() != LinkState::Closing
                    );
                    rig.collect();
                }
            }
            assert_no_http(&rig);
            for frame in &rig.sent {
                let hello = parsed(&frame.1)["type"] == "hello";
                assert!(hello || rig.machine.connected(), "seed {seed}");
            }
            for event in &rig.events {
                if matches!(event.kind, EventKind::Connected | EventKind::Disconnected) {
                    assert_ne!(up, event.kind == EventKind::Connected, "seed {seed}");
                    up = !up;
                }
            }
        }
        rig.forget();
        close(&mut rig, 3000, "over");
        rig.advance(seconds(10));
        assert!(
            matches!(rig.machine.state(), State::Closed | State::Failed),
            "seed {seed}"
        );
        assert_eq!(
            (rig.finished, rig.machine.poll_timeout()),
            (1, None),
            "seed {seed}"
        );
        assert_no_http(&rig);
    }
}
