//! A driver as a child process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use svantic_gateway::Gateway;

use crate::face::Face;
use crate::record::{self, Record};
use crate::scenario::{End, Scenario};

/// How often the end of a process is looked for.
const RHYTHM: Duration = Duration::from_millis(5);

/// A running driver. It is killed with this value.
pub(crate) struct Driver {
    child: Mutex<Child>,
    stdin: Mutex<Option<ChildStdin>>,
    /// Whoever reads a line knows the commands by their number.
    commands: Mutex<Vec<String>>,
}

impl Driver {
    /// Or what this machine lacks for it.
    pub(crate) fn start(
        scenario: &Scenario,
        face: &Face,
        delivery: &str,
        gateway: &Gateway,
    ) -> Result<Self, String> {
        let mut command = (face.command)()?;
        command
            .arg(delivery)
            .arg(scenario.config(&gateway.url(), delivery).to_string())
            .args(scenario.handlers())
            .env("SVANTIC_CLIENT_ID", gateway.client_id())
            .env("SVANTIC_CLIENT_SECRET", gateway.client_secret())
            .env_remove("SVANTIC_TOKEN")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Self {
            stdin: Mutex::new(child.stdin.take()),
            child: Mutex::new(child),
            commands: Mutex::new(vec!["connect".to_owned()]),
        })
    }

    /// Enters every line in the record, until the driver ends; then what it complained of.
    pub(crate) fn listen(&self, record: &Record) -> String {
        let (stdout, stderr) = {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            (
                child.stdout.take().expect("a pipe"),
                child.stderr.take().expect("a pipe"),
            )
        };
        thread::scope(|scope| {
            let complaint = scope.spawn(move || {
                let mut bytes = Vec::new();
                let _ = BufReader::new(stderr).read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            });
            for text in BufReader::new(stdout).lines().map_while(Result::ok) {
                let line = {
                    let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
                    record::line(&text, &commands)
                };
                record.push(line);
            }
            complaint.join().unwrap_or_default()
        })
    }

    /// Gives it a command. One that has ended hears nothing, which its exit code tells better.
    pub(crate) fn say(&self, command: &str) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.push(command.split(' ').next().unwrap_or_default().to_owned());
        if let Some(stdin) = &mut *self.stdin.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(stdin, "{command}");
        }
    }

    /// Tells it to leave.
    pub(crate) fn end(&self, how: End) {
        match how {
            End::Eof => *self.stdin.lock().unwrap_or_else(PoisonError::into_inner) = None,
            End::Quit => self.say("quit"),
            End::Sigterm => {
                let id = self
                    .child
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .id();
                let _ = Command::new("kill")
                    .args(["-TERM", &id.to_string()])
                    .status();
            }
        }
    }

    /// Its exit code, `None` if it was ended by a signal: by ours, if it is not gone at `until`.
    pub(crate) fn exit(&self, until: Instant) -> Option<i32> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        while Instant::now() < until {
            match child.try_wait() {
                Ok(Some(status)) => return status.code(),
                // There is no wait with a time limit in the standard library.
                Ok(None) => thread::sleep(RHYTHM),
                Err(_) => break,
            }
        }
        let _ = child.kill();
        child.wait().ok().and_then(|status| status.code())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
