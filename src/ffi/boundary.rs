//! The border between C and Rust: no panic crosses it, every argument is checked, every failure is explained.

use std::cell::{OnceCell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::signals;
use super::status::svantic_status;
use crate::error::{Error, ErrorKind};

/// A failure, and its texts from when they are asked for: most are only looked at for their status.
struct LastError {
    error: Error,
    text: OnceCell<CString>,
    json: OnceCell<CString>,
}

thread_local! {
    static LAST_ERROR: RefCell<Option<LastError>> = const { RefCell::new(None) };
}

/// Runs the body of an exported function: refuses in a forked child, contains panics, keeps the failure for
/// this thread.
pub(super) fn guard(body: impl FnOnce() -> Result<(), Error>) -> svantic_status {
    if signals::forked() {
        return failed(forked());
    }
    guard_in_any_process(body)
}

/// The same for what works in a forked child too: it touches nothing but its arguments.
pub(super) fn guard_in_any_process(body: impl FnOnce() -> Result<(), Error>) -> svantic_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => svantic_status::Ok,
        Ok(Err(error)) => failed(error),
        Err(_) => failed(
            Error::new(
                ErrorKind::Internal,
                "PANIC",
                "a bug in libsvantic: a panic was contained at its border",
            )
            .hint("please report it"),
        ),
    }
}

/// An error for a callback that would never be called.
pub(super) fn pull_has_no_callbacks(name: &str, hint: &'static str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "PULL_HAS_NO_CALLBACKS",
        format!("`{name}` must be NULL with \"delivery\":\"pull\""),
    )
    .hint(hint)
}

fn forked() -> Error {
    Error::new(
        ErrorKind::Forked,
        "FORKED",
        "libsvantic was initialised before fork() and cannot be used in the child",
    )
    .hint("create the agent after the fork, or start the child with exec")
}

fn failed(error: Error) -> svantic_status {
    let status = error.kind().into();
    // The thread may be on its way out and its storage gone: then there is nobody to ask for the failure.
    let _ = LAST_ERROR.try_with(|last| {
        last.replace(Some(LastError {
            error,
            text: OnceCell::new(),
            json: OnceCell::new(),
        }))
    });
    status
}

/// This thread's last failure as a text. The pointer is good until its next failing call.
pub(super) fn last_error() -> *const c_char {
    of_last_error(|last| last.text.get_or_init(|| c_text(&last.error.to_string())))
}

/// This thread's last failure as a JSON object, likewise.
pub(super) fn last_error_json() -> *const c_char {
    of_last_error(|last| {
        last.json
            .get_or_init(|| c_text(&last.error.to_json().to_string()))
    })
}

fn of_last_error(text: impl FnOnce(&LastError) -> &CString) -> *const c_char {
    LAST_ERROR
        .try_with(|last| {
            let last = last.borrow();
            last.as_ref()
                .map_or(c"".as_ptr(), |last| text(last).as_ptr())
        })
        .unwrap_or(c"".as_ptr())
}

fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// A string argument that must be there.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string that lives and does not change for `'a`.
pub(super) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Error> {
    // SAFETY: passed on from the caller.
    unsafe { optional_text(pointer, name) }?.ok_or_else(|| null(name))
}

/// A string argument that may be NULL.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn optional_text<'a>(
    pointer: *const c_char,
    name: &str,
) -> Result<Option<&'a str>, Error> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and by the caller's promise NUL-terminated and unchanged for 'a.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| not_utf8(name))
}

/// A text argument with a length.
///
/// # Safety
/// `pointer` is NULL or points to `length` bytes that live and do not change for `'a`.
pub(super) unsafe fn sized_text<'a>(
    pointer: *const c_char,
    length: usize,
    name: &str,
) -> Result<&'a str, Error> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: passed on from the caller.
    let bytes = unsafe { bytes(pointer.cast(), length, name) }?;
    std::str::from_utf8(bytes).map_err(|_| not_utf8(name))
}

/// Bytes; NULL may stand for none.
///
/// # Safety
/// As for [`sized_text`].
pub(super) unsafe fn bytes<'a>(
    pointer: *const c_void,
    length: usize,
    name: &str,
) -> Result<&'a [u8], Error> {
    if pointer.is_null() {
        return if length == 0 {
            Ok(&[])
        } else {
            Err(null(name))
        };
    }
    if isize::try_from(length).is_err() {
        let text = format!("the length of `{name}` is larger than memory");
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "INVALID_ARGUMENT",
            text,
        ));
    }
    // SAFETY: not NULL, and by the caller's promise `length` readable bytes, unchanged for 'a.
    Ok(unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) })
}

/// Writes an out parameter.
///
/// # Safety
/// `pointer` is NULL or points to room for a `T`.
pub(super) unsafe fn write<T>(pointer: *mut T, name: &str, value: T) -> Result<(), Error> {
    check_out(pointer, name)?;
    // SAFETY: not NULL, aligned, and by the caller's promise room for a T.
    unsafe { pointer.write(value) };
    Ok(())
}

/// Refuses an out parameter that cannot be written, before anything has been done.
pub(super) fn check_out<T>(pointer: *mut T, name: &str) -> Result<(), Error> {
    if pointer.is_null() {
        return Err(null(name));
    }
    if !pointer.is_aligned() {
        let text = format!("`{name}` is not aligned");
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "INVALID_ARGUMENT",
            text,
        ));
    }
    Ok(())
}

/// The same for one that may be NULL.
pub(super) fn check_optional<T>(pointer: *mut T, name: &str) -> Result<(), Error> {
    if pointer.is_null() {
        return Ok(());
    }
    check_out(pointer, name)
}

/// Writes an out parameter that may be NULL.
///
/// # Safety
/// As for [`write`].
pub(super) unsafe fn write_optional<T>(pointer: *mut T, name: &str, value: T) -> Result<(), Error> {
    if pointer.is_null() {
        return Ok(());
    }
    // SAFETY: passed on from the caller.
    unsafe { write(pointer, name, value) }
}

/// The largest document of settings that is accepted: a configuration, a capability, options.
const MAX_SPEC_BYTES: usize = 1 << 20;

/// Refuses a document of settings that is too large. `what` is a word that users of every language know it by: bindings
/// pass their users' settings on, who can make this one too large, and have never heard of a `config_json`.
pub(super) fn check_size(json: &str, what: &str) -> Result<(), Error> {
    if json.len() <= MAX_SPEC_BYTES {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        "TOO_LARGE",
        format!(
            "{what} has {} bytes of JSON, and the limit is {MAX_SPEC_BYTES}",
            json.len()
        ),
    ))
}

/// `timeout_ms` of an operation: 0 is the configured default.
pub(super) fn timeout(timeout_ms: u32) -> Option<Duration> {
    (timeout_ms != 0).then(|| Duration::from_millis(timeout_ms.into()))
}

fn null(name: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "NULL_ARGUMENT",
        format!("`{name}` is NULL"),
    )
}

fn not_utf8(name: &str) -> Error {
    Error::new(
        ErrorKind::InvalidJson,
        "INVALID_UTF8",
        format!("`{name}` is not UTF-8"),
    )
}
