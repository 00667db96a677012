//! How far a ping has come, and what other threads than the driver's write, on real sockets.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Wake;
use std::thread;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::ffi::signals;
use crate::net::stream::{Counted, Stream};

const GUARD: Duration = Duration::from_mins(1);

/// More than the buffers of both kernels hold while nobody reads.
const LARGE: usize = 32 << 20;

pub(in crate::connector) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (ours.unwrap(), accepted.unwrap().0)
}

pub(in crate::connector) async fn link(stream: Stream) -> Link {
    crate::ffi::kernel::install();
    let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    Link::new(1, socket)
}

async fn flush(link: &mut Link) {
    let mut inputs = Vec::new();
    poll_fn(|cx| {
        assert!(link.flush(cx, &mut inputs), "the socket has broken");
        Poll::Ready(())
    })
    .await;
}

/// Lets the peer read and us write until this holds.
async fn until(
    link: &mut Link,
    mut peer: impl AsyncRead + Unpin,
    holds: impl Fn(Progress) -> bool,
) -> usize {
    let mut buffer = vec![0; 1 << 20];
    let mut read = 0;
    let work = async {
        while !holds(link.progress()) {
            flush(link).await;
            tokio::select! {
                biased;
                n = peer.read(&mut buffer) => read += n.unwrap(),
                () = tokio::task::yield_now() => {}
            }
        }
    };
    tokio::time::timeout(GUARD, work)
        .await
        .expect("it never comes so far");
    read
}

/// Writes a message that does not fit into the kernels, with a ping behind it, to a peer that does not read yet.
async fn stuck(mut link: Link, mut peer: impl AsyncRead + Unpin) {
    link.push(Message::Text("x".repeat(LARGE).into()));
    link.ping(7_u64.to_be_bytes());
    flush(&mut link).await;
    assert!(!link.progress().ping_acked);
    // What it reads is progress; the ping has come through only with the last byte.
    let read = until(&mut link, &mut peer, |now| now.acked > 4 << 20).await;
    assert!(!link.progress().ping_acked);
    let rest = until(&mut link, &mut peer, |now| now.ping_acked).await;
    assert!(read + rest > LARGE / 2);
    assert!(link.progress().acked > LARGE as u64);
}

#[tokio::test]
async fn acknowledged_bytes_advance_and_the_ping_is_among_them_last() {
    let (ours, peer) = pair().await;
    stuck(link(Stream::plain(Counted::new(ours, false))).await, peer).await;
}

/// Both ends of a TLS connection.
async fn tls_pair() -> (Stream, impl AsyncRead + Unpin) {
    let (ours, peer) = pair().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["mesh.test".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let provider = || Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("mesh.test").unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let connector = TlsConnector::from(Arc::new(client));
    let (ours, peer) = tokio::join!(
        connector.connect(name, Counted::new(ours, false)),
        acceptor.accept(peer)
    );
    (Stream::tls(ours.unwrap()), peer.unwrap())
}

#[tokio::test]
async fn the_same_counts_below_tls() {
    let (ours, peer) = tls_pair().await;
    stuck(link(ours).await, peer).await;
}

/// Tells that the driver was woken.
struct Driver(UnboundedSender<()>);

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_socket_that_took_no_more_from_another_thread_wakes_the_driver() {
    let (ours, mut peer) = pair().await;
    let mut link = link(Stream::plain(Counted::new(ours, false))).await;
    let (sender, mut woken) = unbounded_channel();
    link.leave(&Waker::from(Arc::new(Driver(sender))));
    link.push(Message::Text("x".repeat(LARGE).into()));
    let elsewhere = thread::spawn(move || {
        while link.flush_elsewhere() {
            // It ends after so many fragments, too.
        }
        link
    });
    let mut link = elsewhere.join().unwrap();
    assert!(!link.outgoing.is_empty() && woken.try_recv().is_err());
    let mut buffer = vec![0; 1 << 20];
    let work = async {
        loop {
            tokio::select! {
                _ = woken.recv() => break,
                n = peer.read(&mut buffer) => assert!(n.unwrap() > 0),
            }
        }
    };
    tokio::time::timeout(GUARD, work)
        .await
        .expect("the driver is left asleep");
    until(&mut link, peer, |now| now.acked > LARGE as u64).await;
}

/// Writes, as another thread than the driver's, until the link breaks.
async fn write_until_broken(link: &mut Link) {
    link.leave(Waker::noop());
    let work = async {
        loop {
            link.push(Message::Text("to nobody".into()));
            if link.flush_elsewhere() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GUARD, work)
        .await
        .expect("it never breaks");
}

#[tokio::test]
async fn a_link_that_breaks_under_another_thread_ends_with_the_next_read() {
    let (ours, peer) = pair().await;
    let mut link = link(Stream::plain(Counted::new(ours, false))).await;
    drop(peer);
    write_until_broken(&mut link).await;
    let mut inputs = Vec::new();
    let read = link.read(&mut Context::from_waker(Waker::noop()), &mut inputs);
    assert!(read == Read::End);
    assert!(matches!(inputs[..], [Input::Closed(1, _)]));
}

/// The threads that answer are the application's, which may not have blocked it.
#[tokio::test]
async fn a_link_that_breaks_under_another_thread_raises_no_sigpipe_there() {
    // From now on one that is raised waits on this thread.
    signals::block();
    let (plain, peer) = pair().await;
    drop(peer);
    let (tls, peer) = tls_pair().await;
    drop(peer);
    for stream in [Stream::plain(Counted::new(plain, false)), tls] {
        write_until_broken(&mut link(stream).await).await;
        assert!(!signals::sigpipe_is_pending());
    }
}

#[tokio::test]
async fn what_the_peer_said_before_a_link_broke_under_another_thread_is_heard_first() {
    let (ours, mut peer) = pair().await;
    let mut link = link(Stream::plain(Counted::new(ours, false))).await;
    // A close frame with the code 4001, and nobody behind it.
    peer.write_all(&[0x88, 2, 0x0f, 0xa1]).await.unwrap();
    drop(peer);
    write_until_broken(&mut link).await;
    let work = async {
        let mut inputs = Vec::new();
        poll_fn(|cx| match link.read(cx, &mut inputs) {
            Read::End => Poll::Ready(()),
            Read::All | Read::Part => Poll::Pending,
        })
        .await;
        inputs
    };
    let inputs = tokio::time::timeout(GUARD, work).await.expect("no end");
    let Some(Input::Closed(1, LinkEnd::Closed { code, .. })) = inputs.last() else {
        panic!("another end");
    };
    assert_eq!(*code, Some(4001));
}
