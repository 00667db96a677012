//! The application's own ledger: what it was asked, what it answered, what it was told.

use std::collections::HashMap;

use serde_json::Value;
use svantic::machine::event::{Event, EventKind};

/// One dispatch id as the application saw it.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// How often its handler was started (I1: at most once).
    pub starts: u32,
    /// Whether an answer was given that the library took.
    pub answered: bool,
    /// The code with which the library refused the answer, if it did.
    pub refused: Option<String>,
}

/// All that happened to one application, append-only.
#[derive(Debug, Clone, Default)]
pub struct AgentLedger {
    /// By dispatch id.
    pub runs: HashMap<String, Run>,
    /// Handler starts, repeated ones included.
    pub starts: u64,
    /// Answers that the library took.
    pub answers: u64,
    /// Handlers at work.
    pub running: usize,
    /// The most that ever were.
    pub peak: usize,
    /// Events in their order, log lines left out.
    pub events: Vec<(EventKind, Value)>,
    /// Whether the library has said that nothing more will come.
    pub closed: bool,
}

impl AgentLedger {
    /// How many events of a kind there were.
    pub fn count(&self, kind: EventKind) -> usize {
        self.events.iter().filter(|(seen, _)| *seen == kind).count()
    }

    /// How many times a link came up after the first.
    pub fn reconnects(&self) -> usize {
        self.count(EventKind::Connected).saturating_sub(1)
    }

    pub(crate) fn start(&mut self, id: &str) {
        self.runs.entry(id.to_owned()).or_default().starts += 1;
        self.starts += 1;
        self.running += 1;
        self.peak = self.peak.max(self.running);
    }

    pub(crate) fn end(&mut self, id: &str, refusal: Option<&svantic::error::Error>) {
        self.running = self.running.saturating_sub(1);
        let run = self.runs.entry(id.to_owned()).or_default();
        match refusal {
            None => {
                run.answered = true;
                self.answers += 1;
            }
            Some(error) => run.refused = Some(error.code().to_owned()),
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        if event.kind != EventKind::Log {
            self.events.push((event.kind, event.data));
        }
    }
}
