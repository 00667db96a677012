//! A step that failed, and what its refusal means (`protocol.md` 2-4; `reliability.md` 5.2 and 5.4).

use std::time::Duration;

use super::action::{HttpReply, NetFailure};
use crate::error::{Error, ErrorKind};
use crate::protocol::rest::Refusal;

/// What the connector was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Exchanging credentials for a token.
    Token,
    /// Registering the instance.
    Register,
    /// Dialing the WebSocket.
    Dial,
    /// Waiting for the welcome.
    Welcome,
    /// Sending a heartbeat of a hosted agent.
    Heartbeat,
    /// Opening a session.
    CreateSession,
    /// Closing a session.
    CloseSession,
    /// Sending what the application asks the mesh by itself.
    OwnRequest,
}

impl Step {
    /// For people; completes "failed while …".
    pub fn doing(self) -> &'static str {
        match self {
            Self::Token => "exchanging the credentials for a token",
            Self::Register => "registering the agent",
            Self::Dial => "dialing the WebSocket",
            Self::Welcome => "waiting for the mesh's welcome",
            Self::Heartbeat => "sending a heartbeat",
            Self::CreateSession => "opening a session",
            Self::CloseSession => "closing a session",
            Self::OwnRequest => "sending the request",
        }
    }
}

/// What a failure asks of the connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Try again after a crash-sized wait (T6).
    Temporary,
    /// The same, and something between us and the mesh may be what refuses (T13).
    Noise,
    /// A redirect, which is never followed (T16).
    Redirect,
    /// No trust in the peer's certificate; a captive portal goes away, but not within seconds (T18).
    Tls,
    /// The server asks for patience (T7).
    Busy,
    /// The token or the credentials are refused (T3, T4, T10, T11).
    Unauthorized,
    /// The instance is not known (T14, T15).
    Forgotten,
    /// A proxy wants credentials (T17).
    ProxyAuth,
    /// No attempt will ever succeed (T5, T12).
    Final,
}

impl Class {
    /// Whether the next attempt may find everything in order, with the same token and registration.
    pub(super) fn passes(self) -> bool {
        matches!(
            self,
            Self::Temporary | Self::Noise | Self::Redirect | Self::Tls | Self::Busy
        )
    }
}

/// One failed step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What it asks of the connector.
    pub(super) class: Class,
    /// The wait that the server asked for.
    pub(super) retry_after: Option<Duration>,
    /// For the caller.
    pub(super) error: Error,
}

impl Failure {
    /// A request or dial that was never answered.
    pub(super) fn unanswered(step: Step, target: &str, net: &NetFailure) -> Self {
        let code = match net.kind {
            ErrorKind::Timeout => "TIMEOUT",
            ErrorKind::Tls => "TLS_FAILED",
            _ => "UNREACHABLE",
        };
        let hint = match net.kind {
            ErrorKind::Tls => {
                "check the certificate, the machine's trust store and `ca_file`, and `client_cert_file` if the mesh asks for one"
            }
            _ => "check `svantic_url` (SVANTIC_URL) and that this machine reaches it",
        };
        let class = match net.kind {
            ErrorKind::Tls => Class::Tls,
            _ => Class::Temporary,
        };
        Self {
            class,
            retry_after: None,
            error: Error::new(net.kind, code, message(step, target, &net.text))
                .hint(hint)
                .retryable(true),
        }
    }

    /// An answer that could not be understood.
    pub(super) fn undecodable(step: Step, target: &str, status: u16, why: &str) -> Self {
        Self {
            class: Class::Temporary,
            retry_after: None,
            error: Error::new(
                ErrorKind::Protocol,
                "UNEXPECTED_REPLY",
                message(step, target, &format!("HTTP {status}, but {why}")),
            )
            .http_status(Some(status))
            .hint("is `svantic_url` the mesh, and not a proxy or a web site?")
            .retryable(true),
        }
    }

