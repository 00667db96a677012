//! Which proxy the mesh is reached through, as it was given. What it means for a target is for `net` to say.

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::environment::Environment;
use super::fields::Fields;
use crate::error::{Error, ErrorKind};

/// Where a proxy comes from. A URL may hold a password, so each is a secret as a whole.
pub enum ProxySetting {
    /// `"none"`: whatever the environment says.
    None,
    /// `proxy`: for every target, this machine included.
    Given(SecretString),
    /// The environment's, which never reroute what stays on this machine.
    Environment {
        /// For `https` and `wss`.
        https: Option<Variable>,
        /// For `http` and `ws`.
        http: Option<Variable>,
        /// `NO_PROXY`: the targets that are reached directly.
        except: String,
    },
}

/// A variable with the URL of a proxy.
#[derive(Clone)]
pub struct Variable {
    /// Its name, for errors.
    pub name: &'static str,
    /// Its value.
    pub value: SecretString,
}

pub(super) fn proxy(
    fields: &mut Fields,
    environment: Environment<'_>,
) -> Result<ProxySetting, Error> {
    match fields.secret("proxy")? {
        Some(text) if text.expose_secret() == "none" => Ok(ProxySetting::None),
        Some(text) => match flaw(text.expose_secret()) {
            None => Ok(ProxySetting::Given(text)),
            Some(flaw) => Err(Error::new(
                ErrorKind::InvalidArgument,
                "INVALID_PROXY",
                // The text itself may hold a password, so it is not quoted.
                format!("`proxy` was refused: {flaw}"),
            )
            .hint("give a URL like http://user:password@proxy.example.com:3128, or \"none\"")),
        },
        None => Ok(from_environment(environment)),
    }
}

fn flaw(text: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(text) else {
        return Some("it is not a URL");
    };
    if url.scheme() != "http" {
        return Some("its scheme is not http, the only one that proxies are spoken to by");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Some("it names no host");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Some("there is something behind the host and the port");
    }
    None
}

fn from_environment(environment: Environment<'_>) -> ProxySetting {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let value = environment(name)?.into();
            Some(Variable { name, value })
        })
    };
    let all = first(&["ALL_PROXY", "all_proxy"]);
    // In a CGI program HTTP_PROXY is the request's `Proxy` header: whoever sends it would see our traffic.
    let http: &[_] = if environment("REQUEST_METHOD").is_some() {
        &["http_proxy"]
    } else {
        &["HTTP_PROXY", "http_proxy"]
    };
    ProxySetting::Environment {
        https: first(&["HTTPS_PROXY", "https_proxy"]).or_else(|| all.clone()),
        http: first(http).or(all),
        except: ["NO_PROXY", "no_proxy"]
            .into_iter()
            .find_map(environment)
            .unwrap_or_default(),
    }
}
