//! What a program asks the mesh by itself.

use svantic_gateway::{Faults, Stage};

use crate::life_cycle::wait_for_request;
use crate::process::{Under, assert_clean, gateway, run, start, start_under};

pub(crate) fn registers_by_itself_under(under: Under) {
    let gateway = gateway();
    start_under(under, &gateway, "request", "registers_by_itself").succeeds();
    assert_clean(&gateway);
}

#[test]
fn registers_by_itself() {
    registers_by_itself_under(Under::Nothing);
}

#[test]
fn closed_is_closed() {
    run("request", "closed_is_closed");
}

#[test]
fn an_item_with_the_reply() {
    run("request", "an_item_with_the_reply");
}

#[test]
fn cancel_and_free_end_it() {
    let gateway = gateway();
    gateway.set_faults(Faults {
        stall: Some(Stage::Register),
        ..Faults::default()
    });
    let mut case = start(&gateway, "request", "ends_early");
    case.says("asked");
    wait_for_request(&gateway, "/agents/register");
    case.tell("cancel");
    case.succeeds();
}
