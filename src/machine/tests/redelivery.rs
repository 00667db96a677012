//! A dispatch that comes again is not run again, and its answer comes again instead
//! (`reliability.md` R-02 and R-04b).

use serde_json::json;

use super::rig::{Rig, millis, seconds};
use super::trial::{PROTECTED, Without, ready, redialed};

/// How far a dispatch is when it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    InFlight,
    FinishedUnfenced,
    FinishedFenced,
    Failed,
    Evicted,
}

const PHASES: [Phase; 5] = [
    Phase::InFlight,
    Phase::FinishedUnfenced,
    Phase::FinishedFenced,
    Phase::Failed,
    Phase::Evicted,
];

/// What 64 MiB of answers that are remembered make room for is less than 80 of these.
const LARGE: usize = 1 << 20;

/// What sending a dispatch again led to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    second_runs: usize,
    /// Times that the answer was known and did not leave in the step in which it was asked for.
    unanswered: usize,
    /// Answers that differ from the first.
    contradictions: usize,
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.second_runs += other.second_runs;
        self.unanswered += other.unanswered;
        self.contradictions += other.contradictions;
    }
}

/// Leads there, and says what was answered on the way.
fn bring_to(rig: &mut Rig, phase: Phase) -> Vec<String> {
    rig.echo("x");
    match phase {
        Phase::InFlight => {}
        Phase::Failed => rig.answer_error("x", "HANDLER_ERROR", "no").unwrap(),
        Phase::FinishedUnfenced | Phase::FinishedFenced | Phase::Evicted => {
            rig.answer("x", "[1]").unwrap();
        }
    }
    let known = answers(rig);
    if !matches!(phase, Phase::FinishedUnfenced | Phase::InFlight) {
        rig.pong();
    }
    if phase == Phase::Evicted {
        let large = format!("\"{}\"", "x".repeat(LARGE));
        for n in 0..80 {
            let id = format!("large {n}");
            rig.echo(&id);
            rig.answer(&id, &large).unwrap();
            rig.pong();
            rig.sent.clear();
        }
    }
    known
}

