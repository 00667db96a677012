//! Every transition of the link, in one table (`reliability.md` 5.2).
//!
//! The machine names the transition at each change of state; one that is not in the table is counted,
//! and a test fails on it.

use LinkState as S;

/// Where the link is (`reliability.md` 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// Built, not started.
    Idle,
    /// A token request is in progress.
    Authenticating,
    /// A registration is in progress.
    Registering,
    /// A socket is being opened.
    Dialing,
    /// Hello sent, waiting for the welcome.
    Handshaking,
    /// Work can arrive.
    Ready,
    /// Ready, but nothing has come in for a while and a ping is out.
    Suspect,
    /// Registered; work arrives at the agent's own URL.
    Hosted,
    /// Waiting before the next attempt.
    Backoff,
    /// The credentials are refused.
    AuthBlocked,
    /// Another process took this instance id.
    Conflict,
    /// Last frames, close handshake, deregistration.
    Closing,
    /// Stopped by the caller.
    Closed,
    /// Given up for good.
    Failed,
}

impl LinkState {
    /// The name in events and snapshots.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Authenticating => "authenticating",
            Self::Registering => "registering",
            Self::Dialing => "dialing",
            Self::Handshaking => "handshaking",
            Self::Ready => "ready",
            Self::Suspect => "suspect",
            Self::Hosted => "hosted",
            Self::Backoff => "backoff",
            Self::AuthBlocked => "auth_blocked",
            Self::Conflict => "conflict",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Failed => "failed",
        }
    }

    /// Whether a socket is open or being opened.
    pub fn has_connection(self) -> bool {
        matches!(self, S::Dialing | S::Handshaking | S::Ready | S::Suspect)
    }

    /// Whether nothing will ever happen again.
    pub fn is_final(self) -> bool {
        matches!(self, S::Closed | S::Failed)
    }
}

