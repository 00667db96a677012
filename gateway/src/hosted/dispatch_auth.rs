//! `svantic_auth`: the proof that a dispatch is the mesh's (protocol.md 8), good or forged.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use super::forgery::Forgery;
use crate::{records::AgentRecord, timestamp, token};

const ISSUER: &str = "svantic-mesh";
/// As long as a dispatch may take end to end (protocol.md 4).
const LIFETIME_S: u64 = 60;
const HOUR_S: u64 = 3_600;

/// What an envelope is made of.
pub(crate) struct Proof<'a> {
    pub(crate) agent: &'a AgentRecord,
    pub(crate) secret: &'a str,
    pub(crate) dispatch_id: &'a str,
    /// A good token for the mesh's own API.
    pub(crate) registration_token: &'a dyn Fn() -> String,
}

impl Proof<'_> {
    /// The envelope; `None` if it is what the forgery leaves out.
    pub(crate) fn envelope(&self, forgery: Option<Forgery>) -> Option<Value> {
        let now = timestamp::unix_seconds();
        let scheme = self.agent.dispatch_auth["scheme"].as_str();
        if scheme == Some("shared_secret") {
            let token = match forgery {
                None | Some(Forgery::Replayed | Forgery::ReplayedOtherBody) => {
                    Some(self.secret.to_owned())
                }
                Some(Forgery::BadSignature) => Some(format!("not-{}", self.secret)),
                Some(Forgery::FlippedBit) => Some(flipped(self.secret)),
                Some(_) => None,
            };
            if let Some(token) = token {
                return Some(json!({"scheme": "shared_secret", "token": token}));
            }
        }
        if forgery == Some(Forgery::MissingEnvelope) {
            return None;
        }
        let mut envelope = json!({
            "scheme": "svantic_jwt", "token": self.token(forgery, now),
            "expires_at": timestamp::at(now + LIFETIME_S),
        });
        match forgery {
            Some(Forgery::MalformedEnvelope) => {
                envelope["token"] = Value::Null;
            }
            Some(Forgery::UnsupportedScheme) => envelope["scheme"] = "mesh_pass".into(),
            _ => {}
        }
        Some(envelope)
    }

    fn token(&self, forgery: Option<Forgery>, now: u64) -> String {
        let id = &self.agent.instance_id;
        let mut claims = json!({
            "iss": ISSUER, "aud": format!("agent:{id}"), "tenant_id": self.agent.tenant_id,
            "agent_type": self.agent.agent_type, "instance_id": id, "dispatch_id": self.dispatch_id,
            "iat": now, "exp": now + LIFETIME_S,
        });
        let mut set = |name: &str, value: Value| claims[name] = value;
        let mut algorithm = "HS256";
        match forgery {
            Some(Forgery::RegistrationToken) => return (self.registration_token)(),
            Some(Forgery::AlgNone) => algorithm = "none",
            Some(Forgery::AlgRs256) => algorithm = "RS256",
            Some(Forgery::AlgLowerCase) => algorithm = "hs256",
            Some(Forgery::Expired) => {
                set("iat", (now - HOUR_S - LIFETIME_S).into());
                set("exp", (now - HOUR_S).into());
            }
            Some(Forgery::FarExpiry) => set("exp", (now + HOUR_S).into()),
            Some(Forgery::NoExpiry) => drop(claims.as_object_mut().map(|all| all.remove("exp"))),
            Some(Forgery::WrongIssuer) => set("iss", "svantic-mash".into()),
            Some(Forgery::WrongAudience) => set("aud", "agent:somebody-else".into()),
            Some(Forgery::WrongTenant) => set("tenant_id", "another-tenant".into()),
            Some(Forgery::WrongInstance) => set("instance_id", "somebody-else".into()),
            Some(Forgery::WrongAgentType) => set("agent_type", "another-type".into()),
            _ => {}
        }
        let secret = match forgery {
            Some(Forgery::BadSignature) => format!("not-{}", self.secret),
            _ => self.secret.to_owned(),
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let header = json!({"alg": algorithm, "typ": "JWT"}).to_string();
        let signed = token::sign(&header, claims.to_string().as_bytes(), &key);
        match forgery {
            Some(Forgery::AlgNone) => without_signature(&signed),
            Some(Forgery::FlippedBit) => with_a_flipped_bit(&signed),
            _ => signed,
        }
    }
}

/// The text with the lowest bit of its last byte flipped.
fn flipped(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn without_signature(token: &str) -> String {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    format!("{signed}.")
}

fn with_a_flipped_bit(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    if let Some(first) = signature.first_mut() {
        *first ^= 1;
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
