//! What ends a connector for good, and what never does (`reliability.md` R-17).

use serde_json::json;

use super::outage::{away, back};
use super::rig::{CONNECT_URL, Rig, http, seconds};
use super::trial::{PROTECTED, on_its_way, rig};
use crate::machine::action::{Dialed, Output};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

/// One cause that ends a connector for good, from a connector that is on the way to its link.
type Cause = (&'static str, fn(&mut Rig));

fn refused(rig: &mut Rig, path: &'static str, status: u16) {
    rig.reply(path, status, &json!({"code": "NOT_ALLOWED"}));
}

fn until_dialing(rig: &mut Rig) {
    if rig.machine.link() == LinkState::Authenticating {
        rig.token_ok();
    }
    if rig.machine.link() == LinkState::Registering {
        rig.register_ok();
    }
}

fn close_again(rig: &mut Rig, code: u16) {
    until_dialing(rig);
    rig.dialed(Dialed::Open);
    rig.welcome();
    rig.closed(code);
    while rig.machine.state() != State::Failed {
        if on_its_way(rig) {
            rig.reach_ready();
            rig.closed(code);
        } else {
            rig.next_timeout();
        }
    }
}

const CAUSES: &[Cause] = &[
    ("T5: the token endpoint refuses the request", |rig| {
        refused(rig, "/auth/get_token", 400);
    }),
    ("T9: a foreign connect_url", |rig| {
        rig.token_ok();
        let body = json!({"ok": true, "connect_url": "wss://elsewhere.test/agents/connect"});
        rig.reply("/agents/register", 200, &body);
    }),
    ("T12: 400 from the registration", |rig| {
        rig.token_ok();
        refused(rig, "/agents/register", 400);
    }),
    ("T12: 403 from the registration", |rig| {
        rig.token_ok();
        refused(rig, "/agents/register", 403);
    }),
    ("T12: 409 from the registration", |rig| {
        rig.token_ok();
        refused(rig, "/agents/register", 409);
    }),
    ("T12: 403 from the upgrade", |rig| {
        until_dialing(rig);
        rig.dialed(Dialed::Refused(http(403, &json!({"code": "NOT_ALLOWED"}))));
    }),
    ("T19: three answers without our subprotocol", |rig| {
        for n in 0..3 {
            while rig.machine.link() != LinkState::Dialing {
                if on_its_way(rig) {
                    until_dialing(rig);
                } else {
                    rig.next_timeout();
                }
            }
            rig.dialed(Dialed::WrongSubprotocol(Some(format!("other {n}"))));
        }
    }),
    ("T33: three closes over the protocol", |rig| {
        close_again(rig, 4400);
    }),
    ("T42: the second supersession", |rig| {
        close_again(rig, 4409);
    }),
];

/// A connector that was up, and lost its link, its registration and its token.
fn starts_over() -> Rig {
    let mut rig = rig(&json!({}), 9, PROTECTED);
    rig.token_lifetime_s = 3600;
    rig.connect();
    rig.reach_ready();
    rig.broken();
    away(&mut rig, seconds(7200));
    while rig.machine.link() != LinkState::Authenticating {
        rig.next_timeout();
    }
    rig.events.clear();
    rig
}

#[test]
fn r_17_each_terminal_cause_is_told_once_and_ends_every_operation() {
    for (name, bring) in CAUSES {
        // On the first connect.
        let mut first = rig(&json!({}), 9, PROTECTED);
        let connect = first.connect_within(seconds(600));
        bring(&mut first);
        assert_told_once(name, &first);
        if !name.starts_with("T33") && !name.starts_with("T42") {
            let error = first.error(connect);
            assert_eq!(
                error.to_json(),
                *first.events_of(EventKind::Failed)[0],
                "{name}"
            );
        }

        // And long after it, with operations that wait.
        let mut later = starts_over();
        let announced = later.re_register();
        let refreshed = later.refresh_token(None);
        bring(&mut later);
        assert_told_once(name, &later);
        let told = later.events_of(EventKind::Failed)[0].clone();
        // What the mesh took before the end came is done.
        let no_token = name.starts_with("T5");
        let not_registered = no_token || name.starts_with("T9") || name.contains("registration");
        for (id, waits) in [(announced, not_registered), (refreshed, no_token)] {
            let ended = later.result(id).map_err(|error| error.to_json());
            let expected = if waits {
                Err(told.clone())
            } else {
                Ok(Output::Nothing)
            };
            assert_eq!(ended, expected, "{name}");
        }
    }
}

fn assert_told_once(name: &str, rig: &Rig) {
    assert_eq!(rig.machine.state(), State::Failed, "{name}");
    assert_eq!(rig.events_of(EventKind::Failed).len(), 1, "{name}");
    assert!(rig.machine.poll_timeout().is_none(), "{name}");
}

#[test]
fn r_17_what_a_proxy_or_an_overloaded_mesh_says_is_never_terminal() {
    for status in [
        400, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504, 302, 200,
    ] {
        let mut rig = starts_over();
        // An hour of it, at every step in turn.
        let until = rig.now + seconds(3600);
        let mut refusals = 0;
        while rig.now < until {
            refusals += 1;
            match rig.next_path() {
                Some("/auth/get_token") if refusals % 3 == 0 => drop(rig.token_ok()),
                Some("/agents/register") if refusals % 3 == 1 => {
                    rig.reply(
                        "/agents/register",
                        200,
                        &json!({"ok": true, "connect_url": CONNECT_URL}),
                    );
                }
                Some(path) => drop(rig.reply(path, status, &json!("<html>"))),
                None if rig.machine.link() == LinkState::Dialing => {
                    rig.dialed(Dialed::Refused(http(status, &json!("<html>"))));
                }
                None => rig.next_timeout(),
            }
        }
        assert!(rig.events_of(EventKind::Failed).is_empty(), "{status}");
        back(&mut rig);
    }
}
