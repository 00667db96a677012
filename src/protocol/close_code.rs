//! What the end of a WebSocket means (section 4; `reliability.md` 5.4).

/// What a close code asks of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseMeaning {
    /// The mesh goes away on purpose and will be back: many clients redial at once, so the window is wide.
    Announced,
    /// The connection broke or the server failed.
    Crash,
    /// One side broke the protocol.
    Protocol,
    /// A message was too large for the peer.
    TooBig,
    /// The token is not accepted any more.
    Auth,
    /// Another process took this instance id.
    Superseded,
}

/// The meaning of `code`; `None` is a connection that ended without a close frame.
pub fn meaning(code: Option<u16>) -> CloseMeaning {
    match code {
        // A 1000 that we did not ask for comes from balancers that close on idle or deploy.
        Some(1000 | 1001 | 1012 | 1013) => CloseMeaning::Announced,
        Some(1002 | 1003 | 1007 | 1010 | 4400) => CloseMeaning::Protocol,
        Some(1009) => CloseMeaning::TooBig,
        Some(1008 | 4401 | 4403) => CloseMeaning::Auth,
        Some(4409) => CloseMeaning::Superseded,
        // Unknown codes are retryable: taking them for final is the worse mistake.
        None | Some(_) => CloseMeaning::Crash,
    }
}
