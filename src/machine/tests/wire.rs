//! The network of a [`World`]: one connection at a time, with its two ends.

use std::time::Duration;

use serde_json::Value;

use super::mesh::Record;
use super::rig::{millis, parsed, seconds};
use super::world::{Happening, World};
use crate::machine::action::{Answer, ConnectionNo, LinkEnd};
use crate::machine::watch::Progress;
use crate::protocol::frame::FrameText;

/// A result needs this much of a healthy link to be with the mesh (invariant I3).
const WINDOW: Duration = Duration::from_secs(1);

/// The network's view of a connection.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) conn: ConnectionNo,
    /// Cut or silent: nothing passes any more.
    pub(super) dead: bool,
    pub(super) withholds_pongs: bool,
    pub(super) pongs_late_by: Duration,
    pub(super) sent: u32,
    pub(super) welcomed: bool,
    /// Since when work and answers can pass.
    pub(super) healthy_since: Option<Duration>,
    /// Bytes given to the kernel, those that the mesh's has, and where the last ping ends among them.
    pub(super) written: u64,
    pub(super) acked: u64,
    pub(super) ping_ends: u64,
    pub(super) last_to_mesh: Duration,
    pub(super) last_to_agent: Duration,
}

impl World {
    pub(super) fn wire(&mut self, conn: ConnectionNo) -> Option<&mut Wire> {
        self.wire.as_mut().filter(|wire| wire.conn == conn)
    }

    pub(super) fn alive(&mut self, conn: ConnectionNo) -> bool {
        self.wire(conn).is_some_and(|wire| !wire.dead)
    }

    /// The delay of the next thing in this direction; nothing overtakes.
    pub(super) fn delay_to_agent(&mut self, conn: ConnectionNo) -> Duration {
        let (now, delay) = (self.now, millis(self.rng.u64(1..150)));
        let Some(wire) = self.wire(conn) else {
            return delay;
        };
        wire.last_to_agent = wire.last_to_agent.max(now + delay);
        wire.last_to_agent - now
    }

    pub(super) fn delay_to_mesh(&mut self, conn: ConnectionNo) -> Duration {
        let (now, delay) = (self.now, millis(self.rng.u64(1..150)));
        let Some(wire) = self.wire(conn) else {
            return delay;
        };
        wire.last_to_mesh = wire.last_to_mesh.max(now + delay);
        wire.last_to_mesh - now
    }

    /// What the driver tells before a timer is handled.
    pub(super) fn tell_progress(&mut self) {
        if let Some(wire) = &self.wire
            && self.machine.wants_progress()
        {
            let progress = Progress {
                acked: wire.acked,
                ping_acked: wire.acked >= wire.ping_ends,
                unsure: 0,
            };
            self.machine
                .handle_progress(self.now(), wire.conn, progress);
        }
    }

    pub(super) fn send_to_agent(&mut self, text: String) {
        if let Some(conn) = self.wire.as_ref().map(|wire| wire.conn) {
            let delay = self.delay_to_agent(conn);
            self.after(delay, Happening::ToAgent(conn, text));
        }
    }

    /// The current connection dies; the agent learns of it later, or by its own means.
    pub(super) fn cut(&mut self, end: Option<LinkEnd>) {
        self.unhealthy();
        // What was on its way may be suspected of it.
        self.suspicious_until = self.now + seconds(70);
        let Some(wire) = &mut self.wire else { return };
        wire.dead = true;
        let conn = wire.conn;
        if let Some(end) = end {
            let delay = self.delay_to_agent(conn);
            self.after(delay, Happening::EndToAgent(conn, end));
        }
    }

