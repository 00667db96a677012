//! What is to be compared, as `cargo xtask bench` writes it into a file.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;

use crate::Failure;

/// What a client stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This library.
    Ours,
    /// What one would use without it.
    Peer,
    /// The least that any client could cost.
    Floor,
}

impl Kind {
    /// As files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Peer => "peer",
            Self::Floor => "floor",
        }
    }
}

/// A client and how it is started.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As the tables have it.
    pub name: String,
    /// What it stands for.
    pub kind: Kind,
    /// Program and arguments; `{port}` is the mesh's.
    pub command: Vec<String>,
    /// What it gets in its environment besides.
    pub environment: Vec<(String, String)>,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Plan {
    /// In the order of the tables.
    pub clients: Vec<Entry>,
    /// The name of the client that others are compared with.
    pub baseline: String,
    /// How often each is started anew and measured.
    pub rounds: u64,
    /// How long each kind of work is measured.
    pub span: Duration,
    /// When and on what: for the heading.
    pub heading: String,
    /// What is missing and why.
    pub left_out: Vec<String>,
}

impl Plan {
    /// From a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read or says something else.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::new(format!("{}: {what}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(&error.to_string()))?;
        let plan: Value = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
        let clients = list(&plan["clients"]).map(entry).collect::<Option<_>>();
        Ok(Self {
            clients: clients.ok_or_else(|| wrong("a client has no name, kind or command"))?,
            baseline: text_of(&plan["baseline"]).unwrap_or_default(),
            rounds: plan["rounds"].as_u64().unwrap_or(1),
            span: Duration::from_millis(plan["ms"].as_u64().unwrap_or(200)),
            heading: text_of(&plan["heading"]).unwrap_or_default(),
            left_out: list(&plan["left_out"]).filter_map(text_of).collect(),
        })
    }
}

fn entry(value: &Value) -> Option<Entry> {
    let pair = |(name, value): (&String, &Value)| Some((name.clone(), text_of(value)?));
    let environment = value["environment"].as_object().into_iter().flatten();
    Some(Entry {
        name: text_of(&value["name"])?,
        kind: match value["kind"].as_str()? {
            "ours" => Kind::Ours,
            "peer" => Kind::Peer,
            "floor" => Kind::Floor,
            _ => return None,
        },
        command: list(&value["command"])
            .map(text_of)
            .collect::<Option<_>>()?,
        environment: environment.map(pair).collect::<Option<_>>()?,
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One in which "peer" is what others are compared with.
    pub(crate) fn plan() -> Plan {
        Plan {
            clients: Vec::new(),
            baseline: "peer".to_owned(),
            rounds: 3,
            span: Duration::ZERO,
            heading: "a day: a <machine>".to_owned(),
            left_out: vec!["Python: not there".to_owned()],
        }
    }

    #[test]
    fn a_plan_is_read_as_it_is_written() {
        let file = std::env::temp_dir().join(format!("svantic-plan-{}.json", std::process::id()));
        let client =
            r#"{"name":"a","kind":"ours","command":["x","{port}"],"environment":{"B":"c"}}"#;
        fs::write(
            &file,
            format!(r#"{{"clients":[{client}],"rounds":2,"ms":50}}"#),
        )
        .unwrap();
        let plan = Plan::read(&file);
        fs::write(
            &file,
            r#"{"clients":[{"name":"a","kind":"theirs","command":[]}]}"#,
        )
        .unwrap();
        let wrong = Plan::read(&file);
        fs::remove_file(&file).unwrap();
        let plan = plan.unwrap();
        assert_eq!((plan.rounds, plan.span), (2, Duration::from_millis(50)));
        let client = &plan.clients[0];
        assert_eq!((client.name.as_str(), client.kind), ("a", Kind::Ours));
        assert_eq!(client.command, ["x", "{port}"]);
        assert_eq!(client.environment, [("B".to_owned(), "c".to_owned())]);
        assert!(wrong.is_err());
    }
}
