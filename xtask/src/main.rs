//! The repository's commands; `cargo xtask` without one lists them.

mod a2a_tests;
mod bench;
mod bench_clients;
mod checkout;
mod demo;
mod failure;
mod guard;
mod library;
mod node;
mod node_tests;
mod package;
mod prerequisites;
mod python;
mod python_tests;
mod soak;
mod terminal;
mod test_run;

use std::process::ExitCode;

use checkout::Checkout;
use failure::Failure;
use terminal::say;

const HELP: &str = "\
The repository's commands:

  cargo xtask demo           Agents in C, Python and Node join the local gateway, work and leave; seconds after the build
  cargo xtask demo --hosted  The same agents behind their own URLs: called by POST, with signatures, forgeries and a new secret
  cargo xtask test           Every test there is: Rust, C, C++, Python, Node and A2A
  cargo xtask test ARGS      What `cargo test ARGS` runs, for instance a test's name: no Python, no Node
  cargo xtask test python [ARGS]
                             The Python package: formatting, lints, types and tests; with ARGS only `pytest ARGS`
  cargo xtask test node [ARGS]
                             The Node package: types and tests; with ARGS only the tests of files so named
  cargo xtask test a2a [WORDS]
                             Hosted agents in each language, called by the official A2A clients; with WORDS only those
                             agents that have one of them in their name
  cargo xtask soak [ARGS]    Mixed faults for ten minutes (--minutes N), then a table of the invariants; --full: every fault
                             test in its full size before
  cargo xtask bench [--quick]
                             What a dispatch costs with this library, with `ws` and `websockets`, and at the least: a table
                             and a plot; about five minutes after the build
  cargo xtask guard [--update] [--library PATH]
                             Instructions and allocations per dispatch, counted by valgrind, against benches/guards.json
  cargo xtask build          The shared library as it ships: release profile, one crate type, stripped
  cargo xtask package python The wheel and the source distribution, proven in an environment without Rust
  cargo xtask package node   The npm packages, proven in a folder without Rust
  cargo xtask header         Write include/svantic.h anew from the doc comments of src/ffi
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let done = match (command, rest) {
        ("help" | "--help" | "-h", _) => {
            say(HELP.trim_end());
            Ok(())
        }
        ("test", arguments) => Checkout::find().and_then(|here| test_run::run(&here, arguments)),
        ("bench", arguments) => Checkout::find().and_then(|here| bench::run_all(&here, arguments)),
        ("guard", arguments) => Checkout::find().and_then(|here| guard::run_all(&here, arguments)),
        ("soak", arguments) => Checkout::find().and_then(|here| soak::run(&here, arguments)),
        ("package", what) => Checkout::find().and_then(|here| package::run(&here, what)),
        ("demo", []) => Checkout::find().and_then(|here| demo::run(&here)),
        ("demo", [mode]) if mode == "--hosted" => {
            Checkout::find().and_then(|here| demo::hosted::run(&here))
        }
        ("build", []) => Checkout::find().and_then(|here| library::build_to_ship(&here)),
        ("header", []) => Checkout::find().and_then(|here| library::write_header(&here)),
        ("demo", unwanted) => Err(Failure::new(format!(
            "`cargo xtask demo` takes nothing but `--hosted`, not `{}`",
            unwanted.join(" ")
        ))),
        ("build" | "header", [unwanted, ..]) => Err(Failure::new(format!(
            "`cargo xtask {command}` takes no arguments, not even `{unwanted}`"
        ))),
        (unknown, _) => {
            Err(Failure::new(format!("there is no command `{unknown}`")).hint(HELP.trim_end()))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
