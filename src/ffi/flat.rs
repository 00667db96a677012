//! What a pull hands out in the form that is cheapest to take apart: one JSON text for a whole batch, in which no dispatch
//! repeats the names of its fields, and apart from it what few handlers ever look at.

use std::ffi::c_char;

use super::boundary::{check_optional, check_out, guard, write, write_optional};
use super::dispatch::{bytes_of, check_max_items, item_json, patience, pulling};
use super::handles::svantic_mesh;
use super::lanes::Item;
use super::status::svantic_status;
use super::text::CText;
use crate::error::{Error, ErrorKind};
use crate::protocol::json_scan::{Scanner, Unsure};

/// Hands out what svantic_next_batch() does, in a form that costs less to parse. For bindings.
///
/// `out_items_json`: receives an array. An element that is a string begins a dispatch, which is three elements: its
/// dispatch_id, its skill_id and its args. Any other element is an object as svantic_next() hands out.
/// `out_items_len`: receives its length in bytes (may be NULL).
///
/// `out_contexts_json`: receives an array of as many objects as there are dispatches, in the same order: the rest of each request
/// (see svantic_handler_fn), "deadline_ms" and what else is known. NULL: not asked for.
/// `out_contexts_len`: receives its length in bytes (may be NULL).
///
/// `out_long_integers`: receives whether a number of 19 digits or more may be among the items, which many a parser would round
/// (may be NULL).
///
/// The caller frees both texts with svantic_string_free(). All are written only on OK.
///
/// `max_items` and the rest: as svantic_next_batch().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_next_flat(
    mesh: *mut svantic_mesh,
    max_items: u32,
    timeout_ms: u32,
    out_items_json: *mut *mut c_char,
    out_items_len: *mut usize,
    out_contexts_json: *mut *mut c_char,
    out_contexts_len: *mut usize,
    out_long_integers: *mut bool,
) -> svantic_status {
    guard(|| {
        let mesh = pulling(mesh)?;
        // All checked before items are taken: they would be lost.
        check_out(out_items_json, "out_items_json")?;
        check_optional(out_items_len, "out_items_len")?;
        check_optional(out_contexts_json, "out_contexts_json")?;
        check_optional(out_contexts_len, "out_contexts_len")?;
        check_optional(out_long_integers, "out_long_integers")?;
        let max = check_max_items(max_items)?;
        let limit = patience(timeout_ms, "svantic_next_flat")?;
        let items = mesh.queue.pull(max, limit)?;
        let with_contexts = !out_contexts_json.is_null();
        let flat = Flat::of(items, with_contexts)?;
        // SAFETY: each is NULL or, as the header asks, room for what it is to receive.
        unsafe {
            write_optional(out_items_len, "out_items_len", flat.items.len())?;
            write_optional(out_contexts_len, "out_contexts_len", flat.contexts.len())?;
            write_optional(out_long_integers, "out_long_integers", flat.long_integers)?;
            if with_contexts {
                let contexts = flat.contexts.into_c();
                write(out_contexts_json, "out_contexts_json", contexts)?;
            }
            write(out_items_json, "out_items_json", flat.items.into_c())
        }
    })
}

/// A batch in this form.
struct Flat {
    items: CText,
    contexts: CText,
    long_integers: bool,
}

impl Flat {
    fn of(items: Vec<Item>, with_contexts: bool) -> Result<Self, Error> {
        // More than there will be by what the contexts take away.
        let bytes: usize = items.iter().map(bytes_of).sum();
        let mut flat = Self {
            items: CText::with_capacity(bytes + 2),
            contexts: CText::with_capacity(if with_contexts {
                128 * items.len() + 2
            } else {
                0
            }),
            long_integers: false,
        };
        flat.items.push_str("[");
        flat.contexts.push_str("[");
        for item in items {
            if flat.items.len() > 1 {
                flat.items.push_str(",");
            }
            let Item::Dispatch(dispatch) = item else {
                flat.items.push_str(&item_json(item));
                continue;
            };
            let parts = Parts::of(dispatch.request.text()).ok_or_else(|| {
                let text = "a request is not as the library writes them";
                Error::new(ErrorKind::Internal, "BUG", text).hint("please report it")
            })?;
            for part in [parts.dispatch_id, ",", parts.skill_id, ",", parts.args] {
                flat.items.push_str(part);
            }
            if with_contexts {
                flat.contexts
                    .push_str(if flat.contexts.len() > 1 { ",{" } else { "{" });
                flat.contexts.push_str(parts.context);
                flat.contexts.push_str("}");
            }
        }
        flat.items.push_str("]");
        flat.contexts.push_str("]");
        flat.long_integers = may_hold_long_integer(flat.items.as_bytes());
        Ok(flat)
    }
}