macro_rules! transitions {
    ($($(#[$doc:meta])* $name:ident: [$($from:ident)*] => [$($to:ident)*];)*) => {
        /// Why the link changes, by the numbers of `reliability.md` 5.2.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Transition { $($(#[$doc])* $name,)* }

        /// Every transition with the states that it leads from and to.
        pub const TABLE: &[(Transition, &[LinkState], &[LinkState])] =
            &[$((Transition::$name, &[$(S::$from),*], &[$(S::$to),*]),)*];
    };
}

transitions! {
    /// Started. A transport, which is not registered, begins with its dial.
    T1: [Idle] => [Authenticating Registering Dialing];
    /// A token came.
    T2: [Authenticating] => [Registering Dialing Hosted];
    /// The token endpoint refused one client secret, and the other one is shown.
    T3: [Authenticating] => [Authenticating];
    /// The token endpoint refused the credentials.
    T4: [Authenticating] => [AuthBlocked];
    /// The token endpoint refused the request.
    T5: [Authenticating] => [Failed];
    /// A step failed and may succeed later.
    T6: [Authenticating Registering Dialing] => [Backoff];
    /// A step was asked to wait.
    T7: [Authenticating Registering Dialing] => [Backoff];
    /// Registered.
    T8: [Registering] => [Dialing Hosted];
    /// The registration reply names no URL, or one that must not see the token.
    T9: [Registering] => [Failed];
    /// 401 with a token that was not fetched for this attempt.
    T10: [Registering Dialing] => [Authenticating];
    /// 401 again.
    T11: [Registering Dialing] => [AuthBlocked];
    /// Refused by the mesh for good.
    T12: [Registering Dialing] => [Failed];
    /// Refused without a code of the mesh's, as a proxy would.
    T13: [Registering Dialing] => [Backoff Failed];
    /// The instance is forgotten.
    T14: [Dialing] => [Registering];
    /// The instance is said to be forgotten, but it has only just registered.
    T15: [Dialing] => [Backoff];
    /// A redirect, which would carry the token elsewhere.
    T16: [Authenticating Registering Dialing] => [Backoff];
    /// A proxy wants credentials.
    T17: [Dialing Registering Authenticating] => [AuthBlocked];
    /// The peer's certificate is not to be trusted.
    T18: [Authenticating Registering Dialing] => [Backoff];
    /// A 101 without our subprotocol.
    T19: [Dialing] => [Backoff Failed];
    /// The third failure at one address: the next attempt asks for a fresh one.
    T20: [Dialing] => [Backoff];
    /// The socket is open.
    T21: [Dialing] => [Handshaking];
    /// Welcome.
    T22: [Handshaking] => [Ready];
    /// A dispatch before the welcome is held; no change of state.
    T23: [] => [];
    /// The handshake ended without a welcome.
    T24: [Handshaking] => [Backoff];
    /// A dispatch; no change of state.
    T25: [] => [];
    /// Silence.
    T26: [Ready] => [Suspect];
    /// The machine was suspended, or the network changed.
    T27: [Ready Suspect] => [Suspect];
    /// Something came in.
    T28: [Suspect] => [Ready];
    /// Silence for too long.
    T29: [Suspect] => [Backoff];
    /// Nothing came in behind a probe.
    T30: [Suspect] => [Authenticating Registering Dialing];
    /// Nothing came in behind a ping.
    T31: [Ready Suspect] => [Backoff];
    /// The peer lives but answers no fences; no change of state.
    T32: [] => [];
    /// The connection ended, and will be made again.
    T33: [Ready Suspect] => [Backoff];
    /// The connection ended over its token, and is made again at once with a new one.
    T33A: [Handshaking Ready Suspect] => [Authenticating Registering Dialing];
    /// The connection ended over its token again, or over one that cannot be renewed.
    T33B: [Handshaking Ready Suspect] => [AuthBlocked];
    /// The connection ended for a cause that no redial mends.
    T33C: [Handshaking Ready Suspect] => [Failed];
    /// A new token is in use over a link that stays; no change of state.
    T34: [] => [];
    /// The wait is over.
    T37: [Backoff] => [Authenticating Registering Dialing Hosted];
    /// The wait is cut short: the machine was suspended, or the network changed.
    T38: [Backoff] => [Authenticating Registering Dialing Hosted];
    /// New credentials.
    T39: [AuthBlocked] => [Authenticating Registering Dialing Hosted];
    /// The credentials are shown again.
    T40: [AuthBlocked] => [Authenticating Registering Dialing Hosted];
    /// Another process took this instance id.
    T41: [Handshaking Ready Suspect] => [Conflict Failed];
    /// The wait after a conflict is over.
    T42: [Conflict] => [Authenticating Registering Dialing];
    /// Capabilities are announced again over a link that stays; no change of state.
    T35: [] => [];
    /// No new work from here on; no change of state.
    T43: [] => [];
    /// Drained.
    T44: [Ready Suspect] => [Closing];
    /// Drained without a connection.
    T45: [Idle Authenticating Registering Dialing Handshaking Hosted Backoff AuthBlocked Conflict] => [Closing];
    /// The farewell is over.
    T46: [Closing] => [Closed];
    /// Stopped without waiting.
    T47: [Idle Authenticating Registering Dialing Handshaking Ready Suspect Hosted Backoff AuthBlocked Conflict] => [Closing];
    /// A frame that means nothing to us; no change of state.
    T48: [] => [];
    /// The peer broke the framing or a limit.
    T49: [Handshaking Ready Suspect] => [Backoff];
    /// A command after the end; no change of state.
    T50: [] => [];
    /// The first connect was given up, which leaves everything as it was before.
    T51: [Authenticating Registering Dialing Handshaking Backoff AuthBlocked Conflict] => [Idle];
    /// A supplied token is found expired before an attempt.
    T53: [Idle Backoff Conflict Hosted AuthBlocked Suspect] => [AuthBlocked];
    /// Heartbeats are refused with a fresh token too, or with one that cannot be renewed.
    T54: [Hosted] => [AuthBlocked];
    /// The link of a transport that is not made again by itself has ended; it may be connected anew.
    T55: [Ready Suspect] => [Idle];
    /// The hosted instance is forgotten, or its capabilities changed.
    T52: [Hosted] => [Registering Authenticating];
}

impl Transition {
    /// Whether the table allows this transition between these states.
    pub fn allows(self, from: LinkState, to: LinkState) -> bool {
        TABLE
            .iter()
            .any(|(t, froms, tos)| *t == self && froms.contains(&from) && tos.contains(&to))
    }
}
