//! What a fault test proves, as switches: with its protection off a test must fail, or it proves nothing
//! (`reliability.md` 7.6).

/// Every protection is on. No configuration key reaches these; only a test of this repository does.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a protection of its own"
)]
pub struct Protections {
    /// Answers wait for a link, and those that were not proven are sent again.
    pub outbox: bool,
    /// A dispatch that comes again is not run again.
    pub dedupe: bool,
    /// An answer is kept until the peer has proven that it read past it.
    pub fences: bool,
    /// What the peer closes on again and again is given up (R-04c).
    pub poison_guard: bool,
    /// Attempts fall at a random point of their window.
    pub jitter: bool,
    /// The back-off starts over only when the link has proven stable.
    pub stability: bool,
    /// A peer that is silent for too long counts as dead.
    pub dead_timer: bool,
    /// A ping that still waits behind acknowledged bytes is no sign of death.
    pub two_stage: bool,
}

impl Default for Protections {
    fn default() -> Self {
        Self {
            outbox: true,
            dedupe: true,
            fences: true,
            poison_guard: true,
            jitter: true,
            stability: true,
            dead_timer: true,
            two_stage: true,
        }
    }
}
