//! Compiles the agent in C the way the README tells people to.

use std::process::Command;

use super::stage::Stage;
use crate::{
    failure::Failure,
    library,
    terminal::{Colour, say},
};

/// Compiles and links the program; the command is what comes out.
pub(super) fn c(stage: &Stage<'_>, source: &str, compiler: &str) -> Result<Command, Failure> {
    let program = stage.folder.join("agent");
    let arguments = library::arguments_for_c(source, &program, &stage.library.folder);
    let shown = format!("  {compiler} {}", stage.shown(&arguments));
    say(&stage.screen.paint(Colour::Quiet, &shown));
    let ended = Command::new(compiler)
        .args(&arguments)
        .current_dir(&stage.here.root)
        .status()
        .map_err(|error| Failure::new(format!("cannot run {compiler}: {error}")))?;
    if ended.success() {
        Ok(Command::new(program))
    } else {
        Err(
            Failure::new(format!("{compiler} did not compile {source} ({ended})"))
                .hint("Its own messages above say why."),
        )
    }
}
