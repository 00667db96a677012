//! What has been said once and is not worth saying again: a captive portal or an odd peer does not fill the log.

use std::collections::BTreeSet;

use crate::rare::at_rest;

/// More different things than this are not told: a peer that makes up new ones is not worth the memory.
const LIMIT: usize = 16;

/// What the log has had already.
#[derive(Debug, Default)]
pub(super) struct Told {
    tls_causes: BTreeSet<String>,
    frames: BTreeSet<String>,
}

at_rest!(Told);

impl Told {
    /// Whether this cause of a TLS failure is new.
    pub(super) fn tls_cause(&mut self, cause: &str) -> bool {
        first(&mut self.tls_causes, cause)
    }

    /// A link stands: what fails later is news.
    pub(super) fn forget_tls_causes(&mut self) {
        self.tls_causes.clear();
    }

    /// Whether this kind of ignored frame is new.
    pub(super) fn frame(&mut self, kind: &str) -> bool {
        first(&mut self.frames, kind)
    }

    /// Whether one more kind of ignored frame would be told.
    pub(super) fn hears_of_frames(&self) -> bool {
        self.frames.len() < LIMIT
    }
}

fn first(seen: &mut BTreeSet<String>, what: &str) -> bool {
    seen.len() < LIMIT && seen.insert(what.to_owned())
}
