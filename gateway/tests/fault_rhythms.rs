//! The faults that come by the clock or by chance.

mod peer;

use std::time::Duration;

use peer::{Agent, SOON, TTL, registration};
use svantic_gateway::{Faults, Gateway, Options};

fn with(faults: Faults) -> Gateway {
    Gateway::start(Options {
        faults,
        ..Options::default()
    })
    .unwrap()
}

#[tokio::test]
async fn sockets_can_be_dropped_in_a_rhythm() {
    let gateway = with(Faults {
        drop_every: Some(Duration::from_millis(100)),
        ..Faults::default()
    });
    for _ in 0..2 {
        let mut agent = Agent::dial(&gateway, "a").await;
        agent.hello().await;
        while agent.message().await.is_some() {}
    }
    gateway.set_faults(Faults::default());
    let mut agent = Agent::join(&gateway, "a").await;
    let quiet = tokio::time::timeout(Duration::from_millis(200), agent.message()).await;
    assert!(quiet.is_err());
}

#[tokio::test]
async fn a_restart_closes_with_1012_and_refuses_for_a_second() {
    let gateway = with(Faults {
        restart_every: Some(Duration::from_millis(200)),
        ..Faults::default()
    });
    let mut agent = Agent::join(&gateway, "a").await;
    assert_eq!(agent.close_code().await, Some(1012));
    gateway.set_faults(Faults::default());
    assert!(peer::open(&gateway, "GET", "/", &[], "").await.is_err());
    let back = async {
        while peer::open(&gateway, "GET", "/", &[], "").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, back).await.expect("up again");
}

#[tokio::test]
async fn chaos_comes_to_every_socket() {
    let gateway = with(Faults {
        chaos: Some(3),
        ..Faults::default()
    });
    let disturbed = async {
        loop {
            let token = gateway.issue_token("desk", TTL);
            let path = "/agents/register";
            let body = registration("a").to_string();
            let bearer = format!("Bearer {token}");
            let reply =
                peer::open(&gateway, "POST", path, &[("authorization", &bearer)], &body).await;
            if !reply.is_ok_and(|reply| reply.status() == 200) {
                return;
            }
            if gateway.faults().no_pong || !gateway.faults().refuse.is_empty() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(3 * SOON, disturbed)
        .await
        .expect("a disturbance");
    gateway.set_faults(Faults::default());
}
