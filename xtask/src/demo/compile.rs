//! Compiles the agent in C the way the README tells people to.

use std::process::Command;

use super::stage::Stage;
use crate::{
    failure::Failure,
    terminal::{Colour, say},
};

/// Compiles and links the program; the command is what comes out.
pub(super) fn c(stage: &Stage<'_>, source: &str, compiler: &str) -> Result<Command, Failure> {
    let program = stage.folder.join("agent");
    let library_folder = stage.library.folder.display().to_string();
    let mut arguments: Vec<String> = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
        .map(str::to_owned)
        .to_vec();
    arguments.extend([
        "-Iinclude".to_owned(),
        source.to_owned(),
        "-o".to_owned(),
        program.display().to_string(),
        format!("-L{library_folder}"),
        "-lsvantic".to_owned(),
        // So that the program finds the library without an installation or an environment variable.
        format!("-Wl,-rpath,{library_folder}"),
    ]);
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
