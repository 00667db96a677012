//! Dispatch authentication (section 8): whether a dispatch comes from the mesh and is meant for this instance.
//!
//! Pure: the time of day and our secrets come in, a verdict comes out. Whether a good token has been shown
//! before is not said here but by [`crate::replay`]. Everything that is not understood is refused.
//!
//! The JWT is read by hand over `ring` (whose HMAC comes with TLS anyway) and `base64` (strict: no padding, no
//! stray bits). A JWT library would add its own algorithms and lenient JSON, and each rule here would still be
//! on top of it.

mod claims;
mod envelope;
mod members;
mod refusal;
mod secret;
mod token;

#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

pub use refusal::{Code, Refusal};
pub use secret::ComparisonKey;

use claims::Claims;
use envelope::{Envelope, Scheme};

/// The `iss` of every dispatch JWT.
pub const MESH_DISPATCH_JWT_ISSUER: &str = "svantic-mesh";

/// The longest token that is looked at.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;

/// How far ahead `exp` may be: what a stolen token, or a full replay table, can last.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_mins(10);

/// The difference that two clocks may have, unless configured otherwise.
pub const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(30);

/// What the dispatch is held against. `None` is "not known" for names and "not accepted" for secrets.
pub struct Expected<'a> {
    /// Ours: in `aud`, and in the claim of that name where there is one.
    pub instance_id: &'a str,
    /// Must be the claim's, where both exist.
    pub agent_type: Option<&'a str>,
    /// Must be the claim's, where both exist.
    pub tenant_id: Option<&'a str>,
    /// Its UTF-8 bytes are the key of `svantic_jwt`.
    pub signing_secret: Option<&'a str>,
    /// The token of `shared_secret`.
    pub shared_secret: Option<&'a str>,
    /// How wrong a clock may be.
    pub clock_skew: Duration,
}

/// What an accepted dispatch said about itself, and was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// `svantic_jwt` or `shared_secret`.
    pub scheme: &'static str,
    /// The claim; `None` if the token names none.
    pub tenant_id: Option<String>,
    /// The claim; `None` if the token names none.
    pub agent_type: Option<String>,
    /// Ours, which the token is meant for.
    pub instance_id: String,
    /// The claim; with a shared secret that of the request, if it has one.
    pub dispatch_id: Option<String>,
    /// `None` with a shared secret, which does not end.
    pub life: Option<Life>,
}

/// For how long a token could be shown again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// `exp`: Unix seconds.
    pub expires_at: u64,
    /// From now until the token is refused as expired.
    pub left: Duration,
}

/// Verifies the `svantic_auth` of a dispatch's data part. `unix_time` is the time of day, since 1970.
pub fn verify(
    data_json: &str,
    expected: &Expected<'_>,
    comparison: &ComparisonKey,
    unix_time: Duration,
) -> Result<Verified, Refusal> {
    let Envelope {
        scheme,
        token,
        request_dispatch_id,
    } = envelope::read(data_json)?;
    let (scheme, claims) = match scheme {
        Scheme::SharedSecret => {
            let secret = expected.shared_secret.ok_or(Refusal::new(
                Code::UnsupportedScheme,
                "the dispatch is authenticated by \"shared_secret\", and no shared secret is configured",
            ))?;
            if !comparison.same(secret.as_bytes(), token.as_bytes()) {
                return Err(Refusal::new(
                    Code::SecretMismatch,
                    "the shared secret of the dispatch is not ours",
                ));
            }
            let claims = Claims {
                tenant_id: None,
                agent_type: None,
                dispatch_id: request_dispatch_id,
                life: None,
            };
            ("shared_secret", claims)
        }
        Scheme::SvanticJwt => {
            let secret = expected.signing_secret.ok_or(Refusal::new(
                Code::UnsupportedScheme,
                "the dispatch is authenticated by \"svantic_jwt\", and no signing secret is configured",
            ))?;
            let claims_json = token::verified_claims(&token, secret.as_bytes())?;
            let claims = claims::check(
                &claims_json,
                expected,
                request_dispatch_id.as_deref(),
                unix_time,
            )?;
            ("svantic_jwt", claims)
        }
    };
    Ok(Verified {
        scheme,
        tenant_id: claims.tenant_id,
        agent_type: claims.agent_type,
        instance_id: expected.instance_id.to_owned(),
        dispatch_id: claims.dispatch_id,
        life: claims.life,
    })
}
