//! Which proxy a target is reached through: one decision for HTTP calls and for the WebSocket.

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use crate::config::ProxySetting;
use crate::error::{Error, ErrorKind};
use crate::protocol::origin::is_loopback;

/// A proxy, and what it is shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    /// Scheme, host and port; no user, no password.
    pub(super) address: Url,
    /// `Basic`, marked as sensitive. hyper keeps it in bytes that it does not wipe.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Host and port, for people.
    pub(crate) fn name(&self) -> String {
        let host = self.address.host_str().unwrap_or_default();
        format!("{host}:{}", self.port())
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port_or_known_default().unwrap_or(80)
    }
}

/// The setting of one connector; `None` where the environment names no proxy, as mostly.
pub(crate) struct Proxies(Option<Box<Setting>>);

struct Setting {
    setting: ProxySetting,
    allow_insecure: bool,
}

impl Proxies {
    pub(crate) fn new(setting: ProxySetting, allow_insecure: bool) -> Self {
        let names_none = matches!(
            setting,
            ProxySetting::Environment {
                https: None,
                http: None,
                ..
            }
        );
        let setting = Setting {
            setting,
            allow_insecure,
        };
        Self((!names_none).then(|| Box::new(setting)))
    }

    /// The proxy for a target; `None` is the direct way. An error is a setting that cannot be followed: going
    /// past a proxy that somebody asked for would be worse than not going at all.
    pub(crate) fn route(&self, target: &Url) -> Result<Option<Proxy>, Error> {
        let Some(Setting {
            setting,
            allow_insecure,
        }) = self.0.as_deref()
        else {
            return Ok(None);
        };
        let plain = matches!(target.scheme(), "http" | "ws");
        let (origin, value, except) = match setting {
            ProxySetting::None => return Ok(None),
            ProxySetting::Given(value) => ("`proxy`", value, ""),
            ProxySetting::Environment {
                https,
                http,
                except,
            } => match if plain { http } else { https } {
                // A mesh on this machine must work behind whatever the environment names.
                Some(variable) if !is_loopback(target) => {
                    (variable.name, &variable.value, except.as_str())
                }
                _ => return Ok(None),
            },
        };
        if is_excepted(target, except) {
            return Ok(None);
        }
        let proxy = usable(value).ok_or_else(|| {
            // The value may hold a password, so it is not quoted.
            Error::new(
                ErrorKind::InvalidArgument,
                "INVALID_PROXY",
                format!("the proxy in {origin} is not an http:// URL that can be used"),
            )
            .hint("set `proxy` to an http:// URL, or to \"none\" to go without one")
        })?;
        if plain && !allow_insecure && !is_loopback(&proxy.address) {
            let name = proxy.name();
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "INSECURE_PROXY",
                format!("the token would travel unencrypted to the proxy {name}"),
            )
            .hint("use https and wss, leave out `proxy`, or permit it with `allow_insecure`"));
        }
        Ok(Some(proxy))
    }
}

/// Reads the URL of a proxy, which may lack its scheme in the environment.
fn usable(value: &SecretString) -> Option<Proxy> {
    let matcher = Matcher::builder().all(value.expose_secret()).build();
    let intercept = matcher.intercept(&Uri::from_static("https://mesh/"))?;
    let address = Url::parse(&intercept.uri().to_string()).ok()?;
    (address.scheme() == "http").then(|| Proxy {
        address,
        authorization: intercept.basic_auth().cloned(),
    })
}

/// Whether `NO_PROXY` names the target. hyper-util knows hosts, suffixes, addresses and networks; ports, brackets
/// and `*.` are common as well and brought into its form here.
fn is_excepted(target: &Url, except: &str) -> bool {
    let port = target.port_or_known_default().map(|port| port.to_string());
    let entries: Vec<String> = except
        .split(',')
        .filter_map(|entry| {
            let (host, wanted) = split_port(entry.trim());
            let host = host.strip_prefix("*.").unwrap_or(host);
            (wanted.is_none() || wanted == port.as_deref()).then(|| host.to_owned())
        })
        .collect();
    // hyper-util takes it for names only.
    if entries.iter().any(|entry| entry == "*") {
        return true;
    }
    let host = match target.host() {
        // A name at the root is the same name.
        Some(Host::Domain(name)) => name.trim_end_matches('.').to_owned(),
        Some(host) => host.to_string(),
        None => return false,
    };
    let Ok(uri) = Uri::try_from(format!("https://{host}/")) else {
        return false;
    };
    let matcher = Matcher::builder().all("http://proxy").no(entries.join(","));
    matcher.build().intercept(&uri).is_none()
}

