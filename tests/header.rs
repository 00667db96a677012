//! The header and the symbols: what C and C++ see of the library, and that it is what the library has.
#![cfg(target_os = "linux")]

#[path = "c_programs/compiler.rs"]
mod compiler;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use compiler::{library_dir, program, root};

fn header() -> String {
    fs::read_to_string(root().join("include/svantic.h")).expect("the header is checked in")
}

fn run(program: &Path) {
    let status = Command::new(program).status().expect("the program starts");
    assert!(
        status.success(),
        "{} ended with {status}",
        program.display()
    );
}

#[test]
fn c99_takes_the_header_alone() {
    run(&program(&["c/header_alone.c"]));
}

#[test]
fn c99_takes_the_header_twice() {
    run(&program(&["c/header_twice.c"]));
}

#[test]
fn c99_takes_the_header_in_two_translation_units() {
    run(&program(&["c/header_unit_one.c", "c/header_unit_two.c"]));
}

#[test]
fn cpp17_takes_the_header_alone_twice_and_in_two_translation_units() {
    for sources in [
        &["c/header_alone.c"][..],
        &["c/header_twice.c"],
        &["c/header_unit_one.c", "c/header_unit_two.c"],
    ] {
        run(&compiler::built_once(sources, true));
    }
}

#[test]
fn the_numbers_are_those_of_the_fixed_table_in_c_and_in_cpp() {
    run(&program(&["c/numbers.c"]));
    run(&compiler::built_once(&["c/numbers.c"], true));
}

#[test]
fn the_fixed_table_misses_no_number() {
    let table = fs::read_to_string(root().join("tests/c/numbers.c")).unwrap();
    let defined = header();
    let constants: Vec<_> = defined
        .lines()
        .filter_map(|line| line.trim().split_once(" = "))
        .filter(|(name, _)| name.starts_with("SVANTIC_"))
        .collect();
    assert_eq!(constants.len(), 16 + 8 + 23);
    for (name, value) in constants {
        let line = format!("SAME({name}, {});", value.trim_end_matches(','));
        assert!(table.contains(&line), "tests/c/numbers.c lacks {line}");
    }
}

fn symbols() -> BTreeSet<String> {
    let list = fs::read_to_string(root().join("tests/c/symbols.txt")).unwrap();
    list.lines().map(str::to_owned).collect()
}

#[test]
fn the_library_exports_the_listed_symbols_and_nothing_else() {
    let nm = Command::new("nm")
        .args(["--dynamic", "--defined-only", "--format=posix"])
        .arg(library_dir().join("libsvantic.so"))
        .output()
        .expect("nm (of binutils) starts");
    assert!(nm.status.success());
    let text = String::from_utf8(nm.stdout).unwrap();
    let exported: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(exported, symbols());
}

#[test]
fn the_manual_of_create_and_the_readme_name_every_key_of_the_configuration() {
    let source = fs::read_to_string(root().join("src/config/mod.rs")).unwrap();
    let (_, keys) = source.split_once("const KEYS: &[&str] = &[").unwrap();
    let (keys, _) = keys.split_once("];").unwrap();
    let keys: Vec<&str> = keys.split('"').skip(1).step_by(2).collect();
    assert!(keys.len() > 40, "{keys:?}");
    let header = header();
    let (manual, _) = header.split_once("svantic_status svantic_create(").unwrap();
    let (_, manual) = manual.rsplit_once("/**").unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for key in keys {
        assert!(manual.contains(&format!("\"{key}\"")), "header: {key}");
        let in_table = |line: &str| {
            let column = line
                .strip_prefix("| ")
                .and_then(|line| line.split('|').next());
            column.is_some_and(|column| column.contains(&format!("`{key}`")))
        };
        assert!(readme.lines().any(in_table), "README: {key}");
    }
}

/// `tests/c_programs` runs it.
#[test]
fn the_test_of_a_forked_child_misses_no_function() {
    let read = |name: &str| fs::read_to_string(root().join("tests/c").join(name)).unwrap();
    let exit = read("exit.c");
    let (_, child) = exit.split_once("static void fork_after_connect").unwrap();
    let (child, _) = child.split_once("exit(EXIT_SUCCESS)").unwrap();
    let called = format!("{child}{}", read("every_function.h"));
    for function in symbols() {
        assert!(called.contains(&format!("{function}(")), "{function}");
    }
}

