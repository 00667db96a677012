//! Links that end, for every cause, and what comes back: the link, the dispatches, the answers.

use std::io::{Read, Write};

use serde_json::{Value, json};
use svantic::ffi::status::svantic_state as State;
use svantic_gateway::{Answer, DispatchError, Endpoint, Faults, Gateway, Options, Refusal, Stage};

use crate::abi::raw::{WELCOME, accept_upgrade, frame, mesh};
use crate::abi::{Agent, GUARD, answer, config, echo, gateway, sees};

fn welcomed(gateway: &Gateway, agent: &Agent, times: u64) {
    sees(gateway, "the next welcome", |seen| {
        seen.agent(agent.id())
            .is_some_and(|record| record.welcomes == times && record.ready)
    });
}

/// Ends the link, and waits until there is the next.
fn ends(gateway: &Gateway, agent: &Agent, end: impl FnOnce()) -> Value {
    let welcomes = gateway.agent(agent.id()).unwrap().welcomes;
    end();
    let disconnected = agent.event("disconnected");
    agent.enters("reconnecting");
    agent.enters("connected");
    welcomed(gateway, agent, welcomes + 1);
    disconnected
}

#[test]
fn every_close_that_a_redial_mends() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let id = agent.id();
    let first = agent.event("connected");
    assert_eq!(
        first,
        json!({"connection": first["connection"], "resumed": false})
    );
    let reset = ends(&gateway, &agent, || assert!(gateway.abort(id)));
    assert_eq!(reset["code"], Value::Null);
    agent.serves(&gateway);
    for code in [1000, 1001, 1011, 1012, 1013, 3000, 4000, 4408, 4999] {
        let reason = format!("because of {code}");
        let closed = ends(&gateway, &agent, || {
            assert!(gateway.close(id, code, &reason));
        });
        assert_eq!(closed["code"], code);
        assert!(
            closed["cause"].as_str().unwrap().contains(&reason),
            "{closed}"
        );
        assert_eq!(agent.event("connected")["resumed"], true);
        agent.serves(&gateway);
    }
    // Not every WebSocket library knows these; however often they come, they are no complaint about us.
    for code in [1014, 1014, 1014, 1014, 1015, 2999, 5000] {
        let closed = ends(&gateway, &agent, || assert!(gateway.close(id, code, "odd")));
        assert_eq!(closed["code"], Value::Null);
        agent.serves(&gateway);
    }
    // No close of these needs a new token or a new registration.
    let record = gateway.agent(id).unwrap();
    assert_eq!((record.registrations, record.deregistrations), (1, 0));
    assert_eq!(gateway.violations(), [""; 0]);
    // CONNECTED and DISCONNECTED alternate.
    let history = agent.history();
    let links: Vec<_> = history
        .iter()
        .filter_map(|item| item["name"].as_str())
        .collect();
    let links = links
        .into_iter()
        .filter(|name| matches!(*name, "connected" | "disconnected"));
    for (n, name) in links.enumerate() {
        assert_eq!(name, ["connected", "disconnected"][n % 2], "event {n}");
    }
}

#[test]
fn a_close_before_the_first_welcome() {
    let gateway = gateway();
    let stalled = || Faults {
        stall: Some(Stage::Welcome),
        ..Faults::default()
    };
    for (fail_fast, code) in [
        (true, 1000),
        (true, 1011),
        (true, 4400),
        (false, 1012),
        (false, 4401),
    ] {
        gateway.set_faults(stalled());
        let agent = Agent::of(&gateway, &json!({"fail_fast": fail_fast}));
        agent.connect_async(4);
        sees(&gateway, "the hello", |seen| {
            seen.agent(agent.id())
                .is_some_and(|record| record.hello.is_some())
        });
        assert!(gateway.close(agent.id(), code, "not today"));
        if fail_fast {
            let error = agent.done(4)["error"].take();
            assert_eq!(error["code"], "CONNECTION_LOST");
            let message = error["message"].as_str().unwrap();
            for part in [
                "waiting for the mesh's welcome",
                "/agents/connect",
                &code.to_string(),
                "not today",
            ] {
                assert!(message.contains(part), "{message}");
            }
            assert!(error["hint"].is_string(), "{error}");
            agent.is(State::Idle);
            gateway.set_faults(Faults::default());
            agent.connect().unwrap();
        } else {
            gateway.set_faults(Faults::default());
            assert_eq!(agent.done(4)["status"], 0);
        }
        agent.serves(&gateway);
    }
}

