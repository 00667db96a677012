//! `cargo xtask demo --hosted`: the agents of the demo behind their own URLs. The mesh comes to them, and proves with each
//! call that it is the mesh.

mod forged;
mod leaving;
mod rotation;
mod switch;

use std::time::{Duration, Instant};

use svantic_gateway::{A2aMethod, Gateway, Options};

use super::{
    conversation::{self, Call, Expected},
    joined::Joined,
    languages, nothing_was_broken, prepare,
    stage::Stage,
    start_gateway,
};
use crate::{
    checkout::Checkout,
    failure::Failure,
    terminal::{Colour, Terminal, say},
};

const STEPS: usize = 8;

pub(crate) fn run(here: &Checkout) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    let (programs, library) = prepare(here, screen, STEPS)?;
    let built = Instant::now();

    screen.step(
        3,
        STEPS,
        "Starting the local gateway, which signs every call",
    );
    let secrets = [(); 2].map(|()| Gateway::new_dispatch_secret());
    let [first, next] = &secrets;
    let gateway = start_gateway(Options {
        dispatch_secret: Some(first.clone()),
        ..Options::default()
    })?;
    say(&format!("  listening on {}", gateway.url()));
    let mut stage = Stage::new(here, &library, &gateway, screen, "demo/hosted")?;
    stage.variables = vec![
        ("SVANTIC_DISPATCH_SECRET", first.clone()),
        ("SVANTIC_DISPATCH_SECRET_NEXT", next.clone()),
    ];

    let names = languages::names();
    let title = format!("Starting the agents in {names}, each with one line changed");
    screen.step(4, STEPS, &title);
    let joined = Joined::start_all(&mut stage, &programs, switch::write)?;

    screen.step(5, STEPS, "Sending all of them the same work, by POST");
    let mut calls = Vec::from(conversation::first_calls());
    calls.push(Call {
        what: "a stream of events",
        skill: "find_order",
        args: r#"{"order_id":"A17"}"#,
        by: A2aMethod::MessageStream,
        expected: Expected::Result(r#"{"order_id":"A17","state":"shipped"}"#),
    });
    conversation::hold(&stage, &joined, &calls)?;

    screen.step(6, STEPS, "Calls that are not the mesh's, or not new");
    forged::play(&stage, &joined)?;

    screen.step(7, STEPS, "The mesh signs with another secret from now on");
    rotation::play(&stage, &joined, next)?;

    screen.step(
        8,
        STEPS,
        "SIGTERM while calls arrive: each answers what it has taken, and leaves",
    );
    for agent in joined {
        leaving::play(&mut stage, agent)?;
    }
    nothing_was_broken(&gateway)?;
    sum_up(&gateway, screen, built.elapsed());
    Ok(())
}

fn sum_up(gateway: &Gateway, screen: Terminal, took: Duration) {
    let dispatches = gateway.ledger().entries().len();
    let heading = screen.paint(Colour::Heading, "What just happened");
    say(&format!(
        "\n{heading}
  The agents of `cargo xtask demo` became servers by one line of configuration each: the library listened, showed
  their cards, and verified each of {dispatches} calls before any of their code ran. What was forged got the same 401
  whatever was wrong with it, what came twice ran once, and a new secret cost no call. All this took {:.1} s after
  the build of the library.

Where to look next
  docs/hosted.md            agents behind a URL, also in a server of your own
  docs/a2a.md               what clients of A2A get from them
  examples/c/hosted_microhttpd.c
                            an agent in a C program with its own HTTP server
  cargo run -p svantic-gateway -- serve --watch --dispatch-secret SECRET
                            a gateway for your own agent, which shows every call",
        took.as_secs_f64(),
    ));
}
