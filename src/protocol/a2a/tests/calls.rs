//! What is understood.

use serde_json::json;

use super::super::{Version, read};
use super::{new, old};
use crate::protocol::frame::text_in;

#[test]
fn a_call_of_either_version_is_read() {
    let data = json!({"skill_id": "find_order", "args": {"order_id": "A17"}, "session_context": {"session_id": "s"},
        "traceparent": "t", "baggage": "b", "svantic_auth": {"scheme": "shared_secret", "token": "x"}});
    for (body, version, id) in [
        (
            old(&json!([{"kind": "data", "data": data}])),
            Version::V0_3,
            "7",
        ),
        (new(&json!([{"data": data}])), Version::V1_0, "\"r-1\""),
    ] {
        let call = read(&body, None).unwrap();
        assert_eq!((call.version, call.id), (version, id));
        assert!(!call.streaming && call.text.is_none() && call.context_id.is_none());
        assert_eq!(call.message_id.as_deref(), Some("m1"));
        assert_eq!(
            super::parsed(call.data_json.unwrap()),
            data,
            "the part is kept whole, for verification"
        );
        let dispatch = call.dispatch.unwrap();
        assert_eq!(text_in(dispatch.skill_id).as_deref(), Some("find_order"));
        assert_eq!(dispatch.args.unwrap().get(), r#"{"order_id":"A17"}"#);
        assert_eq!(
            dispatch.session_context.unwrap().get(),
            r#"{"session_id":"s"}"#
        );
        assert_eq!(text_in(dispatch.traceparent).as_deref(), Some("t"));
        assert_eq!(text_in(dispatch.baggage).as_deref(), Some("b"));
    }
}

#[test]
fn what_proves_a_call_is_not_shown_with_it() {
    let data =
        json!({"skill_id": "a", "svantic_auth": {"scheme": "shared_secret", "token": "hush"}});
    let body = old(&json!([{"kind": "data", "data": data}]));
    let shown = format!("{:?}", read(&body, None));
    assert!(shown.contains("m1") && !shown.contains("hush"), "{shown}");
}

#[test]
fn the_method_says_the_version_and_whether_to_stream() {
    for (method, version, streaming) in [
        ("message/send", Version::V0_3, false),
        ("message/stream", Version::V0_3, true),
        ("SendMessage", Version::V1_0, false),
        ("SendStreamingMessage", Version::V1_0, true),
    ] {
        for header in [
            None,
            Some(""),
            Some("0.3"),
            Some("1.0"),
            Some(" 1.0.1 "),
            Some("1"),
        ] {
            let body = old(&json!([{"data": {}}])).replace("message/send", method);
            let call = read(&body, header).unwrap();
            assert_eq!((call.version, call.streaming), (version, streaming));
            let to = call.reply_to();
            assert_eq!(
                (to.version, to.streaming, to.id.as_str()),
                (version, streaming, "7")
            );
        }
    }
}

#[test]
fn the_aliases_of_the_data_part_are_understood_and_the_first_name_wins() {
    for (data, skill, args) in [
        (
            json!({"skillId": "a", "inputs": {"x": 1}}),
            "a",
            "{\"x\":1}",
        ),
        (
            json!({"capability": "a", "args": {"x": 1}}),
            "a",
            "{\"x\":1}",
        ),
        (
            json!({"capability": "c", "skillId": "b", "skill_id": "a", "inputs": {}, "args": {"x": 1}}),
            "a",
            "{\"x\":1}",
        ),
        (
            json!({"skill_id": null, "skillId": "a", "args": null, "inputs": {"x": 1}}),
            "a",
            "{\"x\":1}",
        ),
    ] {
        let body = new(&json!([{"data": data}]));
        let dispatch = read(&body, None).unwrap().dispatch.unwrap();
        assert_eq!(text_in(dispatch.skill_id).as_deref(), Some(skill));
        assert_eq!(dispatch.args.unwrap().get(), args);
    }
}

#[test]
fn the_data_part_that_names_a_skill_is_taken_among_others() {
    let body = new(&json!([
        {"text": "please"},
        {"data": {"locale": "de"}},
        {"data": {"skill_id": "a", "dispatch_id": "d1"}},
        {"data": {"skill_id": "b"}},
        {"url": "https://example.test/x.pdf", "filename": "x.pdf"},
    ]));
    let call = read(&body, None).unwrap();
    assert_eq!(
        call.data_json,
        Some(r#"{"dispatch_id":"d1","skill_id":"a"}"#)
    );
    assert_eq!(call.dispatch_id.as_deref(), Some("d1"));
    assert!(call.text.is_none(), "text beside data is for people");

    let without = new(&json!([{"data": {"n": 1}}, {"data": {"n": 2}}]));
    let call = read(&without, None).unwrap();
    assert_eq!(call.data_json, Some(r#"{"n":1}"#));
    assert!(call.dispatch.unwrap().skill_id.is_none());
}

#[test]
fn the_texts_of_a_message_without_data_are_joined() {
    for body in [
        new(&json!([{"text": "one"}, {"raw": "AA=="}, {"text": "tw\"o"}])),
        old(
            &json!([{"kind": "text", "text": "one"}, {"kind": "file", "file": {}}, {"kind": "text", "text": "tw\"o"}]),
        ),
    ] {
        let call = read(&body, None).unwrap();
        assert_eq!(call.text.as_deref(), Some("one\ntw\"o"));
        assert!(call.dispatch.is_none() && call.data_json.is_none());
    }
    // `kind` decides where it is given.
    let body = old(&json!([{"kind": "text", "text": "t", "data": {"skill_id": "a"}}]));
    assert_eq!(read(&body, None).unwrap().text.as_deref(), Some("t"));
}

#[test]
fn what_may_be_missing_is_missing() {
    let body = r#" {"jsonrpc":"2.0","method":"message/send","params":{"message":{"parts":[{"data":{}}],"messageId":"",
        "contextId":null},"configuration":{"blocking":true,"acceptedOutputModes":[],"pushNotificationConfig":null}}} "#;
    let call = read(body, None).unwrap();
    assert_eq!(
        call.id, "null",
        "a notification is answered like any request"
    );
    assert!(call.message_id.is_none() && call.context_id.is_none() && call.dispatch_id.is_none());
}

#[test]
fn names_may_be_written_in_the_other_way_of_protobuf() {
    let body = r#"{"jsonrpc":"2.0","id":-1.5e3,"method":"SendMessage","params":{"message":
        {"message_id":"m","context_id":"c","parts":[{"data":{}}]}}}"#;
    let call = read(body, Some("1.0")).unwrap();
    assert_eq!(call.message_id.as_deref(), Some("m"));
    assert_eq!(call.context_id.as_deref(), Some("c"));
    let to = call.reply_to();
    assert_eq!(
        (to.id.as_str(), to.context_id.as_deref()),
        ("-1.5e3", Some("c"))
    );
}
