//! The agent's process: started, listened to, signalled, and never left behind.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use svantic_gateway::{Gateway, Snapshot};

use super::request_log;
use crate::{
    failure::Failure,
    terminal::{Colour, Terminal, printable, say},
};

/// How long a wait for the gateway goes on before it looks whether the process still lives.
const LIFE_SIGN: Duration = Duration::from_millis(100);
const EXIT_RHYTHM: Duration = Duration::from_millis(10);

/// A running agent; dropped, it is killed.
pub(crate) struct AgentProcess {
    child: Child,
    ended: Option<ExitStatus>,
    readers: Vec<JoinHandle<()>>,
    said: Said,
}

/// The lines that the agent has written and nobody has shown yet.
type Said = Arc<Mutex<Vec<String>>>;

impl AgentProcess {
    /// Starts the program with the gateway's URL and credentials in its environment; `name` stands before its lines.
    ///
    /// They are kept for [`show_what_it_said`](Self::show_what_it_said), so that they do not come between the rows of a
    /// table, and shown when it ends.
    pub(crate) fn start(
        mut command: Command,
        name: &str,
        gateway: &Gateway,
        screen: Terminal,
    ) -> Result<Self, Failure> {
        // What the caller's shell says about another mesh or a proxy has no place here; what the command was given has.
        let given: Vec<_> = command.get_envs().map(|(key, _)| key.to_owned()).collect();
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy().to_ascii_uppercase();
            let foreign = text.starts_with("SVANTIC_") || text.ends_with("_PROXY");
            if foreign && !given.contains(&variable) {
                command.env_remove(&variable);
            }
        }
        // `cargo run` sets it for us; the agent is to find the library as it will without cargo.
        command.env_remove("LD_LIBRARY_PATH");
        let program = command.get_program().display().to_string();
        let mut child = command
            .env("SVANTIC_URL", gateway.url())
            .env("SVANTIC_CLIENT_ID", gateway.client_id())
            .env("SVANTIC_CLIENT_SECRET", gateway.client_secret())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(format!("cannot start {program}: {error}")))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut readers = Vec::new();
        let prefix = screen.paint(Colour::Agent, &format!("  {name} |"));
        let said = Said::default();
        readers.extend(stdout.map(|stdout| keep_lines(stdout, prefix.clone(), said.clone())));
        readers.extend(stderr.map(|stderr| keep_lines(stderr, prefix, said.clone())));
        Ok(Self {
            child,
            ended: None,
            readers,
            said,
        })
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), Failure> {
        // The number of a process that has been waited for may belong to another one.
        if let Some(ended) = self.poll()? {
            return Err(Failure::new(format!(
                "the agent has already ended: {ended}"
            )));
        }
        kill_process(Pid::from_child(&self.child), signal)
            .map_err(|error| Failure::new(format!("cannot signal the agent: {error}")))
    }

    /// Waits until the gateway has seen what the agent is to do; `what` completes "the agent …".
    pub(crate) fn wait_until(
        &mut self,
        gateway: &Gateway,
        timeout: Duration,
        what: &str,
        mut condition: impl FnMut(&Snapshot<'_>) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + timeout;
        while !gateway.wait_until(LIFE_SIGN, &mut condition) {
            if let Some(ended) = self.poll()? {
                self.finish_reading();
                let text = format!("the agent ended ({ended}) before it {what}");
                return Err(Failure::new(text).hint("If it said why, that stands above."));
            }
            if Instant::now() >= deadline {
                let seconds = timeout.as_secs();
                let text = format!("{seconds} s passed before the agent {what}");
                return Err(Failure::new(text).hint(request_log::seen_by(gateway)));
            }
        }
        Ok(())
    }

    pub(crate) fn wait_for_exit(&mut self, timeout: Duration) -> Result<ExitStatus, Failure> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(ended) = self.poll()? {
                self.finish_reading();
                return Ok(ended);
            }
            if Instant::now() >= deadline {
                let seconds = timeout.as_secs();
                return Err(Failure::new(format!(
                    "the agent was still running after {seconds} s"
                )));
            }
            thread::sleep(EXIT_RHYTHM);
        }
    }

    /// Shows the lines that have come since the last time.
    pub(crate) fn show_what_it_said(&self) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for line in said.drain(..) {
            say(&line);
        }
    }

    fn poll(&mut self) -> Result<Option<ExitStatus>, Failure> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .map_err(|error| Failure::new(format!("cannot watch the agent: {error}")))?;
        }
        Ok(self.ended)
    }

    /// Everything the agent said stands on the screen when this returns.
    fn finish_reading(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader that panicked has printed that itself.
            let _ = reader.join();
        }
        self.show_what_it_said();
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // An error means that it has just ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.finish_reading();
    }
}

fn keep_lines(pipe: impl Read + Send + 'static, prefix: String, said: Said) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        // An error ends the reading like the end of the pipe does.
        while pipe
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let text = String::from_utf8_lossy(&line);
            let text = format!("{prefix} {}", printable(text.trim_end()));
            said.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(text);
            line.clear();
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt,
        path::{Path, PathBuf},
    };

    use svantic_gateway::Options;

    use super::*;

    fn script(name: &str, text: &str) -> PathBuf {
        let file = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    fn start(program: &Path) -> (Gateway, AgentProcess) {
        let gateway = Gateway::start(Options::default()).unwrap();
        let command = Command::new(program);
        let screen = Terminal::for_stdout();
        let agent = AgentProcess::start(command, "a script", &gateway, screen).unwrap();
        (gateway, agent)
    }

    #[test]
    fn an_agent_that_ends_too_early_is_noticed_long_before_the_timeout() {
        let program = script("early", "exit 3");
        let (gateway, mut agent) = start(&program);
        let minute = Duration::from_mins(1);
        let began = Instant::now();
        let waited = agent.wait_until(&gateway, minute, "became ready", |_| false);
        let text = waited.unwrap_err().to_string();
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(began.elapsed() < minute / 2);
        assert!(agent.signal(Signal::HUP).is_err());
        fs::remove_file(program).unwrap();
    }

    #[test]
    fn what_the_command_was_given_reaches_the_agent() {
        let program = script("given", "[ \"$SVANTIC_LIBRARY\" = here ] && exit 7");
        let gateway = Gateway::start(Options::default()).unwrap();
        let mut command = Command::new(&program);
        command.env("SVANTIC_LIBRARY", "here");
        let screen = Terminal::for_stdout();
        let mut agent = AgentProcess::start(command, "a script", &gateway, screen).unwrap();
        let ended = agent.wait_for_exit(Duration::from_mins(1)).unwrap();
        assert_eq!(ended.code(), Some(7));
        fs::remove_file(program).unwrap();
    }

    #[test]
    fn an_agent_that_does_nothing_is_given_up_and_killed() {
        let program = script("idle", "exec sleep 600");
        let (gateway, mut agent) = start(&program);
        let soon = Duration::from_millis(300);
        assert!(
            agent
                .wait_until(&gateway, soon, "became ready", |_| false)
                .is_err()
        );
        assert!(agent.wait_for_exit(soon).is_err());
        let pid = Pid::from_child(&agent.child);
        drop(agent);
        assert!(rustix::process::test_kill_process(pid).is_err());
        fs::remove_file(program).unwrap();
    }
}
