//! Many dispatches from one test: no thread for each, and no cost that grows with what has been.

mod peer;

use std::{collections::VecDeque, time::Instant};

use futures_util::{SinkExt, StreamExt};
use peer::{Agent, SOON};
use serde_json::{Value, json};
use svantic_gateway::{DispatchRequest, Gateway, Options};
use tokio_tungstenite::tungstenite::Message;

const IN_FLIGHT: usize = 64;

/// How many: `SVANTIC_GATEWAY_DISPATCHES`, few enough for every day by default.
fn count() -> usize {
    let wanted = std::env::var("SVANTIC_GATEWAY_DISPATCHES").ok();
    wanted.map_or(10_000, |count| count.parse().expect("a number"))
}

/// Answers until the gateway closes.
async fn answer_all(agent: Agent) {
    let (mut sink, mut stream) = agent.socket.split();
    while let Some(Ok(message)) = stream.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        let frame: Value = serde_json::from_str(&text).unwrap();
        let id = frame["id"].as_str().unwrap();
        let answer = json!({
            "v": 1, "type": "dispatch_result", "id": format!("r-{id}"),
            "ts": "2026-05-01T08:00:00.000Z", "in_reply_to": id,
            "payload": {"result": frame["payload"]["args"]},
        });
        if sink.send(Message::text(answer.to_string())).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_dispatches_with_sixty_four_in_flight_are_driven_from_one_task() {
    let gateway = Gateway::start(Options {
        ledger_limit: 1_000,
        ..Options::default()
    })
    .unwrap();
    let agent = Agent::join(&gateway, "a").await;
    assert!(agent.ready());
    let answering = tokio::spawn(answer_all(agent));
    let count = count();
    let waiter = gateway.clone();
    // One who waits for the end all the while, looking after every change.
    let all = tokio::task::spawn_blocking(move || {
        waiter.wait_until(30 * SOON, |seen| seen.totals().results == count as u64)
    });
    let begin = Instant::now();
    let mut in_flight = VecDeque::new();
    let mut first_half = begin.elapsed();
    for n in 0..count {
        if in_flight.len() == IN_FLIGHT {
            let oldest: svantic_gateway::PendingDispatch = in_flight.pop_front().unwrap();
            oldest.outcome().await.unwrap();
        }
        in_flight.push_back(gateway.begin_dispatch(DispatchRequest::new("echo", json!({"n": n}))));
        if n == count / 2 {
            first_half = begin.elapsed();
        }
    }
    for pending in in_flight {
        pending.outcome().await.unwrap();
    }
    let took = begin.elapsed();
    println!(
        "{count} dispatches, {IN_FLIGHT} in flight: {took:?} ({:.0}/s), the first half {first_half:?}",
        f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
    );
    assert!(all.await.unwrap());
    let totals = gateway.totals();
    assert_eq!((totals.dispatched, totals.duplicates()), (count as u64, 0));
    assert!(gateway.ledger().entries().len() <= 1_250);
    assert_eq!(gateway.violations(), Vec::<String>::new());
    gateway.shutdown();
    answering.await.unwrap();
}
