//! REST replies (sections 2, 3, 6) and the claims of our own token.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::limits::{DEFAULT_TOKEN_LIFETIME, MAX_RETRY_AFTER, QUOTED_BODY_BYTES};

/// The reply to `POST /auth/get_token`.
#[derive(Deserialize)]
pub struct TokenReply {
    /// The JWT. Never shown.
    pub token: String,
}

/// The part of the reply to `POST /agents/register` that the client acts on.
#[derive(Debug, Deserialize)]
pub struct RegisterReply {
    /// Where to dial; `null` when hosted.
    #[serde(default)]
    pub connect_url: Option<String>,
    /// The tenant that the instance belongs to.
    #[serde(default)]
    pub tenant_id: Option<String>,
}

/// The part of the reply to `POST /sessions/init` that must be there.
#[derive(Debug, Deserialize)]
pub struct SessionReply {
    /// The id that the server made.
    pub session_id: String,
}

/// What an error body says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The platform's code, when there is one: its absence may mean that a proxy answered.
    pub code: Option<String>,
    /// The platform's message, or the start of whatever the body was.
    pub message: Option<String>,
}

impl Refusal {
    /// Reads `{code, error}` with `error` a string or `{code, message}`; anything else is quoted.
    pub fn read(body: &[u8]) -> Self {
        let Ok(json) = serde_json::from_slice::<Value>(body) else {
            return Self {
                code: None,
                message: quoted(&String::from_utf8_lossy(body)),
            };
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let error = json.get("error");
        let nested = |key: &str| text(error.and_then(|error| error.get(key)));
        let code = text(json.get("code")).or_else(|| nested("code"));
        let message = text(error)
            .or_else(|| nested("message"))
            .or_else(|| text(json.get("message")))
            // As it is written here, so that no escape hides what it says.
            .unwrap_or_else(|| json.to_string());
        Self {
            code: code.and_then(|code| start_of(&code, MAX_CODE_CHARS)),
            message: quoted(&message),
        }
    }
}

/// The longest code that is believed to be one.
const MAX_CODE_CHARS: usize = 64;

fn quoted(text: &str) -> Option<String> {
    start_of(text, QUOTED_BODY_BYTES)
}

/// The start of a text that came from elsewhere, on one line.
fn start_of(text: &str, chars: usize) -> Option<String> {
    let start: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(chars)
        .collect();
    let start = start.trim();
    (!start.is_empty()).then(|| start.to_owned())
}

/// How long a token lives: `exp − iat`, read without verification since it is our own (section 2).
/// Only the difference counts, so a wrong clock on either side does not matter. A token that ends before it
/// begins has no life at all.
pub fn token_lifetime(jwt: &str) -> Duration {
    claims(jwt)
        .and_then(|claims| Some(Duration::from_secs(claims.exp?.saturating_sub(claims.iat?))))
        .unwrap_or(DEFAULT_TOKEN_LIFETIME)
}

/// The `exp` claim in Unix seconds, for people.
pub fn token_expires_at(jwt: &str) -> Option<u64> {
    claims(jwt)?.exp
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<u64>,
    iat: Option<u64>,
}

fn claims(jwt: &str) -> Option<Claims> {
    let payload = jwt.split('.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Reads `Retry-After`: seconds, or an HTTP date relative to the reply's own `Date` (our clock may be wrong).
pub fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let wait = if let Ok(seconds) = value.trim().parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let until = httpdate::parse_http_date(value.trim()).ok()?;
        let now = httpdate::parse_http_date(date?).ok()?;
        until.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_of_every_documented_shape() {
        let refusal = |code: Option<&str>, message: Option<&str>| Refusal {
            code: code.map(str::to_owned),
            message: message.map(str::to_owned),
        };
        for (body, expected) in [
            (
                r#"{"code":"X","error":"no"}"#,
                refusal(Some("X"), Some("no")),
            ),
            (
                r#"{"error":{"code":"X","message":"no"}}"#,
                refusal(Some("X"), Some("no")),
            ),
            (
                r#"{"code":"X"}"#,
                refusal(Some("X"), Some(r#"{"code":"X"}"#)),
            ),
            (
                "<html>\n502</html>",
                refusal(None, Some("<html> 502</html>")),
            ),
            ("", refusal(None, None)),
            ("[]", refusal(None, Some("[]"))),
        ] {
            assert_eq!(Refusal::read(body.as_bytes()), expected, "{body}");
        }
        let long = Refusal::read("é".repeat(2000).as_bytes()).message.unwrap();
        assert_eq!(long.chars().count(), QUOTED_BODY_BYTES);
    }

    #[test]
    fn the_lifetime_is_a_difference() {
        let jwt = |claims: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(
            token_lifetime(&jwt(r#"{"iat":100,"exp":160}"#)),
            Duration::from_mins(1)
        );
        for dead in [r#"{"iat":160,"exp":100}"#, r#"{"iat":100,"exp":100}"#] {
            assert_eq!(token_lifetime(&jwt(dead)), Duration::ZERO, "{dead}");
        }
        for odd in [r#"{"exp":100}"#, "{}", "x"] {
            assert_eq!(token_lifetime(&jwt(odd)), DEFAULT_TOKEN_LIFETIME, "{odd}");
        }
        for odd in ["", "a.b", "...", "opaque"] {
            assert_eq!(token_lifetime(odd), DEFAULT_TOKEN_LIFETIME, "{odd}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let date = Some("Fri, 01 May 2026 08:00:00 GMT");
        assert_eq!(retry_after("7", None), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("86400", None), Some(MAX_RETRY_AFTER));
        assert_eq!(
            retry_after("Fri, 01 May 2026 08:00:09 GMT", date),
            Some(Duration::from_secs(9))
        );
        assert_eq!(
            retry_after("Fri, 01 May 2026 07:00:00 GMT", date),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after("Fri, 01 May 2026 08:00:09 GMT", None), None);
        assert_eq!(retry_after("soon", date), None);
    }
}
