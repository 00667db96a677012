//! `svantic_auth` in the data part of a dispatch: `{scheme, token, expires_at?}`.
//!
//! `expires_at` is not looked at: nobody has signed it.

use super::members::Members;
use super::refusal::{Code, Refusal};

pub(super) enum Scheme {
    SvanticJwt,
    SharedSecret,
}

pub(super) struct Envelope {
    pub(super) scheme: Scheme,
    pub(super) token: String,
    /// What the request calls itself, outside of the token.
    pub(super) request_dispatch_id: Option<String>,
}

pub(super) fn read(data_json: &str) -> Result<Envelope, Refusal> {
    let data = Members::read(data_json).ok_or(Refusal::malformed(
        "the data part of the dispatch is not a JSON object, or a name stands in it twice",
    ))?;
    let envelope = match data.raw("svantic_auth") {
        None | Some("null") => {
            return Err(Refusal::new(
                Code::MissingEnvelope,
                "the dispatch has no \"svantic_auth\"",
            ));
        }
        Some(json) => Members::read(json).ok_or(Refusal::malformed(
            "\"svantic_auth\" is not a JSON object, or a name stands in it twice",
        ))?,
    };
    let scheme = envelope
        .text("scheme")
        .ok()
        .flatten()
        .ok_or(Refusal::malformed(
            "\"svantic_auth\" has no \"scheme\" that is a string",
        ))?;
    let scheme = match scheme.as_str() {
        "svantic_jwt" => Scheme::SvanticJwt,
        "shared_secret" => Scheme::SharedSecret,
        _ => {
            return Err(Refusal::new(
                Code::UnsupportedScheme,
                "the \"scheme\" of \"svantic_auth\" is neither \"svantic_jwt\" nor \"shared_secret\"",
            ));
        }
    };
    let token = envelope
        .text("token")
        .ok()
        .flatten()
        .ok_or(Refusal::malformed(
            "\"svantic_auth\" has no \"token\" that is a string",
        ))?;
    let request_dispatch_id = match data.raw("dispatch_id") {
        None | Some("null") => None,
        Some(_) => data.text("dispatch_id").map_err(|_| {
            Refusal::malformed("the \"dispatch_id\" of the dispatch is not a string")
        })?,
    };
    Ok(Envelope {
        scheme,
        token,
        request_dispatch_id,
    })
}
