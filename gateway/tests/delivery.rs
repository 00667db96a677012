//! Dispatches find their agent, survive its socket, and end in time.

mod peer;

use std::time::Duration;

use peer::{Agent, SOON, start};
use serde_json::json;
use svantic_gateway::{Answer, DispatchError, DispatchRequest, Gateway, Options};

#[tokio::test]
async fn an_unanswered_dispatch_is_sent_again_with_its_id() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    let pending = gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    assert_eq!(agent.next().await["id"], pending.id());
    assert!(gateway.abort("a"));
    assert!(agent.message().await.is_none());

    let mut agent = Agent::redial(&gateway, "a").await;
    assert_eq!(agent.greet().await["payload"]["resumed"], true);
    assert_eq!(agent.next().await["id"], pending.id());
    agent.answer(pending.id(), &json!(7)).await;
    assert_eq!(pending.wait(SOON), Ok(Answer::Result(json!(7))));
    let ledger = gateway.ledger();
    let sent: Vec<_> = ledger.entries()[0]
        .sent
        .iter()
        .map(|s| s.connection)
        .collect();
    assert_eq!(sent, [1, 2]);
    assert_eq!(ledger.entries()[0].answers[0].connection, 2);
    assert_eq!(gateway.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn resending_can_be_switched_off_and_the_answer_still_counts() {
    let gateway = Gateway::start(Options {
        resend_unanswered: false,
        ..Options::default()
    })
    .unwrap();
    let mut agent = Agent::join(&gateway, "a").await;
    let pending = gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    agent.next().await;
    agent.socket.close(None).await.unwrap();
    let mut agent = Agent::redial(&gateway, "a").await;
    agent.greet().await;
    agent.answer(pending.id(), &json!(1)).await;
    assert_eq!(pending.wait(SOON), Ok(Answer::Result(json!(1))));
    assert_eq!(gateway.ledger().entries()[0].sent.len(), 1);
}

#[tokio::test]
async fn a_dispatch_waits_for_an_agent_and_goes_round() {
    let gateway = start();
    let early = gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    let mut a = Agent::join(&gateway, "a").await;
    assert_eq!(a.next().await["id"], early.id());
    let mut b = Agent::join(&gateway, "b").await;
    assert!(a.ready() && b.ready());
    for _ in 0..6 {
        gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    }
    for _ in 0..3 {
        assert_eq!(a.next().await["type"], "dispatch");
        assert_eq!(b.next().await["type"], "dispatch");
    }
}

#[tokio::test]
async fn a_dispatch_ends_in_time() {
    let gateway = start();
    let short = || DispatchRequest::new("echo", json!({})).within(Duration::from_millis(60));
    let unsent = gateway.begin_dispatch(short());
    assert_eq!(unsent.wait(SOON), Err(DispatchError::NoAgent));
    let mut agent = Agent::join(&gateway, "a").await;
    let pending = gateway.begin_dispatch(short());
    agent.next().await;
    assert_eq!(pending.wait(SOON), Err(DispatchError::Timeout));
    assert!(gateway.ledger().get(pending.id()).unwrap().timed_out);
    agent.answer(pending.id(), &json!(1)).await;
    let id = pending.id().to_owned();
    assert!(
        gateway.wait_until(SOON, |seen| seen.ledger().get(&id).unwrap().answers.len()
            == 1)
    );
    assert_eq!(
        gateway.violations(),
        Vec::<String>::new(),
        "late is no violation"
    );
}

#[tokio::test]
async fn an_id_can_be_sent_twice_and_a_skill_left_out() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    let mut request = DispatchRequest::new("echo", json!([1]));
    request.id = Some("d1".to_owned());
    let first = gateway.begin_dispatch(request.clone());
    let second = gateway.begin_dispatch(request.clone());
    for _ in 0..2 {
        let frame = agent.next().await;
        assert_eq!(
            (&frame["id"], &frame["payload"]["args"]),
            (&json!("d1"), &json!([1]))
        );
    }
    agent.answer("d1", &json!(1)).await;
    assert_eq!(first.wait(SOON), second.wait(SOON));
    // Answered already: asked again it is sent again and waits for the next answer.
    let third = gateway.begin_dispatch(request);
    agent.next().await;
    agent.answer("d1", &json!(1)).await;
    assert!(third.wait(SOON).is_ok());
    assert_eq!(gateway.ledger().get("d1").unwrap().sent.len(), 3);

    gateway.begin_dispatch(DispatchRequest::default());
    assert_eq!(agent.next().await["payload"], json!({}));
}

#[tokio::test]
async fn the_newest_socket_wins() {
    let gateway = start();
    let mut old = Agent::join(&gateway, "a").await;
    let pending = gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    old.next().await;
    let mut silent = Agent::redial(&gateway, "a").await;
    assert!(gateway.wait_until(SOON, |seen| seen.agent("a").unwrap().open_sockets == 2));
    silent.hello().await;
    assert_eq!(old.close_code().await, Some(4409));
    assert_eq!(silent.next().await["type"], "welcome");
    assert_eq!(silent.next().await["id"], pending.id());
    // What the old socket still says is heard.
    assert!(old.message().await.is_none());
    let record = gateway.agent("a").unwrap();
    assert_eq!(
        (record.connections, record.welcomes, record.ready),
        (2, 2, true)
    );
}

#[tokio::test]
async fn hundreds_of_dispatches_answered_backwards_find_their_waiters() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "a").await;
    let pending: Vec<_> = (0..300)
        .map(|n| gateway.begin_dispatch(DispatchRequest::new("echo", json!({"n": n}))))
        .collect();
    let mut frames = Vec::new();
    for _ in 0..300 {
        frames.push(agent.next().await);
    }
    for frame in frames.iter().rev() {
        agent
            .answer(
                frame["id"].as_str().unwrap(),
                &frame["payload"]["args"]["n"],
            )
            .await;
    }
    for (n, pending) in pending.iter().enumerate() {
        assert_eq!(pending.wait(SOON), Ok(Answer::Result(json!(n))));
    }
    assert_eq!(gateway.ledger().answered(), 300);
}
