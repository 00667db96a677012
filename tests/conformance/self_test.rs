//! The runner itself: for every kind of expectation, a wrong one must be noticed.

use std::process::Command;

use serde_json::{Value, json};

use crate::compiler;
use crate::expectation::Expectation;
use crate::face::{FACES, Face};
use crate::interpreter;
use crate::judge;
use crate::play::play;
use crate::scenario;

/// A run that is as it should be, with the wrong expectations judged over the same outcome.
#[test]
fn every_kind_of_wrong_expectation_is_noticed() {
    let scenario = scenario::read("full_circle").expect("it is there");
    let played = play(&scenario, &FACES[0], "callbacks");
    assert_eq!(played.complaint(), None);
    let ledger = json!([{"id": "d1"}]);
    let judged = |mut expected: Value| {
        if expected["ledger"].is_null() {
            expected["ledger"] = ledger.clone();
        }
        let expected: Expectation = serde_json::from_value(expected).expect("an expectation");
        judge::all(&expected, &played.outcome)
    };
    assert_eq!(
        judged(json!({})),
        [""; 0],
        "nothing but the dispatch is asked for"
    );
    for (kind, wrong) in [
        ("ledger", json!({"ledger": []})),
        ("ledger", json!({"ledger": [{"id": "d1"}, {"id": "d2"}]})),
        ("ledger", json!({"ledger": [{"id": "d1", "answers": 2}]})),
        ("ledger", json!({"ledger": [{"id": "d1", "starts": 2}]})),
        ("ledger", json!({"ledger": [{"id": "d1", "ends": [7]}]})),
        (
            "ledger",
            json!({"ledger": [{"id": "d1", "answer": {"result": {"n": 8}}}]}),
        ),
        (
            "ledger",
            json!({"ledger": [{"id": "d1", "answer": {"error": {"$any": true}}}]}),
        ),
        ("events", json!({"events": [{"event": "superseded"}]})),
        (
            "events",
            json!({"events": [{"event": "connected", "data": {"resumed": true}}]}),
        ),
        (
            "events",
            json!({"events": [{"event": "disconnected"}, {"event": "connected"}]}),
        ),
        (
            "events",
            json!({"events": [{"type": "leave"}, {"event": "connected"}]}),
        ),
        ("no_events", json!({"no_events": [{"event": "connected"}]})),
        (
            "frames",
            json!({"frames": [{"frame": {"type": "dispatch_result"}}, {"frame": {"type": "hello"}}]}),
        ),
        (
            "requests",
            json!({"requests": [{"match": {"path": "/agents/register"}, "count": 2}]}),
        ),
        ("agent", json!({"agent": {"registrations": 2}})),
        (
            "violations",
            json!({"violations": [{"$contains": "hello"}]}),
        ),
        ("exit", json!({"exit": 1})),
    ] {
        let failures = judged(wrong.clone());
        assert_eq!(failures.len(), 1, "{wrong}: {failures:?}");
        assert!(failures[0].starts_with(kind), "{wrong}: {failures:?}");
    }
}

/// What the runner holds against every run, put into the outcome of a good one.
#[test]
fn every_broken_invariant_is_noticed() {
    let scenario = scenario::read("full_circle").expect("it is there");
    let again = || {
        let played = play(&scenario, &FACES[0], "pull");
        assert_eq!(played.complaint(), None);
        played.outcome
    };
    let judged = |outcome| judge::all(&scenario.expect, &outcome);
    for line in [
        json!({"type": "start", "request": {"dispatch_id": "d9"}}),
        json!({"type": "not_json", "text": "?"}),
        json!({"type": "misnamed"}),
        json!({"type": "event", "event": "disconnected"}),
        json!({"type": "event", "event": "state", "data": {"state": "x", "previous": "y"}}),
        json!({"type": "late", "dispatch_id": "d1", "status": 0}),
    ] {
        let mut outcome = again();
        outcome.observations.extend([line.clone(), line.clone()]);
        let failures = judged(outcome);
        assert!(!failures.is_empty(), "{line}");
        assert!(
            failures
                .iter()
                .all(|failure| failure.starts_with("invariants")),
            "{failures:?}"
        );
    }
    let mut outcome = again();
    let mut copy = outcome.ledger[0].answers[0].clone();
    copy.text.push(' ');
    outcome.ledger[0].answers.push(copy);
    assert!(
        judged(outcome)
            .iter()
            .any(|failure| failure.contains("(I2)"))
    );
    let mut outcome = again();
    outcome.script.steps = 1;
    assert_eq!(judged(outcome), ["script: 0 of its 1 steps were done"]);
    let mut outcome = again();
    outcome.script.without_effect.push(2);
    assert_eq!(judged(outcome), ["script: step 2 found nothing to act on"]);
    let mut outcome = again();
    outcome.violations.push("a frame before hello".to_owned());
    assert_eq!(judged(outcome), ["violations: a frame before hello"]);
}

