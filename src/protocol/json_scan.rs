//! One pass over a JSON text that finds out everything a dispatch needs to know of it: whether it is JSON, within the
//! limits of depth and number, and where the values lie that are asked for. Nothing is built and nothing allocated.
//!
//! `serde_json` stays the judge. This recognises what frames look like in practice; whatever it does not recognise, or
//! finds fault with, is [`Unsure`] and read again by the code that can say what is wrong with it. So it may be strict
//! where it likes, and must never accept what `serde_json` refuses.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::json_string::{end_of_plain, is_plain};
use super::limits::{MAX_JSON_DEPTH, MAX_JSON_VALUES};

/// The text of one value, known to be JSON.
#[derive(Clone, Copy)]
pub struct Raw<'a> {
    text: &'a str,
    /// Whether it is known to be a string without escapes.
    plain: bool,
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Raw").field(&self.text).finish()
    }
}

impl PartialEq for Raw<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Raw<'_> {}

impl<'a> Raw<'a> {
    /// As it was written, without blanks around it.
    pub fn get(self) -> &'a str {
        self.text
    }

    /// What a string without escapes says; `None` for any other value.
    pub fn plain_text(self) -> Option<&'a str> {
        let inner = self.text.strip_prefix('"')?.strip_suffix('"')?;
        (self.plain || is_plain(inner)).then_some(inner)
    }
}

impl<'a> From<&'a RawValue> for Raw<'a> {
    fn from(raw: &'a RawValue) -> Self {
        Self {
            text: raw.get(),
            plain: false,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Self::from)
    }
}

/// Nothing is said about the text: it is to be read by other means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsure;

/// Whether a text is JSON that every parser on the way can take. If not, or if it needs a closer look, `false`.
pub fn is_carried_by_all(text: &str) -> bool {
    let mut scan = Scanner::new(text);
    scan.value().is_ok() && scan.finish().is_ok() && scan.is_carried_by_all()
}

/// A text and how far it has been read.
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    values: usize,
    /// Whether a string escaped a UTF-16 unit that may be half of a pair, see `json_shape::has_lone_surrogate`.
    surrogates: bool,
    /// Whether there was a number that may be more than a double holds, see `json_shape::has_vast_number`.
    vast_numbers: bool,
}

/// A number of more digits, or with an exponent, is looked at more closely.
const CERTAINLY_FINITE: usize = 300;

