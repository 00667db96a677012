//! Which threads run callbacks, how many at once, and in which order.

use std::time::Duration;

use svantic_gateway::{Answer, Snapshot};

use crate::process::{
    HANG, INSTANCE, Under, assert_clean, gateway, play, result, run, send, start, start_under,
};

#[test]
fn one_worker_runs_one_thing_at_a_time() {
    play(
        Under::Nothing,
        "delivery_threads",
        "one_worker",
        |gateway| {
            let sent: Vec<_> = (0..200).map(|_| send(gateway, "work")).collect();
            for pending in &sent {
                assert_eq!(result(pending), "ok");
            }
        },
    );
}

/// Answers of one batch leave together; but none waits for a handler behind it that takes long.
#[test]
fn quick_answers_do_not_wait_for_a_slow_handler_behind_them() {
    let gateway = gateway();
    let mut case = start(&gateway, "delivery_threads", "slow_behind_quick");
    case.says("connected");
    for _ in 0..30 {
        let quick: Vec<_> = (0..3).map(|_| send(&gateway, "quick")).collect();
        let slow = send(&gateway, "slow");
        for pending in &quick {
            // Less than the connector's other timers, which would let them go too.
            let answer = pending.wait(Duration::from_secs(10));
            assert!(matches!(answer, Ok(Answer::Result(_))), "{answer:?}");
        }
        case.tell("go on");
        assert_eq!(result(&slow), "ok");
    }
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn four_workers_run_four_handlers() {
    play(
        Under::Nothing,
        "delivery_threads",
        "four_workers",
        |gateway| {
            let sent: Vec<_> = (0..4).map(|_| send(gateway, "together")).collect();
            for pending in &sent {
                assert_eq!(result(pending), "ok");
            }
        },
    );
}

/// How many heartbeats the gateway has had.
fn beats(seen: &Snapshot) -> u64 {
    seen.agent(INSTANCE).map_or(0, |agent| agent.heartbeats)
}

/// the link and its heartbeats owe nothing to handlers.
#[test]
fn handlers_that_block_every_delivery_thread_hold_up_neither_heartbeats_nor_the_link() {
    let gateway = gateway();
    let mut case = start(&gateway, "delivery_threads", "all_workers_blocked");
    case.says("connected");
    let sent: Vec<_> = (0..64).map(|_| send(&gateway, "block")).collect();
    case.says("blocked");
    let mut before = 0;
    // Long enough for a dead link to be given up once over.
    for _ in 0..60 {
        assert!(gateway.wait_until(HANG, |seen| {
            let beat = beats(seen) > before;
            before = beats(seen);
            beat
        }));
    }
    let agent = gateway.agent(INSTANCE).expect("it is connected");
    assert_eq!(
        (agent.connections, agent.welcomes),
        (1, 1),
        "one link for all of it"
    );
    case.tell("go on");
    for pending in &sent {
        assert_eq!(result(pending), "ok");
    }
    case.tell("leave");
    case.succeeds();
    assert_clean(&gateway);
}

/// R-27b with callbacks: the gateway routes around an agent that has no hand free, for as long as that lasts.
#[test]
fn a_handler_that_blocks_the_only_delivery_thread_shows_as_unhealthy_until_it_returns() {
    let gateway = gateway();
    let mut case = start(&gateway, "delivery_threads", "wedged");
    case.says("connected");
    let tells = |status: &str| {
        assert!(
            gateway.wait_until(HANG, |seen| {
                seen.agent(INSTANCE)
                    .is_some_and(|agent| agent.status == status)
            }),
            "{status}: {:?}",
            gateway.statuses(INSTANCE)
        );
    };
    tells("available");
    let mut sent = vec![send(&gateway, "block")];
    case.says("blocked");
    sent.extend((0..4).map(|_| send(&gateway, "block")));
    tells("unhealthy");
    let mut before = None;
    // Longer than it takes to look again whether they are picked up.
    assert!(gateway.wait_until(HANG, |seen| {
        beats(seen) >= 20 + *before.get_or_insert_with(|| beats(seen))
    }));
    assert_eq!(gateway.statuses(INSTANCE), ["available", "unhealthy"]);
    assert!(sent.iter().all(|pending| pending.poll().is_none()));
    case.tell("go on");
    for pending in &sent {
        assert_eq!(result(pending), "ok");
    }
    tells("available");
    assert_eq!(
        gateway.statuses(INSTANCE),
        ["available", "unhealthy", "available"]
    );
    let agent = gateway.agent(INSTANCE).expect("it is connected");
    assert_eq!((agent.connections, agent.welcomes), (1, 1));
    case.tell("leave");
    case.says("stalled moving ");
    case.succeeds();
    assert_clean(&gateway);
}

#[test]
fn events_come_in_the_order_of_what_happened() {
    let gateway = gateway();
    let mut case = start(&gateway, "delivery_threads", "events_in_order");
    let line = case.line();
    case.succeeds();
    let seen: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        seen,
        [
            "connecting",
            "TOKEN",
            "REGISTERED",
            "connected",
            "CONNECTED",
            "draining",
            "DRAINING",
            "DISCONNECTED",
            "closed"
        ]
    );
}

#[test]
fn signals_are_the_hosts() {
    run("delivery_threads", "signals_are_the_hosts");
}

pub(crate) fn user_data_is_released_once_under(under: Under) {
    let gateway = gateway();
    start_under(
        under,
        &gateway,
        "delivery_threads",
        "user_data_is_released_once",
    )
    .succeeds();
    assert_clean(&gateway);
}

#[test]
fn user_data_is_released_once() {
    user_data_is_released_once_under(Under::Nothing);
}

#[test]
fn user_data_is_released_at_the_end() {
    run("delivery_threads", "user_data_is_released_at_the_end");
}
