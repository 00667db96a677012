//! Which transitions the tests take: all that there are (`reliability.md` R-43).

use super::{
    connecting, delivery, dispatches, draining, fences, hosted, link_ends, liveness, refusals, rig,
    sessions, simulation, slow_link, suspend, tokens,
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
    tokens::a_supplied_one_warns_at_80_and_95_percent_and_blocks_the_next_dial_when_dead();
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