    /// An answer other than success.
    pub(super) fn refused(step: Step, target: &str, reply: &HttpReply) -> Self {
        let refusal = Refusal::read(&reply.body);
        let class = match &reply.proxy {
            Some(_) => classify_proxy(reply.status),
            None => classify(step, reply.status, refusal.code.is_some()),
        };
        let kind = match class {
            Class::Unauthorized | Class::ProxyAuth => ErrorKind::Auth,
            _ => ErrorKind::Remote,
        };
        let said = match (&refusal.code, &refusal.message) {
            (Some(code), Some(text)) => format!(" {code}: {text}"),
            (Some(text), None) | (None, Some(text)) => format!(": {text}"),
            (None, None) => String::new(),
        };
        let wait = match reply.retry_after {
            Some(wait) => format!(" (Retry-After {} s)", wait.as_secs()),
            None => String::new(),
        };
        let redirect = match &reply.location {
            Some(host) if (300..400).contains(&reply.status) => {
                format!(" to {host}, which is never followed since it would carry the token there")
            }
            _ => String::new(),
        };
        let whose = match &reply.proxy {
            Some(proxy) => format!(" from the proxy {proxy}"),
            None => String::new(),
        };
        let why = format!("HTTP {}{whose}{said}{wait}{redirect}", reply.status);
        let code = refusal
            .code
            .clone()
            .unwrap_or_else(|| format!("HTTP_{}", reply.status));
        let mut error = Error::new(kind, code, message(step, target, &why))
            .http_status(Some(reply.status))
            .retryable(class.passes() || class == Class::Forgotten);
        let hint = match (&reply.proxy, reply.status) {
            (None, _) | (_, 407) => hint(step, reply.status, refusal.code.as_deref()),
            _ => Some(
                "the proxy makes no connection to the mesh: check `proxy`, and what it permits",
            ),
        };
        if let Some(hint) = hint {
            error = error.hint(hint);
        }
        Self {
            class,
            retry_after: reply.retry_after,
            error,
        }
    }

    /// A failure that says nothing about the next attempt.
    pub(super) fn passing(error: Error) -> Self {
        Self {
            class: Class::Temporary,
            retry_after: None,
            error,
        }
    }

    /// A failure that no attempt can mend.
    pub(super) fn fatal(error: Error) -> Self {
        Self {
            class: Class::Final,
            retry_after: None,
            error,
        }
    }
}

/// "failed while registering the agent at https://…: HTTP 403 …"
pub(super) fn message(step: Step, target: &str, why: &str) -> String {
    format!("failed while {} at {target}: {why}", step.doing())
}

fn classify(step: Step, status: u16, from_mesh: bool) -> Class {
    match status {
        401 => Class::Unauthorized,
        403 if step == Step::Token => Class::Unauthorized,
        404 if step == Step::Dial => Class::Forgotten,
        407 => Class::ProxyAuth,
        429 | 503 => Class::Busy,
        408 | 425 => Class::Temporary,
        // Without a code of the platform's it may be a proxy's refusal, and those come and go.
        400..=499 if from_mesh => Class::Final,
        400 | 403 | 409 if step != Step::Token => Class::Noise,
        300..=399 => Class::Redirect,
        _ => Class::Temporary,
    }
}

/// What a proxy's own refusal means: whatever it says of its business, it says nothing of the token or the instance.
fn classify_proxy(status: u16) -> Class {
    match status {
        407 => Class::ProxyAuth,
        429 | 503 => Class::Busy,
        _ => Class::Temporary,
    }
}

