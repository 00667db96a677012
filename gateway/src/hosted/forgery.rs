//! What can be wrong with a dispatch's proof of where it comes from (security.md S-10, S-11).

use serde::{Deserialize, Serialize};

macro_rules! forgeries {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A dispatch that an agent must refuse before any handler runs, or must not run again.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Forgery {
            $($(#[$doc])+ $name,)+
        }

        impl Forgery {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

forgeries! {
    /// No `svantic_auth` at all.
    MissingEnvelope,
    /// `svantic_auth` without a token.
    MalformedEnvelope,
    /// A scheme that nobody knows.
    UnsupportedScheme,
    /// Signed with another secret; under `shared_secret` another secret.
    BadSignature,
    /// One bit of the right signature is another; under `shared_secret` one of the secret's last byte.
    FlippedBit,
    /// `alg` is `none`, and there is no signature.
    AlgNone,
    /// `alg` is `RS256` over an HMAC with the right secret.
    AlgRs256,
    /// `alg` is `hs256` over an HMAC with the right secret.
    AlgLowerCase,
    /// A good token for the mesh's own API, such as the agent registers with.
    RegistrationToken,
    /// `exp` was an hour ago.
    Expired,
    /// No `exp`.
    NoExpiry,
    /// `exp` is an hour ahead.
    FarExpiry,
    /// Another `iss`.
    WrongIssuer,
    /// `aud` is another instance.
    WrongAudience,
    /// Another `tenant_id`.
    WrongTenant,
    /// Another `instance_id` under the right `aud`.
    WrongInstance,
    /// Another `agent_type`.
    WrongAgentType,
    /// A dispatch again, byte for byte: not refused, but answered without a second run of the handler.
    Replayed,
    /// The token of another dispatch, with other arguments.
    ReplayedOtherBody,
}

impl Forgery {
    /// As JSON and the command line write it.
    pub fn name(self) -> String {
        let json = serde_json::to_value(self).unwrap_or_default();
        json.as_str().unwrap_or_default().to_owned()
    }

    /// Whether it takes a good dispatch to begin with.
    pub fn is_replay(self) -> bool {
        matches!(self, Self::Replayed | Self::ReplayedOtherBody)
    }
}
