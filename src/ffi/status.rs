//! The numbers of the ABI. Values keep their meaning for ever; new ones may be added.

use crate::error::ErrorKind;

/// What a call returned. Values keep their meaning for ever; new ones may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum svantic_status {
    /// Done.
    Ok = 0,
    /// A required pointer was NULL, or a value was missing or out of range.
    InvalidArgument = 1,
    /// The handle was never valid or has been freed.
    InvalidHandle = 2,
    /// Not UTF-8, not JSON, or not the JSON this function expects.
    InvalidJson = 3,
    /// Not possible in the connector's current state.
    InvalidState = 4,
    /// Waiting here could never end.
    WouldDeadlock = 5,
    /// Initialised before fork(); unusable in this process.
    Forked = 6,
    /// No such session, or a dispatch that has ended (answered, past its deadline, or cancelled).
    NotFound = 7,
    /// Not finished within timeout_ms.
    Timeout = 20,
    /// Ended by svantic_cancel(), svantic_disconnect(), svantic_free() or svantic_shutdown().
    Cancelled = 21,
    /// DNS, TCP or WebSocket failure.
    Network = 22,
    /// TLS handshake or certificate failure.
    Tls = 23,
    /// The mesh refused the credentials or the token.
    Auth = 24,
    /// The mesh answered with an error.
    Remote = 25,
    /// The mesh sent something this version does not understand.
    Protocol = 26,
    /// A bug in libsvantic; a panic was contained.
    Internal = 90,
}

impl svantic_status {
    /// Every status with its name in C.
    pub const ALL: [(Self, &'static core::ffi::CStr); 16] = [
        (Self::Ok, c"SVANTIC_STATUS_OK"),
        (Self::InvalidArgument, c"SVANTIC_STATUS_INVALID_ARGUMENT"),
        (Self::InvalidHandle, c"SVANTIC_STATUS_INVALID_HANDLE"),
        (Self::InvalidJson, c"SVANTIC_STATUS_INVALID_JSON"),
        (Self::InvalidState, c"SVANTIC_STATUS_INVALID_STATE"),
        (Self::WouldDeadlock, c"SVANTIC_STATUS_WOULD_DEADLOCK"),
        (Self::Forked, c"SVANTIC_STATUS_FORKED"),
        (Self::NotFound, c"SVANTIC_STATUS_NOT_FOUND"),
        (Self::Timeout, c"SVANTIC_STATUS_TIMEOUT"),
        (Self::Cancelled, c"SVANTIC_STATUS_CANCELLED"),
        (Self::Network, c"SVANTIC_STATUS_NETWORK"),
        (Self::Tls, c"SVANTIC_STATUS_TLS"),
        (Self::Auth, c"SVANTIC_STATUS_AUTH"),
        (Self::Remote, c"SVANTIC_STATUS_REMOTE"),
        (Self::Protocol, c"SVANTIC_STATUS_PROTOCOL"),
        (Self::Internal, c"SVANTIC_STATUS_INTERNAL"),
    ];
}

impl From<ErrorKind> for svantic_status {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidArgument => Self::InvalidArgument,
            ErrorKind::InvalidHandle => Self::InvalidHandle,
            ErrorKind::InvalidJson => Self::InvalidJson,
            ErrorKind::InvalidState => Self::InvalidState,
            ErrorKind::WouldDeadlock => Self::WouldDeadlock,
            ErrorKind::Forked => Self::Forked,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Network => Self::Network,
            ErrorKind::Tls => Self::Tls,
            ErrorKind::Auth => Self::Auth,
            ErrorKind::Remote => Self::Remote,
            ErrorKind::Protocol => Self::Protocol,
            ErrorKind::Internal => Self::Internal,
        }
    }
}

/// Where a connector is. See svantic_get_state().
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum svantic_state {
    /// Created, or back after a first connect that failed.
    Idle = 0,
    /// On the way to the first link.
    Connecting = 1,
    /// Dispatches can arrive.
    Connected = 2,
    /// The link was lost and is being made again. Answers are kept and sent when it is back.
    Reconnecting = 3,
    /// Ended by svantic_disconnect(). Final.
    Closed = 4,
    /// svantic_disconnect() is under way: no new dispatches, running ones are being finished.
    Draining = 5,
    /// The mesh refuses the token (svantic_refresh_token() helps), or another process has taken the instance id.
    Blocked = 6,
    /// Given up for a cause that no retry mends; the event SVANTIC_EVENT_FAILED said which. Final.
    Failed = 7,
}

