//! A TCP connection with or without TLS, which counts what comes in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

enum Inner {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Any byte that comes in shows that the peer lives, whole frame or not; so bytes are counted here.
pub(crate) struct Stream {
    inner: Inner,
    received: u64,
}

impl Stream {
    pub(super) fn plain(tcp: TcpStream) -> Self {
        Self {
            inner: Inner::Plain(tcp),
            received: 0,
        }
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>) -> Self {
        Self {
            inner: Inner::Tls(Box::new(tls)),
            received: 0,
        }
    }

    /// How many bytes have come in so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }
}

macro_rules! on_inner {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().inner {
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
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = self.as_mut();
        let result = on_inner!(this, stream => stream.poll_read(cx, buf));
        self.received += (buf.filled().len() - before) as u64;
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_inner!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_inner!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_inner!(self, stream => stream.poll_shutdown(cx))
    }
}
