//! Patterns: JSON that stands for all JSON that holds at least as much.

use serde_json::Value;

/// Whether `actual` is as `pattern` says.
pub(crate) fn matches(pattern: &Value, actual: &Value) -> bool {
    differences(pattern, actual).is_empty()
}

/// Where `actual` is not as `pattern` says.
pub(crate) fn differences(pattern: &Value, actual: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", pattern, actual, &mut found);
    found
}

fn compare(path: &str, pattern: &Value, actual: &Value, found: &mut Vec<String>) {
    let same = match (pattern, actual) {
        (Value::Object(fields), _)
            if fields.len() == 1 && fields.keys().all(|k| k.starts_with('$')) =>
        {
            fields
                .iter()
                .all(|(operator, wanted)| holds(operator, wanted, actual))
        }
        (Value::Object(fields), Value::Object(_)) => {
            for (name, wanted) in fields {
                // A field that is not there is null, so that `null` asks for its absence.
                compare(
                    &format!("{path}/{name}"),
                    wanted,
                    &actual[name.as_str()],
                    found,
                );
            }
            return;
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            for (at, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                compare(&format!("{path}/{at}"), wanted, got, found);
            }
            return;
        }
        _ => pattern == actual,
    };
    if !same {
        found.push(format!("{path} is {} and not {pattern}", shortened(actual)));
    }
}

fn holds(operator: &str, wanted: &Value, actual: &Value) -> bool {
    match operator {
        "$any" => !actual.is_null(),
        "$contains" => match (actual, wanted) {
            (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
            (Value::Array(items), _) => items.iter().any(|item| matches(wanted, item)),
            _ => false,
        },
        "$len" => match actual {
            Value::String(text) => wanted == text.len(),
            Value::Array(items) => wanted == items.len(),
            _ => false,
        },
        "$min" => wanted
            .as_f64()
            .zip(actual.as_f64())
            .is_some_and(|(least, got)| got >= least),
        "$max" => wanted
            .as_f64()
            .zip(actual.as_f64())
            .is_some_and(|(most, got)| got <= most),
        "$one_of" => wanted
            .as_array()
            .is_some_and(|choices| choices.iter().any(|choice| matches(choice, actual))),
        _ => panic!("there is no operator {operator}"),
    }
}

/// For people: long texts lose their middle.
pub(crate) fn shortened(value: &Value) -> String {
    const ROOM: usize = 600;
    let text = value.to_string();
    if text.chars().count() <= ROOM {
        return text;
    }
    let start: String = text.chars().take(ROOM / 2).collect();
    let end: String = text.chars().skip(text.chars().count() - ROOM / 2).collect();
    format!("{start} … {end}")
}

#[test]
fn a_pattern_asks_for_what_it_names_and_nothing_else() {
    use serde_json::json;
    let actual = json!({"a": 1, "b": {"c": "text", "d": [1, 2]}, "n": null});
    for good in [
        json!({}),
        json!({"a": 1, "b": {"c": "text"}}),
        json!({"absent": null, "n": null}),
        json!({"b": {"c": {"$contains": "ex"}, "d": {"$len": 2}}}),
        json!({"b": {"d": {"$contains": 2}}}),
        json!({"a": {"$min": 1}, "b": {"$any": true}}),
        json!({"a": {"$one_of": [3, 1]}}),
        json!({"a": {"$max": 1}}),
    ] {
        assert_eq!(differences(&good, &actual), [""; 0], "{good}");
    }
    for bad in [
        json!({"a": 2}),
        json!({"a": null}),
        json!({"absent": 1}),
        json!({"absent": {"$any": true}}),
        json!({"b": {"c": {"$contains": "tt"}}}),
        json!({"b": {"d": [1]}}),
        json!({"b": {"d": [1, 3]}}),
        json!({"b": {"d": {"$len": 3}}}),
        json!({"a": {"$min": 2}}),
        json!({"a": {"$max": 0}}),
        json!({"a": {"$one_of": [3, 4]}}),
        json!([]),
    ] {
        assert_eq!(differences(&bad, &actual).len(), 1, "{bad}");
    }
}