    pub(super) fn withhold_pongs(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.withholds_pongs = true;
        }
    }

    pub(super) fn delay_pongs(&mut self) {
        let late = millis(self.rng.u64(0..15_000));
        if let Some(wire) = &mut self.wire {
            wire.pongs_late_by = late;
        }
    }

    /// The mesh takes connections and calls, and says nothing for a while.
    pub(super) fn fall_silent(&mut self) {
        let pause = millis(self.rng.u64(1_000..40_000));
        self.unhealthy();
        self.mesh.silent_until = self.now + pause;
        if let Some(wire) = &mut self.wire {
            let conn = wire.conn;
            wire.last_to_agent = wire.last_to_agent.max(self.now + pause);
            wire.last_to_mesh = wire.last_to_mesh.max(self.now + pause);
            self.after(pause, Happening::Speaks(conn));
        }
    }

    pub(super) fn speaks_again(&mut self, conn: ConnectionNo) {
        let now = self.now;
        if let Some(wire) = self.wire(conn).filter(|wire| !wire.dead && wire.welcomed) {
            wire.healthy_since.get_or_insert(now);
        }
    }

    /// An answer is not sent any more: the mesh must have closed on it before.
    pub(super) fn given_up(&mut self, event: &Value) {
        let id = event["dispatch_id"].as_str().expect("an id");
        let record = self.mesh.ledger.get_mut(id).expect("asked before");
        match event["reason"].as_str() {
            Some("poisoned") => {
                assert!(
                    record.sends >= 3,
                    "{id} was given up after {}",
                    record.sends
                );
                record.poisoned = true;
            }
            Some("too_large") => {
                assert!(
                    record.sends >= 3,
                    "{id} was replaced after {}",
                    record.sends
                );
                // Its one answer is another one from now on.
                record.given = None;
                record.sends = 0;
            }
            _ => {}
        }
    }

    /// What a result needs to be with the mesh: more, while those that may be to blame for a close go one by one.
    fn window(&self) -> Option<Duration> {
        if self.now >= self.suspicious_until {
            return Some(WINDOW);
        }
        let wire = self.wire.as_ref()?;
        if wire.withholds_pongs || !wire.pongs_late_by.is_zero() {
            return None;
        }
        let waiting = |record: &&Record| record.sends > 1 || record.sends == 1 && !record.arrived;
        let waiting = self.mesh.ledger.values().filter(waiting).count();
        Some(WINDOW + millis(300) * u32::try_from(waiting).expect("a few"))
    }

    pub(super) fn is_open(&self) -> bool {
        self.wire
            .as_ref()
            .is_some_and(|wire| wire.healthy_since.is_some())
    }

    /// I3: whatever was finished, with a window of health before its deadline, is with the mesh.
    pub(super) fn unhealthy(&mut self) {
        let Some(since) = self
            .wire
            .as_mut()
            .and_then(|wire| wire.healthy_since.take())
        else {
            return;
        };
        let Some(window) = self.window() else {
            return;
        };
        for (id, record) in &self.mesh.ledger {
            let (Some(finished), Some(received)) = (record.finished_at, record.received_at) else {
                continue;
            };
            let from = finished.max(since);
            let until = self.now.min(received + seconds(60));
            if until.saturating_sub(from) >= window {
                assert!(
                    record.arrived || record.poisoned,
                    "I3: the answer to {id}, final at {finished:?}, was lost"
                );
            }
        }
    }

    // ---- the two ends of a connection ----

    pub(super) fn at_mesh(&mut self, conn: ConnectionNo, text: &FrameText) {
        let frame = parsed(text);
        if let Some(wire) = self.wire(conn) {
            wire.acked += text.len() as u64;
        }
        if frame["type"] == "hello" {
            if self.rng.f64() < self.mesh.trouble / 2.0 {
                return self.note("no welcome");
            }
            if self.rng.u8(0..6) == 0 {
                let (_, early) = self.mesh.new_dispatch(self.now, &mut self.rng);
                self.send_to_agent(early);
            }
            self.send_to_agent(r#"{"v":1,"type":"welcome","payload":{}}"#.to_owned());
            for (_, text) in self.mesh.unanswered(self.now) {
                self.send_to_agent(text);
            }
        } else if let Some(id) = frame["in_reply_to"].as_str() {
            let record = self
                .mesh
                .ledger
                .get_mut(id)
                .expect("an answer to something asked");
            if frame["type"] == "dispatch_result" && self.mesh.poison.as_deref() == Some(id) {
                let code = [1009, 1011][self.rng.usize(0..2)];
                let (code, reason) = (Some(code), String::new());
                return self.cut(Some(LinkEnd::Closed { code, reason }));
            }
            record.arrived = true;
        }
        debug_assert!(self.alive(conn));
    }

    pub(super) fn at_agent(&mut self, conn: ConnectionNo, text: String) {
        let (now, at) = (self.now(), self.now);
        let frame = parsed(&text);
        let wire = self.wire(conn).expect("alive");
        if frame["type"] == "welcome" {
            wire.welcomed = true;
            wire.healthy_since = Some(at);
        }
        let welcomed = wire.welcomed;
        self.machine.handle_inbound(now, conn);
        self.machine.handle_text(now, conn, text.into());
        if welcomed && let Some(id) = frame["id"].as_str() {
            let record = self.mesh.ledger.get_mut(id).expect("asked before");
            record.received_at.get_or_insert(at);
        }
    }

    pub(super) fn handler_done(&mut self, id: &str) {
        let (now, at) = (self.now(), self.now);
        let answer = if self.rng.u8(0..6) == 0 {
            Answer::Error {
                code: "HANDLER_ERROR",
                message: "no",
            }
        } else {
            Answer::Result("[1]")
        };
        if self.machine.answer(now, id, answer).is_ok() {
            let record = self.mesh.ledger.get_mut(id).expect("asked before");
            assert!(
                record.finished_at.replace(at).is_none(),
                "I2: two answers to {id}"
            );
        }
    }
}
