//! A request of the application's own to the mesh, checked: it goes to the host of `svantic_url` and nowhere else, and
//! its headers change neither who asks nor how the message is carried.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::IgnoredAny;
use serde_json::Value;
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::protocol::limits::{
    MAX_HEADERS, MAX_HEADERS_BYTES, MAX_HTTP_BODY_BYTES, MAX_PATH_BYTES,
};
use crate::protocol::origin::BaseUrl;

/// What belongs to the library or to the connection (RFC 9110, 7.6.1), beside everything that begins with `content-`.
const REFUSED: [&str; 13] = [
    "authorization",
    "proxy-authorization",
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    // The reply would come in a form that nobody here reads.
    "accept-encoding",
    // The mesh is spoken to without (protocol.md 2).
    "cookie",
];

/// See the [module documentation](self).
#[derive(Clone, PartialEq, Eq)]
pub struct OwnRequest {
    path: String,
    body: String,
    headers: HeaderMap,
}

/// The body and the headers may hold secrets.
impl fmt::Debug for OwnRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnRequest")
            .field("path", &self.shown_path())
            .finish_non_exhaustive()
    }
}

impl OwnRequest {
    /// Checks what the application gave.
    pub fn new(
        base: &BaseUrl,
        path: &str,
        body_json: &str,
        headers_json: Option<&str>,
    ) -> Result<Self, Error> {
        check_path(base, path)?;
        if body_json.len() > MAX_HTTP_BODY_BYTES {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "TOO_LARGE",
                format!(
                    "request: the body has {} bytes of JSON, and the limit is {MAX_HTTP_BODY_BYTES}",
                    body_json.len()
                ),
            ));
        }
        serde_json::from_str::<IgnoredAny>(body_json)
            .map_err(|error| not_json(&format!("the body is not JSON: {error}")))?;
        Ok(Self {
            path: path.to_owned(),
            body: body_json.to_owned(),
            headers: headers_json
                .map(read_headers)
                .transpose()?
                .unwrap_or_default(),
        })
    }

    /// The path below `svantic_url`, with its query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path for logs and errors: the query is not for them.
    pub fn shown_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The body.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The headers beside the library's own; their values are marked as sensitive.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// What must not be seen in a text that the mesh echoes.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.headers
            .values()
            .filter_map(|value| value.to_str().ok())
    }
}

fn check_path(base: &BaseUrl, path: &str) -> Result<(), Error> {
    let refused = |why: &str| {
        Error::new(
            ErrorKind::InvalidArgument,
            "INVALID_PATH",
            format!("request: the path was refused: {why}"),
        )
        .hint("give the path below `svantic_url`, such as \"/agents/register\"")
    };
    if !path.starts_with('/') {
        return Err(refused("it does not begin with \"/\""));
    }
    if path.len() > MAX_PATH_BYTES {
        let why = format!(
            "it has {} bytes, and the limit is {MAX_PATH_BYTES}",
            path.len()
        );
        return Err(refused(&why));
    }
    // The URL standard drops tabs and newlines, and reads a backslash as a slash.
    if path
        .bytes()
        .any(|b| b <= 0x20 || b >= 0x7f || b == b'\\' || b == b'#')
    {
        return Err(refused(
            "it holds a blank, a control character, \"\\\", \"#\" or something that is not ASCII",
        ));
    }
    let own = base.url();
    let below = own.path().trim_end_matches('/');
    let stays = Url::parse(&base.endpoint(path)).is_ok_and(|url| {
        let inside = url
            .path()
            .strip_prefix(below)
            .is_some_and(|rest| rest.starts_with('/'));
        url.origin() == own.origin() && url.username().is_empty() && inside
    });
    if stays {
        Ok(())
    } else {
        Err(refused("it leads out of svantic_url"))
    }
}

fn read_headers(json: &str) -> Result<HeaderMap, Error> {
    // As a value first: serde quotes what it finds in the place of an object, and that may be a secret.
    let value: Value = serde_json::from_str(json)
        .map_err(|error| not_json(&format!("the headers are not JSON: {error}")))?;
    let Value::Object(members) = value else {
        return Err(not_json("the headers are not a JSON object"));
    };
    let mut headers = HeaderMap::with_capacity(members.len().min(MAX_HEADERS));
    let mut bytes = 0;
    for (name, value) in &members {
        let refused = |why: &str| {
            let shown: String = name.escape_debug().take(64).collect();
            Error::new(
                ErrorKind::InvalidArgument,
                "INVALID_HEADER",
                format!("request: the header \"{shown}\" was refused: {why}"),
            )
        };
        let Ok(key) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(refused("that is no name of a header"));
        };
        if key == http::header::AUTHORIZATION {
            return Err(refused("the library shows the token by itself")
                .hint("give the token with svantic_refresh_token, or in the configuration"));
        }
        if REFUSED.contains(&key.as_str()) || key.as_str().starts_with("content-") {
            return Err(refused("it belongs to the library or to the connection"));
        }
        let Some(text) = value.as_str() else {
            return Err(refused("its value is not a string"));
        };
        let Ok(mut sent) = HeaderValue::from_str(text) else {
            return Err(refused(
                "its value holds a control character or something that is not ASCII",
            ));
        };
        if !text.is_ascii() {
            return Err(refused("its value holds something that is not ASCII"));
        }
        sent.set_sensitive(true);
        bytes += name.len() + text.len();
        if headers.insert(key, sent).is_some() {
            return Err(refused("it is there twice"));
        }
    }
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADERS_BYTES {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "TOO_LARGE",
            format!(
                "request: {} headers of {bytes} bytes, and the limit is {MAX_HEADERS} of {MAX_HEADERS_BYTES}",
                headers.len()
            ),
        ));
    }
    Ok(headers)
}

