//! `cargo xtask package`: what users install, built and then tried the way they would.

mod dispatch;
mod glibc;
mod inspection;
mod native;
mod node;
mod node_platforms;
mod node_proof;
mod node_tarball;
mod proof;
mod python;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{checkout::Checkout, failure::Failure, python::cannot_write, terminal::say};

/// A language's package: its name, what is made, and what makes it.
type Package = (
    &'static str,
    &'static str,
    fn(&Checkout) -> Result<(), Failure>,
);

const PACKAGES: [Package; 2] = [
    (
        "python",
        "a wheel with the library in it, and a source distribution",
        python::run,
    ),
    (
        "node",
        "the npm package, and one with the library for each platform",
        node::run,
    ),
];

/// Without an argument it says what it can package.
pub(crate) fn run(here: &Checkout, what: &[String]) -> Result<(), Failure> {
    let [name] = what else {
        if let [_, unwanted, ..] = what {
            let text =
                format!("`cargo xtask package` takes one name, and `{unwanted}` is too much");
            return Err(Failure::new(text).hint(list()));
        }
        say(&list());
        return Ok(());
    };
    match PACKAGES.iter().find(|(known, ..)| known == name) {
        Some((.., package)) => package(here),
        None => Err(Failure::new(format!("there is no package `{name}`")).hint(list())),
    }
}

fn list() -> String {
    let line = |(name, what, _): Package| format!("  cargo xtask package {name:<8} {what}");
    let lines = PACKAGES.map(line).join("\n");
    format!("What can be packaged:\n{lines}")
}

/// An empty one: what stood there before goes.
fn fresh_folder(here: &Checkout, folder: PathBuf) -> Result<PathBuf, Failure> {
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| cannot_write(here, &folder, &error))?;
    }
    fs::create_dir_all(&folder).map_err(|error| cannot_write(here, &folder, &error))?;
    Ok(folder)
}

fn length(here: &Checkout, file: &Path) -> Result<u64, Failure> {
    let facts = fs::metadata(file);
    let facts = facts.map_err(|error| {
        Failure::new(format!("the build left no {}: {error}", here.shown(file)))
    })?;
    Ok(facts.len())
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_each_package_with_its_command() {
        for (name, what, _) in PACKAGES {
            let command = format!("cargo xtask package {name}");
            assert!(list().contains(&command) && list().contains(what));
        }
    }
}
