//! Dispatches with something wrong about their proof: refused before a handler runs, and before anything is said about why.

use std::time::Duration;

use serde_json::{Value, json};
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
    let same = ("the same call, byte for byte", Forgery::Replayed);
    for (what, forgery) in FORGERIES.into_iter().chain([same]) {
        let mut title = what.to_owned();
        let expected = if forgery == Forgery::Replayed {
            200
        } else {
            401
        };
        for agent in agents {
            let (status, reply) = send(stage, agent, forgery)?;
            let colour = if status == 200 {
                Colour::Good
            } else {
                Colour::Refused
            };
            table.row([
                (std::mem::take(&mut title), Colour::Quiet),
                (agent.language.name.to_owned(), Colour::Agent),
                (status.to_string(), colour),
                (reply, Colour::Plain),
            ]);
            if status != expected {
                let name = agent.language.name;
                return Err(Failure::new(format!(
                    "the agent in {name} answered {what} with {status} instead of {expected}"
                )));
            }
        }
    }
    Ok(())
}

/// The status and what was said with it.
fn send(stage: &Stage<'_>, agent: &Joined, forgery: Forgery) -> Result<(u16, String), Failure> {
    let request = DispatchRequest::new("find_order", json!({"order_id": "A17"}))
        .to(&agent.instance)
        .within(ANSWERED_WITHIN)
        .forged(forgery);
    let call = stage.gateway.begin_dispatch(request);
    let answer = call
        .wait(ANSWERED_WITHIN)
        .map_err(|error| Failure::new(format!("a forged call got no reply: {error}")))?;
    let entry = stage.gateway.ledger_entry(call.id());
    let reply = entry.and_then(|entry| entry.answers.into_iter().next());
    let status = reply
        .as_ref()
        .and_then(|reply| reply.http_status)
        .unwrap_or_default();
    let text = match answer {
        Answer::Result(result) => format!("{result}, without a second run"),
        Answer::Error { message, .. } => {
            let body = reply.map(|reply| reply.text).unwrap_or_default();
            let body: Value = serde_json::from_str(&body).unwrap_or_default();
            format!("JSON-RPC error {}: {message}", body["error"]["code"])
        }
    };
    Ok((status, text))
}
