//! `cargo xtask test`: every test of the repository.

use crate::{
    checkout::Checkout,
    failure::Failure,
    prerequisites::{self, CXX_COMPILER, GCC, VALGRIND},
    terminal::{Terminal, say},
};

/// Ends in cargo's own summary: people and programs read the result there.
pub(crate) fn run(here: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    screen.step(1, 3, "Looking for what the C and C++ tests need");
    let found = prerequisites::check(&[GCC, CXX_COMPILER, VALGRIND])?;
    say(&format!("found {}", found.join(", ")));

    // The C programs link with the shared library, so it must stand before the first test runs. The test targets are
    // built along with it, because they decide the features of the dependencies: otherwise cargo would build twice.
    screen.step(2, 3, "Building the shared library and the tests");
    here.cargo_checking_the_header(&["build", "--workspace", "--lib", "--bins", "--tests"])?;

    screen.step(
        3,
        3,
        "Running every test: Rust, C, C++, and C under valgrind",
    );
    let mut command = vec!["test", "--workspace", "--no-fail-fast"];
    command.extend(arguments.iter().map(String::as_str));
    Err(here.become_cargo(&command))
}
