//! Which path means what.

use http::Method;
use url::Url;

use super::{Head, ResponsePart};
use crate::config::{Config, Identity};
use crate::protocol::limits::MAX_CALL_BYTES;

/// Where the card is, below the agent's URL.
const CARD_PATH: &str = "/.well-known/agent-card.json";

/// What a request asks for.
pub(crate) enum Route {
    /// The card.
    Card,
    /// A call.
    Call,
    /// Nothing that there is.
    Refused(ResponsePart),
}

/// The paths of an agent, and what it needs to know to read a call.
pub(crate) struct Site {
    /// The path of the agent's URL, which a framework may have taken away already.
    prefix: String,
    endpoint: String,
    /// What answers a message that is text only.
    pub(super) default_capability: Option<String>,
}

impl Site {
    pub(crate) fn new(config: &Config) -> Self {
        let Identity {
            public_url,
            endpoint_path,
            ..
        } = &config.identity;
        let path = public_url
            .as_deref()
            .and_then(|url| Url::parse(url).ok())
            .map(|url| url.path().trim_end_matches('/').to_owned());
        Self {
            prefix: path.unwrap_or_default(),
            endpoint: endpoint_path.clone(),
            default_capability: config.hosted.default_capability.clone(),
        }
    }

    /// What a request with a body of so many bytes asks for.
    pub(crate) fn route(&self, head: &Head, body_bytes: usize) -> Route {
        let path = head.bare_path();
        let is = |wanted: &str| {
            path == wanted || path.strip_prefix(self.prefix.as_str()) == Some(wanted)
        };
        if is(CARD_PATH) {
            return match head.method {
                Method::GET | Method::HEAD => Route::Card,
                _ => refused_method("GET, HEAD"),
            };
        }
        if !is(&self.endpoint) {
            return Route::Refused(plain(404, "there is nothing at this path"));
        }
        if head.method != Method::POST {
            return refused_method("POST");
        }
        if body_bytes > MAX_CALL_BYTES {
            return Route::Refused(plain(413, "the body is larger than 4 MiB"));
        }
        if !head.header("content-type").is_some_and(is_json) {
            return Route::Refused(plain(415, "the body has to be application/json"));
        }
        Route::Call
    }
}

fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let media = media.to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

fn refused_method(allowed: &str) -> Route {
    Route::Refused(plain(405, "this path has other methods").with("allow", allowed))
}

/// The response of an agent that has no site.
pub(crate) fn not_served() -> ResponsePart {
    plain(404, "this agent serves no requests")
}

/// A refusal by HTTP itself.
fn plain(status: u16, error: &str) -> ResponsePart {
    let headers = vec![("content-type", "application/json".to_owned())];
    let body = serde_json::json!({"error": error}).to_string();
    ResponsePart::whole(status, headers, body)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use serde_json::json;

    use super::*;

    fn site(public_url: &str, endpoint_path: &str) -> Site {
        let config = json!({
            "client_id": "c", "client_secret": "s", "name": "desk", "description": "d",
            "public_url": public_url, "endpoint_path": endpoint_path,
        });
        Site::new(&Config::parse(&config.to_string(), &|_| None).unwrap())
    }

    fn asked(site: &Site, method: &str, path: &str, content_type: &str, bytes: usize) -> String {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            let value = HeaderValue::from_str(content_type).unwrap();
            headers.insert("Content-Type", value);
        }
        let head = Head {
            method: method.parse().unwrap(),
            path: path.to_owned(),
            headers,
            peer: None,
        };
        match site.route(&head, bytes) {
            Route::Card => "card".to_owned(),
            Route::Call => "call".to_owned(),
            Route::Refused(part) => part.head.unwrap().0.to_string(),
        }
    }

    #[test]
    fn a_path_is_found_with_and_without_what_a_framework_takes_away() {
        let site = site("https://desk.example/a/b/", "/call/me");
        for (method, path, expected) in [
            ("GET", "/a/b/.well-known/agent-card.json", "card"),
            ("HEAD", "/.well-known/agent-card.json?x=1", "card"),
            ("POST", "/.well-known/agent-card.json", "405"),
            ("GET", "/a/.well-known/agent-card.json", "404"),
            ("POST", "/a/b/call/me", "call"),
            ("POST", "/call/me?x", "call"),
            ("GET", "/call/me", "405"),
            ("POST", "/send", "404"),
            ("POST", "/a/b/a/b/call/me", "404"),
            ("POST", "/call/me/", "404"),
            ("POST", "/call//me", "404"),
            ("POST", "", "404"),
            ("OPTIONS", "*", "404"),
        ] {
            let answer = asked(&site, method, path, "application/json", 2);
            assert_eq!(answer, expected, "{method} {path}");
        }
    }

    #[test]
    fn only_json_of_so_many_bytes_is_a_call() {
        let site = site("https://desk.example", "/send");
        for (content_type, bytes, expected) in [
            ("application/json", MAX_CALL_BYTES, "call"),
            ("application/json", MAX_CALL_BYTES + 1, "413"),
            ("Application/JSON ; charset=utf-8", 0, "call"),
            ("application/a2a+json", 0, "call"),
            ("text/plain", 0, "415"),
            ("text/json", 0, "415"),
            ("application/jsonp", 0, "415"),
            ("", 0, "415"),
        ] {
            let answer = asked(&site, "POST", "/send", content_type, bytes);
            assert_eq!(answer, expected, "{content_type} {bytes}");
        }
    }
}
