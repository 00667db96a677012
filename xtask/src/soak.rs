//! `cargo xtask soak`: hours of mixed faults against the connector, in the debug build: it checks overflows and the
//! table of transitions, and is built already. `--full` runs the fault tests in their full sizes before.

use crate::{checkout::Checkout, failure::Failure, terminal::Terminal};

/// A fault test whose size in the continuous integration is a small part of what it is made for.
struct Long {
    what: &'static str,
    sizes: &'static [(&'static str, &'static str)],
    test: &'static [&'static str],
}

const LONG: &[Long] = &[
    Long {
        what: "20,000 simulated lives",
        sizes: &[("SVANTIC_SEEDS", "20000")],
        test: &["--lib", "the_invariants_hold_in_every_life"],
    },
    Long {
        what: "200 days of kills (R-01b)",
        sizes: &[("SVANTIC_SEEDS", "200")],
        test: &["--lib", "r_01b"],
    },
    Long {
        what: "100,000 dispatches under kills (R-01)",
        sizes: &[("SVANTIC_RIG_DISPATCHES", "100000")],
        test: &["-p", "svantic-rig", "--test", "kills"],
    },
    Long {
        what: "Cuts at 2,000 offsets of large answers (R-04)",
        sizes: &[("SVANTIC_RIG_OFFSETS", "2000")],
        test: &["-p", "svantic-rig", "--test", "cuts"],
    },
    Long {
        what: "1,000,000 bad frames over a socket (R-30)",
        sizes: &[("SVANTIC_RIG_FRAMES", "1000000")],
        test: &["-p", "svantic-rig", "--test", "frames"],
    },
    Long {
        what: "10,000 reconnects and 1,000,000 dispatches in flat memory (R-29)",
        sizes: &[
            ("SVANTIC_RIG_RECONNECTS", "10000"),
            ("SVANTIC_RIG_DISPATCHES", "1000000"),
        ],
        test: &["-p", "svantic-rig", "--test", "memory"],
    },
    Long {
        what: "Dead wires at the real timers (R-05, R-06, R-26, R-32, R-35)",
        sizes: &[("SVANTIC_REAL_TIMERS", "1")],
        test: &["--test", "namespaces"],
    },
];

/// Ends as the soak does: its table is the last that is printed, its exit code is ours.
pub(crate) fn run(here: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let full = arguments.iter().any(|word| word == "--full");
    if full {
        for (n, long) in LONG.iter().enumerate() {
            Terminal::for_stdout().step(n + 1, LONG.len() + 1, long.what);
            let mut command = vec!["test"];
            command.extend(long.test);
            command.extend(["--", "--nocapture"]);
            here.cargo_with(long.sizes, &command)?;
        }
        Terminal::for_stdout().step(LONG.len() + 1, LONG.len() + 1, "Everything at once");
    }
    let mut command = vec!["run", "-p", "svantic-rig", "--bin", "svantic-soak", "--"];
    let rest = arguments.iter().map(String::as_str);
    command.extend(rest.filter(|word| *word != "--full"));
    Err(here.become_cargo(&command))
}
