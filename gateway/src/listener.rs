//! Takes TCP connections, lays TLS over them and hands them to HTTP.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{faults::Stage, http, shared::Shared, wire::Wire};

/// After a failed accept (out of descriptors, mostly) an immediate retry would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// How long a peer whose handshake failed has to go away.
const LINGER: Duration = Duration::from_secs(5);

/// Accepts for ever.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => {
                tokio::spawn(serve(Arc::clone(&shared), tcp, peer, tls.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
        }
    }
}

async fn serve(shared: Arc<Shared>, tcp: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
    if shared.is_down() {
        return Wire::Plain(tcp).reset_on_drop();
    }
    // Only speed depends on it.
    let _ = tcp.set_nodelay(true);
    shared.unstalled(Stage::Accept).await;
    let wire = match tls {
        None => Wire::Plain(tcp),
        Some(acceptor) => {
            if tcp.readable().await.is_err() {
                return;
            }
            shared.unstalled(Stage::Tls).await;
            match acceptor.accept(tcp).into_fallible().await {
                Ok(stream) => Wire::Tls(Box::new(stream)),
                // The peer does not trust the certificate, does not speak TLS or shows no certificate of its own.
                Err((_, tcp)) => return linger(&tcp).await,
            }
        }
    };
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, std::convert::Infallible>(http::handle(&shared, request, peer).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(wire), service);
    // An error is a peer that went away in the middle; each request has been recorded already.
    let _ = connection.with_upgrades().await;
}

/// Reads to the end: closing with bytes unread would reset the connection, and the alert that says what was wrong
/// might be lost with it.
async fn linger(tcp: &TcpStream) {
    let reading = async {
        let mut waste = [0; 1024];
        while tcp.readable().await.is_ok() {
            match tcp.try_read(&mut waste) {
                Ok(1..) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, reading).await;
}
