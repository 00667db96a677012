//! Typed reading of one JSON object: unknown keys are refused by name, values are never quoted
//! (one of them may be a secret in the wrong place).

use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind};

/// The fields of a configuration object, taken out one by one.
pub(crate) struct Fields {
    what: &'static str,
    map: Map<String, Value>,
}

impl Fields {
    /// Parses `json`, which must be an object with no other keys than `known`.
    pub(crate) fn parse(json: &str, what: &'static str, known: &[&str]) -> Result<Self, Error> {
        let map = match serde_json::from_str::<Value>(json) {
            Ok(Value::Object(map)) => map,
            Ok(_) => {
                return Err(Error::new(
                    ErrorKind::InvalidJson,
                    "NOT_AN_OBJECT",
                    format!("the {what} is JSON, but not an object"),
                ));
            }
            Err(error) => {
                return Err(Error::new(
                    ErrorKind::InvalidJson,
                    "INVALID_JSON",
                    // serde_json's syntax errors name a position and never quote the text.
                    format!("the {what} is not JSON: {error}"),
                ));
            }
        };
        for key in map.keys() {
            if !known.contains(&key.as_str()) {
                return Err(unknown_key(what, key, known));
            }
        }
        Ok(Self { what, map })
    }

    /// Whatever it is.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// A value that is not what it has to be.
    pub(crate) fn wrong(&self, key: &str, expected: &str) -> Error {
        Error::new(
            ErrorKind::InvalidArgument,
            "INVALID_CONFIG",
            format!("`{key}` in the {} must be {expected}", self.what),
        )
    }

    /// A string without control characters.
    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.chars().any(char::is_control) => Ok(Some(text)),
            Some(Value::String(_)) => Err(self.wrong(key, "a string without control characters")),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    /// A string that goes into headers, URLs and ids: printable ASCII, not empty.
    pub(crate) fn identifier(&mut self, key: &str) -> Result<Option<String>, Error> {
        match self.text(key)? {
            Some(text) if !is_identifier(&text) => {
                Err(self.wrong(key, "printable ASCII, 1 to 256 characters"))
            }
            other => Ok(other),
        }
    }

    /// A secret: printable ASCII without spaces, since it travels in a header.
    pub(crate) fn secret(&mut self, key: &str) -> Result<Option<SecretString>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if is_secret(&text) => Ok(Some(text.into())),
            Some(_) => Err(self.wrong(key, "a string of printable ASCII without spaces")),
        }
    }

    /// A secret that goes into no header: its UTF-8 bytes are a key.
    pub(crate) fn key_text(&mut self, key: &str) -> Result<Option<SecretString>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.into())),
            Some(_) => Err(self.wrong(key, "a string that is not empty")),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, key: &str) -> Result<Option<bool>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// An integer in `range`.
    pub(crate) fn integer(
        &mut self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => {
                let expected = || format!("an integer from {} to {}", range.start(), range.end());
                let integer = value.as_u64().filter(|n| range.contains(n));
                integer
                    .map(Some)
                    .ok_or_else(|| self.wrong(key, &expected()))
            }
        }
    }

    /// A duration in milliseconds in `range`.
    pub(crate) fn millis(
        &mut self,
        key: &str,
        range: RangeInclusive<u64>,
        default: Duration,
    ) -> Result<Duration, Error> {
        Ok(self
            .integer(key, range)?
            .map_or(default, Duration::from_millis))
    }

    /// An object.
    pub(crate) fn object(&mut self, key: &str) -> Result<Option<Value>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(value @ Value::Object(_)) => Ok(Some(value)),
            Some(_) => Err(self.wrong(key, "an object")),
        }
    }

    /// An array of strings.
    pub(crate) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, Error> {
        let expected = "an array of strings";
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) if !text.chars().any(char::is_control) => Ok(text),
                    _ => Err(self.wrong(key, expected)),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(self.wrong(key, expected)),
        }
    }

    /// An array of milliseconds, each at most `max`.
    pub(crate) fn delays(&mut self, key: &str, max: u64) -> Result<Option<Vec<Duration>>, Error> {
        let expected = format!("an array of 1 to 64 integers from 0 to {max}");
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(items)) if (1..=64).contains(&items.len()) => items
                .iter()
                .map(|item| match item.as_u64().filter(|ms| *ms <= max) {
                    Some(ms) => Ok(Duration::from_millis(ms)),
                    None => Err(self.wrong(key, &expected)),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(self.wrong(key, &expected)),
        }
    }

    /// One of `choices`.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Error> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Ok(Some(*choice));
        }
        let names: Vec<_> = choices
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let names = match names.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("{} or {last}", others.join(", "))
            }
            _ => names.concat(),
        };
        Err(self.wrong(key, &names))
    }

    /// What is missing, as an error.
    pub(crate) fn missing(&self, key: &str, meaning: &str) -> Error {
        Error::new(
            ErrorKind::InvalidArgument,
            "INVALID_CONFIG",
            format!("`{key}` is missing in the {}: {meaning}", self.what),
        )
    }
}

pub(crate) fn is_identifier(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

pub(crate) fn is_secret(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| (0x21..0x7f).contains(&b))
}

fn unknown_key(what: &str, key: &str, known: &[&str]) -> Error {
    let shown: String = key.chars().filter(|c| !c.is_control()).take(64).collect();
    let error = Error::new(
        ErrorKind::InvalidArgument,
        "UNKNOWN_KEY",
        format!("the {what} has an unknown key `{shown}`"),
    );
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&shown, name), name))
        .filter(|(distance, name)| *distance <= 3.min(name.len() / 2))
        .min();
    match nearest {
        Some((_, name)) => error.hint(format!("did you mean `{name}`?")),
        None => error.hint(format!("known keys: {}", known.join(", "))),
    }
}
