//! What an outage costs: no result, no order, and never the connector itself
//! (`reliability.md` and R-17b).

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, http, millis, seconds, unreachable};
use super::trial::{PROTECTED, Without, every_seed, ready, rig};
use crate::error::ErrorKind;
use crate::machine::action::{Dialed, HttpReply, Output};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

/// Plays a mesh that is away until `until`, and counts the calls and dials that failed.
pub(super) fn away(rig: &mut Rig, until: Duration) -> usize {
    let mut attempts = 0;
    while rig.now < until {
        if rig.machine.link() == LinkState::Dialing {
            attempts += 1;
            rig.dialed(Dialed::Failed(unreachable()));
        } else if let Some(path) = rig.next_path() {
            attempts += 1;
            let failed = crate::machine::action::Reply::Failed(unreachable());
            rig.answer_request(path, &failed);
        } else {
            let due = rig.machine.poll_timeout().unwrap_or(until).min(until);
            rig.advance(due.saturating_sub(rig.now));
        }
    }
    attempts
}

/// The mesh is there: whatever the connector asks for, it gets; until the link is ready.
pub(super) fn back(rig: &mut Rig) {
    while rig.machine.link() != LinkState::Ready {
        match rig.next_path() {
            Some("/auth/get_token") => drop(rig.token_ok()),
            Some("/agents/register") => drop(rig.register_ok()),
            Some(path) => panic!("an unexpected call of {path}"),
            None if rig.machine.link() == LinkState::Dialing => rig.dialed(Dialed::Open),
            None if rig.machine.link() == LinkState::Handshaking => rig.welcome(),
            None => rig.next_timeout(),
        }
    }
}

/// What 500 handlers that finish during an outage of 20 s come to.
#[derive(Debug, PartialEq, Eq)]
struct Backlog {
    /// The ids in the order in which their results came over the next connection.
    delivered: Vec<String>,
    finished: Vec<String>,
    /// The kinds of what came before the first of them.
    before: Vec<String>,
    /// What stood between them.
    between: usize,
    took: Duration,
    second_runs: usize,
}

fn backlog(draining: bool, without: Without) -> Backlog {
    let changes = json!({"max_in_flight": 600, "max_pending_dispatches": 600});
    let mut rig = ready(&changes, 5, without);
    for n in 0..500 {
        rig.echo(&format!("d{n}"));
    }
    rig.broken();
    let down = rig.now;
    if draining {
        rig.disconnect(seconds(300));
    }
    let mut finished = Vec::new();
    let mut order: Vec<_> = (0..500).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut order);
    for n in order {
        away(
            &mut rig,
            down + millis(40) * u32::try_from(finished.len()).unwrap(),
        );
        let id = format!("d{n}");
        rig.answer(&id, "[1]").unwrap();
        finished.push(id);
    }
    away(&mut rig, down + seconds(20));
    rig.forget();
    back(&mut rig);
    let welcomed = rig.now;
    rig.echo("new");
    let _ = rig.answer("new", "[2]");
    rig.pong();
    let took = rig.now - welcomed;
    let frames = rig.frames();
    let id_of = |frame: &Value| frame["in_reply_to"].as_str().unwrap_or("-").to_owned();
    let old = |frame: &&Value| id_of(frame).starts_with('d');
    let first = frames.iter().position(|f| old(&f)).unwrap_or(frames.len());
    let last = frames.iter().rposition(|f| old(&f)).unwrap_or(first);
    let delivered: Vec<_> = frames.iter().filter(old).map(id_of).collect();
    Backlog {
        before: frames[..first]
            .iter()
            .map(|frame| frame["type"].as_str().unwrap_or_default().to_owned())
            .collect(),
        between: (last + 1).saturating_sub(first + delivered.len()),
        delivered,
        finished,
        took,
        second_runs: rig.delivered.len() - 500 - usize::from(!draining),
    }
}

#[test]
fn r_03_500_results_of_an_outage_go_first_in_the_order_of_their_end() {
    for (draining, before) in [(false, &["hello"][..]), (true, &["hello", "heartbeat"])] {
        let seen = backlog(draining, PROTECTED);
        assert_eq!(seen.delivered, seen.finished);
        assert_eq!((seen.between, seen.second_runs), (0, 0));
        assert_eq!(seen.before, before, "draining: {draining}");
        assert_eq!(seen.took, Duration::ZERO, "in the step of the welcome");
    }
}

#[test]
fn r_03_fails_without_the_outbox() {
    let seen = backlog(false, |p| p.outbox = false);
    assert!(seen.delivered.is_empty(), "{:?}", seen.delivered.len());
}

