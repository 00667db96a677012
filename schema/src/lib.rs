//! JSON Schema: whether arguments are what a capability asks for.
//!
//! A crate of its own for the sake of the library's size. jsonschema is generic, so whoever names its types compiles
//! it once more, and at the optimisation of its own crate. Nothing generic of it leaves this one: not even the code
//! that drops a validator, which stands behind a `dyn`.

use serde_json::Value;

/// A schema, compiled.
pub struct Schema(Box<dyn Check>);

/// What is wrong with a value, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// A JSON Pointer into the value; empty for the value itself.
    pub path: String,
    /// In words, without the value: it is the sender's, and may be megabytes.
    pub text: String,
}

impl Schema {
    /// Compiles a schema, of the draft that its `$schema` names or of 2020-12. Nothing is fetched that it refers to.
    /// The error says in words why it is no schema.
    pub fn new(schema: &Value) -> Result<Self, String> {
        let validator = jsonschema::options().offline().build(schema);
        let validator = validator.map_err(|error| error.to_string())?;
        Ok(Self(Box::new(validator)))
    }

    /// Says the first thing that is wrong.
    pub fn check(&self, value: &Value) -> Result<(), Violation> {
        self.0.check(value)
    }
}

trait Check: Send + Sync {
    fn check(&self, value: &Value) -> Result<(), Violation>;
}

impl Check for jsonschema::Validator {
    fn check(&self, value: &Value) -> Result<(), Violation> {
        self.validate(value).map_err(|violation| Violation {
            path: violation.instance_path().to_string(),
            text: violation.masked().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What each draft says in its own way: a tuple of a string and nothing else.
    #[test]
    fn every_draft_is_followed_as_its_schema_names_it() {
        let old = json!({"items": [{"type": "string"}], "additionalItems": false});
        let new = json!({"prefixItems": [{"type": "string"}], "items": false});
        for (draft, tuple) in [
            ("http://json-schema.org/draft-04/schema#", &old),
            ("http://json-schema.org/draft-06/schema#", &old),
            ("http://json-schema.org/draft-07/schema#", &old),
            ("https://json-schema.org/draft/2019-09/schema", &old),
            ("https://json-schema.org/draft/2020-12/schema", &new),
            ("", &new),
        ] {
            let mut tuple = tuple.clone();
            if !draft.is_empty() {
                tuple["$schema"] = draft.into();
            }
            let schema = Schema::new(&tuple).unwrap();
            assert_eq!(schema.check(&json!(["a"])), Ok(()), "{draft}");
            assert!(schema.check(&json!(["a", 1])).is_err(), "{draft}");
            assert_eq!(schema.check(&json!([1])).unwrap_err().path, "/0", "{draft}");
        }
    }

    /// Those that zod writes for e-mail addresses look ahead, which not every engine can.
    #[test]
    fn patterns_may_look_around() {
        let schema = json!({"type": "string", "pattern": r"^(?!\.)(?!.*\.\.)[a-z.]+@[a-z]+$"});
        let schema = Schema::new(&schema).unwrap();
        assert_eq!(schema.check(&json!("a.b@c")), Ok(()));
        let violation = schema.check(&json!("a..b@c")).unwrap_err();
        assert!(!violation.text.contains("a..b"), "{violation:?}");
    }

    #[test]
    fn nothing_is_fetched() {
        assert!(Schema::new(&json!({"$ref": "https://x.example/y"})).is_err());
    }
}
