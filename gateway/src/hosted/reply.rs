//! What a hosted agent's reply says: an A2A message, a task or an error (protocol.md 8).

use serde_json::Value;

use super::exchange::HttpReply;
use crate::dispatch::Answer;

/// An answer, and what is wrong with the way it was given.
pub(crate) struct Read {
    pub(crate) answer: Answer,
    pub(crate) fault: Option<String>,
}

impl Read {
    fn good(answer: Answer) -> Self {
        Self {
            answer,
            fault: None,
        }
    }

    /// Nothing that could be an answer: the fault is the answer, too.
    fn bad(code: &str, fault: String) -> Self {
        Self {
            answer: Answer::Error {
                code: code.to_owned(),
                message: fault.clone(),
            },
            fault: Some(fault),
        }
    }
}

/// Reads the reply to the call with this id.
pub(crate) fn read(reply: &HttpReply, call_id: &str, streaming: bool) -> Read {
    let text = String::from_utf8_lossy(&reply.body);
    let is_stream = reply.content_type.starts_with("text/event-stream");
    if is_stream && !streaming {
        return Read::bad(INVALID, "a stream in reply to a call for one".to_owned());
    }
    if is_stream {
        let events = events(&text);
        let mut last = None;
        for event in &events {
            last = read_call(event, 200, call_id).or(last);
        }
        return last.unwrap_or_else(|| {
            let fault = format!("a stream of {} events without an answer", events.len());
            Read::bad(INVALID, fault)
        });
    }
    let is_json = reply.content_type.starts_with("application/json");
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if value["jsonrpc"] == "2.0" => {
            let read = read_call(&value, reply.status, call_id);
            let mut read = read.unwrap_or_else(|| {
                let fault = "a result that is neither a message nor an ended task";
                Read::bad(INVALID, fault.to_owned())
            });
            if read.fault.is_none() && !is_json {
                let fault = format!("JSON sent as {:?}", reply.content_type);
                read.fault = Some(fault);
            }
            read
        }
        // A proxy's or a server's own words.
        _ if reply.status != 200 => Read::good(Answer::Error {
            code: format!("HTTP_{}", reply.status),
            message: text.chars().take(512).collect(),
        }),
        _ => Read::bad(INVALID, "a body that is not JSON-RPC 2.0".to_owned()),
    }
}

/// What a reply said that has been read before.
pub(crate) fn reread(status: u16, text: &str) -> Answer {
    let is_json = serde_json::from_str::<Value>(text).is_ok();
    let content_type = match status {
        200 if !is_json => "text/event-stream",
        _ => "application/json",
    };
    let reply = HttpReply {
        status,
        content_type: content_type.to_owned(),
        body: text.to_owned().into(),
    };
    // Whose reply it is has been looked at then.
    read(&reply, "", true).answer
}

const INVALID: &str = "INVALID_REPLY";

/// The events of a stream; what is not JSON is `null`.
fn events(text: &str) -> Vec<Value> {
    let text = text.replace("\r\n", "\n");
    let data = |event: &str| {
        let lines: Vec<&str> = event
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        lines.join("\n")
    };
    text.split("\n\n")
        .map(data)
        .filter(|data| !data.is_empty())
        .map(|data| serde_json::from_str(&data).unwrap_or_default())
        .collect()
}

/// `None` for what says nothing final.
fn read_call(call: &Value, status: u16, call_id: &str) -> Option<Read> {
    if let Some(error) = call.get("error") {
        let mut read = Read::good(rpc_error(error, status));
        // An error may not know whose it is.
        if !call["id"].is_null() && call["id"] != call_id {
            read.fault = Some(format!("a reply to another call: {}", call["id"]));
        }
        return Some(read);
    }
    let result = call.get("result")?;
    let answer = message(result).or_else(|| task(result))?;
    let mut read = Read::good(answer);
    if call["id"] != call_id {
        read.fault = Some(format!("a reply to another call: {}", call["id"]));
    } else if status != 200 {
        read.fault = Some(format!("a result with HTTP {status}"));
    }
    Some(read)
}

/// The platform's code stands in `data`, or among the details that 1.0 puts there.
fn rpc_error(error: &Value, status: u16) -> Answer {
    let data = &error["data"];
    let details = data.as_array();
    let reason = |details: &Vec<Value>| {
        let mut reasons = details
            .iter()
            .filter_map(|detail| detail["reason"].as_str());
        reasons.next().map(str::to_owned)
    };
    let told = data["code"].as_str().map(str::to_owned);
    let code = told.or_else(|| details.and_then(reason));
    let code = code.unwrap_or_else(|| match status {
        200 => format!("JSONRPC_{}", error["code"]),
        status => format!("HTTP_{status}"),
    });
    Answer::Error {
        code,
        message: error["message"].as_str().unwrap_or_default().to_owned(),
    }
}

fn parts(message: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    let parts = message["parts"].as_array();
    parts.into_iter().flatten()
}

/// The result in the data parts of a message or an artifact.
fn result_in(message: &Value) -> Option<Value> {
    parts(message).find_map(|part| part["data"].get("result").cloned())
}

/// 1.0 says which it is by the name of the field around it.
fn message(result: &Value) -> Option<Answer> {
    let message = result.get("message").unwrap_or(result);
    let is_message = result.get("message").is_some() || message["kind"] == "message";
    if !is_message {
        return None;
    }
    result_in(message).map(Answer::Result)
}

/// A task, or the event that ends one.
fn task(result: &Value) -> Option<Answer> {
    let names = ["task", "statusUpdate"];
    let wrapped = names.iter().find_map(|name| result.get(name));
    let task = wrapped.unwrap_or(result);
    let state = task["status"]["state"].as_str()?;
    let state = state.trim_start_matches("TASK_STATE_").to_ascii_lowercase();
    let said = &task["status"]["message"];
    match state.as_str() {
        "completed" => {
            let artifacts = task["artifacts"].as_array().into_iter().flatten();
            let mut places = artifacts.chain([said]);
            places.find_map(result_in).map(Answer::Result)
        }
        "failed" | "rejected" | "canceled" => {
            let error = parts(said).find_map(|part| part["data"].get("error"));
            let text = parts(said).find_map(|part| part["text"].as_str());
            let field = |name: &str| error.and_then(|error| error[name].as_str());
            let code = field("code").map(str::to_owned);
            let code = code.unwrap_or_else(|| format!("TASK_{}", state.to_ascii_uppercase()));
            Some(Answer::Error {
                code,
                message: field("message").or(text).unwrap_or_default().to_owned(),
            })
        }
        _ => None,
    }
}
