use serde_json::{Value, json};

use super::*;
use crate::protocol::a2a::ReplyTo;
use crate::protocol::frame_writer::FrameWriter;

#[test]
fn a_result_of_null_is_a_result_and_no_failure() {
    let stamp = Stamp {
        id: Uuid::from_u128(7),
        unix_ms: 0,
    };
    let to = ReplyTo {
        version: Version::V0_3,
        id: "\"c-1\"".to_owned(),
        context_id: None,
        streaming: false,
    };
    let part = answered(&CallAnswer {
        to,
        begun: false,
        dispatch_id: "d-1".into(),
        frame: FrameWriter::default()
            .dispatch_result(stamp, "d-1", "null", 1000)
            .unwrap(),
    });
    let body: Value = serde_json::from_str(&part.body).unwrap();
    assert_eq!(body["result"]["parts"][0]["data"], json!({"result": null}));
}
