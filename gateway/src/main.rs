//! `svantic-gateway`: the local gateway as a command, for a newcomer's first five minutes.

mod command;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::run()
}
