//! JSON objects read without the leniency that forgeries live on: a name that stands twice is an error, and an
//! array is not an object (both of which `serde`'s derived readers may let pass).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of one object, their values unread.
pub(super) struct Members<'a>(BTreeMap<String, &'a RawValue>);

/// Something is there, but not the kind of value that it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrongType;

impl<'a> Members<'a> {
    /// `None` unless the text is one JSON object without duplicate names.
    pub(super) fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The value as it is written.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|raw| raw.get())
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, WrongType> {
        self.value(name)
    }

    /// Whole seconds since 1970, written without fraction or exponent.
    pub(super) fn seconds(&self, name: &str) -> Result<Option<u64>, WrongType> {
        self.value(name)
    }

    fn value<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, WrongType> {
        let value = self.raw(name).map(serde_json::from_str).transpose();
        value.map_err(|_| WrongType)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_whose_names_stand_once_is_read() {
        for json in [
            "",
            "null",
            "[]",
            r#"["a"]"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"a":1,}"#,
            r#"{"a":1} {}"#,
            r"{'a':1}",
        ] {
            assert!(Members::read(json).is_none(), "{json}");
        }
        let members = Members::read(r#" {"a":"x","b":[{"c":1,"c":2}]} "#).unwrap();
        assert_eq!(members.text("a"), Ok(Some("x".to_owned())));
        assert_eq!(members.raw("b"), Some(r#"[{"c":1,"c":2}]"#));
        assert_eq!(members.text("none"), Ok(None));
        assert_eq!(members.text("b"), Err(WrongType));
    }

    #[test]
    fn seconds_are_plain_integers() {
        let seconds = |value: &str| {
            let json = format!(r#"{{"exp":{value}}}"#);
            Members::read(&json).map(|members| members.seconds("exp"))
        };
        assert_eq!(seconds("1"), Some(Ok(Some(1))));
        for odd in [
            "-1",
            "1.0",
            "1e3",
            "-0",
            "\"1\"",
            "null",
            "true",
            "[1]",
            "18446744073709551616",
        ] {
            assert_eq!(seconds(odd), Some(Err(WrongType)), "{odd}");
        }
        for broken in ["01", "+1", "0x1", "NaN", ""] {
            assert!(seconds(broken).is_none_or(|read| read.is_err()), "{broken}");
        }
    }
}
