//! `cargo xtask guard`: instructions and allocations per dispatch of the C echo agents, which the checked-in figures allow
//! to grow by a twentieth. Nothing is timed: valgrind counts, and the mesh sends the same in the same portions each time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value, json};

use crate::{
    bench::{processor, said_by},
    bench_clients,
    checkout::Checkout,
    failure::Failure,
    library,
    prerequisites::{self, C_COMPILER, VALGRIND},
    python::{cannot_write, run},
    terminal::{Colour, Column, Terminal, say},
};

const FIGURES: &str = "benches/guards.json";
/// Counted for so many dispatches and for twice as many: the difference has no start and no end in it.
const DISPATCHES: u32 = 3_200;
/// How far above its figure a count may be. Several times what the threads' order makes of it.
const TOLERANCE: f64 = 0.05;

/// A way to the handler: the "delivery" under which its figures stand, and the agent that takes it.
const WAYS: [(&str, &str); 3] = [
    ("callbacks", "echo_callbacks"),
    ("inline", "echo_callbacks"),
    ("pull", "echo_pull"),
];

/// What is counted, with the options of valgrind that count it, and what stands before the number in its log.
struct Count {
    name: &'static str,
    options: &'static [&'static str],
    label: &'static str,
}

const COUNTS: [Count; 2] = [
    Count {
        name: "instructions",
        options: &["--tool=callgrind", "--callgrind-out-file=/dev/null"],
        label: "Collected : ",
    },
    Count {
        name: "allocations",
        options: &[
            "--tool=memcheck",
            "--leak-check=no",
            "--undef-value-errors=no",
        ],
        label: "total heap usage: ",
    },
];

/// What was asked for.
#[derive(Default, Debug, PartialEq)]
struct Wishes {
    update: bool,
    library: Option<PathBuf>,
}

impl Wishes {
    fn read(arguments: &[String]) -> Result<Self, Failure> {
        let mut wishes = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--update" => wishes.update = true,
                "--library" => {
                    let path = words
                        .next()
                        .ok_or_else(|| Failure::new("`--library` needs a path behind it"))?;
                    wishes.library = Some(PathBuf::from(path));
                }
                other => {
                    let text = format!("`cargo xtask guard` does not know `{other}`");
                    let hint = "--update writes the figures, --library PATH counts with that one";
                    return Err(Failure::new(text).hint(hint));
                }
            }
        }
        Ok(wishes)
    }
}

pub(crate) fn run_all(here: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let wishes = Wishes::read(arguments)?;
    prerequisites::check(&[C_COMPILER, VALGRIND])?;
    let screen = Terminal::for_stdout();
    screen.step(1, 2, "Building what is counted, and what counts");
    let library = if let Some(library) = wishes.library {
        library
    } else {
        library::build_to_ship(here)?;
        here.target.join("release").join(library::file_name())
    };
    here.cargo(&["build", "-p", "svantic-bench", "--bin", "svantic-paced"])?;

    screen.step(2, 2, "Counting, under valgrind");
    let known = match read(here) {
        Err(failure) if !wishes.update => return Err(failure),
        known => known.unwrap_or_default(),
    };
    let table = screen.table([
        column("delivery", 12),
        column("per dispatch", 14),
        column("figure", 10),
        column("counted", 10),
        column("", 10),
    ]);
    let mut counted = Map::new();
    let mut above = Vec::new();
    for (way, source) in WAYS {
        let program = bench_clients::compile(here, source, &library)?;
        let mut of_this = Map::new();
        for count in &COUNTS {
            let figure = match figure_of(&known, way, count.name) {
                Err(failure) if !wishes.update => return Err(failure),
                figure => figure.ok(),
            };
            let seen = count.per_dispatch(here, &program, way)?;
            let (change, colour) = judged(figure, seen);
            table.row([
                (way.to_owned(), Colour::Plain),
                (count.name.to_owned(), Colour::Plain),
                (figure.map(shown).unwrap_or_default(), Colour::Plain),
                (shown(seen), Colour::Plain),
                (change, colour),
            ]);
            if figure.is_some_and(|figure| is_above(figure, seen)) {
                above.push(format!("{} of {way}", count.name));
            }
            of_this.insert(count.name.to_owned(), json!(rounded(seen)));
        }
        counted.insert(way.to_owned(), of_this.into());
    }
    if wishes.update {
        return write(here, &counted);
    }
    if above.is_empty() {
        return Ok(());
    }
    let text = format!("more than 5 % above {FIGURES}: {}", above.join(", "));
    Err(Failure::new(text).hint(format!(
        "A dispatch costs more than it did. Where that is worth it, `cargo xtask guard --update` writes the new figures.\n\
         Theirs are of {}; here it is {}. Another compiler or processor can count differently.",
        known["counted_with"].as_str().unwrap_or_default(),
        counted_with()
    )))
}

impl Count {
    fn per_dispatch(&self, here: &Checkout, program: &Path, way: &str) -> Result<f64, Failure> {
        let once = self.total(here, program, way, DISPATCHES)?;
        let twice = self.total(here, program, way, 2 * DISPATCHES)?;
        let difference = twice.saturating_sub(once);
        // Exact below 2^32, which is a million for each dispatch.
        let difference = u32::try_from(difference).unwrap_or(u32::MAX);
        Ok(f64::from(difference) / f64::from(DISPATCHES))
    }

