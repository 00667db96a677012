//! The life of one connection: a TLS handshake, requests, and an end that loses no response.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;

use super::limits::Limits;
use super::seats::{End, Phase, Seat, Taken};
use super::wire::Wire;
use super::{Shared, exchange};

/// What those hear for whom there is no seat (any more).
pub(super) const NO_SEAT: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What those hear who do not come to the end of a head.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Serves whoever has connected.
pub(super) async fn serve(shared: Arc<Shared>, tcp: TcpStream, peer: SocketAddr, taken: Taken) {
    // Responses are small and waited for.
    let _ = tcp.set_nodelay(true);
    let seat = taken.seat();
    let Some(certificate) = &shared.certificate else {
        return http(&shared, Wire::new(tcp, Arc::clone(seat)), peer, seat).await;
    };
    let (config, warning) = certificate.current();
    if let Some(warning) = warning {
        shared.service.warn(warning);
    }
    let handshake = TlsAcceptor::from(config).accept(tcp).into_fallible();
    match watched(seat, &shared.limits, handshake).await {
        Ok(Ok(tls)) => http(&shared, Wire::new(tls, Arc::clone(seat)), peer, seat).await,
        // What is wrong was written as an alert.
        Ok(Err((_, tcp))) => linger(&shared.limits, Wire::new(tcp, Arc::clone(seat)), seat).await,
        Err(_) => {}
    }
}

async fn http<S>(shared: &Arc<Shared>, wire: Wire<S>, peer: SocketAddr, seat: &Arc<Seat>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.limits;
    let service = service_fn(|request| {
        let (shared, seat) = (Arc::clone(shared), Arc::clone(seat));
        Box::pin(exchange::answer(shared, seat, peer, request))
    });
    let mut connection = http1::Builder::new()
        // Kept here, since it is not the same for a first request and for one that may never come.
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes)
        .max_header_size(limits.header_bytes)
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(wire), service);
    let mut told = false;
    let work = poll_fn(|cx| {
        if seat.is_closing() && !told {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(cx)
    });
    let ended = watched(seat, limits, work).await;
    // Nothing of a response has been written where the head of its request is missing.
    let unanswered = seat.phase() == Phase::Head && !seat.is_stalled();
    let mut wire = connection.into_parts().io.into_inner();
    match ended {
        Ok(_) => linger(limits, wire, seat).await,
        Err(end) if unanswered => {
            let words = match end {
                End::Late => TOO_SLOW,
                End::Unseated => NO_SEAT,
            };
            // What fits into the kernel's buffer leaves by itself.
            poll_fn(|cx| {
                let _ = Pin::new(&mut wire).poll_write(cx, words);
                let _ = Pin::new(&mut wire).poll_shutdown(cx);
                Poll::Ready(())
            })
            .await;
        }
        Err(_) => {}
    }
}

/// Ends our side and reads to the client's end.
async fn linger<S>(limits: &Limits, mut wire: Wire<S>, seat: &Seat)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    seat.enter(Phase::Linger);
    let mut shut = false;
    let mut waste = vec![0; 8 << 10];
    let reading = poll_fn(|cx| {
        if !shut {
            shut = true;
            ready!(Pin::new(&mut wire).poll_shutdown(cx)).ok();
        }
        loop {
            let mut buffer = ReadBuf::new(&mut waste);
            match Pin::new(&mut wire).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                // At the end of the server nobody waits for clients that may not even look.
                Poll::Pending if !seat.is_closing() => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
    });
    let _ = watched(seat, limits, reading).await;
}

/// Gives `work` the time that whoever sits there has, whatever it is that we wait for.
async fn watched<F: Future>(seat: &Seat, limits: &Limits, work: F) -> Result<F::Output, End> {
    let mut work = pin!(work);
    let mut timer = pin!(sleep_until(Instant::now() + limits.header));
    poll_fn(|cx| {
        // Registered before looking, so that no end is slept through.
        seat.waker.register(cx.waker());
        if seat.is_ended() {
            return Poll::Ready(Err(End::Unseated));
        }
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        let Some(deadline) = seat.deadline(limits) else {
            return Poll::Pending;
        };
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).map(|()| Err(End::Late))
    })
    .await
}
