//! `cargo xtask demo`: agents in several languages join one local gateway, work, change and leave, and each step is
//! shown from the gateway's side: what is printed is what it recorded, not what was meant to happen.

pub(crate) mod agent_process;
mod changes;
mod comeback;
mod compile;
mod conversation;
mod crowd;
pub(crate) mod hosted;
mod interpret;
mod joined;
mod languages;
mod request_log;
mod stage;
mod under_way;

use std::time::{Duration, Instant};

use svantic_gateway::{Gateway, Options};

use crate::{
    checkout::Checkout,
    failure::Failure,
    library::{self, Built},
    prerequisites,
    terminal::{Colour, Terminal, say},
};
use joined::Joined;
use languages::LANGUAGES;
use stage::Stage;

/// Those that all agents share, and one for each.
const STEPS: usize = 6 + LANGUAGES.len();

pub(crate) fn run(here: &Checkout) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    let (programs, library) = prepare(here, screen, STEPS)?;
    let built = Instant::now();

    screen.step(3, STEPS, "Starting the local gateway, which plays the mesh");
    let gateway = start_gateway(Options::default())?;
    say(&format!("  listening on {}", gateway.url()));
    let mut stage = Stage::new(here, &library, &gateway, screen, "demo")?;

    let title = format!("Starting the agents in {}", languages::names());
    screen.step(4, STEPS, &title);
    let mut joined = Joined::start_all(&mut stage, &programs, |_, language| {
        Ok(language.example.to_owned())
    })?;

    screen.step(5, STEPS, "Sending all of them the same work");
    conversation::hold(&stage, &joined, &conversation::first_calls())?;

    for (agent, number) in joined.iter_mut().zip(6..) {
        screen.step(number, STEPS, agent.language.shows.title);
        (agent.language.shows.play)(&mut stage, agent)?;
        agent.process.show_what_it_said();
    }

    screen.step(
        STEPS,
        STEPS,
        "SIGTERM: each finishes what is running and leaves",
    );
    for agent in joined {
        agent.leave(&mut stage)?;
    }
    nothing_was_broken(&gateway)?;
    sum_up(&gateway, screen, built.elapsed());
    Ok(())
}

/// The first two steps: finds the program of each language, and builds the library.
fn prepare(
    here: &Checkout,
    screen: Terminal,
    steps: usize,
) -> Result<(Vec<String>, Built), Failure> {
    let title = format!("Looking for what the agents in {} need", languages::names());
    screen.step(1, steps, &title);
    let programs = find_programs()?;
    screen.step(
        2,
        steps,
        "Building libsvantic (dev profile, which builds fastest)",
    );
    Ok((programs, library::build_for_development(here)?))
}

/// A gateway of this process.
pub(crate) fn start_gateway(options: Options) -> Result<Gateway, Failure> {
    Gateway::start(options)
        .map_err(|error| Failure::new(format!("the gateway did not start: {error}")))
}

/// The program of each language, if all are there and new enough.
fn find_programs() -> Result<Vec<String>, Failure> {
    let needed: Vec<_> = LANGUAGES.iter().map(|language| language.needs).collect();
    let programs = prerequisites::check(&needed)?;
    for (language, program) in LANGUAGES.iter().zip(&programs) {
        (language.fits)(program)?;
    }
    say(&format!("  found {}", programs.join(", ")));
    Ok(programs)
}

fn nothing_was_broken(gateway: &Gateway) -> Result<(), Failure> {
    let violations = gateway.violations();
    if violations.is_empty() {
        return Ok(());
    }
    let violations = violations.join("\n  ");
    Err(Failure::new(format!(
        "an agent broke the protocol:\n  {violations}"
    )))
}

fn sum_up(gateway: &Gateway, screen: Terminal, took: Duration) {
    let ledger = gateway.ledger();
    let entries = ledger.entries();
    let answers: usize = entries.iter().map(|entry| entry.answers.len()).sum();
    let dispatches = entries.len();
    let heading = screen.paint(Colour::Heading, "What just happened");
    let names = languages::names();
    let examples: Vec<String> = LANGUAGES
        .iter()
        .map(|language| {
            let (file, name) = (language.example, language.name);
            format!("  {file:<24}  the agent in {name} that you just saw")
        })
        .collect();
    let examples = examples.join("\n");
    say(&format!(
        "\n{heading}
  Programs of one file, in {names}, became agents on the mesh through the same libsvantic.so. They got
  {dispatches} dispatches and gave {answers} answers; those that did not fit the schema or named no capability were
  refused by the library and never reached their code. One renewed its token, learned a capability and
  kept a session without a new connection; another one's connection was cut, and it lost no call; a third
  one answered thousands at once on its one thread. They left nothing open, and the gateway saw no breach
  of the protocol. All this took {:.1} s after the build of the library.

Where to look next
{examples}
  include/svantic.h         every function of the library, with its manual
  bindings/python/docs/     every name of the Python package
  bindings/node/docs/       every name of the Node package
  README.md                 how to build your own
  cargo run -p svantic-gateway -- serve --watch
                            a gateway for your own agent, which shows every frame",
        took.as_secs_f64(),
    ));
}
