//! Requests that the application's server, or the library's own, has taken in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::MeshConnector;
use super::listening::Listening;
use super::shared::{Calls, Core, Shared};
use crate::config::DeploymentMode;
use crate::error::{Error, ErrorKind};
use crate::hosted::gate::{Gate, Peer, Turned};
use crate::hosted::{self, Head, Respond, ResponsePart, Route, Site, Trouble};
use crate::machine::action::{CallId, Response};
use crate::machine::hosted::refusals::{RATE_LIMITED, TOO_MANY, UNCONFIGURED};
use crate::verification::Verification;

/// What serving needs besides the machine.
pub(super) struct Serving {
    pub(super) site: Site,
    pub(super) verification: Option<Arc<Verification>>,
    /// Nothing may be verified, and nothing is to be believed without.
    pub(super) refuses_all: bool,
    pub(super) gate: Mutex<Gate>,
}

/// Who waits for the response to a call.
#[derive(Clone)]
pub(super) struct Responder {
    pub(super) tag: Option<usize>,
    parts: Arc<Mutex<Parts>>,
}

struct Parts {
    respond: Respond,
    begun: bool,
}

impl Responder {
    fn give(&self, part: impl FnOnce(bool) -> ResponsePart) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let part = part(parts.begun);
        parts.begun = true;
        (parts.respond)(part);
    }
}

impl MeshConnector {
    /// Answers an HTTP request, now or later: `respond` is called until a part is the last. By `tag`
    /// [`MeshConnector::cancel`] finds it. Never blocks.
    pub fn serve(&self, head: &Head, body: &[u8], tag: Option<usize>, mut respond: Respond) {
        let Some(serving) = self.shared.serving.as_deref() else {
            return respond(hosted::not_served());
        };
        match serving.site.route(head, body.len()) {
            Route::Refused(part) => respond(part),
            Route::Card => {
                let listening = self.shared.listening.as_deref();
                let reached_at = head.reached_at(listening.map_or("http", Listening::scheme));
                let card = self
                    .shared
                    .lock()
                    .machine
                    .agent()
                    .card_at(reached_at.as_deref());
                respond(head.card_response(&card));
            }
            Route::Call => self.call(serving, head, body, tag, respond),
        }
    }

    fn call(
        &self,
        serving: &Serving,
        head: &Head,
        body: &[u8],
        tag: Option<usize>,
        mut respond: Respond,
    ) {
        let now = self.shared.now();
        if serving.refuses_all {
            self.refused(UNCONFIGURED);
            return respond(hosted::render(Response::Unauthenticated));
        }
        let guard = match serving.verification.as_deref() {
            None => None,
            Some(_) => match Visit::new(serving) {
                Ok(visit) => Some(visit),
                Err(why) => {
                    self.refused(TOO_MANY);
                    return respond(hosted::turned_away(why));
                }
            },
        };
        let unix_time = std::time::Duration::from_millis(now.unix_ms);
        let verification = serving.verification.as_deref();
        let mut made = String::new();
        let call = hosted::read(
            &serving.site,
            head,
            body,
            verification,
            unix_time,
            &mut made,
        );
        drop(guard);
        let call = match call {
            Ok(call) => call,
            Err(Trouble::Response(part)) => return respond(part),
            Err(Trouble::Unauthenticated(cause)) => {
                let peer = head.peer.as_deref().and_then(Peer::read);
                let limited = serving.gate().failed(now.mono, peer);
                self.refused(if limited.is_err() {
                    RATE_LIMITED
                } else {
                    cause
                });
                return respond(match limited {
                    Ok(()) => hosted::render(Response::Unauthenticated),
                    Err(why) => hosted::turned_away(why),
                });
            }
        };
        let responder = Responder {
            tag,
            parts: Arc::new(Mutex::new(Parts {
                respond,
                begun: false,
            })),
        };
        let kept = responder.clone();
        let told = self.command(|core, now| {
            let id = core.next_call;
            core.next_call += 1;
            core.calls.insert(id, kept);
            core.machine.handle_call(now, id, call);
        });
        if told.is_err() {
            responder.give(|_| hosted::no_thread());
        }
    }

    /// Counts what was not believed.
    fn refused(&self, cause: &'static str) {
        // Where nobody takes the log out, nobody reads it.
        let _ = self.command(|core, now| core.machine.call_refused(now, cause));
    }

    /// Refuses what only an agent with a URL of its own can do.
    pub fn require_hosted(&self, function: &str) -> Result<(), Error> {
        self.require_agent(function)?;
        if self.shared.serving.is_some() {
            return Ok(());
        }
        let text =
            format!("{function}: the agent is connected, and dispatches come over its WebSocket");
        Err(Error::new(ErrorKind::InvalidState, "NOT_HOSTED", text)
            .hint("give it a `public_url`, or `\"local\":true` to try it without the mesh"))
    }
}

/// A request that is being verified. Counts off however that ends.
struct Visit<'a>(&'a Serving);

impl<'a> Visit<'a> {
    fn new(serving: &'a Serving) -> Result<Self, Turned> {
        serving.gate().enter()?;
        Ok(Self(serving))
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.gate().leave();
    }
}

/// The calls that were made with this tag are no longer waited for; whether there were any.
pub(super) fn cancel_tagged(core: &mut Core, tag: usize) -> bool {
    let mut ids: Vec<CallId> = core
        .calls
        .iter()
        .filter(|(_, responder)| responder.tag == Some(tag))
        .map(|(id, _)| *id)
        .collect();
    ids.sort_unstable();
    let mut any = false;
    for id in ids {
        any |= core.machine.cancel_call(id);
    }
    any
}

impl Shared {
    /// Gives whoever called what the machine says.
    pub(super) fn respond(&self, call: CallId, response: Response) {
        let mut core = self.lock();
        let responder = if response.is_last() {
            core.calls.touched().and_then(|calls| calls.remove(&call))
        } else {
            core.calls.get(&call).cloned()
        };
        drop(core);
        if let Some(responder) = responder {
            responder.give(|_| hosted::render(response));
        }
    }

    /// Nobody will say any more how these calls end.
    pub(super) fn abandon_calls(&self) {
        let calls = self.lock().calls.touched().map(std::mem::take);
        for responder in calls.into_iter().flat_map(Calls::into_values) {
            responder.give(hosted::ended);
        }
    }
}

impl Serving {
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn serves(config: &crate::config::Config) -> bool {
        config.mode == DeploymentMode::Hosted || config.identity.public_url.is_some()
    }
}

#[cfg(test)]
mod tests;
