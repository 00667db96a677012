//! What a script makes the gateway do, at a time and on an event.

mod peer;

use std::time::Duration;

use peer::{Agent, SOON, TTL, http, post, registration, start, upgrade};
use serde_json::{Value, json};
use svantic_gateway::{
    Answer, DispatchRequest, Faults, FrameKind, Gateway, Options, Script, ScriptStatus,
};
use tokio_tungstenite::tungstenite::Message;

fn set(gateway: &Gateway, steps: &Value) {
    gateway.set_script(Script::from_json(&steps.to_string()).unwrap());
}

fn done(gateway: &Gateway, steps: usize) {
    let reached = gateway.wait_until(SOON, |seen| seen.script().done == steps);
    assert!(reached, "{:?}", gateway.script_status());
}

fn dispatch(gateway: &Gateway, id: &str) -> svantic_gateway::PendingDispatch {
    gateway.begin_dispatch(DispatchRequest {
        id: Some(id.to_owned()),
        ..DispatchRequest::new("echo", json!({}))
    })
}

#[tokio::test]
async fn the_nth_event_of_the_named_instance_sets_a_step_off_once() {
    let gateway = start();
    set(
        &gateway,
        &json!([{"on": "welcome", "nth": 2, "instance": "a",
                 "do": {"close": {"code": 4001, "reason": "twice"}}}]),
    );
    let mut other = Agent::join(&gateway, "b").await;
    let mut first = Agent::join(&gateway, "a").await;
    assert!(first.ready());
    let mut second = Agent::redial(&gateway, "a").await;
    second.greet().await;
    assert_eq!(first.close_code().await, Some(4409));
    assert_eq!(second.close_code().await, Some(4001));
    let mut third = Agent::redial(&gateway, "a").await;
    third.greet().await;
    for agent in [&mut third, &mut other] {
        let pending = gateway
            .begin_dispatch(DispatchRequest::new("echo", json!({})).to(&agent.instance_id.clone()));
        assert_eq!(agent.next().await["id"], pending.id());
    }
    assert_eq!(
        gateway.script_status(),
        ScriptStatus {
            steps: 1,
            done: 1,
            without_effect: vec![]
        }
    );
}

#[tokio::test]
async fn a_dispatch_that_was_delivered_can_lose_its_socket_and_comes_again() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    set(&gateway, &json!([{"on": "dispatch", "do": "rst"}]));
    let pending = dispatch(&gateway, "d");
    while agent.message().await.is_some() {}
    let mut agent = Agent::redial(&gateway, "a").await;
    agent.greet().await;
    assert_eq!(agent.next().await["id"], "d");
    agent.answer("d", &json!(1)).await;
    assert_eq!(pending.wait(SOON), Ok(Answer::Result(json!(1))));
    assert_eq!(gateway.ledger_entry("d").unwrap().sends, 2);
}