#[test]
fn a_connection_that_ends_without_a_close_frame() {
    let mesh = mesh(|head, stream| {
        let connects = head.path == "/agents/connect";
        if connects {
            accept_upgrade(head, stream);
            stream
                .write_all(&frame(0x81, WELCOME.as_bytes()))
                .expect("the client reads");
            // The hello; then the socket is closed.
            assert!(matches!(stream.read(&mut [0; 4096]), Ok(1..)));
        }
        connects
    });
    let mut config = config(&mesh.url());
    config["token"] = "a-token-of-our-own".into();
    let agent = Agent::with(config, &json!({}));
    agent.connect().unwrap();
    for _ in 0..3 {
        let event = agent.event("disconnected");
        assert_eq!(event["code"], Value::Null);
        assert_ne!(event["cause"], "");
    }
}

#[test]
fn the_third_protocol_close_in_a_row_is_final() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    for _ in 0..2 {
        ends(&gateway, &agent, || {
            assert!(gateway.close(agent.id(), 4400, "bad frame w-17"));
        });
    }
    assert!(gateway.close(agent.id(), 4400, "bad frame w-18"));
    agent.enters("failed");
    let failed = agent.event("failed");
    let message = failed["message"].as_str().unwrap();
    assert!(
        message.contains("4400") && message.contains("bad frame w-18"),
        "{failed}"
    );
    agent.is(State::Failed);
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 3);
    agent.disconnect().unwrap_err().says(&["disconnect"]);
}

#[test]
fn a_close_over_the_token_renews_it_once_and_then_waits() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let before = agent.token().unwrap();
    ends(&gateway, &agent, || {
        assert!(gateway.close(agent.id(), 4401, "token expired"));
    });
    assert_ne!(agent.token().unwrap(), before);
    agent.serves(&gateway);
    // A mesh that refuses the fresh token too is not dialed in a loop.
    assert!(gateway.close(agent.id(), 4401, "token expired"));
    agent.enters("blocked");
    assert_eq!(agent.event("auth_failed")["code"], "UNAUTHORIZED");
    agent.enters("connected");
    agent.serves(&gateway);
}

#[test]
fn another_process_with_the_same_instance_id() {
    let gateway = gateway();
    let first = Agent::connected(&gateway, &json!({}));
    let second = Agent::connected(&gateway, &json!({"instance_id": first.id()}));
    first.event("superseded");
    first.enters("blocked");
    first.is(State::Blocked);
    assert_eq!(first.event("disconnected")["code"], 4409);
    second.serves(&gateway);
    second.is(State::Connected);
}

#[test]
fn without_auto_reconnect_a_lost_link_is_the_end() {
    let gateway = gateway();
    for close in [None, Some(1012), Some(1000)] {
        let agent = Agent::connected(&gateway, &json!({"auto_reconnect": false}));
        match close {
            None => assert!(gateway.abort(agent.id())),
            Some(code) => assert!(gateway.close(agent.id(), code, "bye")),
        }
        agent.enters("failed");
        let failed = agent.event("failed");
        assert_eq!(failed["code"], "CONNECTION_LOST");
        assert!(
            failed["hint"].as_str().unwrap().contains("auto_reconnect"),
            "{failed}"
        );
        agent.is(State::Failed);
        assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
    }
}

/// A loop over the items ends by itself, as it does after a disconnect, and nobody has to free the agent from outside.
#[test]
fn an_agent_that_has_given_up_hands_out_closed_last() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"auto_reconnect": false}));
    assert!(gateway.abort(agent.id()));
    agent.wait("the last item", |item| item["type"] == "closed");
    let told = agent.history();
    let at = |wanted: &dyn Fn(&Value) -> bool| told.iter().position(wanted).unwrap();
    assert!(at(&|item| item["name"] == "failed") < told.len() - 1);
    assert_eq!(at(&|item| item["type"] == "closed"), told.len() - 1);
    agent.is(State::Failed);
    agent
        .re_register()
        .unwrap_err()
        .says(&["re_register", "given up"]);
    assert_eq!(agent.snapshot()["health"]["live"], true);
}

