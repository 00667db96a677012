//! The interpreters of the languages that are not compiled.

use std::process::Command;
use std::sync::OnceLock;

use crate::compiler;

/// Names the Python to test with, in place of the first `python3` of the `PATH`.
const PYTHON: &str = "SVANTIC_PYTHON";

/// Says where the interpreter itself is: what the `PATH` finds may be a script that looks for it, each time anew. Fails on
/// a Python that the package does not support.
const WHERE: &str = "import sys; sys.version_info < (3, 9) and sys.exit(1); print(sys.executable)";

/// A Python that runs this file of the checkout, with the package of the checkout and the library of this build.
pub(crate) fn python(driver: &str) -> Result<Command, String> {
    static FOUND: OnceLock<Result<String, String>> = OnceLock::new();
    let interpreter = FOUND
        .get_or_init(|| usable(std::env::var(PYTHON).ok()))
        .clone()?;
    let root = compiler::root();
    let mut command = Command::new(interpreter);
    command
        // Without what is installed beside it: the package needs none of that, and a machine's own additions to the start
        // of every interpreter can take longer than a scenario.
        .arg("-S")
        // Compiled once for all drivers, and not into the checkout.
        .env_remove("PYTHONDONTWRITEBYTECODE")
        .env(
            "PYTHONPYCACHEPREFIX",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/pycache"),
        )
        // What a driver complains of is UTF-8, whatever the machine speaks.
        .env("PYTHONUTF8", "1")
        .env("PYTHONPATH", root.join("bindings/python/src"))
        .env(
            "SVANTIC_LIBRARY",
            compiler::library_dir().join("libsvantic.so"),
        )
        .arg(root.join(driver));
    Ok(command)
}

/// The interpreter that was asked for, if it is there and can run the package.
pub(crate) fn usable(asked_for: Option<String>) -> Result<String, String> {
    let asked_for = asked_for.filter(|name| !name.is_empty());
    let remedy = match &asked_for {
        Some(_) => format!(
            "Set {PYTHON} to a Python 3.9 or newer, or unset it for the python3 of the PATH."
        ),
        None => format!(
            "Install Python 3.9 or newer (on Debian or Ubuntu, as root: apt-get install python3), \
             or name one in {PYTHON}."
        ),
    };
    let interpreter = asked_for.unwrap_or_else(|| "python3".to_owned());
    match Command::new(&interpreter).args(["-c", WHERE]).output() {
        Ok(done) if done.status.success() && done.stdout.starts_with(b"/") => {
            Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
        }
        Ok(_) => Err(format!(
            "{interpreter:?} is not Python 3.9 or newer. {remedy}"
        )),
        Err(error) => Err(format!(
            "the Python {interpreter:?} cannot be started: {error}. {remedy}"
        )),
    }
}
