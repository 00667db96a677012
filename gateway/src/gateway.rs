//! The handle of a running gateway.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, runtime, sync::mpsc::UnboundedReceiver};
use tokio_rustls::TlsAcceptor;

use crate::{
    certificate,
    connection::Command,
    dispatch::{Answer, DispatchError, DispatchRequest, PendingDispatch},
    error::Error,
    fault_clock,
    faults::Faults,
    hosted::posting::{self, Order},
    ledger::{Ledger, LedgerEntry},
    listener,
    options::Options,
    records::{AgentRecord, Direction, FrameKind, FrameRecord, RequestRecord, SessionRecord},
    script::{self, Later, Script, ScriptStatus},
    shared::{Shared, TENANT},
    snapshot::Snapshot,
    token::Claims,
    totals::Totals,
};

/// How often dispatches are looked through for those that have been open too long.
const EXPIRY_RHYTHM: Duration = Duration::from_millis(20);
/// How long agents get to answer the close frame of a gateway that stops, and watchers to take the end of their lines.
const GOODBYE: Duration = Duration::from_millis(300);
const THREADS_END: Duration = Duration::from_millis(500);
const CLOSE_GOING_AWAY: u16 = 1001;

/// A running local gateway. Clones are the same gateway; the last one dropped stops it.
#[derive(Clone)]
pub struct Gateway {
    running: Arc<Running>,
}

struct Running {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca_pem: Option<String>,
    /// Hears when the threads have ended.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    fn stop(&self) {
        self.shared.stop.send_replace(true);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // A second call hears at once that the sender is gone.
        let _ = ended.recv_timeout(2 * (GOODBYE + THREADS_END));
    }
}

