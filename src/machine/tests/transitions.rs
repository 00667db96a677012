//! Rows of `reliability.md` 5.2 that share a way out but not a cause: each is named.

use serde_json::json;

use super::rig::{Rig, http, seconds, unreachable};
use crate::agent::Capability;
use crate::error::ErrorKind;
use crate::machine::action::{Dialed, HttpReply, LinkEnd, NetFailure, Output, Reply};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State, Transition};

const REGISTER: &str = "/agents/register";

fn took(rig: &Rig, transition: Transition) -> bool {
    rig.machine.transitions_taken().any(|t| t == transition)
}

fn messages(rig: &Rig) -> Vec<&str> {
    let logs = rig.events_of(EventKind::Log);
    logs.iter()
        .map(|log| log["message"].as_str().unwrap())
        .collect()
}

fn until_dialing(rig: &mut Rig) {
    while rig.machine.link() != LinkState::Dialing {
        match rig.machine.link() {
            LinkState::Registering => drop(rig.register_ok()),
            _ => rig.next_timeout(),
        }
    }
}

#[test]
pub(super) fn t13_a_refusal_without_a_code_is_final_only_before_the_first_link_and_after_10_minutes()
 {
    let mut rig = Rig::new();
    let connect = rig.connect_within(seconds(3600));
    rig.token_ok();
    let start = rig.now;
    while !rig.is_done(connect) {
        if rig.machine.link() == LinkState::Registering {
            rig.reply(REGISTER, 403, &json!("<html>blocked</html>"));
        } else {
            rig.next_timeout();
        }
    }
    let after = rig.now - start;
    assert!((600..640).contains(&after.as_secs()), "{after:?}");
    let error = rig.error(connect);
    assert_eq!(
        (error.code(), error.http_status_code()),
        ("HTTP_403", Some(403))
    );
    assert!(error.message().contains("10 minutes"), "{error}");
    assert_eq!(rig.machine.state(), State::Failed);
    assert!(took(&rig, Transition::T13));

    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    let start = rig.now;
    while rig.now - start < seconds(7200) {
        match rig.machine.link() {
            LinkState::Dialing => rig.dialed(Dialed::Refused(http(403, &json!("<html>")))),
            LinkState::Registering => drop(rig.reply(REGISTER, 409, &json!("<html>"))),
            _ => rig.next_timeout(),
        }
    }
    assert_eq!(
        rig.machine.state(),
        State::Reconnecting,
        "never once it has worked"
    );
}

#[test]
pub(super) fn t13_what_is_refused_for_other_reasons_in_between_does_not_count() {
    let mut rig = Rig::new();
    let connect = rig.connect_within(seconds(3600));
    rig.token_ok();
    let mut n = 0;
    while rig.now < seconds(1800) {
        if rig.machine.link() == LinkState::Registering {
            n += 1;
            let status = if n % 10 == 0 { 500 } else { 403 };
            rig.reply(REGISTER, status, &json!("<html>"));
        } else {
            rig.next_timeout();
        }
    }
    assert!(!rig.is_done(connect) && n > 40, "{n}");
}

#[test]
pub(super) fn t15_a_404_soon_after_a_registration_waits() {
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    rig.next_timeout();
    rig.dialed(Dialed::Refused(http(
        404,
        &json!({"code":"INSTANCE_NOT_FOUND"}),
    )));
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    assert!(took(&rig, Transition::T15) && !took(&rig, Transition::T14));
}

#[test]
pub(super) fn t16_a_redirect_waits_and_names_the_host() {
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    rig.next_timeout();
    rig.forget();
    let reply = HttpReply {
        location: Some("portal.example".to_owned()),
        ..http(302, &json!({}))
    };
    rig.dialed(Dialed::Refused(reply));
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    assert!(took(&rig, Transition::T16));
    let told = rig.events_of(EventKind::Backoff)[0]["message"].clone();
    assert!(
        told.as_str().unwrap().contains("to portal.example"),
        "{told}"
    );
    assert!(messages(&rig)[0].contains("to portal.example"));
    assert!(
        rig.dials.is_empty() && rig.requests.is_empty(),
        "never followed"
    );
}

