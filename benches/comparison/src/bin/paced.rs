//! Sends a client a fixed number of dispatches, 64 in one write and then none until all are answered, and tells it to end:
//! `svantic-paced DISPATCHES PROGRAM [ARGUMENTS]`, `{port}` among them. What the client does is then the same from run to
//! run, as far as it depends on what comes in: for counting its instructions and allocations.

use std::process::ExitCode;

use svantic_bench::{Failure, client::Client, load::Load, mesh::Mesh, traffic::WORKS};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let parsed = words
        .split_first()
        .and_then(|(number, command)| Some((number.parse().ok()?, command)));
    let done = match parsed {
        Some((dispatches, command)) => run(dispatches, command),
        None => Err(Failure::new(
            "usage: svantic-paced DISPATCHES PROGRAM [ARGUMENTS]",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("svantic-paced: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(dispatches: usize, command: &[String]) -> Result<(), Failure> {
    let mesh = Mesh::open()?;
    let mut client = Client::start(command, &[], mesh.port(), None)?;
    let mut link = mesh.link_of(&mut client)?;
    link.take_your_time();
    let mut load = Load::new(link);
    load.run_in_bursts(WORKS[0], dispatches)?;
    client.end()
}
