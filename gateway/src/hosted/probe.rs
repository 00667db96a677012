//! The look at a hosted agent's card when it registers (protocol.md 3).

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use url::Url;

use super::exchange::Sending;
use crate::shared::Shared;

const CARD_PATH: &str = "/.well-known/agent-card.json";
/// security.md S-13.
const CARD_LIMIT_BYTES: usize = 4 << 20;

/// The card of the agent at this base URL; the error names the URL that was looked at and says what is wrong there.
pub(crate) async fn card(shared: &Shared, base_url: &str) -> Result<Value, String> {
    let url = format!("{}{CARD_PATH}", base_url.trim_end_matches('/'));
    let limit = shared.options.probe_timeout;
    let read = tokio::time::timeout(limit, read(shared, &url)).await;
    let fault = match read {
        Ok(Ok(card)) => return Ok(card),
        Ok(Err(fault)) => fault,
        Err(_) => format!("no complete reply within {} s", limit.as_secs_f64()),
    };
    Err(format!("the agent card at {url} cannot be read: {fault}"))
}

async fn read(shared: &Shared, url: &str) -> Result<Value, String> {
    let sending = Sending {
        method: Method::GET,
        url,
        headers: &[("accept", "application/json")],
        body: Bytes::new(),
        limit_bytes: CARD_LIMIT_BYTES,
        leaves_early: false,
    };
    let reply = shared.reach.exchange(sending).await;
    let reply = reply.map_err(|failure| failure.text)?;
    match reply.status {
        200 => {}
        300..400 => {
            return Err(format!("HTTP {}; redirects are not followed", reply.status));
        }
        status => return Err(format!("HTTP {status}")),
    }
    let card: Value = serde_json::from_slice(&reply.body)
        .map_err(|error| format!("the body is not JSON: {error}"))?;
    match fault(&card) {
        Some(fault) => Err(fault),
        None => Ok(card),
    }
}

/// What a card lacks, if anything.
fn fault(card: &Value) -> Option<String> {
    if !card.is_object() {
        return Some("the body is not a JSON object".to_owned());
    }
    if card["name"].as_str().is_none_or(str::is_empty) {
        return Some("the card has no name".to_owned());
    }
    let Some(url) = card["url"].as_str() else {
        return Some("the card has no url".to_owned());
    };
    if !Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
        return Some(format!("the card's url {url:?} is no http(s) URL"));
    }
    let Some(skills) = card["skills"].as_array() else {
        return Some("the card has no skills".to_owned());
    };
    let named = |skill: &Value| skill["id"].as_str().is_some_and(|id| !id.is_empty());
    (!skills.iter().all(named)).then(|| "a skill of the card has no id".to_owned())
}
