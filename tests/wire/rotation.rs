//! Certificates that change while the agent runs: the files are read again, without a restart.

use std::fs;
use std::path::Path;

use serde_json::json;
use svantic_gateway::{Gateway, Options};

use crate::abi::Agent;
use crate::mutual_tls::{asking, client, shows};
use crate::tls::{authority, file};

/// As whoever rotates certificates does it: the new file takes the old one's place in one step.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(&new, path).unwrap();
}

fn gateway_at(port: u16, client_secret: &str) -> Gateway {
    Gateway::start(Options {
        tls: true,
        port,
        client_secret: client_secret.to_owned(),
        ..Options::default()
    })
    .unwrap()
}

/// Three failures on one URL make the agent register again, which the new gateway needs.
fn fails_three_times(agent: &Agent) {
    for _ in 0..3 {
        agent.event_with("backoff", |data| data["cause"] == "TLS_FAILED");
    }
}

fn warnings(agent: &Agent, path: &Path) -> usize {
    let path = path.to_str().unwrap();
    let logs = agent
        .history()
        .into_iter()
        .filter(|item| item["name"] == "log");
    logs.filter(|log| {
        log["data"]["message"]
            .as_str()
            .unwrap_or_default()
            .contains(path)
    })
    .count()
}

#[test]
fn a_mesh_with_another_authority_is_trusted_when_the_ca_file_says_so() {
    let first = gateway_at(0, "secret-of-both");
    let port = first.address().port();
    let ca = file("rotated.pem", first.ca_pem().unwrap().as_bytes());
    let agent = Agent::connected(&first, &json!({"ca_file": ca}));
    agent.serves(&first);
    drop(first);

    agent.enters("reconnecting");
    let second = gateway_at(port, "secret-of-both");
    fails_three_times(&agent);
    assert_eq!(second.requests().len(), 0, "nothing is sent to a stranger");
    // A file in the middle of being written leaves the old trust, and is told once.
    replace(&ca, "-----BEGIN CERTIFICATE-----\nAAEC");
    let told = agent.event_with("log", |data| {
        data["message"]
            .as_str()
            .unwrap_or_default()
            .contains("`ca_file`")
    });
    assert_eq!(told["level"], "warn");
    fails_three_times(&agent);
    assert_eq!(warnings(&agent, &ca), 1);

    replace(&ca, &second.ca_pem().unwrap());
    agent.enters("connected");
    agent.serves(&second);
    // HTTP trusts it as well, and shows the old mesh's successor nothing but its own.
    let session = agent.create_session(0).unwrap();
    agent.close_session(&session, 0).unwrap();
    assert_eq!(warnings(&agent, &ca), 1);
    agent.disconnect().unwrap();
}

#[test]
fn a_file_that_breaks_or_goes_leaves_the_link_and_what_was_read() {
    let gateway = gateway_at(0, "any-secret");
    let ca = file("broken-later.pem", gateway.ca_pem().unwrap().as_bytes());
    let agent = Agent::connected(&gateway, &json!({"ca_file": ca}));
    fs::remove_file(&ca).unwrap();
    for _ in 0..2 {
        agent.calls_and_redials(&gateway);
    }
    assert_eq!(warnings(&agent, &ca), 1, "it is told once");
}

#[test]
fn a_new_client_certificate_is_shown_once_certificate_and_key_fit() {
    let (old, new) = (authority("old clients"), authority("new clients"));
    let gateway = asking(&new);
    let ca = file("clients-rotated.pem", gateway.ca_pem().unwrap().as_bytes());
    let (certificate_file, key_file, mut more) = shows("rotated", &client(&old));
    more["ca_file"] = json!(ca);
    let agent = Agent::of(&gateway, &more);
    agent.connect_async(1);
    agent.event_with("backoff", |data| data["cause"] == "TLS_FAILED");
    let (certificate, key) = client(&new);
    // Between the two steps they do not belong together: the old pair is kept.
    replace(&certificate_file, &certificate);
    agent.event_with("log", |data| {
        data["message"]
            .as_str()
            .unwrap_or_default()
            .contains("not the key of")
    });
    replace(&key_file, &key);
    assert_eq!(agent.done(1)["status"], 0);
    agent.serves(&gateway);
}
