//! The driver's way to the network: which proxy, whom to trust, and the HTTP client that follows both.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};

use super::Delivery;
use super::shared::Shared;
use crate::error::{Error, ErrorKind};
use crate::machine::action::{Dial, Dialed, NetFailure, Reply, Request};
use crate::machine::event::Event;
use crate::net::tls::TlsSetup;
use crate::net::{self, Socket};
use crate::runtime::Runtime;

pub(super) struct Transport {
    /// Held so that the thread outlives what runs on it.
    runtime: Arc<Runtime>,
    tls: Arc<TlsSetup>,
    client: Arc<reqwest::Client>,
}

impl Transport {
    pub(super) fn new(shared: &Shared, runtime: Arc<Runtime>) -> Result<Self, Error> {
        // A file that broke since the configuration was read is told of with the first request.
        let (tls, _) = shared.trust.current();
        let client = client(shared, &runtime, &tls)?;
        Ok(Self {
            runtime,
            tls,
            client,
        })
    }

    /// Sends a request. What there is to tell the application goes into `batch`.
    pub(super) fn request(
        &mut self,
        shared: &Shared,
        request: Request,
        batch: &mut Vec<Delivery>,
    ) -> BoxFuture<'static, Reply> {
        self.refresh(shared, batch);
        let url = shared.base().endpoint(&request.path);
        let (client, proxy) = (
            Arc::clone(&self.client),
            shared.base_proxy.as_deref().cloned(),
        );
        let runtime = Arc::clone(&self.runtime);
        async move {
            runtime.turnstile().pass().await;
            // Boxed: who waits for a turn needs no room for what comes after it.
            net::http::send(&client, proxy, url, request).boxed().await
        }
        .boxed()
    }

    /// Opens a WebSocket, likewise.
    pub(super) fn dial(
        &mut self,
        shared: &Arc<Shared>,
        dial: Box<Dial>,
        batch: &mut Vec<Delivery>,
    ) -> BoxFuture<'static, Result<Socket, Dialed>> {
        self.refresh(shared, batch);
        let (shared, tls) = (Arc::clone(shared), Arc::clone(&self.tls));
        let runtime = Arc::clone(&self.runtime);
        async move {
            runtime.turnstile().pass().await;
            let proxy = shared.proxies.route(&dial.url).map_err(|error| {
                let (kind, text) = (ErrorKind::Network, error.to_string());
                Dialed::Failed(NetFailure { kind, text })
            })?;
            let limit = shared.max_frame_bytes;
            net::dial(&dial, proxy.as_ref(), &tls, limit).boxed().await
        }
        .boxed()
    }

    /// Looks whether the certificate files have changed, and takes what is in them now.
    fn refresh(&mut self, shared: &Shared, batch: &mut Vec<Delivery>) {
        let (tls, mut warning) = shared.trust.current();
        if !Arc::ptr_eq(&tls, &self.tls) {
            match client(shared, &self.runtime, &tls) {
                Ok(client) => (self.tls, self.client) = (tls, client),
                Err(error) => warning = Some(error.to_string()),
            }
        }
        if let Some(warning) = warning {
            batch.push(Delivery::Event(Event::log("warn", "svantic", warning)));
        }
    }
}

fn client(
    shared: &Shared,
    runtime: &Runtime,
    tls: &TlsSetup,
) -> Result<Arc<reqwest::Client>, Error> {
    let tls = (!shared.base().is_plain()).then_some(tls);
    runtime.client(tls, shared.base_proxy.as_deref())
}
