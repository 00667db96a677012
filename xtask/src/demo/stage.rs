//! What every step of the demo works with.

use std::{fs, path::PathBuf};

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
    /// Where what the demo makes lies.
    pub(super) folder: PathBuf,
    /// What every agent has in its environment beside the gateway's URL and credentials.
    pub(super) variables: Vec<(&'static str, String)>,
}

impl<'a> Stage<'a> {
    /// With nothing played yet; `folder` is below that of the build results.
    pub(super) fn new(
        here: &'a Checkout,
        library: &'a Built,
        gateway: &'a Gateway,
        screen: Terminal,
        folder: &str,
    ) -> Result<Self, Failure> {
        let folder = here.target.join(folder);
        fs::create_dir_all(&folder).map_err(|error| {
            let folder = here.shown(&folder);
            Failure::new(format!("cannot make the folder {folder}: {error}"))
        })?;
        Ok(Self {
            here,
            library,
            gateway,
            screen,
            log: RequestLog::default(),
            folder,
            variables: Vec::new(),
        })
    }

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
