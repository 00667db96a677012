//! No secret in anything that an application, or its logs, can see (`security.md` S-02).

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use svantic_gateway::{Endpoint, Faults, Gateway, Options, Override, Refusal};

use crate::abi::{Agent, config};

/// Lower case, so that it stays the same as a host name; with no sequence that occurs by chance.
const SECRET: &str = "qz7canary3vw9xk5hidden8pm2jt";
const ODD_SECRET: &str = "Qz7/canary+3vW9=xk5%hidden\\8pM\"2jT~{end}";

/// Ways in which a server may write what it was sent.
fn forms(secret: &str) -> Vec<String> {
    let written = |before: &str, text: &[u8]| {
        text.iter().fold(String::new(), |all, byte| {
            format!("{all}{before}{byte:02x}")
        })
    };
    let mut forms = vec![
        secret.to_owned(),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        STANDARD.encode(format!("local-client:{secret}")),
        utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        written("%", secret.as_bytes()).to_uppercase(),
        written("", secret.as_bytes()),
    ];
    forms.extend(secret.split('.').map(str::to_owned));
    let (half, rest) = secret.split_at(secret.len() / 2);
    forms.extend([half.to_owned(), rest.to_owned()]);
    forms
}

/// No twelve characters of the secret, and none of its encodings.
#[track_caller]
fn hidden(text: &str, secrets: &[&str]) {
    for secret in secrets {
        for piece in secret.as_bytes().windows(12) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!text.contains(piece), "{piece} of {secret} shows in {text}");
        }
        for form in forms(secret) {
            // The ends of what is encoded along with neighbours are theirs as well.
            let middle = &form[4.min(form.len() / 4)..form.len() - 4.min(form.len() / 4)];
            assert!(
                !text.contains(middle),
                "{middle} of {secret} shows in {text}"
            );
        }
    }
}

/// Everything that came out of the agent besides what the mesh sent to the handlers.
fn shown(agent: &Agent, failure: &str) -> String {
    let history = Value::from(agent.history());
    format!("{failure}\n{history}\n{history:?}\n{}", agent.snapshot())
}

fn gateway(secret: &str) -> Gateway {
    Gateway::start(Options {
        client_secret: secret.to_owned(),
        ..Options::default()
    })
    .unwrap()
}

fn echoing(endpoint: Endpoint, status: u16, body: String) -> Faults {
    let refuse = vec![Refusal {
        body: Some(body),
        ..Refusal::new(endpoint, status)
    }];
    Faults {
        refuse,
        ..Faults::default()
    }
}

