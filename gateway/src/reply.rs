//! An HTTP reply in the making.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use serde_json::{Value, json};

use crate::faults::Refusal;

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// Status, body and what else a refusal may carry.
pub(crate) struct Reply {
    pub(crate) status: u16,
    body: String,
    retry_after: Option<String>,
    location: Option<String>,
}

impl Reply {
    pub(crate) fn ok(body: &Value) -> Self {
        Self::json(200, body)
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            body: body.to_string(),
            retry_after: None,
            location: None,
        }
    }

    /// A refusal of the mesh: `{code, error}` (protocol.md 2, "Error bodies").
    pub(crate) fn refuse(status: u16, code: &str, error: &str) -> Self {
        Self::json(status, &json!({"code": code, "error": error}))
    }

    pub(crate) fn bad_request(error: &str) -> Self {
        Self::refuse(400, "INVALID_REQUEST", error)
    }

    /// A refusal that a fault asked for.
    pub(crate) fn fault(refusal: Refusal) -> Self {
        let mut body = json!({});
        if let Some(code) = refusal.code {
            body["code"] = code.into();
        }
        let message = refusal.message;
        body["error"] = message
            .unwrap_or_else(|| format!("refused with {} by a fault", refusal.status))
            .into();
        Self {
            status: refusal.status,
            body: refusal.body.unwrap_or_else(|| body.to_string()),
            retry_after: refusal.retry_after,
            location: refusal.location,
        }
    }

    /// How a refused request is written down as a violation.
    pub(crate) fn as_fault(&self) -> String {
        format!("refused with {}: {}", self.status, self.body)
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)).boxed());
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        for (name, value) in [
            (header::RETRY_AFTER, self.retry_after),
            (header::LOCATION, self.location),
        ] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}
