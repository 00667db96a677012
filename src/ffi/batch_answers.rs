//! Many answers in one text: read in one pass, given under as few locks as there may be.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::dispatch::{HANDLER_ERROR, check_code};
use super::handles::Mesh;
use super::inside;
use crate::connector::{Haste, MeshConnector};
use crate::error::{Error, ErrorKind};
use crate::machine::action::Answer;
use crate::protocol::json_scan::{Raw, Scanner, Unsure};

/// Gives the answers that `json` holds, an array of them; how many were refused. All or nothing, where it is no such array.
pub(super) fn give(mesh: &Arc<Mesh>, json: &str) -> Result<u32, Error> {
    let connector = &mesh.connector;
    // An inline handler's answers leave when the driver goes round; those of any other batch, together and at its end.
    let haste = match inside::haste(mesh) {
        Haste::NextRound => Haste::NextRound,
        Haste::Now | Haste::Batch => Haste::Batch,
    };
    match results_at_once(json) {
        Ok(results) => {
            let answers = results
                .iter()
                .map(|(id, result)| (*id, Answer::Result(result.get())));
            Ok(connector.answer_all(answers, haste))
        }
        Err(Unsure) => give_each(connector, json, haste),
    }
}

/// The dispatches and their results, if there are no errors among them and everything is as a binding writes it. Every
/// result is then known to be carried by all.
fn results_at_once(json: &str) -> Result<Vec<(&str, Raw<'_>)>, Unsure> {
    let mut results = Vec::with_capacity(json.len() / 512 + 16);
    let mut scan = Scanner::new(json);
    if is_flat(json) {
        let mut dispatch_id = None;
        scan.array(|scan| {
            let value = scan.value()?;
            match dispatch_id.take() {
                None => dispatch_id = Some(value.plain_text().ok_or(Unsure)?),
                Some(dispatch_id) => results.push((dispatch_id, value)),
            }
            Ok(())
        })?;
        if dispatch_id.is_some() {
            return Err(Unsure);
        }
        return finished(scan, results);
    }
    scan.array(|scan| {
        let (mut dispatch_id, mut result) = (None, None);
        scan.object(|scan, key| {
            let place = match key {
                b"dispatch_id" => &mut dispatch_id,
                b"result" => &mut result,
                // An error, or something new.
                _ => return Err(Unsure),
            };
            match place.replace(scan.value()?) {
                None => Ok(()),
                Some(_) => Err(Unsure),
            }
        })?;
        let dispatch_id = dispatch_id.and_then(Raw::plain_text).ok_or(Unsure)?;
        results.push((dispatch_id, result.ok_or(Unsure)?));
        Ok(())
    })?;
    finished(scan, results)
}

fn finished<T>(mut scan: Scanner<'_>, read: T) -> Result<T, Unsure> {
    scan.finish()?;
    if scan.is_carried_by_all() {
        Ok(read)
    } else {
        Err(Unsure)
    }
}

/// Whether ids and results stand side by side in the array.
fn is_flat(json: &str) -> bool {
    let elements = json.trim_ascii_start().strip_prefix('[');
    elements.is_some_and(|elements| elements.trim_ascii_start().starts_with('"'))
}

/// One answer of a batch.
#[derive(Deserialize)]
struct BatchAnswer<'a> {
    #[serde(borrow)]
    dispatch_id: Cow<'a, str>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<BatchError<'a>>,
}

#[derive(Deserialize)]
struct BatchError<'a> {
    #[serde(borrow, default)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// The same for any text.
fn give_each(connector: &MeshConnector, json: &str, haste: Haste) -> Result<u32, Error> {
    let answers = if is_flat(json) {
        flat_answers(json)
    } else {
        serde_json::from_str(json).map_err(|error| not_answers(&error))
    }?;
    for error in answers.iter().filter_map(|answer| answer.error.as_ref()) {
        check_code(error.code.as_deref().unwrap_or(HANDLER_ERROR))?;
    }
    let mut refused = 0_u32;
    for answer in &answers {
        let result = match (&answer.error, answer.result) {
            (Some(error), _) => connector.reject(
                &answer.dispatch_id,
                error.code.as_deref().unwrap_or(HANDLER_ERROR),
                &error.message,
                haste,
            ),
            (None, result) => connector.resolve(
                &answer.dispatch_id,
                result.map_or("null", RawValue::get),
                haste,
            ),
        };
        refused += u32::from(result.is_err());
    }
    if haste == Haste::Batch {
        connector.flush();
    }
    Ok(refused)
}

