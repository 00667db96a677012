//! Starts the examples that nobody compiles, from the checkout and with the package of the checkout.

use std::process::Command;

use super::stage::Stage;
use crate::{
    failure::Failure,
    node::{self, Node, Package},
    python,
    terminal::{Colour, say},
};

const PACKAGE: &str = "bindings/python/src";

/// The command that runs the example with the package's sources and the library that was just built.
// Its row in the table has the form of those that compile, which can fail.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn python(stage: &Stage<'_>, source: &str, program: &str) -> Result<Command, Failure> {
    let library = stage.library.file.display().to_string();
    let shown = [
        format!("SVANTIC_LIBRARY={library}"),
        format!("PYTHONPATH={PACKAGE}"),
        program.to_owned(),
        source.to_owned(),
    ];
    say(&stage
        .screen
        .paint(Colour::Quiet, &format!("  {}", stage.shown(&shown))));
    let mut command = Command::new(program);
    python::without_python_variables(&mut command);
    command
        .arg(stage.path(source))
        // In AgentProcess the caller's own SVANTIC_ variables are taken away; this one is set after that.
        .env("SVANTIC_LIBRARY", library)
        .env("PYTHONPATH", stage.path(PACKAGE))
        // Nothing of the demo stays in the source tree.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// The command that runs the example with the package as it was just built and the library likewise.
pub(super) fn node(stage: &Stage<'_>, source: &str, program: &str) -> Result<Command, Failure> {
    let package = Package::prepare(stage.here, Node::at(program)?)?;
    let build = format!("  npm run build   (in {})", node::PROJECT);
    say(&stage.screen.paint(Colour::Quiet, &build));
    package.build()?;
    let file = stage.path(source);
    if let Some(folder) = file.parent() {
        package.link_into(folder)?;
    }
    let library = stage.library.file.display().to_string();
    let shown = [
        format!("SVANTIC_LIBRARY={library}"),
        program.to_owned(),
        source.to_owned(),
    ];
    say(&stage
        .screen
        .paint(Colour::Quiet, &format!("  {}", stage.shown(&shown))));
    let mut command = package.node.command();
    command.arg(file).env("SVANTIC_LIBRARY", library);
    Ok(command)
}

/// Fails for a Python on which the package does not run.
pub(super) fn is_new_enough(program: &str) -> Result<(), Failure> {
    let another = "On Debian 11, Ubuntu 22.04 or newer, as root:  apt-get install python3\n\
        Elsewhere: put a newer python3 first on the PATH.";
    python::version_of(program.as_ref(), another).map(drop)
}
