//! Compares the gateway's ledger and the application's after a run (`reliability.md` 3.0).

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use svantic_gateway::{Authorization, Gateway};

use crate::agent::Agent;
use crate::chaos_proxy::ChaosProxy;

/// The invariants, and what a run is judged by besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// A handler starts at most once per dispatch id.
    I1,
    /// One answer value per dispatch, any number of identical copies.
    I2,
    /// What was answered is with the mesh.
    I3,
    /// Nothing before the hello, and nothing but it before the welcome.
    I4,
    /// One socket at a time.
    I5,
    /// Credentials go only where they may.
    I6,
    /// Nothing is left after the end.
    I7,
    /// Only transitions of the table.
    I8,
    /// Anything else that the gateway found wrong on the wire.
    Wire,
}

/// All of them, for tables.
pub const INVARIANTS: [Invariant; 9] = [
    Invariant::I1,
    Invariant::I2,
    Invariant::I3,
    Invariant::I4,
    Invariant::I5,
    Invariant::I6,
    Invariant::I7,
    Invariant::I8,
    Invariant::Wire,
];

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Dispatches that the gateway was asked for.
    pub dispatches: usize,
    /// Dispatches that reached the application.
    pub received: usize,
    /// Dispatches with at least one answer.
    pub answered: usize,
    /// Answers that came more than once.
    pub copies: usize,
    /// Dispatches that the gateway sent again.
    pub redelivered: usize,
    /// Links after the first.
    pub reconnects: usize,
    /// The most handlers that ran at once.
    pub peak: usize,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What was found, with its invariant.
    pub violations: Vec<(Invariant, String)>,
    /// How much happened.
    pub figures: Figures,
}

impl Verdict {
    /// How many violations of one invariant there are.
    pub fn count(&self, invariant: Invariant) -> usize {
        let of_it = self.violations.iter().filter(|(of, _)| *of == invariant);
        of_it.count()
    }

    /// Notes a violation.
    pub fn add(&mut self, invariant: Invariant, what: impl Into<String>) {
        self.violations.push((invariant, what.into()));
    }

    /// Takes in the outcome of another run.
    pub fn merge(&mut self, other: Self) {
        self.violations.extend(other.violations);
        let (sum, figures) = (&mut self.figures, other.figures);
        sum.dispatches += figures.dispatches;
        sum.received += figures.received;
        sum.answered += figures.answered;
        sum.copies += figures.copies;
        sum.redelivered += figures.redelivered;
        sum.reconnects += figures.reconnects;
        sum.peak = sum.peak.max(figures.peak);
    }

    /// Prints the figures and demands that nothing is wrong.
    ///
    /// # Panics
    ///
    /// When there are violations; the text holds the first of them.
    #[track_caller]
    pub fn assert_clean(&self, what: &str) {
        println!("{what}: {self}");
        assert!(
            self.violations.is_empty(),
            "{what}: {} violations, such as {:#?}",
            self.violations.len(),
            self.violations.iter().take(10).collect::<Vec<_>>()
        );
    }

    /// Prints the figures and demands violations of one invariant: with the protection off the test must see it.
    ///
    /// # Panics
    ///
    /// When there are none.
    #[track_caller]
    pub fn assert_broken(&self, what: &str, invariant: Invariant) {
        println!("{what}: {self}");
        assert!(
            self.count(invariant) > 0,
            "{what}: without the protection {invariant:?} still holds, so the test proves nothing"
        );
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        write!(
            f,
            "{} dispatches, {} received, {} answered, {} copies, {} redelivered, {} reconnects, peak {}; violations:",
            figures.dispatches,
            figures.received,
            figures.answered,
            figures.copies,
            figures.redelivered,
            figures.reconnects,
            figures.peak,
        )?;
        let mut counts = BTreeMap::new();
        for (invariant, _) in &self.violations {
            *counts.entry(*invariant).or_insert(0) += 1;
        }
        if counts.is_empty() {
            return f.write_str(" none");
        }
        for (invariant, count) in counts {
            write!(f, " {invariant:?}={count}")?;
        }
        Ok(())
    }
}

/// Judges a run that has come to rest: every dispatch that will be answered has been.
pub fn judge(gateway: &Gateway, agent: &Agent, proxy: Option<&ChaosProxy>) -> Verdict {
    let mut verdict = Verdict::default();
    let ours = agent.ledger();
    let theirs = gateway.ledger();
    for (id, run) in &ours.runs {
        if run.starts > 1 {
            let text = format!("{id}: its handler was started {} times", run.starts);
            verdict.add(Invariant::I1, text);
        }
        let arrived = theirs.get(id).is_some_and(|e| !e.answers.is_empty());
        if run.answered && !arrived {
            verdict.add(Invariant::I3, format!("{id}: its answer was lost"));
        }
    }
    for entry in theirs.entries() {
        let values: HashSet<&str> = entry.answers.iter().map(|a| a.text.as_str()).collect();
        if values.len() > 1 {
            let text = format!("{}: {} different answers", entry.id, values.len());
            verdict.add(Invariant::I2, text);
        }
        let figures = &mut verdict.figures;
        figures.dispatches += 1;
        figures.answered += usize::from(!entry.answers.is_empty());
        figures.copies += entry.answers.len().saturating_sub(1);
        figures.redelivered += entry.sent.len().saturating_sub(1);
    }
    verdict.figures.received = ours.runs.len();
    verdict.figures.reconnects = ours.reconnects();
    verdict.figures.peak = ours.peak;
    for text in gateway.violations() {
        let early = text.contains("before hello") || text.contains("between hello and welcome");
        let invariant = if early {
            Invariant::I4
        } else {
            Invariant::Wire
        };
        verdict.add(invariant, text);
    }
    let overlaps = proxy.map_or(0, |proxy| proxy.counts().overlaps);
    if overlaps > 0 {
        let text = format!("{overlaps} times a second socket was used while an older one was held");
        verdict.add(Invariant::I5, text);
    }
    for request in gateway.requests() {
        let wants_none = request.path == "/auth/get_token";
        if wants_none && request.authorization != Authorization::Absent {
            let text = "a token was shown to the token endpoint";
            verdict.add(Invariant::I6, text);
        }
    }
    let unknown = &agent.snapshot()["counters"]["unknown_transitions"];
    if *unknown != 0 {
        verdict.add(Invariant::I8, format!("{unknown} unknown transitions"));
    }
    verdict
}
