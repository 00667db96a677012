//! Comparing secrets without saying how far they agree.

use ring::error::Unspecified;
use ring::hmac;
use ring::rand::SystemRandom;

/// A key that nobody knows: under it, how alike two MACs are says nothing about what they are made from.
#[derive(Clone)]
pub struct ComparisonKey(hmac::Key);

impl ComparisonKey {
    /// A random one. Fails if the system has no randomness to give.
    pub fn random() -> Result<Self, Unspecified> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map(Self)
    }

    /// Whether both are the same bytes. The time it takes depends on their lengths alone.
    pub(super) fn same(&self, ours: &[u8], theirs: &[u8]) -> bool {
        let ours = hmac::sign(&self.0, ours);
        hmac::verify(&self.0, theirs, ours.as_ref()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_the_same_only_byte_for_byte() {
        let key = ComparisonKey::random().unwrap();
        let large = vec![b'x'; 1 << 20];
        let mut other = large.clone();
        *other.last_mut().unwrap() = b'y';
        for secret in [&b"hush"[..], b"", b"\0", "geheim\u{e4}".as_bytes(), &large] {
            assert!(key.same(secret, secret));
        }
        for (ours, theirs) in [
            (&b"hush"[..], &b"husi"[..]),
            (b"hush", b"Hush"),
            (b"hush", b"hus"),
            (b"hush", b"hush "),
            (b"hush", b"hush\0"),
            (b"hush", b""),
            (b"", b"hush"),
            (b"\0", b""),
            (&large, &other),
            (&large, &large[1..]),
            (&large[..64], &large[..65]),
            (b"hush", &large),
        ] {
            assert!(!key.same(ours, theirs));
        }
    }

    #[test]
    fn every_key_is_another() {
        let (one, two) = (
            ComparisonKey::random().unwrap(),
            ComparisonKey::random().unwrap(),
        );
        let tag = |key: &ComparisonKey| hmac::sign(&key.0, b"hush").as_ref().to_owned();
        assert_ne!(tag(&one), tag(&two));
    }
}
