//! What is refused, and how.

use serde_json::json;

use super::super::{Fault, Version, code, read};
use super::{new, old, parsed};
use crate::protocol::limits::{MAX_ID_BYTES, MAX_JSON_DEPTH, MAX_JSON_VALUES};

fn refused(body: &str) -> Fault {
    let fault = read(body, None)
        .err()
        .unwrap_or_else(|| panic!("was taken: {}", body.chars().take(200).collect::<String>()));
    let reply = parsed(&fault.reply());
    assert_eq!(reply["jsonrpc"], "2.0");
    assert_eq!(reply["error"]["code"], fault.code);
    assert_eq!(reply["error"]["message"], fault.message);
    assert!(reply.get("result").is_none());
    fault
}

#[test]
fn a_body_that_is_no_json_is_a_parse_error() {
    for body in [
        "",
        " ",
        "nonsense",
        "{",
        "[",
        "{\"jsonrpc\":\"2.0\",}",
        "{} x",
        "\u{feff}{}",
        "{\"a\":\"\n\"}",
        "{'a':1}",
    ] {
        let fault = refused(body);
        assert_eq!(
            (fault.code, fault.id.as_str()),
            (code::PARSE_ERROR, "null"),
            "{body}"
        );
    }
    assert_eq!(Fault::not_utf8(None).code, code::PARSE_ERROR);
}

#[test]
fn what_is_no_request_is_invalid() {
    for (body, id) in [
        ("null", "null"),
        ("7", "null"),
        ("\"message/send\"", "null"),
        ("[]", "null"),
        (
            r#"[{"jsonrpc":"2.0","id":1,"method":"message/send"}]"#,
            "null",
        ),
        ("{}", "null"),
        (r#"{"id":1,"method":"message/send"}"#, "1"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"message/send"}"#, "1"),
        (r#"{"jsonrpc":2.0,"id":1,"method":"message/send"}"#, "1"),
        (r#"{"jsonrpc":"2.0","id":"x"}"#, "\"x\""),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "1"),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#, "1"),
        (
            r#"{"jsonrpc":"2.0","id":true,"method":"message/send"}"#,
            "null",
        ),
        (
            r#"{"jsonrpc":"2.0","id":"\ud83d","method":"message/send"}"#,
            "null",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1e999,"method":"message/send"}"#,
            "null",
        ),
        (
            r#"{"jsonrpc":"2.0","id":{},"method":"message/send"}"#,
            "null",
        ),
        (
            r#"{"jsonrpc":"2.0","id":[1],"method":"message/send"}"#,
            "null",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"message/send"}"#,
            "null",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"message/send","method":"tasks/get"}"#,
            "null",
        ),
    ] {
        let fault = refused(body);
        assert_eq!(
            (fault.code, fault.id.as_str()),
            (code::INVALID_REQUEST, id),
            "{body}"
        );
    }
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":"{}","method":"message/send"}}"#,
        "x".repeat(300)
    );
    assert_eq!(refused(&long).id, "null");
}

#[test]
fn what_is_too_deep_or_too_large_is_refused_before_it_is_built() {
    let deep = new(&json!([{"data": {"args": 0}}])).replace(
        "\"args\":0",
        &format!(
            "\"args\":{}{}",
            "[".repeat(MAX_JSON_DEPTH),
            "]".repeat(MAX_JSON_DEPTH)
        ),
    );
    let wide = format!("[{}0]", "0,".repeat(MAX_JSON_VALUES));
    for body in [deep, wide, "[".repeat(1 << 22), "{\"a\":".repeat(1 << 20)] {
        assert_eq!(refused(&body).code, code::INVALID_REQUEST);
    }
}

#[test]
fn methods_that_are_not_served_have_an_error_each() {
    for (method, expected, version) in [
        ("tasks/get", code::TASK_NOT_FOUND, Version::V0_3),
        ("tasks/cancel", code::TASK_NOT_FOUND, Version::V0_3),
        ("tasks/resubscribe", code::TASK_NOT_FOUND, Version::V0_3),
        ("GetTask", code::TASK_NOT_FOUND, Version::V1_0),
        ("CancelTask", code::TASK_NOT_FOUND, Version::V1_0),
        ("SubscribeToTask", code::TASK_NOT_FOUND, Version::V1_0),
        ("tasks/list", code::UNSUPPORTED_OPERATION, Version::V0_3),
        ("ListTasks", code::UNSUPPORTED_OPERATION, Version::V1_0),
        (
            "tasks/pushNotificationConfig/set",
            code::PUSH_NOTIFICATION_NOT_SUPPORTED,
            Version::V0_3,
        ),
        (
            "CreateTaskPushNotificationConfig",
            code::PUSH_NOTIFICATION_NOT_SUPPORTED,
            Version::V1_0,
        ),
        (
            "agent/getAuthenticatedExtendedCard",
            code::EXTENDED_CARD_NOT_CONFIGURED,
            Version::V0_3,
        ),
        (
            "GetExtendedAgentCard",
            code::EXTENDED_CARD_NOT_CONFIGURED,
            Version::V1_0,
        ),
        ("message/sendx", code::METHOD_NOT_FOUND, Version::V0_3),
        ("sendMessage", code::METHOD_NOT_FOUND, Version::V0_3),
        ("", code::METHOD_NOT_FOUND, Version::V0_3),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method}).to_string();
        let fault = refused(&body);
        assert_eq!((fault.code, fault.version), (expected, version), "{method}");
    }
}

