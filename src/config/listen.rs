//! `listen`: the library serves by itself. The address is bound while the configuration is read: it has to be known for
//! the URL that the mesh is told, and one that is taken is an error here and not later.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::certificate_and_key;
use super::fields::Fields;
use crate::error::{Error, ErrorKind};
use crate::protocol::origin::BaseUrl;

/// How many connections the kernel holds until they are accepted.
const BACKLOG: i32 = 1_024;

/// Where the library itself listens.
#[derive(Debug)]
pub struct Listen {
    /// Bound, and listening: whoever connects before there is a server waits for it.
    pub listener: TcpListener,
    /// Its address, with the port that port 0 has become.
    pub address: SocketAddr,
    /// The files of the certificate chain and of its key.
    pub tls: Option<(String, String)>,
}

impl Listen {
    /// What is bound, as a URL; from where that leads here is another question.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The URL for the mesh of an agent that was given none.
    pub(super) fn public_url(&self, allow_insecure: bool) -> Result<String, Error> {
        let refused = |why: &str| {
            let text = format!(
                "`public_url` is missing in the configuration: {} of `listen` {why}",
                self.url()
            );
            Error::new(ErrorKind::InvalidArgument, "INVALID_CONFIG", text)
                .hint("give the https URL by which the mesh reaches this agent, that of a proxy in front of it for example")
        };
        if self.address.ip().is_unspecified() {
            return Err(refused("names no machine"));
        }
        BaseUrl::parse(&self.url(), allow_insecure)
            .map(|url| url.as_str().to_owned())
            .map_err(|error| {
                refused(&format!(
                    "cannot be what the mesh is told: {}",
                    error.reason()
                ))
            })
    }
}

/// Reads `"127.0.0.1:8080"` or `{"address", "certificate_file", "key_file"}`, and binds.
pub(super) fn listen(fields: &mut Fields) -> Result<Option<Listen>, Error> {
    let (text, tls) = match fields.take("listen") {
        None => return Ok(None),
        Some(Value::String(text)) => (text, None),
        Some(value @ Value::Object(_)) => {
            let known = ["address", "certificate_file", "key_file"];
            let mut inner = Fields::parse(&value.to_string(), "object `listen`", &known)?;
            let text = inner
                .text("address")?
                .ok_or_else(|| inner.missing("address", "such as \"127.0.0.1:8080\""))?;
            let tls = certificate_and_key(&mut inner, "certificate_file", "key_file")?;
            (text, tls)
        }
        Some(_) => return Err(no_address()),
    };
    let address = address(&text)?;
    let (listener, address) = bind(address).map_err(|error| refused(address, &error))?;
    Ok(Some(Listen {
        listener,
        address,
        tls,
    }))
}

/// An IP address and a port. `localhost` is 127.0.0.1: what else it may mean is no matter of a name server's.
fn address(text: &str) -> Result<SocketAddr, Error> {
    if let Some(port) = text.strip_prefix("localhost:")
        && let Ok(port) = port.parse()
    {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| no_address())
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // What is left of connections to a predecessor does not keep the port from us. On Windows it would let two agents
    // listen on one.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

fn refused(address: SocketAddr, error: &io::Error) -> Error {
    let (code, hint) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            "ADDRESS_IN_USE",
            "another program, or another agent, listens there: end it, or choose another port; port 0 is any free one",
        ),
        io::ErrorKind::PermissionDenied => (
            "ADDRESS_NOT_PERMITTED",
            "ports below 1024 need privileges: choose a higher one",
        ),
        io::ErrorKind::AddrNotAvailable => (
            "ADDRESS_NOT_AVAILABLE",
            "it must be an address of this machine: 127.0.0.1, or 0.0.0.0 for all that it has",
        ),
        _ => ("LISTEN_FAILED", "choose another address or port"),
    };
    let text = format!("`listen` {address}: {error}");
    Error::new(ErrorKind::Network, code, text).hint(hint)
}