fn flat_answers(json: &str) -> Result<Vec<BatchAnswer<'_>>, Error> {
    let elements: Vec<&RawValue> =
        serde_json::from_str(json).map_err(|error| not_answers(&error))?;
    let mut answers = Vec::with_capacity(elements.len() / 2);
    let mut elements = elements.into_iter();
    while let Some(dispatch_id) = elements.next() {
        let Text(dispatch_id) =
            serde_json::from_str(dispatch_id.get()).map_err(|error| not_answers(&error))?;
        let Some(result) = elements.next() else {
            return Err(not_answers(&"the last dispatch_id has no result"));
        };
        answers.push(BatchAnswer {
            dispatch_id,
            result: Some(result),
            error: None,
        });
    }
    Ok(answers)
}

/// A string, copied only where it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn not_answers(why: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::InvalidJson,
        "INVALID_JSON",
        format!("`answers_json` is not an array of answers: {why}"),
    )
    .hint("[{\"dispatch_id\":\"…\",\"result\":…},{\"dispatch_id\":\"…\",\"error\":{\"message\":\"…\"}}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_in_one_pass() {
        let text = r#" [ {"dispatch_id":"d-1","result":{"a":[1,"x"]}}, {"result": null ,"dispatch_id":"d-2"} ] "#;
        let read = results_at_once(text).unwrap();
        let read: Vec<_> = read.iter().map(|(id, raw)| (*id, raw.get())).collect();
        assert_eq!(read, [("d-1", r#"{"a":[1,"x"]}"#), ("d-2", "null")]);
        assert_eq!(results_at_once("[]").map(|read| read.len()), Ok(0));
    }

    #[test]
    fn so_are_ids_and_results_side_by_side() {
        let read = results_at_once(r#"["d-1",{"a":1},"d-2","d-3"]"#).unwrap();
        let read: Vec<_> = read.iter().map(|(id, raw)| (*id, raw.get())).collect();
        assert_eq!(read, [("d-1", r#"{"a":1}"#), ("d-2", "\"d-3\"")]);
        for text in [
            r#"["d-1"]"#,
            r#"["d-1",1,{},2]"#,
            r#"["d\n",1]"#,
            r#"["d",1e999]"#,
            r#"["d",1"#,
        ] {
            assert_eq!(results_at_once(text).err(), Some(Unsure), "{text}");
        }
        let answers = flat_answers(r#"["d\n",1e999]"#).unwrap();
        assert_eq!(answers[0].dispatch_id, "d\n");
        assert_eq!(answers[0].result.map(RawValue::get), Some("1e999"));
        for text in [r#"["d-1"]"#, r#"["d-1",1,{},2]"#, r#"["d",1"#, r#"["d",]"#] {
            assert!(flat_answers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn whatever_is_not_plain_is_left_to_a_closer_look() {
        for text in [
            "",
            "{}",
            "[1]",
            "[{}]",
            r#"[{"dispatch_id":"d"}]"#,
            r#"[{"result":1}]"#,
            r#"[{"dispatch_id":"d","result":1},]"#,
            r#"[{"dispatch_id":"d","result":1}] x"#,
            r#"[{"dispatch_id":"d","result":1}"#,
            r#"[{"dispatch_id":"d","result":}]"#,
            r#"[{"dispatch_id":"d","result":1,"result":2}]"#,
            r#"[{"dispatch_id":"d","dispatch_id":"d","result":2}]"#,
            r#"[{"dispatch_id":7,"result":1}]"#,
            r#"[{"dispatch_id":"\u0064","result":1}]"#,
            r#"[{"dispatch_id":"d","error":{"message":"m"}}]"#,
            r#"[{"dispatch_id":"d","result":1,"more":2}]"#,
            r#"[{"dispatch_id":"d","result":"\ud800"}]"#,
            r#"[{"dispatch_id":"d","result":1e999}]"#,
        ] {
            assert_eq!(results_at_once(text).err(), Some(Unsure), "{text}");
        }
        let deep = format!(
            r#"[{{"dispatch_id":"d","result":{}{}}}]"#,
            "[".repeat(63),
            "]".repeat(63)
        );
        assert_eq!(results_at_once(&deep).err(), Some(Unsure));
    }
}
