//! The same cases once more under valgrind: nothing is read that was freed, and nothing is lost.

use std::process::Command;

use crate::process::{Under, assert_clean, gateway, start_under};
use crate::{
    callbacks, delivery_threads, dispatch_auth, hosted_examples, inline, life_cycle, lifeline,
    pull, request, serve, transport,
};

/// Whether valgrind is there. In CI it must be.
fn installed() -> bool {
    let found = Command::new("valgrind")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "CI needs valgrind: apt-get install valgrind"
        );
        eprintln!("skipped: valgrind is not installed (apt-get install valgrind)");
    }
    found
}

macro_rules! cases {
    ($($name:ident: $run:path),* $(,)?) => {$(
        #[test]
        fn $name() {
            if installed() {
                $run(Under::Valgrind);
            }
        }
    )*};
}

cases!(
    full_circle: life_cycle::full_circle_under,
    free_cancels: life_cycle::free_cancels_under,
    answer_in_the_handler: callbacks::answer_in_the_handler_under,
    answer_later_from_another_thread: callbacks::answer_later_under,
    rejections: callbacks::rejections_under,
    freed_in_a_handler: callbacks::freed_in_a_handler_under,
    free_waits_for_a_callback: callbacks::free_waits_under,
    answered_inline: inline::answered_on_the_io_thread_under,
    freed_in_an_inline_handler: inline::freed_in_a_handler_under,
    user_data_is_released_once: delivery_threads::user_data_is_released_once_under,
    items: pull::items_under,
    batches: pull::batches_under,
    dispatches_are_verified: dispatch_auth::good_then_replayed_under,
    forged_dispatches: dispatch_auth::forged_under,
    a_transport: transport::whole_life_under,
    wrong_arguments_of_a_transport: transport::wrong_arguments_under,
    a_lifeline_closed_while_dispatches_run: lifeline::while_dispatches_run_under,
    a_registration_by_hand: request::registers_by_itself_under,
    requests_are_served: serve::whole_under,
    responses_in_parts: serve::parts_under,
    freed_while_requests_wait: serve::freed_under,
    an_agent_behind_libmicrohttpd: hosted_examples::behind_libmicrohttpd_under,
    an_epoll_loop_serves_a_thousand: pull::epoll_loop_under,
);

fn alone(source: &str, case: &str) {
    if installed() {
        let gateway = gateway();
        start_under(Under::Valgrind, &gateway, source, case).succeeds();
        assert_clean(&gateway);
    }
}

#[test]
fn arguments() {
    // In one run: it is the start that takes long.
    alone(
        "arguments",
        "garbage_handles use_after_free double_free null_pointers misaligned_pointers invalid_utf8 out_of_range",
    );
}

#[test]
fn properties() {
    alone("life_cycle", "properties");
}

#[test]
fn notify_fd() {
    alone("notify_fd", "shows_the_end");
}

#[test]
fn external_socket() {
    alone(
        "external_socket",
        "a_conversation no_welcome redialed without_auto_reconnect refused_events from_many_threads",
    );
}

#[test]
fn lifeline() {
    alone("lifeline", "one_and_no_other the_last_copy shut_down");
}

/// The proof that these tests can fail.
#[test]
fn a_leak_is_found() {
    if installed() {
        let gateway = gateway();
        let mut case = start_under(
            Under::Valgrind,
            &gateway,
            "leak",
            "a_string_that_nobody_frees",
        );
        let status = case.end();
        assert_eq!(status.code(), Some(9), "{status}");
    }
}
