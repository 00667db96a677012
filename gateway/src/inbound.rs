//! Takes the frames of a welcomed agent and notices what is wrong with them (protocol.md 4, 7).

use serde_json::{Map, Value};

use crate::{
    dispatch::Answer,
    envelope::{self, Envelope},
    ledger::{Copy, Fingerprint, ReceivedAnswer},
    recent,
    script::Event,
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
        let hash = recent::hash(text);
        let key = recent::hash(&(link.instance_id.as_str(), frame.id.as_str()));
        if *self.seen_frames.entry(key, hash) != hash {
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
            self.totals.heartbeats += 1;
            agent.heartbeats += 1;
            if let Some(status) = payload.get("status").and_then(Value::as_str) {
                status.clone_into(&mut agent.status);
            }
            agent.last_heartbeat = Some(Value::Object(payload));
            // What a hosted agent says of itself decides whether it gets anything.
            let hosted = agent.is_hosted();
            if hosted {
                self.recount(instance_id);
                self.send_waiting(instance_id);
            }
            self.happened(Event::Heartbeat, Some(instance_id));
        }
    }

    fn receive_answer(&mut self, link: &Link, frame: &Envelope, text: &str) {
        let Some(id) = frame.in_reply_to.as_deref() else {
            let fault = format!("{} without in_reply_to", frame.kind);
            return self.violation(&link.instance_id, &fault);
        };
        let at = self.started.elapsed();
        let received = ReceivedAnswer {
            at,
            instance_id: link.instance_id.clone(),
            connection: link.connection,
            http_status: None,
            text: text.to_owned(),
        };
        let print = Fingerprint {
            text: recent::hash(text),
            content: recent::hash(&(&frame.kind, &frame.payload)),
        };
        self.enter_answer(id, received, print, &answer_of(frame));
    }

    /// An answer to a dispatch, by frame or HTTP: the first, again, or another one.
    pub(crate) fn enter_answer(
        &mut self,
        id: &str,
        received: ReceivedAnswer,
        print: Fingerprint,
        answer: &Answer,
    ) {
        let at = received.at;
        let instance_id = received.instance_id.clone();
        let copy = match self.ledger.entry_mut(id) {
            None => match self.ledger.answer_to_dropped(id, print) {
                None => {
                    self.totals.unknown_in_reply_to += 1;
                    let fault = format!("in_reply_to {id:?} is no dispatch of this gateway");
                    return self.violation(&instance_id, &fault);
                }
                // What was dropped without an answer had timed out.
                Some(Copy::First) => {
                    self.totals.late += 1;
                    if self.drops_late_results {
                        self.totals.late_dropped += 1;
                        return;
                    }
                    Some(Copy::First)
                }
                copy => copy,
            },
            Some(entry) if !entry.was_sent_to(&instance_id) => {
                let fault =
                    format!("answer to dispatch {id:?}, which was not sent to this instance");
                return self.violation(&instance_id, &fault);
            }
            Some(entry) => {
                if at > entry.expires_at {
                    self.totals.late += 1;
                    if self.drops_late_results {
                        self.totals.late_dropped += 1;
                        return;
                    }
                }
                self.ledger.answer(id, received, print)
            }
        };
        self.happened(Event::Answer, Some(&instance_id));
        match copy {
            None => {}
            Some(Copy::First) => match answer {
                Answer::Result(_) => self.totals.results += 1,
                Answer::Error { .. } => self.totals.errors += 1,
            },
            Some(Copy::Identical) => self.totals.duplicates_identical += 1,
            Some(Copy::Reworded) => self.totals.duplicates_different += 1,
            Some(Copy::Different) => {
                self.totals.duplicates_different += 1;
                let fault = format!("two different answers to dispatch {id:?}");
                return self.violation(&instance_id, &fault);
            }
        }
        self.answer_dispatch(id, answer);
    }
}

pub(crate) fn answer_of(frame: &Envelope) -> Answer {
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
