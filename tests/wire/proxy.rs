//! Through a proxy: HTTP calls and the WebSocket alike, and what becomes of its refusals and of its end.

use std::sync::{Arc, mpsc};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use svantic::config::Config;
use svantic::connector::{Completion, Delivery, MeshConnector, Sink};
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Faults, Gateway, Options, Override};

use crate::abi::proxy::{Connect, Proxy};
use crate::abi::raw::forbidden;
use crate::abi::{Agent, GUARD, config, gateway};
use crate::secrets::run_child;
use crate::tls::file;

const CREDENTIALS: &str = "desk:p@ss:word-of-the-proxy";
/// The same in a URL.
const USER: &str = "desk:p%40ss%3Aword-of-the-proxy@";

fn tls_gateway() -> Gateway {
    Gateway::start(Options {
        tls: true,
        ..Options::default()
    })
    .unwrap()
}

/// Neither the password nor what carries it.
#[track_caller]
fn hides_the_password(agent: &Agent, said: &str) {
    let shown = format!(
        "{said}\n{}\n{}",
        Value::from(agent.history()),
        agent.snapshot()
    );
    for form in [
        "word-of-the-proxy",
        &STANDARD.encode(CREDENTIALS),
        "ZGVzazpwQHNzOndvcmQ",
    ] {
        assert!(!shown.contains(form), "{form} shows in {shown}");
    }
}

/// Makes an address at which nobody listens the gateway's, by way of the proxy.
fn only_through_a_proxy(gateway: &Gateway, host: &str) -> String {
    let place = format!("{host}:{}", gateway.address().port());
    gateway.set_faults(Faults {
        connect_url: Some(Override::Text(format!("ws://{place}/agents/connect"))),
        ..Faults::default()
    });
    format!("http://{place}")
}

#[test]
fn http_and_websocket_of_a_plain_mesh_go_through_it() {
    let (gateway, proxy) = (gateway(), Proxy::start());
    proxy.wants(Some(CREDENTIALS));
    let base = only_through_a_proxy(&gateway, "127.99.0.1");
    let more = json!({"proxy": proxy.url(USER), "svantic_url": base});
    let agent = Agent::connected(&gateway, &more);
    agent.serves(&gateway);
    let session = agent.create_session(0).unwrap();
    agent.close_session(&session, 0).unwrap();
    agent.disconnect().unwrap();
    let (posts, tunnels) = (proxy.count("POST"), proxy.count("CONNECT"));
    assert!(posts >= 1, "{:?}", proxy.asked());
    assert_eq!(tunnels, 1);
    let expected = format!("Basic {}", STANDARD.encode(CREDENTIALS));
    for asked in proxy.asked() {
        assert_eq!(asked.authorization.as_ref(), Some(&expected), "{asked:?}");
        assert!(asked.target.contains("127.99.0.1"), "{asked:?}");
    }
    hides_the_password(&agent, "");
    assert_eq!(gateway.violations(), [""; 0]);
}

#[test]
fn http_and_websocket_of_a_mesh_with_tls_go_through_it() {
    let (gateway, proxy) = (tls_gateway(), Proxy::start());
    proxy.wants(Some(CREDENTIALS));
    let ca = file("proxied.pem", gateway.ca_pem().unwrap().as_bytes());
    let more = json!({"proxy": proxy.url(USER), "ca_file": ca});
    let agent = Agent::connected(&gateway, &more);
    agent.serves(&gateway);
    // At least one for HTTP and exactly one more for each WebSocket.
    let before = proxy.count("CONNECT");
    assert!(before >= 2, "{:?}", proxy.asked());
    assert_eq!(proxy.asked().len(), before, "nothing but tunnels");
    assert!(gateway.abort(agent.id()));
    agent.enters("reconnecting");
    agent.enters("connected");
    agent.serves(&gateway);
    assert!(proxy.count("CONNECT") > before);
    let place = format!("localhost:{}", gateway.address().port());
    for asked in proxy.asked() {
        assert_eq!(asked.target, place);
    }
    agent.disconnect().unwrap();
    hides_the_password(&agent, "");
}

