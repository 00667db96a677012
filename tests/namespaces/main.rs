//! Real kernels on both ends of a wire that dies: client, router and server in network namespaces of their own
//! (`reliability.md`; the figures of 5.5 and 5.6 were measured like this).
//!
//! Needs root and `ip`; without them each test prints why it is skipped. `SVANTIC_REAL_TIMERS=1` runs them at the
//! default timers and prints the figures that `docs/reliability.md` quotes; otherwise the timers are scaled down.

mod half_open;
mod ipv6;
mod role;
mod slow;
mod topology;

/// Whether the timers are the library's own.
fn real_timers() -> bool {
    std::env::var_os("SVANTIC_REAL_TIMERS").is_some()
}
