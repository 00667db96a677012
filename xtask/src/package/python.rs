//! `cargo xtask package python`: the library for every Linux since 2014, in a wheel for every Python since 3.9.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use super::{
    file_name, fresh_folder,
    glibc::Glibc,
    length,
    native::{Builder, GLIBC},
    proof::Installed,
};
use crate::{
    checkout::{Checkout, without_our_description},
    failure::Failure,
    library,
    prerequisites::{self, TAR},
    python::{self, Interpreter, PROJECT},
    terminal::{Terminal, say},
};

const STEPS: usize = 7;

/// What the steps share.
struct Work<'a> {
    here: &'a Checkout,
    native: Builder<'a>,
    /// All of this command's results, away from cargo's own.
    folder: PathBuf,
}

pub(super) fn run(here: &Checkout) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    let began = Instant::now();
    screen.step(1, STEPS, "Looking for Python and for the tools");
    prerequisites::check(&[TAR])?;
    let python = Interpreter::find()?;
    say(&format!("found {python}"));
    let work = Work {
        here,
        native: Builder::prepare(here, &python)?,
        folder: here.target.join("python"),
    };

    screen.step(2, STEPS, "Building the library as it ships");
    let built = Instant::now();
    let library = work.native.build(&format!("{ARCH}-unknown-linux-gnu"))?;
    let built = built.elapsed();

    screen.step(3, STEPS, "Looking through the library");
    work.native.inspect(&library)?;

    screen.step(4, STEPS, "Making the wheel and the source distribution");
    let (wheel, sdist) = work.distributions(&library)?;
    for file in [&wheel, &sdist] {
        let size = library::size(length(here, file)?);
        say(&format!("  {}  {size}", here.shown(file)));
    }

    screen.step(5, STEPS, "Checking the wheel's tag with auditwheel");
    work.audit(&wheel)?;

    screen.step(6, STEPS, "Trying the wheel in an environment without Rust");
    let installed = Installed::new(here, &python, "wheel-proof", &wheel)?;
    installed.tells_its_versions(here)?;
    installed.answers_a_dispatch(here, screen)?;

    screen.step(
        7,
        STEPS,
        "Building a wheel from the source distribution alone",
    );
    let from_sdist = work.wheel_from(&sdist)?;
    Installed::new(here, &python, "sdist-proof", &from_sdist)?.tells_its_versions(here)?;

    say(&format!(
        "\nReady in {}: {} and the .tar.gz beside it. The whole took {:.0} s, the library {:.0} s of it.",
        here.shown(&work.folder.join("dist")),
        file_name(&wheel),
        began.elapsed().as_secs_f64(),
        built.as_secs_f64()
    ));
    Ok(())
}

impl Work<'_> {
    fn distributions(&self, library: &Path) -> Result<(PathBuf, PathBuf), Failure> {
        let folder = fresh_folder(self.here, self.folder.join("dist"))?;
        let mut hatchling = self.native.tools.command("hatchling");
        hatchling
            .current_dir(self.here.root.join(PROJECT))
            .args(["build", "--directory"])
            .arg(&folder)
            .env("SVANTIC_BUILD_LIBRARY", library)
            .env("SVANTIC_BUILD_PLATFORM", Self::platform())
            .stdout(std::process::Stdio::null());
        python::run(hatchling, "hatchling build")?;
        Ok((self.only(&folder, ".whl")?, self.only(&folder, ".tar.gz")?))
    }

    /// Also under the name that pip knew before it knew this pattern (before 20.3).
    fn platform() -> String {
        let Glibc(major, minor) = GLIBC;
        format!("manylinux_{major}_{minor}_{ARCH}.manylinux2014_{ARCH}")
    }

    fn audit(&self, wheel: &Path) -> Result<(), Failure> {
        let mut auditwheel = self.native.tools.command("auditwheel");
        let asked = auditwheel
            .arg("show")
            .arg(wheel)
            .output()
            .map_err(|error| Failure::new(format!("cannot run `auditwheel show`: {error}")))?;
        let said = String::from_utf8_lossy(&asked.stdout);
        let complaint = String::from_utf8_lossy(&asked.stderr);
        let Glibc(major, minor) = GLIBC;
        let tag = format!("\"manylinux_{major}_{minor}_{ARCH}\"");
        // It breaks its lines where it likes.
        let sentence: Vec<_> = said.split_whitespace().collect();
        if sentence
            .join(" ")
            .contains(&format!("following platform tag: {tag}"))
        {
            say(&format!("  consistent with {tag}"));
            return Ok(());
        }
        let text = format!(
            "auditwheel does not find {} consistent with {tag}",
            file_name(wheel)
        );
        Err(Failure::new(text).hint(format!("{said}{complaint}")))
    }

    /// In a folder where nothing else is, with the dev profile: it proves that nothing is missing, not how fast it is.
    fn wheel_from(&self, sdist: &Path) -> Result<PathBuf, Failure> {
        let folder = fresh_folder(self.here, self.folder.join("from-sdist"))?;
        let mut tar = Command::new("tar");
        // With today's dates: cargo would take files that look older than its last build for built already.
        tar.args(["-xzmf"]).arg(sdist).arg("-C").arg(&folder);
        python::run(tar, "tar -xzmf")?;
        let sources = folder.join(file_name(sdist).trim_end_matches(".tar.gz"));
        let mut pip = self.native.tools.pip();
        without_our_description(&mut pip);
        pip.args(["wheel", "--quiet", "--no-deps", "--no-index"])
            .args(["--no-build-isolation", "--no-cache-dir", "--wheel-dir"])
            .arg(&folder)
            .arg(&sources)
            .current_dir(&folder)
            .env("SVANTIC_BUILD_PROFILE", "dev")
            .env("CARGO_TARGET_DIR", self.folder.join("sdist-target"))
            .env_remove("SVANTIC_BUILD_LIBRARY")
            .env_remove("SVANTIC_BUILD_PLATFORM");
        python::run(pip, "pip wheel")?;
        self.only(&folder, ".whl")
    }

    fn only(&self, folder: &Path, ending: &str) -> Result<PathBuf, Failure> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().ends_with(ending) {
                found.push(entry.path());
            }
        }
        if found.len() == 1 {
            return Ok(found.remove(0));
        }
        let (count, folder) = (found.len(), self.here.shown(folder));
        Err(Failure::new(format!(
            "{folder} holds {count} files *{ending} instead of one"
        )))
    }
}
