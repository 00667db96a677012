//! The descriptor whose end is the agent's: for hosts whose parts can be gone from one moment to the next.

use std::ffi::c_int;
use std::io::ErrorKind as IoKind;
use std::os::fd::IntoRawFd as _;
use std::os::unix::net::UnixStream;

use super::boundary::{check_out, guard, write};
use super::dispatch::pulling;
use super::handles::{self, svantic_mesh};
use super::status::svantic_status;
use crate::error::{Error, ErrorKind};
use crate::runtime;

/// Writes a descriptor like that of svantic_notify_fd(), which is a lifeline too: when the last copy of it is closed
/// while the agent lives, the agent is ended and freed in the background, as by svantic_free(). For hosts whose parts
/// can end without a word, such as worker threads of an interpreter: the kernel closes the descriptor with its owner's
/// last copy, or the owner's event loop does. A copy in a child process counts, until the child runs another program.
///
/// As with svantic_notify_fd() it is readable while items wait and shows the end of the stream when the agent is freed.
/// Its bytes mean nothing, but here the host must read them, before (not after) it calls svantic_next(): the library has
/// no copy of the descriptor to do so. What is written into it is ignored; to shut it down is to close it.
///
/// The descriptor is the caller's: close it when done, before or after svantic_free(). One per agent, and not together
/// with svantic_notify_fd(). It starts the I/O thread if that does not run yet, which watches it. POSIX only.
///
/// Any thread; never blocks. Returns OK; INVALID_STATE unless "delivery" is "pull", after svantic_notify_fd() and the
/// second time; INVALID_ARGUMENT; INVALID_HANDLE; INTERNAL when the process has no descriptors or threads left; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_lifeline_fd(
    mesh: *mut svantic_mesh,
    out_fd: *mut c_int,
) -> svantic_status {
    guard(|| {
        let agent = pulling(mesh)?;
        check_out(out_fd, "out_fd")?;
        // An id and no pointer: it may go to another thread.
        let handle = mesh.addr();
        let fd = agent.queue.lifeline_fd(|ours| watch(handle, ours))?;
        // SAFETY: checked above; the header asks for room for an int.
        unsafe { write(out_fd, "out_fd", fd.into_raw_fd()) }
    })
}

/// Frees the agent once nobody holds the other end of `ours`.
fn watch(handle: usize, ours: UnixStream) -> Result<(), Error> {
    let runtime = runtime::get()?;
    let _context = runtime.handle().enter();
    let ours = tokio::net::UnixStream::from_std(ours).map_err(|error| {
        let text = format!("svantic_lifeline_fd: the descriptor cannot be watched: {error}");
        Error::new(ErrorKind::Internal, "NO_DESCRIPTOR", text)
    })?;
    runtime.handle().spawn(async move {
        until_closed(&ours).await;
        drop(ours);
        // Stale if the host has freed it: that is what closed this end then.
        if let Some(agent) = handles::remove_to_end(std::ptr::without_provenance_mut(handle)) {
            agent.connector.stop();
            // A delivery thread, as for an agent that is freed in a callback: this one must not wait, and what is
            // released may be the application's. If there is none, all goes with the connector's last word.
            agent.queue.release_at_exit();
        }
    });
    Ok(())
}

/// Returns at the end of the stream, which a host that left bytes unread ends with an error.
async fn until_closed(ours: &tokio::net::UnixStream) {
    while ours.readable().await.is_ok() {
        match ours.try_read(&mut [0; 64]) {
            Ok(0) => return,
            // What a host writes is of no interest.
            Ok(_) => {}
            Err(error) if matches!(error.kind(), IoKind::WouldBlock | IoKind::Interrupted) => {}
            Err(_) => return,
        }
    }
}
