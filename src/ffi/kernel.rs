//! The questions to the kernel that need unsafe code (`crate::kernel`).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::kernel::{self, Kernel};

/// From now on the kernel can be asked.
pub(crate) fn install() {
    kernel::install(Kernel {
        unacknowledged,
        boot_time,
        sleep_alarm,
    });
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn unacknowledged(socket: BorrowedFd<'_>) -> Option<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ) writes one int, for which there is room; the descriptor is open while it is borrowed.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    (result == 0).then(|| u64::try_from(bytes).ok()).flatten()
}

#[cfg(target_vendor = "apple")]
fn unacknowledged(socket: BorrowedFd<'_>) -> Option<u64> {
    let mut bytes: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&bytes)).ok()?;
    // SAFETY: SO_NWRITE writes one int, for which there is room as `length` says; the descriptor is open while it is
    // borrowed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NWRITE,
            (&raw mut bytes).cast(),
            &raw mut length,
        )
    };
    (result == 0).then(|| u64::try_from(bytes).ok()).flatten()
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn unacknowledged(_: BorrowedFd<'_>) -> Option<u64> {
    None
}

/// The clock that goes on in a suspended machine. Apple's "monotonic" does; what Rust calls `Instant` there does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT_CLOCK: Option<libc::clockid_t> = Some(libc::CLOCK_BOOTTIME);
#[cfg(target_vendor = "apple")]
const BOOT_CLOCK: Option<libc::clockid_t> = Some(libc::CLOCK_MONOTONIC);
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
const BOOT_CLOCK: Option<libc::clockid_t> = None;

fn boot_time() -> Option<Duration> {
    let clock = BOOT_CLOCK?;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes one timespec, for which there is room.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    (result == 0).then(|| Duration::new(seconds, nanos))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn sleep_timer(period: Duration) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd as _;
    use std::ptr;

    // SAFETY: no pointer is passed.
    let fd = unsafe {
        libc::timerfd_create(libc::CLOCK_BOOTTIME, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let seconds = libc::time_t::try_from(period.as_secs()).unwrap_or(libc::time_t::MAX);
    let every = libc::timespec {
        tv_sec: seconds,
        // As wide as an i32 where a long is.
        tv_nsec: i32::try_from(period.subsec_nanos())
            .unwrap_or_default()
            .into(),
    };
    let setting = libc::itimerspec {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: the setting is read during the call; the old one is not asked for.
    let result =
        unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &raw const setting, ptr::null_mut()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn sleep_timer(_: Duration) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

fn sleep_alarm(period: Duration) -> io::Result<AsyncFd<File>> {
    let timer = File::from(sleep_timer(period)?);
    // SAFETY: the file is not closed or replaced before the registration ends, which owns it.
    Ok(unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::time::Instant;

    use super::*;

    const GUARD: Duration = Duration::from_mins(1);

    #[test]
    fn bytes_that_the_peers_kernel_has_are_acknowledged_whether_it_reads_them_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(socket.as_fd()), Some(0));
        socket.write_all(b"a few bytes").unwrap();
        let begun = Instant::now();
        while unacknowledged(socket.as_fd()) != Some(0) {
            assert!(begun.elapsed() < GUARD, "loopback acknowledges by itself");
            std::thread::yield_now();
        }
        // More than the peer's window takes stays with us until the peer reads.
        socket.set_nonblocking(true).unwrap();
        let mut written = 0;
        let mut buffer = vec![0; 1 << 16];
        while let Ok(n) = socket.write(&buffer) {
            written += n;
        }
        let waiting = unacknowledged(socket.as_fd()).unwrap();
        assert!(waiting > 0 && waiting <= written as u64, "{waiting}");
        let mut left = written + b"a few bytes".len();
        while left > 0 {
            left -= peer.read(&mut buffer).unwrap();
        }
        while unacknowledged(socket.as_fd()) != Some(0) {
            assert!(begun.elapsed() < GUARD, "what is read is acknowledged");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_no_socket_has_no_answer() {
        let file = File::open("/dev/null").unwrap();
        assert_eq!(unacknowledged(file.as_fd()), None);
    }

    #[test]
    fn the_clock_that_counts_sleep_never_goes_back() {
        let first = boot_time().unwrap();
        assert!(boot_time().unwrap() >= first && first > Duration::ZERO);
    }

    #[test]
    fn the_alarm_rings_again_and_again_and_is_silent_in_between() {
        let mut alarm = File::from(sleep_timer(Duration::from_millis(5)).unwrap());
        let mut rung = [0; 8];
        let begun = Instant::now();
        let mut times = 0;
        while times < 3 {
            assert!(begun.elapsed() < GUARD, "it never rings");
            match alarm.read(&mut rung) {
                Ok(8) => times += u64::from_ne_bytes(rung),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
        assert!(begun.elapsed() >= Duration::from_millis(15));
    }
}
