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
    /// Makes the command that starts the source with the program that [`needs`](Self::needs) has found.
    pub(super) prepare: fn(&Stage<'_>, &str, &str) -> Result<Command, Failure>,
    pub(super) shows: Part,
    /// What makes the example an agent behind its own URL.
    pub(super) switch: Switch,
}

/// One line of an example that becomes another one.
pub(super) struct Switch {
    /// Without the space before it and the comment behind it.
    pub(super) line: &'static str,
    pub(super) hosted: &'static str,
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
        switch: Switch {
            line: r#"check(svantic_create(JSON({"name": "order-desk", "description": "Knows every order"}), &mesh));"#,
            hosted: r#"check(svantic_create(JSON({"name": "order-desk", "description": "Knows every order", "listen": "127.0.0.1:0"}), &mesh));"#,
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
        switch: Switch {
            line: "agent.run()",
            hosted: r#"agent.run(listen="127.0.0.1:0")"#,
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
        switch: Switch {
            line: "await agent.start();",
            hosted: "await agent.start({ listen: '127.0.0.1:0' });",
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn text_of(file: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    #[test]
    fn one_line_of_each_example_switches_it_and_the_pages_show_that_line() {
        let pages = ["README.md", "docs/hosted.md"].map(|page| (page, text_of(page)));
        for Language {
            name,
            example,
            switch,
            ..
        } in LANGUAGES
        {
            let times = text_of(example)
                .lines()
                .filter(|line| line.trim_start().starts_with(switch.line))
                .count();
            assert_eq!(times, 1, "{example} has not this line: {}", switch.line);
            // People have a port in mind, and the demo takes a free one.
            let shown = switch.hosted.replace("127.0.0.1:0", "127.0.0.1:8080");
            assert_ne!(shown, switch.hosted, "{name}");
            for (page, text) in &pages {
                let is_shown = text.contains(&format!("{shown}\n"));
                assert!(is_shown, "{page} does not show {shown}");
            }
        }
    }
}
