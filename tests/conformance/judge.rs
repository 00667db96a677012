//! Compares what was seen with what is expected.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use svantic_gateway::{Answer, LedgerEntry, ReceivedAnswer};

use crate::expectation::Expectation;
use crate::pattern::{differences, matches};
use crate::play::Outcome;

/// Everything that is wrong in the end.
pub(crate) fn all(expected: &Expectation, seen: &Outcome) -> Vec<String> {
    let mut failures = seen.mishaps.clone();
    let lines = of_driver(seen);
    failures.extend(ledger(expected, seen));
    failures.extend(unexpected_dispatches(expected, seen));
    failures.extend(in_order("events", &expected.events, &lines));
    failures.extend(in_order(
        "frames",
        &expected.frames,
        &of_type(seen, "frame"),
    ));
    for pattern in &expected.no_events {
        for line in lines.iter().filter(|line| matches(pattern, line)) {
            failures.push(format!(
                "no_events: {pattern} must not be seen, but {line} was"
            ));
        }
    }
    for request in &expected.requests {
        let count = of_type(seen, "request")
            .iter()
            .filter(|one| matches(&request.pattern, one))
            .count();
        if !matches(&request.count, &count.into()) {
            let wanted = &request.count;
            failures.push(format!(
                "requests: {count} and not {wanted} are like {}",
                request.pattern
            ));
        }
    }
    if let Some(pattern) = &expected.agent {
        let different = differences(pattern, &json!(seen.agent));
        failures.extend(
            different
                .into_iter()
                .map(|difference| format!("agent: {difference}")),
        );
    }
    failures.extend(violations(expected, seen));
    failures.extend(script(seen));
    for number in &seen.script.without_effect {
        failures.push(format!("script: step {number} found nothing to act on"));
    }
    if seen.exit.is_some_and(|code| code != expected.exit) {
        failures.push(format!("exit: {:?} and not {}", seen.exit, expected.exit));
    }
    failures.extend(invariants(seen, &lines));
    failures
}

/// What is still missing while the driver runs. Only what can but come belongs here.
pub(crate) fn before_the_end(expected: &Expectation, seen: &Outcome) -> Vec<String> {
    let until_the_end = expected
        .events
        .iter()
        .take_while(|pattern| pattern["type"] != "leave");
    let events: Vec<Value> = until_the_end.cloned().collect();
    let missing = in_order("events", &events, &of_driver(seen));
    let missing = missing.into_iter().chain(ledger(expected, seen));
    missing.chain(script(seen)).collect()
}

fn script(seen: &Outcome) -> Option<String> {
    let (done, steps) = (seen.script.done, seen.script.steps);
    (done < steps).then(|| format!("script: {done} of its {steps} steps were done"))
}

fn of_type<'a>(seen: &'a Outcome, kind: &str) -> Vec<&'a Value> {
    seen.observations
        .iter()
        .filter(|one| one["type"] == kind)
        .collect()
}

fn of_driver(seen: &Outcome) -> Vec<&Value> {
    let gateway = ["request", "frame"];
    let by_driver = |one: &&Value| {
        one["type"]
            .as_str()
            .is_none_or(|kind| !gateway.contains(&kind))
    };
    seen.observations.iter().filter(by_driver).collect()
}

fn in_order(what: &str, patterns: &[Value], lines: &[&Value]) -> Option<String> {
    let mut rest = lines.iter();
    for (number, pattern) in patterns.iter().enumerate() {
        if !rest.any(|line| matches(pattern, line)) {
            let number = number + 1;
            let before = match number {
                1 => String::new(),
                _ => format!(" after number {}", number - 1),
            };
            return Some(format!(
                "{what}: number {number}, {pattern}, was not seen{before}"
            ));
        }
    }
    None
}

fn ledger(expected: &Expectation, seen: &Outcome) -> Vec<String> {
    let mut failures = Vec::new();
    for pattern in &expected.ledger {
        let id = &pattern["id"];
        let Some(entry) = seen.ledger.iter().find(|entry| id == &entry.id) else {
            failures.push(format!("ledger: there is no dispatch {id}"));
            continue;
        };
        let mut pattern = pattern.clone();
        if pattern["answers"].is_null() {
            pattern["answers"] = 1.into();
        }
        let different = differences(&pattern, &summary(entry, seen));
        failures.extend(
            different
                .into_iter()
                .map(|difference| format!("ledger: {id}: {difference}")),
        );
    }
    failures
}

