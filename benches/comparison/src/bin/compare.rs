//! Measures the clients of a plan in turns: `svantic-compare PLAN FOLDER`. Leaves `performance.md`, `performance.svg` and
//! `performance.json` in the folder, and prints the first.

use std::{
    collections::BTreeSet,
    fs,
    io::{Write as _, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use serde_json::json;
use svantic_bench::{
    Failure,
    client::{Client, Processors},
    figures::{Cell, Row, float},
    load::{Amount, Load},
    mesh::Mesh,
    plan::{Entry, Plan},
    plot, system_calls, table,
    traffic::{WORKS, Work},
};

/// For how many dispatches system calls are counted.
const COUNTED: usize = 20_000;
/// What part of the time each kind of work is done before it is measured.
const WARM_UP: u32 = 4;

fn main() -> ExitCode {
    let words: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [plan, folder] = words.as_slice() else {
        eprintln!("usage: svantic-compare PLAN FOLDER");
        return ExitCode::FAILURE;
    };
    match compare(plan, folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("svantic-compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn compare(plan: &Path, folder: &Path) -> Result<(), Failure> {
    let mut plan = Plan::read(plan)?;
    let processors = Processors::pin()?;
    if processors.is_none() {
        let text =
            "there is one processor only: the clients have shared it with what measured them";
        plan.left_out.push(text.to_owned());
    }
    let mut rows: Vec<Row> = plan.clients.iter().map(Row::new).collect();
    // In each round for the same reason.
    let mut missing = BTreeSet::new();
    for round in 1..=plan.rounds {
        for (client, row) in plan.clients.iter().zip(&mut rows) {
            progress(&format!(
                "round {round} of {}: {}",
                plan.rounds, client.name
            ));
            let about = |failure: Failure| failure.about(&client.name);
            let mesh = Mesh::open()?;
            match start(client, &mesh, processors.as_ref()) {
                Ok(started) => measure(started, row, plan.span).map_err(about)?,
                Err(failure) => {
                    missing.insert(about(failure).to_string());
                }
            }
        }
    }
    for (client, row) in plan.clients.iter().zip(&mut rows) {
        if row.is_empty() {
            continue;
        }
        progress(&format!("system calls: {}", client.name));
        match calls_of(client, folder, processors.as_ref()) {
            Ok(calls) => row.system_calls = Some(calls),
            Err(failure) => {
                let text = format!("system calls of {}: {failure}", client.name);
                plan.left_out.push(text);
            }
        }
    }
    plan.left_out.extend(missing);
    rows.retain(|row| !row.is_empty());
    let written = table::write(&plan, &rows);
    let figures: Vec<_> = rows.iter().map(Row::json).collect();
    let figures = json!({"heading": plan.heading, "left_out": plan.left_out, "clients": figures});
    fs::write(folder.join("performance.md"), &written)?;
    fs::write(folder.join("performance.svg"), plot::write(&plan, &rows))?;
    fs::write(folder.join("performance.json"), format!("{figures:#}\n"))?;
    progress(&format!("\n{written}"));
    Ok(())
}

/// A reader that has gone away is no reason to stop half-way.
fn progress(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}

fn start(
    entry: &Entry,
    mesh: &Mesh,
    processors: Option<&Processors>,
) -> Result<(Load, Client), Failure> {
    let (command, environment) = (&entry.command, &entry.environment);
    let mut client = Client::start(command, environment, mesh.port(), processors)?;
    let link = mesh.link_of(&mut client)?;
    // The client goes first in the end: it would say that the mesh has left it.
    Ok((Load::new(link), client))
}

fn measure(
    (mut load, client): (Load, Client),
    row: &mut Row,
    span: Duration,
) -> Result<(), Failure> {
    for work in WORKS {
        row.add(work.name, cell(&client, &mut load, work, span)?);
    }
    Ok(())
}

fn cell(client: &Client, load: &mut Load, work: Work, span: Duration) -> Result<Cell, Failure> {
    load.run(work, Amount::For(span / WARM_UP))?;
    let before = client.processor_time()?;
    let mut seen = load.run(work, Amount::For(span))?;
    let used = client.processor_time()?.saturating_sub(before);
    let dispatches = float(seen.dispatches);
    Ok(Cell {
        processor_us: used.as_secs_f64() * 1e6 / dispatches,
        round_trip_us: seen.typical_round_trip().as_secs_f64() * 1e6,
        per_second: dispatches / seen.took.as_secs_f64(),
    })
}

fn calls_of(entry: &Entry, folder: &Path, processors: Option<&Processors>) -> Result<f64, Failure> {
    let mesh = Mesh::open()?;
    let (mut load, client) = start(entry, &mesh, processors)?;
    load.run(WORKS[0], Amount::Dispatches(COUNTED))?;
    let work = || load.run(WORKS[0], Amount::Dispatches(COUNTED)).map(drop);
    let calls = system_calls::count(&client, folder, work)?;
    let calls = usize::try_from(calls).unwrap_or(usize::MAX);
    Ok(float(calls) / float(COUNTED))
}
