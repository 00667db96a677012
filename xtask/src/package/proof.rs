//! Tries a wheel the way a user would: in a fresh environment, on a path without Rust, with nothing of the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{dispatch, native};
use crate::{
    checkout::Checkout,
    failure::Failure,
    python::{self, Interpreter, VirtualEnv},
    terminal::Terminal,
};

const EXAMPLE: &str = "examples/python/agent.py";

/// What the environment says about itself: no Rust in reach, the package from the environment, one version throughout.
const FACTS: &str = r#"
import ctypes, importlib.metadata, os, shutil, sys
import svantic
for tool in ("cargo", "rustc"):
    assert shutil.which(tool) is None, f"{tool} is in reach: {shutil.which(tool)}"
home = os.path.dirname(svantic.__file__)
assert home.startswith(sys.prefix), f"svantic is imported from {home}, not from {sys.prefix}"
library = ctypes.CDLL(os.path.join(home, "libsvantic.so"))
library.svantic_version.restype = ctypes.c_char_p
versions = {svantic.__version__, importlib.metadata.version("svantic"), library.svantic_version().decode(), sys.argv[1]}
assert len(versions) == 1, f"the versions of package, metadata, library and workspace differ: {versions}"
abi = library.svantic_abi_version()
assert str(abi) == sys.argv[2], f"the library has ABI version {abi}, the header {sys.argv[2]}"
print(f"  svantic {svantic.__version__}, ABI version {abi}, from {os.path.relpath(home, sys.prefix)}")
"#;

/// An environment with this wheel in it.
pub(super) struct Installed {
    environment: VirtualEnv,
    /// Empty, and where the programs run: Python imports from there first.
    folder: PathBuf,
}

impl Installed {
    pub(super) fn new(
        here: &Checkout,
        python: &Interpreter,
        name: &str,
        wheel: &Path,
    ) -> Result<Self, Failure> {
        let folder = here.target.join("python").join(name);
        let environment = VirtualEnv::empty(here, python, folder.clone())?;
        let mut pip = environment.pip();
        pip.args(["install", "--quiet", "--no-index"]).arg(wheel);
        python::run(pip, "pip install --no-index")?;
        let folder = folder.join("empty");
        fs::create_dir_all(&folder).map_err(|error| python::cannot_write(here, &folder, &error))?;
        Ok(Self {
            environment,
            folder,
        })
    }

    /// Imports the package and compares all versions.
    pub(super) fn tells_its_versions(&self, here: &Checkout) -> Result<(), Failure> {
        let abi = native::abi_version(here)?;
        let mut python = self.python();
        python.args(["-c", FACTS, env!("CARGO_PKG_VERSION"), &abi]);
        python::run(python, "python -c 'import svantic …'")
    }

    /// Lets the example serve a dispatch of a local gateway, and leave.
    pub(super) fn answers_a_dispatch(
        &self,
        here: &Checkout,
        screen: Terminal,
    ) -> Result<(), Failure> {
        let mut program = self.python();
        program.arg(here.root.join(EXAMPLE));
        dispatch::is_answered_by(program, "agent.py", screen)
    }

    /// A Python that finds no program but those of its environment.
    fn python(&self) -> Command {
        let mut python = self.environment.command("python");
        python
            .env("PATH", self.environment.programs())
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("SVANTIC_LIBRARY")
            .current_dir(&self.folder);
        python
    }
}
