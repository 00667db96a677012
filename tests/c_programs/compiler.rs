//! Compiles the C and C++ programs of the tests with the system's compilers, strictly, each one once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the `libsvantic.so` of this very build lies.
///
/// That is `target/<profile>/deps`, where the test itself is. The copy one level up is not good enough: cargo links
/// it there for `cargo build` only, so that a plain `cargo test` leaves an old one, or none.
pub(crate) fn library_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows where it is");
    let deps = test.parent().expect("the test lies in a directory");
    assert!(
        deps.join("libsvantic.so").is_file(),
        "there is no libsvantic.so beside {}",
        test.display()
    );
    deps.to_owned()
}

/// The program made of these files of the checkout, named from `tests/` on; C++ if the first lies in `cpp/`.
pub(crate) fn program(sources: &[&str]) -> PathBuf {
    built_once(sources, sources[0].starts_with("cpp/"))
}

/// The same, compiled once however many tests ask for it.
pub(crate) fn built_once(sources: &[&str], cpp: bool) -> PathBuf {
    linked(sources, cpp, &[])
}

/// The same with these libraries of the system beside ours.
pub(crate) fn linked(sources: &[&str], cpp: bool, libraries: &[&str]) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // Held while the compiler runs, so that the second who asks waits for it.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built
        .entry(format!("{sources:?} {cpp} {libraries:?}"))
        .or_insert_with(|| compile(sources, cpp, libraries))
        .clone()
}

fn compile(sources: &[&str], cpp: bool, libraries: &[&str]) -> PathBuf {
    let (compiler, standard) = if cpp {
        ("c++", "-std=c++17")
    } else {
        ("cc", "-std=c99")
    };
    let name = sources[0]
        .trim_start_matches("../")
        .replace(['/', '.'], "_");
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}_by_{compiler}"));
    let library = library_dir();
    let mut command = Command::new(compiler);
    command
        .args([
            standard,
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-pthread",
            "-g",
        ])
        .arg("-I")
        .arg(root().join("include"))
        .arg("-I")
        .arg(root().join("tests/c"));
    if cpp {
        // Also what is called `.c`.
        command.args(["-x", "c++"]);
    }
    command
        .args(
            sources
                .iter()
                .map(|source| root().join("tests").join(source)),
        )
        .args(["-x", "none", "-o"])
        .arg(&output)
        .arg("-L")
        .arg(&library)
        // The old kind of path, which wins over the LD_LIBRARY_PATH that cargo sets: that leads to the old copy.
        .arg(format!(
            "-Wl,--disable-new-dtags,-rpath,{}",
            library.display()
        ))
        // A program that needs nothing of the library, because it loads it by hand, is not linked with it.
        .args(["-Wl,--as-needed", "-lsvantic", "-ldl"])
        .args(libraries);
    let done = command.output().expect("the compiler can be started");
    assert!(
        done.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&done.stderr)
    );
    output
}
