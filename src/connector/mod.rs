//! `MeshConnector`: joins the machine to the network and to the application.
//!
//! The machine is behind one lock that both sides take briefly: the application's threads to command and to
//! answer, the I/O thread to feed it what came in and to take out what is to be done. What is to be written, a thread that
//! answers takes out as well (`berth`). Nothing is called with the lock held.

mod answers;
mod berth;
mod clock;
mod command;
mod completion;
#[cfg(test)]
mod desk;
mod driver;
mod ending;
mod external;
mod flaw;
mod link;
mod listening;
mod observed;
mod outgoing;
mod raw;
mod serve;
mod shared;
mod sink;
mod transport;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use berth::Berth;
use futures_util::task::AtomicWaker;
use observed::Observed;
use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::agent::{Agent, Capability};
use crate::config::{Config, DeploymentMode, is_secret};
use crate::error::{Error, ErrorKind};
use crate::hosted::Site;
use crate::kernel;
use crate::machine::{Machine, Settings, State};
use crate::net::proxy::Proxies;
use crate::net::tls::Trust;
use crate::own_request::OwnRequest;
use crate::rare::Rare;
use crate::verification::Verification;
use clock::Clock;
pub use completion::Completion;
pub use external::{SocketEvent, SocketRequest};
use listening::Listening;
use serve::Serving;
use shared::{Core, DriverState, Shared};
pub use sink::{Delivery, Sink};

/// How soon an answer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// At once.
    Now,
    /// Together with others that the caller gives at once, followed by [`MeshConnector::flush`]; should that
    /// take longer than expected, after a millisecond or two all the same.
    Batch,
    /// With what the driver does next: it is given inside [`Sink::deliver`], behind which the driver looks again by itself.
    NextRound,
}

/// One agent's connection to the mesh.
pub struct MeshConnector {
    shared: Arc<Shared>,
}

/// A connector that may be gone.
pub struct WeakConnector(Weak<Shared>);

impl WeakConnector {
    /// The connector, if somebody still holds it or it has not ended yet.
    pub fn upgrade(&self) -> Option<MeshConnector> {
        let shared = self.0.upgrade()?;
        Some(MeshConnector { shared })
    }
}

impl MeshConnector {
    /// A connector at rest: no thread, and no socket but that of `listen`, which is served from the start where there is
    /// no mesh to connect to. `request_lead` is put into every request object behind its
    /// opening brace.
    pub fn new(
        mut config: Config,
        sink: Arc<dyn Sink>,
        request_lead: &'static str,
    ) -> Result<Self, Error> {
        let mut settings = Settings::from_config(&config, request_lead);
        let verification = Verification::new(&config)?.map(Arc::new);
        settings.verification.clone_from(&verification);
        let clock = Clock::new(kernel::boot_time);
        settings.rhythm = Some(clock.birth());
        let serving = Serving::serves(&config).then(|| {
            Box::new(Serving {
                site: Site::new(&config),
                refuses_all: config.hosted.auth_required && verification.is_none(),
                verification,
                gate: Mutex::default(),
            })
        });
        let transport = config.transport.as_ref();
        let (raw, external) = (
            transport.is_some(),
            transport.is_some_and(|transport| transport.external_socket),
        );
        let listening = config.hosted.listen.take().map(Listening::new);
        let listening = listening.transpose()?.map(Box::new);
        let serves_at_once = config.hosted.local && listening.is_some();
        let trust = Trust::new(config.ca_file, config.client_certificate)?;
        let proxies = Proxies::new(config.proxy, config.allow_insecure);
        let base_proxy = proxies.route(config.svantic_url.url())?;
        let instance_id = config.identity.instance_id.clone();
        let mut agent = Agent::new(config.identity, config.mode, config.svantic_url.as_str());
        if let Some(card) = config.transport.and_then(|transport| transport.agent_card) {
            agent.show_card(card);
        }
        let policy = Arc::clone(&settings.policy);
        let machine = Machine::new(settings, agent, config.credentials, fastrand::u64(..));
        let connector = Self {
            shared: Arc::new(Shared {
                core: Mutex::new(Core {
                    machine,
                    observed: Observed::default(),
                    lingering: false,
                    armed: None,
                    completions: HashMap::new(),
                    next_operation: 1,
                    calls: Rare::default(),
                    next_call: 1,
                    driver: DriverState::NotStarted,
                    handed_over: 0,
                    in_link: 0,
                    finished: false,
                }),
                ended: Condvar::new(),
                waker: AtomicWaker::new(),
                berth: Berth::default(),
                sink,
                trust,
                proxies,
                base_proxy: base_proxy.map(Box::new),
                listening,
                policy,
                mode: config.mode,
                raw,
                external,
                turn: Mutex::new(()),
                serving,
                instance_id,
                max_frame_bytes: config.max_frame_bytes,
                busy_poll: config.busy_poll,
                timeout: config.timeout,
                drain_timeout: config.timing.drain,
                clock,
                woken_up: AtomicBool::new(false),
            }),
        };
        if serves_at_once {
            connector.command(|_, _| ())?;
        }
        Ok(connector)
    }

