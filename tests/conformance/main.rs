//! The conformance scenarios of `conformance/scenarios`, run against every face of the library in every delivery:
//! each is played by a local gateway and a real process that knows the library as its users do.
#![cfg(target_os = "linux")]

#[path = "../c_programs/compiler.rs"]
mod compiler;
mod driver;
mod expectation;
mod face;
mod interpreter;
mod judge;
mod pattern;
mod play;
mod record;
mod scenario;
mod self_test;
mod step;
mod table;

/// One test a file, and the list of them all.
macro_rules! scenarios {
    ($($name:ident)*) => {
        /// The names of the files.
        const SCENARIOS: &[&str] = &[$(stringify!($name)),*];

        mod scenarios {
            $(#[test]
            fn $name() {
                super::run(stringify!($name));
            })*
        }
    };
}

scenarios! {
    a_connection_that_is_not_resumed
    a_forgotten_instance
    args_that_are_no_object
    call_sent_again_after_an_outage
    close_4401_renews_the_token
    close_4409_waits
    closes_that_a_redial_mends
    connect_url_on_a_foreign_host
    cut_before_the_welcome
    deadline
    define_and_re_register
    dispatch_before_the_welcome
    drain_over_a_lost_link
    drain_told_twice
    drain_with_a_hung_handler
    drain_with_work_in_flight
    duplicate_after_a_refusal
    duplicate_after_the_answer
    duplicate_on_every_socket
    duplicate_while_running
    full_circle
    handler_errors_redacted
    handler_kinds
    heartbeats
    hosted_calls
    http_call_with_a_dead_token
    living_peer
    mesh_falls_silent
    mesh_that_pings
    no_reconnect_if_not_wanted
    no_welcome
    overload
    oversized_frame
    poisoned_result
    protocol_closes_are_final
    quit
    re_register_during_an_outage
    refresh_token
    refused_dispatches
    register_401_renews_the_token
    register_403_is_final
    register_403_of_a_proxy
    register_503_then_accepted
    register_503_with_retry_after
    result_finished_while_down
    result_that_is_no_json
    result_that_is_no_text
    result_too_large
    rst_with_a_result_in_flight
    sessions
    sessions_need_a_connection
    sigterm
    silent_peer
    strange_frames
    token_endpoint_unwell
    token_expires_mid_connection
    token_refused_then_accepted
    token_request_refused_for_good
    trace_context
    upgrade_401_again_blocks
    upgrade_401_renews_the_token
    upgrade_404_of_a_fresh_registration
    upgrade_redirected
    wrong_subprotocol
}

/// Runs a scenario on every face in every delivery, side by side, and says what went wrong.
fn run(name: &str) {
    let scenario = scenario::read(name).unwrap_or_else(|error| panic!("{error}"));
    let scenario = &scenario;
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = face::FACES
            .iter()
            .flat_map(|face| {
                face.deliveries
                    .iter()
                    .map(move |delivery| (face, *delivery))
            })
            .map(|(face, delivery)| {
                scope.spawn(move || {
                    let start = std::time::Instant::now();
                    let complaint = play::play(scenario, face, delivery).complaint();
                    table::enter(name, face, delivery, complaint.is_none(), start.elapsed());
                    complaint
                })
            })
            .collect();
        runs.into_iter()
            .filter_map(|run| run.join().expect("a complaint and no panic"))
            .collect()
    });
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_file_is_run() {
    let mut files: Vec<String> = std::fs::read_dir(scenario::directory())
        .expect("the directory of scenarios")
        .map(|file| {
            file.expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    let mut listed: Vec<String> = SCENARIOS
        .iter()
        .map(|name| format!("{name}.json"))
        .collect();
    files.sort();
    listed.sort();
    assert_eq!(
        files, listed,
        "the list in tests/conformance/main.rs is the directory's"
    );
}
