//! What the state knows of dispatches to hosted agents: whom they are for, what came of them.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    call,
    dispatch_auth::Proof,
    exchange::HttpReply,
    posting::{Order, Post},
    replay::Replay,
    reply,
    secrets::DispatchSecrets,
};
use crate::{
    dispatch::{DispatchError, DispatchRequest},
    ledger::{Fingerprint, ReceivedAnswer, SentDispatch},
    options::Options,
    recent::{self, Recent},
    records::{Direction, FrameKind, FrameRecord},
    routing::POSTED,
    state::State,
    token::{Claims, Signer},
};

/// How many bodies stay known, so that they can be replayed, and how large they may be.
const CAPTURED: usize = 256;
const CAPTURED_BYTES: usize = 1 << 20;
/// A POST has no socket with a number.
const NO_CONNECTION: u64 = 0;

/// What dispatches to hosted agents take beside the agents' records.
pub(crate) struct Desk {
    pub(crate) secrets: DispatchSecrets,
    signer: Arc<Signer>,
    client_id: String,
    orders: mpsc::UnboundedSender<Order>,
    /// The last bodies that were sent, by the dispatch id on the wire.
    captured: Recent<Option<Arc<str>>>,
}

impl Desk {
    pub(crate) fn new(
        options: &Options,
        signer: Arc<Signer>,
        orders: mpsc::UnboundedSender<Order>,
    ) -> Self {
        Self {
            secrets: DispatchSecrets::new(options.dispatch_secret.clone()),
            signer,
            client_id: options.client_id.clone(),
            orders,
            captured: Recent::new(CAPTURED),
        }
    }

    fn order(&self, order: Order) {
        // An error means that the gateway has been stopped.
        let _ = self.orders.send(order);
    }

    pub(crate) fn captured(&self, wire_id: &str) -> Option<Arc<str>> {
        self.captured.get(recent::hash(wire_id))?.clone()
    }
}

impl State {
    /// The `svantic_auth` of a dispatch to this instance: the caller's own, else one made here if there is a secret.
    pub(crate) fn dispatch_auth(
        &self,
        request: &DispatchRequest,
        instance_id: &str,
        dispatch_id: &str,
    ) -> Option<Value> {
        if request.svantic_auth.is_some() {
            return request.svantic_auth.clone();
        }
        let agent = self.agents.get(instance_id)?;
        let secret = self.hosted.secrets.get(instance_id);
        if secret.is_none() && request.forge.is_none() {
            return None;
        }
        let registration_token = || {
            let (client_id, life) = (&self.hosted.client_id, Duration::from_mins(5));
            let claims = Claims::new(&agent.tenant_id, &agent.agent_type, client_id, life);
            self.hosted.signer.sign(&claims)
        };
        let proof = Proof {
            agent,
            secret: secret.unwrap_or_default(),
            dispatch_id,
            registration_token: &registration_token,
        };
        proof.envelope(request.forge)
    }

    /// Sends an open dispatch to the hosted instance it is for, if that takes any.
    pub(crate) fn post_dispatch(&mut self, seq: u64, instance_id: &str) {
        let agent = self.agents.get(instance_id);
        let able = agent.is_some_and(crate::AgentRecord::takes_posts);
        let (true, Some(open)) = (able, self.open.get_mut(&seq)) else {
            return;
        };
        open.instance_id = Some(instance_id.to_owned());
        open.sent_on = Some(POSTED);
        open.ever_sent = true;
        let (id, request, deadline) = (open.id.clone(), Arc::clone(&open.request), open.expires);
        if request.forge.is_some_and(crate::Forgery::is_replay) {
            open.posts += 1;
            return self.hosted.order(Order::Replay(Replay {
                id,
                instance_id: instance_id.to_owned(),
                request,
                deadline,
            }));
        }
        let wire_id = request.id.clone().unwrap_or_else(|| id.clone());
        let body = open.text.clone().unwrap_or_else(|| {
            let auth = self.dispatch_auth(&request, instance_id, &wire_id);
            call::write(&request, &wire_id, auth.as_ref()).into()
        });
        if let Some(open) = self.open.get_mut(&seq) {
            open.text = Some(Arc::clone(&body));
            open.posts += 1;
        }
        if request.forge.is_none() && body.len() <= CAPTURED_BYTES {
            let captured = self.hosted.captured.entry(recent::hash(&wire_id), None);
            *captured = Some(Arc::clone(&body));
        }
        self.post(Post {
            id,
            wire_id,
            instance_id: instance_id.to_owned(),
            url: self.endpoint_of(instance_id),
            body,
            method: request.method,
            deadline,
            loses_first_reply: request.loses_first_reply,
        });
    }

