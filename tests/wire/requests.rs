//! What a program asks the mesh by itself, with `svantic_request`.

use std::sync::mpsc::channel;

use serde_json::{Value, json};
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Authorization, Endpoint, Faults, Gateway, Refusal, Stage};

use crate::abi::raw::{forbidden, mesh, reply};
use crate::abi::{Agent, GUARD, config, gateway, requests, sees};

const REGISTER: &str = "/agents/register";

fn registration(instance_id: &str) -> Value {
    json!({"agent_type": "desk", "instance_id": instance_id, "deployment_mode": "connected",
        "agent_card": {"name": "desk"}})
}

fn refuse(gateway: &Gateway, refusals: Vec<Refusal>) {
    gateway.set_faults(Faults {
        refuse: refusals,
        ..Faults::default()
    });
}

fn tokens(gateway: &Gateway) -> usize {
    requests(gateway, "/auth/get_token")
}

#[test]
fn a_registration_by_hand_gives_the_url_to_dial() {
    let gateway = gateway();
    let agent = Agent::of(&gateway, &json!({}));
    let reply = agent.request(REGISTER, &registration("by-hand")).unwrap();
    assert_eq!(reply["ok"], true);
    let url = reply["connect_url"].as_str().unwrap();
    assert!(
        url.starts_with("ws") && url.contains("/agents/connect"),
        "{url}"
    );
    assert_eq!(gateway.agent("by-hand").unwrap().registrations, 1);
    agent.is(State::Idle);
    assert!(agent.token().is_ok(), "it was got for the request");
    let gone = json!({"agent_type": "desk", "instance_id": "by-hand"});
    agent.request("/agents/deregister", &gone).unwrap();
    // It stands in the way of nothing.
    agent.connect().unwrap();
    assert_eq!(tokens(&gateway), 1);
    agent.serves(&gateway);
    let again = agent.request(REGISTER, &registration("by-hand")).unwrap();
    assert_eq!(again["instance_id"], "by-hand");
    agent.serves(&gateway);
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
}

#[test]
fn a_refusal_has_the_meshs_code_and_is_not_repeated() {
    let gateway = gateway();
    let agent = Agent::of(&gateway, &json!({}));
    let mut hosted = registration("twice");
    agent.request(REGISTER, &hosted).unwrap();
    hosted["deployment_mode"] = "hosted".into();
    hosted["url"] = "https://desk.example/a2a".into();
    let before = requests(&gateway, REGISTER);
    let failure = agent.request(REGISTER, &hosted).unwrap_err();
    assert_eq!(failure.status, Status::Remote);
    failure.says(&[
        "DEPLOYMENT_MODE_MISMATCH",
        "HTTP 409",
        REGISTER,
        "deregister it first",
    ]);
    for (status, code) in [(403, Some("NOT_ALLOWED")), (403, None), (400, Some("BAD"))] {
        let mut refusal = Refusal::new(Endpoint::Register, status);
        refusal.code = code.map(str::to_owned);
        refuse(&gateway, vec![refusal]);
        let failure = agent.request(REGISTER, &registration("twice")).unwrap_err();
        assert_eq!(failure.status, Status::Remote);
        let expected = code.map_or_else(|| format!("[HTTP_{status}]"), |code| format!("[{code}]"));
        failure.says(&[&expected, &format!("HTTP {status}")]);
    }
    assert_eq!(requests(&gateway, REGISTER), before + 4);
}

#[test]
fn failures_that_pass_are_repeated() {
    let gateway = gateway();
    let agent = Agent::of(&gateway, &json!({}));
    let mut patience = Refusal::new(Endpoint::Register, 429).times(1);
    patience.retry_after = Some("0".to_owned());
    refuse(
        &gateway,
        vec![
            Refusal::new(Endpoint::Token, 502).times(2),
            Refusal::new(Endpoint::Register, 500)
                .code("INTERNAL")
                .times(2),
            Refusal::new(Endpoint::Register, 503).times(1),
        ],
    );
    agent.request(REGISTER, &registration("patient")).unwrap();
    assert_eq!((tokens(&gateway), requests(&gateway, REGISTER)), (3, 4));

    refuse(&gateway, vec![patience]);
    agent.request(REGISTER, &registration("patient")).unwrap();
    assert_eq!(requests(&gateway, REGISTER), 6);

    let hasty = Agent::of(&gateway, &json!({"fail_fast": true}));
    refuse(
        &gateway,
        vec![
            Refusal::new(Endpoint::Register, 500)
                .code("INTERNAL")
                .times(1),
        ],
    );
    let failure = hasty.request(REGISTER, &registration("hasty")).unwrap_err();
    failure.says(&["HTTP 500", "[INTERNAL]"]);
    hasty.request(REGISTER, &registration("hasty")).unwrap();
}

