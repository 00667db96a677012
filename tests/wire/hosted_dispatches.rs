//! The mesh comes to an agent that serves by itself: what it proves, what is forged, what is replayed.

use std::fs;

use serde_json::{Value, json};
use svantic_gateway::{A2aMethod, Answer, DispatchRequest, Forgery, Gateway, Options};

use crate::abi::{Agent, GUARD, answer, code, echo};
use crate::tls::certificate_files;

const SECRET: &str = "the dispatch secret of this test";
/// Fewer than an agent lets one peer get wrong within a second.
const TOLERATED: usize = 8;

fn signing() -> Gateway {
    let options = Options {
        dispatch_secret: Some(SECRET.to_owned()),
        ..Options::default()
    };
    Gateway::start(options).expect("a gateway")
}

fn guarded(gateway: &Gateway, scheme: &str) -> Agent {
    let key = match scheme {
        "shared_secret" => "shared_secret",
        _ => "signing_secret",
    };
    let auth = json!({"scheme": scheme, "required": true});
    let config = json!({"listen": "127.0.0.1:0", "dispatch_auth": auth, key: SECRET});
    Agent::connected(gateway, &config)
}

/// Dispatches that reached the application.
fn runs(agent: &Agent) -> usize {
    let history = agent.history();
    history
        .iter()
        .filter(|item| item["type"] == "dispatch")
        .count()
}

/// The HTTP status that a refused dispatch got.
#[track_caller]
fn refused_with(gateway: &Gateway, request: DispatchRequest) -> Option<u16> {
    let pending = gateway.begin_dispatch(request);
    let outcome = answer(&pending);
    assert!(matches!(outcome, Answer::Error { .. }), "{outcome:?}");
    gateway.ledger_entry(pending.id())?.answers[0].http_status
}

#[test]
fn the_gateway_reads_the_card_and_calls_by_every_method() {
    let gateway = signing();
    let agent = guarded(&gateway, "svantic_jwt");
    let record = gateway.agent(agent.id()).unwrap();
    assert_eq!(record.skills(), ["echo"]);
    assert!(record.ready && record.endpoint.unwrap().ends_with("/send"));
    for method in [
        A2aMethod::MessageSend,
        A2aMethod::MessageStream,
        A2aMethod::SendMessage,
        A2aMethod::SendStreamingMessage,
    ] {
        let pending = gateway.begin_dispatch(echo(json!({"n": 1})).by(method));
        assert_eq!(agent.answers(&json!({"n": 1})), pending.id());
        assert_eq!(
            answer(&pending),
            Answer::Result(json!({"n": 1})),
            "{method:?}"
        );

        let pending = gateway.begin_dispatch(echo(json!({"n": 2})).by(method));
        let id = agent.dispatch()["dispatch_id"].as_str().unwrap().to_owned();
        agent.reject(&id, "NO_SUCH_ORDER", "no such order").unwrap();
        assert_eq!(code(&answer(&pending)), "NO_SUCH_ORDER", "{method:?}");

        let pending = gateway.begin_dispatch(echo(json!({"n": "x"})).by(method));
        assert_eq!(code(&answer(&pending)), "INVALID_ARGS", "{method:?}");
        let pending = gateway.begin_dispatch(DispatchRequest::new("nothing", json!({})).by(method));
        assert_eq!(code(&answer(&pending)), "UNKNOWN_SKILL", "{method:?}");
    }
    assert_eq!(gateway.violations(), [""; 0]);
}

#[test]
fn every_forgery_gets_the_same_401_and_no_handler_runs() {
    let forged: Vec<Forgery> = Forgery::ALL
        .iter()
        .copied()
        .filter(|f| !f.is_replay())
        .collect();
    for scheme in ["svantic_jwt", "shared_secret"] {
        for forgeries in forged.chunks(TOLERATED) {
            let gateway = signing();
            let agent = guarded(&gateway, scheme);
            let mut bodies: Vec<Value> = Vec::new();
            for forgery in forgeries {
                let pending = gateway.begin_dispatch(echo(json!({"n": 1})).forged(*forgery));
                let outcome = answer(&pending);
                let entry = gateway.ledger_entry(pending.id()).unwrap();
                let status = entry.answers[0].http_status;
                assert_eq!(status, Some(401), "{scheme} {forgery:?}: {outcome:?}");
                let mut body: Value = serde_json::from_str(&entry.answers[0].text).unwrap();
                body["id"].take();
                bodies.push(body);
            }
            assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
            assert_eq!(runs(&agent), 0);
            agent.serves(&gateway);
            assert_eq!(gateway.violations(), [""; 0]);
        }
    }
}

#[test]
fn a_replay_is_answered_without_a_run_and_refused_with_another_body() {
    let gateway = signing();
    let agent = guarded(&gateway, "svantic_jwt");
    let first = gateway.begin_dispatch(echo(json!({"n": 1})));
    let id = agent.answers(&json!({"n": 1}));
    assert_eq!(answer(&first), Answer::Result(json!({"n": 1})));
    let replay = |forgery| DispatchRequest {
        id: Some(id.clone()),
        ..echo(json!({"n": 1})).forged(forgery)
    };
    let again = gateway.begin_dispatch(replay(Forgery::Replayed));
    assert_eq!(answer(&again), Answer::Result(json!({"n": 1})));
    let status = refused_with(&gateway, replay(Forgery::ReplayedOtherBody));
    assert_eq!(status, Some(401));
    // The mesh's own retry is signed anew.
    let retry = gateway.begin_dispatch(DispatchRequest {
        id: Some(id.clone()),
        ..echo(json!({"n": 1}))
    });
    assert_eq!(answer(&retry), Answer::Result(json!({"n": 1})));
    assert_eq!(runs(&agent), 1);
    assert_eq!(gateway.violations(), [""; 0]);
}

