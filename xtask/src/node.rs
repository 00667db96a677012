//! Node on this machine: the program, the npm that belongs to it, and the package of the checkout with what it is built
//! from and with.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    checkout::Checkout,
    failure::Failure,
    prerequisites::{self, NODE},
    python::{cannot_write, run},
    terminal::say,
};

/// The package's sources, from the repository's root.
pub(crate) const PROJECT: &str = "bindings/node";
/// Its programs for people, which import the package by its name.
const EXAMPLES: &str = "examples/node";
/// The oldest Node that the package runs on.
const OLDEST: u32 = 20;

/// Prints where the program itself is (what the path finds may be a script that looks for it), and its version.
const WHO: &str = "console.log(process.execPath); console.log(process.versions.node)";

/// A Node that the package runs on.
pub(crate) struct Node {
    program: PathBuf,
    version: String,
}

impl Node {
    /// The one that `SVANTIC_NODE` names, else the first of the path.
    pub(crate) fn find() -> Result<Self, Failure> {
        Self::at(&prerequisites::check(&[NODE])?[0])
    }

    /// This one, if it is new enough.
    pub(crate) fn at(program: &str) -> Result<Self, Failure> {
        let failed = |text: String| Err(Failure::new(text).hint(prerequisites::OTHER_NODE));
        let mut node = Command::new(program);
        without_node_variables(&mut node);
        let asked = match node.args(["-e", WHO]).output() {
            Ok(asked) => asked,
            Err(error) => return failed(format!("cannot run {program}: {error}")),
        };
        let said = String::from_utf8_lossy(&asked.stdout);
        let mut lines = said.lines();
        let (Some(itself), Some(version)) = (lines.next(), lines.next()) else {
            let complaint = String::from_utf8_lossy(&asked.stderr);
            let complaint = complaint.trim();
            return failed(format!("{program} did not say its version: {complaint}"));
        };
        if major(version).is_none_or(|major| major < OLDEST) {
            return failed(format!(
                "{program} is Node {version}, and the package needs {OLDEST} or newer"
            ));
        }
        Ok(Self {
            program: itself.into(),
            version: version.to_owned(),
        })
    }

    /// Runs a program in JavaScript.
    pub(crate) fn command(&self) -> Command {
        let mut node = Command::new(&self.program);
        without_node_variables(&mut node);
        node
    }

    /// Where the program itself is.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// npm, run by this Node, without what it likes to tell people.
    pub(crate) fn npm(&self) -> Command {
        let mut npm = Command::new(self.npm_program());
        without_node_variables(&mut npm);
        npm.env("PATH", self.path())
            .env("NPM_CONFIG_UPDATE_NOTIFIER", "false");
        npm
    }

    /// Installs what the `package-lock.json` of a folder lists, unless that is what was installed last. The marker, a name
    /// of its own for each folder, remembers it.
    pub(crate) fn install(
        &self,
        here: &Checkout,
        project: &str,
        marker: &str,
    ) -> Result<(), Failure> {
        let lock = format!("{project}/package-lock.json");
        let wanted = fs::read_to_string(here.root.join(&lock))
            .map_err(|error| Failure::new(format!("cannot read {lock}: {error}")))?;
        let wanted = format!("{}\n{wanted}", here.root.display());
        let folder = here.target.join("node");
        let marker = folder.join(marker);
        let project = here.root.join(project);
        let there = project.join("node_modules/.package-lock.json");
        if there.is_file() && fs::read_to_string(&marker).is_ok_and(|last| last == wanted) {
            return Ok(());
        }
        say(&format!("installing what {lock} lists"));
        // A marker beside half an installation would say that it is whole.
        let _ = fs::remove_file(&marker);
        let mut npm = self.npm();
        npm.args(["ci", "--ignore-scripts", "--include=dev"])
            .args(["--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(project);
        run(npm, "npm ci")?;
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&marker, wanted))
            .map_err(|error| cannot_write(here, &marker, &error))
    }

    /// Installers put npm beside Node; otherwise it is the path's.
    fn npm_program(&self) -> PathBuf {
        match self.program.parent().map(|folder| folder.join("npm")) {
            Some(beside) if beside.is_file() => beside,
            _ => "npm".into(),
        }
    }

