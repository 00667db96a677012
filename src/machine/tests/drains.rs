//! Leaving with a lot of work in hand, whatever happens on the way out (`reliability.md` ).

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::rig::{Rig, http, millis, seconds, unreachable};
use super::trial::{PROTECTED, Without, every_seed, ready};
use crate::machine::action::{Dialed, Output, Reply};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

const DEREGISTER: &str = "/agents/deregister";

/// What happens while the agent drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Healthy,
    /// The connection is reset, and the gateway is back after so long.
    Killed,
    /// The mesh ends the connection over its token, and refuses calls with the old one.
    TokenExpired,
    SecondDisconnect,
    Stop,
}

/// What a drain with 100 dispatches in flight came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Drain {
    /// Handlers that started after `draining` was on the wire.
    new_starts: usize,
    deregistered: usize,
    /// Answers that the gateway read, each counted once.
    results: usize,
    shut_down: usize,
    /// Results that the agent reported as undelivered.
    dropped: usize,
    /// Answers that were on a socket, or none, when the agent closed: without proof.
    unproven: usize,
    /// From the beginning of the drain to its end.
    took: Duration,
    slowest: Duration,
}

/// How long the way is in each direction.
const WAY: Duration = Duration::from_millis(40);

/// A gateway at the other end of a way.
struct Gateway {
    rig: Rig,
    rng: Rng,
    fate: Fate,
    up_at: Duration,
    read: BTreeMap<String, String>,
    unread: Vec<(Duration, String)>,
    closed_at: Option<Duration>,
    pongs: Vec<(Duration, u64, [u8; 8])>,
    said_draining: bool,
    good_token: u64,
    seen: Drain,
}

impl Gateway {
    fn serve(&mut self) {
        let now = self.rig.now;
        for (_, text) in std::mem::take(&mut self.rig.sent) {
            self.unread.push((now + WAY, text.to_string()));
        }
        for (conn, payload) in std::mem::take(&mut self.rig.pings) {
            self.pongs.push((now + 2 * WAY, conn, payload));
        }
        if !self.rig.closes.is_empty() {
            self.rig.closes.clear();
            let left = &self.rig.machine.snapshot(self.rig.now())["outbox_items"];
            self.seen.unproven = usize::try_from(left.as_u64().unwrap()).unwrap();
            self.closed_at = Some(now + 2 * WAY);
        }
        let arrived = |at: &Duration| *at <= now;
        let read = self.unread.extract_if(.., |(at, _)| arrived(at));
        for (_, text) in read.collect::<Vec<_>>() {
            self.read(&text);
        }
        let pongs = self.pongs.extract_if(.., |(at, ..)| arrived(at));
        for (_, conn, payload) in pongs.collect::<Vec<_>>() {
            let now = self.rig.now();
            self.rig.machine.handle_pong(now, conn, &payload);
            self.rig.collect();
        }
        if self.closed_at.take_if(|at| arrived(at)).is_some() {
            self.rig.closed(1000);
        }
        if self.rig.machine.link() == LinkState::Dialing {
            self.dialed();
        }
        while let Some(path) = self.rig.next_path() {
            self.replied(path);
        }
    }

    fn read(&mut self, text: &str) {
        let frame = super::rig::parsed(text);
        if frame["payload"]["status"] == "draining" {
            self.said_draining = true;
        }
        if let Some(id) = frame["in_reply_to"].as_str() {
            let answer = frame["payload"]["code"].as_str().unwrap_or("result");
            self.read.insert(id.to_owned(), answer.to_owned());
        }
    }

    /// The connection is gone, with everything that was on its way.
    fn lose(&mut self) {
        self.unread.clear();
        self.pongs.clear();
        self.rig.sent.clear();
        self.rig.pings.clear();
    }

    fn dialed(&mut self) {
        if self.rig.now < self.up_at {
            return self.rig.dialed(Dialed::Failed(unreachable()));
        }
        self.rig.dialed(Dialed::Open);
        self.rig.welcome();
        let types: Vec<_> = self
            .rig
            .sent
            .iter()
            .map(|(_, text)| super::rig::parsed(text)["type"].clone())
            .collect();
        assert_eq!(types[..2], ["hello", "heartbeat"], "R-25: draining first");
        let beat = super::rig::parsed(&self.rig.sent[1].1);
        assert_eq!(beat["payload"]["status"], "draining");
        self.serve();
    }

    fn replied(&mut self, path: &'static str) {
        if path == "/auth/get_token" {
            return drop(self.rig.token_ok());
        }
        let bearer = Rig::bearer(&self.rig.requests[0]);
        if bearer
            != Some(super::rig::jwt(
                self.good_token.max(self.rig.tokens),
                86_400,
            ))
        {
            return drop(self.rig.reply(path, 401, &json!({"code": "UNAUTHORIZED"})));
        }
        if path == DEREGISTER {
            self.seen.deregistered += 1;
            return drop(self.rig.reply(path, 200, &json!({"ok": true})));
        }
        drop(self.rig.register_ok());
    }
}

