//! Which transitions the tests take: all that there are (`reliability.md` R-43).

use super::{
    auth_loop, connecting, delivery, dispatches, draining, fences, hosted, link_ends, liveness,
    raw_link, refusals, rig, sessions, simulation, slow_link, suspend, token_sources, transitions,
};
use crate::machine::{TABLE, Transition};

/// Transitions that no test takes.
const NOT_TAKEN: &[Transition] = &[];

#[test]
fn every_transition_of_the_table_is_taken() {
    // By hand; here and not from the other tests, since those run whenever the harness likes.
    connecting::token_then_register_then_dial_then_hello_then_welcome();
    connecting::no_welcome_is_a_failed_attempt();
    delivery::the_unproven_is_sent_again_byte_for_byte();
    dispatches::a_dispatch_runs_and_is_answered();
    draining::disconnect_works_in_every_state();
    draining::running_work_is_finished_and_proven_and_new_work_refused();
    draining::the_bound_holds_without_a_link_and_the_undelivered_is_reported();
    fences::a_peer_that_lives_but_answers_no_ping_is_not_asked_any_more();
    hosted::heartbeats_that_are_refused_again_and_again_do_not_fetch_tokens_in_a_loop();
    hosted::when_forgotten_it_registers_again();
    link_ends::an_auth_close_renews_the_token_and_dials_at_once_one_time();
    link_ends::the_first_window_follows_from_the_close_code();
    link_ends::the_second_supersession_in_10_minutes_is_final();
    link_ends::without_auto_reconnect_the_first_loss_is_final();
    liveness::any_inbound_byte_is_life();
    slow_link::a_ping_is_not_queued_for_longer_than_a_minute();
    suspend::after_a_suspension_the_link_is_probed_at_once_and_made_again_after_2_s_of_silence();
    suspend::a_changed_network_cuts_a_back_off_short_once_in_5_s();
    refusals::of_the_token_endpoint();
    refusals::of_the_registration();
    refusals::of_the_upgrade();
    refusals::connected_mode_needs_a_connect_url_of_the_mesh();
    refusals::a_forgotten_instance_registers_at_most_once_in_30_s();
    sessions::capabilities_are_announced_over_a_link_that_stays();
    auth_loop::r_22b_a_supplied_token_warns_at_80_and_95_percent_and_blocks_the_next_dial_when_dead(
    );
    token_sources::t3_a_refused_secret_falls_back_to_the_other_which_is_first_from_then_on();
    transitions::t13_a_refusal_without_a_code_is_final_only_before_the_first_link_and_after_10_minutes();
    transitions::t15_a_404_soon_after_a_registration_waits();
    transitions::t16_a_redirect_waits_and_names_the_host();
    transitions::t18_mistrust_is_told_once_for_each_cause_and_waits_up_to_5_minutes();
    transitions::t20_the_third_failure_at_one_address_is_named();
    transitions::t23_and_t24_dispatches_before_the_welcome_are_held_up_to_a_limit();
    raw_link::it_dials_at_once_and_says_what_the_caller_said_and_hands_everything_on();
    raw_link::t55_without_auto_reconnect_a_loss_leads_back_to_idle_and_connect_works_again();
    transitions::t25_t34_t43_t48_and_t50_change_no_state_and_are_counted();
    for seed in 0..100 {
        simulation::live(seed);
    }
    let taken = rig::transitions_of_this_thread();
    let missing: Vec<_> = TABLE
        .iter()
        .map(|(transition, ..)| *transition)
        .filter(|transition| !taken.contains(transition))
        .collect();
    assert_eq!(
        missing,
        NOT_TAKEN,
        "{} of {} taken",
        taken.len(),
        TABLE.len()
    );
}

/// The rows of `reliability.md` 5.2 that are not in the table.
const NOT_IN_THE_TABLE: &[(u32, &str)] = &[(
    36,
    "two sockets that overlap: the mesh has no drain notice (section 8)",
)];

#[test]
fn the_table_has_the_rows_of_the_specification() {
    let mut rows: Vec<u32> = TABLE
        .iter()
        .filter_map(|(transition, ..)| format!("{transition:?}")[1..].parse().ok())
        .filter(|row| *row <= 50)
        .collect();
    rows.sort_unstable();
    let specified: Vec<u32> = (1..=50)
        .filter(|row| NOT_IN_THE_TABLE.iter().all(|(left_out, _)| left_out != row))
        .collect();
    assert_eq!(rows, specified);
}
