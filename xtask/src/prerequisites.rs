//! What the machine must have beside Rust, and the command that installs what is missing.

use std::{env, path::Path};

use crate::failure::Failure;

/// A program that is needed, under any of its names.
#[derive(Clone, Copy)]
pub(crate) struct Needed {
    names: &'static [&'static str],
    what_for: &'static str,
    /// The Debian packages that bring it.
    packages: &'static str,
}

pub(crate) const C_COMPILER: Needed = Needed {
    names: &["cc", "gcc", "clang"],
    what_for: "compiles the programs in C",
    packages: "gcc libc6-dev",
};
pub(crate) const PYTHON: Needed = Needed {
    names: &["python3"],
    what_for: "runs what is written in Python; 3.9 or newer",
    packages: "python3 python3-venv",
};
pub(crate) const OBJDUMP: Needed = Needed {
    names: &["objdump"],
    what_for: "says which glibc the library needs",
    packages: "binutils",
};
pub(crate) const NM: Needed = Needed {
    names: &["nm"],
    what_for: "says what the library exports",
    packages: "binutils",
};
pub(crate) const TAR: Needed = Needed {
    names: &["tar"],
    what_for: "unpacks the source distribution",
    packages: "tar",
};
pub(crate) const GCC: Needed = Needed {
    names: &["gcc"],
    what_for: "compiles the C tests",
    packages: "gcc libc6-dev",
};
pub(crate) const CXX_COMPILER: Needed = Needed {
    names: &["g++"],
    what_for: "compiles the header as C++",
    packages: "g++",
};
pub(crate) const VALGRIND: Needed = Needed {
    names: &["valgrind"],
    what_for: "looks for leaks and bad memory accesses in the C tests",
    packages: "valgrind",
};

/// The name under which each is there, or a failure that names everything that is missing at once.
pub(crate) fn check(needed: &[Needed]) -> Result<Vec<&'static str>, Failure> {
    check_in(needed, is_on_path)
}

fn check_in(
    needed: &[Needed],
    is_there: impl Fn(&str) -> bool,
) -> Result<Vec<&'static str>, Failure> {
    let mut found = Vec::new();
    let (mut missing, mut packages) = (Vec::new(), Vec::new());
    for program in needed {
        if let Some(name) = program.names.iter().find(|name| is_there(name)) {
            found.push(*name);
            continue;
        }
        let names = program.names.join(" or ");
        missing.push(format!("{names} ({})", program.what_for));
        if !packages.contains(&program.packages) {
            packages.push(program.packages);
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    Err(Failure::new(format!("missing on this machine: {}", missing.join(", "))).hint(format!(
        "On Debian or Ubuntu, as root:  apt-get install {}\nElsewhere: the packages of the same names.",
        packages.join(" ")
    )))
}

fn is_on_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| is_program(&folder.join(name)))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_missing_is_named_with_one_command_that_installs_it() {
        let needed = [C_COMPILER, CXX_COMPILER, VALGRIND];
        let failure = check_in(&needed, |name| name == "clang").unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("g++") && text.contains("valgrind"), "{text}");
        assert!(text.contains("apt-get install g++ valgrind"), "{text}");
        assert!(!text.contains("clang"), "{text}");
    }

    #[test]
    fn the_first_name_that_is_there_is_taken() {
        let found = check_in(&[C_COMPILER], |name| name != "cc");
        assert_eq!(found.unwrap(), ["gcc"]);
    }
}
