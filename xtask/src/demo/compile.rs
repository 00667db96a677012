//! Compiles `examples/c/agent.c` the way the README tells people to.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    checkout::Checkout,
    failure::Failure,
    terminal::{Colour, Terminal, say},
};

/// Compiles and links the example and returns the program.
pub(super) fn agent(
    here: &Checkout,
    compiler: &str,
    library_folder: &Path,
    screen: Terminal,
) -> Result<PathBuf, Failure> {
    let folder = here.target.join("demo");
    fs::create_dir_all(&folder).map_err(|error| {
        let folder = here.shown(&folder);
        Failure::new(format!("cannot make the folder {folder}: {error}"))
    })?;
    let program = folder.join("agent");
    let library_folder = library_folder.display().to_string();
    let mut arguments: Vec<String> = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
        .map(str::to_owned)
        .to_vec();
    arguments.extend([
        "-Iinclude".to_owned(),
        "examples/c/agent.c".to_owned(),
        "-o".to_owned(),
        program.display().to_string(),
        format!("-L{library_folder}"),
        "-lsvantic".to_owned(),
        // So that the program finds the library without an installation or an environment variable.
        format!("-Wl,-rpath,{library_folder}"),
    ]);
    // Short on the screen: paths as seen from the repository's root.
    let root = format!("{}/", here.root.display());
    let shown = arguments.join(" ").replace(&root, "");
    say(&screen.paint(Colour::Quiet, &format!("  {compiler} {shown}")));
    let ended = Command::new(compiler)
        .args(&arguments)
        .current_dir(&here.root)
        .status()
        .map_err(|error| Failure::new(format!("cannot run {compiler}: {error}")))?;
    if ended.success() {
        Ok(program)
    } else {
        Err(Failure::new(format!(
            "{compiler} did not compile examples/c/agent.c ({ended})"
        ))
        .hint("Its own messages above say why."))
    }
}
