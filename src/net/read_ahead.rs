//! What the kernel had and nobody has taken yet.
//!
//! A system call is to fetch as much as there is, and an idle connection is to hold no buffer for that. So there is one
//! buffer a thread, which a connection has for itself only while something is in it.

use std::cell::Cell;
use std::io;
use std::task::{Poll, ready};

use tokio::io::ReadBuf;

/// How much is read from the kernel at once.
const BYTES: usize = 64 << 10;

type Buffer = Box<[u8]>;

thread_local! {
    /// The buffer of this thread, unless a connection has it.
    static SPARE: Cell<Option<Buffer>> = const { Cell::new(None) };
}

/// See the [module documentation](self).
#[derive(Default)]
pub(super) struct ReadAhead {
    /// There is a byte to take in it.
    held: Option<Box<Held>>,
}

struct Held {
    buffer: Buffer,
    from: usize,
    to: usize,
}

impl ReadAhead {
    /// Fills `buf` with what is held or, when that is nothing, with what `read` fetches.
    pub(super) fn poll_read(
        &mut self,
        buf: &mut ReadBuf<'_>,
        read: impl FnOnce(&mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut held) = self.held.take() {
            held.from += move_into(buf, &held.buffer[held.from..held.to]);
            if held.from < held.to {
                self.held = Some(held);
            } else {
                SPARE.set(Some(held.buffer));
            }
            return Poll::Ready(Ok(()));
        }
        if buf.remaining() >= BYTES {
            return read(buf);
        }
        let mut buffer = SPARE.take().unwrap_or_else(|| vec![0; BYTES].into());
        let mut fetched = ReadBuf::new(&mut buffer);
        let result = read(&mut fetched);
        let to = fetched.filled().len();
        let from = move_into(buf, &buffer[..to]);
        if from < to {
            self.held = Some(Box::new(Held { buffer, from, to }));
        } else {
            SPARE.set(Some(buffer));
        }
        ready!(result)?;
        Poll::Ready(Ok(()))
    }
}

/// Returns how many bytes found room.
fn move_into(buf: &mut ReadBuf<'_>, bytes: &[u8]) -> usize {
    let fitting = bytes.len().min(buf.remaining());
    buf.put_slice(&bytes[..fitting]);
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrives in pieces of `piece` bytes, read with `room` at a time until nothing more comes.
    fn read_through(bytes: &[u8], piece: usize, room: usize) -> (Vec<u8>, usize) {
        let mut pieces = bytes.chunks(piece);
        let (mut ahead, mut read, mut fetches) = (ReadAhead::default(), Vec::new(), 0);
        loop {
            let mut space = vec![0; room];
            let mut buf = ReadBuf::new(&mut space);
            let polled = ahead.poll_read(&mut buf, |buf| {
                let Some(piece) = pieces.next() else {
                    return Poll::Pending;
                };
                fetches += 1;
                buf.put_slice(piece);
                Poll::Ready(Ok(()))
            });
            if polled.is_pending() {
                assert!(ahead.held.is_none(), "nothing waits, so nothing is held");
                return (read, fetches);
            }
            assert!(
                !buf.filled().is_empty(),
                "which would be the end of the stream"
            );
            read.extend_from_slice(buf.filled());
        }
    }

    #[test]
    fn bytes_keep_their_order_and_are_fetched_as_they_come() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        for (piece, room) in [(1, 7), (330, 1), (1000, 4096), (BYTES, 1024), (BYTES, 4096)] {
            let bytes = &bytes[..bytes.len().min(1000 * piece)];
            let (read, fetches) = read_through(bytes, piece, room);
            assert!(read == bytes, "pieces of {piece} into {room}");
            assert_eq!(fetches, bytes.len().div_ceil(piece));
        }
    }

    #[test]
    fn two_connections_that_both_hold_something_do_not_share_it() {
        let (mut one, mut two) = (ReadAhead::default(), ReadAhead::default());
        let read = |ahead: &mut ReadAhead, fetched: &[u8]| {
            let mut space = [0; 4];
            let mut buf = ReadBuf::new(&mut space);
            let polled = ahead.poll_read(&mut buf, |buf| {
                buf.put_slice(fetched);
                Poll::Ready(Ok(()))
            });
            assert!(polled.is_ready());
            String::from_utf8(buf.filled().to_vec()).unwrap()
        };
        assert_eq!(read(&mut one, b"the first"), "the ");
        assert_eq!(read(&mut two, b"a second"), "a se");
        assert_eq!(read(&mut one, b""), "firs");
        assert_eq!(read(&mut two, b""), "cond");
        assert_eq!(read(&mut one, b""), "t");
        assert!(one.held.is_none() && two.held.is_none());
    }

    #[test]
    fn an_error_and_the_end_are_passed_on() {
        let mut ahead = ReadAhead::default();
        let mut space = [0; 4];
        let mut buf = ReadBuf::new(&mut space);
        let broken = |_: &mut ReadBuf<'_>| Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        assert!(matches!(
            ahead.poll_read(&mut buf, broken),
            Poll::Ready(Err(_))
        ));
        let ended = |_: &mut ReadBuf<'_>| Poll::Ready(Ok(()));
        assert!(matches!(
            ahead.poll_read(&mut buf, ended),
            Poll::Ready(Ok(()))
        ));
        assert!(buf.filled().is_empty());
    }
}
