//! The faces of the library: how a program in each language is made and started.

use std::process::Command;

use crate::{compiler, interpreter};

/// A language's way to the library, with a driver in `conformance/<name>/`.
pub(crate) struct Face {
    pub(crate) name: &'static str,
    pub(crate) deliveries: &'static [&'static str],
    /// The driver, ready for its arguments; or what is missing on this machine.
    pub(crate) command: fn() -> Result<Command, String>,
}

/// A new language is a new line.
pub(crate) const FACES: &[Face] = &[
    Face {
        name: "c",
        deliveries: &["callbacks", "inline", "pull"],
        command: || {
            Ok(Command::new(compiler::program(&[
                "../conformance/c/driver.c",
            ])))
        },
    },
    Face {
        name: "python",
        deliveries: &["sync", "asyncio"],
        command: || interpreter::python("conformance/python/driver.py"),
    },
    Face {
        name: "node",
        deliveries: &["promises"],
        command: || interpreter::node("conformance/node/driver.mjs"),
    },
];
