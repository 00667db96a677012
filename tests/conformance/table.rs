//! The table of results.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::SCENARIOS;
use crate::face::{FACES, Face};

type Cells = BTreeMap<(String, String), String>;

/// Enters a result. The one that completes the table prints it, past the capture of the test harness: that of a run
/// of only some scenarios would say too little.
pub(crate) fn enter(scenario: &str, face: &Face, delivery: &str, passed: bool, took: Duration) {
    static CELLS: Mutex<Cells> = Mutex::new(Cells::new());
    let mut cells = CELLS.lock().unwrap_or_else(PoisonError::into_inner);
    let result = if passed { "pass" } else { "FAIL" };
    let cell = format!("{result} {:>6.2} s", took.as_secs_f64());
    cells.insert((scenario.to_owned(), column(face, delivery)), cell);
    if cells.len() == SCENARIOS.len() * columns().len() {
        let _ = std::io::stdout().write_all(written(&cells).as_bytes());
    }
}

fn column(face: &Face, delivery: &str) -> String {
    format!("{}, {delivery}", face.name)
}

fn columns() -> Vec<String> {
    let of_face = |face: &'static Face| {
        face.deliveries
            .iter()
            .map(move |delivery| column(face, delivery))
    };
    FACES.iter().flat_map(of_face).collect()
}

fn written(cells: &Cells) -> String {
    let columns = columns();
    let mut text = format!("\n| {:<36} |", "scenario");
    for column in &columns {
        let _ = write!(text, " {column:<15} |");
    }
    let _ = write!(
        text,
        "\n|{:-<38}|{}\n",
        "",
        "-----------------|".repeat(columns.len())
    );
    for scenario in SCENARIOS {
        let _ = write!(text, "| {scenario:<36} |");
        for column in &columns {
            let cell = cells.get(&((*scenario).to_owned(), column.clone()));
            let _ = write!(text, " {:<15} |", cell.map_or("", String::as_str));
        }
        text.push('\n');
    }
    text
}
