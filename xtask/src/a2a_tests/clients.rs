//! The official clients, in the versions that `tests/a2a` pins.

use std::process::{Command, Stdio};

use super::FOLDER;
use crate::{
    checkout::Checkout,
    failure::Failure,
    node::Node,
    python::{Interpreter, VirtualEnv},
    terminal::say,
};

/// What the clients in Python need.
const OLDEST_PYTHON: (u32, u32) = (3, 10);

/// Where they are installed.
pub(super) struct Clients<'a> {
    here: &'a Checkout,
    node: Node,
    python_1: VirtualEnv,
    python_0_3: VirtualEnv,
}

impl<'a> Clients<'a> {
    pub(super) fn prepare(here: &'a Checkout, python: &Interpreter) -> Result<Self, Failure> {
        python.must_be(OLDEST_PYTHON, "the official A2A client")?;
        let node = Node::find()?;
        node.install(here, FOLDER, "a2a-installed-from.txt")?;
        let env = |protocol: &str| {
            let name = format!("a2a-{protocol}-{}", python.version());
            let requirements = format!("{FOLDER}/requirements-{protocol}.txt");
            VirtualEnv::with_requirements(here, python, &name, &requirements)
        };
        Ok(Self {
            here,
            node,
            python_1: env("1")?,
            python_0_3: env("0.3")?,
        })
    }

    /// Lets each of them play all its cases, those for today's protocol the old one too. Says how many checks passed.
    pub(super) fn play(&self, url: &str, secret: Option<&str>) -> Result<usize, Failure> {
        let mut passed = 0;
        let mut failed = Vec::new();
        for (client, wire) in [
            ("python_1.py", Some("1.0")),
            ("python_1.py", Some("0.3")),
            ("python_0_3.py", None),
            ("node_1.mjs", Some("1.0")),
            ("node_1.mjs", Some("0.3")),
            ("node_0_3.mjs", None),
        ] {
            let mut command = self.command(client);
            command.arg(url).args(wire);
            if let Some(secret) = secret {
                command.env("A2A_SHARED_SECRET", secret);
            }
            match said_how_many_passed(command, client)? {
                Some(more) => passed += more,
                None => failed.push(client),
            }
        }
        if failed.is_empty() {
            return Ok(passed);
        }
        Err(Failure::new(format!("failed: {}", failed.join(", "))))
    }

    fn command(&self, client: &str) -> Command {
        let folder = self.here.root.join(FOLDER).join("clients");
        let mut command = match client {
            "python_1.py" => self.python_1.command("python"),
            "python_0_3.py" => self.python_0_3.command("python"),
            _ => self.node.command(),
        };
        command
            .arg(folder.join(client))
            .current_dir(folder)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// Shows what the client says, and reads its last line. Nothing when a case failed.
fn said_how_many_passed(mut command: Command, client: &str) -> Result<Option<usize>, Failure> {
    let ended = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("cannot run {client}: {error}")))?;
    let text = String::from_utf8_lossy(&ended.stdout);
    say(text.trim_end());
    let passed = text.lines().last().and_then(passed_in);
    Ok(passed.filter(|passed| ended.status.success() && *passed > 0))
}

/// "Python a2a-sdk 1.3.0 in A2A 1.0: 28 of 28 passed"
fn passed_in(line: &str) -> Option<usize> {
    let (_, numbers) = line.rsplit_once(": ")?;
    let (passed, of) = numbers.strip_suffix(" passed")?.split_once(" of ")?;
    passed.parse().ok().filter(|_| passed == of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_whose_cases_all_passed_is_content() {
        let client = "Python a2a-sdk 1.3.0 in A2A 1.0";
        assert_eq!(passed_in(&format!("{client}: 28 of 28 passed")), Some(28));
        assert_eq!(passed_in(&format!("{client}: 27 of 28 passed")), None);
        assert_eq!(passed_in(client), None);
        assert_eq!(passed_in(""), None);

        let said = |script| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            said_how_many_passed(shell, "sh").unwrap()
        };
        assert_eq!(said("echo 'c: 2 of 2 passed'"), Some(2));
        assert_eq!(said("echo 'c: 0 of 0 passed'"), None);
        assert_eq!(said("echo 'c: 2 of 2 passed'; exit 1"), None);
        assert_eq!(said("exit 0"), None);
    }
}
