//! The figures as tables in Markdown.

use std::fmt::Write as _;

use crate::{
    figures::{Cell, Row},
    plan::Plan,
    traffic::WORKS,
};

/// Everything, under its heading.
pub fn write(plan: &Plan, rows: &[Row]) -> String {
    let mut out = format!("{}\n", plan.heading);
    let rounds = plan.rounds;
    let _ = writeln!(
        out,
        "Medians of {rounds} rounds; every answer was checked by its id and its content.\n"
    );
    out.push_str("Microseconds of processor time per dispatch, all threads of the client:\n\n");
    works(&mut out, rows, |_, cell| significant(cell.processor_us));
    if let Some(baseline) = rows.iter().find(|row| row.name == plan.baseline) {
        let _ = writeln!(
            out,
            "\nHow many times cheaper than {} (below 1: dearer):\n",
            baseline.name
        );
        works(&mut out, rows, |work, cell| {
            let base = baseline.at(work);
            base.map_or_else(String::new, |base| {
                significant(base.processor_us / cell.processor_us)
            })
        });
    }
    out.push_str("\nWhat else was seen:\n\n");
    out.push_str("| client | dispatches a second, 32 B, 64 in flight | system calls per dispatch, the same | round trip p50, 32 B, one at a time, µs |\n|---|--:|--:|--:|\n");
    for row in rows {
        let busy = row.at(WORKS[0].name).map(|cell| thousands(cell.per_second));
        let alone = row.at(WORKS[WORKS.len() - 1].name);
        let alone = alone.map(|cell| significant(cell.round_trip_us));
        let calls = row.system_calls.map(|calls| format!("{calls:.3}"));
        let shown = [busy, calls, alone].map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
        let _ = writeln!(out, "| {} | {} |", row.name, shown.join(" | "));
    }
    for missing in &plan.left_out {
        let _ = writeln!(out, "\nLeft out: {missing}");
    }
    out
}

fn works(out: &mut String, rows: &[Row], shown: impl Fn(&str, Cell) -> String) {
    let names: Vec<_> = WORKS.iter().map(|work| work.name).collect();
    let line = "--:|".repeat(WORKS.len());
    let _ = writeln!(out, "| client | {} |\n|---|{line}", names.join(" | "));
    for row in rows {
        let cell = |name: &&str| {
            row.at(name)
                .map_or_else(|| "–".to_owned(), |cell| shown(name, cell))
        };
        let cells: Vec<_> = names.iter().map(cell).collect();
        let _ = writeln!(out, "| {} | {} |", row.name, cells.join(" | "));
    }
}

/// Three digits, or as many as an integer has.
pub(crate) fn significant(value: f64) -> String {
    match value {
        value if value >= 100.0 => thousands(value),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{figures::tests::row, plan::Kind, plan::tests::plan};

    #[test]
    fn the_median_and_its_ratio_stand_in_the_row_of_their_client() {
        let work = WORKS[0].name;
        let rows = [
            row("ours", Kind::Ours, work, &[1.0, 50.0, 2.0]),
            row("peer", Kind::Peer, work, &[9.0, 8.0, 7.0]),
        ];
        let text = write(&plan(), &rows);
        assert!(text.contains("| ours | 2.00 | – | – | – | – |"), "{text}");
        assert!(text.contains("| ours | 4.00 | – | – | – | – |"), "{text}");
        assert!(text.contains("| ours | 500,000 | – | – |"), "{text}");
        assert!(text.contains("Left out: Python: not there"), "{text}");
    }

    #[test]
    fn numbers_are_as_long_as_they_are_known() {
        assert_eq!(significant(0.4849), "0.48");
        assert_eq!(significant(12.34), "12.3");
        assert_eq!(significant(403.2), "403");
        assert_eq!(significant(1_234_567.8), "1,234,568");
    }
}