#[test]
fn one_dispatch_on_64_connections_at_once_runs_once() {
    let gateway = signing();
    let agent = guarded(&gateway, "svantic_jwt");
    let request = DispatchRequest {
        id: Some("the-one".to_owned()),
        ..echo(json!({"n": 1}))
    };
    let all: Vec<_> = (0..64)
        .map(|_| gateway.begin_dispatch(request.clone()))
        .collect();
    agent.dispatch();
    agent.resolve("the-one", &json!({"n": 1})).unwrap();
    for pending in &all {
        assert_eq!(answer(pending), Answer::Result(json!({"n": 1})));
    }
    let answered = gateway.wait_until(GUARD, |seen| {
        seen.ledger()
            .get("the-one")
            .is_some_and(|entry| entry.copies == 64)
    });
    assert!(answered, "{:?}", gateway.ledger_entry("the-one"));
    assert_eq!(runs(&agent), 1);
    assert_eq!(gateway.totals().duplicates(), 63);
    assert_eq!(gateway.violations(), [""; 0]);
}

#[test]
fn a_reply_lost_on_the_way_is_given_again() {
    let gateway = signing();
    let agent = guarded(&gateway, "svantic_jwt");
    let request = DispatchRequest {
        loses_first_reply: true,
        ..echo(json!({"n": 1}))
    };
    let pending = gateway.begin_dispatch(request);
    agent.dispatch();
    agent.resolve(pending.id(), &json!({"n": 1})).unwrap();
    assert_eq!(answer(&pending), Answer::Result(json!({"n": 1})));
    assert_eq!(gateway.ledger_entry(pending.id()).unwrap().sends, 2);
    assert_eq!(runs(&agent), 1);
}

#[test]
fn a_rotation_loses_no_dispatch() {
    let gateway = signing();
    let next = Gateway::new_dispatch_secret();
    let config = json!({
        "listen": "127.0.0.1:0", "signing_secret": SECRET, "signing_secret_next": next,
    });
    let agent = Agent::connected(&gateway, &config);
    let mut all: Vec<_> = (0..20)
        .map(|n| gateway.begin_dispatch(echo(json!({"n": n}))))
        .collect();
    gateway.set_dispatch_secret(None, Some(&next));
    all.extend((20..40).map(|n| gateway.begin_dispatch(echo(json!({"n": n})))));
    for _ in &all {
        agent.answers(&json!("done"));
    }
    for pending in &all {
        assert_eq!(answer(pending), Answer::Result(json!("done")));
    }
    // A third one it does not know.
    gateway.rotate_dispatch_secret(None);
    assert_eq!(refused_with(&gateway, echo(json!({}))), Some(401));
    assert_eq!(runs(&agent), 40);
}

#[test]
fn who_leaves_gets_nothing_more() {
    let gateway = signing();
    let agent = guarded(&gateway, "svantic_jwt");
    agent.serves(&gateway);
    let last = gateway.begin_dispatch(echo(json!({"n": 1})));
    let id = agent.dispatch()["dispatch_id"].as_str().unwrap().to_owned();
    agent.disconnect_async(1);
    let draining = |seen: &svantic_gateway::Snapshot<'_>| {
        seen.agent(agent.id())
            .is_some_and(|agent| agent.status == "draining" && !agent.ready)
    };
    assert!(gateway.wait_until(GUARD, draining));
    let waits = gateway.begin_dispatch(echo(json!({"n": 2})));
    agent.resolve(&id, &json!({"n": 1})).unwrap();
    assert_eq!(answer(&last), Answer::Result(json!({"n": 1})));
    agent.done(1);
    assert!(!gateway.agent(agent.id()).unwrap().registered);
    assert_eq!(waits.poll(), None);
    assert_eq!(gateway.ledger_entry(waits.id()).unwrap().sends, 0);
}

#[test]
fn an_https_agent_is_called_by_a_gateway_that_trusts_its_authority() {
    let (certificate, certificate_file, key_file) = certificate_files("hosted", "127.0.0.1");
    let config = json!({"signing_secret": SECRET, "listen": {
        "address": "127.0.0.1:0", "certificate_file": certificate_file, "key_file": key_file,
    }});
    let trusting = |agent_ca: Option<String>| {
        let options = Options {
            dispatch_secret: Some(SECRET.to_owned()),
            agent_ca,
            ..Options::default()
        };
        Gateway::start(options).expect("a gateway")
    };

    let stranger = trusting(None);
    let failure = Agent::of(&stranger, &config).connect().unwrap_err();
    failure.says(&["PROBE_FAILED", "--agent-ca"]);

    let gateway = trusting(Some(certificate.pem()));
    let agent = Agent::connected(&gateway, &config);
    let url = gateway.agent(agent.id()).unwrap().url.unwrap();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    agent.serves(&gateway);
    fs::remove_file(certificate_file).unwrap();
    fs::remove_file(key_file).unwrap();
}

#[test]
fn a_connected_agent_with_a_secret_refuses_forgeries_too() {
    let gateway = signing();
    let agent = Agent::connected(&gateway, &json!({"signing_secret": SECRET}));
    for forgery in Forgery::ALL {
        // No envelope is none to be verified; a repeated id is no replay but the mesh's own doing.
        if *forgery == Forgery::MissingEnvelope || forgery.is_replay() {
            continue;
        }
        let pending = gateway.begin_dispatch(echo(json!({"n": 1})).forged(*forgery));
        assert_eq!(
            code(&answer(&pending)),
            "DISPATCH_AUTH_FAILED",
            "{forgery:?}"
        );
    }
    assert_eq!(runs(&agent), 0);
    agent.serves(&gateway);
    assert_eq!(gateway.violations(), [""; 0]);
}
