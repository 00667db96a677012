//! One round of the soak: load, mixed faults by the dice, a drain, and the verdict.

use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;
use svantic::machine::event::EventKind;
use svantic_gateway::{Endpoint, Faults, Gateway, Options, Refusal};

use crate::GUARD;
use crate::agent::{Agent, config};
use crate::chaos_plan::{Accept, Ending, Flow, Path, Plan};
use crate::chaos_proxy::ChaosProxy;
use crate::load::{await_all, offer};
use crate::process_facts::ProcessFacts;
use crate::verdict::{Invariant, Verdict, judge};

/// The load of a round: high enough that every fault hits answers under way, low enough for a debug build.
const PER_SECOND: u32 = 200;

/// How long tokens live: several renewals a round.
const TOKEN_TTL: Duration = Duration::from_secs(8);

/// Runs one round of about `span` with the dice of `seed`; afterwards nothing of it is left in the process.
///
/// # Panics
///
/// When the round cannot even begin.
pub fn run(seed: u64, span: Duration) -> Verdict {
    let before = ProcessFacts::now();
    let mut verdict = round(seed, span);
    if !svantic::runtime::shutdown(GUARD) {
        verdict.add(Invariant::I7, "the library's thread did not end");
    }
    let after = ProcessFacts::settled(before);
    if after.threads > before.threads || after.descriptors > before.descriptors {
        let text = format!("left over: before {before:?}, after {after:?}");
        verdict.add(Invariant::I7, text);
    }
    verdict
}

fn round(seed: u64, span: Duration) -> Verdict {
    let mut dice = Rng::with_seed(seed);
    let options = Options {
        token_ttl: TOKEN_TTL,
        frame_log_limit: 16,
        ..Options::default()
    };
    let gateway = Gateway::start(options).expect("a gateway");
    let proxy = ChaosProxy::start(gateway.address(), seed).expect("a proxy");
    // Dead peers and lost welcomes are found within the round.
    let changes = json!({
        "ping_interval_ms": 1_000, "dead_after_ms": 2_000, "welcome_timeout_ms": 2_000, "stage_timeout_ms": 2_000,
    });
    let mut config = config(&gateway, Some(&proxy), &changes);
    config.timing.close = Duration::from_millis(500);
    let agent = Agent::connected(config);
    let calm = gateway.faults();
    let until = Instant::now() + span;
    let count = usize::try_from(span.as_secs() * u64::from(PER_SECOND)).unwrap_or(0);
    let mut of_load = dice.fork();
    let missing = scope(|scope| {
        let load = scope.spawn(|| await_all(&offer(&gateway, count, PER_SECOND, &mut of_load)));
        while Instant::now() < until {
            sleep(Duration::from_millis(dice.u64(300..2_000)));
            fault(&gateway, &proxy, &calm, &mut dice);
        }
        proxy.set(Plan::default());
        gateway.set_faults(calm.clone());
        load.join().unwrap_or(count)
    });
    // With work in hand, so that the drain has something to wait for.
    let last = offer(&gateway, 50, PER_SECOND, &mut dice);
    let drained = agent.disconnect(GUARD);
    let mut verdict = judge(&gateway, &agent, Some(&proxy));
    if missing > 0 {
        let text = format!("{missing} dispatches were never answered");
        verdict.add(Invariant::I3, text);
    }
    if let Err(error) = drained {
        verdict.add(Invariant::I7, format!("the disconnect failed: {error}"));
    }
    let dropped = agent.look(|ours| ours.count(EventKind::ResultDropped));
    if dropped > 0 {
        verdict.add(Invariant::I3, format!("{dropped} answers were given up"));
    }
    let record = gateway.agent("rig-1");
    if record.is_none_or(|record| record.registered) {
        verdict.add(Invariant::I7, "the instance is still registered");
    }
    drop((last, agent, proxy));
    gateway.shutdown();
    verdict
}

/// Does one thing that networks and meshes do, for a moment. Flipped bits are not among them: behind TCP's checksum
/// or TLS they never arrive, and here they would only make the gateway complain of what the proxy did.
fn fault(gateway: &Gateway, proxy: &ChaosProxy, calm: &Faults, dice: &mut Rng) {
    let path = |change: fn(&mut Path)| {
        let mut path = Path::default();
        change(&mut path);
        path
    };
    let both = |path: Path| Plan {
        up: path.clone(),
        down: path,
        ..Plan::default()
    };
    let up = |path: Path| Plan {
        up: path,
        ..Plan::default()
    };
    let down = |path: Path| Plan {
        down: path,
        ..Plan::default()
    };
    let refusing = |endpoint, status| {
        let mut faults = calm.clone();
        faults.refuse = vec![Refusal::new(endpoint, status).times(1)];
        faults
    };
    let for_a_moment = |plan: Plan, dice: &mut Rng| {
        proxy.set(plan);
        sleep(Duration::from_millis(dice.u64(200..1_500)));
        proxy.set(Plan::default());
    };
    // Bytes that vanished are never followed by others on the same connection: TCP does not do that.
    let for_a_moment_and_kill = |plan: Plan, dice: &mut Rng| {
        proxy.set(plan);
        sleep(Duration::from_millis(dice.u64(200..1_500)));
        proxy.kill_then(Ending::Reset, Plan::default());
    };
    match dice.u8(..16) {
        0 => drop(proxy.kill(Ending::Reset)),
        1 => drop(proxy.kill(Ending::Fin)),
        2 => drop(proxy.kill(Ending::HalfClose)),
        3 | 4 => {
            for_a_moment_and_kill(Plan::black_hole(), dice);
        }
        5 => {
            for_a_moment_and_kill(down(path(|it| it.flow = Flow::Discard)), dice);
        }
        6 => for_a_moment(up(path(|it| it.flow = Flow::Stop)), dice),
        7 => for_a_moment(both(path(|it| it.bytes_per_second = Some(64 << 10))), dice),
        8 => for_a_moment(both(path(|it| it.slice = Some(7))), dice),
        9 => for_a_moment(both(path(|it| it.delay = Duration::from_millis(50))), dice),
        10 => {
            let plan = Plan {
                accept: [Accept::Silence, Accept::Refuse][dice.usize(..2)],
                ..Plan::default()
            };
            proxy.kill(Ending::Reset);
            for_a_moment_and_kill(plan, dice);
        }
        11 => {
            let code = [1000, 1001, 1011, 1012, 1013, 4000][dice.usize(..6)];
            gateway.close("rig-1", code, "soak");
        }
        12 => {
            gateway.set_faults(refusing(Endpoint::Connect, [401, 503][dice.usize(..2)]));
            proxy.kill(Ending::Reset);
        }
        13 => {
            gateway.set_faults(refusing(Endpoint::Token, [429, 500][dice.usize(..2)]));
        }
        // An instance that has just registered does not again for half a minute, so this ends most rounds' faults.
        14 if dice.u8(..8) == 0 => {
            gateway.forget("rig-1");
            proxy.kill(Ending::Reset);
        }
        _ => {
            gateway.set_faults(Faults {
                chaos: Some(dice.u64(..)),
                ..calm.clone()
            });
            sleep(Duration::from_millis(dice.u64(1_000..4_000)));
            gateway.set_faults(calm.clone());
        }
    }
}
