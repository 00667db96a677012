//! The descriptor that tells an event loop that items wait.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{IntoRawFd as _, RawFd};
use std::os::unix::net::UnixStream;

/// A pair of sockets: one byte stands in it while items wait. The library keeps its own reading end, so that
/// its write never fails for want of a reader; dropping both ends shows the host's copy the end of the stream.
pub(super) struct Wakeup {
    reader: UnixStream,
    writer: UnixStream,
    signalled: bool,
}

impl Wakeup {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self {
            reader,
            writer,
            signalled: false,
        })
    }

    /// A descriptor of its own for the host.
    pub(super) fn duplicate(&self) -> io::Result<RawFd> {
        Ok(self.reader.try_clone()?.into_raw_fd())
    }

    /// Makes the descriptor readable, with one byte at most.
    pub(super) fn signal(&mut self) {
        if !std::mem::replace(&mut self.signalled, true) {
            // A full buffer is readable, which is all that is wanted.
            let _ = self.writer.write(&[1]);
        }
    }

    /// Makes the descriptor unreadable again, whether the host has read the byte or left it.
    pub(super) fn clear(&mut self) {
        if std::mem::replace(&mut self.signalled, false) {
            let _ = self.reader.read(&mut [0; 16]);
        }
    }
}