    /// Adds a capability and returns its index. The mesh learns of it with the next registration.
    pub fn define_capability(&self, capability: Capability) -> Result<usize, Error> {
        self.shared.lock().machine.define(capability)
    }

    /// Gets a token, registers, opens the link. `timeout` `None` is the configured default, here and below.
    pub fn connect(&self, timeout: Option<Duration>, done: Completion) {
        let timeout = timeout.unwrap_or(self.shared.timeout);
        self.operate(done, |machine, now, id| machine.connect(now, id, timeout));
    }

    /// Drains for at most `timeout`, then closes and deregisters.
    pub fn disconnect(&self, timeout: Option<Duration>, done: Completion) {
        let timeout = timeout.unwrap_or(self.shared.drain_timeout);
        self.operate(done, |machine, now, id| {
            machine.disconnect(now, id, timeout);
        });
    }

    /// Uses `jwt`, or exchanges the credentials for a new token.
    pub fn refresh_token(
        &self,
        jwt: Option<String>,
        timeout: Option<Duration>,
        done: Completion,
    ) -> Result<(), Error> {
        if jwt.as_deref().is_some_and(|jwt| !is_secret(jwt)) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "INVALID_TOKEN",
                "refresh_token: the token must be printable ASCII without spaces",
            ));
        }
        let jwt = jwt.map(SecretString::from);
        let timeout = timeout.unwrap_or(self.shared.timeout);
        self.operate(done, |machine, now, id| {
            machine.refresh_token(now, id, jwt, timeout);
        });
        Ok(())
    }

    /// Announces today's capabilities.
    pub fn re_register(&self, timeout: Option<Duration>, done: Completion) {
        let timeout = timeout.unwrap_or(self.shared.timeout);
        self.operate(done, |machine, now, id| {
            machine.re_register(now, id, timeout);
        });
    }

    /// Opens a session; `options_json` is an object with what the mesh is to be told beside the instance id.
    pub fn create_session(
        &self,
        options_json: &str,
        timeout: Option<Duration>,
        done: Completion,
    ) -> Result<(), Error> {
        let options: Map<String, Value> = serde_json::from_str(options_json).map_err(|error| {
            Error::new(
                ErrorKind::InvalidJson,
                "INVALID_JSON",
                format!("create_session: the options are not a JSON object: {error}"),
            )
            .hint("pass {} or {\"user_id\":\"…\"}")
        })?;
        let timeout = timeout.unwrap_or(self.shared.timeout);
        self.operate(done, |machine, now, id| {
            machine.create_session(now, id, options, timeout);
        });
        Ok(())
    }

    /// Closes a session.
    pub fn close_session(&self, session_id: &str, timeout: Option<Duration>, done: Completion) {
        let timeout = timeout.unwrap_or(self.shared.timeout);
        self.operate(done, |machine, now, id| {
            machine.close_session(now, id, session_id, timeout);
        });
    }

    /// Sends the mesh a request of the application's own, with the token; `headers_json` is an object of texts.
    pub fn request(
        &self,
        path: &str,
        body_json: &str,
        headers_json: Option<&str>,
        timeout: Option<Duration>,
        done: Completion,
    ) -> Result<(), Error> {
        let request = OwnRequest::new(self.shared.base(), path, body_json, headers_json)?;
        let timeout = timeout.unwrap_or(self.shared.timeout);
        self.operate(done, |machine, now, id| {
            machine.own_request(now, id, request, timeout);
        });
        Ok(())
    }

    /// Ends the pending operations with this tag, each with `Cancelled`, and the waits for responses to requests with it; whether there were any. One whose outcome is on
    /// its way is not pending. Never blocks.
    pub fn cancel(&self, tag: usize) -> bool {
        let mut core = self.shared.lock();
        let now = self.shared.now();
        let tagged = core
            .completions
            .iter()
            .filter(|(_, done)| done.tag == Some(tag));
        let mut ids: Vec<_> = tagged.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let any = core.machine.cancel(now, &ids) | serve::cancel_tagged(&mut core, tag);
        drop(core);
        if any {
            self.shared.settle();
        }
        any
    }

    /// Tells that the network may be another: an open link is probed, and a wait before the next attempt is cut
    /// short. Never blocks.
    pub fn network_changed(&self) {
        let mut core = self.shared.lock();
        core.machine.network_changed(self.shared.now());
        drop(core);
        self.shared.settle();
    }

    /// The same connector, without keeping it.
    pub fn downgrade(&self) -> WeakConnector {
        WeakConnector(Arc::downgrade(&self.shared))
    }

    /// The state in a word.
    pub fn state(&self) -> State {
        self.shared.lock().machine.state()
    }

    /// Whether a registration is active.
    pub fn connected(&self) -> bool {
        self.shared.lock().machine.connected()
    }

    /// The mesh's base URL.
    pub fn svantic_url(&self) -> &str {
        self.shared.base().as_str()
    }

    /// The token in use, if there is one.
    pub fn token(&self) -> Option<Arc<SecretString>> {
        self.shared.lock().machine.token()
    }

    /// How dispatches reach the agent.
    pub fn deployment_mode(&self) -> DeploymentMode {
        self.shared.mode
    }

    /// The instance's id.
    pub fn instance_id(&self) -> &str {
        &self.shared.instance_id
    }

    /// The card with today's capabilities.
    pub fn agent_card(&self) -> Value {
        self.shared.lock().machine.agent().card()
    }

    /// Everything worth knowing when looking for a fault.
    pub fn snapshot(&self) -> Value {
        let core = self.shared.lock();
        let now = self.shared.now();
        // An end in good order is none of the thread's; one that the machine knows nothing of is.
        let ended = matches!(core.driver, DriverState::Ending | DriverState::Ended);
        let driven = !ended || core.machine.link().is_final();
        let mut snapshot = core.observed.snapshot(&core.machine, now, driven);
        if let Some(listening) = &self.shared.listening {
            snapshot["listening"] = listening.address.to_string().into();
        }
        snapshot
    }

    /// Stops without waiting for running dispatches. [`MeshConnector::wait_ended`] tells when all is over.
    pub fn stop(&self) {
        let mut core = self.shared.lock();
        let now = self.shared.now();
        core.machine.stop(now);
        if core.driver == DriverState::NotStarted {
            // Nothing was ever sent, so there is nothing to carry out but what the application is told.
            core.driver = DriverState::Ended;
            drop(core);
            self.shared.pump();
            self.shared.sink.closed();
        } else {
            drop(core);
            self.shared.settle();
        }
    }

    /// Waits until nothing more will happen, for at most `timeout`. Whether it has come to that.
    pub fn wait_ended(&self, timeout: Duration) -> bool {
        let (core, _) = self
            .shared
            .ended
            .wait_timeout_while(self.shared.lock(), timeout, |core| {
                matches!(core.driver, DriverState::Running | DriverState::Ending)
            })
            .unwrap_or_else(PoisonError::into_inner);
        matches!(core.driver, DriverState::NotStarted | DriverState::Ended)
    }
}
