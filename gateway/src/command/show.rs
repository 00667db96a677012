//! How agents and live frames look on a terminal.

use std::{
    fmt::Write,
    io::{IsTerminal, stdout},
};

use serde_json::Value;

const SHOWN_CHARS: usize = 400;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What an agent says about itself may hold terminal escapes.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A table of agents with aligned columns.
pub(crate) fn agents(agents: &Value) -> String {
    let Some(agents) = agents.as_array().filter(|agents| !agents.is_empty()) else {
        return "No agent has registered yet.\n".to_owned();
    };
    let heads = "INSTANCE TYPE MODE STATUS READY CAPABILITIES URL";
    let mut rows: Vec<Vec<String>> = vec![heads.split(' ').map(str::to_owned).collect()];
    for agent in agents {
        let skills = agent["agent_card"]["skills"].as_array();
        let skills: Vec<&str> = skills
            .into_iter()
            .flatten()
            .map(|s| text(s, "id"))
            .collect();
        let status = if agent["registered"] == true {
            text(agent, "status")
        } else {
            "deregistered"
        };
        let ready = if agent["ready"] == true { "yes" } else { "no" };
        rows.push(vec![
            clean(text(agent, "instance_id")),
            clean(text(agent, "agent_type")),
            clean(text(agent, "deployment_mode")),
            clean(status),
            ready.to_owned(),
            clean(&skills.join(", ")),
            clean(text(agent, "url")),
        ]);
    }
    // Only hosted agents have one.
    if rows[1..].iter().all(|row| row[6].is_empty()) {
        for row in &mut rows {
            row.truncate(6);
        }
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or_default()
        })
        .collect();
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// Writes the lines of `watch`, with colours or without.
pub(crate) struct Painter {
    coloured: bool,
}

impl Painter {
    pub(crate) fn plain() -> Self {
        Self { coloured: false }
    }

    /// Colours for a terminal, unless `NO_COLOR` is set.
    pub(crate) fn for_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            coloured: !unwanted && stdout().is_terminal(),
        }
    }

    fn paint(&self, colour: u8, text: &str) -> String {
        if self.coloured {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// One line for a frame, a request or a violation.
    pub(crate) fn line(&self, event: &Value) -> String {
        let at = format!("{:9.3}", event["at"].as_f64().unwrap_or_default());
        match text(event, "kind") {
            "frame" => {
                let from_agent = event["direction"] == "from_agent";
                let content = &event["content"];
                let (colour, arrow) = if from_agent { (36, "->") } else { (33, "<-") };
                // A frame has a type, a call a method; a reply to one has neither.
                let name = content["type"].as_str().or(content["method"].as_str());
                let name = match name {
                    Some(name) => clean(name),
                    None => text(event, "frame").to_owned(),
                };
                let call = ["params", "result", "error"];
                let call = call.iter().find_map(|key| content.get(key));
                let shown = match content.get("payload").or(call) {
                    Some(payload) => match content["in_reply_to"].as_str() {
                        Some(id) => format!("(to {}) {payload}", clean(id)),
                        None => payload.to_string(),
                    },
                    None => content.to_string(),
                };
                let instance = clean(text(event, "instance_id"));
                let head = format!("{arrow} {name:15}");
                format!(
                    "{at} {instance} #{} {} {}",
                    event["connection"],
                    self.paint(colour, &head),
                    shorten(&clean(&shown))
                )
            }
            "request" => {
                let status = event["status"].as_u64().unwrap_or_default();
                let colour = if status >= 400 { 31 } else { 32 };
                format!(
                    "{at} {} {} {} {}",
                    text(event, "method"),
                    clean(text(event, "path")),
                    self.paint(colour, &status.to_string()),
                    shorten(&clean(&event["body"].to_string()))
                )
            }
            "violation" => self.paint(31, &format!("VIOLATION {}", clean(text(event, "text")))),
            _ => clean(&event.to_string()),
        }
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn columns_are_aligned_and_escapes_are_disarmed() {
        let table = super::agents(&json!([
            {"instance_id": "a\u{1b}[31m", "agent_type": "desk", "deployment_mode": "connected",
             "status": "available", "ready": true, "registered": true,
             "agent_card": {"skills": [{"id": "one"}, {"id": "two"}]}},
            {"instance_id": "a-much-longer-one", "agent_type": "d", "deployment_mode": "hosted",
             "status": "busy", "ready": false, "registered": false, "agent_card": null, "url": "http://127.0.0.1:9"}
        ]));
        assert!(!table.contains('\u{1b}'));
        let modes = ["MODE", "connected", "hosted"];
        let columns: Vec<_> = table
            .lines()
            .zip(modes)
            .map(|(line, mode)| {
                line.split_once(mode)
                    .map(|(before, _)| before.chars().count())
            })
            .collect();
        assert_eq!(columns, [Some(25); 3], "{table}");
        assert!(table.contains("one, two"));
        assert!(table.contains("deregistered"));
        assert!(
            table
                .lines()
                .nth(2)
                .unwrap()
                .ends_with("http://127.0.0.1:9")
        );
        assert!(super::agents(&json!([])).starts_with("No agent"));
    }
}
