//! What the application of a [`Rig`] asks for.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::rig::{Rig, seconds};
use crate::agent::Capability;
use crate::error::Error;
use crate::machine::action::{Answer, OperationId, Output};

impl Rig {
    fn operation(&mut self) -> OperationId {
        self.next_operation += 1;
        self.next_operation - 1
    }

    pub(super) fn connect(&mut self) -> OperationId {
        self.connect_within(seconds(30))
    }

    pub(super) fn connect_within(&mut self, timeout: Duration) -> OperationId {
        let id = self.operation();
        self.machine.connect(self.now(), id, timeout);
        self.collect();
        id
    }

    pub(super) fn disconnect(&mut self, timeout: Duration) -> OperationId {
        let id = self.operation();
        self.machine.disconnect(self.now(), id, timeout);
        self.collect();
        id
    }

    /// Whether it was pending; then it has ended at once.
    pub(super) fn cancel(&mut self, id: OperationId) -> bool {
        let pending = self.machine.cancel(self.now(), &[id]);
        self.collect();
        assert!(!pending || self.is_done(id), "{id} was to end at once");
        pending
    }

    pub(super) fn network_changed(&mut self) {
        self.machine.network_changed(self.now());
        self.collect();
    }

    pub(super) fn stop(&mut self) {
        self.machine.stop(self.now());
        self.collect();
    }

    pub(super) fn refresh_token(&mut self, jwt: Option<&str>) -> OperationId {
        let id = self.operation();
        let jwt = jwt.map(SecretString::from);
        self.machine.refresh_token(self.now(), id, jwt, seconds(30));
        self.collect();
        id
    }

    pub(super) fn re_register(&mut self) -> OperationId {
        let id = self.operation();
        self.machine.re_register(self.now(), id, seconds(30));
        self.collect();
        id
    }

    pub(super) fn create_session(&mut self, options: &Value) -> OperationId {
        let id = self.operation();
        let options = options.as_object().unwrap().clone();
        self.machine
            .create_session(self.now(), id, options, seconds(30));
        self.collect();
        id
    }

    pub(super) fn close_session(&mut self, session_id: &str) -> OperationId {
        let id = self.operation();
        self.machine
            .close_session(self.now(), id, session_id, seconds(30));
        self.collect();
        id
    }

    pub(super) fn define(&mut self, name: &str) {
        let spec = json!({"name": name, "description": "d"}).to_string();
        self.machine
            .define(Capability::parse(&spec).unwrap())
            .unwrap();
    }

    /// The application picks up so many of those that it had left.
    pub(super) fn pick_up(&mut self, count: usize) {
        self.backlog.drain(..count);
    }

    pub(super) fn answer(&mut self, id: &str, json: &str) -> Result<(), Error> {
        let result = self.machine.answer(self.now(), id, Answer::Result(json));
        self.collect();
        result
    }

    pub(super) fn answer_error(
        &mut self,
        id: &str,
        code: &str,
        message: &str,
    ) -> Result<(), Error> {
        let answer = Answer::Error { code, message };
        let result = self.machine.answer(self.now(), id, answer);
        self.collect();
        result
    }

    /// How an operation ended; it must have ended exactly once.
    pub(super) fn result(&mut self, id: OperationId) -> Result<Output, Error> {
        assert!(self.is_done(id), "operation {id} has not ended");
        let at = self.completed.iter().position(|(of, _)| *of == id).unwrap();
        let result = self.completed.remove(at).1;
        assert!(!self.is_done(id), "operation {id} ended twice");
        result
    }

    pub(super) fn is_done(&self, id: OperationId) -> bool {
        self.completed.iter().any(|(of, _)| *of == id)
    }

    pub(super) fn error(&mut self, id: OperationId) -> Error {
        self.result(id).expect_err("the operation was to fail")
    }
}