/// Nothing comes and no ping is answered: noticed by our own clock, and redialed.
#[test]
fn a_silent_peer_is_noticed() {
    let gateway = gateway();
    let agent = Agent::connected(
        &gateway,
        &json!({"ping_interval_ms": 40, "dead_after_ms": 120}),
    );
    gateway.set_faults(Faults {
        no_pong: true,
        ..Faults::default()
    });
    let cause = agent.event("disconnected")["cause"].take();
    assert!(
        cause.as_str().unwrap().contains("nothing came in for"),
        "{cause}"
    );
    gateway.set_faults(Faults::default());
    agent.enters("reconnecting");
    agent.enters("connected");
    agent.serves(&gateway);
}

/// Pongs alone keep an idle link.
#[test]
fn an_idle_peer_that_answers_pings_is_kept() {
    let gateway = gateway();
    let quick =
        json!({"ping_interval_ms": 20, "dead_after_ms": 2000, "heartbeat_interval_ms": 3_600_000});
    let agent = Agent::connected(&gateway, &quick);
    sees(&gateway, "twenty pings", |seen| {
        seen.frames(agent.id())
            .filter(|frame| frame.kind == svantic_gateway::FrameKind::Ping)
            .count()
            >= 20
    });
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
    agent.is(State::Connected);
}

fn down(gateway: &Gateway, agent: &Agent) {
    let refuse = vec![Refusal::new(Endpoint::Connect, 500)];
    gateway.set_faults(Faults {
        refuse,
        ..Faults::default()
    });
    assert!(gateway.abort(agent.id()));
    agent.enters("reconnecting");
}

#[test]
fn a_dispatch_during_the_outage_is_served_afterwards() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    down(&gateway, &agent);
    let pending = gateway.begin_dispatch(echo(json!({"n": 5})).to(agent.id()));
    gateway.set_faults(Faults::default());
    let item = agent.dispatch();
    assert_eq!(item["dispatch_id"], pending.id());
    agent.resolve(pending.id(), &json!("done")).unwrap();
    assert_eq!(answer(&pending), Answer::Result(json!("done")));
    assert_eq!(gateway.ledger().get(pending.id()).unwrap().answers.len(), 1);
}

#[test]
fn a_result_finished_during_the_outage_is_delivered_once() {
    for resend_unanswered in [true, false] {
        let options = Options {
            resend_unanswered,
            ..Options::default()
        };
        let gateway = Gateway::start(options).unwrap();
        let agent = Agent::connected(&gateway, &json!({}));
        let pending = gateway.begin_dispatch(echo(json!({})).to(agent.id()));
        agent.dispatch();
        down(&gateway, &agent);
        agent
            .resolve(pending.id(), &json!("finished in the dark"))
            .unwrap();
        assert_eq!(
            pending.wait(std::time::Duration::ZERO),
            Err(DispatchError::Timeout)
        );
        gateway.set_faults(Faults::default());
        assert_eq!(
            answer(&pending),
            Answer::Result(json!("finished in the dark"))
        );
        // The handler is not asked twice, although the mesh may have sent the dispatch again.
        agent.serves(&gateway);
        let history = agent.history();
        let asked = history
            .iter()
            .filter(|item| item["dispatch_id"] == pending.id())
            .count();
        assert_eq!(asked, 1);
        let ledger = gateway.ledger();
        let answers = &ledger.get(pending.id()).unwrap().answers;
        assert!(
            answers.windows(2).all(|pair| pair[0].text == pair[1].text),
            "{answers:?}"
        );
        assert_eq!(gateway.violations(), [""; 0]);
    }
}

/// The link is lost while the result is on its way, again and again: one dispatch, one answer.
#[test]
fn results_under_a_hail_of_resets() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let hail = std::time::Duration::from_millis(40);
    gateway.set_faults(Faults {
        drop_every: Some(hail),
        ..Faults::default()
    });
    let pending: Vec<_> = (0..200)
        .map(|n| gateway.begin_dispatch(echo(json!({"n": n})).to(agent.id())))
        .collect();
    for _ in &pending {
        let item = agent.dispatch();
        agent
            .resolve(item["dispatch_id"].as_str().unwrap(), &item["args"]["n"])
            .unwrap();
    }
    for (n, pending) in pending.iter().enumerate() {
        assert_eq!(pending.wait(GUARD), Ok(Answer::Result(json!(n))));
    }
    let history = agent.history();
    assert_eq!(
        history
            .iter()
            .filter(|item| item["type"] == "dispatch")
            .count(),
        pending.len()
    );
    assert_eq!(gateway.violations(), [""; 0]);
}
