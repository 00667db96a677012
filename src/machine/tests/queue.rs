//! Dispatches behind the limit: they wait, within bounds, and are answered exactly once (`reliability.md` R-28).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, millis, seconds};
use crate::error::ErrorKind;
use crate::machine::event::EventKind;
use crate::machine::inbox::Known;

/// A rig with so many slots, past its first heartbeats.
fn rig(slots: usize) -> Rig {
    let mut rig = Rig::ready(&json!({"max_in_flight": slots}));
    rig.advance_alive(seconds(10));
    rig.forget();
    rig
}

fn delivered(rig: &Rig) -> Vec<&str> {
    let ids = rig.delivered.iter().map(|dispatch| &*dispatch.id);
    ids.collect()
}

/// The answers among the frames since the last look: the id, and the error's code.
fn answers(rig: &mut Rig) -> Vec<(String, Option<String>)> {
    let frames = rig.frames();
    let answers = frames.iter().filter_map(|frame| {
        let id = frame["in_reply_to"].as_str()?.to_owned();
        let code = frame["payload"]["code"].as_str();
        Some((id, code.map(ToOwned::to_owned)))
    });
    answers.collect()
}

/// The messages of the errors that were sent since the last look.
fn errors(rig: &mut Rig) -> Vec<Value> {
    let frames = rig.frames().into_iter();
    let errors = frames.filter(|frame| frame["type"] == "error");
    errors.map(|frame| frame["payload"].clone()).collect()
}

/// R-28 as it stands there.
#[test]
fn a_burst_of_10000_runs_16_at_once_queues_64_and_answers_every_one_once() {
    const HANDLER: Duration = millis(200);
    let mut rig = rig(16);
    let mut handlers: VecDeque<(Duration, String)> = VecDeque::new();
    let mut ledger: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    let (mut seen, mut high_water, mut queued) = (0, 0, 0);
    let mut statuses: Vec<String> = Vec::new();
    let begin = rig.now;
    for n in 0..20_000 {
        rig.advance((begin + Duration::from_micros(n * 100)).saturating_sub(rig.now));
        while handlers.front().is_some_and(|(due, _)| *due <= rig.now) {
            let (_, id) = handlers.pop_front().unwrap();
            rig.answer(&id, "1").unwrap();
        }
        let id = format!("d{n:05}");
        if n < 10_000 {
            rig.echo(&id);
        }
        for dispatch in &rig.delivered[seen..] {
            handlers.push_back((rig.now + HANDLER, dispatch.id.to_string()));
        }
        seen = rig.delivered.len();
        let waits = rig.machine.queue.len();
        (high_water, queued) = (high_water.max(handlers.len()), queued.max(waits));
        let mut refused = false;
        for frame in rig.frames() {
            if let Some(of) = frame["in_reply_to"].as_str() {
                let code = frame["payload"]["code"].as_str().map(ToOwned::to_owned);
                refused |= of == id && code.is_some();
                ledger.entry(of.to_owned()).or_default().push(code);
            } else if frame["type"] == "heartbeat" {
                statuses.push(frame["payload"]["status"].as_str().unwrap().to_owned());
            }
        }
        let taken = matches!(
            rig.machine.inbox.look_up(&id),
            Known::Running | Known::Queued
        );
        assert!(n >= 10_000 || taken || refused, "{id} is refused at once");
        rig.pong();
    }
    assert_eq!((high_water, queued), (16, 64));
    assert_eq!(ledger.len(), 10_000);
    assert!(ledger.values().all(|answers| answers.len() == 1));
    let refusals = ledger.values().flatten().flatten();
    assert!(refusals.clone().all(|code| code == "AGENT_OVERLOADED"));
    assert_eq!(seen + refusals.count(), 10_000);
    // 16 each 200 ms for a second, and then what waited.
    assert_eq!(seen, 5 * 16 + 64);
    assert!(delivered(&rig).is_sorted(), "first in, first out");
    statuses.dedup();
    assert_eq!(statuses, ["busy", "available"], "and no flapping");
    assert_eq!(rig.machine.queue.bytes(), 0);
}

#[test]
fn whatever_ends_a_dispatch_starts_the_next() {
    let mut rig = rig(1);
    for id in ["a", "b", "c", "d"] {
        rig.echo(id);
    }
    assert_eq!(delivered(&rig), ["a"]);
    rig.answer("a", "1").unwrap();
    assert_eq!(delivered(&rig), ["a", "b"]);
    rig.answer_error("b", "HANDLER_ERROR", "no").unwrap();
    assert_eq!(delivered(&rig), ["a", "b", "c"]);
    // A result that is too large is an answer too.
    let large = format!("\"{}\"", "x".repeat(5 << 20));
    rig.answer("c", &large).unwrap_err();
    assert_eq!(delivered(&rig), ["a", "b", "c", "d"]);
    assert_eq!(answers(&mut rig).len(), 3);
}

#[test]
fn a_deadline_that_passes_for_one_that_runs_starts_the_next_but_not_one_that_is_overdue_too() {
    let mut rig = rig(1);
    rig.echo("runs");
    rig.echo("as old");
    rig.advance_alive(seconds(30));
    rig.echo("younger");
    rig.forget();
    rig.advance_alive(seconds(30));
    assert_eq!(delivered(&rig), ["runs", "younger"]);
    assert_eq!(
        errors(&mut rig),
        [
            json!({"code":"HANDLER_ERROR","message":"capability \"echo\" failed: no answer within 60000 ms"}),
            json!({"code":"AGENT_OVERLOADED","message":"no slot became free within 60000 ms: the dispatch never started"}),
        ]
    );
    assert_eq!(
        rig.events_of(EventKind::DispatchCancelled),
        [&json!({"dispatch_id":"runs","reason":"deadline"})]
    );
    assert_eq!(
        rig.events_of(EventKind::DispatchRefused),
        [&json!({"dispatch_id":"as old","code":"AGENT_OVERLOADED"})]
    );
    rig.answer("younger", "1").unwrap();
}

