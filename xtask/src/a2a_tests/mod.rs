//! Hosted agents in each language, called by the official clients of A2A as programs that know nothing of this library.

mod agent;
mod clients;

use crate::{
    checkout::Checkout,
    failure::Failure,
    node_tests::NodeTests,
    prerequisites::{self, C_COMPILER},
    python::{Interpreter, VirtualEnv},
    python_tests,
    terminal::{Colour, Terminal, say},
};
use agent::{AGENTS, Agent, Running};
use clients::Clients;

/// The tests, from the repository's root.
const FOLDER: &str = "tests/a2a";

/// Who knows it is believed, where an agent believes only them.
const SECRET: &str = "what the mesh and the desk know";

/// Everything that is needed, ready to run.
pub(crate) struct A2aTests<'a> {
    here: &'a Checkout,
    compiler: String,
    clients: Clients<'a>,
    /// What the package of Python is tested with, servers among it.
    servers: VirtualEnv,
    screen: Terminal,
}

impl<'a> A2aTests<'a> {
    /// Installs the clients, once.
    pub(crate) fn prepare(here: &'a Checkout, screen: Terminal) -> Result<Self, Failure> {
        let compiler = prerequisites::check(&[C_COMPILER])?.swap_remove(0);
        let python = Interpreter::find()?;
        let clients = Clients::prepare(here, &python)?;
        let servers = python_tests::tools(here, &python)?;
        Ok(Self {
            here,
            compiler,
            clients,
            servers,
            screen,
        })
    }

    /// Every client against every agent, even when one fails; and once more against an agent that believes nobody without
    /// a secret. Says how many checks passed. With words, the agents that have one of them in their name.
    pub(crate) fn run(&self, node: &NodeTests<'_>, words: &[String]) -> Result<usize, Failure> {
        let wanted = |agent: &&Agent| {
            let name = agent.name.to_lowercase();
            words.is_empty() || words.iter().any(|word| name.contains(&word.to_lowercase()))
        };
        let agents: Vec<&Agent> = AGENTS.iter().filter(wanted).collect();
        let Some(first) = agents.first() else {
            let text = format!("no agent has {words:?} in its name");
            return Err(Failure::new(text));
        };
        let open = agents.iter().map(|agent| (*agent, None));
        let (mut passed, mut failed) = (0, Vec::new());
        for (agent, secret) in open.chain([(*first, Some(SECRET))]) {
            let name = match secret {
                None => format!("A2A: an agent in {}", agent.name),
                Some(_) => format!("A2A: an agent in {} with a secret", agent.name),
            };
            say(&self.screen.paint(Colour::Heading, &format!("\n{name}")));
            match self.against(agent, node, secret) {
                Ok(more) => passed += more,
                Err(failure) => {
                    say(&failure.to_string());
                    failed.push(name);
                }
            }
        }
        if failed.is_empty() {
            return Ok(passed);
        }
        let failed = failed.join(", ");
        Err(
            Failure::new(format!("failed with official clients: {failed}"))
                .hint("Their own messages above say why."),
        )
    }

    fn against(
        &self,
        agent: &Agent,
        node: &NodeTests<'_>,
        secret: Option<&str>,
    ) -> Result<usize, Failure> {
        let command = (agent.prepare)(self, node)?;
        let running = Running::start(command, agent.name, secret)?;
        let played = self.clients.play(&running.url, secret);
        running.end()?;
        played
    }
}
