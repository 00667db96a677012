//! The descriptor that tells an event loop that items wait.

use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use socket2::SockRef;

/// A pair of sockets: one byte stands in it while items wait.
pub(super) struct Wakeup {
    /// The library's own copy of the host's end, with which it takes the byte back; dropping both ends shows the
    /// host's copy the end of the stream. A lifeline has none: its host's end must close with the last copy of the
    /// host's, and the host takes the bytes.
    reader: Option<UnixStream>,
    writer: UnixStream,
    signalled: bool,
}

impl Wakeup {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = pair()?;
        Ok(Self {
            reader: Some(reader),
            writer,
            signalled: false,
        })
    }

    /// One that is a lifeline too, the host's end of it, and ours, which shows the end of the stream when the host's
    /// is gone.
    pub(super) fn lifeline() -> io::Result<(Self, OwnedFd, UnixStream)> {
        let (hosts, writer) = pair()?;
        let ours = writer.try_clone()?;
        let wakeup = Self {
            reader: None,
            writer,
            signalled: false,
        };
        Ok((wakeup, hosts.into(), ours))
    }

    pub(super) fn is_lifeline(&self) -> bool {
        self.reader.is_none()
    }

    /// A descriptor of its own for the host.
    pub(super) fn duplicate(&self) -> io::Result<RawFd> {
        match &self.reader {
            Some(reader) => Ok(reader.try_clone()?.into_raw_fd()),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes the descriptor readable.
    pub(super) fn signal(&mut self) {
        if !std::mem::replace(&mut self.signalled, true) {
            // A full buffer is readable, which is all that is wanted; and a host that is gone wants nothing, not even
            // a SIGPIPE.
            let _ = SockRef::from(&self.writer).send_with_flags(&[1], NO_SIGNAL);
        }
    }

    /// Makes the descriptor unreadable again, whether the host has read the byte or left it. With a lifeline that is
    /// the host's business, and the next signal is another byte.
    pub(super) fn clear(&mut self) {
        if std::mem::replace(&mut self.signalled, false)
            && let Some(reader) = &mut self.reader
        {
            let _ = reader.read(&mut [0; 16]);
        }
    }
}

impl Drop for Wakeup {
    fn drop(&mut self) {
        if self.is_lifeline() {
            // Whoever watches it has a copy. This shows the end of the stream to both.
            let _ = self.writer.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: i32 = 0;

/// The host's end and ours.
fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (hosts, ours) = UnixStream::pair()?;
    hosts.set_nonblocking(true)?;
    ours.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    SockRef::from(&ours).set_nosigpipe(true)?;
    Ok((hosts, ours))
}
