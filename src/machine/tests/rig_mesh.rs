//! What the mesh and the network of a [`Rig`] do.

use std::borrow::Cow;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::rig::{CONNECT_URL, Rig, http, jwt, parsed};
use crate::machine::action::{Dialed, LinkEnd, Reply, Request};

impl Rig {
    // ---- the mesh over HTTP ----

    /// The oldest open request, which must be for `path`.
    pub(super) fn take(&mut self, path: &str) -> Request {
        let paths: Vec<_> = self.requests.iter().map(|request| &*request.path).collect();
        assert_eq!(paths.first(), Some(&path), "open requests: {paths:?}");
        self.requests.remove(0)
    }

    /// What the oldest open request of the machine's own asks for.
    pub(super) fn next_path(&self) -> Option<&'static str> {
        let request = self.requests.first()?;
        match request.path {
            Cow::Borrowed(path) => Some(path),
            Cow::Owned(_) => None,
        }
    }

    pub(super) fn answer_request(&mut self, path: &str, reply: &Reply) -> Request {
        let request = self.take(path);
        self.machine.handle_reply(self.now(), request.id, reply);
        self.collect();
        request
    }

    pub(super) fn reply(&mut self, path: &str, status: u16, body: &Value) -> Request {
        self.answer_request(path, &Reply::Http(http(status, body)))
    }

    pub(super) fn token_ok(&mut self) -> Request {
        self.tokens += 1;
        let token = jwt(self.tokens, self.token_lifetime_s);
        self.reply("/auth/get_token", 200, &json!({"token": token}))
    }

    pub(super) fn register_ok(&mut self) -> Request {
        self.reply(
            "/agents/register",
            200,
            &json!({"ok": true, "connect_url": CONNECT_URL}),
        )
    }

    pub(super) fn bearer(request: &Request) -> Option<String> {
        let bearer = request.bearer.as_ref()?;
        Some(bearer.expose_secret().to_owned())
    }

    pub(super) fn body(request: &Request) -> Value {
        parsed(request.body.expose_secret())
    }

    // ---- the mesh over the socket ----

    pub(super) fn dialed(&mut self, dialed: Dialed) {
        self.machine.handle_dialed(self.now(), self.conn, dialed);
        self.collect();
    }

    pub(super) fn text(&mut self, text: &str) {
        self.machine.handle_inbound(self.now(), self.conn);
        self.machine
            .handle_text(self.now(), self.conn, text.to_owned().into());
        self.collect();
    }

    pub(super) fn welcome(&mut self) {
        let frame = json!({"v":1,"type":"welcome","id":"w","payload":{"resumed":false}});
        self.text(&frame.to_string());
    }

    pub(super) fn dispatch(&mut self, id: &str, payload: &Value) {
        let frame = json!({"v":1,"type":"dispatch","id":id,"payload":payload});
        self.text(&frame.to_string());
    }

    pub(super) fn echo(&mut self, id: &str) {
        self.dispatch(id, &json!({"skill_id": "echo", "args": {}}));
    }

    /// Answers every ping.
    pub(super) fn pong(&mut self) {
        for (conn, payload) in std::mem::take(&mut self.pings) {
            self.machine.handle_pong(self.now(), conn, &payload);
        }
        self.collect();
    }

    pub(super) fn ended(&mut self, end: &LinkEnd) {
        self.machine.handle_closed(self.now(), self.conn, end);
        self.collect();
    }

    pub(super) fn closed(&mut self, code: u16) {
        let reason = "because".to_owned();
        self.ended(&LinkEnd::Closed {
            code: Some(code),
            reason,
        });
    }

    pub(super) fn broken(&mut self) {
        self.ended(&LinkEnd::Broken("connection reset".to_owned()));
    }

    /// Whatever is missing from token to welcome.
    pub(super) fn reach_ready(&mut self) {
        if self
            .requests
            .iter()
            .any(|request| request.path == "/auth/get_token")
        {
            self.token_ok();
        }
        if self
            .requests
            .iter()
            .any(|request| request.path == "/agents/register")
        {
            self.register_ok();
        }
        self.dialed(Dialed::Open);
        self.welcome();
    }
}
