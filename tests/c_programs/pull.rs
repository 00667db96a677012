//! Pull delivery: items, batches, the descriptor, and the end of all three.

use std::time::Duration;

use serde_json::json;

use crate::compiler;
use crate::process::{
    Case, INSTANCE, Under, assert_clean, error, gateway, result, run, send, send_args, start,
    start_under,
};

macro_rules! cases {
    ($source:literal: $($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            run($source, stringify!($case));
        }
    )*};
}

cases!("pull": nothing_to_take, disconnect_wakes_and_closes, closed_unconnected, free_while_threads_wait);

cases!("notify_fd": readable_while_items_are_left, asked_for_late, closed_before_free, shows_the_end);

pub(crate) fn items_under(under: Under) {
    let gateway = gateway();
    let mut case = start_under(under, &gateway, "pull", "items");
    case.says("connected");
    let first = send_args(&gateway, "work", json!({"n": 1}));
    assert_eq!(result(&first), "taken");
    let second = send(&gateway, "work");
    assert_eq!(error(&second), ("BUSY".to_owned(), "no hands".to_owned()));
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn items() {
    items_under(Under::Nothing);
}

pub(crate) fn batches_under(under: Under) {
    let gateway = gateway();
    let mut case = start_under(under, &gateway, "pull", "batches");
    case.says("connected");
    let sent: Vec<_> = (0..5)
        .map(|n| send_args(&gateway, "work", json!({"n": n})))
        .collect();
    assert_eq!(result(&sent[0]), json!({"a": [1, null]}));
    assert_eq!(result(&sent[1]), json!(null));
    let (code, message) = error(&sent[2]);
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("HANDLER_ERROR", "capability \"work\" failed: broke")
    );
    assert_eq!(
        error(&sent[3]),
        ("SOLD_OUT".to_owned(), "none \"left\"".to_owned())
    );
    assert_eq!(result(&sent[4]), "€");
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn batches() {
    batches_under(Under::Nothing);
}

#[test]
fn flat_batches() {
    let gateway = gateway();
    let mut case = start(&gateway, "pull", "flat_batches");
    case.says("connected");
    let first = send_args(&gateway, "work", json!({"n": 123_456_789_012_345_678_u64}));
    assert_eq!(result(&first), json!({"a": ["]"]}));
    let second = send_args(
        &gateway,
        "work",
        json!({"n": 1_234_567_890_123_456_789_u64}),
    );
    assert_eq!(error(&second).0, "INVALID_RESULT");
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn four_threads_take_each_item_once() {
    let gateway = gateway();
    let mut case = start(&gateway, "pull", "four_threads");
    case.says("connected");
    let sent: Vec<_> = (0..400).map(|_| send(&gateway, "work")).collect();
    for pending in &sent {
        assert_eq!(result(pending), true);
    }
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

pub(crate) fn epoll_loop_under(under: Under) {
    let gateway = gateway();
    let mut case = start_under(under, &gateway, "notify_fd", "epoll_loop");
    case.says("connected");
    let sent: Vec<_> = (0..1000).map(|_| send(&gateway, "work")).collect();
    for pending in &sent {
        assert_eq!(result(pending), "served");
    }
    case.succeeds();
    assert_eq!(gateway.agent(INSTANCE).unwrap().deregistrations, 1);
    assert_clean(&gateway);
}

#[test]
fn an_epoll_loop_serves_a_thousand() {
    epoll_loop_under(Under::Nothing);
}

#[test]
fn events_that_nobody_takes() {
    let gateway = gateway();
    let token = gateway.issue_token("tester", Duration::from_hours(1));
    let program = compiler::program(&["c/pull.c"]);
    let token = [("CHECK_TOKEN", token.as_str())];
    Case::spawn_with(
        Under::Nothing,
        &gateway,
        &program,
        "events_that_nobody_takes",
        &token,
    )
    .succeeds();
}
