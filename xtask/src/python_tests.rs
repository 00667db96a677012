//! The checks and tests of the Python package, against the library and the gateway of the debug build.

use std::{path::PathBuf, process::Command};

use crate::{
    checkout::Checkout,
    failure::Failure,
    library,
    python::{self, Interpreter, PROJECT, VirtualEnv},
    terminal::{Colour, Terminal, say},
};

/// Where Python stands in the repository; those that are not there yet are passed over.
const SOURCES: [&str; 4] = [
    PROJECT,
    "examples/python",
    "conformance/python",
    "tests/a2a",
];
/// Of these, what users read or import, and a program such as theirs: with every type checked.
const TYPED: [&str; 3] = [
    "bindings/python/src",
    "bindings/python/tests/typed",
    "examples/python",
];

/// Everything that is needed, ready to run.
pub(crate) struct PythonTests<'a> {
    here: &'a Checkout,
    tools: VirtualEnv,
    screen: Terminal,
}

/// The environment of the tools, with the servers that the package is tested with.
pub(crate) fn tools(here: &Checkout, python: &Interpreter) -> Result<VirtualEnv, Failure> {
    let requirements = format!("{PROJECT}/requirements-test.txt");
    let name = format!("tests-{}", python.version());
    VirtualEnv::with_requirements(here, python, &name, &requirements)
}

impl<'a> PythonTests<'a> {
    /// Makes the environment of the tools, once.
    pub(crate) fn prepare(here: &'a Checkout, screen: Terminal) -> Result<Self, Failure> {
        let python = Interpreter::find()?;
        let tools = tools(here, &python)?;
        say(&format!("found {python}"));
        Ok(Self {
            here,
            tools,
            screen,
        })
    }

    /// Formatting, lints, types and tests: all of them, even when one fails. With arguments, pytest alone with these.
    pub(crate) fn run(&self, arguments: &[String]) -> Result<(), Failure> {
        let mut failed = Vec::new();
        if arguments.is_empty() {
            for (name, command) in self.checks() {
                self.heading(name);
                failed.extend(python::run(command, name).err().map(|_| name));
            }
        }
        self.heading("pytest");
        let pytest = python::run(self.pytest(arguments), "pytest");
        failed.extend(pytest.err().map(|_| "pytest"));
        if failed.is_empty() {
            return Ok(());
        }
        let failed = failed.join(", ");
        Err(Failure::new(format!("failed for Python: {failed}"))
            .hint("Their own messages above say why."))
    }

    fn heading(&self, name: &str) {
        say(&self
            .screen
            .paint(Colour::Heading, &format!("\nPython: {name}")));
    }

    fn checks(&self) -> [(&'static str, Command); 4] {
        let settings = format!("{PROJECT}/pyproject.toml");
        let sources = self.there(&SOURCES);
        let mut lints = self.command("ruff");
        lints.args(["check", "--config", &settings]).args(&sources);
        let mut format = self.command("ruff");
        format
            .args(["format", "--check", "--config", &settings])
            .args(&sources);
        let mut mypy = self.command("mypy");
        mypy.args(["--strict", "--config-file", &settings])
            .args(self.there(&TYPED));
        let mut pyright = self.command("pyright");
        pyright
            .args(["--project", &settings, "--pythonpath"])
            .arg(self.tools.python());
        [
            ("ruff check", lints),
            ("ruff format --check", format),
            ("mypy --strict", mypy),
            ("pyright", pyright),
        ]
    }

    fn pytest(&self, arguments: &[String]) -> Command {
        let mut pytest = self.command("pytest");
        let built = self.here.target.join("debug");
        let cache = self.cache("pytest");
        pytest
            .current_dir(self.here.root.join(PROJECT))
            .arg("-o")
            .arg(format!("cache_dir={}", cache.display()))
            .args(arguments)
            .env("PYTHONPATH", self.here.root.join(PROJECT).join("src"))
            .env("SVANTIC_LIBRARY", built.join(library::file_name()))
            .env("SVANTIC_GATEWAY", built.join("svantic-gateway"));
        pytest
    }

    /// A tool that leaves nothing between the sources.
    fn command(&self, program: &str) -> Command {
        let mut command = self.tools.command(program);
        command
            .current_dir(&self.here.root)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // Its version is pinned; that there is a newer one is no news.
            .env("PYRIGHT_PYTHON_IGNORE_WARNINGS", "1")
            .env("RUFF_CACHE_DIR", self.cache("ruff"))
            .env("MYPY_CACHE_DIR", self.cache("mypy"));
        command
    }

    fn cache(&self, of: &str) -> PathBuf {
        self.here.target.join("python/cache").join(of)
    }

    fn there(&self, folders: &[&'static str]) -> Vec<&'static str> {
        let there = |folder: &&str| self.here.root.join(folder).is_dir();
        folders.iter().copied().filter(there).collect()
    }
}
