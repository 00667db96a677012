//! What an npm package may hold, looked up in the tarball itself: what npm packed is what people get.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{file_name, fresh_folder, inspection::names_no_folder_of, length};
use crate::{checkout::Checkout, failure::Failure, library, python, terminal::say};

/// What npm runs on the user's machine, some of it only where a package is installed from its sources.
const INSTALL_SCRIPTS: [&str; 8] = [
    "preinstall",
    "install",
    "postinstall",
    "preprepare",
    "prepare",
    "postprepare",
    "prepublish",
    "dependencies",
];
const SOURCE_OR_TEST: [&str; 3] = [".test.", "/test/", "/src/"];

/// Unpacks it, looks at every file and says its size; the `package.json` comes back.
pub(super) fn inspect(here: &Checkout, tarball: &Path) -> Result<Value, Failure> {
    let name = file_name(tarball);
    let folder = here.target.join("package/unpacked").join(&name);
    let folder = fresh_folder(here, folder)?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(tarball).arg("-C").arg(&folder);
    python::run(tar, "tar -xzf")?;
    let package = folder.join("package");
    let files = files_in(&package);
    let mut bytes = 0;
    for file in &files {
        names_no_folder_of(here, file)?;
        bytes += length(here, file)?;
    }
    let names: Vec<String> = files
        .iter()
        .map(|file| {
            file.strip_prefix(&package)
                .unwrap_or(file)
                .display()
                .to_string()
        })
        .collect();
    only_what_is_used(&names)?;
    let manifest = fs::read_to_string(package.join("package.json")).unwrap_or_default();
    let manifest: Value = serde_json::from_str(&manifest)
        .map_err(|error| Failure::new(format!("the package.json of {name} is no JSON: {error}")))?;
    runs_nothing_when_installed(&manifest)?;
    say(&format!(
        "  {}  {}, unpacked {} in {} files",
        here.shown(tarball),
        library::size(length(here, tarball)?),
        library::size(bytes),
        files.len()
    ));
    Ok(manifest)
}

/// Every dependency that is always installed, in one version: what was tested.
pub(super) fn pins_its_dependencies(manifest: &Value) -> Result<(), Failure> {
    let dependencies = manifest["dependencies"].as_object();
    for (name, version) in dependencies.into_iter().flatten() {
        let version = version.as_str().unwrap_or_default();
        if !is_exact(version) {
            let text = format!("the dependency {name} is not pinned to one version: {version:?}");
            return Err(Failure::new(text));
        }
    }
    Ok(())
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn only_what_is_used(names: &[String]) -> Result<(), Failure> {
    let is_unwanted = |name: &&String| {
        let is_typescript = Path::new(name).extension().is_some_and(|kind| kind == "ts");
        let typescript = is_typescript && !name.ends_with(".d.ts");
        let path = format!("/{name}");
        typescript || SOURCE_OR_TEST.iter().any(|part| path.contains(part))
    };
    match names.iter().find(is_unwanted) {
        None => Ok(()),
        Some(name) => Err(Failure::new(format!(
            "the package holds {name}, which is a source or a test"
        ))),
    }
}

fn runs_nothing_when_installed(manifest: &Value) -> Result<(), Failure> {
    for script in INSTALL_SCRIPTS {
        if let Some(text) = manifest["scripts"].get(script) {
            let name = &manifest["name"];
            return Err(Failure::new(format!(
                "{name} runs {text} when it is installed ({script})"
            )));
        }
    }
    Ok(())
}

/// "3.3.4", and nothing that leaves a choice.
fn is_exact(version: &str) -> bool {
    let numbers: Vec<&str> = version.split('.').collect();
    numbers.len() == 3
        && numbers
            .iter()
            .all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_that_leaves_a_choice_is_no_pin() {
        let with = |version: &str| json!({"dependencies": {"koffi": version}});
        assert!(pins_its_dependencies(&with("3.3.4")).is_ok());
        for choice in [
            "^3.3.4", "~3.3.4", "3.3", "*", "3.x.4", "latest", ">=3.3.4", "",
        ] {
            assert!(pins_its_dependencies(&with(choice)).is_err(), "{choice}");
        }
    }

    #[test]
    fn a_package_that_runs_something_when_installed_is_refused() {
        let with = |script: &str| json!({"name": "svantic", "scripts": {script: "node x.js"}});
        assert!(runs_nothing_when_installed(&with("test")).is_ok());
        for script in INSTALL_SCRIPTS {
            assert!(
                runs_nothing_when_installed(&with(script)).is_err(),
                "{script}"
            );
        }
    }

    #[test]
    fn sources_and_tests_are_no_part_of_a_package() {
        let names = |name: &str| [name.to_owned()];
        for wanted in [
            "dist/index.js",
            "dist/lower/index.d.ts",
            "README.md",
            "docs/testing.md",
        ] {
            assert!(only_what_is_used(&names(wanted)).is_ok(), "{wanted}");
        }
        for unwanted in [
            "src/index.ts",
            "dist/index.ts",
            "test/a.mjs",
            "dist/a.test.js",
        ] {
            assert!(only_what_is_used(&names(unwanted)).is_err(), "{unwanted}");
        }
    }
}