/// A request taken apart, each part as it is written in it.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    dispatch_id: &'a str,
    skill_id: &'a str,
    /// The members between these and the arguments.
    context: &'a str,
    args: &'a str,
}

impl<'a> Parts<'a> {
    fn of(request: &'a str) -> Option<Self> {
        let (mut dispatch_id, mut skill_id, mut context, mut args) = (None, None, None, None);
        let mut scan = Scanner::new(request);
        // Ends at the arguments, which are the last member: they have been read before, and may be long.
        let _ = scan.object(|scan, key| {
            let start = scan.position();
            match key {
                b"args" => {
                    args = Some(start);
                    return Err(Unsure);
                }
                b"dispatch_id" => dispatch_id = Some(scan.value()?.get()),
                b"skill_id" => {
                    skill_id = Some(scan.value()?.get());
                    context = Some(start);
                }
                _ => scan.skip()?,
            }
            Ok(())
        });
        let (skill_id, args) = (skill_id?, args?);
        let context = context? + skill_id.len() + ",".len();
        Some(Self {
            dispatch_id: dispatch_id?,
            skill_id,
            context: request.get(context..args.checked_sub(",\"args\":".len())?)?,
            args: request.get(args..request.len() - 1)?,
        })
    }
}

/// The fewest digits of an integer that 64 bits may not hold.
const LONG_INTEGER: usize = 19;

/// Whether so many digits follow one another somewhere.
fn may_hold_long_integer(text: &[u8]) -> bool {
    // One of them stands at each so-many-th place.
    (LONG_INTEGER - 1..text.len())
        .step_by(LONG_INTEGER)
        .any(|at| {
            if !text[at].is_ascii_digit() {
                return false;
            }
            let (before, behind) = text.split_at(at);
            let digits = |byte: &&u8| byte.is_ascii_digit();
            before.iter().rev().take_while(digits).count()
                + behind.iter().take_while(digits).count()
                >= LONG_INTEGER
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_falls_into_its_parts_whatever_its_texts_hold() {
        let request = concat!(
            r#"{"type":"dispatch","dispatch_id":"a\",\"args\":1","skill_id":"s,\\","deadline_ms":60000,"#,
            r#""session_id":"\"args\":","baggage":{"x":"1","args":"2"},"args":{"args":[{"skill_id":1}]}}"#
        );
        let parts = Parts::of(request).unwrap();
        assert_eq!(parts.dispatch_id, r#""a\",\"args\":1""#);
        assert_eq!(parts.skill_id, r#""s,\\""#);
        assert_eq!(
            parts.context,
            r#""deadline_ms":60000,"session_id":"\"args\":","baggage":{"x":"1","args":"2"}"#
        );
        assert_eq!(parts.args, r#"{"args":[{"skill_id":1}]}"#);
    }

    #[test]
    fn a_text_that_is_no_request_has_no_parts() {
        for text in ["", "{}", "[]", r#"{"dispatch_id":"a","args":{}}"#] {
            assert_eq!(Parts::of(text), None, "{text}");
        }
    }

    #[test]
    fn nineteen_digits_in_a_row_are_found_wherever_they_stand() {
        for place in 0..80 {
            let with = |digits: usize| {
                format!(
                    "{}{}{}",
                    "a1".repeat(place),
                    "7".repeat(digits),
                    "-12".repeat(9)
                )
            };
            let before = usize::from(place > 0);
            assert!(
                may_hold_long_integer(with(19 - before).as_bytes()),
                "{place}"
            );
            assert!(
                !may_hold_long_integer(with(18 - before).as_bytes()),
                "{place}"
            );
        }
        assert!(!may_hold_long_integer(b""));
    }
}
