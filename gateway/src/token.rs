//! The mesh's JWT: HS256, made and checked here (protocol.md 2).
//!
//! `ring` does the HMAC, since rustls brings it anyway; a JWT crate would add RSA and three curves to the build for
//! an algorithm that is pinned to HS256.

use std::{
    sync::{PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::timestamp;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// What a token says (protocol.md 2).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) tenant_id: String,
    pub(crate) agent_type: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) sub: String,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
    pub(crate) credential_id: String,
    /// Makes two tokens of one second differ, so that a test can tell a renewed token from the old one.
    pub(crate) jti: String,
}

impl Claims {
    pub(crate) fn new(tenant_id: &str, agent_type: &str, client_id: &str, ttl: Duration) -> Self {
        let iat = timestamp::unix_seconds();
        Self {
            tenant_id: tenant_id.to_owned(),
            agent_type: agent_type.to_owned(),
            scopes: ["agents:connect", "agents:register", "sessions:write"]
                .map(str::to_owned)
                .to_vec(),
            sub: client_id.to_owned(),
            iat,
            exp: iat.saturating_add(ttl.as_secs()),
            credential_id: format!("cred-{client_id}"),
            jti: uuid::Uuid::new_v4().simple().to_string(),
        }
    }
}

/// Signs and checks; the key is random for each gateway, so that a token of another one is refused.
pub(crate) struct Signer {
    key: RwLock<hmac::Key>,
}

/// A compact JWS, whatever its header says, signed with HMAC-SHA-256.
pub(crate) fn sign(header: &str, body: &[u8], key: &hmac::Key) -> String {
    let (header, body) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(body));
    let signed = format!("{header}.{body}");
    let tag = hmac::sign(key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn random_key() -> hmac::Key {
    let mut secret = [0_u8; 32];
    for half in secret.chunks_exact_mut(16) {
        half.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    }
    hmac::Key::new(hmac::HMAC_SHA256, &secret)
}

impl Signer {
    pub(crate) fn random() -> Self {
        Self {
            key: RwLock::new(random_key()),
        }
    }

    /// Makes every token that was given out so far a bad one.
    pub(crate) fn invalidate_all(&self) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = random_key();
    }

    fn key(&self) -> RwLockReadGuard<'_, hmac::Key> {
        self.key.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sign(&self, claims: &Claims) -> String {
        let body = serde_json::to_vec(claims).unwrap_or_default();
        sign(HEADER, &body, &self.key())
    }

    /// The claims of a token that is ours and has not expired.
    pub(crate) fn verify(&self, token: &str) -> Option<Claims> {
        let (signed, tag) = token.rsplit_once('.')?;
        let (header, body) = signed.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.key(), signed.as_bytes(), &tag).ok()?;
        if URL_SAFE_NO_PAD.decode(header).ok()? != HEADER.as_bytes() {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        (claims.exp > timestamp::unix_seconds()).then_some(claims)
    }

    /// Compares two secrets without telling by the time taken where they differ.
    pub(crate) fn same_secret(&self, left: &str, right: &str) -> bool {
        let key = self.key();
        let tag = hmac::sign(&key, left.as_bytes());
        hmac::verify(&key, right.as_bytes(), tag.as_ref()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_untouched_unexpired_token_of_this_gateway_is_good() {
        let (ours, other) = (Signer::random(), Signer::random());
        let claims = Claims::new("t", "desk", "c", Duration::from_secs(50));
        let token = ours.sign(&claims);
        assert_eq!(ours.verify(&token).unwrap().agent_type, "desk");
        assert!(other.verify(&token).is_none());
        let expired = Claims::new("t", "desk", "c", Duration::ZERO);
        assert!(ours.verify(&ours.sign(&expired)).is_none());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1;
            let touched = String::from_utf8(bytes).unwrap();
            assert!(ours.verify(&touched).is_none(), "byte {at}");
        }
        ours.invalidate_all();
        assert!(ours.verify(&token).is_none());
        assert!(ours.verify(&ours.sign(&claims)).is_some());
        assert!(ours.verify("").is_none());
        assert!(ours.verify("a.b.c").is_none());
    }
}