    /// Sends a body that has been on the wire before.
    pub(crate) fn post_replay(&mut self, replay: &Replay, wire_id: String, body: Arc<str>) {
        self.post(Post {
            id: replay.id.clone(),
            wire_id,
            instance_id: replay.instance_id.clone(),
            url: self.endpoint_of(&replay.instance_id),
            body,
            method: replay.request.method,
            deadline: replay.deadline,
            loses_first_reply: false,
        });
    }

    fn endpoint_of(&self, instance_id: &str) -> String {
        let agent = self.agents.get(instance_id);
        let endpoint = agent.and_then(|agent| agent.endpoint.clone());
        endpoint.unwrap_or_default()
    }

    /// Records a POST and has it carried to the agent's endpoint.
    fn post(&mut self, post: Post) {
        self.record_post(&post);
        self.presence_mut(&post.instance_id).last_post = Some(post.clone());
        self.hosted.order(Order::Post(post));
    }

    /// Sends the last POST of an instance once more, answered or not, byte for byte; false if it had none.
    pub(crate) fn repeat_last_post(&mut self, instance_id: &str) -> bool {
        let last = self.presence.get(instance_id);
        let Some(mut post) = last.and_then(|presence| presence.last_post.clone()) else {
            return false;
        };
        post.loses_first_reply = false;
        let seq = self.open_by_id.get(&post.id);
        if let Some(open) = seq.and_then(|seq| self.open.get_mut(seq)) {
            open.posts += 1;
        }
        self.record_post(&post);
        self.hosted.order(Order::Post(post));
        true
    }

    fn record_post(&mut self, post: &Post) {
        self.totals.sent += 1;
        self.totals.posted += 1;
        let at = self.started.elapsed();
        if let Some(entry) = self.ledger.entry_mut(&post.id) {
            entry.record_sending(SentDispatch {
                at,
                instance_id: post.instance_id.clone(),
                connection: NO_CONNECTION,
                url: Some(post.url.clone()),
            });
        }
        let shown = call::without_token(&post.body);
        self.record_http(&post.instance_id, Direction::ToAgent, shown);
    }

    pub(crate) fn posted_again(&mut self, post: &Post) {
        self.totals.post_retries += 1;
        self.record_post(post);
    }

    fn record_http(&mut self, instance_id: &str, direction: Direction, text: String) {
        self.keep_frame(FrameRecord {
            instance_id: instance_id.to_owned(),
            connection: NO_CONNECTION,
            direction,
            kind: FrameKind::Http,
            text,
            at: self.started.elapsed(),
        });
    }

    /// Takes the agent's reply as the answer that it is.
    pub(crate) fn take_reply(&mut self, post: &Post, reply: &HttpReply) {
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        self.record_http(&post.instance_id, Direction::FromAgent, text.clone());
        let read = reply::read(reply, &post.wire_id, post.method.is_streaming());
        if let Some(fault) = read.fault {
            let fault = format!("{fault}, in reply to dispatch {:?}", post.wire_id);
            self.violation(&post.instance_id, &fault);
        }
        let print = Fingerprint {
            text: recent::hash(&text),
            content: recent::hash(&format!("{:?}", read.answer)),
        };
        let received = ReceivedAnswer {
            at: self.started.elapsed(),
            instance_id: post.instance_id.clone(),
            connection: NO_CONNECTION,
            http_status: Some(reply.status),
            text,
        };
        self.enter_answer(&post.id, received, print, &read.answer);
        self.post_ended(&post.id);
    }

    /// Nothing came back, and nothing more is tried.
    pub(crate) fn post_failed(&mut self, post: &Post, why: &str) {
        let why = format!("POST {}: {why}", post.url);
        self.end_unreachable(&post.id, &why);
    }

    pub(crate) fn replay_failed(&mut self, id: &str, why: &str) {
        self.end_unreachable(id, why);
    }

    fn end_unreachable(&mut self, id: &str, why: &str) {
        if let Some(entry) = self.ledger.entry_mut(id) {
            entry.unreachable = Some(why.to_owned());
        }
        if self.post_ended(id) == 0
            && let Some(seq) = self.open_by_id.get(id).copied()
        {
            self.end_dispatch(seq, &Err(DispatchError::Unreachable(why.to_owned())));
        }
    }

    /// One POST of this dispatch less; returns how many are still on their way.
    pub(crate) fn post_ended(&mut self, id: &str) -> u32 {
        let seq = self.open_by_id.get(id);
        let Some(open) = seq.and_then(|seq| self.open.get_mut(seq)) else {
            return 0;
        };
        open.posts = open.posts.saturating_sub(1);
        open.posts
    }
}
