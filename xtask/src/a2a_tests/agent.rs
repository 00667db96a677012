//! The agents that are called: a program a way of being served.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{A2aTests, FOLDER};
use crate::{failure::Failure, library, node_tests::NodeTests, python};

const SERVES_WITHIN: Duration = Duration::from_mins(1);
const ENDS_WITHIN: Duration = Duration::from_mins(1);

/// A program with the capabilities that `cases.json` calls. It gets its configuration as its last argument, says where it
/// serves in its first line, and ends with its standard input.
pub(super) struct Agent {
    pub(super) name: &'static str,
    /// Makes the command that starts it.
    pub(super) prepare: fn(&A2aTests<'_>, &NodeTests<'_>) -> Result<Command, Failure>,
}

pub(super) const AGENTS: &[Agent] = &[
    Agent {
        name: "C, with the library's own server",
        prepare: c,
    },
    Agent {
        name: "Python, with the library's own server",
        prepare: |tests, _| Ok(tests.python_desk("listen")),
    },
    Agent {
        name: "Python, as an ASGI application",
        prepare: |tests, _| Ok(tests.python_desk("asgi")),
    },
    Agent {
        name: "Python, as a WSGI application",
        prepare: |tests, _| Ok(tests.python_desk("wsgi")),
    },
    Agent {
        name: "Node, with the library's own server",
        prepare: |tests, node| Ok(tests.node_desk(node, "listen")),
    },
    Agent {
        name: "Node, on a server of node:http",
        prepare: |tests, node| Ok(tests.node_desk(node, "http")),
    },
    Agent {
        name: "Node, on an app of Express",
        prepare: |tests, node| Ok(tests.node_desk(node, "express")),
    },
];

impl A2aTests<'_> {
    fn python_desk(&self, how: &str) -> Command {
        let mut command = self.servers.command("python");
        command
            .arg(self.here.root.join(FOLDER).join("agents/desk.py"))
            .arg(how)
            .env(
                "PYTHONPATH",
                self.here.root.join(python::PROJECT).join("src"),
            )
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("SVANTIC_LIBRARY", self.library());
        command
    }

    fn node_desk(&self, node: &NodeTests<'_>, how: &str) -> Command {
        let mut command = node.node().command();
        command
            .arg(self.here.root.join(FOLDER).join("agents/desk.mjs"))
            .arg(how)
            .env("SVANTIC_LIBRARY", self.library());
        command
    }

    fn library(&self) -> PathBuf {
        self.here.target.join("debug").join(library::file_name())
    }
}

fn c(tests: &A2aTests<'_>, _: &NodeTests<'_>) -> Result<Command, Failure> {
    let folder = tests.here.target.join("a2a");
    fs::create_dir_all(&folder)
        .map_err(|error| python::cannot_write(tests.here, &folder, &error))?;
    let program = folder.join("desk");
    let source = format!("{FOLDER}/agents/desk.c");
    let library_folder = tests.here.target.join("debug");
    let mut compile = Command::new(&tests.compiler);
    compile
        .args(library::arguments_for_c(&source, &program, &library_folder))
        .current_dir(&tests.here.root);
    python::run(compile, &format!("{} desk.c", tests.compiler))?;
    Ok(Command::new(program))
}

/// An agent's process; gone when this is.
pub(super) struct Running {
    child: Child,
    name: &'static str,
    /// Where it serves.
    pub(super) url: String,
}

impl Running {
    /// Starts it and waits until it serves.
    pub(super) fn start(
        mut command: Command,
        name: &'static str,
        secret: Option<&str>,
    ) -> Result<Self, Failure> {
        let mut config = json!({
            "name": "desk", "description": "What the official A2A clients call", "local": true,
            "default_capability": "hear", "listen": "127.0.0.1:0",
        });
        if let Some(secret) = secret {
            config["dispatch_auth"] = json!({"scheme": "shared_secret", "required": true});
            config["shared_secret"] = secret.into();
        }
        for (variable, _) in std::env::vars_os() {
            let about_agents = variable.to_string_lossy().starts_with("SVANTIC_");
            if about_agents && !command.get_envs().any(|(set, _)| set == variable) {
                command.env_remove(variable);
            }
        }
        let child = command
            .arg(config.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(format!("cannot start the agent in {name}: {error}")))?;
        let mut this = Self {
            child,
            name,
            url: String::new(),
        };
        this.url = this.first_line()?;
        Ok(this)
    }

    fn first_line(&mut self) -> Result<String, Failure> {
        let (said, line) = mpsc::channel();
        if let Some(stdout) = self.child.stdout.take() {
            // Reads on, so that the agent is never stopped by a full pipe.
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = said.send(line);
                }
            });
        }
        let line = line.recv_timeout(SERVES_WITHIN).ok();
        line.filter(|line| line.starts_with("http"))
            .ok_or_else(|| self.failed("did not say where it serves"))
    }

    /// Ends it as its users would, and checks that it is content.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let until = Instant::now() + ENDS_WITHIN;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.failed(&format!("ended with {status}"))),
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
                Ok(None) => return Err(self.failed("did not end with its standard input")),
                Err(error) => return Err(self.failed(&format!("cannot be waited for: {error}"))),
            }
        }
    }

    fn failed(&self, what: &str) -> Failure {
        Failure::new(format!("the agent in {} {what}", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Of one that has ended nothing is left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
