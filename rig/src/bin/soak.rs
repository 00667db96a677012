//! `cargo xtask soak`: mixed faults for minutes or hours, and a table of the invariants at the end.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use svantic_rig::process_facts::ProcessFacts;
use svantic_rig::soak_round;
use svantic_rig::verdict::{INVARIANTS, Verdict};

const HELP: &str = "\
usage: soak [--minutes N] [--seed N] [--round-seconds N] (and with cargo xtask: --full)

  --minutes N         how long to go on (default 10); the running round is finished
  --seed N            one round only, with the dice of this seed
  --round-seconds N   how long a round has load and faults (default 20)
  --full              cargo xtask only: before that, every fault test in its full size

Ctrl-C ends it after the running round. Exit status 1 means that an invariant was violated.";

struct Arguments {
    minutes: u64,
    seed: Option<u64>,
    round: Duration,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments {
        minutes: 10,
        seed: None,
        round: Duration::from_secs(20),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().and_then(|text| text.parse().ok());
            value.ok_or_else(|| format!("{word} wants a number\n\n"))
        };
        match word.as_str() {
            "--minutes" => found.minutes = number()?,
            "--seed" => found.seed = Some(number()?),
            "--round-seconds" => found.round = Duration::from_secs(number()?.max(1)),
            "--help" | "-h" => return Err(String::new()),
            other => return Err(format!("no such option: {other}\n\n")),
        }
    }
    Ok(found)
}

/// Hears Ctrl-C on a thread of its own, which is there from the first round on and so in every count.
fn interrupted() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let of_thread = Arc::clone(&flag);
    let (ready, started) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime for Ctrl-C");
        runtime.block_on(async {
            let mut signal = std::pin::pin!(tokio::signal::ctrl_c());
            // Polled once, so that its descriptors are there before the first count.
            let _ = tokio::time::timeout(Duration::ZERO, &mut signal).await;
            let _ = ready.send(());
            loop {
                let _ = tokio::signal::ctrl_c().await;
                println!("\nending after this round");
                of_thread.store(true, Ordering::SeqCst);
            }
        });
    });
    let _ = started.recv();
    flag
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(fault) if fault.is_empty() => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(fault) => {
            eprintln!("{fault}{HELP}");
            return ExitCode::from(2);
        }
    };
    let stop = interrupted();
    let began = Instant::now();
    let span = Duration::from_secs(arguments.minutes * 60);
    let mut seeds = fastrand::Rng::new();
    let (mut total, mut first, mut rounds) = (Verdict::default(), None, Vec::new());
    loop {
        let seed = arguments.seed.unwrap_or_else(|| seeds.u64(..));
        let verdict = soak_round::run(seed, arguments.round);
        let facts = ProcessFacts::now();
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        println!(
            "round {} at {minutes:.1} min, seed {seed}: {verdict}; {} KiB resident",
            rounds.len() + 1,
            facts.resident_kib
        );
        for (invariant, text) in &verdict.violations {
            println!("  {invariant:?}: {text}");
        }
        rounds.push((seed, verdict.violations.len()));
        total.merge(verdict);
        // The first round loads what stays loaded.
        first.get_or_insert(facts);
        if arguments.seed.is_some() || stop.load(Ordering::SeqCst) || began.elapsed() >= span {
            break;
        }
    }
    table(&total, first.unwrap_or_default(), &rounds, arguments.round);
    if total.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn table(total: &Verdict, first: ProcessFacts, rounds: &[(u64, usize)], round: Duration) {
    println!("\ninvariant  violations");
    for invariant in INVARIANTS {
        let name = format!("{invariant:?}");
        println!("{name:<9}  {:>10}", total.count(invariant));
    }
    let (figures, last) = (&total.figures, ProcessFacts::now());
    println!();
    for (what, value) in [
        ("rounds", rounds.len()),
        ("dispatches", figures.dispatches),
        ("answered", figures.answered),
        ("answers that came again", figures.copies),
        ("dispatches sent again", figures.redelivered),
        ("reconnects", figures.reconnects),
        ("most handlers at once", figures.peak),
    ] {
        println!("{what:<24} {value:>10}");
    }
    println!(
        "{:<24} {:>10} -> {}",
        "resident KiB", first.resident_kib, last.resident_kib
    );
    println!(
        "{:<24} {:>10} -> {}",
        "descriptors", first.descriptors, last.descriptors
    );
    println!(
        "{:<24} {:>10} -> {}",
        "threads", first.threads, last.threads
    );
    let seeds: Vec<String> = rounds
        .iter()
        .map(|(seed, violations)| match violations {
            0 => seed.to_string(),
            _ => format!("{seed} ({violations} violations)"),
        })
        .collect();
    println!("\nseeds: {}", seeds.join(", "));
    println!(
        "one of them again: cargo xtask soak --seed N --round-seconds {}",
        round.as_secs()
    );
}
