//! An agent for the tests of this folder whose dispatches are handed to whoever answers them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::{Delivery, MeshConnector, Sink};
use crate::agent::Capability;
use crate::config::Config;

/// How long anything may take before the test counts as hung.
pub(super) const HANG: Duration = Duration::from_mins(1);

/// Ids of dispatches, and what their handlers would be given.
pub(super) type Work = Receiver<(String, Value)>;

struct Desk(Mutex<Sender<(String, Value)>>);

impl Sink for Desk {
    fn deliver(&self, batch: &mut Vec<Delivery>) {
        for delivery in batch.drain(..) {
            if let Delivery::Dispatch(dispatch) = delivery {
                let request = serde_json::from_str(dispatch.request.text()).unwrap();
                let given = (dispatch.id.to_string(), request);
                let _ = self.0.lock().unwrap().send(given);
            }
        }
    }

    fn closed(&self) {}
}

/// The agent of this configuration, which can `echo`. It has not connected.
pub(super) fn desk(config: &Value) -> (MeshConnector, Work) {
    let config = Config::parse(&config.to_string(), &|_| None).unwrap();
    let (sender, work) = channel();
    let connector = MeshConnector::new(config, Arc::new(Desk(Mutex::new(sender))), "").unwrap();
    let echo = Capability::parse(r#"{"name":"echo","description":"d"}"#).unwrap();
    connector.define_capability(echo).unwrap();
    (connector, work)
}
