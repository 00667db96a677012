//! Tries a wheel the way a user would: in a fresh environment, on a path without Rust, with nothing of the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::json;
use svantic_gateway::{Answer, DispatchRequest, Gateway, Options};

use crate::{
    checkout::Checkout,
    demo::agent_process::AgentProcess,
    failure::Failure,
    python::{self, Interpreter, VirtualEnv},
    terminal::{Terminal, say},
};

const EXAMPLE: &str = "examples/python/agent.py";
const READY_WITHIN: Duration = Duration::from_mins(1);
const GONE_WITHIN: Duration = Duration::from_mins(1);

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
        let header = fs::read_to_string(here.root.join("include/svantic.h"));
        let abi = header.ok().and_then(|text| abi_version_in(&text));
        let abi =
            abi.ok_or_else(|| Failure::new("include/svantic.h does not say SVANTIC_ABI_VERSION"))?;
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
        let gateway = Gateway::start(Options::default())
            .map_err(|error| Failure::new(format!("the gateway did not start: {error}")))?;
        let mut program = self.python();
        program.arg(here.root.join(EXAMPLE));
        let mut agent = AgentProcess::start(program, "agent.py", &gateway, screen)?;
        let mut instance = None;
        agent.wait_until(&gateway, READY_WITHIN, "became ready", |seen| {
            let ready = seen.agents().find(|agent| agent.ready);
            instance = ready.map(|agent| agent.instance_id.clone());
            instance.is_some()
        })?;
        let request = DispatchRequest::new("find_order", json!({"order_id": "A17"}))
            .to(&instance.unwrap_or_default());
        let answer = gateway
            .dispatch(request)
            .map_err(|error| Failure::new(format!("the dispatch was lost: {error}")))?;
        let wanted = json!({"order_id": "A17", "state": "shipped"});
        match answer {
            Answer::Result(result) if result == wanted => {
                say(&format!(
                    "  find_order {{\"order_id\":\"A17\"}} -> {result}"
                ));
            }
            other => {
                let text = format!("{EXAMPLE} answered {other:?} and not {wanted}");
                return Err(Failure::new(text));
            }
        }
        agent.signal(rustix::process::Signal::TERM)?;
        let ended = agent.wait_for_exit(GONE_WITHIN)?;
        if !ended.success() {
            return Err(Failure::new(format!(
                "after SIGTERM the agent ended with {ended}, not with exit status 0"
            )));
        }
        let violations = gateway.violations();
        if violations.is_empty() {
            return Ok(());
        }
        let violations = violations.join("\n  ");
        Err(Failure::new(format!(
            "the agent broke the protocol:\n  {violations}"
        )))
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

fn abi_version_in(header: &str) -> Option<String> {
    let line = header
        .lines()
        .find_map(|line| line.strip_prefix("#define SVANTIC_ABI_VERSION "))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_abi_version_is_read_from_the_header() {
        let header = "#define SVANTIC_H\n#define SVANTIC_ABI_VERSION 7\n";
        assert_eq!(abi_version_in(header).as_deref(), Some("7"));
        assert_eq!(abi_version_in("#define SVANTIC_H\n"), None);
    }
}
