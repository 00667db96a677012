//! Thousands of lives of a connector, each decided by its seed.
//!
//! A failing seed is printed; `SVANTIC_SEED=<seed> cargo test --lib simulation` runs it alone, and `SVANTIC_SEEDS=<n>`
//! lives more of them.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;

use super::rig::{millis, seconds};
use super::trial::{PROTECTED, Seed, Without, every_seed};
use super::world::{Happening, World};
use crate::agent::Capability;
use crate::machine::State;
use crate::machine::action::{LinkEnd, OperationId, RequestId};

impl World {
    /// The mesh has work now and then, and sends some of it twice.
    pub(super) fn work(&mut self) {
        if self.is_open() {
            let (_, text) = self.mesh.new_dispatch(self.now, &mut self.rng);
            self.send_to_agent(text);
            if self.rng.u8(0..5) == 0
                && let Some((_, text)) = self.mesh.any_dispatch(&mut self.rng)
            {
                self.send_to_agent(text);
            }
            if self.rng.u8(0..20) == 0 {
                self.send_to_agent(r#"{"type":"to be invented"}"#.to_owned());
            }
        }
        let pause = millis(self.rng.u64(50..4000));
        self.after(pause, Happening::Work);
    }

    /// Something happens now and then.
    pub(super) fn chaos(&mut self) {
        self.strike();
        let pause = millis(self.rng.u64(200..20_000));
        self.after(pause, Happening::Chaos);
    }

    /// Something happens to the connection, or to the mesh's memory or mood.
    pub(super) fn strike(&mut self) {
        if self.is_open() && self.rng.f64() < 0.3 + self.mesh.trouble {
            match self.rng.u8(0..12) {
                0 | 1 => self.cut(Some(LinkEnd::Broken("reset".to_owned()))),
                2 | 3 => {
                    let code = self.mesh.close_code(&mut self.rng);
                    let reason = String::new();
                    self.cut(Some(LinkEnd::Closed { code, reason }));
                }
                4 => self.cut(None),
                5 => self.withhold_pongs(),
                6 => self.delay_pongs(),
                7 => self.fall_silent(),
                8 => {
                    self.mesh.expire_tokens(self.now);
                    if self.rng.bool() {
                        let (code, reason) = (Some(4401), String::new());
                        self.cut(Some(LinkEnd::Closed { code, reason }));
                    }
                }
                // It closes on the result of the dispatch that comes next.
                9 => self.mesh.poison = Some(format!("d{}", self.mesh.ledger.len())),
                _ => {
                    if self.rng.u8(0..4) == 0 {
                        self.mesh.violated();
                        self.cut(Some(LinkEnd::Violation("not UTF-8".to_owned())));
                    } else {
                        self.mesh.registered = false;
                        self.cut(Some(LinkEnd::Broken("restarted".to_owned())));
                    }
                }
            }
        }
        if self.rng.u8(0..12) == 0 {
            self.suspend();
        }
    }

    /// The computer is suspended; the clock of the timers stands still meanwhile.
    fn suspend(&mut self) {
        self.note("suspended");
        self.slept += seconds(self.rng.u64(1..600));
        self.tell_progress();
        self.machine.handle_timeout(self.now());
    }

    /// The application connects, and uses what there is.
    pub(super) fn application(&mut self) {
        if self.leaving {
            return;
        }
        let (now, timeout) = (self.now(), millis(self.rng.u64(100..40_000)));
        if self.machine.state() == State::Idle && self.connecting.is_none() {
            let id = self.operation(None);
            self.connecting = Some(id);
            self.machine.connect(now, id, timeout);
        } else {
            self.some_operation(timeout);
        }
        let pause = millis(self.rng.u64(100..15_000));
        self.after(pause, Happening::Application);
    }

    fn some_operation(&mut self, timeout: Duration) {
        let now = self.now();
        match self.rng.u8(0..7) {
            6 => self.machine.network_changed(now),
            0 => {
                let id = self.operation(None);
                self.machine
                    .create_session(now, id, serde_json::Map::new(), timeout);
            }
            1 => {
                let id = self.operation(None);
                self.machine.close_session(now, id, "s1", timeout);
            }
            2 => {
                let id = self.operation(None);
                self.machine.refresh_token(now, id, None, timeout);
            }
            3 => {
                let id = self.operation(None);
                let token = SecretString::from(self.mesh.issue(self.now));
                self.machine.refresh_token(now, id, Some(token), timeout);
            }
            _ => {
                if self.rng.bool() && !matches!(self.machine.state(), State::Closed | State::Failed)
                {
                    let name = format!("skill_{}", self.machine.agent().len());
                    let spec = json!({"name": name, "description": "d"}).to_string();
                    self.machine
                        .define(Capability::parse(&spec).unwrap())
                        .unwrap();
                }
                let capabilities = self.machine.agent().len();
                let id = self.operation(Some(capabilities));
                self.machine.re_register(now, id, timeout);
            }
        }
    }

    /// The application gives a token that it was asked for, now and then one that the mesh does not know.
    pub(super) fn give_token(&mut self) {
        let token = if self.rng.u8(0..10) == 0 {
            "not-of-this-mesh".to_owned()
        } else {
            self.mesh.issue(self.now)
        };
        let (now, id) = (self.now(), self.operation(None));
        let timeout = seconds(30);
        self.machine
            .refresh_token(now, id, Some(SecretString::from(token)), timeout);
    }

    /// Ends an operation that the application has not heard of yet, and no other: at once, and with `Cancelled`.
    pub(super) fn cancel(&mut self, id: OperationId) {
        let (now, waited_for) = (self.now(), self.operations.contains_key(&id));
        let connecting = self.connecting == Some(id);
        assert_eq!(self.machine.cancel(now, &[id]), waited_for);
        self.cancelled = waited_for.then_some(id);
        self.cancellations += usize::from(waited_for);
        self.carry_out();
        self.cancelled = None;
        assert!(!self.operations.contains_key(&id), "{id} goes on");
        if waited_for && connecting {
            assert_eq!(self.machine.state(), State::Idle);
            assert!(self.wire.is_none(), "nothing of the attempt goes on");
        }
        assert!(!self.machine.cancel(now, &[id]), "{id} ends once");
    }

    /// The request was dropped, and the mesh talks to nobody.
    pub(super) fn drop_reply(&mut self, dropped: RequestId) {
        let mut tokens = 0;
        self.queue.retain(|_, happening| match happening {
            Happening::Reply(id, path, _) if *id == dropped => {
                tokens += u32::from(*path == "/auth/get_token");
                false
            }
            _ => true,
        });
        self.token_requests -= tokens;
    }

    /// The application goes, gently or not.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        // A supplied token may be dead by then, and one that is waited for may not come: nothing can be said without.
        let auth = &self.machine.auth;
        self.goodbyes += usize::from(!auth.can_renew() || auth.fetching.is_some());
        let gently = self.rng.u8(0..4) > 0;
        let state = self.machine.state();
        if self.rng.bool() {
            self.mesh.trouble = 0.0;
        }
        if !gently || matches!(state, State::Failed) {
            return self.machine.stop(self.now());
        }
        if state == State::Draining && self.rng.bool() {
            return self.machine.stop(self.now());
        }
        // Misfortunes come to those who leave, too.
        for _ in 0..self.rng.u8(0..3) {
            let soon = millis(self.rng.u64(0..3_000));
            self.after(soon, Happening::Strike);
        }
        let id = self.operation(None);
        let timeout = seconds(self.rng.u64(0..40));
        self.machine.disconnect(self.now(), id, timeout);
        // Whatever happens on the way out, this ends it.
        let patience = timeout + seconds(self.rng.u64(0..60));
        self.after(patience, Happening::Leave);
    }
}