fn hint(step: Step, status: u16, code: Option<&str>) -> Option<&'static str> {
    Some(match (step, status, code) {
        (Step::Token, 401 | 403, _) => {
            "check `client_id` and `client_secret` (SVANTIC_CLIENT_ID, SVANTIC_CLIENT_SECRET)"
        }
        (_, 401, _) => "the token is expired or not this mesh's: call refresh_token with a new one",
        (_, _, Some("DEPLOYMENT_MODE_MISMATCH")) => {
            "this instance exists in the other deployment mode: deregister it first, or use another `instance_id`"
        }
        (Step::Register, 403, _) => "is the agent type on the tenant's allow-list?",
        (Step::Register, 502, _) => {
            "a hosted agent must serve its card at <public_url>/.well-known/agent-card.json before it registers"
        }
        (_, 407, _) => {
            "the proxy wants credentials: give them in `proxy`, as http://user:password@host:port"
        }
        (_, 429, _) => "too many requests: wait, then try again",
        (Step::CloseSession, 404, _) => "the session does not exist or has ended",
        (_, _, Some("TENANT_MISMATCH")) => {
            "the instance belongs to another tenant: use its credentials, or another `instance_id`"
        }
        (Step::Dial, 404, Some(_)) => {
            "the mesh does not know this instance, which is registered again by itself"
        }
        (_, 300..=399, _) => {
            "give the mesh's own address as `svantic_url` (SVANTIC_URL), not one that redirects"
        }
        (_, 400..=499, Some(_)) => {
            "the mesh does not take this request, and will not take it again"
        }
        (_, 400..=499, None) => {
            "without a code it may be a proxy that answers: check `svantic_url` (SVANTIC_URL)"
        }
        (_, 500..=599, _) => {
            "the mesh, or a proxy before it, has trouble of its own: try again later"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_mean_what_the_tables_say() {
        use Class::{Busy, Final, Forgotten, Noise, ProxyAuth, Redirect, Temporary, Unauthorized};
        for (step, status, code, class) in [
            (Step::Token, 401, false, Unauthorized),
            (Step::Token, 403, false, Unauthorized),
            (Step::Token, 400, true, Final),
            (Step::Token, 400, false, Temporary),
            (Step::Register, 403, true, Final),
            (Step::Register, 403, false, Noise),
            (Step::Register, 404, false, Temporary),
            (Step::Dial, 400, false, Noise),
            (Step::Dial, 409, false, Noise),
            (Step::Register, 409, true, Final),
            (Step::Register, 422, true, Final),
            (Step::Register, 404, true, Final),
            (Step::Dial, 404, true, Forgotten),
            (Step::Dial, 400, true, Final),
            (Step::Dial, 301, false, Redirect),
            (Step::Dial, 407, false, ProxyAuth),
            (Step::Register, 408, false, Temporary),
            (Step::Register, 425, true, Temporary),
            (Step::Register, 429, true, Busy),
            (Step::Register, 503, false, Busy),
            (Step::Register, 502, true, Temporary),
            (Step::Dial, 500, false, Temporary),
        ] {
            assert_eq!(
                classify(step, status, code),
                class,
                "{step:?} {status} {code}"
            );
        }
    }

    /// A proxy's 401 must not cost the token, its 404 not the registration, and no code of its makes an end of it.
    #[test]
    fn a_proxys_refusal_says_nothing_of_the_token_or_the_instance() {
        use Class::{Busy, ProxyAuth, Temporary};
        for (status, class) in [
            (400, Temporary),
            (401, Temporary),
            (403, Temporary),
            (404, Temporary),
            (407, ProxyAuth),
            (429, Busy),
            (502, Temporary),
            (503, Busy),
        ] {
            let reply = HttpReply {
                status,
                proxy: Some("proxy.example:3128".to_owned()),
                body: br#"{"code":"FORBIDDEN","error":"no"}"#.to_vec(),
                ..HttpReply::default()
            };
            let failure = Failure::refused(Step::Dial, "wss://m", &reply);
            assert_eq!(failure.class, class, "{status}");
            let text = failure.error.to_string();
            let said = format!("HTTP {status} from the proxy proxy.example:3128");
            assert!(text.contains(&said) && text.contains("`proxy`"), "{text}");
        }
    }

    #[test]
    fn the_message_names_step_url_status_code_and_what_to_do() {
        let reply = HttpReply {
            status: 409,
            body: br#"{"code":"DEPLOYMENT_MODE_MISMATCH","error":"instance is hosted"}"#.to_vec(),
            ..HttpReply::default()
        };
        let failure = Failure::refused(Step::Register, "POST https://m/agents/register", &reply);
        assert_eq!(
            failure.error.to_string(),
            "failed while registering the agent at POST https://m/agents/register: \
             HTTP 409 DEPLOYMENT_MODE_MISMATCH: instance is hosted [DEPLOYMENT_MODE_MISMATCH]. \
             this instance exists in the other deployment mode: deregister it first, or use another `instance_id`"
        );
        assert_eq!(failure.error.kind(), ErrorKind::Remote);
    }
}
