//! The descriptor whose end is the agent's.

use crate::process::{INSTANCE, Under, assert_clean, error, gateway, run, send, start_under};

macro_rules! cases {
    ($($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            run("lifeline", stringify!($case));
        }
    )*};
}

cases!(
    tells_of_items,
    one_and_no_other,
    the_last_copy,
    a_thousand,
    no_sigpipe,
    shut_down
);

pub(crate) fn while_dispatches_run_under(under: Under) {
    let gateway = gateway();
    let mut case = start_under(under, &gateway, "lifeline", "while_dispatches_run");
    case.says("connected");
    let running = send(&gateway, "work");
    case.says("running");
    case.tell("close");
    // As by svantic_free(): answered, and told goodbye.
    assert_eq!(error(&running).0, "AGENT_SHUTDOWN");
    case.says("freed");
    case.tell("leave");
    case.succeeds();
    assert_eq!(gateway.agent(INSTANCE).unwrap().deregistrations, 1);
    assert_clean(&gateway);
}

#[test]
fn while_dispatches_run() {
    while_dispatches_run_under(Under::Nothing);
}
