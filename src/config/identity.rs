//! Who the agent is.

use serde_json::Value;

use super::Identity;
use super::environment::Environment;
use super::fields::{self, Fields};
use super::hosted;
use super::place::Place;
use crate::error::{Error, ErrorKind};
use crate::protocol::origin::BaseUrl;

pub(super) fn identity(
    fields: &mut Fields,
    environment: Environment<'_>,
    allow_insecure: bool,
    own_url: impl FnOnce() -> Result<Option<String>, Error>,
) -> Result<Identity, Error> {
    let name = fields
        .identifier("name")?
        .ok_or_else(|| fields.missing("name", "the agent's name"))?;
    let description = fields
        .text("description")?
        .ok_or_else(|| fields.missing("description", "what the agent does, in a sentence"))?;
    let public_url = fields.text("public_url")?;
    let public_url = match public_url {
        None => own_url()?,
        Some(text) => match BaseUrl::parse(&text, allow_insecure) {
            Ok(url) => Some(url.as_str().to_owned()),
            Err(error) => {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "INVALID_URL",
                    format!("`public_url` was refused: {}", error.reason()),
                ));
            }
        },
    };
    let chosen = fields
        .identifier("instance_id")?
        .or_else(|| environment("SVANTIC_INSTANCE_ID").filter(|id| fields::is_identifier(id)));
    let (instance_id, place) = if let Some(id) = chosen {
        (id, None)
    } else {
        let place = Place::take(&generated_instance_id(public_url.as_deref()));
        (place.id().to_owned(), Some(place))
    };
    Ok(Identity {
        agent_type: fields
            .identifier("agent_type")?
            .unwrap_or_else(|| name.clone()),
        name,
        description,
        version: fields
            .identifier("version")?
            .unwrap_or_else(|| "1.0.0".to_owned()),
        instance_id,
        place,
        public_url,
        endpoint_path: hosted::endpoint_path(fields)?,
        context: fields.object("context")?.map(Box::new),
        learning: fields.object("learning")?.map(Box::new),
        mcp_servers: fields.object("mcp_servers")?.map(Box::new),
        dispatch_auth: dispatch_auth(fields)?.map(Box::new),
        max_concurrent_sessions: fields
            .integer("max_concurrent_sessions", 0..=1_000_000)?
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(0),
    })
}

fn dispatch_auth(fields: &mut Fields) -> Result<Option<Value>, Error> {
    let Some(value) = fields.object("dispatch_auth")? else {
        return Ok(None);
    };
    let mut inner = Fields::parse(
        &value.to_string(),
        "`dispatch_auth`",
        &["scheme", "required"],
    )?;
    let schemes = ["svantic_jwt", "shared_secret"].map(|scheme| (scheme, scheme));
    let scheme = inner
        .choice("scheme", &schemes)?
        .ok_or_else(|| inner.missing("scheme", "\"svantic_jwt\" or \"shared_secret\""))?;
    let required = inner.flag("required")?.unwrap_or(false);
    Ok(Some(
        serde_json::json!({"scheme": scheme, "required": required}),
    ))
}

/// `<hostname>-<port>` when the agent has a URL of its own, else `<hostname>-<pid>`.
fn generated_instance_id(public_url: Option<&str>) -> String {
    let host: String = gethostname::gethostname()
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_graphic)
        .take(200)
        .collect();
    let port = public_url
        .and_then(|text| url::Url::parse(text).ok())
        .and_then(|url| url.port_or_known_default());
    match port {
        Some(port) => format!("{host}-{port}"),
        None => format!("{host}-{}", std::process::id()),
    }
}