#[test]
fn wrong_credentials_are_a_407_in_both_ways_of_http() {
    let (plain, tls) = (gateway(), tls_gateway());
    let ca = file("proxy-407.pem", tls.ca_pem().unwrap().as_bytes());
    for gateway in [&plain, &tls] {
        for (user, wanted) in [(USER, "desk:another"), ("", CREDENTIALS)] {
            let proxy = Proxy::start();
            proxy.wants(Some(wanted));
            let agent = Agent::of(gateway, &json!({"proxy": proxy.url(user), "ca_file": ca}));
            let failure = agent.connect().unwrap_err();
            assert_eq!(failure.status, Status::Auth, "{failure:?}");
            let from = format!("HTTP 407 from the proxy {}", proxy.name());
            failure.says(&["[HTTP_407]", &from, "`proxy`", "/auth/get_token"]);
            agent.is(State::Idle);
            hides_the_password(&agent, &failure.text);
            // With what it wants the same agent gets through.
            proxy.wants(None);
            agent.connect().unwrap();
            agent.serves(gateway);
        }
    }
}

/// T17, and T40 out of it.
#[test]
fn a_407_for_the_websocket_blocks_until_the_proxy_is_content_again() {
    let (gateway, proxy) = (gateway(), Proxy::start());
    proxy.wants(Some(CREDENTIALS));
    let agent = Agent::connected(&gateway, &json!({"proxy": proxy.url(USER)}));
    proxy.wants(Some("desk:changed"));
    assert!(gateway.abort(agent.id()));
    let told = agent.event("auth_failed");
    assert_eq!(told["code"], "HTTP_407");
    assert!(
        told["message"].as_str().unwrap().contains(&proxy.name()),
        "{told}"
    );
    agent.enters("blocked");
    proxy.wants(Some(CREDENTIALS));
    agent.enters("connected");
    agent.serves(&gateway);
    hides_the_password(&agent, "");
}

#[test]
fn other_refusals_of_connect_are_reported_with_their_status() {
    let (gateway, proxy) = (gateway(), Proxy::start());
    for status in [401, 403, 404, 502, 503] {
        proxy.on_connect(Connect::Refuse(status));
        let more = json!({"proxy": proxy.url(""), "fail_fast": true});
        let agent = Agent::of(&gateway, &more);
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Remote, "{failure:?}");
        let from = format!("HTTP {status} from the proxy {}", proxy.name());
        failure.says(&[&from, "dialing the WebSocket", "check `proxy`"]);
        agent.is(State::Idle);
    }
    // Neither the 401 nor the 404 is the mesh's: no token and no registration is asked for again.
    proxy.on_connect(Connect::Tunnel);
    let agent = Agent::connected(&gateway, &json!({"proxy": proxy.url("")}));
    agent.enters("connected");
    let before = gateway.requests().len();
    proxy.on_connect(Connect::Refuse(404));
    assert!(gateway.abort(agent.id()));
    agent.event_with("backoff", |data| data["cause"] == "HTTP_404");
    proxy.on_connect(Connect::Refuse(401));
    agent.event_with("backoff", |data| data["cause"] == "HTTP_401");
    proxy.on_connect(Connect::Tunnel);
    agent.enters("connected");
    let paths: Vec<_> = gateway.requests()[before..]
        .iter()
        .map(|request| request.path.clone())
        .collect();
    assert_eq!(paths, ["/agents/connect"]);
}

#[test]
fn connect_of_a_mesh_with_tls_that_is_refused_names_the_proxy() {
    let (gateway, proxy) = (tls_gateway(), Proxy::start());
    let ca = file("proxy-refuses.pem", gateway.ca_pem().unwrap().as_bytes());
    proxy.on_connect(Connect::Refuse(503));
    let more = json!({"proxy": proxy.url(""), "ca_file": ca, "fail_fast": true});
    let failure = Agent::of(&gateway, &more).connect().unwrap_err();
    assert_eq!(failure.status, Status::Network, "{failure:?}");
    failure.says(&[&format!("through the proxy {}", proxy.name()), "tunnel"]);
}