fn no_address() -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "INVALID_CONFIG",
        "`listen` in the configuration must be an IP address and a port, or an object with such an `address`",
    )
    .hint("\"127.0.0.1:8080\", \"[::1]:8080\", or \"0.0.0.0:8080\" to be reached from other machines; port 0 is any free one")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Config, DeploymentMode};
    use super::*;

    fn parse(changes: &Value) -> Result<Config, Error> {
        let mut config = json!({"name":"n","description":"d","client_id":"i","client_secret":"s"});
        let fields = config.as_object_mut().unwrap();
        fields.extend(changes.as_object().unwrap().clone());
        Config::parse(&config.to_string(), &|_| None)
    }

    fn refused(changes: &Value) -> Error {
        parse(changes)
            .err()
            .unwrap_or_else(|| panic!("accepted: {changes}"))
    }

    #[test]
    fn the_address_is_bound_and_becomes_the_public_url() {
        for (listen, host) in [
            (json!("127.0.0.1:0"), "127.0.0.1"),
            (json!("localhost:0"), "127.0.0.1"),
            (json!({"address": "127.0.0.1:0"}), "127.0.0.1"),
        ] {
            let config = parse(&json!({ "listen": listen })).unwrap();
            assert_eq!(config.mode, DeploymentMode::Hosted);
            let listen = config.hosted.listen.unwrap();
            let port = listen.address.port();
            assert_ne!(port, 0);
            assert_eq!(listen.listener.local_addr().unwrap(), listen.address);
            let url = config.identity.public_url.unwrap();
            assert_eq!(url, format!("http://{host}:{port}"));
            assert!(config.identity.instance_id.ends_with(&format!("-{port}")));
        }
        let both = json!({"listen": "127.0.0.1:0", "public_url": "https://a.example/x"});
        let identity = parse(&both).unwrap().identity;
        assert_eq!(identity.public_url.as_deref(), Some("https://a.example/x"));
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_with_a_way_out() {
        let first = parse(&json!({"listen": "127.0.0.1:0"})).unwrap();
        let address = first.hosted.listen.as_ref().unwrap().address.to_string();
        let error = refused(&json!({ "listen": address }));
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Network, "ADDRESS_IN_USE")
        );
        let text = error.to_string();
        assert!(text.contains(&address) && text.contains("port 0"), "{text}");
        drop(first);
        parse(&json!({ "listen": address })).unwrap();
        let error = refused(&json!({"listen": "192.0.2.1:0"}));
        assert_eq!(error.code(), "ADDRESS_NOT_AVAILABLE");
    }

    #[test]
    fn what_the_mesh_could_not_reach_needs_a_url() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let error = refused(&json!({ "listen": address }));
            assert!(error.message().contains("public_url"), "{error}");
            let url = "https://a.example";
            parse(&json!({"listen": address, "public_url": url})).unwrap();
            // Nobody is told there.
            parse(&json!({"listen": address, "local": true})).unwrap();
        }
        let listen = |tls| Listen {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            address: "192.0.2.1:80".parse().unwrap(),
            tls,
        };
        let error = listen(None).public_url(false).unwrap_err();
        assert!(error.message().contains("192.0.2.1"), "{error}");
        listen(None).public_url(true).unwrap();
        let files = Some(("c".to_owned(), "k".to_owned()));
        let url = listen(files).public_url(false).unwrap();
        assert_eq!(url, "https://192.0.2.1:80");
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for wrong in [
            json!("8080"),
            json!(8080),
            json!(":8080"),
            json!("127.0.0.1"),
            json!("localhost"),
            json!("example.com:80"),
            json!("127.0.0.1:99999"),
            json!(["127.0.0.1:0"]),
            json!({}),
            json!({"address": "127.0.0.1:0", "key_file": "k"}),
            json!({"address": "127.0.0.1:0", "certificate_file": "c"}),
            json!({"address": "127.0.0.1:0", "cert_file": "c"}),
            json!({"address": 80}),
        ] {
            let error = refused(&json!({ "listen": wrong }));
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wrong}");
            assert!(text.contains("listen"), "{wrong}: {text}");
        }
        let connected = json!({"listen": "127.0.0.1:0", "deployment_mode": "connected"});
        assert!(refused(&connected).message().contains("listen"));
    }
}
