//! The library's own HTTP server: HTTP/1.1 with TLS or without, for agents that have none (`protocol.md` 8). It carries
//! requests to a [`Service`] and its responses back, and sees to it that no client holds on to more than [`Limits`]
//! allow. It runs on the I/O thread.

mod answer;
mod certificate;
mod connection;
mod exchange;
mod limits;
mod seats;
mod wire;

#[cfg(test)]
mod tests;

use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::error::{Error, ErrorKind};
use crate::hosted::{Head, Respond};
pub(crate) use certificate::Certificate;
pub(crate) use limits::Limits;
use seats::Seats;

/// After a failed accept (out of descriptors, mostly) an immediate retry would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// Who answers requests. Called on the I/O thread, so it must hand over and return.
pub(crate) trait Service: Send + Sync {
    /// Takes a request with its body. `tag` is its own for as long as it is not answered. `respond`, dropped before the
    /// last part, cuts the response off.
    fn serve(&self, head: &Head, body: &[u8], tag: usize, respond: Respond);

    /// The client of this request has gone.
    fn abandon(&self, tag: usize);

    /// There is something that the application should know.
    fn warn(&self, text: String);
}

/// The running server. Dropped it takes no more connections; those that are there go on.
pub(crate) struct Server {
    shared: Arc<Shared>,
    /// Takes connections, and holds the listener.
    accepting: JoinHandle<()>,
}

/// What all its connections share.
struct Shared {
    service: Arc<dyn Service>,
    certificate: Option<Certificate>,
    limits: Limits,
    seats: Arc<Seats>,
    /// Places for large bodies that are being received.
    bodies: Semaphore,
    stop: Notify,
}

impl Server {
    /// Serves who connects to `listener`, with TLS if there is a certificate, on `runtime`.
    pub(crate) fn start(
        listener: std::net::TcpListener,
        certificate: Option<Certificate>,
        limits: Limits,
        service: Arc<dyn Service>,
        runtime: &Handle,
    ) -> Result<Self, Error> {
        let listener = {
            let _within = runtime.enter();
            listener
                .set_nonblocking(true)
                .and_then(|()| TcpListener::from_std(listener))
                .map_err(|error| Error::new(ErrorKind::Network, "LISTEN", error.to_string()))?
        };
        let shared = Arc::new(Shared {
            service,
            certificate,
            seats: Seats::new(&limits),
            bodies: Semaphore::new(limits.bodies),
            limits,
            stop: Notify::new(),
        });
        let accepting = runtime.spawn(accept(Arc::clone(&shared), listener));
        Ok(Self { shared, accepting })
    }

    /// Takes no more requests and lets the responses that are on their way leave, for a moment.
    pub(crate) async fn end(mut self) {
        let shared = Arc::clone(&self.shared);
        shared.stop.notify_one();
        let _ = (&mut self.accepting).await;
        shared.seats.close();
        let _ = timeout(shared.limits.farewell, shared.seats.emptied()).await;
        shared.seats.end();
        shared.seats.emptied().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.notify_one();
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = {
            // Looked at first: connections may come without end.
            let (stopped, accepting) = (pin!(shared.stop.notified()), pin!(listener.accept()));
            match select(stopped, accepting).await {
                Either::Left(_) => break,
                Either::Right((accepted, _)) => accepted,
            }
        };
        match accepted {
            Ok((tcp, peer)) => seat(&shared, tcp, peer),
            Err(_) => sleep(ACCEPT_RETRY).await,
        }
    }
    // A child that was forked holds the listener too, and would keep the port without ever accepting.
    let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
}

fn seat(shared: &Arc<Shared>, tcp: TcpStream, peer: SocketAddr) {
    match shared.seats.take() {
        Some(taken) => {
            let shared = Arc::clone(shared);
            tokio::spawn(connection::serve(shared, tcp, peer, taken));
        }
        None if shared.certificate.is_none() => {
            // What fits into the kernel's buffer leaves by itself.
            let _ = SockRef::from(&tcp).send(connection::NO_SEAT);
        }
        None => {}
    }
}
