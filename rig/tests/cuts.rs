//! R-04 and R-04b: the connection is cut at a byte of a result frame, or between the frame and the proof of its arrival.

use fastrand::Rng;
use serde_json::{Value, json};
use svantic::machine::protections::Protections;
use svantic_gateway::{DispatchRequest, Gateway, Options};
use svantic_rig::GUARD;
use svantic_rig::agent::{Agent, config};
use svantic_rig::agent_ledger::AgentLedger;
use svantic_rig::chaos_plan::{Cut, Direction, Ending, Mark};
use svantic_rig::chaos_proxy::ChaosProxy;
use svantic_rig::dice::{from_environment, seed};
use svantic_rig::verdict::{Invariant, Verdict, judge};

const INSTANCE: &str = "rig-1";

/// An agent whose answers nobody asks for twice: what is lost stays lost.
struct Bench {
    gateway: Gateway,
    proxy: ChaosProxy,
    agent: Agent,
}

impl Bench {
    fn new(protections: Protections) -> Self {
        let gateway = Gateway::start(Options {
            resend_unanswered: false,
            frame_log_limit: 16,
            ..Options::default()
        })
        .expect("a gateway");
        let proxy = ChaosProxy::start(gateway.address(), 0).expect("a proxy");
        // No heartbeat comes in between: the next text after a dispatch is its answer.
        let changes = json!({"reconnect_delays_ms": [0], "heartbeat_interval_ms": 3_600_000});
        let mut config = config(&gateway, Some(&proxy), &changes);
        config.protections = protections;
        let agent = Agent::connected(config);
        Self {
            gateway,
            proxy,
            agent,
        }
    }

    fn welcomes(&self) -> u64 {
        self.gateway.agent(INSTANCE).map_or(0, |it| it.welcomes)
    }

    /// The link is back, and what was sent again is with the gateway: this answer goes behind it.
    fn recovered(&self, welcomes: u64) {
        let back = self.gateway.wait_until(GUARD, |seen| {
            let agent = seen.agent(INSTANCE);
            agent.is_some_and(|agent| agent.ready && agent.welcomes > welcomes)
        });
        assert!(back, "the agent did not come back");
        self.answered("echo", &json!({}));
    }

    fn answered(&self, skill: &str, args: &Value) -> usize {
        let dispatch = DispatchRequest::new(skill, args.clone()).within(GUARD);
        let pending = self.gateway.begin_dispatch(dispatch);
        pending.wait(GUARD).expect("an answer on a good link");
        let ledger = self.gateway.ledger();
        let entry = ledger.get(pending.id()).expect("its entry");
        entry.answers[0].text.len()
    }

    fn cut(&self, skill: &str, args: &Value, after: u64) {
        let (welcomes, cuts) = (self.welcomes(), self.proxy.counts().cuts);
        self.proxy.cut(Cut {
            direction: Direction::Up,
            mark: Mark::NextText,
            after,
            ending: Ending::Reset,
        });
        let dispatch = DispatchRequest::new(skill, args.clone()).within(GUARD);
        self.gateway.begin_dispatch(dispatch);
        let cut = self.proxy.wait_until(GUARD, |seen| seen.cuts > cuts);
        assert!(cut, "no byte {after} came by");
        self.recovered(welcomes);
    }

    fn judge(&self) -> Verdict {
        judge(&self.gateway, &self.agent, Some(&self.proxy))
    }
}

/// The bytes of a masked text frame.
fn frame_bytes(text: usize) -> u64 {
    let header = match text {
        0..126 => 6,
        126..=65_535 => 8,
        _ => 14,
    };
    (text + header) as u64
}

/// Both ends of the frame, the first bytes of it, and places in between.
fn sample(total: u64, count: usize, dice: &mut Rng) -> Vec<u64> {
    let inside = (3..count).map(|_| dice.u64(..=total));
    [0, 1, total].into_iter().chain(inside).collect()
}

#[test]
fn a_result_that_is_cut_at_any_byte_arrives() {
    let bench = Bench::new(Protections::default());
    let total = frame_bytes(bench.answered("echo", &json!({})));
    for after in 0..=total {
        bench.cut("echo", &json!({}), after);
    }
    let verdict = bench.judge();
    verdict.assert_clean(&format!("R-04, every byte of {total}"));
    assert_eq!(verdict.figures.dispatches, verdict.figures.answered);
    assert_eq!(verdict.figures.received, verdict.figures.dispatches);
}

#[test]
fn large_results_that_are_cut_anywhere_arrive() {
    let mut dice = Rng::with_seed(seed("R-04 large"));
    for (bytes, offsets) in [(64 << 10, 24), ((4 << 20) - 1_024, 6)] {
        let offsets = from_environment("SVANTIC_RIG_OFFSETS", offsets);
        let bench = Bench::new(Protections::default());
        let args = json!({"bytes": bytes});
        let total = frame_bytes(bench.answered("big", &args));
        for after in sample(total, offsets, &mut dice) {
            bench.cut("big", &args, after);
        }
        let verdict = bench.judge();
        verdict.assert_clean(&format!("R-04, {offsets} offsets of {total}"));
        assert_eq!(verdict.figures.dispatches, verdict.figures.answered);
    }
}

#[test]
fn a_result_that_was_read_without_proof_is_sent_once_more_and_the_same() {
    const TIMES: usize = 50;
    let bench = Bench::new(Protections::default());
    for _ in 0..TIMES {
        let welcomes = bench.welcomes();
        let dispatch = DispatchRequest::new("block", json!({})).within(GUARD);
        let pending = bench.gateway.begin_dispatch(dispatch);
        let started = |ours: &AgentLedger| ours.runs.contains_key(pending.id());
        assert!(bench.agent.wait_until(GUARD, started));
        // The next byte that would come down is that of the pong.
        bench.proxy.cut(Cut {
            direction: Direction::Down,
            mark: Mark::Now,
            after: 0,
            ending: Ending::Reset,
        });
        bench.agent.release();
        pending.wait(GUARD).expect("the answer reaches the gateway");
        bench.recovered(welcomes);
    }
    let verdict = bench.judge();
    verdict.assert_clean("R-04b");
    // The answer behind a copy may still be without proof when the next reset comes, and is then sent again as well.
    assert!(
        verdict.figures.copies >= TIMES / 2,
        "hardly a copy was sent"
    );
    let ledger = bench.gateway.ledger();
    let most = ledger.entries().iter().map(|entry| entry.answers.len());
    assert!(
        most.max() <= Some(3),
        "an answer was sent more often than there were resets"
    );
}

#[test]
fn without_fences_or_outbox_a_cut_loses_the_result() {
    for (what, protections) in [
        (
            "R-04 without fences",
            Protections {
                fences: false,
                ..Protections::default()
            },
        ),
        (
            "R-04 without outbox",
            Protections {
                outbox: false,
                ..Protections::default()
            },
        ),
    ] {
        let bench = Bench::new(protections);
        for after in [0, 1, 50] {
            bench.cut("echo", &json!({}), after);
        }
        let verdict = bench.judge();
        verdict.assert_broken(what, Invariant::I3);
        assert_eq!(
            verdict.count(Invariant::I3),
            3,
            "{what}: every cut loses one"
        );
    }
}
