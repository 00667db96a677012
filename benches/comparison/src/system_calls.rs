//! How many system calls a client makes, as strace counts them.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    Failure,
    client::{Client, signal, wait},
};

/// Counts the calls of all threads of a client while something is done.
///
/// # Errors
///
/// When strace is not there or may not look, or when what is done fails.
pub fn count(
    client: &Client,
    folder: &Path,
    work: impl FnOnce() -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let file = folder.join(format!("system-calls-{}.txt", client.id()));
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-o"])
        .arg(&file)
        .args(["-p", &client.id().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(format!("strace: {error}")))?;
    let mut said = String::new();
    let mut stderr = strace.stderr.take().map(BufReader::new);
    if let Some(stderr) = &mut stderr {
        // The first line says that it looks now, or why it may not.
        stderr.read_line(&mut said)?;
    }
    let mut done = Err(Failure::new(said.trim()));
    if said.contains("attached") {
        done = work();
        signal(&strace, Signal::INT)?;
    }
    wait(&mut strace)?;
    done?;
    let counted = fs::read_to_string(&file)?;
    fs::remove_file(&file)?;
    total(&counted).ok_or_else(|| Failure::new("strace gave no total"))
}

/// The fourth column of the last row: `100.00    0.000123           1       123         4 total`.
fn total(table: &str) -> Option<u64> {
    let last = table.lines().rfind(|line| line.ends_with(" total"))?;
    last.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_with_and_without_errors() {
        let head = "% time     seconds  usecs/call     calls    errors syscall\n";
        let row = " 50.00    0.000100           1        60         3 read\n";
        let with = format!("{head}{row}100.00    0.000200           1       120         3 total\n");
        assert_eq!(total(&with), Some(120));
        let without = format!("{head}{row}100.00    0.000200           1       120 total\n");
        assert_eq!(total(&without), Some(120));
        assert_eq!(total(head), None);
    }
}
