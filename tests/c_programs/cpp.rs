//! C++17 programs on the C header.

use std::path::Path;

use crate::compiler;
use crate::process::{Case, Under, assert_clean, error, gateway, result, send};

fn lambdas(under: Under, program: &Path) {
    let gateway = gateway();
    let mut case = Case::spawn(under, &gateway, program, "");
    case.says("connected");
    assert_eq!(result(&send(&gateway, "lambda")), "captured");
    let (code, message) = error(&send(&gateway, "throws"));
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("CPP_EXCEPTION", "thrown in a lambda")
    );
    let (code, message) = error(&send(&gateway, "throws_int"));
    assert_eq!(code, "HANDLER_ERROR");
    assert_eq!(
        message,
        "capability \"throws_int\" failed: something that is no std::exception"
    );
    assert_eq!(
        result(&send(&gateway, "lambda")),
        "captured",
        "after the exceptions"
    );
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn lambdas_by_trampolines_and_exceptions_as_rejections() {
    lambdas(Under::Nothing, &compiler::program(&["cpp/trampolines.cpp"]));
}

#[test]
fn the_cpp_header_wraps_a_whole_life() {
    let gateway = gateway();
    let program = compiler::program(&["cpp/wrapper.cpp"]);
    let mut case = Case::spawn(Under::Nothing, &gateway, &program, "");
    case.says("connected");
    assert_eq!(result(&send(&gateway, "echo")), "echoed");
    let (code, message) = error(&send(&gateway, "fail"));
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("HANDLER_ERROR", "capability \"fail\" failed: as it must")
    );
    // The text cannot be sent as it is, but the mesh must not be left waiting.
    assert_eq!(error(&send(&gateway, "fail_in_latin1")).0, "HANDLER_ERROR");
    assert_eq!(error(&send(&gateway, "broken")).0, "INVALID_RESULT");
    assert_eq!(result(&send(&gateway, "later")), "answered later");
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}
