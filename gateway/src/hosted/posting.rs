//! Carries dispatches to hosted agents, each on a task of its own, and a second time when the connection failed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use tokio::sync::mpsc;

use super::{
    call::A2aMethod,
    exchange::{Failure, HttpReply, Sending},
    replay::{self, Replay},
};
use crate::{script::Event, shared::Shared};

/// Long enough for a process that is being replaced to listen again, short beside any deadline.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The largest result that an agent may be configured to send (security.md S-09), and some.
const REPLY_LIMIT_BYTES: usize = 65 << 20;

/// One POST.
#[derive(Clone)]
pub(crate) struct Post {
    /// Of the ledger's entry.
    pub(crate) id: String,
    /// What the call says it is: another one where the dispatch is forged.
    pub(crate) wire_id: String,
    pub(crate) instance_id: String,
    pub(crate) url: String,
    pub(crate) body: Arc<str>,
    pub(crate) method: A2aMethod,
    pub(crate) deadline: Instant,
    /// Hangs up at the first sign of the first reply.
    pub(crate) loses_first_reply: bool,
}

/// What the state wants done outside its lock.
pub(crate) enum Order {
    Post(Post),
    Replay(Replay),
}

/// Does what is ordered, for ever.
pub(crate) async fn run(shared: Arc<Shared>, mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        let shared = Arc::clone(&shared);
        match order {
            Order::Post(post) => tokio::spawn(async move { carry(&shared, post).await }),
            Order::Replay(replay) => {
                tokio::spawn(async move { replay::run(&shared, replay).await })
            }
        };
    }
}

async fn carry(shared: &Shared, post: Post) {
    shared.unsilenced().await;
    shared.happened(Event::Dispatch, &post.instance_id);
    // What comes later finds nobody waiting: the gateway hangs up, as the mesh would.
    let answered = tokio::time::timeout_at(post.deadline.into(), twice(shared, &post)).await;
    shared.change(|state| match &answered {
        Ok(Ok(reply)) => state.take_reply(&post, reply),
        Ok(Err(failure)) => state.post_failed(&post, &failure.text),
        Err(_) => {
            state.post_ended(&post.id);
        }
    });
}

async fn twice(shared: &Shared, post: &Post) -> Result<HttpReply, Failure> {
    match once(shared, post, post.loses_first_reply).await {
        Err(failure) if failure.is_of_the_connection => {
            tokio::time::sleep(RETRY_DELAY).await;
            shared.change(|state| state.posted_again(post));
            once(shared, post, false).await
        }
        settled => settled,
    }
}

async fn once(shared: &Shared, post: &Post, leaves_early: bool) -> Result<HttpReply, Failure> {
    let mut headers = vec![
        ("content-type", "application/json"),
        (
            "accept",
            if post.method.is_streaming() {
                "text/event-stream"
            } else {
                "application/json"
            },
        ),
    ];
    if post.method.is_1_0() {
        headers.push(("a2a-version", "1.0"));
    }
    let sending = Sending {
        method: Method::POST,
        url: &post.url,
        headers: &headers,
        body: Bytes::copy_from_slice(post.body.as_bytes()),
        limit_bytes: REPLY_LIMIT_BYTES,
        leaves_early,
    };
    shared.reach.exchange(sending).await
}
