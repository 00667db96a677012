//! A TCP connection with or without TLS, which counts what comes in and goes out.

use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};

#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::SockRef;
#[cfg(any(target_os = "linux", target_os = "android"))]
use tokio::io::Interest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::read_ahead::ReadAhead;
use crate::kernel;

/// A TCP connection that counts its bytes, below TLS, as the peer's kernel does.
///
/// Any byte that comes in shows that the peer lives, whole record or frame or not.
#[derive(Debug)]
pub(crate) struct Counted {
    tcp: TcpStream,
    /// Whether a proxy ends it: then it is the proxy's kernel that acknowledges.
    relayed: bool,
    received: u64,
    written: u64,
}

impl Counted {
    pub(crate) fn new(tcp: TcpStream, relayed: bool) -> Self {
        Self {
            tcp,
            relayed,
            received: 0,
            written: 0,
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.received += (buf.filled().len() - before) as u64;
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = result {
            self.written += written as u64;
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = poll_send_vectored(&mut self.tcp, cx, bufs);
        if let Poll::Ready(Ok(written)) = result {
            self.written += written as u64;
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// As tokio does it, but not with `writev`: to a connection that has broken it raises a SIGPIPE, which ends a process whose
/// own thread answers.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn poll_send_vectored(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    loop {
        std::task::ready!(tcp.poll_write_ready(cx))?;
        let send = || SockRef::from(&*tcp).send_vectored_with_flags(bufs, libc::MSG_NOSIGNAL);
        match tcp.try_io(Interest::WRITABLE, send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

/// Elsewhere the socket itself has been told to raise none.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn poll_send_vectored(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    Pin::new(tcp).poll_write_vectored(cx, bufs)
}

enum Inner {
    Plain(Counted),
    Tls(Box<TlsStream<Counted>>),
}

/// The connection as the WebSocket sees it.
pub(crate) struct Stream {
    inner: Inner,
    ahead: ReadAhead,
}

impl Stream {
    pub(crate) fn plain(tcp: Counted) -> Self {
        Self {
            inner: Inner::Plain(tcp),
            ahead: ReadAhead::default(),
        }
    }

    pub(crate) fn tls(tls: TlsStream<Counted>) -> Self {
        Self {
            inner: Inner::Tls(Box::new(tls)),
            ahead: ReadAhead::default(),
        }
    }

    fn counted(&self) -> &Counted {
        match &self.inner {
            Inner::Plain(counted) => counted,
            Inner::Tls(tls) => tls.get_ref().0,
        }
    }

    /// How many bytes have come in so far.
    pub(crate) fn received(&self) -> u64 {
        self.counted().received
    }

    /// How many bytes the kernel has taken so far.
    pub(crate) fn written(&self) -> u64 {
        self.counted().written
    }

    /// How many of those the peer's kernel has not acknowledged; `None` where nobody can tell. A system call.
    pub(crate) fn unacknowledged(&self) -> Option<u64> {
        let counted = self.counted();
        if counted.relayed {
            return None;
        }
        kernel::unacknowledged(counted.tcp.as_fd())
    }
}

macro_rules! on_inner {
    ($inner:expr, $stream:ident => $call:expr) => {
        match $inner {
            Inner::Plain(tcp) => {
                let $stream = Pin::new(tcp);
                $call
            }
            Inner::Tls(tls) => {
                let $stream = Pin::new(&mut **tls);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, ahead } = self.get_mut();
        ahead.poll_read(
            buf,
            |buf| on_inner!(inner, stream => stream.poll_read(cx, buf)),
        )
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_inner!(&mut self.get_mut().inner, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_inner!(&mut self.get_mut().inner, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_inner!(&mut self.get_mut().inner, stream => stream.poll_shutdown(cx))
    }
}
