//! `cargo xtask test`: every test of the repository.

use crate::{
    checkout::Checkout,
    failure::Failure,
    prerequisites::{self, CXX_COMPILER, GCC, VALGRIND},
    python_tests::PythonTests,
    terminal::{Terminal, say},
};

/// What cargo runs, as it stands in the closing lines.
const OF_CARGO: &str = "Rust, C and C++";

/// Without arguments everything; `python` and what pytest is to get; else what `cargo test` is to get.
pub(crate) fn run(here: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    match arguments.split_first() {
        None => everything(here),
        Some((first, rest)) if first == "python" => only_python(here, rest),
        Some(_) => only_cargo(here, arguments),
    }
}

fn everything(here: &Checkout) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    screen.step(1, 4, "Looking for what the tests need");
    look_for_compilers()?;
    let python = PythonTests::prepare(here, screen)?;

    screen.step(2, 4, "Building the shared library and the tests");
    build(here)?;

    screen.step(
        3,
        4,
        "Running every test of cargo: Rust, C, C++, and C under valgrind",
    );
    let cargo = here.cargo_checking_the_header(&["test", "--workspace", "--no-fail-fast"]);

    screen.step(
        4,
        4,
        "Python: formatting, lints, types, and its tests with the same library",
    );
    let python = python.run(&[]);
    say(&closing_lines(&cargo, &python));
    both(cargo, python)
}

/// Both results, which stand at the end because cargo's own may be thousands of lines above.
fn closing_lines(cargo: &Result<(), Failure>, python: &Result<(), Failure>) -> String {
    let word = |result: &Result<(), Failure>| if result.is_ok() { "passed" } else { "failed" };
    format!("\n{OF_CARGO}: {}\nPython: {}", word(cargo), word(python))
}

fn both(cargo: Result<(), Failure>, python: Result<(), Failure>) -> Result<(), Failure> {
    match (cargo, python) {
        (Err(cargo), Err(python)) => Err(Failure::new(format!("{cargo}\n{python}"))),
        (cargo, python) => cargo.and(python),
    }
}

/// Ends in pytest's own summary.
fn only_python(here: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    screen.step(1, 3, "Looking for Python");
    let python = PythonTests::prepare(here, screen)?;
    screen.step(2, 3, "Building the shared library and the gateway");
    let both = ["-p", "svantic", "-p", "svantic-gateway"];
    here.cargo_checking_the_header(&[&["build", "--lib", "--bins"], &both[..]].concat())?;
    screen.step(3, 3, "Checking and testing the package");
    python.run(arguments)
}

/// Ends in cargo's own summary: people and programs read the result there.
fn only_cargo(here: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    screen.step(1, 3, "Looking for what the C and C++ tests need");
    look_for_compilers()?;

    screen.step(2, 3, "Building the shared library and the tests");
    build(here)?;

    screen.step(
        3,
        3,
        "Running the tests in Rust, C, C++, and C under valgrind",
    );
    let mut command = vec!["test", "--workspace", "--no-fail-fast"];
    command.extend(arguments.iter().map(String::as_str));
    Err(here.become_cargo(&command))
}

fn look_for_compilers() -> Result<(), Failure> {
    let found = prerequisites::check(&[GCC, CXX_COMPILER, VALGRIND])?;
    say(&format!("found {}", found.join(", ")));
    Ok(())
}

/// The C programs link with the shared library, so it must stand before the first test runs. The test targets are built
/// along with it, because they decide the features of the dependencies: otherwise cargo would build twice.
fn build(here: &Checkout) -> Result<(), Failure> {
    here.cargo_checking_the_header(&["build", "--workspace", "--lib", "--bins", "--tests"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_either_side_fails_the_whole_and_both_are_named() {
        let failure = |what: &str| Err(Failure::new(what));
        assert!(both(Ok(()), Ok(())).is_ok());
        assert!(both(failure("of cargo"), Ok(())).is_err());
        assert!(both(Ok(()), failure("of pytest")).is_err());
        let text = both(failure("of cargo"), failure("of pytest"));
        let text = text.unwrap_err().to_string();
        assert!(
            text.contains("of cargo") && text.contains("of pytest"),
            "{text}"
        );
    }

    #[test]
    fn the_closing_lines_say_what_became_of_each_side() {
        let lines = closing_lines(&Ok(()), &Err(Failure::new("a test failed")));
        assert!(
            lines.ends_with("Rust, C and C++: passed\nPython: failed"),
            "{lines}"
        );
    }
}
