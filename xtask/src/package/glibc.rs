//! Which glibc a shared object needs: the newest of the symbol versions that it asks for.

use std::{collections::BTreeSet, fmt};

/// A version of glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Glibc(pub(super) u32, pub(super) u32);

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The newest version in what `objdump -T` says, and the symbols that need it.
pub(super) fn newest(objdump: &str) -> Option<(Glibc, BTreeSet<String>)> {
    let mut newest: Option<(Glibc, BTreeSet<String>)> = None;
    for line in objdump.lines() {
        let mut words = line.split_whitespace().rev();
        let (Some(symbol), Some(version)) = (words.next(), words.next()) else {
            continue;
        };
        let Some(version) = version_in(version) else {
            continue;
        };
        match &mut newest {
            Some((known, _)) if *known > version => {}
            Some((known, symbols)) if *known == version => {
                symbols.insert(symbol.to_owned());
            }
            _ => newest = Some((version, BTreeSet::from([symbol.to_owned()]))),
        }
    }
    newest
}

/// "(`GLIBC_2.2.5`)" is 2.2: the third number has never stood for a platform.
fn version_in(word: &str) -> Option<Glibc> {
    let word = word.trim_matches(['(', ')']).strip_prefix("GLIBC_")?;
    let mut numbers = word.split('.').map(str::parse);
    Some(Glibc(numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJDUMP: &str = "
DYNAMIC SYMBOL TABLE:
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.2.5) pthread_join
0000000000000000      DF *UND*  0000000000000000  GLIBC_2.17 clock_gettime
0000000000000000  w   DF *UND*  0000000000000000  GLIBC_2.9 pipe2
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.17) secure_getenv
0000000000000000  w   D  *UND*  0000000000000000  Base        __gmon_start__
000000000023f8d0 g    DF .text  0000000000000051  Base        svantic_free
";

    #[test]
    fn versions_are_compared_by_number_and_every_symbol_of_the_newest_is_named() {
        let (version, symbols) = newest(OBJDUMP).unwrap();
        assert_eq!(version, Glibc(2, 17));
        let symbols: Vec<_> = symbols.iter().map(String::as_str).collect();
        assert_eq!(symbols, ["clock_gettime", "secure_getenv"]);
    }

    #[test]
    fn a_library_without_glibc_has_no_version() {
        assert_eq!(newest("DYNAMIC SYMBOL TABLE:\nno symbols\n"), None);
    }
}
