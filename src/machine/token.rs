//! The token: one fetch at a time, renewed in time, never overwritten by an older one (`reliability.md` 6.5).

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::action::Reply;
use super::event::EventKind;
use super::failure::{Class, Failure, Step};
use super::operations::Kind;
use super::time::{Now, Timer};
use super::{LinkState, Machine, Purpose, Transition, redaction};
use crate::config::Credentials;
use crate::error::{Error, ErrorKind};
use crate::protocol::rest::{TokenReply, token_expires_at, token_lifetime};

const PATH: &str = "/auth/get_token";

/// Share of a token's life after which it is renewed, and the random part taken off.
const RENEW_AT: f64 = 0.8;
const RENEW_SPREAD: f64 = 0.1;

/// When the owner of a static token is warned, and warned again.
const WARN_AT: f64 = 0.8;
const WARN_AGAIN_AT: f64 = 0.95;

/// First and longest wait after a renewal that failed while the token is still valid.
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_LONGEST: Duration = Duration::from_mins(1);

/// How many tokens are looked for in what a server echoes.
const REMEMBERED_TOKENS: usize = 8;

struct Token {
    secret: Arc<SecretString>,
    /// On the monotonic clock; a wrong wall clock does not matter.
    dies_at: Duration,
    lifetime: Duration,
    /// Whether the owner of a static token has had the first warning.
    warned: bool,
}

/// What the connector shows to the mesh, and what it got for it.
pub(super) struct Auth {
    source: Credentials,
    token: Option<Token>,
    /// Grows with every token; a fetch that began before a newer token came does not replace it.
    generation: u64,
    /// The generation at the start of the fetch in progress, and when it started.
    fetching: Option<(u64, Duration)>,
    /// Whether the current attempt has fetched a token because of a 401.
    pub(super) fetched_for_attempt: bool,
    /// Whether a token has been fetched because of a refused heartbeat, and none was accepted since.
    pub(super) fetched_for_heartbeat: bool,
    /// When a token was last fetched because the mesh closed the link over the one before.
    pub(super) renewed_for_close: Option<Duration>,
    /// The latest tokens, replaced ones too: what is still on its way may come back as an echo.
    shown: VecDeque<Arc<SecretString>>,
    /// Made of the source and the tokens shown, when it is first needed.
    filter: OnceCell<redaction::Filter>,
    renewal_failures: u32,
}

impl Auth {
    pub(super) fn new(source: Credentials) -> Self {
        Self {
            source,
            token: None,
            generation: 0,
            fetching: None,
            fetched_for_attempt: false,
            fetched_for_heartbeat: false,
            renewed_for_close: None,
            shown: VecDeque::new(),
            filter: OnceCell::new(),
            renewal_failures: 0,
        }
    }

    pub(super) fn can_renew(&self) -> bool {
        matches!(self.source, Credentials::Exchange { .. })
    }

    pub(super) fn bearer(&self) -> Option<Arc<SecretString>> {
        self.token.as_ref().map(|token| Arc::clone(&token.secret))
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn is_valid(&self, now: Duration) -> bool {
        self.token.as_ref().is_some_and(|token| token.dies_at > now)
    }

    pub(super) fn seconds_left(&self, now: Duration) -> Option<u64> {
        let token = self.token.as_ref()?;
        Some(token.dies_at.saturating_sub(now).as_secs())
    }

    /// The mesh has refused the token: it counts as dead.
    pub(super) fn invalidate(&mut self) {
        self.token = None;
    }

    /// Nothing will be shown any more.
    pub(super) fn wipe(&mut self) {
        self.token = None;
        self.shown.clear();
        self.filter.take();
    }

    fn set(&mut self, secret: SecretString, from: Duration, lifetime: Duration) {
        self.generation += 1;
        self.renewal_failures = 0;
        let secret = Arc::new(secret);
        self.shown.push_front(Arc::clone(&secret));
        self.shown.truncate(REMEMBERED_TOKENS);
        self.filter.take();
        self.token = Some(Token {
            secret,
            dies_at: from + lifetime,
            lifetime,
            warned: false,
        });
    }

    /// The text, which came from elsewhere, without any secret of ours.
    pub(super) fn redact(&self, text: &str) -> String {
        let secrets = || self.secrets().map(SecretString::expose_secret);
        let filter = self.filter.get_or_init(|| redaction::Filter::of(secrets()));
        if !filter.suspects(text) {
            return text.to_owned();
        }
        redaction::remove(text, secrets())
    }

    fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        let (Credentials::Exchange {
            client_secret: source,
            ..
        }
        | Credentials::Static(source)) = &self.source;
        std::iter::once(source).chain(self.shown.iter().map(|secret| &**secret))
    }