/// What an svantic_event_fn reports, with the fields of its JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum svantic_event {
    /// {"state":"connected","previous":"reconnecting","link":"ready"}
    State = 1,
    /// {"generation":2,"expires_at":1767225600}: a new token is in use.
    TokenRefreshed = 2,
    /// {"capabilities":3,"revision":2}: the mesh has this list.
    Registered = 3,
    /// {"dispatch_id":"...","reason":"deadline"|"shutdown"|"failed"}: the mesh no longer wants the answer.
    DispatchCancelled = 4,
    /// {"level":"warn","target":"svantic","message":"..."}
    Log = 5,
    /// {"connection":3,"resumed":false}: the WebSocket is up. Strictly alternates with DISCONNECTED.
    Connected = 6,
    /// {"connection":3,"code":1012,"cause":"..."}: the WebSocket is gone.
    Disconnected = 7,
    /// {"cause":"UNREACHABLE","message":"...","delay_ms":1830,"attempt":2}: the next attempt comes after this wait.
    Backoff = 8,
    /// {"code":"UNAUTHORIZED","message":"..."}: the mesh refuses the credentials.
    AuthFailed = 9,
    /// {"seconds_left":12}: the token that was supplied will expire; call svantic_refresh_token().
    TokenExpiring = 10,
    /// {}: the token that was supplied has expired.
    TokenExpired = 11,
    /// {}: the mesh no longer knew the instance; it registers again.
    InstanceForgotten = 12,
    /// {}: another process has taken this instance id.
    Superseded = 13,
    /// {"in_flight":2,"until_ms":30000}: svantic_disconnect() waits for these dispatches.
    Draining = 14,
    /// {"dispatch_id":"...","reason":"expired"|"closed"|"failed"|"poisoned"|"too_large"}: an answer was given up
    /// without proof that it was delivered.
    ResultDropped = 15,
    /// {"dispatch_id":"...","code":"INVALID_ARGS"}: a dispatch was refused before it reached a handler.
    DispatchRefused = 16,
    /// {"count":7}: so many events were dropped because they were not taken.
    Missed = 17,
    /// The error as an object, as in svantic_done_fn: the connector has given up.
    Failed = 18,
    /// {"connection":3}: the mesh answers no pings on it; an answer counts as delivered after 10 s of life.
    FenceUnsupported = 19,
    /// {"used":"client_secret_next"}: the client secret was refused, so the other one (this) is shown.
    CredentialFallback = 20,
    /// {"generation":2,"reason":"missing"|"expiring"|"refused"}: with "token_provider", call
    /// svantic_refresh_token() with a new token, which will be this generation.
    TokenWanted = 21,
    /// {"session_id":"...","reason":"instance_forgotten"}: a session has ended that was not closed.
    SessionClosed = 22,
    /// {"stalled":true,"oldest_ms":10000}: a dispatch has waited so long for svantic_next() or a delivery thread, and the
    /// mesh is told "unhealthy"; {"stalled":false}: they are picked up again.
    Stalled = 23,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::State;
    use crate::machine::event::EventKind;

    #[test]
    fn the_abi_numbers_are_those_of_the_core() {
        for kind in [
            ErrorKind::InvalidArgument,
            ErrorKind::InvalidHandle,
            ErrorKind::InvalidJson,
            ErrorKind::InvalidState,
            ErrorKind::WouldDeadlock,
            ErrorKind::Forked,
            ErrorKind::NotFound,
            ErrorKind::Timeout,
            ErrorKind::Cancelled,
            ErrorKind::Network,
            ErrorKind::Tls,
            ErrorKind::Auth,
            ErrorKind::Remote,
            ErrorKind::Protocol,
            ErrorKind::Internal,
        ] {
            assert_eq!(svantic_status::from(kind) as i32, kind as i32);
        }
        for (abi, core) in [
            (svantic_state::Idle, State::Idle),
            (svantic_state::Connecting, State::Connecting),
            (svantic_state::Connected, State::Connected),
            (svantic_state::Reconnecting, State::Reconnecting),
            (svantic_state::Closed, State::Closed),
            (svantic_state::Draining, State::Draining),
            (svantic_state::Blocked, State::Blocked),
            (svantic_state::Failed, State::Failed),
        ] {
            assert_eq!(abi as i32, core as i32);
        }
        for (abi, core) in [
            (svantic_event::State, EventKind::State),
            (svantic_event::TokenRefreshed, EventKind::TokenRefreshed),
            (svantic_event::Registered, EventKind::Registered),
            (
                svantic_event::DispatchCancelled,
                EventKind::DispatchCancelled,
            ),
            (svantic_event::Log, EventKind::Log),
            (svantic_event::Connected, EventKind::Connected),
            (svantic_event::Disconnected, EventKind::Disconnected),
            (svantic_event::Backoff, EventKind::Backoff),
            (svantic_event::AuthFailed, EventKind::AuthFailed),
            (svantic_event::TokenExpiring, EventKind::TokenExpiring),
            (svantic_event::TokenExpired, EventKind::TokenExpired),
            (
                svantic_event::InstanceForgotten,
                EventKind::InstanceForgotten,
            ),
            (svantic_event::Superseded, EventKind::Superseded),
            (svantic_event::Draining, EventKind::Draining),
            (svantic_event::ResultDropped, EventKind::ResultDropped),
            (svantic_event::DispatchRefused, EventKind::DispatchRefused),
            (svantic_event::Missed, EventKind::Missed),
            (svantic_event::Failed, EventKind::Failed),
            (svantic_event::FenceUnsupported, EventKind::FenceUnsupported),
            (
                svantic_event::CredentialFallback,
                EventKind::CredentialFallback,
            ),
            (svantic_event::TokenWanted, EventKind::TokenWanted),
            (svantic_event::SessionClosed, EventKind::SessionClosed),
            (svantic_event::Stalled, EventKind::Stalled),
        ] {
            assert_eq!(abi as i32, core as i32);
        }
    }
}
