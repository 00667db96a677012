//! What a hosted agent is configured with: where calls are sent, what proves that they are the mesh's, and where the
//! library itself listens (`protocol.md` 8).

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

use super::environment::Environment;
use super::fields::Fields;
use super::listen::Listen;
use super::{DeploymentMode, Identity};
use crate::error::{Error, ErrorKind};
use crate::protocol::dispatch_auth::DEFAULT_CLOCK_SKEW;

/// The variables that fill in the secret, and the one that follows it.
pub const DISPATCH_SECRET_VARIABLES: [&str; 2] =
    ["SVANTIC_DISPATCH_SECRET", "SVANTIC_DISPATCH_SECRET_NEXT"];

/// The most that `clock_skew_s` may be: every second of it is one more in which a stolen token is good.
const MAX_CLOCK_SKEW_S: u64 = 300;

/// The longest `endpoint_path`.
const MAX_ENDPOINT_PATH_BYTES: usize = 256;

/// What is served by POST, and to whom.
pub struct Hosted {
    /// `local`: there is no mesh, and requests are served from the start.
    pub local: bool,
    /// `default_capability`: answers a message that is text only.
    pub default_capability: Option<String>,
    /// What proves that a dispatch is the mesh's.
    pub secrets: DispatchSecrets,
    /// `dispatch_auth.required`.
    pub auth_required: bool,
    /// `listen`: the library serves by itself.
    pub listen: Option<Listen>,
}

/// The secrets of dispatches; of each kind either may have been used, so that they can be rotated.
#[derive(Clone, Default)]
pub struct DispatchSecrets {
    /// `signing_secret` and `signing_secret_next`.
    pub signing: [Option<SecretString>; 2],
    /// `shared_secret` and `shared_secret_next`.
    pub shared: [Option<SecretString>; 2],
    /// `clock_skew_s`.
    pub clock_skew: Duration,
}

impl DispatchSecrets {
    /// Whether there is none, so that nothing can be verified.
    pub fn is_empty(&self) -> bool {
        self.signing.iter().chain(&self.shared).all(Option::is_none)
    }
}

impl Hosted {
    /// Of a connector that serves nothing.
    pub(super) fn none() -> Self {
        Self {
            local: false,
            default_capability: None,
            secrets: DispatchSecrets::default(),
            auth_required: false,
            listen: None,
        }
    }

    pub(super) fn read(
        fields: &mut Fields,
        environment: Environment<'_>,
        local: bool,
        dispatch_auth: Option<&Value>,
        listen: Option<Listen>,
    ) -> Result<Self, Error> {
        let scheme = dispatch_auth.and_then(|auth| auth["scheme"].as_str());
        let required = dispatch_auth.and_then(|auth| auth["required"].as_bool());
        Ok(Self {
            local,
            default_capability: fields.identifier("default_capability")?,
            secrets: secrets(fields, environment, scheme)?,
            auth_required: required.unwrap_or(false),
            listen,
        })
    }
}

fn secrets(
    fields: &mut Fields,
    environment: Environment<'_>,
    scheme: Option<&str>,
) -> Result<DispatchSecrets, Error> {
    let mut secrets = DispatchSecrets {
        signing: [
            fields.key_text("signing_secret")?,
            fields.key_text("signing_secret_next")?,
        ],
        shared: [
            fields.key_text("shared_secret")?,
            fields.key_text("shared_secret_next")?,
        ],
        clock_skew: clock_skew(fields)?,
    };
    let filled = match scheme {
        Some("shared_secret") => &mut secrets.shared,
        _ => &mut secrets.signing,
    };
    for (secret, variable) in filled.iter_mut().zip(DISPATCH_SECRET_VARIABLES) {
        if secret.is_none() {
            *secret = environment(variable).map(SecretString::from);
        }
    }
    for (first, next, name) in [
        (&secrets.signing[0], &secrets.signing[1], "signing_secret"),
        (&secrets.shared[0], &secrets.shared[1], "shared_secret"),
    ] {
        if first.is_none() && next.is_some() {
            return Err(fields.missing(name, "only the one that follows it is given"));
        }
    }
    Ok(secrets)
}

/// `clock_skew_s`.
pub(crate) fn clock_skew(fields: &mut Fields) -> Result<Duration, Error> {
    let seconds = fields.integer("clock_skew_s", 0..=MAX_CLOCK_SKEW_S)?;
    Ok(seconds.map_or(DEFAULT_CLOCK_SKEW, Duration::from_secs))
}

/// `endpoint_path`, below the path of `public_url`.
pub(super) fn endpoint_path(fields: &mut Fields) -> Result<String, Error> {
    let Some(path) = fields.text("endpoint_path")? else {
        return Ok("/send".to_owned());
    };
    let plain = |b: u8| b.is_ascii_graphic() && !b"?#\\%\"<>{}|^`".contains(&b);
    let good = path.len() > 1
        && path.len() <= MAX_ENDPOINT_PATH_BYTES
        && path.starts_with('/')
        && path.bytes().all(plain)
        && !path.contains("//")
        && !path.split('/').any(|part| part == "." || part == "..")
        && !path.starts_with("/.well-known/");
    if good {
        return Ok(path);
    }
    let expected = "a path such as \"/send\", without a query and without %-escapes";
    Err(fields.wrong("endpoint_path", expected))
}

/// How dispatches reach the agent: as it says, or as follows from what else is said.
pub(super) fn mode(
    fields: &mut Fields,
    identity: &Identity,
    hosted: &Hosted,
) -> Result<DeploymentMode, Error> {
    let choices = [
        ("connected", DeploymentMode::Connected),
        ("hosted", DeploymentMode::Hosted),
    ];
    let explicit = fields.choice("deployment_mode", &choices)?;
    let served = hosted.local || hosted.listen.is_some();
    match (explicit, &identity.public_url) {
        (Some(DeploymentMode::Connected), _) if served => Err(Error::new(
            ErrorKind::InvalidArgument,
            "INVALID_CONFIG",
            "`listen` and `local` are for hosted agents, and `deployment_mode` says \"connected\"",
        )),
        (Some(DeploymentMode::Hosted), None) if !served => {
            Err(fields.missing("public_url", "a hosted agent is reached by POST to its URL"))
        }
        (Some(mode), _) => Ok(mode),
        (None, Some(_)) => Ok(DeploymentMode::Hosted),
        (None, None) if served => Ok(DeploymentMode::Hosted),
        (None, None) => Ok(DeploymentMode::Connected),
    }
}
