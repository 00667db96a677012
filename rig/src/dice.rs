//! Sizes and seeds from the environment, so that one test serves CI, the soak and the search for a fault.

use std::str::FromStr;

use fastrand::Rng;

/// The value of an environment variable, or `default`.
///
/// # Panics
///
/// When the variable holds something else than such a value: a soak that silently runs at the CI size proves nothing.
pub fn from_environment<T: FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, which is not a number in range")),
        Err(_) => default,
    }
}

/// The dice of one run: `SVANTIC_RIG_SEED`, or a fresh seed. Printed, so that a run can be repeated.
pub fn seed(what: &str) -> u64 {
    let seed = from_environment("SVANTIC_RIG_SEED", fastrand::u64(..));
    println!("{what}: SVANTIC_RIG_SEED={seed}");
    seed
}

/// A handler's time in milliseconds: log-normal with a median of 20 ms, and 3 s for one in a hundred.
pub fn handler_ms(dice: &mut Rng) -> u64 {
    if dice.u8(..100) == 0 {
        return 3_000;
    }
    // The sum of twelve uniform numbers is close enough to a normal one.
    let normal: f64 = (0..12).map(|_| dice.f64()).sum::<f64>() - 6.0;
    let millis = 20.0 * (0.8 * normal).exp();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 20 * e^4.8"
    )]
    {
        millis as u64
    }
}
