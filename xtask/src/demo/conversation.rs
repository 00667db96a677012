//! Dispatches and their answers, shown side by side and compared with what must come.

use std::time::Duration;

use serde_json::Value;
use svantic_gateway::{A2aMethod, Answer, DispatchRequest, Gateway};

use super::{joined::Joined, stage::Stage};
use crate::{
    failure::Failure,
    terminal::{Colour, Column},
};

const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// One dispatch of the demo.
pub(super) struct Call {
    /// What it shows.
    pub(super) what: &'static str,
    pub(super) skill: &'static str,
    /// JSON.
    pub(super) args: &'static str,
    /// How a hosted agent is called.
    pub(super) by: A2aMethod,
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

/// What every agent is asked.
pub(super) fn first_calls() -> [Call; 4] {
    [
        Call {
            what: "a result",
            skill: "find_order",
            args: r#"{"order_id":"A17"}"#,
            by: A2aMethod::MessageSend,
            expected: Expected::Result(r#"{"order_id":"A17","state":"shipped"}"#),
        },
        Call {
            what: "a schema violation",
            skill: "find_order",
            args: r#"{"order_id":17}"#,
            by: A2aMethod::MessageSend,
            expected: Expected::Error("INVALID_ARGS", "order_id"),
        },
        Call {
            what: "a handler that fails",
            skill: "find_order",
            args: r#"{"order_id":"Z99"}"#,
            by: A2aMethod::MessageSend,
            expected: Expected::Error("HANDLER_ERROR", "no such order"),
        },
        Call {
            what: "an unknown skill",
            skill: "cancel_order",
            args: r#"{"order_id":"A17"}"#,
            by: A2aMethod::MessageSend,
            expected: Expected::Error("UNKNOWN_SKILL", "cancel_order"),
        },
    ]
}

/// Sends one call after the other to each of the agents and shows their answers below each other.
pub(super) fn hold(stage: &Stage<'_>, agents: &[Joined], calls: &[Call]) -> Result<(), Failure> {
    let gateway = stage.gateway;
    let table = stage.screen.table([
        Column {
            title: "TO SHOW",
            width: 20,
        },
        Column {
            title: "DISPATCH",
            width: 31,
        },
        Column {
            title: "AGENT",
            width: 6,
        },
        Column {
            title: "ANSWER",
            width: 61,
        },
    ]);
    for call in calls {
        let (mut what, mut dispatch) = (
            call.what.to_owned(),
            format!("{} {}", call.skill, call.args),
        );
        for agent in agents {
            let request = DispatchRequest::new(call.skill, value(call.args))
                .to(&agent.instance)
                .by(call.by)
                .within(ANSWERED_WITHIN);
            let answer = gateway.dispatch(request).map_err(|error| {
                Failure::new(format!("the dispatch of {} was lost: {error}", call.skill))
            })?;
            let (text, colour) = match &answer {
                Answer::Result(result) => (result.to_string(), Colour::Good),
                Answer::Error { code, message } => (format!("{code}: {message}"), Colour::Refused),
            };
            table.row([
                // Said once for all of them.
                (std::mem::take(&mut what), Colour::Quiet),
                (std::mem::take(&mut dispatch), Colour::Plain),
                (agent.language.name.to_owned(), Colour::Agent),
                (text, colour),
            ]);
            if !call.expected.is_met_by(&answer) {
                let example = agent.language.example;
                let text = format!("that answer is not what {} must bring", call.what);
                return Err(Failure::new(text).hint(format!(
                    "Either {example} has been changed, or the library has a bug."
                )));
            }
        }
    }
    for agent in agents {
        agent.process.show_what_it_said();
    }
    exactly_one_answer_each(gateway)
}

/// Fails when a dispatch has no answer, or more than one.
pub(super) fn exactly_one_answer_each(gateway: &Gateway) -> Result<(), Failure> {
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