#[test]
fn a_token_that_is_refused_is_renewed_once() {
    let gateway = gateway();
    let agent = Agent::of(&gateway, &json!({}));
    agent.request(REGISTER, &registration("renewed")).unwrap();
    gateway.expire_tokens();
    agent.request(REGISTER, &registration("renewed")).unwrap();
    assert_eq!((tokens(&gateway), requests(&gateway, REGISTER)), (2, 3));
    refuse(&gateway, vec![Refusal::new(Endpoint::Register, 401)]);
    let failure = agent
        .request(REGISTER, &registration("renewed"))
        .unwrap_err();
    assert_eq!(failure.status, Status::Auth);
    assert_eq!((tokens(&gateway), requests(&gateway, REGISTER)), (3, 5));
    let all = gateway.requests();
    let shown = all.iter().filter(|request| request.path == REGISTER);
    let missing = shown.filter(|request| request.authorization == Authorization::Absent);
    assert_eq!(missing.count(), 0);
}

#[test]
fn a_redirect_is_followed_nowhere() {
    let (gateway, listener) = (gateway(), forbidden());
    let agent = Agent::of(&gateway, &json!({}));
    let mut away = Refusal::new(Endpoint::Register, 307);
    away.location = Some(format!("http://{}/elsewhere", listener.address()));
    refuse(&gateway, vec![away]);
    let failure = agent.request(REGISTER, &registration("away")).unwrap_err();
    assert_eq!(failure.status, Status::Remote);
    failure.says(&["HTTP 307", "never followed"]);
    assert_eq!(requests(&gateway, REGISTER), 1);
}

#[test]
fn it_ends_by_its_deadline_by_cancel_and_with_the_agent() {
    let gateway = gateway();
    let agent = Agent::of(&gateway, &json!({}));
    agent.request(REGISTER, &registration("stuck")).unwrap();
    gateway.set_faults(Faults {
        stall: Some(Stage::Register),
        ..Faults::default()
    });
    let body = registration("stuck");
    let failure = agent.request_with(REGISTER, &body, None, 50).unwrap_err();
    assert_eq!(failure.status, Status::Timeout);
    // By the deadline of the call or by that of its one attempt, whichever is looked at first.
    failure.says(&["50 ms", REGISTER]);
    let before = requests(&gateway, REGISTER);
    agent.request_async(REGISTER, &body, 3);
    sees(&gateway, "the request", |seen| {
        let of_it = seen.requests().iter();
        of_it.filter(|request| request.path == REGISTER).count() > before
    });
    agent.cancel(3).unwrap();
    assert_eq!(agent.done(3)["status"], Status::Cancelled as i32);
    agent.request_async(REGISTER, &body, 4);
    agent.disconnect().unwrap();
    assert_eq!(agent.done(4)["status"], Status::Cancelled as i32);
    let failure = agent.request(REGISTER, &body).unwrap_err();
    assert_eq!(failure.status, Status::InvalidState);
}

#[test]
fn the_mesh_gets_the_path_the_body_and_the_headers_as_given() {
    let (sender, heads) = channel();
    let mesh = mesh(move |head, stream| {
        if head.path == "/auth/get_token" {
            return false;
        }
        drop(sender.send(head.lines.join("\n").to_lowercase()));
        reply(stream, 200, " {\"a\": [1, \"\u{20ac}\"]}\n");
        true
    });
    let mut base = config(&mesh.url());
    base["client_id"] = "raw".into();
    base["client_secret"] = "secret-of-the-raw-client".into();
    let agent = Agent::with(base, &json!({}));
    let headers = json!({"X-Tenant": "t1", "traceparent": "00-a"});
    let seen = agent
        .request_with("/agents/x?y=1&z=%20", &json!({"n": 7}), Some(&headers), 0)
        .unwrap();
    assert_eq!(seen, json!({"a": [1, "\u{20ac}"]}));
    let head = heads.recv_timeout(GUARD).unwrap();
    for line in [
        "post /agents/x?y=1&z=%20 http/1.1",
        "x-tenant: t1",
        "traceparent: 00-a",
        "content-type: application/json",
        "content-length: 7",
        "authorization: bearer opaque-token-of-the-raw-mesh",
    ] {
        let lines = head.lines().filter(|seen| *seen == line);
        assert_eq!(lines.count(), 1, "{line} in {head}");
    }
}

#[test]
fn headers_reach_no_error_and_no_log() {
    let gateway = gateway();
    let agent = Agent::of(&gateway, &json!({}));
    let secret = "key-0123456789-abcdef";
    let mut refusal = Refusal::new(Endpoint::Register, 418).code("NO").times(1);
    refusal.message = Some(format!("you sent {secret}"));
    refuse(&gateway, vec![refusal]);
    let headers = json!({"X-Api-Key": secret});
    let body = registration("headers");
    let failure = agent
        .request_with(REGISTER, &body, Some(&headers), 0)
        .unwrap_err();
    failure.says(&["[NO]", "you sent [redacted]"]);
    agent
        .request_with(REGISTER, &body, Some(&headers), 0)
        .unwrap();
    let told = Value::from(agent.history()).to_string() + &agent.snapshot().to_string();
    assert!(
        !told.contains(secret) && !failure.text.contains(secret),
        "{told}"
    );
}