#[test]
pub(super) fn t18_mistrust_is_told_once_for_each_cause_and_waits_up_to_5_minutes() {
    let mistrust = |text: &str| {
        Dialed::Failed(NetFailure {
            kind: ErrorKind::Tls,
            text: text.to_owned(),
        })
    };
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    rig.forget();
    let (mut dials, mut last, mut longest) = (0, rig.now, seconds(0));
    while rig.now < seconds(7200) {
        match rig.machine.link() {
            LinkState::Dialing => {
                dials += 1;
                let cause = ["expired", "unknown issuer"][dials % 2];
                rig.dialed(mistrust(cause));
                longest = longest.max(rig.now - last);
                last = rig.now;
            }
            LinkState::Registering => drop(rig.register_ok()),
            _ => rig.next_timeout(),
        }
    }
    assert!(took(&rig, Transition::T18));
    assert!(
        (seconds(240)..=seconds(605)).contains(&longest),
        "{longest:?}"
    );
    assert!((20..60).contains(&dials), "{dials} dials in 2 h");
    assert_eq!(messages(&rig).len(), 2, "{:?}", messages(&rig));
    until_dialing(&mut rig);
    rig.reach_ready();
    rig.broken();
    until_dialing(&mut rig);
    rig.forget();
    rig.dialed(mistrust("expired"));
    assert_eq!(messages(&rig).len(), 1, "after a link it is news again");
}

#[test]
pub(super) fn t20_the_third_failure_at_one_address_is_named() {
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    for failures in 0..3 {
        assert!(!took(&rig, Transition::T20), "after {failures} failures");
        rig.next_timeout();
        rig.dialed(Dialed::Failed(unreachable()));
    }
    assert!(took(&rig, Transition::T20));
    rig.next_timeout();
    assert_eq!(rig.machine.link(), LinkState::Registering);
}

#[test]
pub(super) fn t23_and_t24_dispatches_before_the_welcome_are_held_up_to_a_limit() {
    let mut rig = Rig::new();
    rig.connect();
    rig.token_ok();
    rig.register_ok();
    rig.dialed(Dialed::Open);
    for n in 0..16 {
        rig.echo(&format!("d{n}"));
    }
    assert!(took(&rig, Transition::T23) && !took(&rig, Transition::T24));
    assert_eq!(rig.machine.link(), LinkState::Handshaking);
    rig.echo("d16");
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    assert!(took(&rig, Transition::T24));
    assert_eq!(rig.aborts.len(), 1);

    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    rig.next_timeout();
    rig.dialed(Dialed::Open);
    rig.ended(&LinkEnd::Broken("reset".to_owned()));
    assert!(took(&rig, Transition::T24), "an end without a welcome");
}

#[test]
pub(super) fn t25_t34_t43_t48_and_t50_change_no_state_and_are_counted() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d1");
    rig.answer("d1", "1").unwrap();
    assert!(took(&rig, Transition::T25));

    rig.refresh_token(None);
    rig.token_ok();
    assert!(took(&rig, Transition::T34) && rig.machine.link() == LinkState::Ready);

    rig.forget();
    for _ in 0..3 {
        rig.text(r#"{"v":1,"type":"result_ack","id":"x","payload":{}}"#);
        rig.text(r#"{"v":2,"type":"dispatch","id":"y","payload":{}}"#);
        rig.text("not JSON");
    }
    for n in 0..100 {
        rig.text(&json!({"v":1,"type":format!("made-up-{n}"),"id":"x"}).to_string());
    }
    assert!(took(&rig, Transition::T48) && rig.machine.link() == LinkState::Ready);
    let said = messages(&rig);
    let of = |part: &str| said.iter().filter(|text| text.contains(part)).count();
    assert_eq!(
        (of("`result_ack`"), of("unknown version"), of("malformed")),
        (1, 1, 1),
        "{said:?}"
    );
    assert!(
        said.len() <= 16,
        "a peer that makes up types does not fill the log"
    );

    rig.echo("d2");
    let disconnect = rig.disconnect(seconds(5));
    assert!(took(&rig, Transition::T43) && rig.machine.link() == LinkState::Ready);
    rig.answer("d2", "1").unwrap();
    rig.stop();
    rig.ended(&LinkEnd::Closed {
        code: Some(1000),
        reason: String::new(),
    });
    rig.answer_request("/agents/deregister", &Reply::Http(http(200, &json!({}))));
    assert_eq!(rig.result(disconnect), Ok(Output::Nothing));
    assert!(!took(&rig, Transition::T50));
    let late = rig.re_register();
    assert_eq!(rig.error(late).code(), "CLOSED");
    assert!(took(&rig, Transition::T50));
    let spec = r#"{"name":"late","description":"d"}"#;
    let refused = rig.machine.define(Capability::parse(spec).unwrap());
    assert_eq!(refused.unwrap_err().code(), "CLOSED");
    assert_eq!(rig.machine.state(), State::Closed);
}