#[test]
fn a_proxy_that_dies_ends_the_link_and_is_used_again_when_it_is_back() {
    let (gateway, proxy) = (gateway(), Proxy::start());
    let agent = Agent::connected(&gateway, &json!({"proxy": proxy.url("")}));
    agent.serves(&gateway);
    let (port, name) = (proxy.port(), proxy.name());
    drop(proxy);
    agent.enters("reconnecting");
    let cause = agent.event_with("backoff", |data| data["cause"] == "UNREACHABLE");
    assert_eq!(cause["cause"], "UNREACHABLE", "{name}");
    let proxy = Proxy::start_at(port);
    agent.enters("connected");
    agent.serves(&gateway);
    assert_eq!(proxy.count("CONNECT"), 1);
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let gateway = gateway();
    let (port, name) = {
        let gone = Proxy::start();
        (gone.port(), gone.name())
    };
    let more = json!({"proxy": format!("http://127.0.0.1:{port}"), "fail_fast": true});
    let failure = Agent::of(&gateway, &more).connect().unwrap_err();
    assert_eq!(failure.status, Status::Network, "{failure:?}");
    failure.says(&[&format!("through the proxy {name}"), "efused"]);
    assert_eq!(gateway.requests().len(), 0);
}

/// A stage ends by its limit and the attempt by its own, whether the proxy is silent, drips or goes blind.
#[test]
fn a_proxy_that_hangs_ends_with_its_stage() {
    let (gateway, proxy) = (gateway(), Proxy::start());
    for (connect, stage) in [
        (Connect::Silence, "the proxy's CONNECT"),
        (Connect::Drip, "the proxy's CONNECT"),
        (Connect::BlindTunnel, "the WebSocket upgrade"),
    ] {
        proxy.on_connect(connect);
        for (more, says) in [
            (
                json!({"stage_timeout_ms": 150}),
                format!("{stage} took longer than 150 ms"),
            ),
            (
                // The stage alone would outlive connect.
                json!({"attempt_timeout_ms": 150, "stage_timeout_ms": 3_600_000}),
                format!("the attempt, at last {stage}, took longer than 150 ms"),
            ),
        ] {
            let mut more = more;
            more["proxy"] = proxy.url("").into();
            more["fail_fast"] = true.into();
            let agent = Agent::of(&gateway, &more);
            let failure = agent.connect().unwrap_err();
            assert_eq!(failure.status, Status::Timeout, "{failure:?}");
            failure.says(&[&says, "[TIMEOUT]", "dialing the WebSocket"]);
        }
    }
}

/// A newcomer's gateway on this machine works behind whatever the environment names.
#[test]
fn the_environment_never_reroutes_what_stays_on_this_machine() {
    let (gateway, forbidden) = (gateway(), forbidden());
    let mut config = config(&gateway.url());
    config["client_id"] = gateway.client_id().into();
    config["client_secret"] = gateway.client_secret().into();
    run_child(&config, |child| {
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
        ] {
            child.env(name, forbidden.url());
        }
        child.env_remove("NO_PROXY").env_remove("no_proxy");
    });
    assert_eq!(forbidden.connections(), 0);
    let instance = config["instance_id"].as_str().unwrap();
    assert_eq!(gateway.agent(instance).unwrap().welcomes, 1);
}

struct Nobody;

impl Sink for Nobody {
    fn deliver(&self, batch: &mut Vec<Delivery>) {
        batch.clear();
    }

    fn closed(&self) {}
}

/// The name has no address: without the proxy nothing could be reached, and it is the proxy that resolves it.
#[test]
fn the_environments_proxy_serves_http_and_websocket() {
    let (gateway, proxy) = (gateway(), Proxy::start());
    proxy.wants(Some(CREDENTIALS));
    let base = only_through_a_proxy(&gateway, "mesh.invalid");
    let mut config = config(&base);
    config["client_id"] = gateway.client_id().into();
    config["client_secret"] = gateway.client_secret().into();
    config["allow_insecure"] = true.into();
    let environment = |name: &str| match name {
        "http_proxy" => Some(proxy.url(USER)),
        "NO_PROXY" => Some("mesh.invalid:1,.other.invalid,10.0.0.0/8".to_owned()),
        _ => None,
    };
    let config = Config::parse(&config.to_string(), &environment).unwrap();
    let connector = MeshConnector::new(config, Arc::new(Nobody), "").unwrap();
    let (done, outcome) = mpsc::channel();
    connector.connect(None, Completion::new(move |result| drop(done.send(result))));
    outcome.recv_timeout(GUARD).unwrap().unwrap();
    assert!(proxy.count("POST") >= 1, "{:?}", proxy.asked());
    assert_eq!(proxy.count("CONNECT"), 1);
    connector.stop();
    assert!(connector.wait_ended(GUARD));
}
