//! Calls thrown at random: each gets exactly one last part, nothing runs twice that is remembered, and no answer is
//! another's.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use serde_json::{Value, json};

use super::rig::{millis, seconds};
use super::rig_calls::{Desk, echo};
use crate::machine::LinkState;
use crate::machine::action::CallId;

/// What was asked, and by that what may be answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    id: String,
    tenant: Option<&'static str>,
    n: u64,
}

impl Question {
    fn any(rng: &mut Rng) -> Self {
        Self {
            id: format!("d{}", rng.u8(0..12)),
            tenant: *rng.choice(&[None, Some("a"), Some("b")]).unwrap(),
            n: rng.u64(0..20) / 19,
        }
    }

    fn data(&self) -> Value {
        let mut data = echo(&self.id, self.n);
        if let Some(tenant) = self.tenant {
            data["session_context"] = json!({"tenant_id": tenant});
        }
        data
    }

    /// The answer that tells it from every other.
    fn answer(&self) -> Value {
        json!(format!("{:?} {} {}", self.tenant, self.id, self.n))
    }
}

struct World {
    desk: Desk,
    rng: Rng,
    asked: BTreeMap<CallId, Question>,
    cancelled: BTreeSet<CallId>,
    /// What the application works on.
    running: BTreeMap<String, Question>,
    /// By whom and for what each id was given to the application.
    runs: BTreeMap<(Option<&'static str>, String), usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let changes = json!({
            "max_in_flight": rng.u64(1..4),
            "max_queued_dispatches": rng.u64(0..3),
        });
        Self {
            desk: Desk::seeded(&changes, seed),
            rng,
            asked: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            running: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        match self.rng.u8(0..100) {
            0..50 => self.ask(),
            50..80 => self.work(),
            80..84 => self.hang_up(),
            84..95 => {
                let span = *self.rng.choice(&[1, 100, 20_000, 40_000]).unwrap();
                self.desk.rig.advance(millis(span));
            }
            95..98 => self.mesh(),
            _ => match self.rng.u8(0..16) {
                0 => self.desk.rig.stop(),
                1 => drop(self.desk.rig.disconnect(seconds(10))),
                _ => {}
            },
        }
        self.pick_up();
    }

    fn ask(&mut self) {
        let question = Question::any(&mut self.rng);
        let call = if self.rng.bool() {
            self.desk.send(&question.data())
        } else {
            self.desk.stream(&question.data())
        };
        self.asked.insert(call, question);
    }

    fn pick_up(&mut self) {
        for dispatch in std::mem::take(&mut self.desk.rig.delivered) {
            let request: Value = serde_json::from_str(dispatch.request.text()).unwrap();
            let tenant = ["a", "b"].into_iter().find(|t| request["tenant_id"] == *t);
            let known = self.asked.values().rev().find(|question| {
                let ours = *dispatch.id == *question.id
                    || dispatch.id.starts_with(&format!("{}~", question.id));
                ours && question.tenant == tenant && request["args"]["n"] == question.n
            });
            let question = known.expect("somebody asked for it").clone();
            let whose = (question.tenant, question.id.clone());
            let before = self.running.insert(dispatch.id.to_string(), question);
            assert!(before.is_none(), "it runs already");
            *self.runs.entry(whose).or_default() += 1;
        }
    }

    fn work(&mut self) {
        let ids: Vec<_> = self.running.keys().cloned().collect();
        if let Some(id) = self.rng.choice(&ids) {
            let question = self.running.remove(id).unwrap();
            let answer = question.answer().to_string();
            // It may be too late.
            let _ = self.desk.rig.answer(id, &answer);
        }
    }

    fn hang_up(&mut self) {
        let calls: Vec<_> = self.asked.keys().copied().collect();
        if let Some(call) = self.rng.choice(&calls)
            && self.desk.rig.machine.cancel_call(*call)
        {
            self.desk.rig.collect();
            self.cancelled.insert(*call);
        }
    }

    /// Something comes of what the mesh was asked, if it was.
    fn mesh(&mut self) {
        if self.desk.rig.machine.link() == LinkState::Idle {
            self.desk.rig.connect();
        }
        let Some(path) = self.desk.rig.next_path() else {
            return;
        };
        let status = *self.rng.choice(&[200, 200, 200, 503]).unwrap();
        match path {
            "/auth/get_token" => drop(self.desk.rig.token_ok()),
            _ => drop(self.desk.rig.reply(path, status, &json!({"ok": true}))),
        }
    }

    fn end(&mut self) -> usize {
        self.desk.rig.stop();
        let mut results = 0;
        for (call, question) in self.asked.clone() {
            let parts = self.desk.parts(call);
            let lasts = parts.iter().filter(|part| !part.more).count();
            assert_eq!(lasts, 1, "{question:?} as call {call}");
            let whole: String = parts.iter().map(|part| part.body.as_str()).collect();
            assert_eq!(
                parts.last().unwrap().cancelled,
                self.cancelled.contains(&call)
            );
            if whole.contains("\"result\":\"") {
                let expected = format!("\"result\":{}", question.answer());
                assert!(whole.contains(&expected), "{question:?} got {whole}");
                results += 1;
            }
        }
        assert_eq!(self.desk.snapshot("calls_waiting"), 0);
        assert_eq!(self.desk.snapshot("in_flight"), 0);
        for (whose, runs) in &self.runs {
            assert_eq!(*runs, 1, "{whose:?} ran more than once");
        }
        results
    }
}

/// Within the ten minutes for which ids are remembered.
#[test]
fn each_call_is_answered_once_no_handler_runs_twice_and_no_answer_crosses() {
    let (mut results, mut runs) = (0, 0);
    for seed in 0..300 {
        let mut world = World::new(seed);
        let end = seconds(500);
        for _ in 0..150 {
            if world.desk.rig.now > end {
                break;
            }
            world.step();
        }
        results += world.end();
        runs += world.runs.len();
    }
    assert!(results > 5000 && runs > 2000, "{results} {runs}");
}
