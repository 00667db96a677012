//! What only the kernel can tell, and only unsafe code can ask. The C ABI's room puts the questions here
//! ([`install`]); without it everything that uses them falls back to less.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use once_cell::sync::OnceCell;
use tokio::io::unix::AsyncFd;

/// The questions, as functions. Each may fail on a platform that has no answer.
pub struct Kernel {
    /// How many bytes written to a TCP socket its peer has not acknowledged yet.
    pub unacknowledged: fn(BorrowedFd<'_>) -> Option<u64>,
    /// The time since some fixed moment on a clock that goes on while the machine is suspended.
    pub boot_time: fn() -> Option<Duration>,
    /// A descriptor that becomes readable (8 bytes at a time) once in every `period` on that clock: at once after a
    /// suspension that was longer. Called in the context of the runtime that is to watch it.
    pub sleep_alarm: fn(period: Duration) -> io::Result<AsyncFd<File>>,
}

static KERNEL: OnceCell<Kernel> = OnceCell::new();

/// Sets how the kernel is asked; only the first call counts.
pub fn install(kernel: Kernel) {
    let _ = KERNEL.set(kernel);
}

pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> Option<u64> {
    (KERNEL.get()?.unacknowledged)(socket)
}

pub(crate) fn boot_time() -> Option<Duration> {
    (KERNEL.get()?.boot_time)()
}

pub(crate) fn sleep_alarm(period: Duration) -> io::Result<AsyncFd<File>> {
    match KERNEL.get() {
        Some(kernel) => (kernel.sleep_alarm)(period),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}
