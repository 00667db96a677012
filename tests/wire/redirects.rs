//! A redirect is an error on every call, and never carries credentials anywhere (`security.md` S-06).

use serde_json::json;
use svantic::ffi::status::svantic_status as Status;
use svantic_gateway::{Endpoint, Faults, Gateway, Refusal};

use crate::abi::raw::{RawServer, forbidden};
use crate::abi::{Agent, Failure, gateway, gateway_without_probe, sees};

const CODES: [u16; 5] = [301, 302, 303, 307, 308];

fn redirect(gateway: &Gateway, endpoint: Endpoint, status: u16, location: &str) {
    let location = Some(location.to_owned());
    let refuse = vec![Refusal {
        location,
        ..Refusal::new(endpoint, status)
    }];
    gateway.set_faults(Faults {
        refuse,
        ..Faults::default()
    });
}

fn away(listener: &RawServer) -> String {
    format!("http://{}/elsewhere?a=b", listener.address())
}

fn names_the_host(failure: &Failure, status: u16, path: &str) {
    assert_eq!(failure.status, Status::Remote, "{failure:?}");
    failure.says(&[
        &format!("HTTP {status}"),
        "127.0.0.2",
        "never followed",
        path,
    ]);
}

#[test]
fn on_the_way_to_the_link() {
    let (gateway, listener) = (gateway(), forbidden());
    for status in CODES {
        for (endpoint, path) in [
            (Endpoint::Token, "/auth/get_token"),
            (Endpoint::Register, "/agents/register"),
            (Endpoint::Connect, "/agents/connect"),
        ] {
            redirect(&gateway, endpoint, status, &away(&listener));
            let agent = Agent::of(&gateway, &json!({"fail_fast": true}));
            names_the_host(&agent.connect().unwrap_err(), status, path);
            gateway.set_faults(Faults::default());
            agent.connect().unwrap();
        }
    }
    assert_eq!(listener.connections(), 0);
}

#[test]
fn of_sessions_and_registrations_while_connected() {
    let (gateway, listener) = (gateway(), forbidden());
    let agent = Agent::connected(&gateway, &json!({}));
    let session = agent.create_session(0).unwrap();
    for status in CODES {
        redirect(&gateway, Endpoint::SessionInit, status, &away(&listener));
        names_the_host(
            &agent.create_session(0).unwrap_err(),
            status,
            "/sessions/init",
        );
        redirect(&gateway, Endpoint::SessionClose, status, &away(&listener));
        names_the_host(
            &agent.close_session(&session, 0).unwrap_err(),
            status,
            "/sessions/close",
        );
        redirect(&gateway, Endpoint::Register, status, &away(&listener));
        names_the_host(
            &agent.re_register().unwrap_err(),
            status,
            "/agents/register",
        );
    }
    agent.serves(&gateway);
    assert_eq!(listener.connections(), 0);
}

#[test]
fn of_the_farewell() {
    for status in CODES {
        let (gateway, listener) = (gateway(), forbidden());
        let agent = Agent::connected(&gateway, &json!({}));
        redirect(&gateway, Endpoint::Deregister, status, &away(&listener));
        agent.disconnect().unwrap();
        assert_eq!(listener.connections(), 0);
    }
}

#[test]
fn of_the_heartbeat_of_a_hosted_agent() {
    let (gateway, listener) = (gateway_without_probe(), forbidden());
    let hosted = json!({"public_url": "http://127.0.0.1:9", "heartbeat_interval_ms": 20});
    let agent = Agent::connected(&gateway, &hosted);
    redirect(&gateway, Endpoint::Heartbeat, 307, &away(&listener));
    sees(&gateway, "three redirected heartbeats", |seen| {
        let requests = seen.requests().iter();
        requests
            .filter(|r| r.path == "/agents/heartbeat" && r.status == Some(307))
            .count()
            >= 3
    });
    drop(agent);
    assert_eq!(listener.connections(), 0);
}

/// To the same host or another path it is not followed either.
#[test]
fn to_the_same_host() {
    let gateway = gateway();
    for location in [
        format!("{}/auth/get_token", gateway.url()),
        "/auth/get_token".to_owned(),
        "::::".to_owned(),
    ] {
        redirect(&gateway, Endpoint::Token, 308, &location);
        let before = gateway.requests().len();
        let agent = Agent::of(&gateway, &json!({"fail_fast": true}));
        agent
            .connect()
            .unwrap_err()
            .says(&["HTTP 308", "never followed"]);
        assert_eq!(gateway.requests().len(), before + 1);
    }
}
