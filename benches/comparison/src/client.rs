//! A client under measurement: a process on a processor of its own, and what it costs.

use std::{
    fs, io,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::{Failure, link::PATIENCE};

/// How long a client that has nothing more to do may take to fall asleep: the kernel books a thread's time when it stops.
const REST: Duration = Duration::from_millis(5);
/// How often one that was told to end is looked after.
const LOOK: Duration = Duration::from_millis(10);

/// A running client. It is killed when this is dropped.
pub struct Client {
    child: Child,
}

impl Client {
    /// Starts a command in which `{port}` stands for the mesh's, with this in its environment besides.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(
        command: &[String],
        environment: &[(String, String)],
        port: u16,
        pinned: Option<&Processors>,
    ) -> Result<Self, Failure> {
        let mut words = command
            .iter()
            .map(|word| word.replace("{port}", &port.to_string()));
        let program = words
            .next()
            .ok_or_else(|| Failure::new("there is no command"))?;
        let mut command = Command::new(&program);
        command
            .args(words)
            .envs(environment.iter().cloned())
            .env("BENCH_URL", format!("http://127.0.0.1:{port}"))
            .stdin(Stdio::null());
        // A process begins on the processors of the thread that starts it.
        let started = match pinned {
            None => command.spawn(),
            Some(processors) => {
                take(processors.client)?;
                let started = command.spawn();
                take(processors.mesh)?;
                started
            }
        };
        let failed = |error: io::Error| Failure::new(format!("cannot start {program}: {error}"));
        let child = started.map_err(failed)?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        Ok(self.child.try_wait()?)
    }

    /// The time that all of its threads have had on a processor, once it rests.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn processor_time(&self) -> Result<Duration, Failure> {
        thread::sleep(REST);
        let mut nanoseconds: u64 = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.id()))?.flatten() {
            let booked = fs::read_to_string(task.path().join("schedstat"))?;
            let first: Option<u64> = booked.split(' ').next().and_then(|time| time.parse().ok());
            let unknown = || Failure::new("the kernel does not book the time of threads");
            nanoseconds += first.ok_or_else(unknown)?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Tells it to end, and waits until it has.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn end(mut self) -> Result<(), Failure> {
        signal(&self.child, Signal::TERM)?;
        wait(&mut self.child)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process of ours that was not waited for.
pub(crate) fn signal(child: &Child, what: Signal) -> Result<(), Failure> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let id = id.ok_or_else(|| Failure::new("it has no process id"))?;
    kill_process(id, what).map_err(|error| io::Error::from(error).into())
}

/// Waits for an end that was asked for.
pub(crate) fn wait(child: &mut Child) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() >= until {
            return Err(Failure::new("it does not end"));
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// One processor for the mesh and another one for the client, so that neither waits for the other.
#[derive(Debug, Clone, Copy)]
pub struct Processors {
    mesh: usize,
    client: usize,
}

impl Processors {
    /// Takes the mesh's for this thread and those that it starts. Nothing where there is only one processor.
    ///
    /// # Errors
    ///
    /// When the kernel does not allow it.
    pub fn pin() -> Result<Option<Self>, Failure> {
        let allowed = sched_getaffinity(None).map_err(io::Error::from)?;
        let mut numbers = (0..CpuSet::MAX_CPU).filter(|number| allowed.is_set(*number));
        let (Some(mesh), Some(client)) = (numbers.next(), numbers.next()) else {
            return Ok(None);
        };
        take(mesh)?;
        Ok(Some(Self { mesh, client }))
    }
}

/// From now on this thread and those that it starts run there only.
fn take(number: usize) -> Result<(), Failure> {
    let mut one = CpuSet::new();
    one.set(number);
    sched_setaffinity(None, &one).map_err(|error| io::Error::from(error).into())
}