#[tokio::test]
async fn answers_heartbeats_and_disconnects_set_steps_off() {
    let gateway = start();
    set(
        &gateway,
        &json!([
            {"on": "answer", "do": "dup"},
            {"on": "heartbeat", "do": {"raw": {"text": "not JSON"}}},
            {"on": "disconnect", "do": {"set_faults": {"extra_register_fields": {"after": true}}}},
        ]),
    );
    let mut agent = Agent::join(&gateway, "a").await;
    let pending = dispatch(&gateway, "d");
    let Some(Message::Text(once)) = agent.message().await else {
        panic!("no dispatch")
    };
    agent.answer("d", &json!(1)).await;
    pending.wait(SOON).unwrap();
    let Some(Message::Text(again)) = agent.message().await else {
        panic!("no repetition")
    };
    assert_eq!(once, again);
    let heartbeat = json!({
        "instance_id": "a", "status": "available", "current_sessions": 0,
        "max_concurrent_sessions": 0, "consecutive_failures": 0,
    });
    agent.say("heartbeat", &heartbeat, None).await;
    let Some(Message::Text(raw)) = agent.message().await else {
        panic!("no raw text")
    };
    assert_eq!(raw, "not JSON");
    agent.socket.close(None).await.unwrap();
    done(&gateway, 3);
    let token = gateway.issue_token("desk", TTL);
    let reply = post(
        &gateway,
        "/agents/register",
        Some(&token),
        &registration("a"),
    )
    .await;
    assert_eq!(reply.json()["after"], true);
    assert_eq!(gateway.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_step_on_a_registration_is_done_before_its_reply_leaves() {
    let gateway = start();
    set(
        &gateway,
        &json!([
            {"on": "register",
             "do": {"http": {"endpoint": "connect", "status": 503, "code": "BUSY", "times": 1}}},
            {"on": "register", "nth": 2, "do": "expire_token"},
            {"on": "token", "do": {"redirect": {"endpoint": "heartbeat", "location": "/x"}}},
        ]),
    );
    let token = gateway.issue_token("desk", TTL);
    let register = async |token: &str| {
        post(
            &gateway,
            "/agents/register",
            Some(token),
            &registration("a"),
        )
        .await
    };
    assert_eq!(register(&token).await.status, 200);
    let path = "/agents/connect?instance_id=a";
    let refused = upgrade(&gateway, path, Some(&token), Some("svantic.v1")).await;
    let Err((503, body)) = refused else {
        panic!("not refused")
    };
    assert_eq!(body["code"], "BUSY");
    assert!(
        upgrade(&gateway, path, Some(&token), Some("svantic.v1"))
            .await
            .is_ok()
    );
    assert_eq!(register(&token).await.status, 200);
    assert_eq!(register(&token).await.status, 401, "expired by the step");
    let credentials = json!({
        "client_id": gateway.client_id(), "client_secret": gateway.client_secret(),
        "agent_type": "desk",
    });
    let reply = post(&gateway, "/auth/get_token", None, &credentials).await;
    let fresh = reply.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(register(&fresh).await.status, 200);
    let reply = post(&gateway, "/agents/heartbeat", Some(&fresh), &json!({})).await;
    assert_eq!(
        (reply.status, &reply.headers["location"]),
        (307, &"/x".parse().unwrap())
    );
}

#[tokio::test]
async fn times_count_from_the_setting_of_the_script_and_keep_their_order() {
    let gateway = Gateway::start(Options {
        script: Some(
            r#"[{"at": 0.02, "do": {"dispatch": {"skill_id": "echo", "id": "s", "count": 2}}},
                {"at": 0.01, "after": 0.02, "do": {"dispatch": {"skill_id": "last", "id": "t"}}},
                {"at": 0, "do": {"dispatch": {"skill_id": "first", "args": {"n": 1}}}}]"#
                .parse()
                .unwrap(),
        ),
        ..Options::default()
    })
    .unwrap();
    done(&gateway, 3);
    let mut agent = Agent::join(&gateway, "a").await;
    let first = agent.next().await;
    assert_eq!(
        first["payload"],
        json!({"skill_id": "first", "args": {"n": 1}})
    );
    for id in ["s-1", "s-2", "t"] {
        assert_eq!(agent.next().await["id"], id);
    }
}

#[tokio::test]
async fn a_forgotten_instance_loses_its_socket_and_its_next_upgrade() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    let mut other = Agent::join(&gateway, "b").await;
    set(
        &gateway,
        &json!([{"at": 0, "instance": "a", "do": "forget"},
                {"at": 0, "instance": "b", "do": "supersede"}]),
    );
    assert!(agent.message().await.is_none());
    assert_eq!(other.close_code().await, Some(4409));
    let token = gateway.issue_token("desk", TTL);
    let path = "/agents/connect?instance_id=a";
    let refused = upgrade(&gateway, path, Some(&token), Some("svantic.v1")).await;
    assert!(matches!(refused, Err((404, _))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_gateway_reads_on_and_sends_what_it_held_afterwards() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    // Ended by `clear`: how long the silence would have been does not matter.
    set(
        &gateway,
        &json!([{"at": 0, "do": {"silent": {"seconds": 600}}}]),
    );
    assert!(gateway.faults().silent);
    agent.send(Message::Ping("lost".into())).await;
    // The pong leaves (and is lost) before the next message is read, not before the ping is recorded.
    agent.send(Message::Pong("read on".into())).await;
    let pending = dispatch(&gateway, "d");
    let asking = gateway.clone();
    let held = tokio::spawn(async move {
        let token = asking.issue_token("desk", TTL);
        post(
            &asking,
            "/agents/register",
            Some(&token),
            &registration("b"),
        )
        .await
    });
    let read = gateway.wait_until(SOON, |seen| {
        let mut frames = seen.frames("a");
        frames.any(|f| f.kind == FrameKind::Pong) && seen.requests().len() == 3
    });
    assert!(read);
    assert_eq!(gateway.requests()[2].status, None);
    set(&gateway, &json!([{"at": 0, "do": "clear"}]));
    // The dispatch is the first thing that comes: there is no pong.
    let Some(Message::Text(text)) = agent.message().await else {
        panic!("something before the dispatch")
    };
    assert!(text.contains(pending.id()));
    assert_eq!(held.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_silence_ends_by_itself_but_never_ends_a_later_one() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    gateway.fall_silent(Duration::from_millis(10));
    gateway.set_faults(Faults {
        silent: true,
        ..Faults::default()
    });
    gateway.fall_silent(Duration::from_millis(20));
    agent.send(Message::Ping("x".into())).await;
    let pending = dispatch(&gateway, "d");
    assert_eq!(agent.next().await["id"], pending.id());
    assert!(!gateway.faults().silent);

    gateway.fall_silent(Duration::from_millis(10));
    gateway.fall_silent(Duration::from_mins(10));
    // By then the first one's end has come: it was queued earlier.
    set(
        &gateway,
        &json!([{"at": 0.05, "do": {"stall": {"stage": "token"}}}]),
    );
    done(&gateway, 1);
    assert!(gateway.faults().silent);
}

#[tokio::test]
async fn a_new_script_ends_the_old_one_and_steps_in_vain_are_told() {
    let gateway = start();
    set(
        &gateway,
        &json!([{"at": 0.01, "do": {"set_faults": {"no_pong": true}}},
                {"on": "register", "do": "rst"}]),
    );
    set(
        &gateway,
        &json!([{"at": 0, "do": "rst"}, {"at": 0, "do": "dup"},
                {"at": 0.05, "do": {"slow": {"bytes_per_second": 1_000_000}}}]),
    );
    let mut agent = Agent::join(&gateway, "a").await;
    done(&gateway, 3);
    assert_eq!(gateway.script_status().without_effect, [1, 2]);
    let faults = gateway.faults();
    assert!(!faults.no_pong, "a step of the replaced script");
    assert_eq!(faults.slow.unwrap().get(), 1_000_000);
    let pending = dispatch(&gateway, "d");
    assert_eq!(agent.next().await["id"], pending.id());
}

#[tokio::test]
async fn the_control_face_takes_a_script_and_shows_how_far_it_is() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    let steps = json!([{"at": 0, "do": {"close": {"code": 4002}}}, {"on": "token", "do": "rst"}]);
    let reply = post(&gateway, "/_gateway/script", None, &steps).await;
    assert_eq!(
        (reply.status, reply.json()["steps"].as_u64()),
        (200, Some(2))
    );
    assert_eq!(agent.close_code().await, Some(4002));
    let shown = http(&gateway, "GET", "/_gateway/script", &[], "").await;
    assert_eq!(
        shown.json(),
        json!({"steps": 2, "done": 1, "without_effect": []})
    );
    let wrong = json!([{"at": 0, "do": {"close": {"cod": 4002}}}]);
    let reply = post(&gateway, "/_gateway/script", None, &wrong).await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.text.contains("step 1: unknown field `cod`"),
        "{}",
        reply.text
    );
    let totals = http(&gateway, "GET", "/_gateway/totals", &[], "").await;
    assert_eq!(totals.json()["upgrades"], 1);
}
