//! Python on this machine: its interpreter, and the virtual environments, which are the only place where a Debian
//! lets pip put anything (PEP 668).

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    checkout::Checkout,
    failure::Failure,
    prerequisites::{self, PYTHON},
    terminal::say,
};

/// The package's sources, from the repository's root.
pub(crate) const PROJECT: &str = "bindings/python";

/// The oldest Python that the package runs on.
const OLDEST: (u32, u32) = (3, 9);
/// In an environment that is complete: what it was made from.
const MADE_FROM: &str = "svantic-made-from.txt";

/// A Python that can make virtual environments.
pub(crate) struct Interpreter {
    program: OsString,
    version: (u32, u32),
    /// Its whole version and where it is: environments of another one are of no use to it.
    identity: String,
}

impl Interpreter {
    pub(crate) fn find() -> Result<Self, Failure> {
        let program = OsString::from(&prerequisites::check(&[PYTHON])?[0]);
        let another = "SVANTIC_PYTHON=/path/to/python3 chooses another one.";
        let (version, identity) = version_of(&program, another)?;
        let found = Self {
            program,
            version,
            identity,
        };
        found.check_venv()?;
        Ok(found)
    }

    /// Debian splits this module off.
    fn check_venv(&self) -> Result<(), Failure> {
        let asked = Command::new(&self.program)
            .args(["-c", "import ensurepip, venv"])
            .output();
        if asked.is_ok_and(|asked| asked.status.success()) {
            return Ok(());
        }
        let text = format!("{self} has no module venv, which makes the environment for the tools");
        Err(Failure::new(text).hint(
            "On Debian or Ubuntu, as root:  apt-get install python3 python3-venv\nElsewhere: the packages of the same names.",
        ))
    }

    /// "3.11"
    pub(crate) fn version(&self) -> String {
        dotted(self.version)
    }

    /// Fails for one on which something does not run that asks for more than the package does.
    pub(crate) fn must_be(&self, oldest: (u32, u32), what: &str) -> Result<(), Failure> {
        if self.version >= oldest {
            return Ok(());
        }
        let text = format!(
            "{self} is too old for {what}, which needs {}",
            dotted(oldest)
        );
        Err(Failure::new(text).hint("SVANTIC_PYTHON=/path/to/python3 chooses another one."))
    }
}

impl std::fmt::Display for Interpreter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (Python {})", self.program.display(), self.version())
    }
}

/// A virtual environment.
pub(crate) struct VirtualEnv {
    folder: PathBuf,
}

impl VirtualEnv {
    /// One with the packages of a requirements file: made once, and anew when the file or the interpreter changes.
    pub(crate) fn with_requirements(
        here: &Checkout,
        python: &Interpreter,
        name: &str,
        requirements: &str,
    ) -> Result<Self, Failure> {
        let file = here.root.join(requirements);
        let wanted = fs::read_to_string(&file)
            .map_err(|error| Failure::new(format!("cannot read {requirements}: {error}")))?;
        let wanted = format!("{}{wanted}", python.identity);
        let folder = here.target.join("python").join(name);
        let marker = folder.join(MADE_FROM);
        if fs::read_to_string(&marker).is_ok_and(|made_from| made_from == wanted) {
            return Ok(Self { folder });
        }
        say(&format!(
            "making {} with the packages of {requirements}",
            here.shown(&folder)
        ));
        let made = Self::empty(here, python, folder)?;
        let mut pip = made.pip();
        pip.args(["install", "--quiet", "--requirement"]).arg(&file);
        run(pip, &format!("pip install --requirement {requirements}"))?;
        fs::write(&marker, wanted).map_err(|error| cannot_write(here, &marker, &error))?;
        Ok(made)
    }

    /// One with nothing but pip; what stood there before goes.
    pub(crate) fn empty(
        here: &Checkout,
        python: &Interpreter,
        folder: PathBuf,
    ) -> Result<Self, Failure> {
        let mut venv = Command::new(&python.program);
        venv.args(["-m", "venv", "--clear"]).arg(&folder);
        without_python_variables(&mut venv);
        run(venv, &format!("{python} -m venv {}", here.shown(&folder)))?;
        Ok(Self { folder })
    }

    pub(crate) fn pip(&self) -> Command {
        let mut pip = self.command("python");
        pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]);
        pip
    }

    /// A program of the environment, which finds the environment's other programs before the machine's.
    pub(crate) fn command(&self, program: &str) -> Command {
        let programs = self.programs();
        let mut command = Command::new(programs.join(program));
        let path = env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(programs).chain(env::split_paths(&path));
        // Nobody can have a folder with a colon in its name on the path.
        if let Ok(path) = env::join_paths(path) {
            command.env("PATH", path);
        }
        command.env("VIRTUAL_ENV", &self.folder);
        without_python_variables(&mut command);
        command
    }

    pub(crate) fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    pub(crate) fn python(&self) -> PathBuf {
        self.programs().join("python")
    }
}

/// The version, and all that the interpreter says about itself; fails for one on which the package does not run.
pub(crate) fn version_of(program: &OsStr, another: &str) -> Result<((u32, u32), String), Failure> {
    let shown = program.display();
    let failed = |text: String| Err(Failure::new(text).hint(another));
    let asked = Command::new(program)
        .args([
            "-c",
            "import sys; print(*sys.version_info[:2]); print(sys.version, sys.base_prefix)",
        ])
        .output();
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => return failed(format!("cannot run {shown}: {error}")),
    };
    let said = String::from_utf8_lossy(&asked.stdout);
    let Some(version) = said.lines().next().and_then(version_in) else {
        let complaint = String::from_utf8_lossy(&asked.stderr);
        let complaint = complaint.trim();
        return failed(format!("{shown} did not say its version: {complaint}"));
    };
    if version < OLDEST {
        return failed(format!(
            "{shown} is Python {}, and the package needs {} or newer",
            dotted(version),
            dotted(OLDEST)
        ));
    }
    Ok((version, said.into_owned()))
}

/// Runs a command that says itself what goes wrong.
pub(crate) fn run(mut command: Command, shown: &str) -> Result<(), Failure> {
    let ended = command
        .status()
        .map_err(|error| Failure::new(format!("cannot run `{shown}`: {error}")))?;
    if ended.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{shown}` failed ({ended})")).hint("Its own messages above say why."))
}

pub(crate) fn cannot_write(here: &Checkout, file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", here.shown(file)))
}

/// What the caller's shell says about Python (`PYTHONPATH`, `PYTHONHOME`, …) is not about this environment.
pub(crate) fn without_python_variables(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if is_about_python(&name) {
            command.env_remove(&name);
        }
    }
}

fn is_about_python(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with("PYTHON")
}

fn dotted((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

fn version_in(line: &str) -> Option<(u32, u32)> {
    let (major, minor) = line.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number_not_by_letter() {
        assert!(version_in("3 14\n").unwrap() > OLDEST);
        assert!(version_in("3 8\n").unwrap() < OLDEST);
        assert!(version_in("2 7").unwrap() < OLDEST);
        assert_eq!(version_in("Python"), None);
    }

    #[test]
    fn only_variables_of_the_interpreter_are_taken_away() {
        assert!(is_about_python(OsStr::new("PYTHONPATH")));
        assert!(!is_about_python(OsStr::new("SVANTIC_PYTHON")));
        assert!(!is_about_python(OsStr::new("PIP_INDEX_URL")));
    }
}
