//! The library's own server in front of a connector, for agents that have none.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use super::shared::Shared;
use super::{Delivery, MeshConnector, WeakConnector};
use crate::config::Listen;
use crate::error::Error;
use crate::hosted::{Head, Respond};
use crate::machine::event::Event;
use crate::net::server::{Certificate, Limits, Server, Service};

/// Where the library listens.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    secure: bool,
    /// Until it is served.
    bound: Mutex<Option<Bound>>,
}

struct Bound {
    listener: TcpListener,
    certificate: Option<Certificate>,
}

impl Listening {
    /// Reads the certificate, if there is to be one.
    pub(super) fn new(listen: Listen) -> Result<Self, Error> {
        let files = listen.tls;
        let certificate = files.map(|(certificate, key)| Certificate::new(certificate, key));
        let bound = Bound {
            listener: listen.listener,
            certificate: certificate.transpose()?,
        };
        Ok(Self {
            address: listen.address,
            secure: bound.certificate.is_some(),
            bound: Mutex::new(Some(bound)),
        })
    }

    /// What is spoken there.
    pub(super) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// What the application should know before anybody calls.
    pub(super) fn warning(&self) -> Option<Event> {
        if self.secure || self.address.ip().is_loopback() {
            return None;
        }
        let text = format!(
            "`listen` {}: without a certificate whoever is on the way can read and change every dispatch; it is meant for a proxy on this machine or network that speaks TLS for the agent",
            self.address
        );
        Some(Event::log("warn", "svantic", text))
    }

    /// Serves from now on. Called with the machine locked, so the application hears of nothing here.
    pub(super) fn start(
        &self,
        shared: &Arc<Shared>,
        runtime: &Handle,
    ) -> Result<Option<Server>, Error> {
        let bound = self.bound.lock();
        let Some(bound) = bound.unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(None);
        };
        let service = Arc::new(WeakConnector(Arc::downgrade(shared)));
        let (listener, certificate) = (bound.listener, bound.certificate);
        Server::start(listener, certificate, Limits::default(), service, runtime).map(Some)
    }
}

/// The agent, as the server sees it.
impl Service for WeakConnector {
    fn serve(&self, head: &Head, body: &[u8], tag: usize, respond: Respond) {
        if let Some(connector) = self.upgrade() {
            connector.serve(head, body, Some(tag), respond);
        }
    }

    fn abandon(&self, tag: usize) {
        if let Some(connector) = self.upgrade() {
            connector.cancel(tag);
        }
    }

    fn warn(&self, text: String) {
        if let Some(MeshConnector { shared }) = self.upgrade() {
            let event = Event::log("warn", "svantic", text);
            shared.sink.deliver(&mut vec![Delivery::Event(event)]);
        }
    }
}
