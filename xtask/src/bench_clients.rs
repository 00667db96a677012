//! The clients that measurements start: C programs linked with a release build, and what other languages run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    checkout::Checkout,
    failure::Failure,
    prerequisites::{self, C_COMPILER},
    python::{cannot_write, run},
};

/// The echo agents, from the repository's root.
pub(crate) const CLIENTS: &str = "benches/clients";

/// Where measurements put what they make.
pub(crate) fn folder(here: &Checkout) -> Result<PathBuf, Failure> {
    let folder = here.target.join("bench");
    fs::create_dir_all(&folder).map_err(|error| cannot_write(here, &folder, &error))?;
    Ok(folder)
}

/// Compiles one of the echo agents in C, with this library.
pub(crate) fn compile(here: &Checkout, name: &str, library: &Path) -> Result<PathBuf, Failure> {
    let compiler = &prerequisites::check(&[C_COMPILER])?[0];
    let program = folder(here)?.join(name);
    let beside = library.parent().unwrap_or(Path::new("."));
    let beside = fs::canonicalize(beside).map_err(|error| {
        let library = here.shown(library);
        Failure::new(format!("there is no {library}: {error}"))
    })?;
    let mut command = Command::new(compiler);
    command
        .args(["-std=c99", "-O2", "-Iinclude"])
        .arg(format!("{CLIENTS}/{name}.c"))
        .arg("-o")
        .arg(&program)
        .arg(format!("-L{}", beside.display()))
        .args(["-lsvantic", &format!("-Wl,-rpath,{}", beside.display())])
        // Cargo names its folders in LD_LIBRARY_PATH, which would go before the other kind of path, to a debug build.
        .arg("-Wl,--disable-new-dtags")
        .current_dir(&here.root);
    run(command, &format!("{compiler} {CLIENTS}/{name}.c"))?;
    Ok(program)
}
