//! The shared library as packages carry it: built on this machine for every Linux since 2014, and looked through.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    glibc::Glibc,
    inspection::{self, own_folders},
    length,
};
use crate::{
    checkout::{Checkout, without_our_description},
    failure::Failure,
    library,
    prerequisites::{self, C_COMPILER, NM, OBJDUMP},
    python::{self, Interpreter, PROJECT, VirtualEnv},
    terminal::say,
};

/// What manylinux2014 promises (PEP 599): Red Hat 7, Debian 8 and whatever came after them.
pub(super) const GLIBC: Glibc = Glibc(2, 17);
const HEADER: &str = "include/svantic.h";

/// What builds it: zig, which has the symbols of every glibc and comes as a package of Python.
///
/// Whoever asks second gets what cargo has built for the first: the same command with the same environment.
pub(super) struct Builder<'a> {
    here: &'a Checkout,
    pub(super) tools: VirtualEnv,
}

impl<'a> Builder<'a> {
    pub(super) fn prepare(here: &'a Checkout, python: &Interpreter) -> Result<Self, Failure> {
        if !cfg!(target_os = "linux") {
            let text = "packages are built on Linux and for Linux only";
            return Err(Failure::new(text));
        }
        prerequisites::check(&[C_COMPILER, OBJDUMP, NM])?;
        let requirements = format!("{PROJECT}/requirements-package.txt");
        let name = format!("package-{}", python.version());
        let tools = VirtualEnv::with_requirements(here, python, &name, &requirements)?;
        Ok(Self { here, tools })
    }

    /// For a target with glibc, such as `x86_64-unknown-linux-gnu`.
    pub(super) fn build(&self, target: &str) -> Result<PathBuf, Failure> {
        let versioned = format!("{target}.{GLIBC}");
        let cache = self.here.target.join("python/cache");
        let mut cargo = self.tools.command("cargo-zigbuild");
        without_our_description(&mut cargo);
        cargo
            .current_dir(&self.here.root)
            // One crate type only: with an rlib among them cargo applies no link-time optimisation.
            .args(["rustc", "--locked", "-p", "svantic", "--lib", "--release"])
            .args(["--crate-type", "cdylib", "--target", &versioned])
            .env("CARGO_TARGET_DIR", &self.here.target)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags())
            .env("SVANTIC_CHECK_HEADER", "1")
            .env("CARGO_ZIGBUILD_CACHE_DIR", cache.join("zigbuild"))
            .env("ZIG_GLOBAL_CACHE_DIR", cache.join("zig"));
        python::run(cargo, &format!("cargo-zigbuild rustc --target {versioned}"))?;
        let built = self.here.target.join(target).join("release");
        let library = built.join(library::file_name());
        let size = library::size(length(self.here, &library)?);
        say(&format!("  {}  {size}", self.here.shown(&library)));
        Ok(library)
    }

    /// Fails unless every machine with that glibc can load it, and nothing is in it that nobody needs.
    pub(super) fn inspect(&self, library: &Path) -> Result<(), Failure> {
        inspection::inspect(self.here, library, GLIBC)
    }

    /// The texts of panics name source files; without these, by their paths on this machine.
    fn flags(&self) -> String {
        let flag = |folder: String| format!("--remap-path-prefix={folder}=");
        let flags: Vec<_> = own_folders(self.here).into_iter().rev().map(flag).collect();
        flags.join("\x1f")
    }
}

/// What the header says about the library's binary interface.
pub(super) fn abi_version(here: &Checkout) -> Result<String, Failure> {
    let header = fs::read_to_string(here.root.join(HEADER));
    let abi = header.ok().and_then(|text| abi_version_in(&text));
    abi.ok_or_else(|| Failure::new(format!("{HEADER} does not say SVANTIC_ABI_VERSION")))
}

fn abi_version_in(header: &str) -> Option<String> {
    let line = header
        .lines()
        .find_map(|line| line.strip_prefix("#define SVANTIC_ABI_VERSION "))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_abi_version_is_read_from_the_header() {
        let header = "#define SVANTIC_H\n#define SVANTIC_ABI_VERSION 7\n";
        assert_eq!(abi_version_in(header).as_deref(), Some("7"));
        assert_eq!(abi_version_in("#define SVANTIC_H\n"), None);
    }
}
