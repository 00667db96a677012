//! Starts `examples/python/agent.py` from the checkout, with nothing installed.

use std::process::Command;

use super::{languages::Language, stage::Stage};
use crate::{
    failure::Failure,
    terminal::{Colour, say},
};

/// The oldest Python that the package runs on.
const OLDEST: (u32, u32) = (3, 9);
const PACKAGE: &str = "bindings/python/src";

/// The command that runs the example with the package's sources and the library that was just built.
// Its row in the table has the form of those that compile, which can fail.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn python(
    stage: &Stage<'_>,
    language: &Language,
    program: &str,
) -> Result<Command, Failure> {
    let library = stage.library.file.display().to_string();
    let shown = [
        format!("SVANTIC_LIBRARY={library}"),
        format!("PYTHONPATH={PACKAGE}"),
        program.to_owned(),
        language.example.to_owned(),
    ];
    say(&stage
        .screen
        .paint(Colour::Quiet, &format!("  {}", stage.shown(&shown))));
    let mut command = Command::new(program);
    command
        .arg(stage.path(language.example))
        // In AgentProcess the caller's own SVANTIC_ variables are taken away; this one is set after that.
        .env("SVANTIC_LIBRARY", library)
        .env("PYTHONPATH", stage.path(PACKAGE))
        // Nothing of the demo stays in the source tree.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// Fails for a Python on which the package does not run.
pub(super) fn is_new_enough(program: &str) -> Result<(), Failure> {
    let asked = Command::new(program)
        .args(["-c", "import sys; print(*sys.version_info[:2])"])
        .output()
        .map_err(|error| Failure::new(format!("cannot run {program}: {error}")))?;
    let said = String::from_utf8_lossy(&asked.stdout);
    match version(&said) {
        Some(found) if found >= OLDEST => Ok(()),
        Some((major, minor)) => Err(Failure::new(format!(
            "{program} is Python {major}.{minor}, and the package needs {}.{} or newer",
            OLDEST.0, OLDEST.1
        ))
        .hint("On Debian 11, Ubuntu 22.04 or newer, as root:  apt-get install python3\nElsewhere: put a newer python3 first on the PATH.")),
        None => Err(Failure::new(format!(
            "{program} did not say its version: {}",
            String::from_utf8_lossy(&asked.stderr).trim()
        ))),
    }
}

fn version(said: &str) -> Option<(u32, u32)> {
    let (major, minor) = said.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number_not_by_letter() {
        assert!(version("3 14\n").unwrap() > OLDEST);
        assert!(version("3 8\n").unwrap() < OLDEST);
        assert!(version("2 7").unwrap() < OLDEST);
        assert_eq!(version(""), None);
    }
}
