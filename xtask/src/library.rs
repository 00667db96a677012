//! Building the shared library, for the demo, for shipping, and for its header.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{checkout::Checkout, failure::Failure, terminal::say};

const HEADER: &str = "include/svantic.h";

/// The file name of the shared library on this platform.
pub(crate) fn file_name() -> String {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    format!("{prefix}svantic{suffix}")
}

/// A shared library that has been built.
pub(crate) struct Built {
    /// The folder, for linkers.
    pub(crate) folder: PathBuf,
    /// The library itself, for those that load it.
    pub(crate) file: PathBuf,
}

/// Builds with the dev profile, which compiles fastest.
pub(crate) fn build_for_development(here: &Checkout) -> Result<Built, Failure> {
    here.cargo(&["build", "-p", "svantic", "--lib"])?;
    let folder = here.target.join("debug");
    let file = folder.join(file_name());
    for needed in [&file, &here.root.join(HEADER)] {
        if !needed.is_file() {
            let needed = here.shown(needed);
            return Err(Failure::new(format!("the build left no {needed}")));
        }
    }
    Ok(Built { folder, file })
}

/// What a C compiler gets, from the repository's root, to make this program of one source, linked with the library of a
/// folder: as the README tells people to.
pub(crate) fn arguments_for_c(source: &str, program: &Path, library_folder: &Path) -> Vec<String> {
    let library_folder = library_folder.display();
    let strictly = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"];
    let mut arguments = strictly.map(str::to_owned).to_vec();
    arguments.extend([
        "-Iinclude".to_owned(),
        source.to_owned(),
        "-o".to_owned(),
        program.display().to_string(),
        format!("-L{library_folder}"),
        "-lsvantic".to_owned(),
        // So that the program finds the library without an installation or an environment variable.
        format!("-Wl,-rpath,{library_folder}"),
    ]);
    arguments
}

/// `cargo xtask build`
pub(crate) fn build_to_ship(here: &Checkout) -> Result<(), Failure> {
    // One crate type only: with an rlib among them, as a plain `cargo build` has it, cargo applies no LTO.
    here.cargo(&[
        "rustc",
        "-p",
        "svantic",
        "--lib",
        "--release",
        "--crate-type",
        "cdylib",
    ])?;
    let library = here.target.join("release").join(file_name());
    let facts = fs::metadata(&library).map_err(|error| {
        let library = here.shown(&library);
        Failure::new(format!("the build left no {library}: {error}"))
    })?;
    let (library, size) = (here.shown(&library), size(facts.len()));
    say(&format!("{library}  {size}, stripped"));
    Ok(())
}

/// "3.92 MiB (4117890 bytes)"
pub(crate) fn size(bytes: u64) -> String {
    // In hundredths, which integers can do without losing anything.
    let hundredths = bytes * 100 / (1 << 20);
    format!(
        "{}.{:02} MiB ({bytes} bytes)",
        hundredths / 100,
        hundredths % 100
    )
}

/// `cargo xtask header`
pub(crate) fn write_header(here: &Checkout) -> Result<(), Failure> {
    let header = here.root.join(HEADER);
    let before = fs::read(&header).unwrap_or_default();
    build_for_development(here)?;
    let after = fs::read(&header)
        .map_err(|error| Failure::new(format!("cannot read {HEADER}: {error}")))?;
    let outcome = if before == after {
        "is up to date"
    } else {
        "has been written anew; commit it together with the change of src/ffi"
    };
    say(&format!("{HEADER} {outcome}"));
    Ok(())
}
