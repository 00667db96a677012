//! What the process's signals and forks mean to the library's threads.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);
static ARMED: Once = Once::new();

/// From now on a forked child is told apart. A flag set at the fork costs nothing later; asking for the pid
/// would be a system call per function.
pub(super) fn arm() {
    ARMED.call_once(|| {
        // SAFETY: the handler only stores to an atomic, which is allowed in a child of a threaded process.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        crate::runtime::on_thread_start(block);
        super::kernel::install();
    });
}

extern "C" fn in_child() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Whether this process was forked from one that had initialised the library.
pub(super) fn forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Blocks asynchronous signals on the calling thread: Ctrl-C and SIGCHLD belong to the host's threads.
/// Signals that a thread raises itself (SIGSEGV and its like) stay deliverable.
pub(crate) fn block() {
    // SAFETY: `set` is initialised by sigfillset before it is used, and the calls only touch it and this
    // thread's mask.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut set);
        for raised in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGABRT,
            libc::SIGTRAP,
        ] {
            libc::sigdelset(&raw mut set, raised);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Whether a SIGPIPE waits for the calling thread to let it through.
#[cfg(test)]
pub(crate) fn sigpipe_is_pending() -> bool {
    // SAFETY: `set` is initialised by sigpending before it is asked.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigpending(&raw mut set);
        libc::sigismember(&raw const set, libc::SIGPIPE) == 1
    }
}
