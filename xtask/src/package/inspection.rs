//! What a shared object is looked through for before it is shipped.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use super::{
    file_name,
    glibc::{self, Glibc},
    length,
};
use crate::{checkout::Checkout, failure::Failure, library, terminal::say};

/// What every Linux with glibc has, whatever else is installed.
const MAY_NEED: [&str; 7] = [
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
];
/// The names of all exported functions.
const EXPORTS: &str = "tests/c/symbols.txt";
/// How large the library may be, in bytes: what it is, and the few per cent by which linkers and compilers differ.
const LARGEST: u64 = 8_500_000;

/// Fails unless the library is fit for every machine with this glibc.
pub(super) fn inspect(here: &Checkout, library: &Path, oldest: Glibc) -> Result<(), Failure> {
    let dynamic = said_by("objdump", &["-T"], library)?;
    say(&format!("  glibc   {}", fits(&dynamic, oldest)?));
    let headers = said_by("objdump", &["-p"], library)?;
    say(&format!("  needs   {}", only_the_system(&headers)?));
    let exported = said_by("nm", &["-D", "--defined-only"], library)?;
    let wanted = fs::read_to_string(here.root.join(EXPORTS))
        .map_err(|error| Failure::new(format!("cannot read {EXPORTS}: {error}")))?;
    let count = exactly(&exported, &wanted)?;
    say(&format!("  exports {count} functions, those of {EXPORTS}"));
    is_stripped(&said_by("objdump", &["-t"], library)?)?;
    say("  has no symbols beside them: it is stripped");
    names_no_folder_of(here, library)?;
    say("  names no folder of this machine");
    say(&format!("  size    {}", is_small(length(here, library)?)?));
    Ok(())
}