#[test]
fn r_03_a_result_is_dropped_only_past_its_deadline_and_its_grace_and_with_an_event() {
    for (outage, kept) in [(64_999, 500), (65_000, 0)] {
        let changes = json!({"max_in_flight": 600, "max_pending_dispatches": 600});
        let mut rig = ready(&changes, 6, PROTECTED);
        for n in 0..500 {
            rig.echo(&format!("d{n}"));
        }
        rig.broken();
        for n in 0..500 {
            rig.answer(&format!("d{n}"), "1").unwrap();
        }
        rig.events.clear();
        away(&mut rig, millis(outage));
        assert_eq!(rig.machine.snapshot(rig.now())["outbox_items"], kept);
        let dropped = rig.events_of(EventKind::ResultDropped);
        assert_eq!(dropped.len(), 500 - kept);
        assert!(dropped.iter().all(|event| event["reason"] == "expired"));
    }
}

// ---- R-15 ----

/// How a connector meets a `connect_url` whose host is 503 for ever.
#[derive(Debug)]
struct Stale {
    dials: usize,
    registered_after: Duration,
}

fn stale(seed: u64, refused: &HttpReply) -> Stale {
    let mut rig = ready(&json!({}), seed, PROTECTED);
    rig.broken();
    let since = rig.now;
    let mut dials = 0;
    loop {
        match rig.machine.link() {
            LinkState::Registering => break,
            LinkState::Dialing => {
                dials += 1;
                rig.dialed(Dialed::Refused(refused.clone()));
            }
            _ => rig.next_timeout(),
        }
    }
    let registered_after = rig.now - since;
    let fresh = "wss://mesh.test/agents/connect?node=2";
    let body = json!({"ok": true, "connect_url": fresh});
    rig.reply("/agents/register", 200, &body);
    let next = rig.dials.last().expect("a dial");
    assert!(next.url.as_str().contains("node=2"), "{}", next.url);
    rig.dialed(Dialed::Open);
    rig.welcome();
    assert_eq!(rig.machine.state(), State::Connected);
    Stale {
        dials,
        registered_after,
    }
}

#[test]
fn r_15_after_three_failed_dials_a_fresh_url_is_asked_for() {
    let refused = http(503, &json!({}));
    let seen = every_seed(200, |seed| stale(seed, &refused));
    let longest = seen.iter().map(|s| s.registered_after).max().unwrap();
    println!("the longest on a dead address: {longest:?}");
    assert!(seen.iter().all(|s| s.dials == 3), "{seen:?}");
    assert!(longest <= seconds(120), "{longest:?}");
}

#[test]
fn r_15_holds_when_the_dead_host_asks_for_patience() {
    for wait in [5, 20] {
        let refused = HttpReply {
            retry_after: Some(seconds(wait)),
            ..http(503, &json!({}))
        };
        let seen = every_seed(50, |seed| stale(seed, &refused));
        let longest = seen.iter().map(|s| s.registered_after).max().unwrap();
        assert!(longest <= seconds(120), "{wait}: {longest:?}");
    }
}

// ---- R-17 ----

/// How long after the return of a mesh that was away for 7 days the link is ready.
fn after_a_week(seed: u64) -> Duration {
    const WEEK: Duration = Duration::from_hours(7 * 24);
    let mut rig = ready(&json!({}), seed, PROTECTED);
    rig.broken();
    let returns = rig.now + WEEK + millis(fastrand::Rng::with_seed(seed).u64(0..60_000));
    let attempts = away(&mut rig, returns);
    // A window of 30 s each, for a week.
    assert!(attempts > 20_000, "it went on: {attempts}");
    assert!(rig.events_of(EventKind::Failed).is_empty());
    back(&mut rig);
    rig.now - returns
}

#[test]
fn r_17_after_7_days_without_a_mesh_the_link_is_ready_within_62_s_of_its_return() {
    let longest = every_seed(4, after_a_week).into_iter().max().unwrap();
    println!("ready after {longest:?}");
    assert!(longest <= seconds(62), "{longest:?}");
}

// ---- R-17b ----

fn late(fail_fast: bool, patience: Duration) -> (Rig, u64) {
    let mut rig = rig(&json!({"fail_fast": fail_fast}), 8, PROTECTED);
    let connect = rig.connect_within(patience);
    (rig, connect)
}

#[test]
fn r_17b_a_gateway_that_starts_10_min_late_is_waited_for() {
    let (mut rig, connect) = late(false, seconds(900));
    away(&mut rig, seconds(600));
    assert!(!rig.is_done(connect));
    back(&mut rig);
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
    assert!(rig.now <= seconds(662), "{:?}", rig.now);
}

#[test]
fn r_17b_unless_the_patience_or_the_caller_says_otherwise() {
    let (mut rig, connect) = late(false, seconds(30));
    away(&mut rig, seconds(31));
    let error = rig.error(connect);
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert_eq!(rig.machine.state(), State::Idle);

    let (mut rig, connect) = late(true, seconds(900));
    away(&mut rig, millis(1));
    let error = rig.error(connect);
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert_eq!(rig.machine.state(), State::Idle, "it can be tried again");
    // Later losses are made good all the same.
    let connect = rig.connect();
    back(&mut rig);
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
    rig.broken();
    away(&mut rig, seconds(600));
    back(&mut rig);
}
