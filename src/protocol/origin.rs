//! Which URLs the library talks to, and which of them may see a token (sections 1 and 4; `security.md` S-01, S-05).
//!
//! URLs are compared after WHATWG parsing, never by string prefix.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Why a URL was refused. The text completes "`<url>` was refused: …".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginError {
    /// Not a URL at all.
    Malformed,
    /// A scheme other than `https`/`http` (or `wss`/`ws`).
    Scheme,
    /// No TLS, and the host is not loopback.
    PlainText,
    /// A user name or password in the URL.
    UserInfo,
    /// A fragment in the URL.
    Fragment,
    /// A query in the base URL.
    Query,
    /// The host is not the one of `svantic_url` and not listed.
    ForeignHost,
    /// The port is neither 443 nor the one of `svantic_url` nor listed.
    ForeignPort,
}

impl OriginError {
    /// The reason, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "it is not a URL",
            Self::Scheme => "its scheme is not one that the mesh is reached by",
            Self::PlainText => {
                "it has no TLS, which is allowed only to 127.0.0.0/8, [::1] and localhost"
            }
            Self::UserInfo => "it carries a user name or password",
            Self::Fragment => "it carries a fragment",
            Self::Query => "it carries a query",
            Self::ForeignHost => "its host is not the host of svantic_url",
            Self::ForeignPort => "its port is neither 443 nor the port of svantic_url",
        }
    }
}

/// The base URL of the mesh, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Checks `text` and strips trailing slashes (section 1).
    pub fn parse(text: &str, allow_insecure: bool) -> Result<Self, OriginError> {
        let url = checked(text, "https", "http", allow_insecure)?;
        if url.query().is_some() {
            return Err(OriginError::Query);
        }
        Ok(Self(url))
    }

    /// The URL as given, without trailing slashes.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The URL, parsed.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The URL of an endpoint; `path` starts with a slash.
    pub fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.as_str())
    }

    /// Whether the connection is without TLS.
    pub fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Whether tokens and dispatches leave this machine unencrypted.
    pub fn is_exposed(&self) -> bool {
        self.is_plain() && !is_loopback(&self.0)
    }
}

/// What a registration reply's `connect_url` is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectPolicy {
    /// `svantic_url`.
    pub base: BaseUrl,
    /// `host` or `host:port` entries that the caller trusts with the token.
    pub allowed_hosts: Vec<String>,
    /// Allows `ws://` to hosts other than loopback.
    pub allow_insecure: bool,
}

impl ConnectPolicy {
    /// The URL to dial: `connect_url` checked, with `instance_id` added unless it is there already.
    pub fn connect_url(&self, connect_url: &str, instance_id: &str) -> Result<Url, OriginError> {
        let mut url = checked(connect_url, "wss", "ws", self.allow_insecure)?;
        let listed = self.is_listed(&url);
        let base = &self.base.0;
        if !listed && !same_host(base, &url) && !both_platform_hosts(base, &url) {
            return Err(OriginError::ForeignHost);
        }
        let port = url.port_or_known_default();
        if !listed && port != Some(443) && port != base.port_or_known_default() {
            return Err(OriginError::ForeignPort);
        }
        if !url.query_pairs().any(|(key, _)| key == "instance_id") {
            url.query_pairs_mut()
                .append_pair("instance_id", instance_id);
        }
        Ok(url)
    }

    fn is_listed(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else {
            return false;
        };
        let port = url.port_or_known_default();
        self.allowed_hosts.iter().any(|entry| {
            // Parsed as a URL, so that upper case, IDNA and odd spellings of an address compare equal.
            Url::parse(&format!("wss://{entry}")).is_ok_and(|entry| {
                entry.host_str() == Some(host) && entry.port_or_known_default() == port
            })
        })
    }
}