fn unexpected_dispatches(expected: &Expectation, seen: &Outcome) -> Vec<String> {
    let named = |entry: &&LedgerEntry| {
        expected
            .ledger
            .iter()
            .any(|pattern| pattern["id"] == entry.id)
    };
    let unnamed = seen.ledger.iter().filter(|entry| !named(entry));
    unnamed
        .map(|entry| format!("ledger: nothing is expected of dispatch {:?}", entry.id))
        .collect()
}

/// A dispatch as the patterns of `ledger` see it.
fn summary(entry: &LedgerEntry, seen: &Outcome) -> Value {
    let answer = entry.answers.first().and_then(ReceivedAnswer::answer);
    let answer = answer.map(|answer| match answer {
        Answer::Result(result) => json!({"result": result}),
        Answer::Error { code, message } => json!({"error": {"code": code, "message": message}}),
    });
    json!({
        "id": entry.id,
        "skill_id": entry.skill_id,
        "sent": entry.sends,
        "answers": entry.copies,
        "answered_on": entry.answers.iter().map(|answer| answer.connection).collect::<Vec<_>>(),
        "answer": answer,
        "http_status": entry.answers.first().and_then(|answer| answer.http_status),
        "timed_out": entry.timed_out,
        "starts": starts(seen).get(entry.id.as_str()).copied().unwrap_or_default(),
        "ends": ends(&entry.id, seen),
    })
}

fn starts(seen: &Outcome) -> BTreeMap<&str, usize> {
    let mut starts = BTreeMap::new();
    for line in of_type(seen, "start") {
        *starts
            .entry(line["request"]["dispatch_id"].as_str().unwrap_or_default())
            .or_default() += 1;
    }
    starts
}

/// What the handler's own answers brought: a line of its thread, which comes whenever that thread comes to it.
fn ends<'a>(id: &str, seen: &'a Outcome) -> Vec<&'a Value> {
    let lines = of_type(seen, "end").into_iter();
    lines
        .filter(|line| line["dispatch_id"] == id)
        .map(|line| &line["status"])
        .collect()
}

fn violations(expected: &Expectation, seen: &Outcome) -> Vec<String> {
    let mut failures = Vec::new();
    for violation in &seen.violations {
        if !expected
            .violations
            .iter()
            .any(|pattern| matches(pattern, &json!(violation)))
        {
            failures.push(format!("violations: {violation}"));
        }
    }
    for pattern in &expected.violations {
        if !seen
            .violations
            .iter()
            .any(|violation| matches(pattern, &json!(violation)))
        {
            failures.push(format!("violations: {pattern} was not seen"));
        }
    }
    failures
}

/// What holds in every run, whatever its scenario expects.
fn invariants(seen: &Outcome, lines: &[&Value]) -> Vec<String> {
    let mut failures = Vec::new();
    for (id, count) in starts(seen) {
        if count > 1 {
            failures.push(format!(
                "invariants: the handler of {id:?} was started {count} times (I1)"
            ));
        }
    }
    for entry in &seen.ledger {
        if entry
            .answers
            .iter()
            .any(|answer| answer.text != entry.answers[0].text)
        {
            failures.push(format!(
                "invariants: the answers to {:?} are not the same bytes (I2)",
                entry.id
            ));
        }
    }
    let ends = lines.iter().filter_map(|line| line["event"].as_str());
    for (number, end) in ends
        .filter(|name| ["connected", "disconnected"].contains(name))
        .enumerate()
    {
        if end != ["connected", "disconnected"][number % 2] {
            failures.push(format!(
                "invariants: {end} is number {number} of connected and disconnected"
            ));
        }
    }
    let mut state = &json!("idle");
    for line in lines.iter().filter(|line| line["event"] == "state") {
        if line["data"]["previous"] != *state {
            failures.push(format!(
                "invariants: the state was {state} and not {}",
                line["data"]["previous"]
            ));
        }
        state = &line["data"]["state"];
    }
    for line in lines {
        if ["not_json", "misnamed"].contains(&line["type"].as_str().unwrap_or_default()) {
            failures.push(format!("invariants: a line that is none: {line}"));
        }
        if line["type"] == "late" && line["status"] != 7 {
            failures.push(format!(
                "invariants: a cancelled dispatch could be answered: {line}"
            ));
        }
    }
    failures
}