fn not_json(why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidJson,
        "INVALID_JSON",
        format!("request: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str) -> BaseUrl {
        BaseUrl::parse(url, false).unwrap()
    }

    fn with_headers(json: &str) -> Result<OwnRequest, Error> {
        OwnRequest::new(&base("https://mesh.test"), "/x", "{}", Some(json))
    }

    #[test]
    fn a_path_stays_below_the_meshs_url() {
        let mesh = base("https://mesh.test");
        let below = base("https://mesh.test/of/ours/");
        for (base, path) in [
            (&mesh, "/agents/register"),
            (&mesh, "/a/../b?x=/../y"),
            (&mesh, "//evil.example/x"),
            (&mesh, "/@evil.example"),
            (&mesh, "/:80"),
            (&below, "/agents/./register"),
        ] {
            let request = OwnRequest::new(base, path, "{}", None).unwrap();
            assert_eq!(request.path(), path);
            let url = Url::parse(&base.endpoint(path)).unwrap();
            assert_eq!(url.origin(), base.url().origin());
        }
        for (base, path) in [
            (&mesh, ""),
            (&mesh, "agents/register"),
            (&mesh, "https://evil.example/x"),
            (&mesh, "@evil.example/x"),
            (&mesh, ":80/x"),
            (&mesh, ".evil.example/x"),
            (&mesh, "/a b"),
            (&mesh, "/a\r\nX-Evil: 1"),
            (&mesh, "/\\evil.example"),
            (&mesh, "/a#b"),
            (&mesh, "/\u{e9}"),
            (&below, "/../theirs"),
            (&below, "/%2e%2e/theirs"),
            (&below, "/../oursandmore"),
        ] {
            let error = OwnRequest::new(base, path, "{}", None).unwrap_err();
            assert_eq!(
                (error.kind(), error.code()),
                (ErrorKind::InvalidArgument, "INVALID_PATH"),
                "{path}"
            );
        }
        let long = format!("/{}", "x".repeat(MAX_PATH_BYTES));
        assert!(OwnRequest::new(&mesh, &long, "{}", None).is_err());
    }

    #[test]
    fn a_body_is_json_within_the_limit() {
        let mesh = base("https://mesh.test");
        let body = |json: &str| OwnRequest::new(&mesh, "/x", json, None).map_err(|e| e.kind());
        for good in ["{}", "[1]", "null", " {\"a\":1} "] {
            assert_eq!(body(good).unwrap().body(), good);
        }
        for bad in ["", "{", "{} {}", "hush"] {
            assert_eq!(body(bad), Err(ErrorKind::InvalidJson), "{bad}");
        }
        let long = format!("\"{}\"", "x".repeat(MAX_HTTP_BODY_BYTES));
        assert_eq!(body(&long), Err(ErrorKind::InvalidArgument));
    }

    #[test]
    fn headers_that_are_the_librarys_or_the_connections_are_refused() {
        let request = with_headers(r#"{"X-Tenant":"t","traceparent":"00"}"#).unwrap();
        assert_eq!(request.headers()["x-tenant"], "t");
        for name in [
            "Authorization",
            "HOST",
            "Content-Type",
            "content-length",
            "Content-Encoding",
            "Connection",
            "Keep-Alive",
            "Proxy-Authorization",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
            "Expect",
            "Accept-Encoding",
            "Cookie",
            "",
            "a b",
            "a:b",
            "x\\r\\ny",
        ] {
            let error = with_headers(&format!(r#"{{"{name}":"Bearer hush"}}"#)).unwrap_err();
            assert_eq!(
                (error.kind(), error.code()),
                (ErrorKind::InvalidArgument, "INVALID_HEADER"),
                "{name}"
            );
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        for bad in [
            r#"{"x":"hush\r\ny: 1"}"#,
            r#"{"x":"hush\u0000"}"#,
            r#"{"x":"hushé"}"#,
            r#"{"x":["hush"]}"#,
            r#"{"x":"hush","X":"hush"}"#,
        ] {
            let error = with_headers(bad).unwrap_err();
            assert_eq!(error.code(), "INVALID_HEADER", "{bad}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }

    #[test]
    fn headers_are_a_bounded_object_and_no_error_quotes_them() {
        for bad in [
            r#""Bearer hush""#,
            "[\"hush\"]",
            "{\"x\":\"hush\"",
            "hush",
            "7",
        ] {
            let error = with_headers(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidJson, "{bad}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        let many: serde_json::Map<String, Value> = (0..=MAX_HEADERS)
            .map(|n| (format!("x-{n}"), Value::from("v")))
            .collect();
        let error = with_headers(&Value::from(many).to_string()).unwrap_err();
        assert_eq!(error.code(), "TOO_LARGE");
        let long = format!(r#"{{"x":"{}"}}"#, "v".repeat(MAX_HEADERS_BYTES));
        assert_eq!(with_headers(&long).unwrap_err().code(), "TOO_LARGE");
    }

    #[test]
    fn what_is_written_about_it_shows_neither_body_nor_headers_nor_query() {
        let request = OwnRequest::new(
            &base("https://mesh.test"),
            "/x?token=hush",
            r#"{"a":"hush"}"#,
            Some(r#"{"x-key":"hush"}"#),
        )
        .unwrap();
        let shown = format!("{request:?} {:?}", request.headers());
        assert!(shown.contains("/x") && !shown.contains("hush"), "{shown}");
    }
}
