//! The agents of the demo. Each row of the table is one language: what it needs, how its example becomes a process, and
//! what it shows beside the calls that all of them get.

use std::process::Command;

use super::{changes, comeback, compile, crowd, interpret, joined::Joined, stage::Stage};
use crate::{
    failure::Failure,
    node::Node,
    prerequisites::{C_COMPILER, NODE, Needed, PYTHON},
};

/// One language and its example.
pub(super) struct Language {
    pub(super) name: &'static str,
    /// From the repository's root.
    pub(super) example: &'static str,
    pub(super) needs: Needed,
    /// Whether the program that was found will do.
    pub(super) fits: fn(&str) -> Result<(), Failure>,
    /// Makes the command that starts the example with the program that [`needs`](Self::needs) has found.
    pub(super) prepare: fn(&Stage<'_>, &Language, &str) -> Result<Command, Failure>,
    pub(super) shows: Part,
}

/// A step of the demo that belongs to one agent.
pub(super) struct Part {
    pub(super) title: &'static str,
    pub(super) play: fn(&mut Stage<'_>, &mut Joined) -> Result<(), Failure>,
}

pub(super) const LANGUAGES: &[Language] = &[
    Language {
        name: "C",
        example: "examples/c/agent.c",
        needs: C_COMPILER,
        fits: |_| Ok(()),
        prepare: compile::c,
        shows: Part {
            title: "C: SIGHUP brings a fresh token, one more capability and a session",
            play: changes::play,
        },
    },
    Language {
        name: "Python",
        example: "examples/python/agent.py",
        needs: PYTHON,
        fits: interpret::is_new_enough,
        prepare: interpret::python,
        shows: Part {
            title: "Python: the gateway cuts the connection and calls 1,000 times",
            play: comeback::play,
        },
    },
    Language {
        name: "Node",
        example: "examples/node/agent.mjs",
        needs: NODE,
        fits: |program| Node::at(program).map(drop),
        prepare: interpret::node,
        shows: Part {
            title: "Node: 5,000 calls, a thousand of them at any time",
            play: crowd::play,
        },
    },
];

/// "C, Python and Node", for sentences.
pub(super) fn names() -> String {
    let names: Vec<&str> = LANGUAGES.iter().map(|language| language.name).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}
