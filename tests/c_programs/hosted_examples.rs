//! The examples behind their own URL, compiled as their readers do and called by POST.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use svantic_gateway::{A2aMethod, Answer, DispatchRequest, Forgery, Gateway, Options};

use crate::compiler;
use crate::process::{Case, HANG, INSTANCE, Under, assert_clean};
use crate::suspend::signal;

const SECRET: &str = "proof of the mesh";
/// How long a wait goes on before it looks whether the program still lives.
const LIFE_SIGN: Duration = Duration::from_millis(100);
/// Of a body.
const LIMIT_BYTES: usize = 4 << 20;

fn ask(gateway: &Gateway, request: DispatchRequest) -> (Option<Answer>, Option<u16>) {
    let pending = gateway.begin_dispatch(request.to(INSTANCE).within(HANG));
    let answer = pending.wait(HANG).ok();
    let entry = gateway.ledger_entry(pending.id());
    let reply = entry.and_then(|entry| entry.answers.first().cloned());
    (answer, reply.and_then(|reply| reply.http_status))
}

fn find(order: &str) -> DispatchRequest {
    DispatchRequest::new("find_order", json!({"order_id": order}))
}

/// The whole life of an example: it registers and its card is read, calls are answered, what is forged or too large is
/// refused, and it leaves with an exit status of 0.
fn serves(under: Under, program: &Path, arguments: &str) {
    let gateway = Gateway::start(Options {
        dispatch_secret: Some(SECRET.to_owned()),
        ..Options::default()
    })
    .expect("a gateway starts");
    let variables = [("SVANTIC_DISPATCH_SECRET", SECRET)];
    let mut case = Case::spawn_with(under, &gateway, program, arguments, &variables);
    let deadline = Instant::now() + HANG;
    while !gateway.wait_ready(INSTANCE, LIFE_SIGN) {
        let waits = case.is_running() && Instant::now() < deadline;
        assert!(waits, "it has not registered: {:?}", gateway.requests());
    }
    let record = gateway.agent(INSTANCE).expect("it has registered");
    assert!(record.is_hosted(), "{record:?}");
    assert_eq!(record.skills(), ["find_order"], "as the probe read it");

    let shipped = Answer::Result(json!({"order_id": "A17", "state": "shipped"}));
    for method in [
        A2aMethod::MessageSend,
        A2aMethod::MessageStream,
        A2aMethod::SendMessage,
        A2aMethod::SendStreamingMessage,
    ] {
        let (answer, status) = ask(&gateway, find("A17").by(method));
        assert_eq!(answer, Some(shipped.clone()), "{method:?}");
        assert_eq!(status, Some(200), "{method:?}");
    }
    let (answer, status) = ask(&gateway, find("Z99"));
    let failed = Answer::Error {
        code: "HANDLER_ERROR".to_owned(),
        message: "capability \"find_order\" failed: no such order".to_owned(),
    };
    assert_eq!((answer, status), (Some(failed), Some(200)));
    for forgery in [
        Forgery::MissingEnvelope,
        Forgery::FlippedBit,
        Forgery::ReplayedOtherBody,
    ] {
        let (_, status) = ask(&gateway, find("A17").forged(forgery));
        assert_eq!(status, Some(401), "{forgery:?}");
    }
    let (_, status) = ask(&gateway, find(&"A".repeat(LIMIT_BYTES)));
    assert_eq!(status, Some(413));
    let (answer, _) = ask(&gateway, find("A17"));
    assert_eq!(answer, Some(shipped), "after all that");

    signal(&case, "TERM");
    let ended = case.end();
    assert!(ended.success(), "{ended}");
    let record = gateway.agent(INSTANCE).expect("it has registered");
    assert_eq!((record.registered, record.deregistrations), (false, 1));
    assert_clean(&gateway);
}

#[test]
fn the_example_in_c_listens_by_the_library() {
    let program = compiler::program(&["../examples/c/hosted.c"]);
    serves(Under::Nothing, &program, "");
}

#[test]
fn the_example_in_cpp_listens_by_the_library() {
    let program = compiler::built_once(&["../examples/cpp/hosted.cpp"], true);
    serves(Under::Nothing, &program, "");
}

/// `apt-get install libmicrohttpd-dev libcjson-dev`
pub(crate) fn behind_libmicrohttpd_under(under: Under) {
    let sources = ["../examples/c/hosted_microhttpd.c"];
    let libraries = ["-lmicrohttpd", "-lcjson"];
    let program = compiler::linked(&sources, false, &libraries);
    serves(under, &program, "0");
}

#[test]
fn the_example_behind_libmicrohttpd_hands_every_request_to_the_library() {
    behind_libmicrohttpd_under(Under::Nothing);
}
