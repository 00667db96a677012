//! Generates `include/svantic.h` from the doc comments of `src/ffi`, and sets how the shared object is linked.
//!
//! The header is checked in. It is written only when it differs; with `SVANTIC_CHECK_HEADER` set a stale one
//! fails the build instead.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// In the order in which their items stand in the header.
const SOURCES: [&str; 15] = [
    "status",
    "handles",
    "callback",
    "library",
    "mesh",
    "operations",
    "request",
    "properties",
    "dispatch",
    "flat",
    "lifeline",
    "dispatch_auth",
    "serve",
    "trace",
    "transport",
];

fn main() {
    let root =
        PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    println!("cargo::rerun-if-changed=src/ffi");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=include/svantic.h");
    println!("cargo::rerun-if-env-changed=SVANTIC_CHECK_HEADER");
    write_header(&root);
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Unloading a library whose threads run ends the process; so it stays.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}

fn write_header(root: &Path) {
    let mut builder = cbindgen::Builder::new().with_config(config());
    for source in SOURCES {
        builder = builder.with_src(root.join(format!("src/ffi/{source}.rs")));
    }
    let bindings = builder.generate().expect("src/ffi is valid for cbindgen");
    let mut header = Vec::new();
    bindings.write(&mut header);
    let path = root.join("include/svantic.h");
    let current = fs::read(&path).unwrap_or_default();
    if current == header {
        return;
    }
    assert!(
        env::var_os("SVANTIC_CHECK_HEADER").is_none(),
        "include/svantic.h is stale: build without SVANTIC_CHECK_HEADER and commit what changes"
    );
    fs::create_dir_all(root.join("include")).expect("include can be created");
    fs::write(&path, header).expect("include/svantic.h can be written");
}

fn config() -> cbindgen::Config {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Type,
        cpp_compat: true,
        include_guard: Some("SVANTIC_H".to_owned()),
        header: Some(MANUAL.to_owned()),
        no_includes: true,
        sys_includes: ["stdbool.h", "stddef.h", "stdint.h"]
            .map(str::to_owned)
            .to_vec(),
        after_includes: Some(versions()),
        documentation_style: cbindgen::DocumentationStyle::Doxy,
        documentation_length: cbindgen::DocumentationLength::Full,
        usize_is_size_t: true,
        line_length: 110,
        tab_width: 4,
        ..cbindgen::Config::default()
    };
    config.enumeration.rename_variants = cbindgen::RenameRule::ScreamingSnakeCase;
    config.enumeration.prefix_with_name = true;
    // No function takes or returns these (callbacks get plain integers), so they are named here.
    config.export.include = ["svantic_state", "svantic_event"]
        .map(str::to_owned)
        .to_vec();
    config
}

fn versions() -> String {
    let part =
        |name: &str| env::var(format!("CARGO_PKG_VERSION_{name}")).expect("cargo sets the version");
    format!(
        "\n#define SVANTIC_VERSION_MAJOR {}\n#define SVANTIC_VERSION_MINOR {}\n#define SVANTIC_VERSION_PATCH {}",
        part("MAJOR"),
        part("MINOR"),
        part("PATCH"),
    )
}

const MANUAL: &str = "\
/*
 * libsvantic: the connection of an agent to the Svantic mesh.
 *
 * Generated from src/ffi by build.rs; do not edit.
 *
 * A svantic_mesh is a MeshConnector and the agent it speaks for: create it, define what the agent can do,
 * connect, and answer the dispatches (capability calls) that arrive.
 *
 *     svantic_mesh *mesh;
 *     svantic_create(\"{\\\"name\\\":\\\"order-desk\\\",\\\"description\\\":\\\"finds orders\\\"}\", &mesh);
 *     svantic_define_capability(mesh, spec_json, run, user_data, NULL);
 *     svantic_connect(mesh, 0);
 *     ...
 *     svantic_disconnect(mesh, 0);
 *     svantic_free(mesh);
 *     svantic_shutdown(1000);
 *
 * Ownership  Arguments are borrowed for the call. A char* written to an out parameter belongs to the caller:
 *            svantic_string_free(). Strings are UTF-8; strings given to callbacks are NUL-terminated and valid
 *            only during the callback. user_data is never looked at.
 * Threads    Every function may be called from any thread. A freed or invalid handle is reported as
 *            SVANTIC_STATUS_INVALID_HANDLE, never dereferenced. One I/O thread serves every agent of the
 *            process; it starts with the first operation (svantic_connect() and its like), the first call given to
 *            svantic_serve(), svantic_lifeline_fd(), or svantic_create() with \"local\" and \"listen\", and ends with
 *            svantic_shutdown(). The library's threads block asynchronous signals, which stay with the host's.
 * Delivery   \"callbacks\" (default): threads that the library owns (\"workers\", default 1) run the callbacks.
 *            With one worker they run one at a time, in order; with several, handlers run side by side, and
 *            events and completions still one at a time. No lock is held while one runs, so they may call any
 *            function here except svantic_shutdown(), and svantic_disconnect() and svantic_serve() of their own
 *            agent; svantic_free() takes effect when they return. They must not throw, longjmp or end their thread.
 *            \"inline\": handlers run on the I/O thread itself, as soon as a dispatch is there: nothing is cheaper, and
 *            nothing answers sooner. They promise not to block and to be quick, a fraction of a millisecond: while
 *            one runs, nothing is read, written or noticed for any agent of the process, and what a handler that
 *            hangs holds up is every agent's heartbeats and answers; nobody tells the mesh. In a handler every
 *            function that waits, of any agent, returns WOULD_DEADLOCK: use its _async form, or resolve later from
 *            another thread. Events, completions and responses are called back on one delivery thread, as above,
 *            and may wait. So an event may be told after handlers that ran later have returned.
 *            \"pull\": nothing is called back; svantic_next() hands out the same things as JSON, and
 *            svantic_notify_fd() says when. For event loops and for languages with their own threads;
 *            svantic_lifeline_fd() for those whose threads can end without a word.
 * Dispatches A dispatch is named by its dispatch_id and is answered once, from any thread, inside its handler
 *            or later. What is not answered within its deadline is answered by the library with an error.
 * Waiting    Every function that waits takes timeout_ms. 0 means the configured default for the operations,
 *            and \"do not wait\" for svantic_next(), its batches and svantic_shutdown(). Nothing waits
 *            for ever, but svantic_free() for a callback that does not return. svantic_cancel() ends an _async
 *            operation before its time.
 * Errors     Fallible functions return svantic_status and write out parameters only on SVANTIC_STATUS_OK.
 *            svantic_last_error() explains this thread's last failure, svantic_last_error_json() as an object;
 *            the outcome of an _async operation carries its own explanation. No secret is ever in an error or an
 *            event.
 * fork       The library cannot be used in a child that did not exec once svantic_create() has been called:
 *            SVANTIC_STATUS_FORKED. svantic_free() there forgets and touches nothing. What parses text works there.
 * Limits     Configuration and capability specs 1 MiB; frames \"max_frame_bytes\"; ids of dispatches 128 bytes.
 */";