/// What never comes ends the run at its limit, with the reason, and leaves no process behind.
#[test]
fn a_scenario_that_waits_in_vain_fails_at_its_limit() {
    let text = json!({
        "name": "in_vain", "about": "nothing comes", "proves": ["R-17"], "limit_s": 1,
        "steps": [{"after": {"event": "superseded"}, "say": "re_register"}],
        "expect": {"events": [{"event": "failed"}]},
    });
    let scenario = scenario::parse(&text.to_string()).expect("a scenario");
    let failures = play(&scenario, &FACES[0], "callbacks").failures;
    for part in ["within 1 s", "a step never fell due", "events: number 1"] {
        assert!(
            failures.iter().any(|failure| failure.contains(part)),
            "{part}: {failures:?}"
        );
    }
}

/// A driver that cannot start is a failure with its own words, at once and not at the limit.
#[test]
fn a_driver_that_fails_is_a_failure() {
    let text = json!({
        "name": "refused", "about": "no such key", "proves": ["R-17"], "limit_s": 600,
        "config": {"no_such_key": 1}, "expect": {"events": [{"event": "connected"}]},
    });
    let scenario = scenario::parse(&text.to_string()).expect("a scenario");
    let played = play(&scenario, &FACES[0], "callbacks");
    assert!(
        played
            .failures
            .iter()
            .any(|failure| failure.starts_with("exit: Some(1)"))
    );
    let complaint = played.complaint().expect("it failed");
    for part in [
        "no_such_key",
        "the driver ended before everything expected was seen",
    ] {
        assert!(complaint.contains(part), "{part}: {complaint}");
    }
}

/// A face that this machine has nothing to run with is a failure that says what to install, and no skip.
#[test]
fn a_face_whose_interpreter_is_missing_is_a_failure() {
    let python = Face {
        name: "python",
        deliveries: &["sync"],
        command: || {
            let missing = Some("/nowhere/python3".to_owned());
            interpreter::PYTHON.usable(missing).map(Command::new)
        },
    };
    let node = Face {
        name: "node",
        deliveries: &["promises"],
        command: || {
            let missing = Some("/nowhere/node".to_owned());
            interpreter::NODE.usable(missing).map(Command::new)
        },
    };
    let scenario = scenario::read("full_circle").expect("it is there");
    for (face, path, variable, oldest) in [
        (python, "/nowhere/python3", "SVANTIC_PYTHON", "Python 3.9"),
        (node, "/nowhere/node", "SVANTIC_NODE", "Node.js 20"),
    ] {
        let delivery = face.deliveries[0];
        let complaint = play(&scenario, &face, delivery).complaint();
        let complaint = complaint.expect("it failed");
        let title = format!("full_circle on {} with {delivery}", face.name);
        for part in [&title, path, variable, oldest] {
            assert!(complaint.contains(part), "{part}: {complaint}");
        }
    }
}

/// An interpreter that is there and is none of ours is named too: here one that always fails.
#[test]
fn an_interpreter_that_is_too_old_is_refused() {
    for (interpreter, named) in [
        (interpreter::PYTHON, "\"false\" is not Python 3.9 or newer"),
        (interpreter::NODE, "\"false\" is not Node.js 20 or newer"),
    ] {
        let refused = interpreter.usable(Some("false".to_owned()));
        let refused = refused.expect_err("it is none of ours");
        assert!(refused.contains(named), "{refused}");
    }
}

/// As it is after `git clone`.
#[test]
fn a_node_package_that_is_not_built_is_a_failure_that_says_how() {
    let unbuilt = compiler::root().join("conformance/node");
    let refused = interpreter::built_package(&unbuilt).expect_err("nothing is built there");
    for part in [
        "conformance/node",
        "cargo xtask test node",
        "npm ci && npm run build",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
}

#[test]
fn a_scenario_with_a_mistake_in_it_is_not_run() {
    let good = json!({"name": "n", "about": "a", "proves": ["R-01"], "expect": {}});
    assert!(scenario::parse(&good.to_string()).is_ok());
    for mistake in [
        json!({"proves": []}),
        json!({"handler": {}}),
        json!({"handlers": {"h": {"kind": "ekko"}}}),
        json!({"expect": {"event": []}}),
        json!({"steps": [{"after": {}, "do": "reset"}]}),
        json!({"gateway": {"faults": {"stall": "nowhere"}}}),
        json!({"gateway": {"token_ttl": -1}}),
        json!({"script": [{"on": "wellcome", "do": "rst"}]}),
        json!({"end": "sigkill"}),
    ] {
        let mut bad = good.clone();
        for (key, value) in mistake.as_object().expect("an object") {
            bad[key] = value.clone();
        }
        assert!(scenario::parse(&bad.to_string()).is_err(), "{mistake}");
    }
}
