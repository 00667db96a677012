//! The token: one fetch at a time, renewed in time, never overwritten by an older one (`reliability.md` 6.5).

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::event::EventKind;
use super::failure::Failure;
use super::operations::Kind;
use super::time::{Now, Timer};
use super::token_source::Fetch;
use super::{LinkState, Machine, Transition, redaction};
use crate::config::Credentials;
use crate::error::{Error, ErrorKind};
use crate::protocol::rest::{token_expires_at, token_lifetime};

/// Share of a token's life after which it is renewed, and the random part taken off.
const RENEW_AT: f64 = 0.8;
const RENEW_SPREAD: f64 = 0.1;

/// When the owner of a static token is warned, and warned again.
const WARN_AT: f64 = 0.8;
const WARN_AGAIN_AT: f64 = 0.95;

/// First and longest wait after a renewal that failed while the token is still valid.
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_LONGEST: Duration = Duration::from_mins(1);

/// How many tokens are looked for in what a server echoes, and how many refused ones are known again.
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
    pub(super) source: Credentials,
    token: Option<Token>,
    /// Grows with every token; a fetch that began before a newer token came does not replace it.
    generation: u64,
    pub(super) fetching: Option<Fetch>,
    /// Whether `client_secret_next` is the one that worked last, and is shown first.
    pub(super) shows_next: bool,
    /// The generation that the mesh refused last; an older token merely grew old.
    refused: Option<u64>,
    /// The latest tokens that were refused: they are not worth a dial, whoever supplies them again.
    dead: VecDeque<Arc<SecretString>>,
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
            shows_next: false,
            refused: None,
            dead: VecDeque::new(),
            fetched_for_attempt: false,
            fetched_for_heartbeat: false,
            renewed_for_close: None,
            shown: VecDeque::new(),
            filter: OnceCell::new(),
            renewal_failures: 0,
        }
    }

    pub(super) fn can_renew(&self) -> bool {
        !matches!(self.source, Credentials::Static(_))
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
        self.suspect();
        if let Some(token) = self.token.take() {
            self.dead.push_front(token.secret);
            self.dead.truncate(REMEMBERED_TOKENS);
        }
    }

    /// The mesh has refused a call, but the token stays in use until there is a better one.
    pub(super) fn suspect(&mut self) {
        self.refused = Some(self.generation);
    }

    /// Whether this token has no life, was refused, or is the one in use and has expired. Nothing is read off a wall
    /// clock: ours may be wrong by days, and then a good token would be turned away.
    fn is_dead(&self, jwt: &str, now: Duration) -> bool {
        let refused = self.dead.iter().any(|dead| dead.expose_secret() == jwt);
        let expired = self.is_current(jwt) && !self.is_valid(now);
        refused || expired || token_lifetime(jwt).is_zero()
    }

    fn is_current(&self, jwt: &str) -> bool {
        let token = self.token.as_ref();
        token.is_some_and(|token| token.secret.expose_secret() == jwt)
    }

    /// When the life of this token began, if it is the one in use.
    fn born(&self, jwt: &str) -> Option<Duration> {
        let token = self.token.as_ref().filter(|_| self.is_current(jwt))?;
        Some(token.dies_at.saturating_sub(token.lifetime))
    }

    /// For the application, which is asked for another token.
    pub(super) fn why_wanted(&self, now: Duration) -> &'static str {
        if self.refused == Some(self.generation) {
            "refused"
        } else if self.is_valid(now) {
            "expiring"
        } else {
            "missing"
        }
    }

    /// Nothing will be shown any more.
    pub(super) fn wipe(&mut self) {
        self.token = None;
        self.fetching = None;
        self.dead.clear();
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

    /// It is kept for what comes in numbers, which is refused frames and not a refused attempt now and then.
    pub(super) fn forget_filter(&mut self) {
        self.filter.take();
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
        let (first, second) = match &self.source {
            Credentials::Exchange {
                client_secret,
                client_secret_next,
                ..
            } => (Some(client_secret), client_secret_next.as_ref()),
            Credentials::Static(token) => (Some(token), None),
            Credentials::Provider(token) => (token.as_ref(), None),
        };
        let shown = self.shown.iter().map(|secret| &**secret);
        first.into_iter().chain(second).chain(shown)
    }

    pub(super) fn retry_after(&mut self, rng: &mut Rng) -> Duration {
        let window = (RETRY_FIRST * 2_u32.pow(self.renewal_failures.min(4))).min(RETRY_LONGEST);
        self.renewal_failures += 1;
        window / 2 + (window / 2).mul_f64(rng.f64())
    }
}

impl Machine {
    /// Takes the token of the configuration into use at the first start.
    pub(super) fn adopt_static_token(&mut self, now: Now) {
        if let Credentials::Static(token) | Credentials::Provider(Some(token)) = &self.auth.source
            && self.auth.generation == 0
        {
            let secret = token.clone();
            self.use_token(now, secret, now.mono);
        }
    }

    /// A token is there: whoever waited for one goes on.
    pub(super) fn use_token(&mut self, now: Now, secret: SecretString, from: Duration) {
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
        if self.is_up() {
            // Nothing is made again for it: the next call shows it.
            self.counters.taken(Transition::T34);
        }
        let generation = self.auth.generation;
        self.emit(
            EventKind::TokenRefreshed,
            json!({"generation": generation, "expires_at": expires_at}),
        );
        self.token_ready(now);
    }

    pub(super) fn token_ready(&mut self, now: Now) {
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

    pub(super) fn fail_token_waiters(&mut self, now: Now, failure: &Failure) {
        let waiting =
            |op: &super::operations::Operation| op.kind == Kind::RefreshToken || op.wants_token;
        for id in self.operations.ids(waiting) {
            if !self.own_request_failed(now, id, failure) {
                self.complete(id, Err(failure.error.clone()));
            }
        }
    }

    /// `refresh_token(jwt)`: swapped in place, the socket stays (section 2). A token that is known to be of no use is
    /// turned away, and nothing is dialed with it.
    pub(super) fn supply_token(&mut self, now: Now, jwt: SecretString) -> Result<(), Error> {
        if self.auth.is_dead(jwt.expose_secret(), now.mono) {
            return Err(supplied_token_is_dead().within("refresh_token"));
        }
        // The life of the one in use has begun, and is not counted anew.
        let born = self.auth.born(jwt.expose_secret());
        if born.is_some() && matches!(self.auth.source, Credentials::Provider(_)) {
            // That it grows old is why another one was asked for.
            return Ok(());
        }
        if !self.auth.can_renew() {
            self.auth.source = Credentials::Static(jwt.clone());
        }
        self.provider_answered();
        self.auth.fetched_for_heartbeat = false;
        self.use_token(now, jwt, born.unwrap_or(now.mono));
        Ok(())
    }

    pub(super) fn renewal_due(&mut self, now: Now) {
        if self.auth.can_renew() {
            // One that was refused is not renewed beside the link: the waits on the way to the next one would not count.
            let in_use = self.auth.token.is_some();
            if in_use && !self.link.is_final() && self.link != LinkState::Idle {
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
