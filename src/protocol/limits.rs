//! Sizes and times that the two sides of the wire must agree on.

use std::time::Duration;

/// The platform's host (`DEFAULT_SVANTIC_URL`, section 1).
pub const DEFAULT_SVANTIC_URL: &str = "https://api.svantic.com";

/// The WebSocket subprotocol that must be offered and must come back (section 4).
pub const SUBPROTOCOL: &str = "svantic.v1";

/// The version in every frame's envelope (section 4).
pub const ENVELOPE_VERSION: u64 = 1;

/// The lifetime of a token whose own claims do not say it (section 2).
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_hours(24);

/// The largest message accepted and sent unless configured otherwise (section 4).
pub const DEFAULT_MAX_FRAME_BYTES: usize = 4 << 20;

/// The largest value that `max_frame_bytes` may be set to.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// The largest HTTP reply that is read, and the largest request that the application may send.
pub const MAX_HTTP_BODY_BYTES: usize = 1 << 20;

/// The largest body of a call by POST (section 8).
pub const MAX_CALL_BYTES: usize = 4 << 20;

/// The longest path of a request of the application's own.
pub const MAX_PATH_BYTES: usize = 2048;

/// How many headers the application may add to one, and how many bytes of them.
pub const MAX_HEADERS: usize = 64;
/// See [`MAX_HEADERS`].
pub const MAX_HEADERS_BYTES: usize = 16 << 10;

/// How much of a reply that is not the platform's JSON is quoted in an error (section 2).
pub const QUOTED_BODY_BYTES: usize = 512;

/// The longest frame id that is accepted.
pub const MAX_ID_BYTES: usize = 128;

/// The deepest JSON that is accepted in a frame.
pub const MAX_JSON_DEPTH: usize = 64;

/// The most JSON values that one frame may hold.
pub const MAX_JSON_VALUES: usize = 100_000;

/// How many frames, and how many bytes of them, are held before the welcome.
pub const MAX_EARLY_FRAMES: usize = 16;
/// See [`MAX_EARLY_FRAMES`].
pub const MAX_EARLY_BYTES: usize = 1 << 20;

/// The longest wait that a `Retry-After` can ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);
