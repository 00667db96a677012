//! Where the next token comes from: the mesh, in exchange for a client secret, or the application
//! (`reliability.md` 6.5 and T3). One is asked at a time, and whoever is asked has a limited time.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::json;

use super::action::Reply;
use super::event::EventKind;
use super::failure::{Class, Failure, Step};
use super::time::{Now, Timer};
use super::{LinkState, Machine, Purpose, Transition};
use crate::config::Credentials;
use crate::error::{Error, ErrorKind};
use crate::protocol::rest::{TokenReply, token_lifetime};

const PATH: &str = "/auth/get_token";

/// A token that somebody has been asked for.
pub(super) struct Fetch {
    /// The generation at the start: a newer token that came meanwhile is not overwritten.
    generation: u64,
    /// A token's life counts from here, since it may have been issued as early as this.
    started: Duration,
    /// Whether the other client secret is being shown, since the mesh refused the usual one.
    fell_back: bool,
}

impl Machine {
    /// Asks for a new token unless that is under way.
    pub(super) fn fetch_token(&mut self, now: Now) {
        if self.auth.fetching.is_some() || matches!(self.auth.source, Credentials::Static(_)) {
            return;
        }
        self.auth.fetching = Some(Fetch {
            generation: self.auth.generation(),
            started: now.mono,
            fell_back: false,
        });
        if matches!(self.auth.source, Credentials::Provider(_)) {
            self.ask_application(now);
        } else {
            self.exchange(false);
        }
    }

    fn ask_application(&mut self, now: Now) {
        let reason = self.auth.why_wanted(now.mono);
        // The number that TOKEN_REFRESHED will carry, so that the two events can be matched.
        let generation = self.auth.generation() + 1;
        let limit = self.settings.timing.token_provider;
        self.timers.set(Timer::Provider, now.mono + limit);
        self.emit(
            EventKind::TokenWanted,
            json!({"generation": generation, "reason": reason}),
        );
    }

    /// The application has not answered.
    pub(super) fn provider_overdue(&mut self, now: Now) {
        if self.auth.fetching.take().is_none() {
            return;
        }
        let limit = self.settings.timing.token_provider.as_millis();
        let error = Error::new(
            ErrorKind::Timeout,
            "TOKEN_PROVIDER_TIMEOUT",
            format!("the application did not give a token within {limit} ms of being asked"),
        )
        .hint("answer the event TOKEN_WANTED with refresh_token, or allow more in `token_provider_timeout_ms`")
        .retryable(true);
        self.no_token(now, Failure::passing(error));
    }

    /// The application has given a token, asked or not.
    pub(super) fn provider_answered(&mut self) {
        if matches!(self.auth.source, Credentials::Provider(_)) {
            self.auth.fetching = None;
            self.timers.stop(Timer::Provider);
        }
    }

    /// Shows a client secret: the one that is usually accepted, or the other one.
    fn exchange(&mut self, other: bool) {
        let Credentials::Exchange {
            client_id,
            client_secret,
            client_secret_next,
        } = &self.auth.source
        else {
            return;
        };
        let next = client_secret_next
            .as_ref()
            .filter(|_| self.auth.shows_next != other);
        let secret = next.unwrap_or(client_secret);
        let body = json!({
            "client_id": client_id,
            "client_secret": secret.expose_secret(),
            "agent_type": self.agent.identity().agent_type,
        });
        self.counters.token_requests += 1;
        let timeout = self.settings.timing.http;
        self.request(Purpose::Token, PATH, body.to_string(), timeout);
    }

    /// Shows the other secret, if there is one that has not been shown for this token yet.
    fn fall_back(&mut self, now: Now, fetch: &Fetch, refusal: &Failure) -> bool {
        let Credentials::Exchange {
            client_secret_next: Some(_),
            ..
        } = &self.auth.source
        else {
            return false;
        };
        if fetch.fell_back {
            return false;
        }
        self.auth.fetching = Some(Fetch {
            generation: fetch.generation,
            started: now.mono,
            fell_back: true,
        });
        let used = if self.auth.shows_next {
            "client_secret"
        } else {
            "client_secret_next"
        };
        if self.link == LinkState::Authenticating {
            self.go(Transition::T3, LinkState::Authenticating);
        } else {
            // A renewal beside a link that stays where it is.
            self.counters.taken(Transition::T3);
        }
        self.log(
            "warn",
            format!("{}; `{used}` is tried instead", refusal.error.message()),
        );
        self.emit(EventKind::CredentialFallback, json!({"used": used}));
        self.exchange(true);
        true
    }

    pub(super) fn token_reply(&mut self, now: Now, reply: &Reply) {
        let Some(fetch) = self.auth.fetching.take() else {
            return;
        };
        self.counters.tokens.count(reply);
        let target = self.target(PATH);
        let failure = match reply {
            Reply::Http(http) if http.status == 200 => {
                match serde_json::from_slice::<TokenReply>(&http.body) {
                    Ok(reply) if crate::config::is_secret(&reply.token) => {
                        // The one that worked is shown first from now on.
                        self.auth.shows_next ^= fetch.fell_back;
                        if self.auth.generation() != fetch.generation
                            && self.auth.is_valid(now.mono)
                        {
                            // A newer token came in the meantime, and whoever waits is served by it.
                            return self.token_ready(now);
                        }
                        if fetch.started + token_lifetime(&reply.token) > now.mono {
                            return self.use_token(now, reply.token.into(), fetch.started);
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
        if failure.class == Class::Unauthorized && self.fall_back(now, &fetch, &failure) {
            return;
        }
        self.no_token(now, failure);
    }

    /// Whoever was asked for a token has none.
    fn no_token(&mut self, now: Now, failure: Failure) {
        self.fail_token_waiters(now, &failure);
        if self.link == LinkState::Authenticating {
            self.step_failed(now, failure);
        } else if self.link == LinkState::Closing {
            self.farewell_without_token(now);
        } else if self.auth.is_valid(now.mono) || self.is_up() {
            // A link that outlives its token asks for none again by itself.
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
}