    /// With this Node before any other, since npm is a script that looks for one.
    fn path(&self) -> OsString {
        let path = env::var_os("PATH").unwrap_or_default();
        let own = self.program.parent().map(Path::to_path_buf);
        let folders = own.into_iter().chain(env::split_paths(&path));
        // Nobody can have a folder with a colon in its name on the path.
        env::join_paths(folders).unwrap_or(path)
    }

    fn check_npm(&self) -> Result<(), Failure> {
        let asked = self.npm().arg("--version").output();
        if asked.is_ok_and(|asked| asked.status.success()) {
            return Ok(());
        }
        let text = format!("there is no npm that {self} can run");
        Err(Failure::new(text).hint(prerequisites::OTHER_NODE))
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (Node {})", self.program.display(), self.version)
    }
}

/// The package of the checkout, with all that npm has to bring in its place.
pub(crate) struct Package<'a> {
    here: &'a Checkout,
    pub(crate) node: Node,
}

impl<'a> Package<'a> {
    /// Installs what `package-lock.json` lists, unless that is what was installed last; and gives the examples the package
    /// under its name. All of it lies in folders that git ignores.
    pub(crate) fn prepare(here: &'a Checkout, node: Node) -> Result<Self, Failure> {
        node.check_npm()?;
        let this = Self { here, node };
        this.install()?;
        this.link_for_the_examples()?;
        Ok(this)
    }

    /// Compiles the package into its `dist`.
    pub(crate) fn build(&self) -> Result<(), Failure> {
        run(self.script("build"), "npm run build")
    }

    /// One of the scripts of the package's `package.json`.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut npm = self.node.npm();
        npm.args(["run", "--silent", name])
            .current_dir(self.folder());
        npm
    }

    /// One of the programs that npm has installed.
    pub(crate) fn tool(&self, name: &str) -> Command {
        let mut tool = Command::new(self.folder().join("node_modules/.bin").join(name));
        without_node_variables(&mut tool);
        tool.env("PATH", self.node.path())
            .current_dir(self.folder());
        tool
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.here.root.join(PROJECT)
    }

    fn install(&self) -> Result<(), Failure> {
        self.node.install(self.here, PROJECT, "installed-from.txt")
    }

    fn link_for_the_examples(&self) -> Result<(), Failure> {
        let examples = self.here.root.join(EXAMPLES);
        if !examples.is_dir() {
            return Ok(());
        }
        self.link(&examples, Path::new("../../../bindings/node"))
    }

    /// Gives the programs of a folder the package under its name.
    pub(crate) fn link_into(&self, folder: &Path) -> Result<(), Failure> {
        if folder == self.here.root.join(EXAMPLES) {
            return Ok(());
        }
        self.link(folder, &self.folder())
    }

    /// A program finds `svantic` in the `node_modules` of its own folder or of one above: modules know no search path.
    fn link(&self, folder: &Path, to: &Path) -> Result<(), Failure> {
        let link = folder.join("node_modules/svantic");
        if fs::read_link(&link).is_ok_and(|there| there == to) {
            return Ok(());
        }
        let make = || {
            fs::create_dir_all(folder.join("node_modules"))?;
            match fs::symlink_metadata(&link) {
                // What somebody has installed there by hand.
                Ok(facts) if facts.is_dir() => fs::remove_dir_all(&link)?,
                Ok(_) => fs::remove_file(&link)?,
                Err(_) => {}
            }
            std::os::unix::fs::symlink(to, &link)
        };
        make().map_err(|error| cannot_write(self.here, &link, &error))
    }
}

/// What the caller's shell tells every Node to do or where to look is not about these programs.
pub(crate) fn without_node_variables(command: &mut Command) {
    for name in ["NODE_OPTIONS", "NODE_PATH", "NODE_ENV"] {
        command.env_remove(name);
    }
}

fn major(version: &str) -> Option<u32> {
    let (major, _) = version.split_once('.')?;
    major.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number_not_by_letter() {
        assert!(major("20.20.2").unwrap() >= OLDEST);
        assert!(major("100.0.0").unwrap() >= OLDEST);
        assert!(major("9.11.2").unwrap() < OLDEST);
        assert_eq!(major("node"), None);
    }

    #[test]
    fn a_program_that_is_no_node_is_refused_with_a_way_to_get_one() {
        for program in ["/nowhere/node", "true"] {
            let refused = Node::at(program).err().unwrap().to_string();
            assert!(refused.contains(program), "{refused}");
            assert!(refused.contains("SVANTIC_NODE"), "{refused}");
        }
    }
}
