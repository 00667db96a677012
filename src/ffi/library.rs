//! The library as a whole: versions, errors, strings, shutdown.

use std::ffi::{CStr, c_char};
use std::time::{Duration, Instant};

use super::boundary::{self, guard};
use super::inside;
use super::status::svantic_status;
use super::{handles, text};
use crate::error::{Error, ErrorKind};
use crate::runtime;

/// Changes when an existing function, type or value changes incompatibly.
pub const SVANTIC_ABI_VERSION: u32 = 1;

/// The loaded library's ABI version. Compare it with SVANTIC_ABI_VERSION of the header you compiled with.
///
/// Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_abi_version() -> u32 {
    SVANTIC_ABI_VERSION
}

/// "major.minor.patch" of the loaded library.
///
/// Static: never freed. Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The name of a status: "SVANTIC_STATUS_TIMEOUT" for 20; "SVANTIC_STATUS_UNKNOWN" for a value that this
/// version does not know. Never NULL.
///
/// Static: never freed. Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_status_name(status: i32) -> *const c_char {
    svantic_status::ALL
        .iter()
        .find(|(known, _)| *known as i32 == status)
        .map_or(c"SVANTIC_STATUS_UNKNOWN", |(_, name): &(_, &CStr)| name)
        .as_ptr()
}

/// Why this thread's last failed call failed: what failed, on what, why, a code in brackets, and what to do
/// about it. "" if none did. Never holds a secret.
///
/// The library's: valid until the next failing call on this thread; copy it to keep it. Any thread; never
/// blocks. The outcome of an asynchronous operation is not here but with its completion.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_last_error() -> *const c_char {
    boundary::last_error()
}

/// svantic_last_error() as the JSON object of svantic_done_fn, for programs that act on its parts:
/// {"status","code","message","hint","http_status","retryable"}. "" if no call of this thread has failed. Never holds a
/// secret.
///
/// The library's: valid until the next failing call on this thread; copy it to keep it. Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_last_error_json() -> *const c_char {
    boundary::last_error_json()
}

/// Frees a string that the library handed out through an out parameter. NULL is ignored.
///
/// Call it once per string and on nothing else. Any thread; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_string_free(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: by the header's contract the string came from an out parameter and is freed once.
        unsafe { text::free(string) };
    }
}

/// Ends every agent and then the library's threads. Call it once before the process exits.
///
/// Every handle becomes invalid. Running dispatches are answered with AGENT_SHUTDOWN, pending operations end
/// with CANCELLED, and each agent says goodbye to the mesh as far as `timeout_ms` permits (0: not at all).
/// For a graceful end call svantic_disconnect() on each agent first. Afterwards svantic_create() works again.
///
/// Any thread but one that runs callbacks; blocks for at most `timeout_ms`.
///
/// Returns OK; TIMEOUT if a callback or a farewell was still under way (it is then finished in the
/// background); WOULD_DEADLOCK from inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_shutdown(timeout_ms: u32) -> svantic_status {
    guard(|| {
        if inside::callback() {
            return Err(Error::new(
                ErrorKind::WouldDeadlock,
                "WOULD_DEADLOCK",
                "svantic_shutdown was called from inside a callback, which it would wait for",
            )
            .hint("call it from another thread, at the end of the program"));
        }
        let deadline = Instant::now() + Duration::from_millis(timeout_ms.into());
        let left = || deadline.saturating_duration_since(Instant::now());
        let (meshes, ending) = handles::remove_all();
        for mesh in &meshes {
            mesh.connector.stop();
        }
        let mut in_time = true;
        let connectors = || {
            let departing = ending.iter().filter_map(|agent| agent.connector.as_ref());
            meshes.iter().map(|mesh| &mesh.connector).chain(departing)
        };
        for connector in connectors() {
            connector.wait_ended(left());
        }
        // Ends what has not ended by itself: nobody waits for a farewell any longer.
        in_time &= runtime::shutdown(left());
        for connector in connectors() {
            in_time &= connector.wait_ended(left());
        }
        let departing = ending.iter().map(|agent| &agent.queue);
        for queue in meshes.iter().map(|mesh| &mesh.queue).chain(departing) {
            in_time &= queue.free(Some(deadline));
        }
        if in_time {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Timeout,
            "TIMEOUT",
            format!(
                "svantic_shutdown did not finish within {timeout_ms} ms: a callback or a farewell was under way"
            ),
        ))
    })
}
