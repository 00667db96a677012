//! The agent's card over HTTP: fresh with every request, and not sent again to whoever has it.

use ring::digest;
use serde_json::Value;

use super::{Head, ResponsePart};
use crate::protocol::hex::hex;

impl Head {
    /// Where the request says that it reached us. Only an agent that knows no URL of its own looks at it.
    pub(crate) fn reached_at(&self, scheme: &str) -> Option<String> {
        let host = self.header("host")?;
        let authority: http::uri::Authority = host.parse().ok()?;
        let plain = !host.contains('@');
        plain.then(|| format!("{scheme}://{authority}"))
    }

    /// The response to a request for this card.
    pub(crate) fn card_response(&self, card: &Value) -> ResponsePart {
        let body = card.to_string();
        let hash = digest::digest(&digest::SHA256, body.as_bytes());
        let etag = format!("\"{}\"", hex(&hash.as_ref()[..8]));
        let known = self
            .header("if-none-match")
            .is_some_and(|tags| has_tag(tags, &etag));
        let mut headers = vec![("etag", etag), ("cache-control", "no-cache".to_owned())];
        if known {
            return ResponsePart::whole(304, headers, String::new());
        }
        headers.push(("content-type", "application/json".to_owned()));
        let wants_body = self.method != http::Method::HEAD;
        let body = if wants_body { body } else { String::new() };
        ResponsePart::whole(200, headers, body)
    }
}

fn has_tag(tags: &str, etag: &str) -> bool {
    let mut tags = tags.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};
    use serde_json::json;

    use super::*;

    fn head(method: Method, name: &'static str, value: &str) -> Head {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        Head {
            method,
            path: String::new(),
            headers,
            peer: None,
        }
    }

    fn get(tags: &str) -> Head {
        head(Method::GET, "if-none-match", tags)
    }

    #[test]
    fn who_has_the_card_gets_it_again_when_it_has_changed() {
        let (card, other) = (json!({"name": "a"}), json!({"name": "b"}));
        let first = get("\"\"").card_response(&card);
        let (status, headers) = first.head.unwrap();
        assert_eq!((status, first.body.as_str()), (200, r#"{"name":"a"}"#));
        let etag = headers[0].1.clone();
        for tags in [
            etag.clone(),
            format!("W/{etag}"),
            format!("\"x\", {etag}"),
            "*".to_owned(),
        ] {
            let again = get(&tags).card_response(&card);
            assert_eq!(again.head.unwrap().0, 304, "{tags}");
            assert_eq!(again.body, "");
        }
        assert_eq!(get(&etag).card_response(&other).head.unwrap().0, 200);
        let head = head(Method::HEAD, "accept", "*/*").card_response(&card);
        assert_eq!((head.head.unwrap().0, head.body.as_str()), (200, ""));
    }

    #[test]
    fn only_a_host_and_a_port_are_believed_to_be_where_we_are() {
        let at = |host| head(Method::GET, "host", host).reached_at("http");
        assert_eq!(at("127.0.0.1:80").as_deref(), Some("http://127.0.0.1:80"));
        assert_eq!(at("[::1]:80").as_deref(), Some("http://[::1]:80"));
        for odd in ["a@b", "a/b", "a b", ""] {
            assert_eq!(at(odd), None, "{odd}");
        }
    }
}
