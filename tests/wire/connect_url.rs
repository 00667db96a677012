//! A registration reply cannot send the token to another host (`security.md` S-05).

use std::net::{IpAddr, Ipv6Addr, TcpListener};

use serde_json::json;
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Authorization, Faults, Gateway, Options, Override};

use crate::abi::raw::forbidden;
use crate::abi::{Agent, gateway, requests};

fn connect_url(url: &str) -> Faults {
    Faults {
        connect_url: Some(Override::Text(url.to_owned())),
        ..Faults::default()
    }
}

#[test]
fn a_foreign_host_is_never_connected_to() {
    let gateway = gateway();
    let listener = forbidden();
    let (host, own) = (listener.address(), gateway.address());
    for url in [
        format!("ws://{host}/agents/connect"),
        format!("wss://{host}/agents/connect"),
        format!("ws://{own}@{host}/agents/connect"),
        format!("ws://{host}\\@{own}/"),
        format!("ws://{host}#@{own}/"),
        format!("ws://[::ffff:127.0.0.2]:{}/", host.port()),
        format!("ws://2130706434:{}/", host.port()),
        format!("ws://localhost:{}/agents/connect", host.port()),
        format!("ws://127.0.0.1:{}/agents/connect", host.port()),
        format!("http://{own}/agents/connect"),
        "ws://127.0.0.1.example.com/".to_owned(),
        "/agents/connect".to_owned(),
    ] {
        gateway.set_faults(connect_url(&url));
        let agent = Agent::of(&gateway, &json!({}));
        let failure = agent.connect().expect_err(&url);
        assert_eq!(failure.status, Status::Protocol, "{url}");
        failure.says(&[
            "CONNECT_URL_REJECTED",
            "/agents/register",
            "allowed_connect_hosts",
        ]);
        agent.is(State::Failed);
        assert_eq!(agent.event("failed")["code"], "CONNECT_URL_REJECTED");
    }
    assert_eq!(listener.connections(), 0);
    assert_eq!(requests(&gateway, "/agents/connect"), 0);
}

#[test]
fn a_listed_host_gets_the_token() {
    let gateway = gateway();
    let port = gateway.address().port();
    gateway.set_faults(connect_url(&format!(
        "ws://localhost:{port}/agents/connect"
    )));
    let listed = format!("LOCALHOST:{port}");
    let agent = Agent::connected(&gateway, &json!({"allowed_connect_hosts": [listed]}));
    agent.serves(&gateway);
    // Another port of the same host is not listed.
    let other = Agent::of(&gateway, &json!({"allowed_connect_hosts": ["localhost:1"]}));
    other.connect().unwrap_err().says(&["CONNECT_URL_REJECTED"]);
}

#[test]
fn a_foreign_url_in_a_later_registration_is_not_dialed_either() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let listener = forbidden();
    gateway.set_faults(connect_url(&format!("ws://{}/", listener.address())));
    agent.re_register().unwrap();
    agent.event_with("log", |data| {
        data["message"]
            .as_str()
            .unwrap()
            .contains("CONNECT_URL_REJECTED")
    });
    assert!(gateway.abort(agent.id()));
    agent.enters("reconnecting");
    agent.enters("connected");
    agent.serves(&gateway);
    assert_eq!(listener.connections(), 0);
}

#[test]
fn the_instance_id_is_added_once_and_encoded() {
    let gateway = gateway();
    let own = gateway.address();
    for (id, connect, query) in [
        ("box 7&tenant=x#y", "", "instance_id=box+7%26tenant%3Dx%23y"),
        ("twice", "?instance_id=twice", "instance_id=twice"),
        ("more", "?region=eu", "region=eu&instance_id=more"),
    ] {
        gateway.set_faults(connect_url(&format!("ws://{own}/agents/connect{connect}")));
        let agent = Agent::connected(&gateway, &json!({"instance_id": id}));
        let requests = gateway.requests();
        let upgrade = requests
            .iter()
            .rfind(|request| request.path == "/agents/connect")
            .unwrap();
        assert_eq!(upgrade.query.as_deref(), Some(query));
        agent.serves(&gateway);
    }
}

#[test]
fn the_token_is_in_a_header_of_every_call_but_its_own_exchange_and_in_no_url() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let session = agent.create_session(0).unwrap();
    agent.close_session(&session, 0).unwrap();
    agent.re_register().unwrap();
    let token = agent.token().unwrap();
    agent.disconnect().unwrap();
    let requests = gateway.requests();
    for path in [
        "/auth/get_token",
        "/agents/register",
        "/agents/connect",
        "/sessions/init",
        "/sessions/close",
        "/agents/deregister",
    ] {
        let request = requests
            .iter()
            .find(|request| request.path == path)
            .expect(path);
        let wanted = match path {
            "/auth/get_token" => Authorization::Absent,
            _ => Authorization::Valid,
        };
        assert_eq!(request.authorization, wanted, "{path}");
        let query = request.query.clone().unwrap_or_default();
        assert!(
            !query.contains("removed") && !query.contains(&token),
            "{path}?{query}"
        );
    }
    // A credential in a query, a cookie or a body without a content type would be one.
    assert_eq!(gateway.violations(), [""; 0]);
}

#[test]
fn a_mesh_on_ipv6() {
    let host = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if TcpListener::bind((host, 0)).is_err() {
        // A machine, or a container, without IPv6.
        return;
    }
    let options = Options {
        host,
        ..Options::default()
    };
    let gateway = Gateway::start(options).expect("a gateway on [::1]");
    let agent = Agent::connected(&gateway, &json!({}));
    agent.serves(&gateway);
}
