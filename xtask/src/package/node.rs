//! `cargo xtask package node`: the npm package in JavaScript, and one with the library for each platform.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use serde_json::Value;

use super::{
    fresh_folder, length,
    native::Builder,
    node_platforms::{self, PLATFORMS, Platform},
    node_proof::Installed,
    node_tarball,
};
use crate::{
    checkout::Checkout,
    failure::Failure,
    node::{Node, PROJECT, Package},
    prerequisites::{self, TAR},
    python::{Interpreter, cannot_write, run as run_tool},
    terminal::{Terminal, say},
};

const STEPS: usize = 7;
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];
const MANIFEST: &str = "package.json";
/// Of no use to those who install the package.
const ONLY_FOR_THE_CHECKOUT: [&str; 2] = ["scripts", "devDependencies"];

/// What the steps share.
struct Work<'a> {
    here: &'a Checkout,
    package: Package<'a>,
    /// The `package.json` of the checkout.
    manifest: Value,
    /// All of this command's results.
    folder: PathBuf,
}

pub(super) fn run(here: &Checkout) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    let began = Instant::now();
    screen.step(1, STEPS, "Looking for Node, for Python and for the tools");
    prerequisites::check(&[TAR])?;
    let python = Interpreter::find()?;
    let node = Node::find()?;
    say(&format!(
        "found {node}, and {python}, which has the compiler"
    ));
    let Some(machine) = Platform::of_this_machine() else {
        let text = "there is no npm package for this machine, so none could be tried here";
        return Err(
            Failure::new(text).hint("A platform is a row of xtask/src/package/node_platforms.rs.")
        );
    };
    let native = Builder::prepare(here, &python)?;
    let package = Package::prepare(here, node)?;
    let manifest = manifest_of(here)?;
    let work = Work {
        here,
        package,
        manifest,
        folder: fresh_folder(here, here.target.join("package"))?,
    };

    screen.step(2, STEPS, "Building the library as it ships");
    let mut libraries = Vec::new();
    for platform in &PLATFORMS {
        libraries.push(native.build(platform.rust_target)?);
    }

    screen.step(3, STEPS, "Looking through the library");
    for library in &libraries {
        native.inspect(library)?;
    }

    screen.step(4, STEPS, "Compiling and packing");
    let svantic = work.pack_package()?;
    let mut natives = Vec::new();
    for (platform, library) in PLATFORMS.iter().zip(&libraries) {
        natives.push((platform, work.pack_native(platform, library)?));
    }

    screen.step(5, STEPS, "Looking through the packages");
    work.inspect(&svantic, &natives)?;

    screen.step(6, STEPS, "Trying them in an empty folder, without Rust");
    let fitting = natives
        .iter()
        .find(|(platform, _)| platform.package == machine.package);
    let mut tarballs = vec![svantic.as_path()];
    tarballs.extend(fitting.map(|(_, tarball)| tarball.as_path()));
    let mut installed = Installed::new(here, &work.package.node, &tarballs)?;
    installed.tells_its_versions(here, machine)?;
    installed.answers_dispatches(screen)?;

    screen.step(7, STEPS, "Trying it without the library");
    installed.looks_for_another_libc(machine)?;
    installed.says_what_is_missing(machine)?;

    let names: Vec<String> = tarballs.iter().map(|file| here.shown(file)).collect();
    say(&format!(
        "\nReady: {}. The whole took {:.0} s.",
        names.join(" and "),
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn manifest_of(here: &Checkout) -> Result<Value, Failure> {
    let file = here.root.join(PROJECT).join(MANIFEST);
    let failed =
        |error: String| Failure::new(format!("cannot read {}: {error}", here.shown(&file)));
    let text = fs::read_to_string(&file).map_err(|error| failed(error.to_string()))?;
    let manifest: Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let (version, library) = (&manifest["version"], env!("CARGO_PKG_VERSION"));
    if version != library {
        return Err(Failure::new(format!(
            "{} has the version {version}, and the library {library}",
            here.shown(&file)
        )));
    }
    Ok(manifest)
}

/// The `package.json` as it is published: what only a checkout needs is left out, and the platforms come in.
fn published(mut manifest: Value) -> Value {
    let all = node_platforms::optional_dependencies(env!("CARGO_PKG_VERSION"));
    if let Some(fields) = manifest.as_object_mut() {
        for field in ONLY_FOR_THE_CHECKOUT {
            fields.remove(field);
        }
        fields.insert("optionalDependencies".to_owned(), all);
    }
    manifest
}

impl Work<'_> {
    /// Compiled anew, since a `dist` in the checkout may hold what has long lost its source.
    fn pack_package(&self) -> Result<PathBuf, Failure> {
        let folder = fresh_folder(self.here, self.folder.join("staging/svantic"))?;
        let mut compiler = self.package.tool("tsc");
        compiler
            .args(["-p", "tsconfig.json", "--outDir"])
            .arg(folder.join("dist"));
        run_tool(compiler, "tsc --outDir")?;
        let files = self.manifest["files"].as_array().into_iter().flatten();
        for file in files
            .filter_map(Value::as_str)
            .filter(|file| *file != "dist")
        {
            self.copy(&self.package.folder().join(file), &folder.join(file))?;
        }
        self.write_manifest(&folder, &published(self.manifest.clone()))?;
        self.pack(&folder, "svantic")
    }

    fn pack_native(&self, platform: &Platform, library: &Path) -> Result<PathBuf, Failure> {
        let name = platform.package.trim_start_matches('@').replace('/', "-");
        let folder = fresh_folder(self.here, self.folder.join("staging").join(&name))?;
        self.copy(library, &folder.join(platform.library))?;
        for licence in LICENCES {
            self.copy(&self.package.folder().join(licence), &folder.join(licence))?;
        }
        let readme = format!(
            "# {}\n\nThe shared library of the package `svantic` for {} on {} with {}. npm installs it where it fits, \
             along with\n`svantic`; there is nothing to import from it.\n",
            platform.package, platform.os, platform.cpu, platform.libc
        );
        let file = folder.join("README.md");
        fs::write(&file, readme).map_err(|error| cannot_write(self.here, &file, &error))?;
        let (license, engines) = (&self.manifest["license"], &self.manifest["engines"]);
        let manifest = platform.manifest(env!("CARGO_PKG_VERSION"), license, engines);
        self.write_manifest(&folder, &manifest)?;
        self.pack(&folder, &name)
    }

    fn pack(&self, folder: &Path, name: &str) -> Result<PathBuf, Failure> {
        let mut npm = self.package.node.npm();
        npm.args(["pack", "--silent", "--ignore-scripts", "--pack-destination"])
            .arg(&self.folder)
            .current_dir(folder)
            .stdout(Stdio::null());
        run_tool(npm, "npm pack")?;
        let version = env!("CARGO_PKG_VERSION");
        let tarball = self.folder.join(format!("{name}-{version}.tgz"));
        length(self.here, &tarball).map(|_| tarball)
    }

    fn inspect(&self, svantic: &Path, natives: &[(&Platform, PathBuf)]) -> Result<(), Failure> {
        let manifest = node_tarball::inspect(self.here, svantic)?;
        node_tarball::pins_its_dependencies(&manifest)?;
        let optional = &manifest["optionalDependencies"];
        for (platform, tarball) in natives {
            let native = node_tarball::inspect(self.here, tarball)?;
            let (wanted, there) = (&optional[platform.package], &native["version"]);
            if wanted != there || *there != manifest["version"] {
                return Err(Failure::new(format!(
                    "svantic {} wants {} {wanted}, and that is {there}",
                    manifest["version"], platform.package
                )));
            }
        }
        let dependencies = manifest["dependencies"].as_object();
        let dependencies: Vec<String> = dependencies
            .into_iter()
            .flatten()
            .map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or_default()))
            .collect();
        say(&format!(
            "  svantic depends on {}; no package runs anything when it is installed or names a folder of this machine",
            dependencies.join(", ")
        ));
        Ok(())
    }

    fn write_manifest(&self, folder: &Path, manifest: &Value) -> Result<(), Failure> {
        let file = folder.join(MANIFEST);
        fs::write(&file, format!("{manifest:#}\n"))
            .map_err(|error| cannot_write(self.here, &file, &error))
    }

    /// A file, or a folder with all that is in it.
    fn copy(&self, from: &Path, to: &Path) -> Result<(), Failure> {
        if from.is_dir() {
            fresh_folder(self.here, to.to_path_buf())?;
            for entry in fs::read_dir(from).into_iter().flatten().flatten() {
                self.copy(&entry.path(), &to.join(entry.file_name()))?;
            }
            return Ok(());
        }
        fs::copy(from, to).map(drop).map_err(|error| {
            Failure::new(format!("cannot copy {}: {error}", self.here.shown(from)))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_published_has_the_platforms_and_nothing_of_the_checkout() {
        let manifest = published(json!({
            "name": "svantic",
            "scripts": {"build": "tsc"},
            "dependencies": {"koffi": "3.3.4"},
            "devDependencies": {"typescript": "7.0.2"},
        }));
        let optional = node_platforms::optional_dependencies(env!("CARGO_PKG_VERSION"));
        let wanted = json!({
            "name": "svantic",
            "dependencies": {"koffi": "3.3.4"},
            "optionalDependencies": optional,
        });
        assert_eq!(manifest, wanted);
    }
}