impl Gateway {
    /// Starts a gateway on threads of its own. It accepts connections when this returns.
    pub fn start(options: Options) -> Result<Self, Error> {
        let wanted = SocketAddr::new(options.host, options.port);
        if !options.host.is_loopback() && !options.allow_remote {
            return Err(Error::RemoteNotAllowed(wanted));
        }
        let bind_failed = |error| Error::Bind(wanted, error);
        let listener = std::net::TcpListener::bind(wanted).map_err(bind_failed)?;
        listener.set_nonblocking(true).map_err(bind_failed)?;
        let address = listener.local_addr().map_err(bind_failed)?;
        let tls = options
            .tls
            .then(|| certificate::make(&options.host.to_string(), options.client_ca.as_deref()))
            .transpose()?;
        let url = match (&tls, options.host.is_loopback()) {
            (Some(_), true) => format!("https://localhost:{}", address.port()),
            (Some(_), false) => format!("https://{address}"),
            (None, _) => format!("http://{address}"),
        };
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("svantic-gateway")
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        let (ca_pem, acceptor) = match tls {
            Some(tls) => (Some(tls.ca_pem), Some(TlsAcceptor::from(tls.config))),
            None => (None, None),
        };
        let (later_sender, later) = tokio::sync::mpsc::unbounded_channel();
        let script = options.script.clone();
        let (orders_sender, orders) = tokio::sync::mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(options, url, later_sender, orders_sender)?);
        if let Some(script) = script {
            shared.change(|state| state.script.start(script));
        }
        let (sender, ended) = mpsc::sync_channel(1);
        let on_thread = Arc::clone(&shared);
        // The runtime is dropped on this thread and never on a caller's: that may be inside another runtime.
        thread::Builder::new()
            .name("svantic-gateway-main".to_owned())
            .spawn(move || {
                runtime.block_on(serve(on_thread, listener, acceptor, later, orders));
                runtime.shutdown_timeout(THREADS_END);
                let _ = sender.send(());
            })
            .map_err(Error::Runtime)?;
        Ok(Self {
            running: Arc::new(Running {
                shared,
                address,
                ca_pem,
                ended: Mutex::new(ended),
            }),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }

    /// The base URL, for `svantic_url` (protocol.md 1).
    pub fn url(&self) -> String {
        self.shared().url.clone()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// With `tls`, the certificate authority to trust.
    pub fn ca_pem(&self) -> Option<String> {
        self.running.ca_pem.clone()
    }

    /// The client id that gets tokens.
    pub fn client_id(&self) -> String {
        self.shared().options.client_id.clone()
    }

    /// Its secret.
    pub fn client_secret(&self) -> String {
        self.shared().options.client_secret.clone()
    }

    /// A good token for callers that bring their own (protocol.md 1, `token`); with a zero `ttl` an expired one.
    pub fn issue_token(&self, agent_type: &str, ttl: Duration) -> String {
        self.issue_token_of_tenant(TENANT, agent_type, ttl)
    }

    /// A token of another tenant, for `TENANT_MISMATCH` (protocol.md 4).
    pub fn issue_token_of_tenant(&self, tenant: &str, agent_type: &str, ttl: Duration) -> String {
        let shared = self.shared();
        let claims = Claims::new(tenant, agent_type, &shared.options.client_id, ttl);
        shared.signer.sign(&claims)
    }

    /// Closes every socket with 1001 and stops; returns within two seconds. Later calls do nothing.
    pub fn shutdown(&self) {
        self.running.stop();
    }

    /// Sends a dispatch and waits for its first answer (protocol.md 7).
    pub fn dispatch(&self, request: DispatchRequest) -> Result<Answer, DispatchError> {
        self.begin_dispatch(request).wait_to_the_end()
    }

    /// Sends a dispatch without waiting.
    // By value like `dispatch`, so that the two are called alike.
    #[allow(clippy::needless_pass_by_value)]
    pub fn begin_dispatch(&self, request: DispatchRequest) -> PendingDispatch {
        let timeout = self.shared().options.dispatch_timeout;
        self.shared()
            .change(|state| state.begin_dispatch(&request, timeout))
    }

    /// Sends any text on the instance's socket; false if it has none.
    pub fn send_text(&self, instance_id: &str, text: &str) -> bool {
        let command = Command::Text(text.to_owned());
        self.shared()
            .send(instance_id, FrameKind::Text, text, command)
    }

    /// Sends a binary message on the instance's socket; false if it has none.
    pub fn send_binary(&self, instance_id: &str, bytes: &[u8]) -> bool {
        let shown = String::from_utf8_lossy(bytes);
        let command = Command::Binary(bytes.to_vec());
        self.shared()
            .send(instance_id, FrameKind::Binary, &shown, command)
    }

    /// Sends a ping (at most 125 bytes) on the instance's socket; false if it has none.
    pub fn ping(&self, instance_id: &str, bytes: &[u8]) -> bool {
        let bytes = &bytes[..bytes.len().min(125)];
        let shown = String::from_utf8_lossy(bytes);
        self.shared().send(
            instance_id,
            FrameKind::Ping,
            &shown,
            Command::Ping(bytes.to_vec()),
        )
    }

    /// Sends the last dispatch of the instance once more, answered or not, byte for byte; false without one or without
    /// a welcomed socket.
    pub fn repeat_last_dispatch(&self, instance_id: &str) -> bool {
        self.shared()
            .change(|state| state.repeat_last_dispatch(instance_id))
    }

    /// Makes every token issued so far a bad one; open sockets stay.
    pub fn expire_tokens(&self) {
        self.shared().signer.invalidate_all();
    }

    /// Reads everything and answers nothing, not even a ping, for this long; what was held goes out afterwards.
    pub fn fall_silent(&self, duration: Duration) {
        self.shared().fall_silent(duration);
    }

    /// Closes the instance's sockets with a close frame; false if it has none.
    pub fn close(&self, instance_id: &str, code: u16, reason: &str) -> bool {
        self.shared().close_sockets(Some(instance_id), code, reason)
    }

    /// Resets the instance's sockets (RST); false if it has none.
    pub fn abort(&self, instance_id: &str) -> bool {
        self.shared().abort_sockets(Some(instance_id))
    }

    /// Drops the instance's registration: its next upgrade gets 404 `INSTANCE_NOT_FOUND`. Its socket stays.
    pub fn forget(&self, instance_id: &str) -> bool {
        self.shared().forget(instance_id)
    }

    /// All instances that ever registered, by instance id.
    pub fn agents(&self) -> Vec<AgentRecord> {
        self.shared()
            .read(|state| state.agents.values().cloned().collect())
    }

    /// One instance.
    pub fn agent(&self, instance_id: &str) -> Option<AgentRecord> {
        self.shared()
            .read(|state| state.agents.get(instance_id).cloned())
    }

    /// The sessions that are kept, by session id.
    pub fn sessions(&self) -> Vec<SessionRecord> {
        self.shared()
            .read(|state| state.sessions.all().cloned().collect())
    }

    /// The requests that are kept, oldest first.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared().read(|state| state.requests.all().to_vec())
    }

    /// The frames of an instance, oldest first.
    pub fn frames(&self, instance_id: &str) -> Vec<FrameRecord> {
        self.shared()
            .read(|state| state.frames.of(instance_id).cloned().collect())
    }

    /// The statuses that an instance's heartbeats told, each as long as it held.
    pub fn statuses(&self, instance_id: &str) -> Vec<String> {
        let mut statuses: Vec<String> = self
            .frames(instance_id)
            .iter()
            .filter(|frame| frame.direction == Direction::FromAgent)
            .filter(|frame| frame.frame_type().as_deref() == Some("heartbeat"))
            .filter_map(|frame| {
                let status = &frame.json()?["payload"]["status"];
                status.as_str().map(str::to_owned)
            })
            .collect();
        statuses.dedup();
        statuses
    }

    /// The ledger of dispatches and answers: a copy of it all. [`Self::ledger_entry`] and [`Self::totals`] are cheaper.
    pub fn ledger(&self) -> Ledger {
        self.shared().read(|state| state.ledger.ledger().clone())
    }

    /// The ledger's entry of one dispatch id.
    pub fn ledger_entry(&self, id: &str) -> Option<LedgerEntry> {
        self.shared()
            .read(|state| state.ledger.ledger().get(id).cloned())
    }

    /// The counters.
    pub fn totals(&self) -> Totals {
        self.shared().read(|state| state.totals)
    }

    /// What agents did against the protocol, secrets removed; empty is what a test wants. The first 10,000 lines are
    /// kept.
    pub fn violations(&self) -> Vec<String> {
        self.shared().read(|state| state.violations.clone())
    }

    /// Waits until `condition` holds, looking after every change; false when `timeout` passes first.
    ///
    /// The state is locked while the condition looks, so it must not call the gateway. Under load it looks thousands
    /// of times a second: [`Snapshot::totals`] costs the same however much is recorded.
    pub fn wait_until(
        &self,
        timeout: Duration,
        condition: impl FnMut(&Snapshot<'_>) -> bool,
    ) -> bool {
        self.shared().wait_until(timeout, condition)
    }

    /// Waits until the instance has a welcomed socket, or is hosted and takes dispatches.
    pub fn wait_ready(&self, instance_id: &str, timeout: Duration) -> bool {
        self.wait_until(timeout, |seen| seen.is_ready(instance_id))
    }

    /// The faults as they stand; counted refusals count down.
    pub fn faults(&self) -> Faults {
        self.shared().faults.borrow().clone()
    }

    /// Replaces all faults. What a stall held back goes on when it is lifted.
    pub fn set_faults(&self, faults: Faults) {
        self.shared().replace_faults(faults);
    }

    /// Sets a script in the place of the one before it. Steps without delay at `at: 0` are done when this returns.
    pub fn set_script(&self, script: Script) {
        self.shared().change(|state| state.script.start(script));
    }

    /// How far the script is.
    pub fn script_status(&self) -> ScriptStatus {
        self.shared().read(|state| state.script.status.clone())
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

async fn serve(
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    later: UnboundedReceiver<Later>,
    orders: UnboundedReceiver<Order>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let accepting = tokio::spawn(listener::run(Arc::clone(&shared), listener, tls));
    tokio::spawn(fault_clock::run(Arc::clone(&shared)));
    tokio::spawn(script::run(Arc::clone(&shared), later));
    tokio::spawn(posting::run(Arc::clone(&shared), orders));
    let expiring = Arc::clone(&shared);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(EXPIRY_RHYTHM).await;
            if expiring.read(|state| state.has_expired(Instant::now())) {
                expiring.change(|state| state.expire_dispatches(Instant::now()));
            }
        }
    });
    drop(shared.stop.subscribe().wait_for(|stopped| *stopped).await);
    accepting.abort();
    shared.change(crate::state::State::stop_dispatches);
    shared.close_sockets(None, CLOSE_GOING_AWAY, "gateway stopped");
    let all_closed = async {
        // A watcher lets go in the step that writes the end of its lines.
        while !shared.links(None).is_empty()
            || shared.read(|state| state.watchers.receiver_count()) > 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Who does not answer is cut off with the runtime.
    let _ = tokio::time::timeout(GOODBYE, all_closed).await;
}
