//! What every step of the demo works with.

use std::path::PathBuf;

use svantic_gateway::{AgentRecord, Gateway};

use super::request_log::RequestLog;
use crate::{checkout::Checkout, failure::Failure, library::Built, terminal::Terminal};

/// The one gateway, and where what it saw is shown.
pub(super) struct Stage<'a> {
    pub(super) here: &'a Checkout,
    pub(super) library: &'a Built,
    pub(super) gateway: &'a Gateway,
    pub(super) screen: Terminal,
    pub(super) log: RequestLog,
}

impl Stage<'_> {
    pub(super) fn record_of(&self, instance: &str) -> Result<AgentRecord, Failure> {
        let record = self.gateway.agent(instance);
        record.ok_or_else(|| Failure::new(format!("the gateway no longer knows {instance}")))
    }

    /// A command line as one would type it from the repository's root.
    pub(super) fn shown(&self, parts: &[String]) -> String {
        let root = format!("{}/", self.here.root.display());
        parts.join(" ").replace(&root, "")
    }

    /// Where a file of the repository is.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.here.root.join(file)
    }
}
