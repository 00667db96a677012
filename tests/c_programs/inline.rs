//! Inline delivery: handlers on the I/O thread.

use serde_json::json;
use svantic_gateway::{DispatchRequest, Gateway};

use crate::process::{
    HANG, INSTANCE, Under, assert_clean, error, gateway, play, result, send, start, start_under,
};

/// So many dispatches at once, each of which is answered.
fn work(gateway: &Gateway, count: usize) {
    let sent: Vec<_> = (0..count).map(|_| send(gateway, "work")).collect();
    for pending in &sent {
        assert_eq!(result(pending), "ok");
    }
}

pub(crate) fn answered_on_the_io_thread_under(under: Under) {
    play(under, "inline", "answered_on_the_io_thread", |gateway| {
        work(gateway, 200);
    });
}

#[test]
fn handlers_run_on_the_io_thread_and_need_no_other() {
    answered_on_the_io_thread_under(Under::Nothing);
}

#[test]
fn a_handler_may_leave_the_answer_to_another_thread() {
    play(Under::Nothing, "inline", "answered_later", |gateway| {
        assert_eq!(result(&send(gateway, "work")), "later");
    });
}

#[test]
fn a_handler_answers_for_another_agent_too() {
    let gateway = gateway();
    let mut case = start(&gateway, "inline", "two_agents");
    case.says("connected");
    let to = |skill: &str, instance: &str| {
        let dispatch = DispatchRequest::new(skill, json!({})).to(instance);
        gateway.begin_dispatch(dispatch.within(HANG))
    };
    for (skill, other, own) in [("each", "by the other", "own"), ("batch", "batch", "batch")] {
        let kept = to("keep", "two");
        case.says("kept");
        assert_eq!(result(&to(skill, "one")), own);
        assert_eq!(result(&kept), other);
    }
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn what_waits_for_a_place_runs_when_there_is_one() {
    play(Under::Nothing, "inline", "one_at_a_time", |gateway| {
        work(gateway, 200);
    });
}

#[test]
fn what_a_handler_never_answers_ends_at_its_deadline() {
    let gateway = gateway();
    let mut case = start(&gateway, "inline", "never_answered");
    case.says("connected");
    let (code, message) = error(&send(&gateway, "work"));
    assert_eq!(code, "HANDLER_ERROR");
    assert!(message.contains("no answer within 200 ms"), "{message}");
    case.tell("answered");
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn events_and_completions_have_a_thread_of_their_own_and_may_wait() {
    let gateway = gateway();
    let mut case = start(&gateway, "inline", "events_and_completions_may_wait");
    case.says("connected");
    work(&gateway, 50);
    assert_eq!(result(&send(&gateway, "async")), "begun");
    case.says("done");
    assert!(gateway.wait_until(HANG, |seen| {
        seen.agent(INSTANCE)
            .is_some_and(|agent| agent.skills().iter().any(|skill| skill == "defined_inline"))
    }));
    assert_eq!(result(&send(&gateway, "defined_inline")), "ok");
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn whatever_waits_would_deadlock_in_a_handler() {
    play(Under::Nothing, "inline", "would_deadlock", |gateway| {
        assert_eq!(result(&send(gateway, "work")), "none of them");
    });
}

pub(crate) fn freed_in_a_handler_under(under: Under) {
    let gateway = gateway();
    let mut case = start_under(under, &gateway, "inline", "freed_in_a_handler");
    case.says("connected");
    let held = send(&gateway, "hold");
    case.says("inside");
    let first = send(&gateway, "work");
    // What is not read before the end is answered by nobody.
    let _behind: Vec<_> = (0..8).map(|_| send(&gateway, "work")).collect();
    case.tell("go on");
    assert_eq!(result(&held), "ok");
    let (code, _) = error(&first);
    assert_eq!(code, "AGENT_SHUTDOWN");
    case.succeeds();
    for instance in [INSTANCE, "two"] {
        assert_eq!(gateway.agent(instance).unwrap().deregistrations, 1);
    }
    assert_eq!(gateway.violations(), Vec::<String>::new());
}

#[test]
fn what_waits_behind_a_handler_that_frees_its_agent_does_not_begin() {
    freed_in_a_handler_under(Under::Nothing);
}

#[test]
fn free_waits_for_a_handler_and_releases_behind_it() {
    let gateway = gateway();
    let mut case = start(&gateway, "inline", "free_waits_for_a_handler");
    case.says("connected");
    let (code, _) = error(&send(&gateway, "work"));
    assert_eq!(code, "AGENT_SHUTDOWN");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn a_shutdown_that_does_not_wait_leaves_the_release_to_the_end_of_the_handler() {
    let gateway = gateway();
    let mut case = start(&gateway, "inline", "shutdown_tells_of_a_handler");
    case.says("connected");
    let _not_answered_for_certain = send(&gateway, "work");
    case.succeeds();
}
