//! The proof that a dispatch is the mesh's: made, forged, rotated, and never shown.

mod peer;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use peer::{
    Agent,
    hosted::{Call, HostedAgent, Served, dispatch, echo, opened},
    http, start,
};
use serde_json::{Value, json};
use svantic_gateway::{Answer, DispatchError, DispatchRequest, Forgery, Gateway, Options};

const SECRET: &str = "the first dispatch secret";

fn signing() -> Gateway {
    Gateway::start(Options {
        dispatch_secret: Some(SECRET.to_owned()),
        ..Options::default()
    })
    .unwrap()
}

/// An agent that lets nothing by: the strictest reading of security.md S-10 and S-11, written for these tests alone.
#[derive(Clone)]
struct Guard {
    scheme: &'static str,
    secrets: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<HashMap<String, (Value, Served)>>>,
    runs: Arc<AtomicUsize>,
}

impl Guard {
    async fn start(scheme: &'static str) -> (Self, HostedAgent) {
        let guard = Self {
            scheme,
            secrets: Arc::new(Mutex::new(vec![SECRET.to_owned()])),
            seen: Arc::default(),
            runs: Arc::default(),
        };
        let serving = guard.clone();
        let agent = HostedAgent::start(move |call, _| serving.serve(call)).await;
        (guard, agent)
    }

