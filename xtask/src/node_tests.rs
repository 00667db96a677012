//! The build, the checks and the tests of the Node package, against the library and the gateway of the debug build.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    checkout::Checkout,
    failure::Failure,
    library,
    node::{Node, PROJECT, Package},
    python,
    terminal::{Colour, Terminal, say},
};

/// In milliseconds, many times what the longest takes: a failed test that leaves a connection open keeps its process, and
/// would keep the whole run, for ever.
const FILE_WITHIN: &str = "--test-timeout=600000";

/// Everything that is needed, ready to run.
pub(crate) struct NodeTests<'a> {
    here: &'a Checkout,
    package: Package<'a>,
    screen: Terminal,
}

impl<'a> NodeTests<'a> {
    /// Installs what the package is built with, once.
    pub(crate) fn prepare(here: &'a Checkout, screen: Terminal) -> Result<Self, Failure> {
        let node = Node::find()?;
        say(&format!("found {node}"));
        let package = Package::prepare(here, node)?;
        Ok(Self {
            here,
            package,
            screen,
        })
    }

    /// Compiles the package: its tests, the examples and the conformance scenarios run what this makes.
    pub(crate) fn build(&self) -> Result<(), Failure> {
        self.heading("npm run build");
        self.package.build()
    }

    /// Types and tests of what was built: both, even when one fails. Says how many tests passed. With arguments, the tests
    /// alone: of the files that one of the words is in the name of, with options for the runner.
    pub(crate) fn run(&self, arguments: &[String]) -> Result<usize, Failure> {
        let mut failed = Vec::new();
        if arguments.is_empty() {
            self.heading("npm run check:types");
            let checked = python::run(self.package.script("check:types"), "npm run check:types");
            failed.extend(checked.err().map(|_| "npm run check:types"));
        }
        self.heading("node --test");
        let passed = said_how_many_passed(self.tests(arguments)?)?;
        match passed {
            Some(passed) if failed.is_empty() => return Ok(passed),
            Some(_) => {}
            None => failed.push("node --test"),
        }
        let failed = failed.join(", ");
        Err(Failure::new(format!("failed for Node: {failed}"))
            .hint("Their own messages above say why."))
    }

    /// What runs them.
    pub(crate) fn node(&self) -> &Node {
        &self.package.node
    }

    fn heading(&self, name: &str) {
        say(&self
            .screen
            .paint(Colour::Heading, &format!("\nNode: {name}")));
    }

    /// What `npm test` runs. The files are named one by one: Node 20 expands no patterns, and takes options only before
    /// them.
    fn tests(&self, arguments: &[String]) -> Result<Command, Failure> {
        let (options, words): (Vec<&String>, _) =
            arguments.iter().partition(|word| word.starts_with('-'));
        let files = test_files(&self.package.folder(), &words)?;
        let built = self.here.target.join("debug");
        let mut node = self.package.node.command();
        node.args(["--test", "--test-reporter=spec", FILE_WITHIN])
            .args(options)
            .args(files)
            .current_dir(self.package.folder())
            .env("SVANTIC_LIBRARY", built.join(library::file_name()))
            .env("SVANTIC_GATEWAY", built.join("svantic-gateway"));
        Ok(node)
    }
}

/// The tests of the package, from its folder; with words those that have one of them in their name.
fn test_files(package: &Path, words: &[&String]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("test")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(package.join(&folder))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = folder.join(entry.file_name());
            let name = path.to_string_lossy();
            if entry.path().is_dir() {
                folders.push(path);
            } else if name.ends_with(".test.mjs")
                && (words.is_empty() || words.iter().any(|word| name.contains(word.as_str())))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        let text = format!("{PROJECT}/test holds no *.test.mjs with {words:?} in its name");
        return Err(Failure::new(text));
    }
    Ok(found)
}

/// Shows what the runner says as it comes, and reads its summary. Nothing when a test failed, or when none ran: a runner
/// that finds no tests is content.
fn said_how_many_passed(mut tests: Command) -> Result<Option<usize>, Failure> {
    let failed = |error| Failure::new(format!("cannot run `node --test`: {error}"));
    let mut child = tests.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut passed = 0;
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line).map_err(failed)? > 0 {
            let text = String::from_utf8_lossy(&line);
            say(text.trim_end_matches('\n'));
            passed = passed_in(&text).unwrap_or(passed);
            line.clear();
        }
    }
    let ended = child.wait().map_err(failed)?;
    Ok((ended.success() && passed > 0).then_some(passed))
}

/// "ℹ pass 12" of the reporter for people, "# pass 12" of the one for pipes that older versions choose by themselves.
fn passed_in(line: &str) -> Option<usize> {
    let mut words = line.split_whitespace();
    let mark = words.next()?;
    let is_summary = ["ℹ", "#"].contains(&mark) && words.next() == Some("pass");
    let number = words
        .next()
        .filter(|_| is_summary && words.next().is_none());
    number?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn the_number_of_passed_tests_is_read_from_either_summary() {
        assert_eq!(passed_in("ℹ pass 12\n"), Some(12));
        assert_eq!(passed_in("# pass 3\n"), Some(3));
        assert_eq!(passed_in("ok 1 - a pass 3 of the gateway\n"), None);
        assert_eq!(passed_in("# pass 3 of the gateway\n"), None);
        assert_eq!(passed_in("\n"), None);
    }

    #[test]
    fn tests_are_found_by_words_in_their_names_and_support_is_none() {
        let package = std::env::temp_dir().join(format!("xtask-node-{}", std::process::id()));
        fs::create_dir_all(package.join("test/lower")).unwrap();
        for file in ["signals.test.mjs", "lower/socket.test.mjs", "gateway.mjs"] {
            fs::write(package.join("test").join(file), "").unwrap();
        }
        let all = test_files(&package, &[]).unwrap();
        let socket = test_files(&package, &[&"socket".to_owned()]).unwrap();
        let nothing = test_files(&package, &[&"gateway".to_owned()]);
        fs::remove_dir_all(package).unwrap();
        let names = ["test/lower/socket.test.mjs", "test/signals.test.mjs"].map(PathBuf::from);
        assert_eq!(all, names);
        assert_eq!(socket, names[..1]);
        assert!(nothing.is_err());
    }

    #[test]
    fn a_run_without_a_single_test_is_no_success() {
        let passed = |script| said_how_many_passed(shell(script)).unwrap();
        assert_eq!(passed("echo '# pass 2'"), Some(2));
        assert_eq!(passed("echo '# pass 0'"), None);
        assert_eq!(passed("echo nothing"), None);
        assert_eq!(passed("echo '# pass 2'; exit 1"), None);
    }
}