#[test]
fn a_version_that_is_not_spoken_is_refused_to_whom_it_may_concern() {
    for header in ["2.0", "0", "x", "1x", "10.0", "-1", "0.3, 1.0 ", "\u{0}"] {
        let expected = header == "0" || header.starts_with("0.");
        let body = new(&json!([{"data": {}}]));
        match read(&body, Some(header)) {
            Ok(_) => assert!(expected, "{header}"),
            Err(fault) => {
                assert!(!expected, "{header}");
                assert_eq!(
                    (fault.code, fault.id.as_str()),
                    (code::VERSION_NOT_SUPPORTED, "\"r-1\"")
                );
            }
        }
    }
}

#[test]
fn a_message_that_no_capability_can_be_called_with_is_refused() {
    let request = |params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"message/send","params":{params}}}"#)
    };
    let message = |parts: &str| request(&format!(r#"{{"message":{{"parts":{parts}}}}}"#));
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"message/send"}"#.to_owned(),
        request("null"),
        request("[]"),
        request("[{\"parts\":[]}]"),
        request("{}"),
        request(r#"{"message":null}"#),
        request(r#"{"message":[]}"#),
        request(r#"{"message":"hello"}"#),
        request(r#"{"message":{}}"#),
        request(r#"{"message":{"parts":[{"data":{}}]},"message":{"parts":[{"data":{}}]}}"#),
        request(r#"{"message":{"parts":[{"data":{}}],"parts":[{"data":{}}]}}"#),
        request(r#"{"message":{"parts":[{"data":{}}]},"configuration":7}"#),
        request(r#"{"message":{"messageId":7,"parts":[{"data":{}}]}}"#),
        request(r#"{"message":{"messageId":"a\u0000b","parts":[{"data":{}}]}}"#),
        request(r#"{"message":{"messageId":"m","message_id":"n","parts":[{"data":{}}]}}"#),
        request(r#"{"message":{"contextId":{},"parts":[{"data":{}}]}}"#),
        message("null"),
        message("{}"),
        message("\"x\""),
        message("[]"),
        message("[7]"),
        message("[null]"),
        message("[[]]"),
        message(r#"[{"data":[]}]"#),
        message(r#"[{"data":7}]"#),
        message(r#"[{"kind":"data","data":"skill_id"}]"#),
        message(r#"[{"data":{"skill_id":"a","skill_id":"b"}}]"#),
        message(r#"[{"data":{"dispatch_id":7}}]"#),
        message(r#"[{"data":{"dispatch_id":"a\u0000b"}}]"#),
        message(&format!(
            r#"[{{"data":{{"dispatch_id":"{}"}}}}]"#,
            "x".repeat(MAX_ID_BYTES + 1)
        )),
        message(r#"[{"text":7}]"#),
        message(r#"[{"text":"\ud83d"}]"#),
    ] {
        let fault = refused(&body);
        assert_eq!(
            (fault.code, fault.platform_code),
            (code::INVALID_PARAMS, Some("INVALID_DISPATCH")),
            "{body}"
        );
        assert_eq!(fault.id, "1");
    }
    for body in [
        old(&json!([{"kind": "file", "file": {"uri": "https://example.test"}}])),
        new(&json!([{"url": "https://example.test"}])),
        new(&json!([{}])),
        old(&json!([{"kind": "data"}])),
        old(&json!([{"kind": "data", "text": "t"}])),
    ] {
        assert_eq!(refused(&body).code, code::CONTENT_TYPE_NOT_SUPPORTED);
    }
}

#[test]
fn who_wants_to_be_called_back_is_told_that_nobody_is() {
    for member in ["pushNotificationConfig", "taskPushNotificationConfig"] {
        let mut body = parsed(&new(&json!([{"data": {"skill_id": "a"}}])));
        body["params"]["configuration"] = json!({member: {"url": "http://169.254.169.254/"}});
        let fault = refused(&body.to_string());
        assert_eq!(fault.code, code::PUSH_NOTIFICATION_NOT_SUPPORTED);
    }
}

#[test]
fn a_stream_of_the_old_version_is_refused_by_an_event() {
    for (method, by_event) in [
        ("message/send", false),
        ("message/stream", true),
        ("SendMessage", false),
        ("SendStreamingMessage", false),
        ("tasks/resubscribe", true),
    ] {
        let body = old(&json!([{"data": 7}])).replace("message/send", method);
        assert_eq!(refused(&body).by_event(), by_event, "{method}");
        let body = old(&json!([{"data": {}}])).replace("message/send", method);
        let taken = read(&body, None).map(|call| call.reply_to().refuses_by_event());
        assert_eq!(taken.unwrap_or(by_event), by_event, "{method}");
    }
}
