//! `cargo xtask test`: every test of the repository.

use crate::{
    a2a_tests::A2aTests,
    checkout::Checkout,
    failure::Failure,
    node_tests::NodeTests,
    prerequisites::{self, CJSON, CXX_COMPILER, GCC, MICROHTTPD, VALGRIND},
    python_tests::PythonTests,
    terminal::{Terminal, say},
};

/// What became of one side, under its name; with the number of its tests where its own summary is not the last of all.
type Verdict = (&'static str, Result<Option<usize>, Failure>);

/// What cargo runs, as it stands in the closing lines.
const OF_CARGO: &str = "Rust, C and C++";

/// Without arguments everything; `python` and what pytest is to get; `node` and the tests that are wanted; `a2a` and the
/// agents that are wanted; else what `cargo test` is to get.
pub(crate) fn run(here: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    match arguments.split_first() {
        None => everything(here),
        Some((first, rest)) if first == "python" => only_python(here, rest),
        Some((first, rest)) if first == "node" => only_node(here, rest),
        Some((first, rest)) if first == "a2a" => only_a2a(here, rest),
        Some(_) => only_cargo(here, arguments),
    }
}

fn everything(here: &Checkout) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    screen.step(1, 6, "Looking for what the tests need");
    look_for_compilers()?;
    let python = PythonTests::prepare(here, screen)?;
    let node = NodeTests::prepare(here, screen)?;
    let a2a = A2aTests::prepare(here, screen)?;

    screen.step(
        2,
        6,
        "Building the shared library, the tests and the Node package",
    );
    build(here)?;
    // Before cargo's tests, because the conformance scenarios are among them.
    node.build()?;

    screen.step(
        3,
        6,
        "Running every test of cargo: Rust, C, C++, and C under valgrind",
    );
    let cargo = here.cargo_checking_the_header(&["test", "--workspace", "--no-fail-fast"]);

    screen.step(
        4,
        6,
        "Python: formatting, lints, types, and its tests with the same library",
    );
    let python = python.run(&[]);

    screen.step(5, 6, "Node: types, and its tests with the same library");
    let node_tests = node.run(&[]);

    screen.step(6, 6, "A2A: hosted agents, called by the official clients");
    let a2a = a2a.run(&node, &[]);
    let verdicts = [
        (OF_CARGO, cargo.map(|()| None)),
        ("Python", python.map(|()| None)),
        ("Node", node_tests.map(Some)),
        ("A2A", a2a.map(Some)),
    ];
    say(&closing_lines(&verdicts));
    all(verdicts)
}

/// All results, which stand at the end because cargo's own may be thousands of lines above.
fn closing_lines(verdicts: &[Verdict]) -> String {
    let line = |(name, outcome): &Verdict| match outcome {
        Ok(None) => format!("\n{name}: passed"),
        Ok(Some(tests)) => format!("\n{name}: {tests} tests passed"),
        Err(_) => format!("\n{name}: failed"),
    };
    verdicts.iter().map(line).collect()
}

fn all<const SIDES: usize>(verdicts: [Verdict; SIDES]) -> Result<(), Failure> {
    let failures = verdicts
        .into_iter()
        .filter_map(|(_, outcome)| outcome.err());
    let texts: Vec<String> = failures.map(|failure| failure.to_string()).collect();
    if texts.is_empty() {
        return Ok(());
    }
    Err(Failure::new(texts.join("\n")))
}

/// Ends in pytest's own summary.
fn only_python(here: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    screen.step(1, 3, "Looking for Python");
    let python = PythonTests::prepare(here, screen)?;
    screen.step(2, 3, "Building the shared library and the gateway");
    build_what_packages_need(here)?;
    screen.step(3, 3, "Checking and testing the package");
    python.run(arguments)
}

/// Ends in the summary of Node's own test runner.
fn only_node(here: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    screen.step(1, 3, "Looking for Node");
    let node = NodeTests::prepare(here, screen)?;
    screen.step(
        2,
        3,
        "Building the shared library, the gateway and the package",
    );
    build_what_packages_need(here)?;
    node.build()?;
    screen.step(3, 3, "Checking and testing the package");
    node.run(arguments).map(drop)
}

/// Ends in how many of the clients' checks passed.
fn only_a2a(here: &Checkout, words: &[String]) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    screen.step(
        1,
        3,
        "Looking for Python and Node, and for the official clients",
    );
    let node = NodeTests::prepare(here, screen)?;
    let a2a = A2aTests::prepare(here, screen)?;
    screen.step(2, 3, "Building the shared library and the Node package");
    here.cargo_checking_the_header(&["build", "-p", "svantic", "--lib"])?;
    node.build()?;
    screen.step(3, 3, "Calling hosted agents");
    let passed = a2a.run(&node, words)?;
    say(&format!("\nA2A: {passed} tests passed"));
    Ok(())
}

fn build_what_packages_need(here: &Checkout) -> Result<(), Failure> {
    let both = ["-p", "svantic", "-p", "svantic-gateway"];
    here.cargo_checking_the_header(&[&["build", "--lib", "--bins"], &both[..]].concat())
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
    let found = prerequisites::check(&[GCC, CXX_COMPILER, VALGRIND, MICROHTTPD, CJSON])?;
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

    fn failure(what: &str) -> Result<Option<usize>, Failure> {
        Err(Failure::new(what))
    }

    #[test]
    fn a_failure_of_any_side_fails_the_whole_and_all_of_them_are_named() {
        assert!(all([("one", Ok(None)), ("other", Ok(Some(3)))]).is_ok());
        assert!(all([("one", failure("of cargo")), ("other", Ok(None))]).is_err());
        assert!(all([("one", Ok(None)), ("other", failure("of pytest"))]).is_err());
        let text = all([
            ("one", failure("of cargo")),
            ("other", failure("of pytest")),
        ]);
        let text = text.unwrap_err().to_string();
        assert!(
            text.contains("of cargo") && text.contains("of pytest"),
            "{text}"
        );
    }

    #[test]
    fn the_closing_lines_say_what_became_of_each_side() {
        let lines = closing_lines(&[
            (OF_CARGO, Ok(None)),
            ("Python", failure("a test failed")),
            ("Node", Ok(Some(12))),
        ]);
        assert!(
            lines.ends_with("\nRust, C and C++: passed\nPython: failed\nNode: 12 tests passed"),
            "{lines}"
        );
    }
}
