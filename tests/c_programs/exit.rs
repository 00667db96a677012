//! Programs that end without a word, that fork, and that load and unload the library.

use std::fs;
use std::path::Path;

use serde_json::json;
use svantic_gateway::{DispatchRequest, Gateway, Options};

use crate::compiler;
use crate::process::{
    Case, HANG, INSTANCE, Under, assert_clean, gateway, result, run, send, start,
};
use crate::proxy::Proxy;

#[test]
fn a_hundred_exits_without_free() {
    let gateway = gateway();
    for _ in 0..100 {
        start(&gateway, "exit", "return_from_main").succeeds();
    }
    assert_eq!(gateway.agent(INSTANCE).unwrap().registrations, 100);
    assert_clean(&gateway);
}

#[test]
fn exit_without_connecting() {
    run("exit", "return_without_connecting");
}

#[test]
fn exit_during_a_callback() {
    let gateway = gateway();
    for _ in 0..10 {
        let mut case = start(&gateway, "exit", "exit_during_a_callback");
        case.says("connected");
        let request = DispatchRequest::new("hang", json!({})).to(INSTANCE);
        let _unanswered = gateway.begin_dispatch(request);
        case.succeeds();
        // The next one must not be given the old dispatch again.
        assert!(gateway.wait_until(HANG, |seen| !seen.is_ready(INSTANCE)));
    }
    assert_eq!(gateway.violations(), Vec::<String>::new());
}

#[test]
fn exit_while_a_thread_pulls() {
    let gateway = gateway();
    for _ in 0..20 {
        start(&gateway, "exit", "exit_while_a_thread_pulls").succeeds();
    }
}

#[test]
fn fifty_lives_leave_no_thread_and_no_descriptor() {
    run("exit", "fifty_lives");
}

/// I7, with all that the network side holds beside its sockets.
#[test]
fn no_thread_and_no_descriptor_outlives_a_shutdown() {
    let gateway = Gateway::start(Options {
        tls: true,
        ..Options::default()
    })
    .expect("a gateway starts");
    let ca = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("nothing-is-left-{}.pem", std::process::id()));
    fs::write(&ca, gateway.ca_pem().expect("it speaks TLS")).expect("room for a file");
    let proxy = Proxy::start();
    let program = compiler::program(&["c/exit.c"]);
    let variables = [
        ("CHECK_CA_FILE", ca.to_str().expect("UTF-8")),
        ("CHECK_PROXY", &proxy.url("")),
    ];
    let case = Case::spawn_with(
        Under::Nothing,
        &gateway,
        &program,
        "nothing_is_left",
        &variables,
    );
    case.succeeds();
    fs::remove_file(&ca).expect("it is there");
    assert!(
        proxy.count("CONNECT") > 3 * 12,
        "every link went through it"
    );
    assert_clean(&gateway);
}

#[test]
fn a_forked_child_is_refused_and_the_parent_goes_on() {
    let gateway = gateway();
    let mut case = start(&gateway, "exit", "fork_after_connect");
    case.says("forked");
    assert_eq!(result(&send(&gateway, "echo")), "ok");
    let agent = gateway.agent(INSTANCE).unwrap();
    assert_eq!(
        (agent.connections, agent.open_sockets, agent.deregistrations),
        (1, 1, 0),
        "the child's end did not touch the parent's connection"
    );
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn fork_before_create() {
    let gateway = gateway();
    start(&gateway, "exit", "fork_before_create").succeeds();
    for instance in ["child", "parent"] {
        assert_eq!(gateway.agent(instance).unwrap().deregistrations, 1);
    }
}

#[test]
fn fork_and_exec() {
    let gateway = gateway();
    start(&gateway, "exit", "fork_and_exec").succeeds();
    assert_eq!(gateway.agent("execed").unwrap().connections, 1);
}

#[test]
fn loaded_and_unloaded_twenty_times() {
    let gateway = gateway();
    let program = compiler::program(&["c/unload.c"]);
    Case::spawn(Under::Nothing, &gateway, &program, "twenty_times").succeeds();
    let agent = gateway.agent(INSTANCE).unwrap();
    assert_eq!((agent.connections, agent.deregistrations), (20, 20));
    assert_clean(&gateway);
}

#[test]
fn unloaded_while_its_threads_run() {
    let gateway = gateway();
    let program = compiler::program(&["c/unload.c"]);
    let mut case = Case::spawn(Under::Nothing, &gateway, &program, "while_its_threads_run");
    case.says("unloaded");
    // The I/O thread still answers: with an error, since nobody defined a capability.
    let (code, _) = crate::process::error(&send(&gateway, "nothing"));
    assert_eq!(code, "UNKNOWN_SKILL");
    case.tell("go on");
    case.succeeds();
}