    async fn join(&self, agent: &HostedAgent, gateway: &Gateway) {
        let mut registration = agent.registration("h");
        registration["dispatch_auth"] = json!({"scheme": self.scheme, "required": true});
        agent.join_with(gateway, registration).await;
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    fn is_proven(&self, call: &Call) -> bool {
        let data = call.data();
        let auth = &data["svantic_auth"];
        let Some(token) = auth["token"]
            .as_str()
            .filter(|_| auth["scheme"] == self.scheme)
        else {
            return false;
        };
        let secrets = self.secrets.lock().unwrap();
        if self.scheme == "shared_secret" {
            return secrets.iter().any(|secret| secret == token);
        }
        let Some((header, claims)) = secrets.iter().find_map(|secret| opened(token, secret)) else {
            return false;
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let expires = claims["exp"].as_u64().unwrap_or_default();
        header == json!({"alg": "HS256", "typ": "JWT"})
            && (now..=now + 600).contains(&expires)
            && claims["iat"].as_u64().is_some_and(|iat| iat <= now)
            && claims["iss"] == "svantic-mesh"
            && claims["aud"] == "agent:h"
            && claims["instance_id"] == "h"
            && claims["agent_type"] == "desk"
            && claims["tenant_id"] == "local-tenant"
            && claims["dispatch_id"] == call.message()["messageId"]
    }

    fn serve(&self, call: &Call) -> Served {
        let refusal = json!({"code": -32001, "message": "dispatch refused"});
        let refused = Served::json(
            401,
            &json!({"jsonrpc": "2.0", "id": call.id(), "error": refusal}),
        );
        if !self.is_proven(call) {
            return refused;
        }
        let mut content = call.data();
        content.as_object_mut().unwrap().remove("svantic_auth");
        let mut seen = self.seen.lock().unwrap();
        match seen.get(&call.id()) {
            Some((before, answer)) if *before == content => answer.clone(),
            Some(_) => refused,
            None => {
                self.runs.fetch_add(1, Ordering::SeqCst);
                seen.insert(call.id(), (content, call.echo()));
                call.echo()
            }
        }
    }
}

fn is_refused(outcome: &Result<Answer, DispatchError>) -> bool {
    matches!(outcome, Ok(Answer::Error { code, .. }) if code == "HTTP_401")
}

#[tokio::test]
async fn a_good_envelope_passes_in_either_scheme() {
    for scheme in ["svantic_jwt", "shared_secret"] {
        let gateway = signing();
        let (guard, agent) = Guard::start(scheme).await;
        guard.join(&agent, &gateway).await;
        let answer = dispatch(&gateway, echo(json!({"n": 1}))).await;
        assert_eq!(answer, Ok(Answer::Result(json!({"n": 1}))), "{scheme}");
        let auth = agent.calls()[0].data()["svantic_auth"].clone();
        assert_eq!(auth["scheme"], scheme);
        assert_eq!(auth["expires_at"].is_string(), scheme == "svantic_jwt");
    }
}

#[tokio::test]
async fn every_forgery_is_refused_by_an_agent_that_looks() {
    for scheme in ["svantic_jwt", "shared_secret"] {
        let gateway = signing();
        let (guard, agent) = Guard::start(scheme).await;
        guard.join(&agent, &gateway).await;
        for forgery in Forgery::ALL.iter().filter(|forgery| !forgery.is_replay()) {
            let outcome = dispatch(&gateway, echo(json!({})).forged(*forgery)).await;
            assert!(is_refused(&outcome), "{scheme} {forgery:?}: {outcome:?}");
            assert_eq!(guard.runs(), 0, "{scheme} {forgery:?}");
        }
        // A shared secret proves nothing about the one dispatch.
        assert!(
            gateway.violations().is_empty(),
            "{:?}",
            gateway.violations()
        );
        assert!(dispatch(&gateway, echo(json!({}))).await.is_ok());
        assert_eq!(guard.runs(), 1);
    }
}

/// The forgeries are wrong in one thing each: an agent that does not look at it lets them by.
#[tokio::test]
async fn a_forged_token_is_right_in_all_but_one_thing() {
    let gateway = signing();
    let (guard, agent) = Guard::start("svantic_jwt").await;
    guard.join(&agent, &gateway).await;
    dispatch(&gateway, echo(json!({}))).await.unwrap();
    let token_of = |call: &Call| {
        let token = call.data()["svantic_auth"]["token"].clone();
        opened(token.as_str().unwrap(), SECRET)
    };
    let (header, claims) = token_of(&agent.calls()[0]).unwrap();
    for (forgery, name) in [
        (Forgery::AlgRs256, "alg"),
        (Forgery::AlgLowerCase, "alg"),
        (Forgery::NoExpiry, "exp"),
        (Forgery::FarExpiry, "exp"),
        (Forgery::WrongIssuer, "iss"),
        (Forgery::WrongAudience, "aud"),
        (Forgery::WrongTenant, "tenant_id"),
        (Forgery::WrongInstance, "instance_id"),
        (Forgery::WrongAgentType, "agent_type"),
    ] {
        dispatch(&gateway, echo(json!({})).forged(forgery))
            .await
            .unwrap();
        let (forged_header, forged) = token_of(agent.calls().last().unwrap()).unwrap();
        let differs = |key: &&String| !["iat", "exp", "dispatch_id"].contains(&key.as_str());
        let mut different: Vec<&String> = claims.as_object().unwrap().keys().collect();
        different.retain(|key| claims[*key] != forged[*key]);
        match name {
            "alg" => assert_ne!(header, forged_header),
            "exp" => {
                let ahead = forged["exp"]
                    .as_u64()
                    .map(|exp| exp - forged["iat"].as_u64().unwrap());
                assert!(ahead.is_none_or(|ahead| ahead == 3_600));
            }
            name => {
                different.retain(differs);
                assert_eq!(different, [name], "{forgery:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_replay_runs_no_handler_again() {
    let gateway = signing();
    let (guard, agent) = Guard::start("svantic_jwt").await;
    guard.join(&agent, &gateway).await;
    let first = gateway.begin_dispatch(echo(json!({"n": 1})));
    first.outcome().await.unwrap();
    let again = |forgery, args| DispatchRequest {
        id: Some(first.id().to_owned()),
        ..echo(args).forged(forgery)
    };
    let replay = gateway.begin_dispatch(again(Forgery::Replayed, json!({"n": 1})));
    assert_ne!(replay.id(), first.id());
    assert_eq!(replay.outcome().await, Ok(Answer::Result(json!({"n": 1}))));
    let calls = agent.calls();
    assert_eq!(calls[0].text, calls[1].text);
    for args in [json!({"n": 1}), json!({"n": 2})] {
        let outcome = dispatch(&gateway, again(Forgery::ReplayedOtherBody, args)).await;
        assert!(is_refused(&outcome), "{outcome:?}");
    }
    assert_eq!(guard.runs(), 1);

    // Without an id there is a good one first.
    let outcome = dispatch(&gateway, echo(json!({})).forged(Forgery::Replayed)).await;
    assert_eq!(outcome, Ok(Answer::Result(json!({}))));
    let outcome = dispatch(&gateway, echo(json!({})).forged(Forgery::ReplayedOtherBody)).await;
    assert!(is_refused(&outcome), "{outcome:?}");
    assert_eq!(guard.runs(), 3);
    assert_eq!(agent.calls().len(), 8);
    assert!(gateway.violations().is_empty());
    assert_eq!(gateway.ledger().running(), 0);
}

#[tokio::test]
async fn a_rotation_loses_no_dispatch_of_an_agent_that_holds_both() {
    let gateway = signing();
    let (guard, agent) = Guard::start("svantic_jwt").await;
    guard.join(&agent, &gateway).await;
    let next = Gateway::new_dispatch_secret();
    guard.secrets.lock().unwrap().push(next.clone());
    let before: Vec<_> = (0..20)
        .map(|n| gateway.begin_dispatch(echo(json!({"n": n}))))
        .collect();
    gateway.set_dispatch_secret(Some("h"), Some(&next));
    let after: Vec<_> = (20..40)
        .map(|n| gateway.begin_dispatch(echo(json!({"n": n}))))
        .collect();
    for (n, pending) in before.iter().chain(&after).enumerate() {
        assert_eq!(pending.outcome().await, Ok(Answer::Result(json!({"n": n}))));
    }
    let signed = |secret: &str| {
        let calls = agent.calls();
        let token = |call: &Call| {
            call.data()["svantic_auth"]["token"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        calls
            .iter()
            .filter(|call| opened(&token(call), secret).is_some())
            .count()
    };
    assert_eq!((signed(SECRET), signed(&next)), (20, 20));

    // Who does not know the new one refuses it.
    assert_ne!(gateway.rotate_dispatch_secret(Some("h")), next);
    assert!(is_refused(&dispatch(&gateway, echo(json!({}))).await));
    gateway.set_dispatch_secret(Some("h"), None);
    assert!(dispatch(&gateway, echo(json!({}))).await.is_ok());
    assert_eq!(guard.runs(), 41);
}

#[tokio::test]
async fn the_control_face_rotates_and_forges() {
    let gateway = signing();
    let (guard, agent) = Guard::start("svantic_jwt").await;
    guard.join(&agent, &gateway).await;
    let ask = async |what: &str, body: Value| {
        let path = format!("/_gateway/{what}");
        http(&gateway, "POST", &path, &[], &body.to_string()).await
    };
    let reply = ask("dispatch", json!({"skill_id": "echo", "forge": "expired"}))
        .await
        .json();
    assert_eq!(
        (&reply["error"]["code"], &reply["http_status"]),
        (&json!("HTTP_401"), &json!(401))
    );
    let reply = ask("dispatch", json!({"skill_id": "echo", "forge": "else"})).await;
    assert_eq!(reply.status, 400);
    let reply = ask("rotate", json!({})).await.json();
    let made = reply["dispatch_secret"].as_str().unwrap().to_owned();
    guard.secrets.lock().unwrap().push(made.clone());
    let reply = ask("dispatch", json!({"skill_id": "echo", "args": {"n": 1}}))
        .await
        .json();
    assert_eq!(
        (&reply["result"]["n"], &reply["http_status"]),
        (&json!(1), &json!(200))
    );
    let reply = ask("rotate", json!({"instance_id": "h", "secret": "mine"}))
        .await
        .json();
    assert_eq!(reply, json!({"ok": true, "dispatch_secret": "mine"}));
    for bad in [
        json!({"secret": ""}),
        json!({"secret": 7}),
        json!({"sekret": "hush"}),
    ] {
        let reply = ask("rotate", bad).await;
        assert_eq!(reply.status, 400);
        assert!(!reply.text.contains("hush"));
    }
    assert!(is_refused(&dispatch(&gateway, echo(json!({}))).await));
}

#[tokio::test]
async fn a_connected_agent_gets_the_envelope_too() {
    let gateway = signing();
    let mut agent = Agent::join(&gateway, "c").await;
    assert!(agent.ready());
    let pending = gateway.begin_dispatch(echo(json!({})));
    let frame = agent.next().await;
    let token = frame["payload"]["svantic_auth"]["token"].as_str().unwrap();
    let (_, claims) = opened(token, SECRET).unwrap();
    assert_eq!(claims["aud"], "agent:c");
    assert_eq!(claims["dispatch_id"], pending.id());
    gateway.begin_dispatch(echo(json!({})).forged(Forgery::BadSignature));
    let frame = agent.next().await;
    let token = frame["payload"]["svantic_auth"]["token"].as_str().unwrap();
    assert!(opened(token, SECRET).is_none());
    gateway.begin_dispatch(echo(json!({})).forged(Forgery::MissingEnvelope));
    assert!(agent.next().await["payload"].get("svantic_auth").is_none());
}

#[tokio::test]
async fn an_envelope_of_the_callers_own_goes_as_it_is() {
    let gateway = start();
    let (guard, agent) = Guard::start("svantic_jwt").await;
    guard.join(&agent, &gateway).await;
    // Without a secret there is none.
    assert!(is_refused(&dispatch(&gateway, echo(json!({}))).await));
    assert!(agent.calls()[0].data().get("svantic_auth").is_none());
    let mut request = echo(json!({}));
    request.svantic_auth = Some(json!({"scheme": "svantic_jwt", "token": "x"}));
    dispatch(&gateway, request.clone()).await.unwrap();
    assert_eq!(
        agent.calls()[1].data()["svantic_auth"],
        request.svantic_auth.unwrap()
    );
}

#[tokio::test]
async fn no_secret_and_no_token_is_in_anything_that_is_shown() {
    for scheme in ["svantic_jwt", "shared_secret"] {
        let gateway = signing();
        let (guard, agent) = Guard::start(scheme).await;
        guard.join(&agent, &gateway).await;
        let mut watch = peer::open(&gateway, "GET", "/_gateway/watch", &[], "")
            .await
            .unwrap();
        dispatch(&gateway, echo(json!({}))).await.unwrap();
        let token = agent.calls()[0].data()["svantic_auth"]["token"].clone();
        let token = token.as_str().unwrap();
        let mut shown = format!("{:?} {:?}", gateway.frames("h"), gateway.ledger());
        for what in [
            "agents",
            "requests",
            "ledger",
            "frames?instance_id=h",
            "totals",
        ] {
            shown += &http(&gateway, "GET", &format!("/_gateway/{what}"), &[], "")
                .await
                .text;
        }
        while !shown.contains("\"frame\":\"http\"") || !shown.contains("from_agent") {
            let frame = http_body_util::BodyExt::frame(&mut watch)
                .await
                .unwrap()
                .unwrap();
            shown += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
        assert!(shown.contains("[removed]"));
        assert!(!shown.contains(token) && !shown.contains(SECRET), "{shown}");
    }
}