    fn retry_after(&mut self, rng: &mut Rng) -> Duration {
        let window = (RETRY_FIRST * 2_u32.pow(self.renewal_failures.min(4))).min(RETRY_LONGEST);
        self.renewal_failures += 1;
        window / 2 + (window / 2).mul_f64(rng.f64())
    }
}

impl Machine {
    /// Takes the static token into use at the first start.
    pub(super) fn adopt_static_token(&mut self, now: Now) {
        if let Credentials::Static(token) = &self.auth.source
            && self.auth.generation == 0
        {
            let secret = token.clone();
            self.use_token(now, secret, now.mono);
        }
    }

    /// Asks for a new token unless that is under way.
    pub(super) fn fetch_token(&mut self, now: Now) {
        if self.auth.fetching.is_some() {
            return;
        }
        let Credentials::Exchange {
            client_id,
            client_secret,
        } = &self.auth.source
        else {
            return;
        };
        let body = json!({
            "client_id": client_id,
            "client_secret": client_secret.expose_secret(),
            "agent_type": self.agent.identity().agent_type,
        });
        self.auth.fetching = Some((self.auth.generation, now.mono));
        self.counters.token_requests += 1;
        let timeout = self.settings.timing.http;
        self.request(Purpose::Token, PATH, body.to_string(), timeout);
    }

    pub(super) fn token_reply(&mut self, now: Now, reply: &Reply) {
        let Some((generation, started)) = self.auth.fetching.take() else {
            return;
        };
        self.counters.tokens.count(reply);
        let target = self.target(PATH);
        let failure = match reply {
            Reply::Http(http) if http.status == 200 => {
                match serde_json::from_slice::<TokenReply>(&http.body) {
                    Ok(reply) if crate::config::is_secret(&reply.token) => {
                        if self.auth.generation != generation && self.auth.is_valid(now.mono) {
                            // A newer token came in the meantime, and whoever waits is served by it.
                            return self.token_ready(now);
                        }
                        if started + token_lifetime(&reply.token) > now.mono {
                            return self.use_token(now, reply.token.into(), started);
                        }
                        Failure::undecodable(
                            Step::Token,
                            &target,
                            200,
                            "the token has expired already",
                        )
                    }
                    _ => Failure::undecodable(Step::Token, &target, 200, "the body holds no token"),
                }
            }
            reply => self.failure(Step::Token, &target, reply),
        };
        self.fail_token_waiters(&failure);
        if self.link == LinkState::Authenticating {
            self.step_failed(now, failure);
        } else if self.link == LinkState::Closing {
            self.farewell_without_token(now);
        } else if self.auth.is_valid(now.mono) {
            let asked = failure.retry_after.unwrap_or_default();
            let wait = self.auth.retry_after(&mut self.rng).max(asked);
            self.timers.set(Timer::Renew, now.mono + wait);
            self.log(
                "warn",
                format!("renewing the token failed: {}", failure.error),
            );
            if failure.class == Class::Unauthorized {
                self.auth_failed(&failure);
            }
        }
    }

