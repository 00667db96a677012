//! Plays one scenario with one driver.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use svantic_gateway::{AgentRecord, Gateway, LedgerEntry, ScriptStatus};

use crate::driver::Driver;
use crate::face::Face;
use crate::judge;
use crate::pattern::shortened;
use crate::record::{self, Record};
use crate::scenario::{INSTANCE, Scenario};
use crate::step::Step;

/// How long a driver may take to leave, beyond the limit of its scenario.
const FAREWELL: Duration = Duration::from_secs(30);

/// How long the gateway may still have news of a driver that has ended.
const ECHO: Duration = Duration::from_secs(5);

/// All that there is to judge of a run.
pub(crate) struct Outcome {
    pub(crate) observations: Vec<Value>,
    pub(crate) ledger: Vec<LedgerEntry>,
    pub(crate) agent: Option<AgentRecord>,
    pub(crate) violations: Vec<String>,
    pub(crate) script: ScriptStatus,
    pub(crate) exit: Option<i32>,
    /// What went wrong with the play itself.
    pub(crate) mishaps: Vec<String>,
}

/// A scenario's outcome on a face, and what is wrong with it.
pub(crate) struct Played {
    title: String,
    pub(crate) outcome: Outcome,
    pub(crate) failures: Vec<String>,
    stderr: String,
}

impl Played {
    /// For people: everything that is wrong, and all that was seen.
    pub(crate) fn complaint(&self) -> Option<String> {
        if self.failures.is_empty() {
            return None;
        }
        let seen = self
            .outcome
            .observations
            .iter()
            .map(|one| format!("    {}\n", shortened(one)));
        Some(format!(
            "{}:\n  {}\n  seen:\n{}  stderr: {}\n",
            self.title,
            self.failures.join("\n  "),
            seen.collect::<String>(),
            self.stderr
        ))
    }
}

pub(crate) fn play(scenario: &Scenario, face: &Face, delivery: &str) -> Played {
    let options = scenario.options().expect("it was read");
    let gateway = Gateway::start(options).expect("a gateway starts");
    let record = Record::default();
    let title = format!("{} on {} with {delivery}", scenario.name, face.name);
    let driver = match Driver::start(scenario, face, delivery, &gateway) {
        Ok(driver) => driver,
        Err(missing) => {
            return Played {
                title,
                outcome: outcome(&gateway, &record, None, Vec::new()),
                failures: vec![missing],
                stderr: String::new(),
            };
        }
    };
    let gone = AtomicBool::new(false);
    let (mut mishaps, exit, stderr) = thread::scope(|scope| {
        scope.spawn(|| record::watch(&gateway, &record, || gone.load(Ordering::SeqCst)));
        let listening = scope.spawn(|| {
            let stderr = driver.listen(&record);
            record.push(json!({"type": "gone"}));
            stderr
        });
        let limit = Instant::now() + Duration::from_secs(scenario.limit_s);
        let mishaps = follow(scenario, &gateway, &driver, &record, limit);
        record.push(json!({"type": "leave"}));
        driver.end(scenario.end);
        let exit = driver.exit(Instant::now() + FAREWELL);
        let stderr = listening.join().unwrap_or_default();
        gone.store(true, Ordering::SeqCst);
        (mishaps, exit, stderr)
    });
    if exit.is_none() {
        mishaps.push(format!(
            "the driver had not left {FAREWELL:?} after it was told to, or was killed"
        ));
    }
    let outcome = outcome(&gateway, &record, exit, mishaps);
    Played {
        title,
        failures: judge::all(&scenario.expect, &outcome),
        outcome,
        stderr,
    }
}

fn outcome(gateway: &Gateway, record: &Record, exit: Option<i32>, mishaps: Vec<String>) -> Outcome {
    Outcome {
        observations: record.all(),
        ledger: gateway.ledger().entries().to_vec(),
        agent: gateway.agent(INSTANCE),
        violations: gateway.violations(),
        script: gateway.script_status(),
        exit,
        mishaps,
    }
}

/// Does the steps as they fall due, until everything that must be seen before the end has been; what did not happen
/// before the limit.
fn follow(
    scenario: &Scenario,
    gateway: &Gateway,
    driver: &Driver,
    record: &Record,
    mut limit: Instant,
) -> Vec<String> {
    let mut steps = scenario.steps.clone();
    let mut mishaps = Vec::new();
    let mut known = 0;
    let mut gone = false;
    loop {
        let new = record.after(known, limit);
        known += new.len();
        for observation in &new {
            for step in steps
                .iter_mut()
                .filter_map(|step| step.is_due(observation).then_some(step))
            {
                mishaps.extend(step.act(gateway).err());
                step.commands()
                    .iter()
                    .for_each(|command| driver.say(command));
            }
        }
        if new.iter().any(|one| one["type"] == "gone") {
            gone = true;
            limit = limit.min(Instant::now() + ECHO);
        }
        let outcome = outcome(gateway, record, None, Vec::new());
        if steps.iter().all(Step::is_done)
            && judge::before_the_end(&scenario.expect, &outcome).is_empty()
        {
            return mishaps;
        }
        if new.is_empty() {
            let seconds = scenario.limit_s;
            mishaps.push(if gone {
                "the driver ended before everything expected was seen".to_owned()
            } else {
                format!("not everything expected was seen within {seconds} s")
            });
            let missing = steps.iter().filter(|step| !step.is_done());
            mishaps
                .extend(missing.map(|step| format!("a step never fell due: {}", step.trigger())));
            return mishaps;
        }
    }
}
