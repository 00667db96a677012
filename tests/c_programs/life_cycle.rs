//! From create to shutdown, with the mesh's view of it.

use std::time::Duration;

use serde_json::json;
use svantic_gateway::{Faults, Gateway, Stage};

use crate::process::{
    Case, HANG, INSTANCE, Under, assert_clean, gateway, result, run, send, start, start_under,
};

macro_rules! cases {
    ($($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            run("life_cycle", stringify!($case));
        }
    )*};
}

cases!(
    created_and_freed,
    connect_twice,
    disconnect_unconnected,
    before_connect,
    after_disconnect,
    properties,
    again_after_shutdown,
    generated_ids,
);

/// Waits until a request for this path has come in, however it is answered.
pub(crate) fn wait_for_request(gateway: &Gateway, path: &str) {
    let came = gateway.wait_until(HANG, |seen| {
        seen.requests().iter().any(|request| request.path == path)
    });
    assert!(came, "no request for {path}");
}

fn stalled(stage: Stage) -> Faults {
    Faults {
        stall: Some(stage),
        ..Faults::default()
    }
}

pub(crate) fn full_circle_under(under: Under) {
    let gateway = gateway();
    let mut case = start_under(under, &gateway, "life_cycle", "full_circle");
    case.says("connected");
    assert_eq!(result(&send(&gateway, "echo")), "ok");
    case.tell("leave");
    case.succeeds();
    let agent = gateway.agent(INSTANCE).expect("it registered");
    assert_eq!((agent.registrations, agent.deregistrations), (1, 1));
    assert_eq!(agent.open_sockets, 0);
    assert_clean(&gateway);
}

#[test]
fn full_circle() {
    full_circle_under(Under::Nothing);
}

#[test]
fn sessions() {
    let gateway = gateway();
    let mut case = start(&gateway, "life_cycle", "sessions");
    case.says("opened");
    let sessions = gateway.sessions();
    assert_eq!(sessions.len(), 2);
    let users: Vec<_> = sessions
        .iter()
        .filter_map(|s| s.user_id.as_deref())
        .collect();
    assert_eq!(users, ["u1"]);
    assert!(
        sessions
            .iter()
            .all(|s| s.instance_id == INSTANCE && s.status == "active")
    );
    case.tell("close");
    case.succeeds();
    assert!(gateway.sessions().iter().all(|s| s.status == "completed"));
}

/// Runs a program that supplies a token of its own.
fn run_with_token(source: &str, case: &str) {
    let gateway = gateway();
    let token = gateway.issue_token("tester", Duration::from_hours(1));
    let program = crate::compiler::program(&[&format!("c/{source}.c")]);
    Case::spawn_with(
        Under::Nothing,
        &gateway,
        &program,
        case,
        &[("CHECK_TOKEN", &token)],
    )
    .succeeds();
}

#[test]
fn tokens() {
    run_with_token("life_cycle", "tokens");
}

#[test]
fn second_capability() {
    let gateway = gateway();
    let mut case = start(&gateway, "life_cycle", "second_capability");
    case.says("one");
    assert_eq!(gateway.agent(INSTANCE).unwrap().skills(), ["first"]);
    case.tell("go on");
    case.says("two");
    let agent = gateway.agent(INSTANCE).unwrap();
    assert_eq!(agent.skills(), ["first", "second"]);
    assert_eq!(
        (agent.registrations, agent.connections),
        (2, 1),
        "the socket stayed"
    );
    assert_eq!(result(&send(&gateway, "second")), "ok");
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn two_agents() {
    let gateway = gateway();
    let mut case = start(&gateway, "life_cycle", "two_agents");
    case.says("connected");
    for (instance, skill) in [("left", "left_skill"), ("right", "right_skill")] {
        assert_eq!(gateway.agent(instance).unwrap().skills(), [skill]);
        let request = svantic_gateway::DispatchRequest::new(skill, json!({})).to(instance);
        assert_eq!(result(&gateway.begin_dispatch(request)), "ok");
    }
    case.tell("free left");
    case.says("freed left");
    assert_eq!(gateway.agent("left").unwrap().deregistrations, 1);
    let request = svantic_gateway::DispatchRequest::new("right_skill", json!({})).to("right");
    assert_eq!(result(&gateway.begin_dispatch(request)), "ok");
    case.tell("leave");
    case.succeeds();
    assert_eq!(gateway.agent("right").unwrap().deregistrations, 1);
    assert_clean(&gateway);
}

#[test]
fn callbacks_of_every_operation() {
    run_with_token("operations", "callbacks_of_every_operation");
}

#[test]
fn items_of_every_operation() {
    run_with_token("operations", "items_of_every_operation");
}

pub(crate) fn free_cancels_under(under: Under) {
    let gateway = gateway();
    gateway.set_faults(stalled(Stage::SessionInit));
    let mut case = start_under(under, &gateway, "operations", "free_cancels");
    case.says("asked");
    wait_for_request(&gateway, "/sessions/init");
    case.tell("free");
    case.succeeds();
}

#[test]
fn free_cancels() {
    free_cancels_under(Under::Nothing);
}

/// A connect that is stuck, then sessions and an announcement that are.
fn cancels(case: &str) {
    let gateway = gateway();
    gateway.set_faults(stalled(Stage::Register));
    let mut case = start(&gateway, "operations", case);
    wait_for_request(&gateway, "/agents/register");
    case.tell("cancel connect");
    case.says("cancelled");
    gateway.set_faults(Faults::default());
    case.tell("connect");
    case.says("connected");
    gateway.set_faults(stalled(Stage::SessionInit));
    case.tell("cancel the rest");
    case.says("cancelled");
    // Another stage in the place of this one would let go what is held there, and with it a session that must not end.
    gateway.set_faults(Faults {
        silent: true,
        ..stalled(Stage::SessionInit)
    });
    case.tell("cancel an announcement");
    case.succeeds();
}

#[test]
fn cancel_ends_callbacks() {
    cancels("cancel_ends_callbacks");
}

#[test]
fn cancel_ends_items() {
    cancels("cancel_ends_items");
}

#[test]
fn whatever_a_cancel_races_with_each_completion_comes_once() {
    run("operations", "cancel_races_with_the_outcome");
}

#[test]
fn free_ends_a_blocking_call() {
    let gateway = gateway();
    gateway.set_faults(stalled(Stage::Register));
    let mut case = start(&gateway, "operations", "free_ends_a_blocking_call");
    wait_for_request(&gateway, "/agents/register");
    case.tell("free");
    case.succeeds();
}

#[test]
fn shutdown_cancels() {
    let gateway = gateway();
    gateway.set_faults(stalled(Stage::Register));
    let mut case = start(&gateway, "operations", "shutdown_cancels");
    wait_for_request(&gateway, "/agents/register");
    case.tell("shut down");
    case.succeeds();
}

#[test]
fn a_shutdown_that_comes_before_the_first_look_cancels_too() {
    run("operations", "shutdown_at_the_start");
}