    /// A token is there: whoever waited for one goes on.
    fn use_token(&mut self, now: Now, secret: SecretString, from: Duration) {
        let lifetime = token_lifetime(secret.expose_secret());
        let expires_at = token_expires_at(secret.expose_secret());
        self.auth.set(secret, from, lifetime);
        let share = if self.auth.can_renew() {
            RENEW_AT - RENEW_SPREAD * self.rng.f64()
        } else {
            WARN_AT
        };
        self.timers
            .set(Timer::Renew, from + lifetime.mul_f64(share));
        self.timers.set(Timer::TokenDeath, from + lifetime);
        self.counters.taken(Transition::T2);
        let generation = self.auth.generation;
        self.emit(
            EventKind::TokenRefreshed,
            json!({"generation": generation, "expires_at": expires_at}),
        );
        self.token_ready(now);
    }

    fn token_ready(&mut self, now: Now) {
        for id in self.operations.ids(|op| op.kind == Kind::RefreshToken) {
            self.complete(id, Ok(super::action::Output::Nothing));
        }
        if self.link == LinkState::Closing {
            // Nothing is begun any more; the farewell may have waited for it.
            return self.farewell_step(now);
        }
        for id in self.operations.ids(|op| op.wants_token) {
            self.send_operation(now, id);
        }
        match self.link {
            LinkState::Authenticating => self.advance(now, Transition::T2),
            // The mesh has heard nothing since the one that it refused.
            LinkState::Hosted if self.auth.fetched_for_heartbeat => self.send_heartbeat(now),
            LinkState::AuthBlocked => {
                self.auth_backoff.reset();
                self.auth.fetched_for_attempt = false;
                self.advance(now, Transition::T39);
            }
            // A new token may be what the mesh was waiting for: no reason to sit the window out.
            LinkState::Backoff if !self.auth.can_renew() => self.advance(now, Transition::T37),
            _ => {}
        }
    }

    fn fail_token_waiters(&mut self, failure: &Failure) {
        let waiting =
            |op: &super::operations::Operation| op.kind == Kind::RefreshToken || op.wants_token;
        for id in self.operations.ids(waiting) {
            self.complete(id, Err(failure.error.clone()));
        }
    }

    /// `refresh_token(jwt)`: swapped in place, the socket stays (section 2).
    pub(super) fn supply_token(&mut self, now: Now, jwt: SecretString) {
        if !self.auth.can_renew() {
            self.auth.source = Credentials::Static(jwt.clone());
        }
        self.auth.fetched_for_heartbeat = false;
        self.use_token(now, jwt, now.mono);
    }

    pub(super) fn renewal_due(&mut self, now: Now) {
        if self.auth.can_renew() {
            if !self.link.is_final() && self.link != LinkState::Idle {
                self.fetch_token(now);
            }
            return;
        }
        let Some(token) = &mut self.auth.token else {
            return;
        };
        let left = token.dies_at.saturating_sub(now.mono);
        let again = token
            .dies_at
            .saturating_sub(token.lifetime.mul_f64(1.0 - WARN_AGAIN_AT));
        if !std::mem::replace(&mut token.warned, true) {
            self.timers.set(Timer::Renew, again);
        }
        self.emit(
            EventKind::TokenExpiring,
            json!({"seconds_left": left.as_secs()}),
        );
    }

    pub(super) fn token_died(&mut self, now: Now) {
        if !self.auth.can_renew() {
            self.emit(EventKind::TokenExpired, json!({}));
        } else if self.is_up() {
            // The renewal was missed, since the token was there before the link; or it failed for too long.
            self.fetch_token(now);
        }
    }
}

/// What everything that needs a token gets when the supplied one is of no use any more.
pub(super) fn supplied_token_is_dead() -> Error {
    Error::new(
        ErrorKind::Auth,
        "TOKEN_EXPIRED",
        "the token that was supplied has expired or was refused",
    )
    .hint("call refresh_token with a new one")
}
