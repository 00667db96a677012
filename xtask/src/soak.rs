//! `cargo xtask soak`: hours of mixed faults against the connector, in the debug build: it checks overflows and the
//! table of transitions, and is built already.

use crate::{checkout::Checkout, failure::Failure};

/// Ends as the soak does: its table is the last that is printed, its exit code is ours.
pub(crate) fn run(here: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let mut command = vec!["run", "-p", "svantic-rig", "--bin", "svantic-soak", "--"];
    command.extend(arguments.iter().map(String::as_str));
    Err(here.become_cargo(&command))
}
