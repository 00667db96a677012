//! The figures as a plot: processor time per dispatch, a bar a client, on a logarithmic axis.

use std::fmt::Write as _;

use crate::{
    figures::{Row, float},
    plan::{Kind, Plan},
    table::significant,
    traffic::{WORKS, Work},
};

const WIDTH: f64 = 820.0;
const LABELS: f64 = 230.0;
const MARGIN: f64 = 70.0;
const TOP: f64 = 62.0;
const BAR: f64 = 15.0;
const STEP: f64 = 21.0;
const PANEL_HEAD: f64 = 30.0;
const AXIS: f64 = 30.0;
const FOOT: f64 = 22.0;

/// Colours for a light and a dark page.
const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:12px;fill:#1f2328}
.head{font-size:15px;font-weight:600}.panel{font-weight:600}.quiet{fill:#59636e;font-size:11px}
.grid{stroke:#d1d9e0;stroke-width:1}.ours{fill:#0969da}.peer{fill:#8c959f}.floor{fill:#1a7f37}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}.grid{stroke:#3d444d}.ours{fill:#4493f8}.peer{fill:#7d8590}.floor{fill:#3fb950}}
";

/// The plot as SVG. Its background is the page's.
pub fn write(plan: &Plan, rows: &[Row]) -> String {
    let works: Vec<&Work> = WORKS
        .iter()
        .filter(|work| rows.iter().any(|row| row.at(work.name).is_some()))
        .collect();
    let panel = PANEL_HEAD + STEP * float(rows.len()) + AXIS;
    let height = TOP + panel * float(works.len()) + FOOT;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Processor time per dispatch\">\n<style>{STYLE}</style>\n"
    );
    text(
        &mut out,
        (0.0, 18.0),
        "head",
        "start",
        "Processor time per dispatch in µs, all threads of the client",
    );
    let legend = "Logarithmic: each line is ten times the one before. Shorter is better.";
    text(&mut out, (0.0, 38.0), "quiet", "start", legend);
    let mut x = LABELS + 240.0;
    for kind in [Kind::Ours, Kind::Peer, Kind::Floor] {
        let shown = match kind {
            Kind::Ours => "libsvantic",
            Kind::Peer => "without it",
            Kind::Floor => "the least there could be",
        };
        let class = kind.name();
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"28\" width=\"11\" height=\"11\" rx=\"2\"/>"
        );
        text(&mut out, (x + 16.0, 38.0), "quiet", "start", shown);
        x += 95.0;
    }
    for (at, work) in works.iter().enumerate() {
        draw(&mut out, TOP + panel * float(at), work, rows);
    }
    let heading = plan.heading.lines().next().unwrap_or_default();
    text(&mut out, (0.0, height - 6.0), "quiet", "start", heading);
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, top: f64, work: &Work, rows: &[Row]) {
    let cells: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row, row.at(work.name)?.processor_us)))
        .collect();
    let decades = cells.iter().map(|(_, value)| value.max(0.001).log10());
    let (low, high) = decades.fold((f64::MAX, f64::MIN), |(low, high), decade| {
        (low.min(decade.floor()), high.max(decade.ceil()))
    });
    let high = high.max(low + 1.0);
    let x = |value: f64| {
        let part = (value.max(0.001).log10() - low) / (high - low);
        LABELS + part * (WIDTH - LABELS - MARGIN)
    };
    text(out, (0.0, top + 14.0), "panel", "start", work.name);
    let first = top + PANEL_HEAD;
    let bottom = first + STEP * float(cells.len());
    let mut decade = low;
    while decade <= high {
        let value = 10_f64.powf(decade);
        let at = x(value);
        let from = first - 4.0;
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{from:.1}\" x2=\"{at:.1}\" y2=\"{bottom:.1}\"/>"
        );
        let shown = if value < 1.0 {
            value.to_string()
        } else {
            format!("{value:.0}")
        };
        text(out, (at, bottom + 13.0), "quiet", "middle", &shown);
        decade += 1.0;
    }
    for (number, (row, value)) in cells.iter().enumerate() {
        let y = first + STEP * float(number);
        let length = (x(*value) - LABELS).max(1.0);
        let class = row.kind.name();
        let base = y + BAR - 3.0;
        text(out, (LABELS - 8.0, base), "label", "end", &row.name);
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>"
        );
        let shown = significant(*value);
        text(out, (LABELS + length + 6.0, base), "value", "start", &shown);
    }
}

fn text(out: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, what: &str) {
    let what = what
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{figures::tests::row, plan::tests::plan};

    #[test]
    fn every_client_has_a_bar_as_long_as_its_figure() {
        let rows = [
            row("a & b", Kind::Ours, WORKS[0].name, &[1.0]),
            row("c", Kind::Peer, WORKS[0].name, &[10.0]),
            row("d", Kind::Floor, WORKS[0].name, &[100.0]),
        ];
        let svg = write(&plan(), &rows);
        let lengths: Vec<f64> = svg
            .lines()
            .filter_map(|line| line.split_once("rx=\"2\"").map(|_| line))
            .filter_map(|line| {
                line.split("width=\"")
                    .nth(1)?
                    .split('"')
                    .next()?
                    .parse()
                    .ok()
            })
            .filter(|length| *length > 11.5 || *length < 10.5)
            .collect();
        assert_eq!(lengths, [1.0, 260.0, 520.0]);
        assert!(
            svg.contains("a &amp; b") && svg.contains("&lt;machine&gt;"),
            "{svg}"
        );
        let (opened, closed) = (svg.matches("<text").count(), svg.matches("</text>").count());
        assert_eq!((opened, svg.matches("</svg>").count()), (closed, 1));
    }
}
