//! Dispatches and their answers, shown side by side and compared with what must come.

use std::time::Duration;

use serde_json::Value;
use svantic_gateway::{Answer, DispatchRequest, Gateway};

use crate::{
    failure::Failure,
    terminal::{Colour, Column, Terminal},
};

const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// One dispatch of the demo.
pub(super) struct Call {
    /// What it shows.
    pub(super) what: &'static str,
    pub(super) skill: &'static str,
    /// JSON.
    pub(super) args: &'static str,
    pub(super) expected: Expected,
}

/// What must come back.
pub(super) enum Expected {
    /// Exactly this JSON.
    Result(&'static str),
    /// This code, and a message that holds this.
    Error(&'static str, &'static str),
}

impl Expected {
    fn is_met_by(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Result(json), Answer::Result(result)) => value(json) == *result,
            (Self::Error(wanted, part), Answer::Error { code, message }) => {
                wanted == code && message.contains(part)
            }
            _ => false,
        }
    }
}

/// Sends one call after the other and shows each with its answer.
pub(super) fn hold(
    gateway: &Gateway,
    instance: &str,
    screen: Terminal,
    calls: &[Call],
) -> Result<(), Failure> {
    let table = screen.table([
        Column {
            title: "TO SHOW",
            width: 20,
        },
        Column {
            title: "DISPATCH",
            width: 31,
        },
        Column {
            title: "ANSWER",
            width: 58,
        },
    ]);
    for call in calls {
        let request = DispatchRequest::new(call.skill, value(call.args))
            .to(instance)
            .within(ANSWERED_WITHIN);
        let answer = gateway.dispatch(request).map_err(|error| {
            Failure::new(format!("the dispatch of {} was lost: {error}", call.skill))
        })?;
        let (text, colour) = match &answer {
            Answer::Result(result) => (result.to_string(), Colour::Good),
            Answer::Error { code, message } => (format!("{code}: {message}"), Colour::Refused),
        };
        table.row([
            (call.what.to_owned(), Colour::Quiet),
            (format!("{} {}", call.skill, call.args), Colour::Plain),
            (text, colour),
        ]);
        if !call.expected.is_met_by(&answer) {
            let text = format!("that answer is not what {} must bring", call.what);
            return Err(Failure::new(text)
                .hint("Either examples/c/agent.c has been changed, or the library has a bug."));
        }
    }
    exactly_one_answer_each(gateway)
}

fn exactly_one_answer_each(gateway: &Gateway) -> Result<(), Failure> {
    let ledger = gateway.ledger();
    match ledger
        .entries()
        .iter()
        .find(|entry| entry.answers.len() != 1)
    {
        None => Ok(()),
        Some(entry) => Err(Failure::new(format!(
            "the dispatch {} got {} answers instead of one",
            entry.id,
            entry.answers.len()
        ))),
    }
}

/// The texts above are constants, and a test reads each of them.
fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_compared_as_json_and_an_error_by_code_and_words() {
        let shipped = Answer::Result(value(r#"{ "state": "shipped" }"#));
        assert!(Expected::Result(r#"{"state":"shipped"}"#).is_met_by(&shipped));
        assert!(!Expected::Result(r#"{"state":"lost"}"#).is_met_by(&shipped));
        let refused = Answer::Error {
            code: "INVALID_ARGS".to_owned(),
            message: "args/order_id: not a string".to_owned(),
        };
        assert!(Expected::Error("INVALID_ARGS", "order_id").is_met_by(&refused));
        assert!(!Expected::Error("HANDLER_ERROR", "order_id").is_met_by(&refused));
        assert!(!Expected::Error("INVALID_ARGS", "customer").is_met_by(&refused));
        assert!(!Expected::Result("{}").is_met_by(&refused));
    }
}