#[test]
fn the_header_declares_the_listed_functions_and_nothing_else() {
    // A declaration starts its line with the type it returns; the manual's lines start with " *".
    let header = header();
    let declared: BTreeSet<String> = header
        .lines()
        .filter(|line| !line.starts_with([' ', '/', '#', '}']) && !line.starts_with("typedef"))
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("svantic_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(declared, symbols());
    assert!(declared.iter().all(|name| name.starts_with("svantic_")));
}

/// The build script that made this library: the newest, since cargo builds it anew whenever it changes.
fn build_script() -> PathBuf {
    let profile = library_dir().parent().unwrap().to_owned();
    let scripts = fs::read_dir(profile.join("build")).unwrap();
    scripts
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let package = path.file_name()?.to_str()?.strip_prefix("svantic-")?;
            // Not those of `svantic-gateway` and its like.
            let script = (!package.contains('-')).then(|| path.join("build-script-build"))?;
            Some((fs::metadata(&script).ok()?.modified().ok()?, script))
        })
        .max()
        .expect("the build script was built")
        .1
}

/// Runs the build script over another tree.
fn generate(tree: &Path, check: bool) -> Output {
    let mut script = Command::new(build_script());
    script
        .current_dir(tree)
        .env("CARGO_MANIFEST_DIR", tree)
        .env("CARGO_CFG_TARGET_OS", "linux")
        .env("CARGO_PKG_VERSION_MAJOR", env!("CARGO_PKG_VERSION_MAJOR"))
        .env("CARGO_PKG_VERSION_MINOR", env!("CARGO_PKG_VERSION_MINOR"))
        .env("CARGO_PKG_VERSION_PATCH", env!("CARGO_PKG_VERSION_PATCH"))
        .env_remove("SVANTIC_CHECK_HEADER");
    if check {
        script.env("SVANTIC_CHECK_HEADER", "1");
    }
    script.output().expect("the build script starts")
}

/// A tree with the sources of the header and the header.
fn copy_of_the_sources(name: &str) -> PathBuf {
    let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir_all(tree.join("src/ffi")).unwrap();
    fs::create_dir_all(tree.join("include")).unwrap();
    for entry in fs::read_dir(root().join("src/ffi")).unwrap() {
        let entry = entry.unwrap();
        // What is exported stands in the folder itself.
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), tree.join("src/ffi").join(entry.file_name())).unwrap();
        }
    }
    fs::copy(
        root().join("include/svantic.h"),
        tree.join("include/svantic.h"),
    )
    .unwrap();
    tree
}

#[test]
fn the_checked_in_header_is_the_generated_one() {
    let tree = copy_of_the_sources("fresh_header");
    let checked = generate(&tree, true);
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    fs::remove_file(tree.join("include/svantic.h")).unwrap();
    assert!(generate(&tree, false).status.success());
    let generated = fs::read_to_string(tree.join("include/svantic.h")).unwrap();
    assert_eq!(generated, header());
}

#[test]
fn a_stale_header_fails_the_build_that_checks_it_and_is_left_as_it_is() {
    let tree = copy_of_the_sources("stale_header");
    let source = tree.join("src/ffi/library.rs");
    let changed = fs::read_to_string(&source).unwrap().replace(
        "pub extern \"C\" fn svantic_version()",
        "pub extern \"C\" fn svantic_release()",
    );
    assert!(
        changed.contains("svantic_release"),
        "the source was changed"
    );
    fs::write(&source, changed).unwrap();
    let checked = generate(&tree, true);
    assert!(!checked.status.success(), "a stale header was accepted");
    let complaint = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        complaint.contains("include/svantic.h is stale"),
        "{complaint}"
    );
    let stale = fs::read_to_string(tree.join("include/svantic.h")).unwrap();
    assert_eq!(stale, header());
    // Without the check the header follows the sources.
    assert!(generate(&tree, false).status.success());
    let followed = fs::read_to_string(tree.join("include/svantic.h")).unwrap();
    assert!(followed.contains("svantic_release"));
}
