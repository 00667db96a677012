//! Why a dispatch is refused.

/// The stable codes of section 8, and that of a full replay table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// There is no `svantic_auth`.
    MissingEnvelope,
    /// The data part, the envelope or the token is not what it must be.
    MalformedEnvelope,
    /// A scheme that does not exist, or for which no secret is configured.
    UnsupportedScheme,
    /// Not signed by HS256 with the signing secret.
    BadSignature,
    /// Outside of its time: past `exp`, before `nbf`, or with an `exp` too far ahead.
    Expired,
    /// `iss` is not the mesh.
    WrongIssuer,
    /// Meant for another instance, agent type, tenant or dispatch.
    WrongAudience,
    /// The shared secret is another.
    SecretMismatch,
    /// This `dispatch_id` has been accepted before.
    Replayed,
    /// So many live ids are remembered that another could not be.
    ReplayTableFull,
}

impl Code {
    /// The code as the platform's SDK has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingEnvelope => "missing_envelope",
            Self::MalformedEnvelope => "malformed_envelope",
            Self::UnsupportedScheme => "unsupported_scheme",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::SecretMismatch => "secret_mismatch",
            Self::Replayed => "replayed",
            Self::ReplayTableFull => "replay_table_full",
        }
    }
}

/// A refusal. Its text is fixed, so nothing of a token, a secret or a stranger's words can be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What programs act on.
    pub code: Code,
    /// What people read.
    pub why: &'static str,
}

impl Refusal {
    /// A refusal.
    pub const fn new(code: Code, why: &'static str) -> Self {
        Self { code, why }
    }

    pub(super) const fn malformed(why: &'static str) -> Self {
        Self::new(Code::MalformedEnvelope, why)
    }
}
