//! What keeps a result from being sent.

use serde::de::IgnoredAny;

use crate::protocol::json_scan;
use crate::protocol::json_shape::{self, ShapeError};
use crate::protocol::limits::MAX_JSON_DEPTH;

/// In short for the mesh, at length for the application; both complete "the result …".
pub(super) fn in_result(result_json: &str) -> Option<(&'static str, String)> {
    if json_scan::is_carried_by_all(result_json) {
        return None;
    }
    match serde_json::from_str::<IgnoredAny>(result_json) {
        Err(error) => Some(("is not JSON", format!("is not JSON: {error}"))),
        // serde_json skips over any depth, which hardly a parser on the other side can read.
        Ok(_) if json_shape::check(result_json) == Err(ShapeError::TooDeep) => {
            let text = "is nested too deeply";
            Some((
                text,
                format!("{text}: the limit is {MAX_JSON_DEPTH} levels"),
            ))
        }
        // As hardly: the mesh would drop the frame, and the answer with it.
        Ok(_) if json_shape::has_lone_surrogate(result_json) => {
            let text = "holds a lone surrogate";
            Some((text, format!("{text}, which UTF-8 cannot carry")))
        }
        // The same, or it would come out as null on the other side.
        Ok(_) if json_shape::has_vast_number(result_json) => {
            let text = "holds a number that is too large";
            Some((text, format!("{text}: a double ends at 1.8e308")))
        }
        Ok(_) => None,
    }
}