/// What a life was like.
pub(super) struct Life {
    trace: u64,
    /// How many answers reached the mesh.
    answers: usize,
    /// How many operations were cancelled before they had ended.
    cancellations: usize,
}

/// One life.
pub(super) fn live(seed: u64) -> Life {
    let _printed = Seed("simulation", seed);
    live_without(seed, PROTECTED)
}

fn live_without(seed: u64, without: Without) -> Life {
    let mut world = World::new(seed, without);
    world.run();
    world.check_the_end();
    let arrived = world.mesh.ledger.values().filter(|record| record.arrived);
    Life {
        trace: world.trace(),
        answers: arrived.count(),
        cancellations: world.cancellations,
    }
}

#[test]
fn the_invariants_hold_in_every_life() {
    let all = every_seed(2000, live);
    let lives = all.len();
    let answers = all.iter().map(|life| life.answers).sum::<usize>();
    let cancellations = all.iter().map(|life| life.cancellations).sum::<usize>();
    println!("{answers} answers and {cancellations} cancelled operations in {lives} lives");
    assert!(
        (answers >= 5 * lives && cancellations >= lives / 5) || lives == 1,
        "lives without work prove nothing: {answers} answers, {cancellations} cancelled operations"
    );
}

/// How many of so many lives violate the invariant, whose number is the beginning of the complaint.
fn violations(lives: u64, invariant: &str, without: Without) -> usize {
    let lives = (0..lives).map(|seed| std::panic::catch_unwind(|| live_without(seed, without)));
    let complaints = lives.filter_map(Result::err);
    complaints
        .filter(|complaint| {
            let text = complaint.downcast_ref::<String>();
            text.is_some_and(|text| text.starts_with(invariant))
        })
        .count()
}

/// The simulation would be worth nothing if it did not see what a protection prevents.
#[test]
fn without_its_protections_the_invariants_do_not_hold() {
    for (protection, invariant, without) in [
        ("outbox", "I3", (|p| p.outbox = false) as Without),
        ("fences", "I3", |p| p.fences = false),
        ("dedupe", "I1", |p| p.dedupe = false),
    ] {
        let violated = violations(200, invariant, without);
        println!("without {protection}: {violated} of 200 lives violate {invariant}");
        assert!(violated >= 5, "without {protection}: {violated}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut traces = std::collections::HashSet::new();
    for seed in 100_000..100_100 {
        let trace = live(seed).trace;
        assert_eq!(live(seed).trace, trace, "seed {seed}");
        traces.insert(trace);
    }
    // Two lives that end before anybody has answered may be the same.
    assert!(traces.len() > 95, "different seeds are different lives");
}
