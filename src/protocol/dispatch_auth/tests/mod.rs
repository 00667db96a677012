//! Dispatches that are good, and how they are made here: by hand, after RFC 7515, with nothing of what is tested.

pub(crate) mod forged;
mod rules;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;

use super::*;

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const SECRET: &str = "a signing secret, not only ASCII: \u{e4}";
pub(crate) const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The claims of a good token, each as JSON.
const CLAIMS: &[(&str, &str)] = &[
    ("iss", "\"svantic-mesh\""),
    ("aud", "\"agent:i1\""),
    ("tenant_id", "\"t1\""),
    ("agent_type", "\"desk\""),
    ("instance_id", "\"i1\""),
    ("dispatch_id", "\"d1\""),
    ("exp", "1800000060"),
];

fn object(members: &[(&str, &str)]) -> String {
    let mut json = String::from("{");
    for (at, (name, value)) in members.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(json, "{comma}\"{name}\":{value}").unwrap();
    }
    json + "}"
}

/// Good claims but for this one.
pub(crate) fn with(name: &str, value: &str) -> String {
    object(&[&without_member(name)[..], &[(name, value)]].concat())
}

/// Good claims, and behind them this one, which may be there already.
pub(crate) fn and(name: &str, value: &str) -> String {
    object(&[CLAIMS, &[(name, value)]].concat())
}

pub(crate) fn without(name: &str) -> String {
    object(&without_member(name))
}

fn without_member(name: &str) -> Vec<(&'static str, &'static str)> {
    let mut members = CLAIMS.to_vec();
    members.retain(|(known, _)| *known != name);
    members
}

pub(crate) fn good_claims() -> String {
    object(CLAIMS)
}

pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `parts` with their signature.
pub(crate) fn sealed(secret: &str, parts: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("{parts}.{}", encoded(hmac::sign(&key, parts.as_bytes())))
}

pub(crate) fn signed(header: &str, claims: impl AsRef<[u8]>) -> String {
    sealed(SECRET, &format!("{}.{}", encoded(header), encoded(claims)))
}

pub(crate) fn good_token() -> String {
    signed(HEADER, good_claims())
}

pub(crate) fn expected() -> Expected<'static> {
    Expected {
        instance_id: "i1",
        agent_type: Some("desk"),
        tenant_id: Some("t1"),
        signing_secret: Some(SECRET),
        shared_secret: Some("hush"),
        clock_skew: DEFAULT_CLOCK_SKEW,
    }
}

pub(crate) fn data(scheme: &str, token: &str) -> String {
    json!({"skill_id": "s", "args": {}, "svantic_auth": {"scheme": scheme, "token": token}})
        .to_string()
}

pub(crate) fn verify_as(expected: &Expected<'_>, data_json: &str) -> Result<Verified, Refusal> {
    let comparison = ComparisonKey::random().unwrap();
    verify(data_json, expected, &comparison, Duration::from_secs(NOW))
}

pub(crate) fn verify_at(unix_time: Duration, token: &str) -> Result<Verified, Refusal> {
    let comparison = ComparisonKey::random().unwrap();
    verify(
        &data("svantic_jwt", token),
        &expected(),
        &comparison,
        unix_time,
    )
}

pub(crate) fn verify_token(token: &str) -> Result<Verified, Refusal> {
    verify_at(Duration::from_secs(NOW), token)
}

pub(crate) fn code(result: Result<Verified, Refusal>) -> Option<Code> {
    result.err().map(|refusal| refusal.code)
}