#[test]
fn one_that_is_overdue_in_the_queue_is_never_delivered_however_late_the_timer() {
    let mut rig = rig(1);
    rig.echo("runs");
    rig.advance_alive(seconds(1));
    rig.echo("waits");
    rig.forget();
    // Nobody drives the machine, and the answer comes before the timer.
    rig.now += seconds(70);
    rig.answer("runs", "1").unwrap();
    assert_eq!(delivered(&rig), ["runs"]);
    let of: Vec<_> = answers(&mut rig).into_iter().map(|(id, _)| id).collect();
    assert_eq!(of, ["runs", "waits"]);
    rig.advance(Duration::ZERO);
    assert!(answers(&mut rig).is_empty());
}

#[test]
fn one_that_waits_is_known_but_nobody_can_answer_it() {
    let mut rig = rig(1);
    rig.echo("a");
    rig.echo("b");
    rig.echo("b");
    assert_eq!(
        rig.answer("b", "1").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    rig.answer("a", "1").unwrap();
    rig.echo("b");
    assert_eq!(delivered(&rig), ["a", "b"], "once");
    rig.answer("b", "1").unwrap();
    rig.advance_alive(seconds(1));
    rig.echo("b");
    let of: Vec<_> = answers(&mut rig).into_iter().map(|(id, _)| id).collect();
    assert_eq!(of, ["a", "b", "b"]);
    let counters = &rig.machine.snapshot(rig.now())["counters"];
    assert_eq!(counters["duplicates"], 3);
    assert_eq!(
        counters["duplicates_by_phase"],
        json!({"queued": 1, "running": 1, "answered": 1})
    );
}

#[test]
fn what_waits_survives_the_connection() {
    let mut rig = rig(1);
    rig.echo("a");
    rig.echo("b");
    rig.broken();
    rig.answer("a", "1").unwrap();
    assert_eq!(delivered(&rig), ["a", "b"]);
    rig.next_timeout();
    rig.reach_ready();
    rig.answer("b", "1").unwrap();
    rig.pong();
    let of: Vec<_> = answers(&mut rig).into_iter().map(|(id, _)| id).collect();
    assert_eq!(of, ["a", "b"]);
}

#[test]
fn when_draining_begins_nothing_is_started_any_more() {
    let mut rig = rig(1);
    for id in ["a", "b", "c"] {
        rig.echo(id);
    }
    rig.forget();
    let disconnect = rig.disconnect(seconds(30));
    let frames = rig.frames();
    assert_eq!(frames[0]["payload"]["status"], "draining", "told first");
    let refused: Vec<_> = frames[1..]
        .iter()
        .map(|frame| (&frame["in_reply_to"], &frame["payload"]["code"]))
        .collect();
    let shutdown = json!("AGENT_SHUTDOWN");
    assert_eq!(
        refused,
        [(&json!("b"), &shutdown), (&json!("c"), &shutdown)]
    );
    assert_eq!(rig.events_of(EventKind::Draining)[0]["in_flight"], 1);
    rig.pong();
    rig.answer("a", "1").unwrap();
    rig.advance_alive(seconds(1));
    assert_eq!(delivered(&rig), ["a"]);
    rig.closed(1000);
    rig.reply("/agents/deregister", 200, &json!({}));
    rig.result(disconnect).unwrap();
}

#[test]
fn a_stop_answers_what_waits_like_what_runs() {
    let mut rig = rig(1);
    rig.echo("a");
    rig.echo("b");
    rig.stop();
    let shutdown = Some("AGENT_SHUTDOWN".to_owned());
    assert_eq!(
        answers(&mut rig),
        [
            ("b".to_owned(), shutdown.clone()),
            ("a".to_owned(), shutdown)
        ]
    );
    assert_eq!(delivered(&rig), ["a"]);
    assert_eq!(rig.order.last().unwrap(), "close");
}

#[test]
fn an_agent_that_fails_for_good_tells_the_application_of_what_waited() {
    let mut rig = Rig::ready(&json!({"max_in_flight": 1, "auto_reconnect": false}));
    rig.echo("a");
    rig.echo("b");
    rig.broken();
    assert_eq!(
        rig.events_of(EventKind::DispatchRefused),
        [&json!({"dispatch_id":"b","code":"AGENT_SHUTDOWN"})]
    );
    assert_eq!(rig.machine.queue.len(), 0);
    assert_eq!(delivered(&rig), ["a"]);
}

#[test]
fn the_number_that_may_wait_is_the_callers() {
    let mut rig = Rig::ready(&json!({"max_in_flight": 1, "max_queued_dispatches": 2}));
    for id in ["a", "b", "c", "d"] {
        rig.echo(id);
    }
    assert_eq!(
        errors(&mut rig),
        [json!({"code":"AGENT_OVERLOADED","message":"1 dispatches are running and 2 wait"})]
    );
}

#[test]
fn requests_wait_up_to_64_mib() {
    let mut rig = rig(1);
    rig.echo("runs");
    let blob = "x".repeat((4 << 20) - 200);
    for n in 0..17 {
        let args = json!({"skill_id":"echo","args":{"blob": blob}});
        rig.dispatch(&format!("d{n}"), &args);
        assert!(rig.machine.queue.bytes() <= 64 << 20);
    }
    let refused = answers(&mut rig);
    assert_eq!(refused.len(), 1, "the one that is too much");
    assert_eq!(refused[0].0, "d16");
    rig.echo("small");
    assert!(answers(&mut rig).is_empty(), "a small one still fits");
}
