//! Where the repository and its build results are, and how cargo is run in it.

use std::{
    env,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::failure::Failure;

/// The repository that this command was built from.
pub(crate) struct Checkout {
    pub(crate) root: PathBuf,
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
}

impl Checkout {
    /// Asks cargo, which alone knows about `CARGO_TARGET_DIR` and configuration files.
    pub(crate) fn find() -> Result<Self, Failure> {
        let asked = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| Failure::new(format!("cannot run `cargo metadata`: {error}")))?;
        let facts: Value = serde_json::from_slice(&asked.stdout).unwrap_or_default();
        let path = |key: &str| facts[key].as_str().map(PathBuf::from);
        match (path("workspace_root"), path("target_directory")) {
            (Some(root), Some(target)) => Ok(Self { root, target }),
            _ => Err(
                Failure::new("`cargo metadata` did not say where the workspace is")
                    .hint("Run this inside the repository, as `cargo xtask …`."),
            ),
        }
    }

    /// Runs cargo here and lets it show its own progress.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Result<(), Failure> {
        self.finish(cargo(), arguments)
    }

    /// The same with a stale `include/svantic.h` as an error, where otherwise it is written anew.
    pub(crate) fn cargo_checking_the_header(&self, arguments: &[&str]) -> Result<(), Failure> {
        self.finish(checking_the_header(), arguments)
    }

    /// The same with these variables in its environment.
    pub(crate) fn cargo_with(
        &self,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Result<(), Failure> {
        let mut cargo = cargo();
        cargo.envs(variables.iter().copied());
        self.finish(cargo, arguments)
    }

    fn finish(&self, mut cargo: Command, arguments: &[&str]) -> Result<(), Failure> {
        let shown = format!("cargo {}", arguments.join(" "));
        let ended = cargo
            .args(arguments)
            .current_dir(&self.root)
            .status()
            .map_err(|error| Failure::new(format!("cannot run `{shown}`: {error}")))?;
        if ended.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("`{shown}` failed ({ended})"))
                .hint("Its own messages above say why."))
        }
    }

    /// Runs cargo in the place of this command: what it prints is the last that is printed, its exit code is ours.
    /// A stale header is an error.
    pub(crate) fn become_cargo(&self, arguments: &[&str]) -> Failure {
        let error = checking_the_header()
            .args(arguments)
            .current_dir(&self.root)
            .exec();
        Failure::new(format!(
            "cannot run `cargo {}`: {error}",
            arguments.join(" ")
        ))
    }

    /// A path as one would type it from the repository's root.
    pub(crate) fn shown(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        path.display().to_string()
    }
}

fn checking_the_header() -> Command {
    let mut cargo = cargo();
    cargo.env("SVANTIC_CHECK_HEADER", "1");
    cargo
}

/// The cargo that runs this command, else the one on the path.
fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    without_our_description(&mut cargo);
    cargo
}

/// For cargo and for what calls it.
pub(crate) fn without_our_description(command: &mut Command) {
    // `cargo run` describes this package to us. Passed on, it would look to build scripts that watch these variables
    // (ring's does) as if something had changed, and they and all that depends on them would be built again.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let about_us = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if about_us.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}