fn drain(seed: u64, fate: Fate, without: Without) -> Drain {
    let changes = json!({"max_in_flight": 200, "max_pending_dispatches": 200});
    let mut rng = Rng::with_seed(seed);
    let mut rig = ready(&changes, seed, without);
    let mut handlers: Vec<_> = (0..100)
        .map(|n| (millis(rng.u64(0..5_000)), format!("d{n}")))
        .collect();
    handlers.sort();
    for (_, id) in &handlers {
        rig.echo(id);
    }
    let slowest = handlers[99].0;
    let disconnect = rig.disconnect(seconds(30));
    let tokens = rig.tokens;
    let mut gateway = Gateway {
        rig,
        rng,
        fate,
        up_at: Duration::ZERO,
        read: BTreeMap::new(),
        unread: Vec::new(),
        closed_at: None,
        pongs: Vec::new(),
        said_draining: false,
        good_token: tokens,
        seen: Drain {
            slowest,
            ..Drain::default()
        },
    };
    let began = gateway.rig.now;
    let mut misfortune = Some(began + millis(gateway.rng.u64(500..3_000)));
    let mut offered = 0;
    gateway.serve();
    while gateway.rig.machine.state() != State::Closed {
        let now = gateway.rig.now;
        assert!(now < began + seconds(60), "it never ends");
        if misfortune.is_some_and(|at| at <= now) {
            misfortune = None;
            befall(&mut gateway);
        }
        // The mesh goes on to send work for a while.
        if gateway.rig.machine.link() == LinkState::Ready && offered < 50 {
            offered += 1;
            gateway.rig.echo(&format!("new {offered}"));
        }
        while handlers.first().is_some_and(|(at, _)| began + *at <= now) {
            let (_, id) = handlers.remove(0);
            let _ = gateway.rig.answer(&id, "1");
        }
        gateway.serve();
        gateway.rig.advance(millis(10));
    }
    assert!(gateway.said_draining);
    assert_eq!(gateway.rig.result(disconnect), Ok(Output::Nothing));
    let mut outcome = gateway.seen;
    outcome.took = gateway.rig.now - began;
    outcome.new_starts = gateway.rig.delivered.len() - 100;
    let count = |answer: &str| {
        let ours = |(id, got): &(&String, &String)| id.starts_with('d') && *got == answer;
        gateway.read.iter().filter(ours).count()
    };
    outcome.results = count("result");
    outcome.shut_down = count("AGENT_SHUTDOWN");
    outcome.dropped = gateway.rig.events_of(EventKind::ResultDropped).len();
    outcome
}

fn befall(gateway: &mut Gateway) {
    match gateway.fate {
        Fate::Healthy => {}
        Fate::Killed => {
            gateway.up_at = gateway.rig.now + millis(gateway.rng.u64(0..400));
            gateway.lose();
            gateway.rig.broken();
        }
        Fate::TokenExpired => {
            gateway.good_token = gateway.rig.tokens + 1;
            gateway.lose();
            gateway.rig.closed(4401);
        }
        Fate::SecondDisconnect => {
            gateway.rig.disconnect(seconds(30));
        }
        Fate::Stop => gateway.rig.stop(),
    }
}

#[test]
fn r_23_a_drain_with_100_in_flight_ends_well_whatever_happens() {
    for fate in [Fate::Healthy, Fate::Killed, Fate::TokenExpired] {
        let seen = every_seed(20, |seed| drain(seed, fate, PROTECTED));
        for seen in &seen {
            assert_eq!(
                (seen.new_starts, seen.deregistered, seen.results),
                (0, 1, 100),
                "{fate:?}: {seen:?}"
            );
            assert_eq!((seen.dropped, seen.unproven), (0, 0), "{fate:?}: {seen:?}");
        }
        let late = seen
            .iter()
            .map(|seen| seen.took.saturating_sub(seen.slowest));
        let late = late.max().unwrap();
        println!("{fate:?}: {late:?} after the slowest handler at most");
        // A redial waits a random part of its window, which is not the drain's to shorten.
        let redial = if fate == Fate::Killed { 3 } else { 0 };
        assert!(late <= seconds(2 + redial), "{fate:?}: {late:?}");
    }
}

#[test]
fn r_23_a_second_disconnect_or_a_stop_waits_no_longer() {
    for fate in [Fate::SecondDisconnect, Fate::Stop] {
        for seen in every_seed(20, |seed| drain(seed, fate, PROTECTED)) {
            assert_eq!((seen.new_starts, seen.deregistered), (0, 1), "{seen:?}");
            assert_eq!(
                seen.results + seen.shut_down,
                100,
                "each is answered: {seen:?}"
            );
            assert!(seen.shut_down > 0 && seen.results > 0, "{seen:?}");
            assert!(seen.took <= seconds(3) + seconds(2), "{seen:?}");
        }
    }
}