impl<'a> Scanner<'a> {
    /// At the beginning of a text.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            values: 1,
            surrogates: false,
            vast_numbers: false,
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while self.byte().is_some_and(|b| b <= b' ')
            && matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r'))
        {
            self.at += 1;
        }
    }

    /// Goes past this byte, which must be next.
    fn expect(&mut self, byte: u8) -> Result<(), Unsure> {
        if self.byte() != Some(byte) {
            return Err(Unsure);
        }
        self.at += 1;
        Ok(())
    }

    /// Whether the next value is an object.
    pub fn is_at_object(&mut self) -> bool {
        self.skip_blanks();
        self.byte() == Some(b'{')
    }

    /// Where the next value begins, for [`Scanner::since`].
    pub fn position(&mut self) -> usize {
        self.skip_blanks();
        self.at
    }

    /// What was read since a position at which a value began: that value.
    pub fn since(&self, position: usize) -> Raw<'a> {
        Raw {
            text: &self.text[position..self.at],
            plain: false,
        }
    }

    /// Nothing but blanks may be left, and the limit of values must not have been exceeded.
    pub fn finish(&mut self) -> Result<(), Unsure> {
        self.skip_blanks();
        if self.at < self.text.len() || self.values > MAX_JSON_VALUES {
            return Err(Unsure);
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), Unsure> {
        self.at += 1;
        self.depth += 1;
        self.values += 1;
        if self.depth > MAX_JSON_DEPTH {
            return Err(Unsure);
        }
        Ok(())
    }

    fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// Reads an object. For each member `read` is called with its key, and must read its value.
    pub fn object(
        &mut self,
        mut read: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Unsure>,
    ) -> Result<(), Unsure> {
        if !self.is_at_object() {
            return Err(Unsure);
        }
        self.open()?;
        self.skip_blanks();
        if self.byte() == Some(b'}') {
            self.close();
            return Ok(());
        }
        loop {
            let start = self.at + 1;
            let plain = self.string()?;
            if !plain {
                return Err(Unsure);
            }
            let key = &self.text.as_bytes()[start..self.at - 1];
            self.colon()?;
            read(self, key)?;
            self.skip_blanks();
            match self.byte() {
                Some(b',') => {
                    self.at += 1;
                    self.values += 1;
                    self.skip_blanks();
                }
                Some(b'}') => {
                    self.close();
                    return Ok(());
                }
                _ => return Err(Unsure),
            }
        }
    }

    /// Reads an array. For each element `read` is called, and must read it.
    pub fn array(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<(), Unsure>,
    ) -> Result<(), Unsure> {
        self.skip_blanks();
        if self.byte() != Some(b'[') {
            return Err(Unsure);
        }
        self.open()?;
        self.skip_blanks();
        if self.byte() == Some(b']') {
            self.close();
            return Ok(());
        }
        loop {
            read(self)?;
            self.skip_blanks();
            match self.byte() {
                Some(b',') => {
                    self.at += 1;
                    self.values += 1;
                }
                Some(b']') => {
                    self.close();
                    return Ok(());
                }
                _ => return Err(Unsure),
            }
        }
    }

    /// Whether what was read so far holds nothing that a parser on the way may not take.
    pub fn is_carried_by_all(&self) -> bool {
        !self.surrogates && !self.vast_numbers
    }

    fn colon(&mut self) -> Result<(), Unsure> {
        self.skip_blanks();
        self.expect(b':')
    }

    /// Goes past any value.
    pub fn skip(&mut self) -> Result<(), Unsure> {
        self.skip_blanks();
        self.skip_value()
    }

    /// Reads any value.
    pub fn value(&mut self) -> Result<Raw<'a>, Unsure> {
        let start = self.position();
        let plain = if self.byte() == Some(b'"') {
            self.string()?
        } else {
            self.skip_value()?;
            false
        };
        Ok(Raw {
            plain,
            ..self.since(start)
        })
    }

    /// Goes past a value of any depth without recursion: one bit a level tells objects from arrays.
    fn skip_value(&mut self) -> Result<(), Unsure> {
        let mut kinds: u64 = 0;
        let floor = self.depth;
        loop {
            self.skip_blanks();
            match self.byte().ok_or(Unsure)? {
                b'"' => {
                    self.string()?;
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                b'{' => {
                    self.open()?;
                    self.skip_blanks();
                    if self.byte() != Some(b'}') {
                        kinds = kinds << 1 | 1;
                        self.string()?;
                        self.colon()?;
                        continue;
                    }
                    self.close();
                }
                b'[' => {
                    self.open()?;
                    self.skip_blanks();
                    if self.byte() != Some(b']') {
                        kinds <<= 1;
                        continue;
                    }
                    self.close();
                }
                _ => return Err(Unsure),
            }
            // Behind a value: on to the next one, or out of as many levels as end here.
            loop {
                if self.depth == floor {
                    return Ok(());
                }
                self.skip_blanks();
                let in_object = kinds & 1 == 1;
                match self.byte() {
                    Some(b',') => {
                        self.at += 1;
                        self.values += 1;
                        if in_object {
                            self.skip_blanks();
                            self.string()?;
                            self.colon()?;
                        }
                        break;
                    }
                    Some(b'}') if in_object => {}
                    Some(b']') if !in_object => {}
                    _ => return Err(Unsure),
                }
                self.close();
                kinds >>= 1;
            }
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), Unsure> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(Unsure);
        }
        self.at += word.len();
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Unsure> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(Unsure);
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Unsure> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.vast_numbers = true;
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.vast_numbers |= self.at - start > CERTAINLY_FINITE;
        Ok(())
    }

    /// Goes past a string, opening quote included. Whether it has no escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, Unsure> {
        self.expect(b'"')?;
        let mut plain = true;
        loop {
            self.at = end_of_plain(self.text.as_bytes(), self.at);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(plain);
                }
                Some(b'\\') => {
                    plain = false;
                    self.escape()?;
                }
                _ => return Err(Unsure),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Unsure> {
        let rest = &self.text.as_bytes()[self.at + 1..];
        match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
            [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|b| b.is_ascii_hexdigit()) => {
                self.surrogates |= matches!(a, b'd' | b'D') && !matches!(b, b'0'..=b'7');
                self.at += 6;
            }
            _ => return Err(Unsure),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