fn said_by(program: &str, arguments: &[&str], library: &Path) -> Result<String, Failure> {
    let shown = format!("{program} {} {}", arguments.join(" "), library.display());
    let asked = Command::new(program)
        .args(arguments)
        .arg(library)
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| Failure::new(format!("cannot run `{shown}`: {error}")))?;
    if asked.status.success() {
        return Ok(String::from_utf8_lossy(&asked.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&asked.stderr);
    let text = format!("`{shown}` failed ({}): {complaint}", asked.status);
    Err(Failure::new(text))
}

fn fits(dynamic: &str, oldest: Glibc) -> Result<String, Failure> {
    match glibc::newest(dynamic) {
        Some((newest, _)) if newest <= oldest => {
            Ok(format!("{newest} or newer (allowed: {oldest})"))
        }
        Some((newest, symbols)) => {
            let symbols: Vec<_> = symbols.into_iter().collect();
            let text = format!("the library needs glibc {newest} and may need only {oldest}");
            Err(Failure::new(text).hint(format!("Because of {}.", symbols.join(", "))))
        }
        None => Err(Failure::new(
            "objdump saw no symbol of glibc in the library",
        )),
    }
}

fn only_the_system(headers: &str) -> Result<String, Failure> {
    let mut needed = Vec::new();
    for line in headers.lines() {
        if let Some(name) = line.trim().strip_prefix("NEEDED") {
            needed.push(name.trim());
        }
    }
    let foreign: Vec<_> = needed
        .iter()
        .filter(|name| !MAY_NEED.contains(name))
        .collect();
    if foreign.is_empty() && !needed.is_empty() {
        return Ok(needed.join(" "));
    }
    let text = format!("the library needs {foreign:?} of {needed:?}");
    Err(Failure::new(text).hint(format!("It may need only {}.", MAY_NEED.join(", "))))
}

fn exactly(nm: &str, wanted: &str) -> Result<usize, Failure> {
    let exported: BTreeSet<_> = nm
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    let wanted: BTreeSet<_> = wanted.lines().filter(|line| !line.is_empty()).collect();
    if exported == wanted {
        return Ok(wanted.len());
    }
    let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    Err(
        Failure::new(format!("the library does not export what {EXPORTS} says")).hint(format!(
            "Missing: [{}]  Unwanted: [{}]",
            list(&wanted - &exported),
            list(&exported - &wanted)
        )),
    )
}

fn is_small(bytes: u64) -> Result<String, Failure> {
    let (is, may_be) = (library::size(bytes), library::size(LARGEST));
    if bytes <= LARGEST {
        return Ok(format!("{is} (allowed: {may_be})"));
    }
    let text = format!("the library has {is} and may have {may_be}");
    Err(Failure::new(text).hint(
        "Look for a dependency that came along, or for a feature of one (`cargo tree -e features`); \
         what is worth its bytes raises LARGEST in xtask/src/package/inspection.rs.",
    ))
}

fn is_stripped(table: &str) -> Result<(), Failure> {
    if table.lines().any(|line| line == "no symbols") {
        return Ok(());
    }
    let text = "the library is not stripped: `objdump -t` lists symbols";
    Err(Failure::new(text).hint("The release profile has `strip = true`."))
}

/// They are of no use to anyone, and say who built it where.
pub(super) fn names_no_folder_of(here: &Checkout, file: &Path) -> Result<(), Failure> {
    let bytes = fs::read(file)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", here.shown(file))))?;
    for folder in own_folders(here) {
        let found = bytes
            .windows(folder.len())
            .position(|part| part == folder.as_bytes());
        if let Some(at) = found {
            let end = (at + 160).min(bytes.len());
            let text = String::from_utf8_lossy(&bytes[at..end]);
            let text: String = text.chars().take_while(|c| !c.is_control()).collect();
            return Err(Failure::new(format!(
                "{} names a folder of this machine: {text}",
                file_name(file)
            )));
        }
    }
    Ok(())
}

/// Those of which compilers like to tell; each with a slash at its end.
pub(super) fn own_folders(here: &Checkout) -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let cargo = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    let mut folders = vec![
        here.root.display().to_string(),
        here.target.display().to_string(),
        cargo,
        home,
    ];
    // As the home of a container may be: nothing can be told by it.
    folders.retain(|folder| folder.trim_end_matches('/').len() > 1);
    for folder in &mut folders {
        *folder = format!("{}/", folder.trim_end_matches('/'));
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_of_a_newer_glibc_is_refused_and_named() {
        let line = |version| format!("0000 DF *UND* 0000 (GLIBC_{version}) getrandom");
        assert!(fits(&line("2.17"), Glibc(2, 17)).is_ok());
        let failure = fits(&line("2.25"), Glibc(2, 17)).unwrap_err().to_string();
        assert!(failure.contains("2.25") && failure.contains("getrandom"));
        assert!(fits("", Glibc(2, 17)).is_err());
    }

    #[test]
    fn a_library_that_not_every_machine_has_is_refused() {
        let system = "Dynamic Section:\n  NEEDED               libc.so.6\n";
        assert!(only_the_system(system).is_ok());
        let foreign = format!("{system}  NEEDED               libssl.so.3\n");
        let failure = only_the_system(&foreign).unwrap_err().to_string();
        assert!(failure.contains("libssl.so.3"), "{failure}");
    }

    #[test]
    fn a_library_that_has_grown_is_refused_with_both_sizes() {
        assert!(is_small(LARGEST).is_ok());
        let failure = is_small(LARGEST + 1).unwrap_err().to_string();
        assert!(failure.contains(&(LARGEST + 1).to_string()), "{failure}");
        assert!(failure.contains(&LARGEST.to_string()), "{failure}");
    }

    #[test]
    fn a_library_with_its_symbols_is_refused() {
        assert!(
            is_stripped("a.so:     file format elf64-x86-64\n\nSYMBOL TABLE:\nno symbols\n")
                .is_ok()
        );
        assert!(is_stripped("SYMBOL TABLE:\n0000 l  F .text  0000 no symbols\n").is_err());
    }

    #[test]
    fn an_export_too_many_and_one_too_few_are_both_named() {
        let nm = "0000 T svantic_free\n0000 T ring_core_init\n";
        assert_eq!(
            exactly("0000 T svantic_free\n", "svantic_free\n").unwrap(),
            1
        );
        let failure = exactly(nm, "svantic_create\nsvantic_free\n").unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("Missing: [svantic_create]"), "{text}");
        assert!(text.contains("Unwanted: [ring_core_init]"), "{text}");
    }
}