#[test]
fn r_23_fails_without_outbox_or_fences() {
    let lost = |without: Without| {
        let seen = every_seed(10, |seed| drain(seed, Fate::Killed, without));
        seen.iter().any(|seen| seen.results < 100)
    };
    assert!(lost(|p| p.outbox = false));
    assert!(lost(|p| p.fences = false));
}

#[test]
fn r_24_a_hung_handler_is_cancelled_at_the_bound() {
    let mut rig = ready(&json!({}), 1, PROTECTED);
    rig.echo("hung");
    let disconnect = rig.disconnect(seconds(30));
    rig.frames();
    rig.advance_alive(millis(29_990));
    assert!(!rig.is_done(disconnect));
    rig.advance_alive(millis(10));
    let answer = rig.frames().pop().expect("an answer");
    assert_eq!(
        (&answer["in_reply_to"], &answer["payload"]["code"]),
        (&json!("hung"), &json!("AGENT_SHUTDOWN"))
    );
    assert_eq!(
        rig.events_of(EventKind::DispatchCancelled),
        [&json!({"dispatch_id": "hung", "reason": "shutdown"})]
    );
    rig.closed(1000);
    rig.reply(DEREGISTER, 200, &json!({}));
    assert_eq!(rig.result(disconnect), Ok(Output::Nothing));
    assert!(rig.now <= seconds(32), "{:?}", rig.now);
}

/// The heartbeats of a drain that lasts 3 min, across a reset if there is one: when, and what each said.
fn heartbeats_of_a_long_drain(seed: u64, with_reset: bool) -> Vec<(Duration, Value)> {
    let mut rig = ready(&json!({"dispatch_timeout_ms": 600_000}), seed, PROTECTED);
    let mut rng = Rng::with_seed(seed);
    rig.echo("slow");
    rig.disconnect(seconds(300));
    let began = rig.now;
    let reset = began + millis(rng.u64(1_000..170_000));
    let mut beats = Vec::new();
    let mut was_reset = !with_reset;
    while rig.now - began < seconds(180) {
        for frame in rig.frames() {
            if frame["type"] == "heartbeat" {
                beats.push((rig.now - began, frame["payload"]["status"].clone()));
            }
        }
        if rig.now >= reset && !was_reset {
            was_reset = true;
            rig.broken();
        }
        if rig.machine.link() == LinkState::Dialing {
            rig.dialed(Dialed::Open);
            rig.frames();
            rig.welcome();
            let first = rig.sent.first().map(|(_, text)| super::rig::parsed(text));
            let first = first.expect("a frame");
            assert_eq!(first["payload"]["status"], "draining", "{first}");
        }
        if rig.machine.link().has_connection() {
            rig.advance_alive(millis(100));
        } else {
            rig.advance(millis(100));
        }
    }
    assert!(was_reset && rig.delivered.len() == 1);
    rig.answer("slow", "1").unwrap();
    rig.pong();
    assert_eq!(rig.machine.link(), LinkState::Closing);
    beats
}

fn longest_gap(with_reset: bool) -> Duration {
    let gaps = every_seed(30, |seed| {
        let beats = heartbeats_of_a_long_drain(seed, with_reset);
        assert!(beats.iter().all(|(_, status)| status == "draining"));
        let gaps = beats.windows(2).map(|pair| pair[1].0 - pair[0].0);
        gaps.chain([beats[0].0, seconds(180) - beats[beats.len() - 1].0])
            .max()
            .unwrap()
    });
    gaps.into_iter().max().unwrap()
}

#[test]
fn r_25_heartbeats_go_on_through_a_drain_of_3_min() {
    let longest = longest_gap(false);
    println!("the longest gap: {longest:?}");
    assert!(longest <= seconds(31), "{longest:?}");
}

#[test]
fn r_25_a_redial_in_a_drain_says_draining_first_and_delays_heartbeats_by_its_window_only() {
    let longest = longest_gap(true);
    println!("the longest gap with a reset: {longest:?}");
    // There is no way for one while the first window of 3 s is waited out.
    assert!(longest <= seconds(31 + 3), "{longest:?}");
}

#[test]
fn r_26_a_silent_peer_costs_1_s_and_a_failed_deregistration_5_more() {
    for answered in [true, false] {
        let mut rig = ready(&json!({}), 1, PROTECTED);
        // A full send buffer is the same to the machine: nothing is ever reported.
        let disconnect = rig.disconnect(seconds(30));
        let began = rig.now;
        rig.advance(seconds(1));
        assert_eq!(rig.aborts, [rig.conn]);
        if answered {
            let refused = Reply::Http(http(500, &json!({})));
            rig.answer_request(DEREGISTER, &refused);
            assert!(rig.now - began <= seconds(1));
        } else {
            rig.advance(seconds(5));
        }
        assert_eq!(rig.result(disconnect), Ok(Output::Nothing));
        assert!(rig.now - began <= seconds(6));
        assert_eq!(rig.machine.state(), State::Closed);
    }
}