    fn total(
        &self,
        here: &Checkout,
        program: &Path,
        way: &str,
        dispatches: u32,
    ) -> Result<u64, Failure> {
        let log = bench_clients::folder(here)?.join(format!("{way}-{}.txt", self.name));
        let mut paced = Command::new(here.target.join("debug/svantic-paced"));
        paced
            .arg(dispatches.to_string())
            .arg("valgrind")
            .args(self.options)
            .arg(format!("--log-file={}", log.display()))
            .arg(program)
            .arg("{port}")
            .env("BENCH_DELIVERY", way);
        run(paced, &format!("svantic-paced {dispatches} valgrind {way}"))?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        number_behind(self.label, &said).ok_or_else(|| {
            let log = here.shown(&log);
            Failure::new(format!("valgrind did not say in {log} what it counted"))
        })
    }
}

/// "==7== total heap usage: 1,234 allocs" has 1,234 behind "total heap usage: ".
fn number_behind(label: &str, text: &str) -> Option<u64> {
    let rest = &text[text.rfind(label)? + label.len()..];
    let number = rest.split_whitespace().next()?;
    number.replace(',', "").parse().ok()
}

fn is_above(figure: f64, seen: f64) -> bool {
    seen > figure * (1.0 + TOLERANCE)
}

/// What it is beside the figure.
fn judged(figure: Option<f64>, seen: f64) -> (String, Colour) {
    let Some(figure) = figure else {
        return ("new".to_owned(), Colour::Quiet);
    };
    let change = format!("{:+.2} %", (seen / figure - 1.0) * 100.0);
    if is_above(figure, seen) {
        (change, Colour::Refused)
    } else {
        (change, Colour::Good)
    }
}

fn shown(value: f64) -> String {
    format!("{value:.2}")
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn column(title: &'static str, width: usize) -> Column {
    Column { title, width }
}

fn counted_with() -> String {
    let rust = said_by("rustc", &["--version"]).unwrap_or_default();
    format!("{rust}, {}", processor())
}

fn read(here: &Checkout) -> Result<Value, Failure> {
    let wrong = |error: String| Failure::new(format!("{FIGURES}: {error}"));
    let text =
        fs::read_to_string(here.root.join(FIGURES)).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

/// What a count is compared with. Without it nothing would be guarded.
fn figure_of(known: &Value, way: &str, count: &str) -> Result<f64, Failure> {
    known["per_dispatch"][way][count].as_f64().ok_or_else(|| {
        let text = format!("{FIGURES} has no {count} for {way:?}");
        Failure::new(text).hint("`cargo xtask guard --update` writes the figures")
    })
}

fn write(here: &Checkout, counted: &Map<String, Value>) -> Result<(), Failure> {
    let figures = json!({"counted_with": counted_with(), "per_dispatch": counted});
    let file = here.root.join(FIGURES);
    fs::write(&file, format!("{figures:#}\n"))
        .map_err(|error| cannot_write(here, &file, &error))?;
    say(&format!("{FIGURES} is written anew"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_logs_of_valgrind() {
        let log =
            "==7== Collected : 1572\n==7== \n==7==   total heap usage: 1,234 allocs, 12 frees\n";
        assert_eq!(number_behind(COUNTS[0].label, log), Some(1572));
        assert_eq!(number_behind(COUNTS[1].label, log), Some(1234));
        assert_eq!(number_behind("nothing: ", log), None);
    }

    #[test]
    fn a_twentieth_more_is_the_most_that_passes() {
        assert!(!is_above(100.0, 90.0) && !is_above(100.0, 105.0) && is_above(100.0, 105.1));
    }

    #[test]
    fn only_known_words_are_taken() {
        let words = |words: &[&str]| -> Vec<String> {
            words.iter().map(|word| (*word).to_owned()).collect()
        };
        let wishes = Wishes::read(&words(&["--update", "--library", "x.so"])).unwrap();
        assert_eq!(wishes.library, Some(PathBuf::from("x.so")));
        assert!(wishes.update);
        assert!(Wishes::read(&words(&["--updat"])).is_err());
        assert!(Wishes::read(&words(&["--library"])).is_err());
    }

    #[test]
    fn a_figure_that_is_missing_lets_nothing_pass() {
        let known = json!({"per_dispatch": {"pull": {"allocations": 2.0}}});
        assert!(figure_of(&known, "pull", "allocations").is_ok());
        assert!(figure_of(&known, "pull", "instructions").is_err());
        assert!(figure_of(&known, "inline", "allocations").is_err());
        assert!(figure_of(&json!({}), "pull", "allocations").is_err());
    }

    #[test]
    fn every_way_has_its_figures() {
        let known = serde_json::from_str(include_str!("../../benches/guards.json")).unwrap();
        for (way, _) in WAYS {
            for count in &COUNTS {
                assert!(figure_of(&known, way, count.name).is_ok(), "{way}");
            }
        }
    }
}
