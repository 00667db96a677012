//! What the kernel is told about the WebSocket's connection.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up. Without it a write
/// into a black hole is reported only after a quarter of an hour; with it after 10.4 s as measured
/// (`reliability.md` 5.5). It says nothing about an idle connection: that is what our own ping is for.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// How much may lie unsent in the kernel: what is queued there cannot be overtaken, so a ping or a heartbeat
/// never waits for more than this on a slow uplink (`reliability.md` 5.6 and 6.4).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const UNSENT_BYTES: u32 = 64 << 10;

/// How long a connection is idle before the kernel asks whether the peer is there: as long as the time that
/// Linux gives to unacknowledged bytes.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(10);

/// How long the kernel waits for each answer: a lost probe costs half of the idle time.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How many probes go unanswered before the connection is dead: one of them may be lost on the way, and the
/// verdict falls after 20 s, as our own ping's does.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const KEEP_ALIVE_PROBES: u32 = 2;

/// Sets all options. A kernel that refuses one is no reason to do without the connection: the machine's own
/// timers find a dead peer on every platform, only later.
pub(super) fn set_options(tcp: &TcpStream) {
    // Answers are small and waited for; coalescing is done above, where it costs no latency.
    let _ = tcp.set_nodelay(true);
    set_platform_options(&SockRef::from(tcp));
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_platform_options(socket: &SockRef<'_>) {
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_platform_options(socket: &SockRef<'_>) {
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(KEEP_ALIVE_IDLE)
        .with_interval(KEEP_ALIVE_INTERVAL)
        .with_retries(KEEP_ALIVE_PROBES);
    let _ = socket.set_tcp_keepalive(&keep_alive);
}