/// The frames that answer `x` since the last look.
fn answers(rig: &mut Rig) -> Vec<String> {
    std::mem::take(&mut rig.sent)
        .into_iter()
        .map(|(_, text)| text.to_string())
        .filter(|text| text.contains(r#""in_reply_to":"x""#))
        .collect()
}

fn redelivered(phase: Phase, times: usize, new_socket: bool, without: Without) -> Figures {
    let mut rig = ready(&json!({"max_in_flight": 100}), 3, without);
    let mut known = bring_to(&mut rig, phase);
    let runs = |rig: &Rig| rig.delivered.iter().filter(|d| &*d.id == "x").count();
    let mut unanswered = 0;
    for _ in 0..times {
        if new_socket {
            rig.pings.clear();
            rig.broken();
            redialed(&mut rig);
            // Long enough that nothing is suspected of having been what the peer closed on.
            rig.advance(millis(2_500));
        }
        let before = known.len();
        let flushed = answers(&mut rig);
        // What waits for its proof is on this socket already, and is not written to it twice.
        let on_its_way = !flushed.is_empty() || phase == Phase::FinishedUnfenced;
        known.extend(flushed);
        rig.echo("x");
        known.extend(answers(&mut rig));
        let answered = known.len() > before || on_its_way;
        unanswered += usize::from(phase != Phase::InFlight && !answered);
        if phase != Phase::FinishedUnfenced {
            rig.pong();
        }
    }
    if phase == Phase::InFlight {
        let _ = rig.answer("x", "[1]");
        known.extend(answers(&mut rig));
        unanswered += usize::from(known.len() != 1);
    }
    if phase == Phase::Evicted {
        // The body is gone, so the honest answer is another one, each time.
        let code = r#""code":"DUPLICATE_DISPATCH""#;
        let honest = known[1..].iter().all(|text| text.contains(code));
        assert!(honest || runs(&rig) > 1, "{known:?}");
        known.truncate(1);
    }
    Figures {
        second_runs: runs(&rig).saturating_sub(1),
        unanswered,
        contradictions: known.iter().filter(|text| **text != known[0]).count(),
    }
}

fn every_case(phase: Phase, without: Without) -> Figures {
    let mut figures = Figures::default();
    for times in 1..=5 {
        for new_socket in [false, true] {
            figures.add(&redelivered(phase, times, new_socket, without));
        }
    }
    figures
}

#[test]
fn r_02_the_same_id_1_to_5_times_in_every_phase_on_the_same_and_on_a_new_socket() {
    for phase in PHASES {
        let figures = every_case(phase, PROTECTED);
        assert_eq!(figures, Figures::default(), "{phase:?}");
    }
}

#[test]
fn r_02_fails_without_dedupe() {
    for phase in PHASES {
        let figures = every_case(phase, |p| p.dedupe = false);
        assert!(figures.second_runs > 0, "{phase:?}: {figures:?}");
    }
}

/// What a test without the protection sees must be the second run, and not miscounted slots.
#[test]
fn without_dedupe_the_counts_hold_all_the_same() {
    let mut rig = ready(&json!({"max_in_flight": 2}), 3, |p| p.dedupe = false);
    rig.echo("x");
    rig.echo("x");
    let in_flight = |rig: &Rig| rig.machine.snapshot(rig.now())["in_flight"].clone();
    assert_eq!((rig.delivered.len(), in_flight(&rig)), (2, json!(1)));
    rig.answer("x", "1").unwrap();
    assert_eq!(rig.answer("x", "1").unwrap_err().code(), "DISPATCH_ENDED");
    rig.pong();
    assert_eq!(in_flight(&rig), 0);
    // Run again when it was answered: the time of the first answer is not that of the second run.
    rig.advance_alive(seconds(580));
    rig.echo("x");
    rig.advance_alive(seconds(40));
    assert_eq!(in_flight(&rig), 1);
    rig.answer("x", "1").unwrap();
    rig.advance_alive(seconds(1));
    let snapshot = rig.machine.snapshot(rig.now());
    assert_eq!(
        (&snapshot["in_flight"], &snapshot["dedupe_entries"]),
        (&json!(0), &json!(1))
    );
}

/// What a peer saw that reads an answer and dies before its pong.
#[derive(Debug, Default)]
struct Crashes {
    /// The most copies of one answer, beyond the first.
    extra_copies: usize,
    second_runs: usize,
    lost: usize,
    contradictions: usize,
}

/// Every second peer has read the answer, and every third has forgotten that it asked.
fn crashes(rounds: usize, without: Without) -> Crashes {
    let changes = json!({"reconnect_delays_ms": [1000]});
    let mut rig = ready(&changes, 4, without);
    let mut seen = Crashes::default();
    for n in 0..rounds {
        let id = format!("d{n}");
        rig.echo(&id);
        rig.answer(&id, "[1]").unwrap();
        let (consumed, forgetful) = (n % 2 == 0, n % 3 == 0);
        let of = |rig: &mut Rig| -> Vec<String> {
            let reply = format!(r#""in_reply_to":"{id}""#);
            std::mem::take(&mut rig.sent)
                .into_iter()
                .map(|(_, text)| text.to_string())
                .filter(|text| text.contains(&reply))
                .collect()
        };
        let written = of(&mut rig);
        let mut read = if consumed { written } else { Vec::new() };
        rig.pings.clear();
        rig.broken();
        redialed(&mut rig);
        if forgetful {
            rig.echo(&id);
        }
        read.extend(of(&mut rig));
        rig.pong();
        read.extend(of(&mut rig));
        seen.second_runs += rig.delivered.len() - 1;
        seen.lost += usize::from(read.is_empty());
        seen.extra_copies = seen.extra_copies.max(read.len().saturating_sub(1));
        seen.contradictions += read.iter().filter(|text| **text != read[0]).count();
        // Without its protection the handler runs again, and must not hold up the next round.
        let _ = rig.answer(&id, "[1]");
        rig.pong();
        // Its answer is not suspected of the next crash.
        rig.advance_alive(seconds(3));
        rig.delivered.clear();
        rig.forget();
    }
    seen
}

#[test]
fn r_04b_ten_thousand_crashes_between_the_answer_and_its_pong() {
    let seen = crashes(10_000, PROTECTED);
    println!("{seen:?}");
    assert!(seen.extra_copies <= 1, "{seen:?}");
    assert_eq!(
        (seen.second_runs, seen.lost, seen.contradictions),
        (0, 0, 0),
        "{seen:?}"
    );
}

#[test]
fn r_04b_fails_without_its_protections() {
    let without_dedupe = crashes(100, |p| p.dedupe = false);
    assert!(without_dedupe.second_runs > 0, "{without_dedupe:?}");
    let without_fences = crashes(100, |p| p.fences = false);
    assert!(without_fences.lost > 0, "{without_fences:?}");
    let without_outbox = crashes(100, |p| p.outbox = false);
    assert!(without_outbox.lost > 0, "{without_outbox:?}");
}
