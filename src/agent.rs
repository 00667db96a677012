//! What the agent can do: its capabilities, their schemas, and the card that announces them
//! (`protocol.md` sections 1 and 3).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::{DeploymentMode, Fields, Identity};
use crate::error::{Error, ErrorKind};
use crate::protocol::a2a;

/// The longest explanation of a schema violation that goes on the wire.
const MAX_VIOLATION_CHARS: usize = 512;

/// One thing the agent can do.
pub struct Capability {
    /// Unique, `snake_case`.
    pub name: String,
    /// Position in the agent's list; the application keeps its handlers by it.
    pub index: usize,
    description: String,
    /// The schema as JSON text; a tree of it takes many times the room, and it is asked for with a registration.
    parameters: Box<str>,
    tags: Vec<String>,
    /// `None` where the schema accepts every object.
    validator: Option<svantic_schema::Schema>,
}

impl Capability {
    /// Reads `{"name","description","parameters"?,"tags"?}`.
    pub fn parse(spec_json: &str) -> Result<Self, Error> {
        let known = ["name", "description", "parameters", "tags"];
        let mut fields = Fields::parse(spec_json, "capability", &known)?;
        let name = fields
            .identifier("name")?
            .ok_or_else(|| fields.missing("name", "the skill_id that the mesh calls"))?;
        if !is_snake_case(&name) {
            return Err(invalid(format!(
                "the capability name `{name}` is not snake_case (a-z, 0-9 and _, starting with a letter)"
            )));
        }
        let description = fields
            .text("description")?
            .ok_or_else(|| fields.missing("description", "what it does, for whoever chooses it"))?;
        let parameters = fields
            .object("parameters")?
            .unwrap_or_else(|| json!({"type": "object"}));
        if parameters.get("type").and_then(Value::as_str) != Some("object") {
            return Err(invalid(format!(
                "the `parameters` of capability `{name}` must be a JSON Schema with \"type\":\"object\""
            )));
        }
        let accepts_every_object = parameters == json!({"type": "object"});
        let validator = if accepts_every_object {
            None
        } else {
            Some(svantic_schema::Schema::new(&parameters).map_err(|error| {
                invalid(format!(
                    "the `parameters` of capability `{name}` are no JSON Schema: {error}"
                ))
            })?)
        };
        Ok(Self {
            name,
            index: 0,
            description,
            parameters: parameters.to_string().into(),
            tags: fields.texts("tags")?.unwrap_or_default(),
            validator,
        })
    }

    /// Checks arguments, already known to be a JSON object. The error says which part is wrong and why.
    pub fn check_args(&self, args_json: &str) -> Result<(), String> {
        let Some(validator) = &self.validator else {
            return Ok(());
        };
        let args: Value = serde_json::from_str(args_json).map_err(|error| error.to_string())?;
        let Err(violation) = validator.check(&args) else {
            return Ok(());
        };
        let text = format!("args{}: {}", violation.path, violation.text);
        Err(text.chars().take(MAX_VIOLATION_CHARS).collect())
    }

    fn parameters(&self) -> Value {
        // Written from a value.
        serde_json::from_str(&self.parameters).unwrap_or_default()
    }

    fn skill(&self) -> Value {
        json!({
            "id": self.name,
            "name": self.name,
            "description": self.description,
            "tags": self.tags,
            "parameters": self.parameters(),
        })
    }

    fn tool(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters(),
            "tags": self.tags,
        })
    }
}

fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, "INVALID_CAPABILITY", message)
}

/// Makes room for one more, doubling what there is: a vector by itself begins with room for four, and most agents have one
/// capability.
pub(crate) fn room_for_one<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len().max(1));
    }
}

/// An identity and its capabilities. Capabilities are only ever added.
pub struct Agent {
    identity: Identity,
    mode: DeploymentMode,
    base_url: String,
    capabilities: Vec<Arc<Capability>>,
    /// The positions of the capabilities in the order of their names.
    by_name: Vec<usize>,
    /// Somebody else's words for the card, where no agent of ours is behind it.
    foreign_card: Option<Box<Value>>,
}

impl Agent {
    /// An agent without capabilities. `base_url` is the mesh's.
    pub fn new(identity: Identity, mode: DeploymentMode, base_url: &str) -> Self {
        Self {
            identity,
            mode,
            base_url: base_url.to_owned(),
            capabilities: Vec::new(),
            by_name: Vec::new(),
            foreign_card: None,
        }
    }

    /// A generated instance id is another agent's from now on: this one has left the mesh for good.
    pub fn leave_place(&mut self) {
        self.identity.place = None;
    }

    /// Who the agent is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How dispatches reach it.
    pub fn mode(&self) -> DeploymentMode {
        self.mode
    }

    /// How many capabilities it has.
    pub fn len(&self) -> usize {
        self.capabilities.len()
    }

    /// Whether it has none yet.
    pub fn is_empty(&self) -> bool {
        self.capabilities.is_empty()
    }

    /// Adds a capability and returns its index.
    pub fn define(&mut self, mut capability: Capability) -> Result<usize, Error> {
        let Err(place) = self.place_of(&capability.name) else {
            return Err(invalid(format!(
                "the agent already has a capability `{}`",
                capability.name
            )));
        };
        let index = self.capabilities.len();
        capability.index = index;
        room_for_one(&mut self.by_name);
        self.by_name.insert(place, index);
        room_for_one(&mut self.capabilities);
        self.capabilities.push(Arc::new(capability));
        Ok(index)
    }

