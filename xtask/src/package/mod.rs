//! `cargo xtask package`: what users install, built and then tried the way they would.

mod glibc;
mod inspection;
mod proof;
mod python;

use crate::{checkout::Checkout, failure::Failure, terminal::say};

/// A language's package: its name, what is made, and what makes it.
type Package = (
    &'static str,
    &'static str,
    fn(&Checkout) -> Result<(), Failure>,
);

const PACKAGES: [Package; 1] = [(
    "python",
    "a wheel with the library in it, and a source distribution",
    python::run,
)];

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
