//! the gateway is killed again and again while thousands of dispatches are under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use svantic::machine::protections::Protections;
use svantic_gateway::{DispatchRequest, Gateway, Options};
use svantic_rig::GUARD;
use svantic_rig::agent::{Agent, config};
use svantic_rig::chaos_plan::{Ending, Plan};
use svantic_rig::chaos_proxy::ChaosProxy;
use svantic_rig::dice::{from_environment, seed};
use svantic_rig::load::{await_all, offer};
use svantic_rig::verdict::{Invariant, Verdict, judge};

/// R-01's rate.
const PER_SECOND: u32 = 2_000;

/// R-01's kill every 2 s, as work done at that rate: a slow machine gets as many kills per dispatch as a fast one,
/// and CI's 10,000 dispatches see every kind of kill.
const DISPATCHES_PER_KILL: u64 = 1_500;

/// Where handlers run twice, the work done is no measure of how far the run is.
const MOST_KILLS_OF_A_SMALL_RUN: usize = 8;

/// Small runs are killed more often.
const SMALL: usize = 4_000;
const SMALL_PER_KILL: u64 = 500;

struct Run {
    dispatches: usize,
    dispatches_per_kill: u64,
    protections: Protections,
    /// Whether the gateway asks again for what it has no answer to.
    asks_again: bool,
}

/// What waited for the link is with the mesh when the first ping on the newest link is answered: it goes behind all of it.
fn settled(proxy: &ChaosProxy, since: u64) -> bool {
    proxy.wait_until(GUARD, |seen| {
        seen.accepted > since && seen.newest.connection > since && seen.newest.pongs_down >= 1
    })
}

/// Kills the gateway as the agent sees it, in turn by RST, by FIN, and by a black hole of a second and then RST.
fn kill(proxy: &ChaosProxy, turn: usize) {
    match turn % 3 {
        0 => proxy.kill(Ending::Reset),
        1 => proxy.kill(Ending::Fin),
        _ => {
            proxy.set(Plan::black_hole());
            // How long the hole is open is part of what is simulated.
            std::thread::sleep(Duration::from_secs(1));
            proxy.kill_then(Ending::Reset, Plan::default())
        }
    };
}

fn run(what: &str, run: &Run) -> Verdict {
    let seed = seed(what);
    let mut dice = Rng::with_seed(seed);
    let gateway = Gateway::start(Options {
        resend_unanswered: run.asks_again,
        frame_log_limit: 16,
        ..Options::default()
    })
    .expect("a gateway");
    let proxy = ChaosProxy::start(gateway.address(), seed).expect("a proxy");
    let mut config = config(&gateway, Some(&proxy), &json!({}));
    config.protections = run.protections;
    let agent = Agent::connected(config);
    let first_kill = dice.usize(..3);
    let over = AtomicBool::new(false);
    let (missing, kills) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut kills = 0;
            let mut next = run.dispatches_per_kill;
            loop {
                let due = agent.wait_until(2 * GUARD, |ours| {
                    ours.answers >= next || over.load(Ordering::SeqCst)
                });
                let enough = run.dispatches <= SMALL && kills == MOST_KILLS_OF_A_SMALL_RUN;
                if !due || enough || over.load(Ordering::SeqCst) {
                    return kills;
                }
                let before = proxy.counts().accepted;
                kill(&proxy, first_kill + kills);
                kills += 1;
                next = agent.look(|ours| ours.answers) + run.dispatches_per_kill;
                if !settled(&proxy, before) {
                    return kills;
                }
            }
        });
        let pending = offer(&gateway, run.dispatches, PER_SECOND, &mut dice);
        let missing = if run.asks_again {
            await_all(&pending)
        } else {
            // What was lost on its way down is nobody's fault here; what the agent has, it answers.
            agent.wait_until(GUARD, |ours| ours.running == 0);
            0
        };
        over.store(true, Ordering::SeqCst);
        // Wakes the killer, which waits for news of the agent.
        agent.release();
        // Whatever waited for a link goes before the answer to this.
        let last = DispatchRequest::new("echo", json!({})).within(GUARD);
        let last = gateway.begin_dispatch(last).wait(GUARD);
        let kills = killer.join().expect("the killer");
        last.expect("an answer at the end");
        (missing, kills)
    });
    let mut verdict = judge(&gateway, &agent, Some(&proxy));
    if missing > 0 {
        let text = format!("{missing} dispatches were never answered");
        verdict.add(Invariant::I3, text);
    }
    println!("{what}: {kills} kills");
    assert!(kills >= 1, "{what}: nothing was killed");
    drop(agent);
    verdict
}

#[test]
fn a_gateway_that_is_killed_again_and_again_loses_nothing_and_nothing_runs_twice() {
    let verdict = run(
        "R-01",
        &Run {
            dispatches: from_environment("SVANTIC_RIG_DISPATCHES", 10_000),
            dispatches_per_kill: DISPATCHES_PER_KILL,
            protections: Protections::default(),
            asks_again: true,
        },
    );
    verdict.assert_clean("R-01");
    assert_eq!(verdict.figures.dispatches, verdict.figures.answered);
}

#[test]
fn answers_survive_a_gateway_that_never_asks_again() {
    let verdict = run(
        "R-01 asked once",
        &Run {
            dispatches: SMALL,
            dispatches_per_kill: SMALL_PER_KILL,
            protections: Protections::default(),
            asks_again: false,
        },
    );
    verdict.assert_clean("R-01 asked once");
}

#[test]
fn without_the_outbox_answers_are_lost() {
    let protections = Protections {
        outbox: false,
        ..Protections::default()
    };
    let verdict = run(
        "R-01 without outbox",
        &Run {
            dispatches: SMALL,
            dispatches_per_kill: SMALL_PER_KILL,
            protections,
            asks_again: false,
        },
    );
    verdict.assert_broken("R-01 without outbox", Invariant::I3);
}

#[test]
fn without_dedupe_handlers_run_twice() {
    let protections = Protections {
        dedupe: false,
        ..Protections::default()
    };
    let verdict = run(
        "R-01 without dedupe",
        &Run {
            dispatches: SMALL,
            dispatches_per_kill: SMALL_PER_KILL,
            protections,
            asks_again: true,
        },
    );
    verdict.assert_broken("R-01 without dedupe", Invariant::I1);
}