/// `host:port`, `[address]:port` or either without a port. An address of IPv6 without brackets has none.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty()
                && port.bytes().all(|b| b.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']')) =>
        {
            (host, Some(port))
        }
        _ => (entry, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    type Variables = &'static [(&'static str, &'static str)];

    fn proxies(more: &str, variables: Variables) -> Result<Proxies, Error> {
        let json = format!(r#"{{"name":"n","description":"d","token":"t"{more}}}"#);
        let environment = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let config = Config::parse(&json, &environment)?;
        Ok(Proxies::new(config.proxy, config.allow_insecure))
    }

    /// The way to a target: the proxy's name, `direct`, or the error's code.
    fn way(proxies: &Proxies, target: &str) -> String {
        match proxies.route(&Url::parse(target).unwrap()) {
            Ok(Some(proxy)) => proxy.name(),
            Ok(None) => "direct".to_owned(),
            Err(error) => error.code().to_owned(),
        }
    }

    #[test]
    fn the_environment_decides_where_nothing_is_given() {
        let both: Variables = &[("HTTPS_PROXY", "http://s:1"), ("http_proxy", "http://h:2")];
        let all: Variables = &[("all_proxy", "http://a:3"), ("HTTPS_PROXY", "http://s:1")];
        let order: Variables = &[("https_proxy", "http://low:1"), ("HTTPS_PROXY", "up:2")];
        let cgi: Variables = &[("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "http://h:2")];
        let insecure = r#","allow_insecure":true"#;
        for (variables, target, expected) in [
            (&[] as Variables, "https://mesh.example", "direct"),
            (both, "https://mesh.example", "s:1"),
            (both, "wss://mesh.example/agents/connect", "s:1"),
            (both, "http://mesh.example", "h:2"),
            (both, "ws://mesh.example", "h:2"),
            (all, "wss://mesh.example", "s:1"),
            (all, "ws://mesh.example", "a:3"),
            (order, "https://mesh.example", "up:2"),
            (cgi, "http://mesh.example", "direct"),
            // What stays on this machine is nobody else's business.
            (both, "https://localhost:8443", "direct"),
            (both, "http://127.0.0.1:8080", "direct"),
            (both, "ws://127.9.9.9:8080", "direct"),
            (both, "wss://[::1]:8443", "direct"),
        ] {
            let proxies = proxies(insecure, variables).unwrap();
            assert_eq!(way(&proxies, target), expected, "{target} {variables:?}");
        }
    }

    #[test]
    fn what_is_given_wins_over_the_environment_and_is_meant_for_this_machine_too() {
        let variables: Variables = &[
            ("HTTPS_PROXY", "http://env:1"),
            ("NO_PROXY", "*"),
            ("ALL_PROXY", "http://env:2"),
        ];
        let given = proxies(r#","proxy":"http://given:3128""#, variables).unwrap();
        let none = proxies(r#","proxy":"none""#, variables).unwrap();
        for target in ["https://mesh.example", "wss://localhost:1", "wss://[::1]:1"] {
            assert_eq!(way(&given, target), "given:3128");
            assert_eq!(way(&none, target), "direct");
        }
        let default_port = proxies(r#","proxy":"http://given""#, &[]).unwrap();
        assert_eq!(way(&default_port, "https://mesh.example"), "given:80");
    }

    #[test]
    fn no_proxy_names_hosts_suffixes_networks_and_ports() {
        let rows: &[(&str, &[&str], &[&str])] = &[
            ("*", &["https://mesh.example", "https://192.0.2.1"], &[]),
            (
                "other.example, mesh.example",
                &[
                    "https://mesh.example",
                    "wss://MESH.example:8443",
                    "https://mesh.example.",
                ],
                &["https://amesh.example", "https://mesh.example.org"],
            ),
            (
                "example.com,.suffix.org,*.star.net",
                &[
                    "https://a.b.example.com",
                    "https://example.com",
                    "https://a.suffix.org",
                    "https://a.star.net",
                ],
                &["https://badexample.com", "https://badsuffix.org"],
            ),
            (
                "192.0.2.7,198.51.100.0/24,2001:db8::/32,[2001:db9::1]",
                &[
                    "https://192.0.2.7",
                    "wss://198.51.100.200:9",
                    "https://[2001:db8::9]",
                    "https://[2001:db9::1]",
                ],
                &[
                    "https://192.0.2.8",
                    "https://198.51.101.1",
                    "https://[2001:db9::2]",
                ],
            ),
            (
                "mesh.example:8443,192.0.2.7:443,[2001:db8::1]:8443",
                &[
                    "https://mesh.example:8443",
                    "wss://192.0.2.7",
                    "https://[2001:db8::1]:8443",
                ],
                &[
                    "https://mesh.example",
                    "https://192.0.2.7:444",
                    "https://[2001:db8::1]",
                ],
            ),
            ("", &[], &["https://mesh.example"]),
            (",, ,", &[], &["https://mesh.example"]),
        ];
        for (except, direct, proxied) in rows {
            let except: &'static str = except;
            for variable in ["NO_PROXY", "no_proxy"] {
                let variables = vec![("HTTPS_PROXY", "http://s:1"), (variable, except)];
                let proxies = proxies("", variables.leak()).unwrap();
                for target in *direct {
                    assert_eq!(way(&proxies, target), "direct", "{target} {except}");
                }
                for target in *proxied {
                    assert_eq!(way(&proxies, target), "s:1", "{target} {except}");
                }
            }
        }
    }

    #[test]
    fn a_setting_that_cannot_be_followed_is_not_gone_past() {
        for value in [
            "socks5://u:hunter2@s:1",
            "https://u:hunter2@s:1",
            "http://u:hun ter2@s",
        ] {
            let variables = vec![("ALL_PROXY", value), ("NO_PROXY", "direct.example")];
            let proxies = proxies("", variables.leak()).unwrap();
            let error = proxies.route(&Url::parse("https://mesh.example").unwrap());
            let error = error.err().unwrap();
            assert_eq!(error.code(), "INVALID_PROXY");
            assert!(error.to_string().contains("ALL_PROXY"), "{error}");
            assert!(!error.to_string().contains("hun"), "{error}");
            assert_eq!(way(&proxies, "https://direct.example"), "direct");
        }
        for value in [
            "socks5://u:hunter2@s:1",
            "https://u:hunter2@s:1",
            "u:hunter2@s:1",
            "http://u:hunter2@s:1/path",
            "http://u:hunter2@s:99999",
            "http://u:hunter2@",
            "hunter2",
        ] {
            let error = proxies(&format!(r#","proxy":"{value}""#), &[])
                .err()
                .unwrap();
            assert_eq!(error.code(), "INVALID_PROXY", "{value}");
            assert!(error.to_string().contains("`proxy`"), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    /// Without TLS the token is there to read for whoever forwards it.
    #[test]
    fn plain_text_goes_to_no_proxy_elsewhere_unless_permitted() {
        let given = r#","proxy":"http://192.0.2.1:3128""#;
        let careful = proxies(given, &[]).unwrap();
        assert_eq!(way(&careful, "http://127.0.0.1:8080"), "INSECURE_PROXY");
        assert_eq!(way(&careful, "ws://localhost:8080"), "INSECURE_PROXY");
        assert_eq!(way(&careful, "wss://localhost:8080"), "192.0.2.1:3128");
        let permitted = format!(r#"{given},"allow_insecure":true"#);
        let permitted = proxies(&permitted, &[]).unwrap();
        assert_eq!(way(&permitted, "ws://localhost:8080"), "192.0.2.1:3128");
        let here = proxies(r#","proxy":"http://127.0.0.1:3128""#, &[]).unwrap();
        assert_eq!(way(&here, "ws://localhost:8080"), "127.0.0.1:3128");
    }

    #[test]
    fn the_password_is_decoded_sent_as_basic_and_shown_to_nobody() {
        let proxies = proxies(r#","proxy":"http://desk:p%40ss@s:1""#, &[]).unwrap();
        let proxy = proxies.route(&Url::parse("https://m.example").unwrap());
        let proxy = proxy.unwrap().unwrap();
        let authorization = proxy.authorization.as_ref().unwrap();
        // printf 'desk:p@ss' | base64
        assert_eq!(authorization, "Basic ZGVzazpwQHNz");
        assert!(authorization.is_sensitive());
        assert_eq!(proxy.address.as_str(), "http://s:1/");
    }
}