fn bodies(text: &str) -> Vec<String> {
    let escaped = text
        .bytes()
        .fold(String::new(), |all, byte| format!("{all}\\u{byte:04x}"));
    vec![
        format!("<html>you sent {text}{text}</html>"),
        json!({"code": text, "error": text}).to_string(),
        json!({"error": {"code": "X", "message": format!("bad: {text}!")}}).to_string(),
        json!({"detail": [text, {text: text}]}).to_string(),
        format!(r#"{{"code":"X","error":"{escaped}"}}"#),
        format!(r#"{{"{escaped}":"{escaped}"}}"#),
    ]
}

#[test]
fn in_what_a_server_echoes_on_the_way_to_the_link() {
    for secret in [SECRET, ODD_SECRET] {
        let gateway = gateway(secret);
        for form in forms(secret) {
            for body in bodies(&form) {
                gateway.set_faults(echoing(Endpoint::Token, 401, body));
                let agent = Agent::of(&gateway, &json!({"fail_fast": true}));
                let failure = agent.connect().unwrap_err();
                failure.says(&["HTTP 401", "[redacted]"]);
                hidden(&shown(&agent, &failure.text), &[secret]);
            }
        }
    }
}

#[test]
fn in_what_a_server_echoes_of_the_token() {
    let gateway = gateway(SECRET);
    let token = gateway.issue_token("desk", Duration::from_hours(1));
    let mut base = config(&gateway.url());
    base["token"] = token.as_str().into();
    for (endpoint, status) in [
        (Endpoint::Register, 400),
        (Endpoint::Connect, 403),
        (Endpoint::Connect, 500),
    ] {
        for form in forms(&token) {
            let body = json!({"code": "X", "error": form}).to_string();
            gateway.set_faults(echoing(endpoint, status, body));
            let agent = Agent::with(base.clone(), &json!({"fail_fast": true}));
            let failure = agent.connect().unwrap_err();
            failure.says(&[&format!("HTTP {status}"), "[redacted]"]);
            hidden(&shown(&agent, &failure.text), &[&token]);
        }
    }
    gateway.set_faults(Faults::default());
    let agent = Agent::with(base, &json!({}));
    agent.connect().unwrap();
    for form in forms(&token) {
        gateway.set_faults(echoing(Endpoint::SessionInit, 500, form));
        let failure = agent.create_session(0).unwrap_err();
        failure.says(&["[redacted]"]);
        hidden(&shown(&agent, &failure.text), &[&token]);
    }
}

#[test]
fn in_redirects_subprotocols_and_urls() {
    let gateway = gateway(SECRET);
    let own = gateway.address();
    let location = |url: String| {
        let refuse = vec![Refusal {
            location: Some(url),
            ..Refusal::new(Endpoint::Token, 302)
        }];
        Faults {
            refuse,
            ..Faults::default()
        }
    };
    let connect_url = |url: String| Faults {
        connect_url: Some(Override::Text(url)),
        ..Faults::default()
    };
    for faults in [
        location(format!("http://{SECRET}.example.com/{SECRET}?{SECRET}")),
        location(format!("http://{SECRET}:{SECRET}@example.com/")),
        location(format!("/{SECRET}")),
        connect_url(format!(
            "ws://{SECRET}.example.com/{SECRET}?token={SECRET}#{SECRET}"
        )),
        connect_url(format!("ws://{SECRET}@{own}/{SECRET}")),
        connect_url(format!("ws://{own}/{SECRET}?token={SECRET}")),
        connect_url(format!("ws://{own}/{}", STANDARD.encode(SECRET))),
        connect_url(SECRET.to_owned()),
        Faults {
            subprotocol: Some(Override::Text(SECRET.to_owned())),
            ..Faults::default()
        },
    ] {
        gateway.set_faults(faults);
        let agent = Agent::of(&gateway, &json!({"fail_fast": true}));
        let failure = agent.connect().unwrap_err();
        hidden(&shown(&agent, &failure.text), &[SECRET]);
    }
}

#[test]
fn in_close_reasons() {
    let gateway = gateway(SECRET);
    let agent = Agent::connected(&gateway, &json!({}));
    let token = agent.token().unwrap();
    let mut reasons = forms(SECRET);
    reasons.extend(forms(&token));
    for reason in reasons {
        // A close frame has room for 123 bytes of reason.
        let reason: String = reason.chars().take(120).collect();
        assert!(gateway.close(agent.id(), 1011, &reason));
        let event = agent.event("disconnected");
        assert!(
            event["cause"].as_str().unwrap().contains("[redacted]"),
            "{event}"
        );
        agent.enters("reconnecting");
        agent.enters("connected");
    }
    agent.serves(&gateway);
    hidden(&shown(&agent, ""), &[SECRET, &token]);
}

#[test]
fn in_a_life_without_faults() {
    let gateway = gateway(ODD_SECRET);
    let agent = Agent::connected(&gateway, &json!({}));
    let mut tokens = vec![agent.token().unwrap()];
    agent.refresh_token(None).unwrap();
    tokens.push(agent.token().unwrap());
    let session = agent.create_session(0).unwrap();
    agent.close_session(&session, 0).unwrap();
    agent.re_register().unwrap();
    agent.serves(&gateway);
    agent.disconnect().unwrap();
    let card = Value::from(
        gateway
            .agents()
            .iter()
            .map(|record| record.registration.clone())
            .collect::<Vec<_>>(),
    );
    hidden(
        &format!("{}{card}", shown(&agent, "")),
        &[ODD_SECRET, &tokens[0], &tokens[1]],
    );
}

const CHILD: &str = "SVANTIC_WIRE_CHILD";

/// Runs [`child`] in a process of its own, with this configuration, and returns what it wrote.
pub(crate) fn run_child(config: &Value, prepare: impl FnOnce(&mut Command)) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "secrets::child", "--nocapture"])
        .env(CHILD, config.to_string());
    prepare(&mut child);
    let output = child.output().unwrap();
    let written = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    assert!(
        output.status.success() && written.contains("1 passed"),
        "{written}"
    );
    written
}

/// Does nothing in a run of the tests; see [`run_child`].
#[test]
fn child() {
    let Ok(config) = std::env::var(CHILD) else {
        return;
    };
    let agent = Agent::with(
        serde_json::from_str(&config).unwrap(),
        &json!({"timeout_ms": 5000}),
    );
    match agent.connect() {
        Ok(()) => {
            agent.create_session(0).unwrap();
            agent.disconnect().unwrap();
        }
        Err(failure) => eprintln!("refused: {}", failure.text),
    }
}

#[test]
fn on_stdout_and_stderr() {
    let gateway = gateway(ODD_SECRET);
    let token = gateway.issue_token("desk", Duration::from_hours(1));
    let noisy = |child: &mut Command| {
        child.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    };
    let with_secret = |secret: &str| {
        let mut config = config(&gateway.url());
        config["client_id"] = gateway.client_id().into();
        config["client_secret"] = secret.into();
        config
    };
    let mut with_token = config(&gateway.url());
    with_token["token"] = token.as_str().into();
    let wrong = format!("{SECRET}-but-wrong");
    for (config, refused) in [
        (with_secret(ODD_SECRET), false),
        (with_secret(&wrong), true),
        (with_token, false),
    ] {
        let written = run_child(&config, noisy);
        assert_eq!(written.contains("refused: "), refused, "{written}");
        hidden(&written, &[ODD_SECRET, &wrong, &token]);
    }
    let echo = echoing(
        Endpoint::Register,
        400,
        json!({"code": "X", "error": token}).to_string(),
    );
    gateway.set_faults(echo);
    let mut with_token = config(&gateway.url());
    with_token["token"] = token.as_str().into();
    let written = run_child(&with_token, noisy);
    assert!(
        written.contains("refused: ") && written.contains("[redacted]"),
        "{written}"
    );
    hidden(&written, &[&token]);
}
