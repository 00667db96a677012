//! What the machine must have beside Rust, and the command that installs what is missing.

use std::{env, path::Path, process::Command};

use crate::failure::Failure;

/// A program that is needed, under any of its names, or a header that the C compiler must find.
#[derive(Clone, Copy)]
pub(crate) struct Needed {
    names: &'static [&'static str],
    /// The variable that names another one.
    choice: Option<&'static str>,
    what_for: &'static str,
    source: Source,
}

/// Where a program comes from.
#[derive(Clone, Copy)]
enum Source {
    /// These packages of Debian.
    Debian(&'static str),
    /// A way that has to be told.
    Told(&'static str),
}

/// How to get a Node that is new enough; Debian 12 has 18.
pub(crate) const OTHER_NODE: &str = "\
Node 20 or newer with npm is on nodejs.org; Debian 13 has it too, as root:  apt-get install nodejs npm
With an older Node and its npm, in the repository:
  npm install --prefix target/node node@22 npm@11
  PATH=\"$PWD/target/node/node_modules/.bin:$PATH\"
SVANTIC_NODE=/path/to/node chooses another one than the first of the PATH.";

pub(crate) const C_COMPILER: Needed = Needed {
    names: &["cc", "gcc", "clang"],
    choice: None,
    what_for: "compiles the programs in C",
    source: Source::Debian("gcc libc6-dev"),
};
pub(crate) const PYTHON: Needed = Needed {
    names: &["python3"],
    choice: Some("SVANTIC_PYTHON"),
    what_for: "runs what is written in Python; 3.9 or newer",
    source: Source::Debian("python3 python3-venv"),
};
pub(crate) const NODE: Needed = Needed {
    names: &["node"],
    choice: Some("SVANTIC_NODE"),
    what_for: "runs what is written for Node; 20 or newer, with npm",
    source: Source::Told(OTHER_NODE),
};
pub(crate) const OBJDUMP: Needed = Needed {
    names: &["objdump"],
    choice: None,
    what_for: "says which glibc the library needs",
    source: Source::Debian("binutils"),
};
pub(crate) const NM: Needed = Needed {
    names: &["nm"],
    choice: None,
    what_for: "says what the library exports",
    source: Source::Debian("binutils"),
};
pub(crate) const TAR: Needed = Needed {
    names: &["tar"],
    choice: None,
    what_for: "unpacks the source distribution",
    source: Source::Debian("tar"),
};
pub(crate) const GCC: Needed = Needed {
    names: &["gcc"],
    choice: None,
    what_for: "compiles the C tests",
    source: Source::Debian("gcc libc6-dev"),
};
pub(crate) const CXX_COMPILER: Needed = Needed {
    names: &["g++"],
    choice: None,
    what_for: "compiles the header as C++",
    source: Source::Debian("g++"),
};
pub(crate) const VALGRIND: Needed = Needed {
    names: &["valgrind"],
    choice: None,
    what_for: "looks for leaks and bad memory accesses in the C tests",
    source: Source::Debian("valgrind"),
};

pub(crate) const MICROHTTPD: Needed = Needed {
    names: &["microhttpd.h"],
    choice: None,
    what_for: "the HTTP server of an example in C, which the tests compile",
    source: Source::Debian("libmicrohttpd-dev"),
};
pub(crate) const CJSON: Needed = Needed {
    names: &["cjson/cJSON.h"],
    choice: None,
    what_for: "JSON in the same example",
    source: Source::Debian("libcjson-dev"),
};

/// What each is to be started as, or a failure that names everything that is missing at once.
pub(crate) fn check(needed: &[Needed]) -> Result<Vec<String>, Failure> {
    let chosen = |name: &str| env::var(name).ok().filter(|program| !program.is_empty());
    check_in(needed, chosen, is_there)
}

fn check_in(
    needed: &[Needed],
    chosen: impl Fn(&str) -> Option<String>,
    is_there: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let (mut missing, mut packages, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for program in needed {
        // Whether that one is any good shows when it is asked for its version.
        if let Some(program) = program.choice.and_then(&chosen) {
            found.push(program);
            continue;
        }
        if let Some(name) = program.names.iter().find(|name| is_there(name)) {
            found.push((*name).to_owned());
            continue;
        }
        let names = program.names.join(" or ");
        missing.push(format!("{names} ({})", program.what_for));
        match program.source {
            Source::Debian(some) if !packages.contains(&some) => packages.push(some),
            Source::Debian(_) => {}
            Source::Told(way) => told.push(way.to_owned()),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    if !packages.is_empty() {
        let packages = packages.join(" ");
        told.insert(0, format!(
            "On Debian or Ubuntu, as root:  apt-get install {packages}\nElsewhere: the packages of the same names."
        ));
    }
    let missing = missing.join(", ");
    Err(Failure::new(format!("missing on this machine: {missing}")).hint(told.join("\n")))
}

fn is_there(name: &str) -> bool {
    if Path::new(name).extension().is_some_and(|kind| kind == "h") {
        is_header(name)
    } else {
        is_on_path(name)
    }
}

/// Whether the compiler finds it, which alone knows where it looks.
fn is_header(name: &str) -> bool {
    let mut compiler = Command::new("cc");
    compiler.args(["-fsyntax-only", "-x", "c", "-include", name, "/dev/null"]);
    compiler.output().is_ok_and(|done| done.status.success())
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

    fn none_chosen(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn everything_missing_is_named_with_one_command_that_installs_it() {
        let needed = [C_COMPILER, CXX_COMPILER, VALGRIND];
        let failure = check_in(&needed, none_chosen, |name| name == "clang").unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("g++") && text.contains("valgrind"), "{text}");
        assert!(text.contains("apt-get install g++ valgrind"), "{text}");
        assert!(!text.contains("clang"), "{text}");
    }

    #[test]
    fn what_debian_has_too_old_is_told_beside_the_command_for_the_rest() {
        let failure = check_in(&[NODE, CXX_COMPILER], none_chosen, |_| false).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("apt-get install g++\n"), "{text}");
        assert!(
            text.contains("node (") && text.contains("nodejs.org"),
            "{text}"
        );
        let alone = check_in(&[NODE], none_chosen, |_| false).unwrap_err();
        assert!(!alone.to_string().contains("same names"), "{alone}");
    }

    #[test]
    fn a_header_is_there_if_the_compiler_finds_it() {
        assert!(is_there("stdio.h"));
        assert!(!is_there("no/such/header.h"));
        let failure = check_in(&[CJSON], none_chosen, |_| false).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("apt-get install libcjson-dev"), "{text}");
    }

    #[test]
    fn the_first_name_that_is_there_is_taken() {
        let found = check_in(&[C_COMPILER], none_chosen, |name| name != "cc");
        assert_eq!(found.unwrap(), ["gcc"]);
    }

    #[test]
    fn the_one_that_a_variable_names_goes_before_the_one_on_the_path() {
        let chosen = |name: &str| (name == "SVANTIC_NODE").then(|| "/opt/node".to_owned());
        let found = check_in(&[NODE, PYTHON], chosen, |_| true);
        assert_eq!(found.unwrap(), ["/opt/node", "python3"]);
    }
}
