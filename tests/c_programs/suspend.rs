//! A process that is stopped and goes on.

use std::process::Command;

use crate::process::{Case, HANG, INSTANCE, assert_clean, gateway, result, send, start};

pub(crate) fn signal(case: &Case, name: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -s {name} {}", case.pid())])
        .status();
    assert!(status.expect("there is a shell").success());
}

#[test]
fn a_stopped_process_has_its_link_again_when_it_goes_on() {
    let gateway = gateway();
    let mut case = start(&gateway, "callbacks", "answer_in_the_handler");
    case.says("connected");
    assert_eq!(result(&send(&gateway, "echo")), "ok");
    signal(&case, "STOP");
    assert!(gateway.abort(INSTANCE));
    assert!(gateway.wait_until(HANG, |seen| !seen.is_ready(INSTANCE)));
    signal(&case, "CONT");
    assert!(gateway.wait_until(HANG, |seen| seen.is_ready(INSTANCE)));
    assert_eq!(result(&send(&gateway, "echo")), "ok");
    assert_eq!(gateway.agent(INSTANCE).unwrap().connections, 2);
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}
