//! Verification of dispatches through the C ABI. The test makes the tokens; the program knows only the header.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::compiler;
use crate::process::{Case, Under, gateway, start};

const SECRET: &str = "hush: sign\u{e9}";

fn signed(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let parts = format!("{}.{}", part(header), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, parts.as_bytes()));
    format!("{parts}.{signature}")
}

fn good_claims(dispatch_id: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    json!({
        "iss": "svantic-mesh", "aud": "agent:i1", "tenant_id": "t1", "instance_id": "i1",
        "dispatch_id": dispatch_id, "exp": now.as_secs() + 300,
    })
}

fn data(scheme: &str, token: &str) -> Value {
    json!({"skill_id": "s", "args": {}, "svantic_auth": {"scheme": scheme, "token": token}})
}

fn good(dispatch_id: &str) -> Value {
    let token = signed(&json!({"alg": "HS256"}), &good_claims(dispatch_id));
    data("svantic_jwt", &token)
}

fn spawn(under: Under, case: &str) -> Case {
    let options =
        json!({"instance_id": "i1", "signing_secret": SECRET, "shared_secret": "hush-shared"});
    let gateway = gateway();
    let program = compiler::program(&["c/dispatch_auth.c"]);
    let options = options.to_string();
    Case::spawn_with(
        under,
        &gateway,
        &program,
        case,
        &[("CHECK_OPTIONS", &options)],
    )
}

/// Answers with so many good dispatches.
fn with_good(under: Under, case: &str, dispatches: usize) -> Case {
    let mut case = spawn(under, case);
    for at in 0..dispatches {
        case.says("good");
        case.tell(&good(&format!("d{at}")).to_string());
    }
    case
}

pub(crate) fn good_then_replayed_under(under: Under) {
    let mut case = with_good(under, "good_then_replayed", 2);
    case.says("shared");
    case.tell(&data("shared_secret", "hush-shared").to_string());
    case.succeeds();
}

#[test]
fn a_good_dispatch_is_accepted_once() {
    good_then_replayed_under(Under::Nothing);
}

pub(crate) fn forged_under(under: Under) {
    let hs256 = json!({"alg": "HS256"});
    let changed = |name: &str, value: Value| {
        let mut claims = good_claims("d");
        claims[name] = value;
        data("svantic_jwt", &signed(&hs256, &claims))
    };
    let token = signed(&hs256, &good_claims("d"));
    let mut case = spawn(under, "forged");
    for (code, data) in [
        ("missing_envelope", json!({"skill_id": "s"})),
        ("malformed_envelope", json!([])),
        ("malformed_envelope", json!({"svantic_auth": token})),
        ("malformed_envelope", data("svantic_jwt", "hush")),
        (
            "malformed_envelope",
            data("svantic_jwt", &format!("{token}=")),
        ),
        ("malformed_envelope", data("svantic_jwt", &"A".repeat(9000))),
        ("malformed_envelope", changed("exp", json!("hush"))),
        ("unsupported_scheme", data("hush", &token)),
        (
            "bad_signature",
            data(
                "svantic_jwt",
                &signed(&json!({"alg": "none"}), &good_claims("d")),
            ),
        ),
        ("bad_signature", data("svantic_jwt", &token[1..])),
        ("expired", changed("exp", json!(1))),
        ("expired", changed("exp", json!(u64::MAX))),
        ("wrong_issuer", changed("iss", json!("hush"))),
        ("wrong_audience", changed("aud", json!("agent:hush"))),
        ("secret_mismatch", data("shared_secret", "hush")),
    ] {
        case.says("code");
        case.tell(&format!("[{code}]"));
        case.says("data");
        case.tell(&data.to_string());
    }
    case.says("code");
    case.tell("done");
    case.succeeds();
}

#[test]
fn forged_dispatches_are_refused_by_their_codes_without_quoting_them() {
    forged_under(Under::Nothing);
}

#[test]
fn of_64_threads_with_one_token_one_is_told_that_it_is_good() {
    with_good(Under::Nothing, "one_of_many_threads", 1).succeeds();
}

#[test]
fn forked_children_verify_even_if_the_parents_threads_were_verifying() {
    with_good(Under::Nothing, "forks_while_threads_verify", 2).succeeds();
}

#[test]
fn trace_context_is_parsed_anywhere() {
    start(&gateway(), "dispatch_auth", "trace_context").succeeds();
}
