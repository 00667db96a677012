//! The named assumptions about a peer that nobody has documented: each does what it says.

mod peer;

use std::time::Duration;

use peer::{Agent, SOON, TTL, start, upgrade};
use serde_json::json;
use svantic_gateway::{DispatchError, DispatchRequest, DuplicateSocket, Gateway, Options};
use tokio_tungstenite::tungstenite::Message;

fn gateway(options: Options) -> Gateway {
    Gateway::start(options).unwrap()
}

#[tokio::test]
async fn newest_silent_resets_the_older_socket_and_sends_its_work_to_the_newer() {
    let gateway = gateway(Options {
        duplicate_socket: DuplicateSocket::NewestSilent,
        ..Options::default()
    });
    let mut old = Agent::join(&gateway, "a").await;
    let pending = gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    old.next().await;
    let mut new = Agent::redial(&gateway, "a").await;
    new.greet().await;
    assert_eq!(new.next().await["id"], pending.id());
    assert!(old.message().await.is_none(), "no close frame");
}

#[tokio::test]
async fn refuse_keeps_the_older_socket_until_it_has_ended() {
    let gateway = gateway(Options {
        duplicate_socket: DuplicateSocket::Refuse,
        ..Options::default()
    });
    let mut old = Agent::join(&gateway, "a").await;
    let token = gateway.issue_token("desk", TTL);
    let path = "/agents/connect?instance_id=a";
    let refused = upgrade(&gateway, path, Some(&token), Some("svantic.v1")).await;
    let Err((409, body)) = refused else {
        panic!("not refused")
    };
    assert_eq!(body["code"], "INSTANCE_ALREADY_CONNECTED");
    let pending = gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    assert_eq!(old.next().await["id"], pending.id());
    old.socket.close(None).await.unwrap();
    while old.message().await.is_some() {}
    assert!(gateway.wait_until(SOON, |seen| seen.agent("a").unwrap().open_sockets == 0));
    Agent::redial(&gateway, "a").await.greet().await;
}

#[tokio::test]
async fn late_results_are_dropped_and_counted_or_kept() {
    for drops_late_results in [true, false] {
        let gateway = gateway(Options {
            drops_late_results,
            ..Options::default()
        });
        let mut agent = Agent::join(&gateway, "a").await;
        let soon_over = DispatchRequest::new("echo", json!({})).within(Duration::from_millis(40));
        let pending = gateway.begin_dispatch(soon_over);
        agent.next().await;
        assert_eq!(pending.wait(SOON), Err(DispatchError::Timeout));
        agent.answer(pending.id(), &json!(1)).await;
        assert!(gateway.wait_until(SOON, |seen| seen.totals().late == 1));
        let totals = gateway.totals();
        let kept = u64::from(!drops_late_results);
        assert_eq!((totals.late_dropped, totals.results), (1 - kept, kept));
        assert_eq!(totals.timed_out, 1);
        let entry = gateway.ledger_entry(pending.id()).unwrap();
        assert_eq!((entry.copies, entry.timed_out), (kept, true));
        assert_eq!(gateway.violations(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_agent_that_answers_the_meshs_pings_has_round_trips() {
    let gateway = gateway(Options {
        server_ping: Some(Duration::from_millis(5)),
        ..Options::default()
    });
    let mut agent = Agent::join(&gateway, "a").await;
    for _ in 0..3 {
        // Reading answers the ping.
        assert!(matches!(agent.message().await, Some(Message::Ping(_))));
    }
    agent.send(Message::Pong("unasked".into())).await;
    let answered = |seen: &svantic_gateway::Snapshot<'_>| {
        seen.agent("a").unwrap().round_trips.pongs >= 2
            && seen.frames("a").any(|frame| frame.text == "unasked")
    };
    assert!(gateway.wait_until(SOON, answered));
    let trips = gateway.agent("a").unwrap().round_trips;
    assert!(trips.pongs <= trips.pings, "{trips:?}");
    assert!(trips.last <= trips.longest && trips.longest <= Some(trips.total));
    assert!(trips.last > Some(Duration::ZERO));
}

#[tokio::test]
async fn resumed_is_true_within_the_window_only_and_always_when_taking_over() {
    for (window, resumed) in [
        (None, true),
        (Some(Duration::from_mins(10)), true),
        (Some(Duration::from_nanos(1)), false),
    ] {
        let gateway = gateway(Options {
            resumed_window: window,
            ..Options::default()
        });
        let mut agent = Agent::dial(&gateway, "a").await;
        assert_eq!(agent.greet().await["payload"]["resumed"], false);
        assert!(gateway.abort("a"));
        let mut agent = Agent::redial(&gateway, "a").await;
        assert_eq!(
            agent.greet().await["payload"]["resumed"],
            resumed,
            "{window:?}"
        );
        let mut newer = Agent::redial(&gateway, "a").await;
        assert_eq!(newer.greet().await["payload"]["resumed"], true);
    }
}

#[tokio::test]
async fn without_assumptions_nothing_is_pinged() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    let pending = gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    assert_eq!(agent.next().await["id"], pending.id());
    assert_eq!(gateway.agent("a").unwrap().round_trips.pings, 0);
}
