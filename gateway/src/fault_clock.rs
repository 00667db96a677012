//! The faults that happen in a rhythm or by chance: `drop_every`, `restart_every`, `chaos`.

use std::{sync::Arc, time::Duration};

use crate::{
    faults::{Endpoint, Faults, Refusal},
    shared::Shared,
};

/// How long a restarting gateway refuses connections.
const RESTART: Duration = Duration::from_secs(1);

type Rhythm = (Option<Duration>, Option<Duration>, Option<u64>);

fn rhythm(faults: &Faults) -> Rhythm {
    (faults.drop_every, faults.restart_every, faults.chaos)
}

/// Follows the faults for ever; a change of rhythm starts all three anew.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut faults = shared.faults.subscribe();
    loop {
        let now = rhythm(&faults.borrow_and_update());
        let changed = async {
            drop(faults.wait_for(|faults| rhythm(faults) != now).await);
        };
        tokio::select! {
            () = changed => {}
            () = every(now.0, || drop_all(&shared)) => {}
            () = every(now.1, || restart(&shared)) => {}
            () = chaos(now.2, &shared) => {}
        }
    }
}

async fn every(period: Option<Duration>, act: impl Fn()) {
    let Some(period) = period else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(period).await;
        act();
    }
}

fn drop_all(shared: &Shared) {
    shared.abort_sockets(None);
}

fn restart(shared: &Shared) {
    shared.go_down(RESTART);
    shared.close_sockets(None, 1012, "restart");
}

/// `SplitMix64`: the same seed gives the same faults in the same order.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % sides
    }
}

async fn chaos(seed: Option<u64>, shared: &Shared) {
    let Some(seed) = seed else {
        return std::future::pending().await;
    };
    let mut dice = Dice(seed);
    loop {
        tokio::time::sleep(Duration::from_millis(300 + dice.roll(2_700))).await;
        match dice.roll(8) {
            0 | 1 => drop_all(shared),
            2 => restart(shared),
            3 => {
                let codes = [1000, 1001, 1011, 1013, 4000];
                let code = codes[usize::try_from(dice.roll(5)).unwrap_or(0)];
                shared.close_sockets(None, code, "chaos");
            }
            4 => refuse_once(shared, Endpoint::Connect, 503),
            5 => refuse_once(shared, Endpoint::Register, 500),
            6 => refuse_once(shared, Endpoint::Token, 429),
            _ => {
                shared.change_faults(|faults| faults.no_pong = true);
                tokio::time::sleep(Duration::from_millis(500 + dice.roll(2_000))).await;
                shared.change_faults(|faults| faults.no_pong = false);
            }
        }
    }
}

fn refuse_once(shared: &Shared, endpoint: Endpoint, status: u16) {
    let mut refusal = Refusal::new(endpoint, status).times(1);
    refusal.retry_after = Some("1".to_owned());
    shared.change_faults(|faults| faults.refuse.push(refusal));
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_seed_always_rolls_the_same() {
        let rolls = |seed| {
            let mut dice = Dice(seed);
            [(); 20].map(|()| dice.roll(8))
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
    }
}
