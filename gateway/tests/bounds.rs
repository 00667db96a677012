//! What a soak needs: bounded records, counters that keep counting, repetitions that are recognised all the same.

mod peer;

use peer::{Agent, SOON, TTL, post, registration};
use serde_json::json;
use svantic_gateway::{DispatchRequest, Gateway, Options, PendingDispatch};
use tokio_tungstenite::tungstenite::Message;

fn small() -> Gateway {
    Gateway::start(Options {
        ledger_limit: 8,
        request_limit: 8,
        session_limit: 2,
        ..Options::default()
    })
    .unwrap()
}

fn echo(id: &str) -> DispatchRequest {
    DispatchRequest {
        id: Some(id.to_owned()),
        ..DispatchRequest::new("echo", json!({}))
    }
}

/// Dispatches and answers; returns the answer's text.
async fn round(agent: &mut Agent, id: &str) -> String {
    let pending = agent.gateway.begin_dispatch(echo(id));
    assert_eq!(agent.next().await["id"], id);
    let text = agent.answer(id, &json!({"answer to": id})).await;
    pending.wait(SOON).unwrap();
    text
}

#[tokio::test]
async fn the_oldest_settled_dispatches_go_running_ones_stay_and_the_totals_know_all() {
    let gateway = small();
    let mut agent = Agent::join(&gateway, "a").await;
    let running = gateway.begin_dispatch(echo("running"));
    agent.next().await;
    for n in 0..100 {
        round(&mut agent, &format!("d{n}")).await;
    }
    let ledger = gateway.ledger();
    let kept: Vec<_> = ledger.entries().iter().map(|e| e.id.as_str()).collect();
    assert_eq!(kept[0], "running");
    assert_eq!(*kept.last().unwrap(), "d99");
    assert!((9..=11).contains(&kept.len()), "{kept:?}");
    assert_eq!((ledger.answered(), ledger.running()), (kept.len() - 1, 1));
    for entry in ledger.entries() {
        assert_eq!(ledger.get(&entry.id).unwrap().id, entry.id);
    }
    agent.answer("running", &json!(1)).await;
    running.wait(SOON).unwrap();
    let totals = gateway.totals();
    assert_eq!(
        (totals.dispatched, totals.sent, totals.results),
        (101, 101, 101)
    );
    assert_eq!((totals.upgrades, totals.registrations), (1, 1));
    assert_eq!(gateway.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_repetition_is_compared_byte_for_byte_also_when_the_first_is_long_gone() {
    let gateway = small();
    let mut agent = Agent::join(&gateway, "a").await;
    let first = round(&mut agent, "d").await;
    for n in 0..20 {
        round(&mut agent, &format!("other-{n}")).await;
    }
    assert!(gateway.ledger_entry("d").is_none());
    agent.send(Message::text(first.clone())).await;
    assert!(gateway.wait_until(SOON, |seen| seen.totals().duplicates_identical == 1));
    agent.answer("d", &json!({"answer to": "d"})).await;
    assert!(gateway.wait_until(SOON, |seen| seen.totals().duplicates_different == 1));
    assert_eq!(
        gateway.violations(),
        Vec::<String>::new(),
        "the same in other bytes"
    );
    agent.answer("d", &json!("another")).await;
    assert!(gateway.wait_until(SOON, |seen| seen.totals().duplicates_different == 2));
    assert!(gateway.violations()[0].contains("two different answers"));

    // Asked again it is a new entry that still knows the first answer.
    let again = gateway.begin_dispatch(echo("d"));
    agent.next().await;
    agent.send(Message::text(first)).await;
    again.wait(SOON).unwrap();
    let entry = gateway.ledger_entry("d").unwrap();
    assert_eq!((entry.copies, entry.all_identical), (1, true));
    assert_eq!(gateway.totals().duplicates_identical, 2);
    assert_eq!(gateway.totals().unknown_in_reply_to, 0);
    agent.answer("never-sent", &json!(1)).await;
    assert!(gateway.wait_until(SOON, |seen| seen.totals().unknown_in_reply_to == 1));
}

#[tokio::test]
async fn the_ledger_counts_copies_and_sendings_and_says_whether_all_were_identical() {
    let gateway = small();
    let mut agent = Agent::join(&gateway, "a").await;
    let text = round(&mut agent, "d").await;
    for _ in 0..70 {
        assert!(gateway.repeat_last_dispatch("a"));
        agent.next().await;
        agent.send(Message::text(text.clone())).await;
    }
    assert!(gateway.wait_until(SOON, |seen| seen.totals().duplicates_identical == 70));
    let entry = gateway.ledger_entry("d").unwrap();
    assert_eq!((entry.sends, entry.copies), (71, 71));
    assert_eq!((entry.sent.len(), entry.answers.len()), (64, 64));
    assert!(entry.all_identical);
    let after = entry.answers[0].at.saturating_sub(entry.sent[0].at);
    assert_eq!(entry.answered_after, Some(after));
    agent.answer("d", &json!({"answer to": "d"})).await;
    assert!(gateway.wait_until(SOON, |seen| {
        !seen.ledger().get("d").unwrap().all_identical
    }));
}

#[tokio::test]
async fn texts_make_room_and_answers_are_still_compared() {
    let gateway = Gateway::start(Options {
        text_limit_bytes: 2_000,
        ..Options::default()
    })
    .unwrap();
    let mut agent = Agent::join(&gateway, "a").await;
    let first = round(&mut agent, "d0").await;
    for n in 1..40 {
        round(&mut agent, &format!("d{n}")).await;
    }
    let ledger = gateway.ledger();
    let texts = |id: &str| ledger.get(id).unwrap().answers[0].text.len();
    assert_eq!((texts("d0"), ledger.entries().len()), (0, 40));
    assert!(texts("d39") > 0);
    let kept: usize = gateway.frames("a").iter().map(|f| f.text.len()).sum();
    assert!(kept <= 2_000);
    agent.send(Message::text(first)).await;
    assert!(gateway.wait_until(SOON, |seen| seen.totals().duplicates_identical == 1));
}

#[tokio::test]
async fn requests_and_completed_sessions_are_bounded_and_counted() {
    let gateway = small();
    let token = gateway.issue_token("desk", TTL);
    let post = async |path: &str, body| post(&gateway, path, Some(&token), &body).await;
    post("/agents/register", registration("a")).await;
    for n in 0..9 {
        let id = format!("s{n}");
        let body = json!({"instance_id": "a", "session_id": id});
        assert_eq!(post("/sessions/init", body).await.status, 200);
        if n != 0 {
            let body = json!({"session_id": id});
            assert_eq!(post("/sessions/close", body).await.status, 200);
        }
    }
    let sessions = gateway.sessions();
    let ids: Vec<_> = sessions.iter().map(|s| s.session_id.as_str()).collect();
    assert_eq!(ids, ["s0", "s7", "s8"]);
    let requests = gateway.requests();
    assert!((8..=10).contains(&requests.len()));
    let last = requests.last().unwrap();
    assert_eq!((last.seq, last.status), (18, Some(200)));
    assert_eq!(requests[0].seq, 19 - requests.len() as u64);
    assert_eq!(
        (gateway.totals().requests, gateway.totals().sessions),
        (18, 9)
    );
}

#[tokio::test]
async fn what_is_sent_again_has_the_same_bytes_until_the_deadline_and_not_after_it() {
    let gateway = small();
    let mut agent = Agent::join(&gateway, "a").await;
    let pending = gateway.begin_dispatch(echo("d"));
    let mut frames = Vec::new();
    for round in 0..3 {
        let Some(Message::Text(text)) = agent.message().await else {
            panic!("no dispatch in round {round}")
        };
        frames.push(text);
        assert!(gateway.abort("a"));
        agent = Agent::redial(&gateway, "a").await;
        agent.greet().await;
    }
    assert_eq!(frames, vec![frames[0].clone(); 3]);
    agent.next().await;
    agent.answer("d", &json!(1)).await;
    pending.wait(SOON).unwrap();
    assert_eq!(gateway.ledger_entry("d").unwrap().sends, 4);

    let short = echo("short").within(std::time::Duration::from_millis(40));
    let pending: PendingDispatch = gateway.begin_dispatch(short);
    agent.next().await;
    assert!(gateway.abort("a"));
    assert!(pending.outcome().await.is_err());
    let mut agent = Agent::redial(&gateway, "a").await;
    agent.greet().await;
    gateway.begin_dispatch(echo("marker"));
    assert_eq!(agent.next().await["id"], "marker");
    assert_eq!(gateway.ledger_entry("short").unwrap().sends, 1);
}
