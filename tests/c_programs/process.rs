//! A C program's case as a child process, and the gateway that it talks to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use svantic_gateway::{Answer, DispatchRequest, Gateway, Options, PendingDispatch};

use crate::compiler;

/// How long anything may take before the test counts as hung. The programs kill themselves earlier.
pub(crate) const HANG: Duration = Duration::from_secs(90);

/// The instance id of every program that does not choose its own.
pub(crate) const INSTANCE: &str = "program";

/// What the program runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Under {
    /// The kernel alone.
    Nothing,
    /// valgrind, which ends it with 9 if it touches what it must not or loses memory.
    Valgrind,
}

pub(crate) fn gateway() -> Gateway {
    Gateway::start(Options::default()).expect("a gateway starts")
}

/// The running case of a program.
pub(crate) struct Case {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    what: String,
}

/// Starts a case of `c/<source>.c`, or several, one after the other, with spaces between them.
pub(crate) fn start(gateway: &Gateway, source: &str, case: &str) -> Case {
    start_under(Under::Nothing, gateway, source, case)
}

pub(crate) fn start_under(under: Under, gateway: &Gateway, source: &str, case: &str) -> Case {
    let program = compiler::program(&[&format!("c/{source}.c")]);
    Case::spawn(under, gateway, &program, case)
}

/// Runs a case that needs nothing of the test but a gateway.
pub(crate) fn run(source: &str, case: &str) {
    let gateway = gateway();
    start(&gateway, source, case).succeeds();
    assert_clean(&gateway);
}

/// Runs a case that is connected, dispatched to by `play`, and told to leave.
pub(crate) fn play(under: Under, source: &str, case: &str, play: impl FnOnce(&Gateway)) {
    let gateway = gateway();
    let mut case = start_under(under, &gateway, source, case);
    case.says("connected");
    play(&gateway);
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

impl Case {
    pub(crate) fn spawn(under: Under, gateway: &Gateway, program: &Path, case: &str) -> Self {
        Self::spawn_with(under, gateway, program, case, &[])
    }

    /// The same with more in the environment.
    pub(crate) fn spawn_with(
        under: Under,
        gateway: &Gateway,
        program: &Path,
        case: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = match under {
            Under::Nothing => Command::new(program),
            Under::Valgrind => {
                let mut command = Command::new("valgrind");
                command
                    .args(["--leak-check=full", "--errors-for-leak-kinds=definite"])
                    .args(["--show-leak-kinds=definite", "--error-exitcode=9", "-q"])
                    .arg(program)
                    .env("CHECK_SECONDS", "240");
                command
            }
        };
        command
            .args(case.split_whitespace())
            .env("SVANTIC_URL", gateway.url())
            .env("SVANTIC_CLIENT_ID", gateway.client_id())
            .env("SVANTIC_CLIENT_SECRET", gateway.client_secret())
            .env("SVANTIC_INSTANCE_ID", INSTANCE)
            .env(
                "CHECK_LIBRARY",
                compiler::library_dir().join("libsvantic.so"),
            )
            .env_remove("SVANTIC_TOKEN")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let mut stderr = child.stderr.take().expect("stderr is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self {
            child,
            stdin,
            lines,
            stderr: Some(stderr),
            what: format!("{} {case}", program.display()),
        }
    }

    /// The next line of the program.
    pub(crate) fn line(&mut self) -> String {
        if let Ok(line) = self.lines.recv() {
            return line;
        }
        let status = self.child.wait().expect("the program is a child");
        let complaint = self.complaint();
        panic!("{} ended with {status}:\n{complaint}", self.what);
    }

    /// Waits for the program to say this, which must be the next that it says.
    pub(crate) fn says(&mut self, expected: &str) {
        let line = self.line();
        assert_eq!(line, expected, "{}", self.what);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Says this to the program.
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("not closed");
        // If the program has ended, what it said is worth more than the broken pipe.
        let _ = writeln!(stdin, "{line}");
    }

    /// Waits for the end, which must be a success.
    pub(crate) fn succeeds(mut self) {
        let status = self.end();
        let complaint = self.complaint();
        assert!(
            status.success(),
            "{} ended with {status}:\n{complaint}",
            self.what
        );
    }

    /// Waits for the end, however it is.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.stdin = None;
        // All that it still has to say; this ends when the last copy of its stdout is closed.
        let rest: Vec<String> = self.lines.iter().collect();
        assert!(rest.is_empty(), "{} said {rest:?}", self.what);
        self.child.wait().expect("the program is a child")
    }

    fn complaint(&mut self) -> String {
        let stderr = self.stderr.take();
        stderr.map_or_else(String::new, |stderr| stderr.join().unwrap_or_default())
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        // A test that failed leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() && self.stderr.is_some() {
            let complaint = self.complaint();
            eprintln!("{}:\n{complaint}", self.what);
        }
    }
}

/// A dispatch without arguments to [`INSTANCE`] that stays open as long as a test may take.
pub(crate) fn send(gateway: &Gateway, skill: &str) -> PendingDispatch {
    send_args(gateway, skill, json!({}))
}

pub(crate) fn send_args(gateway: &Gateway, skill: &str, args: Value) -> PendingDispatch {
    gateway.begin_dispatch(DispatchRequest::new(skill, args).to(INSTANCE).within(HANG))
}

/// The result of a dispatch.
pub(crate) fn result(pending: &PendingDispatch) -> Value {
    match pending.wait(HANG) {
        Ok(Answer::Result(value)) => value,
        other => panic!("no result but {other:?}"),
    }
}

/// The code and the message of a dispatch that failed.
pub(crate) fn error(pending: &PendingDispatch) -> (String, String) {
    match pending.wait(HANG) {
        Ok(Answer::Error { code, message }) => (code, message),
        other => panic!("no error but {other:?}"),
    }
}

/// Every dispatch was answered exactly once, and the agent did nothing against the protocol.
pub(crate) fn assert_clean(gateway: &Gateway) {
    for entry in gateway.ledger().entries() {
        assert_eq!(entry.answers.len(), 1, "{entry:?}");
    }
    assert_eq!(gateway.violations(), Vec::<String>::new());
}
