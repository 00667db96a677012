//! What was measured: the medians of several rounds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::plan::{Entry, Kind};

/// One client at one kind of work, in one round or as the median of several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Microseconds on a processor per dispatch, of all threads of the client.
    pub processor_us: f64,
    /// The median of the round trips in microseconds.
    pub round_trip_us: f64,
    /// Dispatches in a second.
    pub per_second: f64,
}

/// A client and all that was seen of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// As the tables have it.
    pub name: String,
    /// What it stands for.
    pub kind: Kind,
    rounds: BTreeMap<&'static str, Vec<Cell>>,
    /// System calls per dispatch, at the first kind of work; unknown without strace.
    pub system_calls: Option<f64>,
}

impl Row {
    /// Of a client that was not measured yet.
    pub fn new(of: &Entry) -> Self {
        Self {
            name: of.name.clone(),
            kind: of.kind,
            rounds: BTreeMap::new(),
            system_calls: None,
        }
    }

    /// Whether it was never measured.
    pub fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    /// One more round of this kind of work.
    pub fn add(&mut self, work: &'static str, cell: Cell) {
        self.rounds.entry(work).or_default().push(cell);
    }

    /// The medians at this kind of work.
    pub fn at(&self, work: &str) -> Option<Cell> {
        let rounds = self.rounds.get(work).filter(|rounds| !rounds.is_empty())?;
        let of = |part: fn(&Cell) -> f64| median(rounds.iter().map(part).collect());
        Some(Cell {
            processor_us: of(|cell| cell.processor_us),
            round_trip_us: of(|cell| cell.round_trip_us),
            per_second: of(|cell| cell.per_second),
        })
    }

    /// For programs that want to do something with it.
    pub fn json(&self) -> Value {
        let round = |cell: &Cell| json!([cell.processor_us, cell.round_trip_us, cell.per_second]);
        let work = |(name, rounds): (&&str, &Vec<Cell>)| {
            let rounds: Vec<_> = rounds.iter().map(round).collect();
            ((*name).to_owned(), Value::from(rounds))
        };
        let works: serde_json::Map<_, _> = self.rounds.iter().map(work).collect();
        json!({
            "client": self.name,
            "kind": self.kind.name(),
            "rounds of [processor_us, round_trip_us, per_second]": works,
            "system_calls": self.system_calls,
        })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// A number as a float; none of those here comes near the end of what it holds.
pub fn float(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A client whose every dispatch has cost so much, at this kind of work.
    pub(crate) fn row(name: &str, kind: Kind, work: &'static str, processor_us: &[f64]) -> Row {
        let mut row = Row::new(&Entry {
            name: name.to_owned(),
            kind,
            command: Vec::new(),
            environment: Vec::new(),
        });
        for processor_us in processor_us {
            row.add(
                work,
                Cell {
                    processor_us: *processor_us,
                    round_trip_us: 2.0 * processor_us,
                    per_second: 1e6 / processor_us,
                },
            );
        }
        row
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
