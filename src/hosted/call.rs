//! A call as it comes in: read, verified, and made into what the machine decides on.

use std::borrow::Cow;
use std::time::Duration;

use ring::digest;

use super::fingerprint::{of_data, of_text};
use super::response::refusal_part;
use super::{Head, ResponsePart, Site};
use crate::machine::hosted::{Call, tenant_of};
use crate::protocol::a2a::{self, Fault, ReplyTo, VERSION_HEADER, code};
use crate::protocol::frame::is_usable_id;
use crate::protocol::frame_writer::push_json_string;
use crate::protocol::hex::hex;
use crate::protocol::request::Beside;
use crate::verification::Verification;

/// Why a call goes no further.
pub(crate) enum Trouble {
    /// It is none, and whoever sent it is told so.
    Response(ResponsePart),
    /// It is not believed to be the mesh's, for this cause.
    Unauthenticated(&'static str),
}

/// Reads a body, and verifies it before anything is made of its arguments. `made` takes the dispatch that a text is made
/// into.
pub(crate) fn read<'a>(
    site: &Site,
    head: &'a Head,
    body: &'a [u8],
    verification: Option<&Verification>,
    unix_time: Duration,
    made: &'a mut String,
) -> Result<Call<'a>, Trouble> {
    let version = head.header(VERSION_HEADER);
    let faulty = |fault: Fault| Trouble::Response(refusal_part(fault.by_event(), fault.reply()));
    let body = std::str::from_utf8(body).map_err(|_| faulty(Fault::not_utf8(version)))?;
    let call = a2a::read(body, version).map_err(faulty)?;
    let verified = verification.map(|verification| {
        // Text proves nothing.
        verification.verify(call.data_json.unwrap_or("{}"), unix_time)
    });
    let verified = verified
        .transpose()
        .map_err(|refusal| Trouble::Unauthenticated(refusal.code.as_str()))?;
    let to = call.reply_to();
    let dispatch = match (call.dispatch, &site.default_capability, &call.text) {
        (Some(dispatch), ..) => dispatch,
        (None, Some(name), Some(text)) => {
            *made = dispatch_of_text(name, text);
            serde_json::from_str(made).unwrap_or_default()
        }
        _ => return Err(Trouble::Response(no_data(&to))),
    };
    let fingerprint = match (call.data_json, &call.text) {
        (Some(data), _) => of_data(data),
        (None, text) => of_text(text.as_deref().unwrap_or_default()),
    };
    let claimed = verified.as_ref().and_then(|v| v.dispatch_id.clone());
    let dispatch_id = claimed
        .filter(|id| !id.is_empty())
        .map(Cow::from)
        .or(call.dispatch_id)
        .or(call.message_id)
        .map(usable);
    let claimed = verified.as_ref().and_then(|v| v.tenant_id.clone());
    // Kept for as long as the dispatch is remembered, and a stranger may write what it likes.
    let tenant = claimed
        .map(Cow::from)
        .or_else(|| tenant_of(&dispatch))
        .map(usable);
    Ok(Call {
        to,
        dispatch,
        dispatch_id,
        tenant,
        fingerprint,
        verified,
        beside: Beside {
            tenant_id: None,
            traceparent: head.header("traceparent"),
            baggage: head.header("baggage"),
        },
    })
}

fn dispatch_of_text(capability: &str, text: &str) -> String {
    let mut made = String::with_capacity(text.len() + 64);
    made.push_str("{\"skill_id\":");
    push_json_string(&mut made, capability);
    made.push_str(",\"args\":{\"text\":");
    push_json_string(&mut made, text);
    made.push_str("}}");
    made
}

fn no_data(to: &ReplyTo) -> ResponsePart {
    let text = "the message is text only, and this agent has no capability for that: send a data part with \
                `skill_id` and `args`";
    let code = code::INVALID_PARAMS;
    let json = a2a::error(&to.id, to.version, code, text, Some("INVALID_DISPATCH"));
    refusal_part(to.refuses_by_event(), json)
}

/// An id that can be kept and handed to the application, the same for the same.
fn usable(id: Cow<'_, str>) -> Cow<'_, str> {
    if is_usable_id(&id) {
        return id;
    }
    let hash = digest::digest(&digest::SHA256, id.as_bytes());
    hex(hash.as_ref()).into()
}
