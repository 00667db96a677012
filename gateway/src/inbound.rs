//! Takes the frames of a welcomed agent and notices what is wrong with them (protocol.md 4, 7).

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};

use crate::{
    dispatch::Answer,
    envelope::{self, Envelope},
    ledger::ReceivedAnswer,
    state::{Link, State},
};

impl State {
    /// One text message on a welcomed socket.
    pub(crate) fn receive(&mut self, link: &Link, text: &str) {
        let frame = match envelope::read(text) {
            Ok(frame) => frame,
            Err(fault) => return self.violation(&link.instance_id, &fault),
        };
        self.check_frame_id(link, &frame, text);
        if let Some(fault) = frame.payload_fault() {
            return self.violation(&link.instance_id, &fault);
        }
        match frame.kind.as_str() {
            "hello" => self.violation(&link.instance_id, "a second hello on one connection"),
            "heartbeat" => self.heartbeat_frame(link, frame.payload),
            _ => self.receive_answer(link, &frame, text),
        }
    }

    /// Ids are unique per sender; only the same bytes may come again (protocol.md 4, "Resume").
    pub(crate) fn check_frame_id(&mut self, link: &Link, frame: &Envelope, text: &str) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        let seen = self
            .seen_frames
            .entry(link.instance_id.clone())
            .or_default();
        if *seen.entry(frame.id.clone()).or_insert(hash) != hash {
            let fault = format!("frame id {:?} used for two different frames", frame.id);
            self.violation(&link.instance_id, &fault);
        }
    }

    fn heartbeat_frame(&mut self, link: &Link, payload: Map<String, Value>) {
        for key in [
            "instance_id",
            "status",
            "current_sessions",
            "max_concurrent_sessions",
            "consecutive_failures",
        ] {
            if !payload.contains_key(key) {
                let fault = format!("heartbeat frame without {key}");
                self.violation(&link.instance_id, &fault);
            }
        }
        if let Some(id) = payload.get("instance_id")
            && *id != link.instance_id.as_str()
        {
            let fault = format!("heartbeat for another instance: {id}");
            return self.violation(&link.instance_id, &fault);
        }
        self.take_heartbeat(&link.instance_id.clone(), payload);
    }

    /// A good heartbeat, by frame or HTTP.
    pub(crate) fn take_heartbeat(&mut self, instance_id: &str, payload: Map<String, Value>) {
        if let Some(agent) = self.agents.get_mut(instance_id) {
            agent.heartbeats += 1;
            if let Some(status) = payload.get("status").and_then(Value::as_str) {
                status.clone_into(&mut agent.status);
            }
            agent.last_heartbeat = Some(Value::Object(payload));
        }
    }

    fn receive_answer(&mut self, link: &Link, frame: &Envelope, text: &str) {
        let Some(id) = frame.in_reply_to.as_deref() else {
            let fault = format!("{} without in_reply_to", frame.kind);
            return self.violation(&link.instance_id, &fault);
        };
        let received = ReceivedAnswer {
            at: self.started.elapsed(),
            instance_id: link.instance_id.clone(),
            connection: link.connection,
            text: text.to_owned(),
        };
        let fault = match self.ledger.entry_mut(id) {
            None => Some(format!("in_reply_to {id:?} is no dispatch of this gateway")),
            Some(entry) if !entry.sent.iter().any(|s| s.instance_id == link.instance_id) => Some(
                format!("answer to dispatch {id:?}, which was not sent to this instance"),
            ),
            Some(entry) => {
                let first = entry.answers.first();
                let differs = first.is_some_and(|first| {
                    first.text != text && first.content() != received.content()
                });
                entry.answers.push(received);
                differs.then(|| format!("two different answers to dispatch {id:?}"))
            }
        };
        if let Some(fault) = fault {
            return self.violation(&link.instance_id, &fault);
        }
        self.answer_dispatch(id, &answer_of(frame));
    }
}

fn answer_of(frame: &Envelope) -> Answer {
    let text = |key| {
        let value = frame.payload.get(key).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    if frame.kind == "error" {
        Answer::Error {
            code: text("code"),
            message: text("message"),
        }
    } else {
        Answer::Result(frame.payload.get("result").cloned().unwrap_or_default())
    }
}
