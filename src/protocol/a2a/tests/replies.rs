//! What is written.

use serde_json::json;
use uuid::Uuid;

use super::super::{KEEP_ALIVE, Outcome, ReplyTo, Version, code, error, event, reply};
use super::parsed;
use crate::protocol::frame_writer::Stamp;

const STAMP: Stamp = Stamp {
    id: Uuid::nil(),
    unix_ms: 1_777_622_400_001,
};
const NIL: &str = "00000000-0000-0000-0000-000000000000";

fn to(version: Version, context_id: Option<&str>) -> ReplyTo {
    ReplyTo {
        version,
        id: "\"r\"".to_owned(),
        context_id: context_id.map(str::to_owned),
        streaming: false,
    }
}

#[test]
fn a_result_is_a_message_with_one_data_part() {
    let result = Outcome::Result("{\"state\": \"shipped\"}");
    assert_eq!(
        parsed(&reply(
            &to(Version::V0_3, Some("c\"1")),
            result,
            "d1",
            STAMP
        )),
        json!({"jsonrpc": "2.0", "id": "r", "result": {"kind": "message", "role": "agent", "messageId": NIL,
            "contextId": "c\"1", "parts": [{"kind": "data", "data": {"result": {"state": "shipped"}}}]}})
    );
    assert_eq!(
        parsed(&reply(&to(Version::V1_0, None), result, "d\"1", STAMP)),
        json!({"jsonrpc": "2.0", "id": "r", "result": {"message": {"role": "ROLE_AGENT", "messageId": NIL,
            "contextId": "d\"1", "parts": [{"data": {"result": {"state": "shipped"}}}]}}})
    );
}

#[test]
fn a_failure_is_a_task_in_state_failed() {
    let failed = Outcome::Failed {
        code: "HANDLER_ERROR",
        message: "no \"such\"\norder",
    };
    let error = json!({"error": {"code": "HANDLER_ERROR", "message": "no \"such\"\norder"}});
    assert_eq!(
        parsed(&reply(&to(Version::V0_3, None), failed, "d1", STAMP)),
        json!({"jsonrpc": "2.0", "id": "r", "result": {"kind": "task", "id": "d1", "contextId": "d1", "status": {
            "state": "failed", "timestamp": "2026-05-01T08:00:00.001Z", "message": {"kind": "message", "role": "agent",
            "messageId": NIL, "contextId": "d1", "taskId": "d1", "parts": [
                {"kind": "text", "text": "no \"such\"\norder"}, {"kind": "data", "data": error}]}}}})
    );
    assert_eq!(
        parsed(&reply(&to(Version::V1_0, Some("c")), failed, "d1", STAMP)),
        json!({"jsonrpc": "2.0", "id": "r", "result": {"task": {"id": "d1", "contextId": "c", "status": {
            "state": "TASK_STATE_FAILED", "timestamp": "2026-05-01T08:00:00.001Z", "message": {"role": "ROLE_AGENT",
            "messageId": NIL, "contextId": "c", "taskId": "d1", "parts": [
                {"text": "no \"such\"\norder"}, {"data": error}]}}}}})
    );
}

#[test]
fn an_error_carries_the_platforms_code_where_each_version_looks_for_it() {
    let info = "type.googleapis.com/google.rpc.ErrorInfo";
    for (version, platform_code, data) in [
        (
            Version::V0_3,
            Some("INVALID_ARGS"),
            json!({"code": "INVALID_ARGS"}),
        ),
        (
            Version::V1_0,
            Some("INVALID_ARGS"),
            json!([{"@type": info, "reason": "INVALID_ARGS", "domain": "svantic.com",
                "metadata": {"code": "INVALID_ARGS"}}]),
        ),
        (
            Version::V1_0,
            None,
            json!([{"@type": info, "reason": "INVALID_PARAMS", "domain": "a2a-protocol.org"}]),
        ),
    ] {
        let text = error(
            "7",
            version,
            code::INVALID_PARAMS,
            "args/a: \"x\"",
            platform_code,
        );
        assert_eq!(
            parsed(&text),
            json!({"jsonrpc": "2.0", "id": 7, "error": {"code": -32602, "message": "args/a: \"x\"", "data": data}})
        );
    }
    for version in [Version::V0_3, Version::V1_0] {
        let text = error("null", version, code::PARSE_ERROR, "no JSON", None);
        assert_eq!(
            parsed(&text),
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "no JSON"}})
        );
    }
}

#[test]
fn an_event_is_one_line_for_every_client() {
    let json = "{\"a\":\r\n \"x\u{2028}\u{85}y\u{2029}\",\n\"b\":[1,\n2]}";
    let text = event(json);
    let line = text.strip_prefix("data: ").unwrap();
    let line = line.strip_suffix("\n\n").unwrap();
    // What Python's `str.splitlines` ends a line at, which is more than Rust's `lines` does.
    let ends = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    assert!(!line.contains(ends), "{line}");
    assert_eq!(parsed(line), parsed(json), "and says the same");
    assert_eq!(event("{\"é\":\"ü\"}"), "data: {\"é\":\"ü\"}\n\n");
    assert!(KEEP_ALIVE.starts_with(':') && KEEP_ALIVE.ends_with("\n\n"));
}
