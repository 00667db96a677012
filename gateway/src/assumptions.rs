//! The named assumptions about a peer whose documentation is silent (reliability.md 7.3).
//!
//! Each is a switch of [`Options`](crate::Options): a client that is right must be right under every combination,
//! because nobody outside knows which one holds.

use serde::{Deserialize, Serialize};

/// What the mesh does with two sockets of one instance. Assumption: protocol.md says nothing about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateSocket {
    /// The newer socket wins; the older one is closed with 4409 when the newer is welcomed.
    #[default]
    Newest,
    /// The newer socket wins; the older one is reset (RST) without a word when the newer is welcomed.
    NewestSilent,
    /// The older socket wins while it is open: the newer upgrade gets 409 `INSTANCE_ALREADY_CONNECTED`. The code is
    /// our guess as well; protocol.md 4 knows 409 only as `DEPLOYMENT_MODE_MISMATCH`.
    Refuse,
}
