//! Where the mesh is, and what it is shown.

use secrecy::SecretString;

use super::Credentials;
use super::environment::{self, Environment};
use super::fields::{Fields, is_secret};
use crate::error::{Error, ErrorKind};
use crate::protocol::limits::DEFAULT_SVANTIC_URL;
use crate::protocol::origin::BaseUrl;

pub(super) fn svantic_url(
    fields: &mut Fields,
    environment: Environment<'_>,
    allow_insecure: bool,
) -> Result<BaseUrl, Error> {
    let text = fields
        .text("svantic_url")?
        .or_else(|| environment("SVANTIC_URL"))
        .unwrap_or_else(|| DEFAULT_SVANTIC_URL.to_owned());
    BaseUrl::parse(&text, allow_insecure).map_err(|error| {
        // The text itself may hold a password, so it is not quoted.
        Error::new(
            ErrorKind::InvalidArgument,
            "INVALID_URL",
            format!("`svantic_url` was refused: {}", error.reason()),
        )
        .hint("give a URL like https://api.svantic.com, or set SVANTIC_URL; `allow_insecure` permits http to other hosts")
    })
}

pub(super) fn credentials(
    fields: &mut Fields,
    environment: Environment<'_>,
    local: bool,
) -> Result<Credentials, Error> {
    const VARIABLES: [&str; 3] = [
        "SVANTIC_CLIENT_ID",
        "SVANTIC_CLIENT_SECRET",
        "SVANTIC_TOKEN",
    ];
    let client_id = fields.identifier("client_id")?;
    let client_secret = fields.secret("client_secret")?;
    let client_secret_next = fields.secret("client_secret_next")?;
    let token = fields.secret("token")?;
    let provided = fields.flag("token_provider")?.unwrap_or(false);
    let exchanges = client_id.is_some() || client_secret.is_some() || client_secret_next.is_some();
    if (token.is_some() || provided) && exchanges {
        let other = if provided {
            "a token provider"
        } else {
            "a token"
        };
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "AMBIGUOUS_CREDENTIALS",
            format!("the configuration gives both {other} and client credentials"),
        )
        .hint("give `client_id` and `client_secret`, or `token`, or `token_provider`"));
    }
    let from_environment = |name: &str| environment(name).filter(|value| is_secret(value));
    if provided {
        let first = token.or_else(|| from_environment(VARIABLES[2]).map(SecretString::from));
        return Ok(Credentials::Provider(first));
    }
    if let Some(token) = token {
        return Ok(Credentials::Static(token));
    }
    let client_id = client_id.or_else(|| from_environment(VARIABLES[0]));
    let client_secret =
        client_secret.or_else(|| from_environment(VARIABLES[1]).map(SecretString::from));
    if local {
        // Nobody asks for a token where there is no mesh.
        return Ok(Credentials::Provider(None));
    }
    let missing = match (client_id, client_secret) {
        (Some(client_id), Some(client_secret)) => {
            return Ok(Credentials::Exchange {
                client_id,
                client_secret,
                client_secret_next,
            });
        }
        (Some(_), None) => "`client_secret` is missing",
        (None, Some(_)) => "`client_id` is missing",
        (None, None) => match from_environment(VARIABLES[2]) {
            Some(token) if client_secret_next.is_none() => {
                return Ok(Credentials::Static(token.into()));
            }
            _ if client_secret_next.is_some() => "`client_id` and `client_secret` are missing",
            _ => "there are no credentials",
        },
    };
    let mut hint = "give `client_id` and `client_secret` (or set SVANTIC_CLIENT_ID and SVANTIC_CLIENT_SECRET), \
                    or give `token` (or set SVANTIC_TOKEN), or issue tokens yourself with `token_provider`"
        .to_owned();
    if let Some(misspelled) = environment::misspelled(environment, &VARIABLES) {
        hint = format!("{hint}. {misspelled}");
    }
    Err(Error::new(ErrorKind::InvalidArgument, "MISSING_CREDENTIALS", missing).hint(hint))
}