    /// The capability that the mesh calls `skill_id`.
    pub fn capability(&self, skill_id: &str) -> Option<&Arc<Capability>> {
        let place = self.place_of(skill_id).ok()?;
        Some(&self.capabilities[self.by_name[place]])
    }

    /// Where a name is among the others, or where it would be.
    fn place_of(&self, name: &str) -> Result<usize, usize> {
        let name_of = |index: &usize| self.capabilities[*index].name.as_str();
        self.by_name
            .binary_search_by(|index| name_of(index).cmp(name))
    }

    /// Shows this card from now on, whatever the identity and the capabilities are.
    pub fn show_card(&mut self, card: Value) {
        self.foreign_card = Some(Box::new(card));
    }

    /// The A2A 0.3 card (section 3); that of a hosted agent says beside what clients of A2A 1.0 read.
    pub fn card(&self) -> Value {
        self.card_at(None)
    }

    /// The same for whoever reached a hosted agent at this base URL, if it knows none of its own.
    pub fn card_at(&self, reached_at: Option<&str>) -> Value {
        if let Some(card) = &self.foreign_card {
            return (**card).clone();
        }
        let identity = &self.identity;
        // A connected agent has no URL of its own; the card's field is required, so it names the way through the mesh.
        let base = identity.public_url.as_deref().or(reached_at);
        let url = match base {
            Some(base) => format!("{base}{}", identity.endpoint_path),
            None => format!("{}/agents/{}/send", self.base_url, identity.instance_id),
        };
        let mut card = json!({
            "name": identity.name,
            "description": identity.description,
            "url": url,
            "version": identity.version,
            "protocolVersion": "0.3.0",
            "defaultInputModes": ["application/json"],
            "defaultOutputModes": ["application/json"],
            "capabilities": {
                "streaming": self.mode == DeploymentMode::Hosted,
                "pushNotifications": false,
                "stateTransitionHistory": false,
            },
            "skills": self.capabilities.iter().map(|c| c.skill()).collect::<Vec<_>>(),
        });
        if let Some(context) = &identity.context {
            card["context"] = (**context).clone();
        }
        match self.mode {
            DeploymentMode::Hosted => a2a::card(card),
            DeploymentMode::Connected => card,
        }
    }

    /// The body of `POST /agents/register` (section 3).
    pub fn registration(&self) -> Value {
        let identity = &self.identity;
        let mut body = json!({
            "agent_type": identity.agent_type,
            "instance_id": identity.instance_id,
            "deployment_mode": self.mode.as_str(),
            "agent_card": self.card(),
            "tools": self.capabilities.iter().map(|c| c.tool()).collect::<Vec<_>>(),
            "max_concurrent_sessions": identity.max_concurrent_sessions,
        });
        if self.mode == DeploymentMode::Hosted {
            body["url"] = json!(identity.public_url);
        }
        for (key, value) in [
            ("mcp_servers", &identity.mcp_servers),
            ("dispatch_auth", &identity.dispatch_auth),
            ("learning", &identity.learning),
        ] {
            if let Some(value) = value {
                body[key] = (**value).clone();
            }
        }
        body
    }

    /// The payload of `hello` (section 4).
    pub fn hello(&self) -> Value {
        json!({
            "instance_id": self.identity.instance_id,
            "agent_type": self.identity.agent_type,
            "agent_version": self.identity.version,
            "sdk_version": env!("CARGO_PKG_VERSION"),
            "agent_card": self.card(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked_and_the_failing_path_named() {
        let spec = r#"{"name":"add","description":"d","parameters":{"type":"object",
            "properties":{"a":{"type":"number"},"list":{"type":"array","items":{"type":"string"}}},"required":["a"]}}"#;
        let add = Capability::parse(spec).unwrap();
        assert_eq!(add.check_args(r#"{"a":1}"#), Ok(()));
        assert!(add.check_args("{}").unwrap_err().contains("\"a\""));
        let nested = add.check_args(r#"{"a":1,"list":["x",7]}"#).unwrap_err();
        assert!(nested.starts_with("args/list/1:"), "{nested}");
        let hidden = add.check_args(r#"{"a":"sekret"}"#).unwrap_err();
        assert!(
            hidden.starts_with("args/a:") && !hidden.contains("sekret"),
            "{hidden}"
        );
    }

    #[test]
    fn what_is_no_capability_is_refused() {
        for (spec, part) in [
            ("[]", "not an object"),
            (r#"{"description":"d"}"#, "`name`"),
            (r#"{"name":"a"}"#, "`description`"),
            (r#"{"name":"Find-Order","description":"d"}"#, "snake_case"),
            (
                r#"{"name":"a","description":"d","parameters":{"type":"array"}}"#,
                "\"type\":\"object\"",
            ),
            (
                r#"{"name":"a","description":"d","parameters":{}}"#,
                "\"type\":\"object\"",
            ),
            (
                r#"{"name":"a","description":"d","parameters":{"type":"object","properties":5}}"#,
                "no JSON Schema",
            ),
            (
                r#"{"name":"a","description":"d","parameters":{"type":"object","$ref":"https://x.example/y"}}"#,
                "no JSON Schema",
            ),
            (
                r#"{"name":"a","description":"d","handler":1}"#,
                "unknown key",
            ),
        ] {
            let error = Capability::parse(spec).err().expect(spec).to_string();
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
}
