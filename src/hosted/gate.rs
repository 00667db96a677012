//! How much work those make who have proven nothing (`security.md` S-17). Pure: the time comes in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How many requests may be verified at once.
const MAX_UNAUTHENTICATED: usize = 64;

/// How many failures in a second a peer may have, on average and at once.
const FAILURES_A_SECOND: u32 = 10;

/// A failure is forgotten so long after the one before.
const FORGOTTEN_AFTER: Duration = Duration::from_millis(1000 / FAILURES_A_SECOND as u64);

/// How many peers are told apart. What comes from more at once counts as one.
const MAX_PEERS: usize = 4096;

/// Why a request is turned away without a word about what was wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// It has failed, and the peer has failed too often before.
    RateLimited,
    /// Too many are being verified.
    TooMany,
}

/// Whose failures are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// An address; of IPv6 the network, since each has addresses without end.
    Address(IpAddr),
    /// Those that found no place of their own.
    Others,
}

impl Peer {
    /// Reads an address with or without a port. `None` for anything else: whoever it is cannot be told apart from a good one.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let address = text
            .parse::<SocketAddr>()
            .map(|address| address.ip())
            .or_else(|_| text.parse())
            .ok()?;
        Some(Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        }))
    }
}

/// See the [module documentation](self).
#[derive(Default)]
pub(crate) struct Gate {
    under_way: usize,
    /// When the failures of a peer will all be forgotten.
    failures: HashMap<Peer, Duration>,
}

impl Gate {
    /// Lets a request in; whoever was let in leaves.
    pub(crate) fn enter(&mut self) -> Result<(), Turned> {
        if self.under_way >= MAX_UNAUTHENTICATED {
            return Err(Turned::TooMany);
        }
        self.under_way += 1;
        Ok(())
    }

    /// What has been let in is verified, or could not be.
    pub(crate) fn leave(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// What has been verified is not to be believed. An error if the peer has shown too much of that. What is good is never
    /// held up by it: behind a proxy the mesh has the same address as everybody else.
    pub(crate) fn failed(&mut self, now: Duration, peer: Option<Peer>) -> Result<(), Turned> {
        let Some(peer) = peer else {
            return Ok(());
        };
        if self.has_failed_too_often(now, peer) {
            return Err(Turned::RateLimited);
        }
        let peer = self.place(now, peer);
        let until = self.failures.entry(peer).or_insert(now);
        *until = (*until).max(now) + FORGOTTEN_AFTER;
        Ok(())
    }

    fn has_failed_too_often(&self, now: Duration, peer: Peer) -> bool {
        let until = self.failures.get(&peer).or_else(|| {
            let others = self.failures.get(&Peer::Others)?;
            (self.failures.len() >= MAX_PEERS).then_some(others)
        });
        // One more must still fit.
        let full = FORGOTTEN_AFTER * (FAILURES_A_SECOND - 1);
        until.is_some_and(|until| until.saturating_sub(now) > full)
    }

    /// Where the failures of a peer are counted.
    fn place(&mut self, now: Duration, peer: Peer) -> Peer {
        if self.failures.contains_key(&peer) {
            return peer;
        }
        if self.failures.len() >= MAX_PEERS {
            self.failures.retain(|_, until| *until > now);
        }
        if self.failures.len() >= MAX_PEERS {
            Peer::Others
        } else {
            peer
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(n: u32) -> Option<Peer> {
        Peer::read(&Ipv4Addr::from(0x0a00_0000 + n).to_string())
    }

    #[test]
    fn ten_failures_a_second_and_then_none_until_one_is_forgotten() {
        let mut gate = Gate::default();
        let mut now = Duration::from_secs(5);
        for n in 0..10 {
            assert_eq!(gate.failed(now, peer(1)), Ok(()), "{n}");
        }
        assert_eq!(gate.failed(now, peer(1)), Err(Turned::RateLimited));
        assert_eq!(gate.failed(now, peer(2)), Ok(()), "another peer");
        assert_eq!(gate.failed(now, None), Ok(()), "who cannot be told apart");
        now += FORGOTTEN_AFTER;
        assert_eq!(gate.failed(now, peer(1)), Ok(()));
        assert_eq!(gate.failed(now, peer(1)), Err(Turned::RateLimited));
        let mut let_in = 0;
        for _ in 0..1000 {
            now += Duration::from_millis(10);
            let_in += usize::from(gate.failed(now, peer(1)).is_ok());
        }
        assert_eq!(let_in, 100, "ten a second");
    }

    #[test]
    fn only_so_many_are_verified_at_once() {
        let mut gate = Gate::default();
        for _ in 0..64 {
            assert_eq!(gate.enter(), Ok(()));
        }
        assert_eq!(gate.enter(), Err(Turned::TooMany));
        gate.leave();
        assert_eq!(gate.enter(), Ok(()));
    }

    #[test]
    fn a_flood_of_peers_takes_no_more_memory_and_is_limited_as_one() {
        let mut gate = Gate::default();
        let mut let_in = 0;
        for n in 0..100_000 {
            let_in += usize::from(gate.failed(Duration::ZERO, peer(n)).is_ok());
        }
        assert_eq!(let_in, MAX_PEERS + 10);
        assert_eq!(gate.failures.len(), MAX_PEERS + 1);
        assert_eq!(gate.failed(Duration::from_secs(2), peer(7)), Ok(()));
        assert_eq!(gate.failed(Duration::from_secs(2), peer(200_000)), Ok(()));
        assert!(gate.failures.len() < 10, "the old ones make room");
    }

    #[test]
    fn peers_are_read_with_and_without_a_port() {
        let same = [
            "10.0.0.1",
            "10.0.0.1:80",
            "[::ffff:10.0.0.1]:9",
            "::ffff:10.0.0.1",
        ];
        for text in same {
            assert_eq!(Peer::read(text), peer(1), "{text}");
        }
        assert_eq!(Peer::read("2001:db8::1"), Peer::read("[2001:db8::2]:443"));
        assert_ne!(Peer::read("2001:db8::1"), Peer::read("2001:db8:0:1::1"));
        for odd in ["", "unix:", "localhost", "10.0.0.1:x", "a, b"] {
            assert_eq!(Peer::read(odd), None, "{odd}");
        }
    }
}