/// Whether the host is one that plain text may go to: a literal of 127.0.0.0/8, `[::1]`, or `localhost`
/// (which must then also *resolve* to loopback only; the dialer checks that).
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => Ipv4Addr::is_loopback(&ip),
        Some(Host::Ipv6(ip)) => ip == Ipv6Addr::LOCALHOST,
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn checked(text: &str, tls: &str, plain: &str, allow_insecure: bool) -> Result<Url, OriginError> {
    // The URL standard silently drops tabs and newlines and reads a backslash as a slash.
    let smuggled = |b: u8| b <= 0x20 || b == 0x7f || b == b'\\';
    if text.bytes().any(smuggled) {
        return Err(OriginError::Malformed);
    }
    let url = Url::parse(text).map_err(|_| OriginError::Malformed)?;
    if url.scheme() != tls && url.scheme() != plain {
        return Err(OriginError::Scheme);
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(OriginError::Malformed);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(OriginError::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(OriginError::Fragment);
    }
    if url.scheme() == plain && !allow_insecure && !is_loopback(&url) {
        return Err(OriginError::PlainText);
    }
    Ok(url)
}

fn same_host(base: &Url, url: &Url) -> bool {
    base.host_str() == url.host_str()
}

fn both_platform_hosts(base: &Url, url: &Url) -> bool {
    let under = |url: &Url| {
        url.host_str()
            .is_some_and(|host| host == "svantic.com" || host.ends_with(".svantic.com"))
    };
    under(base) && under(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use OriginError::{
        ForeignHost, ForeignPort, Fragment, Malformed, PlainText, Query, Scheme, UserInfo,
    };

    #[test]
    fn base_urls() {
        let cases: &[(&str, Result<&str, OriginError>)] = &[
            ("https://api.svantic.com", Ok("https://api.svantic.com")),
            ("https://api.svantic.com///", Ok("https://api.svantic.com")),
            (
                "https://API.Svantic.com:443/v1/",
                Ok("https://api.svantic.com/v1"),
            ),
            ("http://127.0.0.1:8080", Ok("http://127.0.0.1:8080")),
            ("http://127.9.9.9", Ok("http://127.9.9.9")),
            ("http://2130706433", Ok("http://127.0.0.1")),
            ("http://[::1]:8080", Ok("http://[::1]:8080")),
            ("http://LOCALHOST:1", Ok("http://localhost:1")),
            ("http://localhost.", Err(PlainText)),
            ("http://127.0.0.1.example.com", Err(PlainText)),
            ("http://localhost.example.com", Err(PlainText)),
            ("http://[::ffff:10.0.0.1]", Err(PlainText)),
            ("http://[::ffff:127.0.0.1]", Err(PlainText)),
            ("http://0.0.0.0", Err(PlainText)),
            ("http://10.0.0.1", Err(PlainText)),
            ("http://api.svantic.com", Err(PlainText)),
            ("https://user@api.svantic.com", Err(UserInfo)),
            ("https://user:pw@api.svantic.com", Err(UserInfo)),
            ("https://api.svantic.com/#x", Err(Fragment)),
            ("https://api.svantic.com/?x=1", Err(Query)),
            ("wss://api.svantic.com", Err(Scheme)),
            ("ftp://api.svantic.com", Err(Scheme)),
            ("file:///etc/passwd", Err(Scheme)),
            ("api.svantic.com", Err(Malformed)),
            ("https://", Err(Malformed)),
            ("https://api.svantic.com\\@evil.io", Err(Malformed)),
            ("https://api.svan\ntic.com", Err(Malformed)),
            ("https://api.svantic.com:99999", Err(Malformed)),
            ("", Err(Malformed)),
        ];
        for (text, expected) in cases {
            let parsed = BaseUrl::parse(text, false);
            let seen = parsed.as_ref().map(BaseUrl::as_str).map_err(|e| *e);
            assert_eq!(seen, *expected, "{text}");
        }
        assert!(BaseUrl::parse("http://10.0.0.1", true).is_ok());
    }

    fn policy(base: &str, allowed: &[&str]) -> ConnectPolicy {
        ConnectPolicy {
            base: BaseUrl::parse(base, false).unwrap(),
            allowed_hosts: allowed.iter().map(ToString::to_string).collect(),
            allow_insecure: false,
        }
    }

    #[test]
    fn a_registration_reply_cannot_send_the_token_elsewhere() {
        let policy = policy("https://api.svantic.com", &[]);
        for (text, expected) in [
            ("wss://api.svantic.com/agents/connect", None),
            ("wss://ws.svantic.com/agents/connect", None),
            ("wss://API.SVANTIC.COM/agents/connect", None),
            ("wss://svantic.com", None),
            ("wss://api.svantic.com.evil.io", Some(ForeignHost)),
            ("wss://evilsvantic.com", Some(ForeignHost)),
            ("wss://api.svantic.com@evil.io", Some(UserInfo)),
            ("wss://api.svantic.com%2eevil.io", Some(ForeignHost)),
            ("wss://evil.io\\@api.svantic.com", Some(Malformed)),
            ("wss://evil.io#@api.svantic.com", Some(Fragment)),
            ("wss://api.svantic.com:22/", Some(ForeignPort)),
            ("wss://api.svаntic.com", Some(ForeignHost)), // a Cyrillic a
            ("wss://[::ffff:169.254.169.254]", Some(ForeignHost)),
            ("wss://169.254.169.254", Some(ForeignHost)),
            ("wss://2852039166", Some(ForeignHost)),
            ("wss://0xA9FEA9FE", Some(ForeignHost)),
            ("wss://127.0.0.1", Some(ForeignHost)),
            ("ws://api.svantic.com", Some(PlainText)),
            ("https://api.svantic.com", Some(Scheme)),
            ("wss://api.svan\ttic.com", Some(Malformed)),
            (" wss://api.svantic.com", Some(Malformed)),
            ("/agents/connect", Some(Malformed)),
            ("", Some(Malformed)),
        ] {
            assert_eq!(policy.connect_url(text, "i").err(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_platform_wildcard_holds_for_platform_bases_only() {
        let own = policy("https://mesh.example.com:8443", &[]);
        assert!(
            own.connect_url("wss://mesh.example.com:8443/x", "i")
                .is_ok()
        );
        assert!(own.connect_url("wss://mesh.example.com/x", "i").is_ok());
        assert_eq!(
            own.connect_url("wss://ws.example.com/x", "i").err(),
            Some(ForeignHost)
        );
        assert_eq!(
            own.connect_url("wss://api.svantic.com", "i").err(),
            Some(ForeignHost)
        );
        let listed = policy(
            "https://mesh.example.com",
            &["WS.example.com:9443", "edge.example.org"],
        );
        assert!(
            listed
                .connect_url("wss://ws.example.com:9443/x", "i")
                .is_ok()
        );
        assert!(listed.connect_url("wss://edge.example.org/x", "i").is_ok());
        assert_eq!(
            listed.connect_url("wss://ws.example.com/x", "i").err(),
            Some(ForeignHost)
        );
    }

    #[test]
    fn the_instance_id_is_added_once_and_encoded() {
        let policy = policy("http://127.0.0.1:8080", &[]);
        let dial = |url: &str| policy.connect_url(url, "a b&c").unwrap().to_string();
        assert_eq!(
            dial("ws://127.0.0.1:8080/agents/connect"),
            "ws://127.0.0.1:8080/agents/connect?instance_id=a+b%26c"
        );
        assert_eq!(
            dial("ws://127.0.0.1:8080/agents/connect?region=eu"),
            "ws://127.0.0.1:8080/agents/connect?region=eu&instance_id=a+b%26c"
        );
        assert_eq!(
            dial("ws://127.0.0.1:8080/agents/connect?instance_id=x"),
            "ws://127.0.0.1:8080/agents/connect?instance_id=x"
        );
    }
}
