//! The interpreters of the languages that are not compiled.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::compiler;

/// What runs the drivers of a face.
pub(crate) struct Interpreter {
    language: &'static str,
    oldest: &'static str,
    /// Names the one to test with, in place of the first `program` of the `PATH`.
    variable: &'static str,
    program: &'static str,
    packages: &'static str,
    /// Says where the interpreter itself is: what the `PATH` finds may be a script that looks for it, each time anew. Fails
    /// on one that the package does not support.
    whereabouts: [&'static str; 2],
}

pub(crate) const PYTHON: Interpreter = Interpreter {
    language: "Python",
    oldest: "3.9",
    variable: "SVANTIC_PYTHON",
    program: "python3",
    packages: "(on Debian or Ubuntu, as root: apt-get install python3)",
    whereabouts: [
        "-c",
        "import sys; sys.version_info < (3, 9) and sys.exit(1); print(sys.executable)",
    ],
};

pub(crate) const NODE: Interpreter = Interpreter {
    language: "Node.js",
    oldest: "20",
    variable: "SVANTIC_NODE",
    program: "node",
    packages: "(Debian 13 has 20: as root, apt-get install nodejs npm)",
    whereabouts: [
        "-e",
        "parseInt(process.versions.node) < 20 && process.exit(1); console.log(process.execPath)",
    ],
};

/// A Python that runs this file of the checkout, with the package of the checkout and the library of this build.
pub(crate) fn python(driver: &str) -> Result<Command, String> {
    static FOUND: OnceLock<Result<String, String>> = OnceLock::new();
    let interpreter = FOUND.get_or_init(|| PYTHON.found()).clone()?;
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
        .env("SVANTIC_LIBRARY", library())
        .arg(root.join(driver));
    Ok(command)
}

/// A Node.js that runs this file of the checkout, with the package as it was built there and the library of this build.
pub(crate) fn node(driver: &str) -> Result<Command, String> {
    static FOUND: OnceLock<Result<String, String>> = OnceLock::new();
    let root = compiler::root();
    let found = || {
        let interpreter = NODE.found()?;
        built_package(&root.join("bindings/node"))?;
        Ok(interpreter)
    };
    let mut command = Command::new(FOUND.get_or_init(found).clone()?);
    command
        // What it tells every program to do beside its work, such as to listen for a debugger, is not a driver's.
        .env_remove("NODE_OPTIONS")
        .env("SVANTIC_LIBRARY", library())
        .arg(root.join(driver));
    Ok(command)
}

/// What only npm and the compiler of TypeScript can make.
pub(crate) fn built_package(package: &Path) -> Result<(), String> {
    let parts = ["node_modules/koffi/package.json", "dist/index.js"];
    match parts.iter().find(|part| !package.join(part).is_file()) {
        None => Ok(()),
        Some(part) => Err(format!(
            "the Node package is not built: there is no {part} in {}. Run `cargo xtask test node`, which prepares \
             it, or there `npm ci && npm run build`.",
            package.display()
        )),
    }
}

fn library() -> std::path::PathBuf {
    compiler::library_dir().join("libsvantic.so")
}

impl Interpreter {
    /// The one that the environment names, or that of the `PATH`.
    fn found(&self) -> Result<String, String> {
        self.usable(std::env::var(self.variable).ok())
    }

    /// The interpreter that was asked for, if it is there and can run the package.
    pub(crate) fn usable(&self, asked_for: Option<String>) -> Result<String, String> {
        let Self {
            language,
            oldest,
            variable,
            program,
            packages,
            ..
        } = self;
        let asked_for = asked_for.filter(|name| !name.is_empty());
        let remedy = match &asked_for {
            Some(_) => format!(
                "Set {variable} to a {language} {oldest} or newer, or unset it for the {program} of the PATH."
            ),
            None => {
                format!(
                    "Install {language} {oldest} or newer {packages}, or name one in {variable}."
                )
            }
        };
        let interpreter = asked_for.unwrap_or_else(|| (*program).to_owned());
        match Command::new(&interpreter).args(self.whereabouts).output() {
            Ok(done) if done.status.success() && done.stdout.starts_with(b"/") => {
                Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
            }
            Ok(_) => Err(format!(
                "{interpreter:?} is not {language} {oldest} or newer. {remedy}"
            )),
            Err(error) => Err(format!(
                "the {language} {interpreter:?} cannot be started: {error}. {remedy}"
            )),
        }
    }
}
