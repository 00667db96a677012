//! Verification of dispatches that the application receives itself.

use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::boundary::{check_out, check_size, guard, text, write};
use super::status::svantic_status;
use super::text::into_c;
use crate::dispatch_auth::{self, Options, Verifier};
use crate::error::Error;
use crate::protocol::dispatch_auth::ComparisonKey;

/// Verifies the "svantic_auth" of a dispatch that arrived by HTTP, and accepts each dispatch once.
///
/// `data_json`: the data part of the request as it arrived, {"skill_id","args","svantic_auth":{"scheme","token"},...}.
/// Give the text itself rather than what a parser made of it: names that stand twice are then noticed.
/// `options_json`: {"instance_id":"...","signing_secret":"...","shared_secret":"...","clock_skew_s":30,"agent_type":"...",
/// "tenant_id":"..."}. "instance_id" and at least one of the secrets are required; a scheme without its secret is refused.
/// "clock_skew_s" (0 to 300) is how wrong the clocks may be. "agent_type" and "tenant_id" are compared when they are given
/// and the token names them.
///
/// `*out_context_json` becomes {"scheme","tenant_id","agent_type","instance_id","dispatch_id","expires_at"}, which the
/// caller frees with svantic_string_free(): what the token says (null where it says nothing), "expires_at" in Unix seconds.
///
/// "svantic_jwt": a JWT signed by HS256 with the UTF-8 bytes of "signing_secret", "iss" "svantic-mesh", "aud"
/// "agent:<instance_id>", not expired, at most 10 minutes to live, at most 8 KiB long, with a "dispatch_id" (the request's,
/// if that has one). It is accepted once: the library remembers it until it expires, in this process only and for all
/// callers in it. What is behind it is not signed: the JWT does not bind "args", so TLS has to protect them.
/// "shared_secret": the token is "shared_secret". It neither expires nor is it good only once; prefer the JWT.
///
/// Any refusal is AUTH, and svantic_last_error() ends with its code: [missing_envelope], [malformed_envelope] (also when
/// `data_json` is not JSON), [unsupported_scheme], [bad_signature], [expired] (also before "nbf", or more than 10 minutes
/// ahead), [wrong_issuer], [wrong_audience] (another instance, type, tenant or dispatch), [secret_mismatch], [replayed], or
/// [replay_table_full] when 100,000 live tokens were accepted: answer that with HTTP 503 and the others with 401.
///
/// Needs no agent. Any thread; never blocks for longer than others take to look up an id. In a forked child it works with
/// a copy of the parent's memory, unless svantic_create() was called before the fork.
///
/// Returns OK; AUTH; INVALID_ARGUMENT or INVALID_JSON for the options, for NULL and for what is not UTF-8; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_verify_dispatch_auth(
    data_json: *const c_char,
    options_json: *const c_char,
    out_context_json: *mut *mut c_char,
) -> svantic_status {
    guard(|| {
        check_out(out_context_json, "out_context_json")?;
        // SAFETY: the header asks for NULL or a NUL-terminated string that outlives the call.
        let data = unsafe { text(data_json, "data_json") }?;
        // SAFETY: the same.
        let options = unsafe { text(options_json, "options_json") }?;
        check_size(options, "the options")?;
        let context = verify(data, &Options::parse(options)?)?;
        // SAFETY: checked above; the header asks for room for a pointer.
        unsafe { write(out_context_json, "out_context_json", into_c(&context)) }
    })
}

fn verify(data_json: &str, options: &Options) -> Result<String, Error> {
    let comparison = comparison_key()?;
    let instant = Instant::now();
    // Before 1970 there is no valid token, and none is accepted then.
    let unix_time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let verified = dispatch_auth::verify(data_json, options, &comparison, unix_time)?;
    let context = dispatch_auth::to_json(&verified).to_string();
    let mut process = lock();
    let process = opened(&mut process)?;
    let now = instant.saturating_duration_since(process.born);
    process.verifier.admit(&verified, now)?;
    Ok(context)
}

fn comparison_key() -> Result<ComparisonKey, Error> {
    Ok(opened(&mut lock())?.verifier.comparison_key())
}

/// The one verifier, and the beginning of its time.
struct Process {
    born: Instant,
    verifier: Verifier,
}

static PROCESS: Mutex<Option<Process>> = Mutex::new(None);

fn opened(process: &mut Option<Process>) -> Result<&mut Process, Error> {
    if process.is_none() {
        *process = Some(Process {
            born: Instant::now(),
            verifier: Verifier::new()?,
        });
    }
    Ok(process.as_mut().expect("it was just made"))
}

/// Whoever panicked with it left the ids it had accepted where they are.
fn lock() -> MutexGuard<'static, Option<Process>> {
    static ARMED: Once = Once::new();
    ARMED.call_once(|| {
        // SAFETY: the handlers are functions of this library, which is never unloaded.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork)) };
    });
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread that forks holds meanwhile.
struct Held(UnsafeCell<Option<MutexGuard<'static, Option<Process>>>>);

// SAFETY: only touched by the thread that has locked PROCESS.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

/// No other thread is in there at the fork: the child would find it locked for ever.
extern "C" fn before_fork() {
    let guard = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: this thread has just locked PROCESS.
    unsafe { *HELD.0.get() = Some(guard) };
}

extern "C" fn after_fork() {
    // SAFETY: this thread, or the one it is the copy of, has locked PROCESS in `before_fork`.
    drop(unsafe { (*HELD.0.get()).take() });
}
