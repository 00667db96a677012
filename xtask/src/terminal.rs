//! How steps, facts and tables look on a terminal.

use std::io::{IsTerminal, Write, stdout};

/// The colours that carry a meaning here.
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Plain = 0,
    Good = 32,
    Refused = 33,
    Agent = 36,
    Heading = 1,
    Quiet = 2,
}

/// Prints a line; those of several threads do not mix. A reader that has gone away is no reason to stop half-way.
pub(crate) fn say(text: &str) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Standard output, with colours or without.
#[derive(Clone, Copy)]
pub(crate) struct Terminal {
    coloured: bool,
}

impl Terminal {
    /// Colours for a terminal, unless `NO_COLOR` is set.
    pub(crate) fn for_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            coloured: !unwanted && stdout().is_terminal(),
        }
    }

    /// Prints the heading of a step.
    pub(crate) fn step(self, number: usize, of: usize, what: &str) {
        let heading = format!("[{number}/{of}] {what}");
        say(&format!("\n{}", self.paint(Colour::Heading, &heading)));
    }

    /// The text in a colour.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        if self.coloured && colour as u8 != 0 {
            format!("\x1b[{}m{text}\x1b[0m", colour as u8)
        } else {
            text.to_owned()
        }
    }

    /// A table whose rows are printed as they come to be known.
    pub(crate) fn table<const COLUMNS: usize>(self, columns: [Column; COLUMNS]) -> Table<COLUMNS> {
        let table = Table {
            terminal: self,
            columns,
        };
        table.row(columns.map(|column| (column.title.to_owned(), Colour::Quiet)));
        table
    }
}

/// A column of a table.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Longer texts go on in the next line of the same column.
    pub(crate) width: usize,
}

/// See [`Terminal::table`].
pub(crate) struct Table<const COLUMNS: usize> {
    terminal: Terminal,
    columns: [Column; COLUMNS],
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// Prints a row.
    pub(crate) fn row(&self, cells: [(String, Colour); COLUMNS]) {
        let mut wrapped = Vec::new();
        for ((text, colour), column) in cells.into_iter().zip(self.columns) {
            wrapped.push((wrap(&printable(&text), column.width), colour, column.width));
        }
        let height = wrapped.iter().map(|(lines, ..)| lines.len()).max();
        for at in 0..height.unwrap_or_default() {
            let mut line = String::new();
            for (lines, colour, width) in &wrapped {
                let text = lines.get(at).map_or("", String::as_str);
                let padding = " ".repeat(width.saturating_sub(text.chars().count()) + 2);
                if !text.is_empty() {
                    line.push_str(&self.terminal.paint(*colour, text));
                }
                line.push_str(&padding);
            }
            say(&format!("  {}", line.trim_end()));
        }
    }
}

/// What another process says may hold terminal escapes.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Breaks at spaces, and within a word only where it alone is too long.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length <= width {
            used += 1 + length;
            let line = lines.last_mut().expect("there is always a line");
            line.push(' ');
            line.push_str(word);
            continue;
        }
        if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for letter in word.chars() {
            if used == width {
                lines.push(String::new());
                used = 0;
            }
            lines
                .last_mut()
                .expect("there is always a line")
                .push(letter);
            used += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_cells_are_broken_at_spaces_or_where_they_must() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn escapes_of_another_process_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb"), "a\u{fffd}[2Jb");
    }

    #[test]
    fn without_colours_a_text_stays_as_it_is() {
        let plain = Terminal { coloured: false };
        assert_eq!(plain.paint(Colour::Good, "x"), "x");
        let coloured = Terminal { coloured: true };
        assert_eq!(coloured.paint(Colour::Good, "x"), "\x1b[32mx\x1b[0m");
    }
}
