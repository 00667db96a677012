//! Dispatches with something wrong about their proof: refused before a handler runs, and before anything is said about why.

use std::time::Duration;

use serde_json::Value;
use svantic_gateway::{Answer, DispatchRequest, Forgery};

use super::super::{joined::Joined, stage::Stage};
use crate::{
    failure::Failure,
    terminal::{Colour, Column},
};

const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Fewer failures than make an agent turn a peer away (10 a second).
const FORGERIES: [(&str, Forgery); 5] = [
    ("no proof at all", Forgery::MissingEnvelope),
    ("another secret", Forgery::BadSignature),
    ("a proof that is too old", Forgery::Expired),
    ("a proof for another agent", Forgery::WrongAudience),
    ("a proof used before", Forgery::ReplayedOtherBody),
];

/// What came back, from the gateway's side.
struct Seen {
    status: u16,
    /// The body.
    text: String,
    answer: Answer,
}

/// Sends each of them to each of the agents, and last a good one twice.
pub(super) fn play(stage: &Stage<'_>, agents: &[Joined]) -> Result<(), Failure> {
    let table = stage.screen.table([
        Column {
            title: "TO SHOW",
            width: 28,
        },
        Column {
            title: "AGENT",
            width: 6,
        },
        Column {
            title: "STATUS",
            width: 6,
        },
        Column {
            title: "REPLY",
            width: 77,
        },
    ]);
    let row = |what: String, agent: &Joined, status: u16, reply: String| {
        let colour = if status == 200 {
            Colour::Good
        } else {
            Colour::Refused
        };
        table.row([
            (what, Colour::Quiet),
            (agent.language.name.to_owned(), Colour::Agent),
            (status.to_string(), colour),
            (reply, Colour::Plain),
        ]);
    };
    for (what, forgery) in FORGERIES {
        let mut title = what.to_owned();
        for agent in agents {
            let seen = send(stage, agent.find_order(ANSWERED_WITHIN).forged(forgery))?;
            let status = seen.status;
            row(std::mem::take(&mut title), agent, status, seen.told());
            if status != 401 {
                let name = agent.language.name;
                return Err(Failure::new(format!(
                    "the agent in {name} answered {what} with {status} instead of 401"
                )));
            }
        }
    }
    let mut title = "the same call, byte for byte".to_owned();
    for agent in agents {
        let id = format!("twice-{}", agent.instance);
        let again = || DispatchRequest {
            id: Some(id.clone()),
            ..agent.find_order(ANSWERED_WITHIN)
        };
        let first = send(stage, again())?;
        let second = send(stage, again().forged(Forgery::Replayed))?;
        let told = format!("{}, the same reply", second.told());
        row(std::mem::take(&mut title), agent, second.status, told);
        // It holds the id and the time of the first one: a second run would have others.
        if first.status != 200 || first.text != second.text {
            let name = agent.language.name;
            return Err(Failure::new(format!(
                "the agent in {name} answered a call that came twice with two replies"
            )));
        }
    }
    Ok(())
}

fn send(stage: &Stage<'_>, request: DispatchRequest) -> Result<Seen, Failure> {
    let call = stage.gateway.begin_dispatch(request);
    let answer = call
        .wait(ANSWERED_WITHIN)
        .map_err(|error| Failure::new(format!("a call got no reply: {error}")))?;
    let entry = stage.gateway.ledger_entry(call.id());
    let reply = entry.and_then(|entry| entry.answers.into_iter().next());
    let reply = reply.ok_or_else(|| Failure::new("an answer is not in the gateway's ledger"))?;
    Ok(Seen {
        status: reply.http_status.unwrap_or_default(),
        text: reply.text,
        answer,
    })
}

impl Seen {
    fn told(&self) -> String {
        match &self.answer {
            Answer::Result(result) => result.to_string(),
            Answer::Error { message, .. } => {
                let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
                format!("JSON-RPC error {}: {message}", body["error"]["code"])
            }
        }
    }
}
