//! Swallows outgoing pongs or close frames while a fault asks for it: tungstenite answers both by itself and cannot
//! be told not to. Also lets the bytes out slowly.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::faults::{Faults, Stage};

const CLOSE: u8 = 0x8;
const PONG: u8 = 0xA;
/// Into how many pieces what goes out in a second is cut when it goes slowly.
const SLOW_PARTS: u64 = 20;

/// Which frames no socket sends at the moment.
#[derive(Default)]
pub(crate) struct Mutes {
    pong: AtomicBool,
    close: AtomicBool,
    /// 0 is as fast as it goes.
    bytes_per_second: AtomicU64,
}

impl Mutes {
    pub(crate) fn set(&self, faults: &Faults) {
        let close = faults.stall == Some(Stage::Close);
        self.pong
            .store(faults.no_pong || faults.silent, Ordering::SeqCst);
        self.close.store(close || faults.silent, Ordering::SeqCst);
        let slow = faults.slow.map_or(0, std::num::NonZero::get);
        self.bytes_per_second.store(slow, Ordering::SeqCst);
    }

    pub(crate) fn close(&self) -> bool {
        self.close.load(Ordering::SeqCst)
    }

    fn mute(&self, opcode: u8) -> bool {
        match opcode {
            PONG => self.pong.load(Ordering::SeqCst),
            CLOSE => self.close(),
            _ => false,
        }
    }
}

/// Where in the outgoing stream of (unmasked) frames we are.
#[derive(Clone, Copy, Default)]
struct Position {
    /// Whether the current frame is swallowed.
    muted: bool,
    header_length: usize,
    /// How many bytes of the header are known to be needed; 0 between frames.
    header_needed: usize,
    payload_left: u64,
}

impl Position {
    /// Steps over what belongs to one frame at the start of `bytes`; returns how many bytes that is.
    fn step(&mut self, bytes: &[u8], mutes: &Mutes) -> usize {
        if self.header_needed == 0 && self.payload_left > 0 {
            let left = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
            let taken = left.min(bytes.len());
            self.payload_left -= taken as u64;
            return taken;
        }
        let mut taken = 0;
        for &byte in bytes {
            taken += 1;
            match self.header_length {
                0 => {
                    self.muted = mutes.mute(byte & 0x0f);
                    self.header_needed = 2;
                    self.payload_left = 0;
                }
                1 => match byte & 0x7f {
                    126 => self.header_needed = 4,
                    127 => self.header_needed = 10,
                    length => self.payload_left = u64::from(length),
                },
                _ => self.payload_left = self.payload_left << 8 | u64::from(byte),
            }
            self.header_length += 1;
            if self.header_length == self.header_needed {
                self.header_length = 0;
                self.header_needed = 0;
                break;
            }
        }
        taken
    }

    fn advance(&mut self, mut bytes: &[u8], mutes: &Mutes) {
        while !bytes.is_empty() {
            let taken = self.step(bytes, mutes);
            bytes = &bytes[taken..];
        }
    }
}

/// A stream that lets everything through but the muted frames.
pub(crate) struct FrameFilter<S> {
    inner: S,
    mutes: Arc<Mutes>,
    position: Position,
    /// The pause after what was written slowly.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> FrameFilter<S> {
    pub(crate) fn new(inner: S, mutes: Arc<Mutes>) -> Self {
        Self {
            inner,
            mutes,
            position: Position::default(),
            pause: None,
        }
    }

    pub(crate) fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameFilter<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameFilter<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // The longest run of bytes that share one fate, seen with a copy: how many get written is not known yet.
        let mut ahead = this.position;
        let mut run = ahead.step(bytes, &this.mutes);
        let muted = ahead.muted;
        while run < bytes.len() {
            let before = ahead;
            let taken = ahead.step(&bytes[run..], &this.mutes);
            if ahead.muted != muted {
                ahead = before;
                break;
            }
            run += taken;
        }
        if muted {
            this.position = ahead;
            return Poll::Ready(Ok(run));
        }
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(context));
            this.pause = None;
        }
        let rate = this.mutes.bytes_per_second.load(Ordering::SeqCst);
        let most = if rate == 0 {
            run
        } else {
            let part = usize::try_from(rate / SLOW_PARTS).unwrap_or(usize::MAX);
            run.min(part.max(1))
        };
        let written = ready!(Pin::new(&mut this.inner).poll_write(context, &bytes[..most]))?;
        let micros = (written as u64).saturating_mul(1_000_000);
        this.pause = micros
            .checked_div(rate)
            .map(|micros| Box::pin(sleep(Duration::from_micros(micros))));
        if written == run {
            this.position = ahead;
        } else {
            this.position.advance(&bytes[..written], &this.mutes);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slow_bytes_take_their_time_and_all_arrive() {
        let mutes = Arc::new(Mutes::default());
        mutes.set(&Faults {
            slow: std::num::NonZero::new(100),
            ..Faults::default()
        });
        let mut filter = FrameFilter::new(Vec::new(), Arc::clone(&mutes));
        let sent = frame(1, &[7; 198]);
        let begin = tokio::time::Instant::now();
        filter.write_all(&sent).await.unwrap();
        // The virtual clock: 202 bytes, less the pause after the last piece.
        let took = begin.elapsed();
        assert!(
            (Duration::from_millis(1_950)..Duration::from_millis(2_100)).contains(&took),
            "{took:?}"
        );
        mutes.set(&Faults::default());
        filter.write_all(&sent).await.unwrap();
        assert_eq!(filter.into_inner(), [sent.clone(), sent].concat());
    }

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..126 => bytes.push(u8::try_from(short).unwrap()),
            long if long <= 65_535 => {
                bytes.push(126);
                bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend(payload);
        bytes
    }

    #[tokio::test]
    async fn only_muted_frames_go_however_the_bytes_are_cut() {
        let frames = [
            frame(1, b"text"),
            frame(PONG, b"pong"),
            frame(PONG, b""),
            frame(1, b""),
            frame(2, &[7; 300]),
            frame(2, &vec![0x8a; 70_000]),
            frame(PONG, &[1; 125]),
            frame(CLOSE, b"\x03\xe8"),
        ];
        let all = frames.concat();
        let wanted = [
            &frames[0][..],
            &frames[3],
            &frames[4],
            &frames[5],
            &frames[7],
        ]
        .concat();
        for cut in [1, 2, 3, 5, 7, 64, 1_000, all.len()] {
            let mutes = Arc::new(Mutes::default());
            mutes.set(&Faults {
                no_pong: true,
                ..Faults::default()
            });
            let mut filter = FrameFilter::new(Vec::new(), mutes);
            for piece in all.chunks(cut) {
                filter.write_all(piece).await.unwrap();
            }
            assert_eq!(filter.into_inner(), wanted, "cut into {cut}");
        }
    }
}
