//! Answers that leave without the driver, on real sockets and threads.

use std::io::Read as _;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use svantic_gateway::{Answer, DispatchRequest, Gateway, Options};

use super::*;
use crate::connector::desk::{HANG, Work, desk};
use crate::connector::link::tests::{link, pair};
use crate::connector::{Completion, Haste, MeshConnector};
use crate::net::stream::{Counted, Stream};
use crate::runtime;

fn connected(instance: &str, busy_poll_us: u32) -> (Gateway, MeshConnector, Work) {
    crate::ffi::kernel::install();
    let gateway = Gateway::start(Options::default()).unwrap();
    let config = json!({"svantic_url": gateway.url(), "client_id": gateway.client_id(),
        "client_secret": gateway.client_secret(), "name": "desk", "description": "d",
        "instance_id": instance, "busy_poll_us": busy_poll_us});
    let (connector, work) = desk(&config);
    let (sender, done) = channel();
    let completion = Completion::new(move |result| {
        let _ = sender.send(result.map(|_| ()));
    });
    connector.connect(None, completion);
    done.recv_timeout(HANG).unwrap().unwrap();
    (gateway, connector, work)
}

/// Keeps the I/O thread from doing anything until this is dropped.
fn hold_up_the_io_thread() -> Sender<()> {
    let (release, released) = channel::<()>();
    let (sender, held) = channel();
    runtime::get().unwrap().handle().spawn(async move {
        let _ = sender.send(());
        let _ = released.recv();
    });
    held.recv_timeout(HANG).unwrap();
    release
}

fn result(answer: Answer) -> Value {
    match answer {
        Answer::Result(result) => result,
        error @ Answer::Error { .. } => panic!("{error:?}"),
    }
}

#[test]
fn answers_leave_while_the_io_thread_does_something_else() {
    let (gateway, connector, work) = connected("berth-1", 0);
    let pending: Vec<_> = (0..3)
        .map(|n| gateway.begin_dispatch(DispatchRequest::new("echo", json!({ "n": n }))))
        .collect();
    let given: Vec<_> = (0..3).map(|_| work.recv_timeout(HANG).unwrap()).collect();
    let _held_up = hold_up_the_io_thread();
    for ((id, request), haste) in given.iter().zip([Haste::Now, Haste::Batch, Haste::Batch]) {
        let result = request["args"].to_string();
        connector.resolve(id, &result, haste).unwrap();
    }
    connector.flush();
    for (n, pending) in pending.iter().enumerate() {
        let answer = pending.wait(HANG).expect("it waits for the I/O thread");
        assert_eq!(result(answer), json!({ "n": n }));
    }
}

#[test]
fn answers_of_a_batch_wait_for_its_end_where_the_driver_does_not_linger() {
    let (gateway, connector, work) = connected("berth-4", 0);
    // One after the other: it lingers for those that it hands out together.
    let (pending, given): (Vec<_>, Vec<_>) = (0..3)
        .map(|n| {
            let pending = gateway.begin_dispatch(DispatchRequest::new("echo", json!({ "n": n })));
            (pending, work.recv_timeout(HANG).unwrap())
        })
        .unzip();
    let _held_up = hold_up_the_io_thread();
    let waits = || connector.shared.lock().machine.has_actions();
    for (id, request) in &given {
        let result = request["args"].to_string();
        connector.resolve(id, &result, Haste::Batch).unwrap();
        assert!(waits(), "it was written by itself");
    }
    connector.flush();
    assert!(!waits());
    for (n, pending) in pending.iter().enumerate() {
        let answer = pending.wait(HANG).expect("it waits for the I/O thread");
        assert_eq!(result(answer), json!({ "n": n }));
    }
}

#[test]
fn threads_that_answer_at_once_lose_and_mix_nothing_whatever_the_size() {
    answer_at_once(connected("berth-2", 0));
}

#[test]
fn an_agent_whose_io_thread_stays_awake_answers_as_any_and_sleeps_when_idle() {
    let agent = connected("berth-3", 1000);
    let busy_poll = runtime::get().unwrap().busy_poll();
    let _idle = answer_at_once(agent);
    // What still comes in after the answers, such as pongs, has it look again for a while.
    let began = Instant::now();
    loop {
        let before = busy_poll.looks_until_sleep();
        assert_ne!(before, Some(0), "it has never looked");
        for _ in 0..50 {
            drop(hold_up_the_io_thread());
        }
        if before.is_some() && busy_poll.looks_until_sleep() == before {
            return;
        }
        assert!(began.elapsed() < HANG, "it never sleeps");
    }
}

fn answer_at_once(agent: (Gateway, MeshConnector, Work)) -> (Gateway, Arc<MeshConnector>) {
    let (gateway, connector, work) = agent;
    let (connector, work) = (Arc::new(connector), Arc::new(Mutex::new(work)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (connector, work) = (Arc::clone(&connector), Arc::clone(&work));
            thread::spawn(move || {
                loop {
                    let next = work.lock().unwrap().recv_timeout(HANG);
                    let (id, request) = next.expect("no more work, and no end");
                    let args = &request["args"];
                    let Some(size) = args["size"].as_u64() else {
                        connector.resolve(&id, "null", Haste::Now).unwrap();
                        return;
                    };
                    let result =
                        json!({"n": args["n"], "text": "x".repeat(usize::try_from(size).unwrap())});
                    let result = result.to_string();
                    connector.resolve(&id, &result, Haste::Now).unwrap();
                }
            })
        })
        .collect();
    // Some of these are more than a thread writes by itself.
    let sizes = [1, 40, 3_000, 70_000, 5, 300_000];
    let pending: Vec<_> = (0..600)
        .map(|n| {
            let args = json!({"n": n, "size": sizes[n % sizes.len()]});
            gateway.begin_dispatch(DispatchRequest::new("echo", args))
        })
        .collect();
    for (n, pending) in pending.iter().enumerate() {
        let answer = result(pending.wait(HANG).unwrap());
        assert_eq!(answer["n"], n);
        let length = answer["text"].as_str().unwrap().len();
        assert_eq!(length, sizes[n % sizes.len()]);
    }
    for _ in &threads {
        gateway.begin_dispatch(DispatchRequest::new("echo", json!({})));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(gateway.violations(), Vec::<String>::new());
    (gateway, connector)
}

#[tokio::test]
async fn a_driver_that_comes_while_the_link_is_lent_is_told_of_its_return() {
    let (ours, _peer) = pair().await;
    let link = link(Stream::plain(Counted::new(ours, false))).await;
    let berth = Berth::default();
    assert!(berth.borrow().is_none(), "there is none");
    berth.put(Box::new(link));
    let lent = berth.borrow().unwrap();
    assert!(berth.borrow().is_none(), "one at a time");
    assert!(!berth.give_back(lent), "nobody came for it");
    let lent = berth.borrow().unwrap();
    assert!(matches!(berth.take(), Err(IsLent)));
    assert!(berth.give_back(lent), "the driver came for it");
    assert!(berth.borrow().is_none(), "it is the driver's turn");
    assert!(matches!(berth.take(), Ok(Some(_))));
    assert!(matches!(berth.take(), Ok(None)));
}

#[tokio::test]
async fn a_link_that_is_lent_when_the_driver_ends_is_closed_by_who_has_it() {
    let (ours, mut peer) = pair().await;
    let link = link(Stream::plain(Counted::new(ours, false))).await;
    let berth = Berth::default();
    berth.put(Box::new(link));
    let lent = berth.borrow().unwrap();
    berth.close();
    assert!(!berth.give_back(lent));
    assert!(berth.borrow().is_none());
    let mut byte = [0];
    let end = tokio::io::AsyncReadExt::read(&mut peer, &mut byte);
    assert_eq!(tokio::time::timeout(HANG, end).await.unwrap().unwrap(), 0);
}

#[test]
fn a_link_that_is_lent_when_its_runtime_ends_is_closed_without_it() {
    let builder = || tokio::runtime::Builder::new_current_thread();
    let runtime = builder().enable_all().build().unwrap();
    let (mut link, mut peer) = runtime.block_on(async {
        let (ours, peer) = pair().await;
        let link = link(Stream::plain(Counted::new(ours, false))).await;
        (link, peer.into_std().unwrap())
    });
    link.leave(Waker::noop());
    let berth = Berth::default();
    berth.put(Box::new(link));
    let mut lent = berth.borrow().unwrap();
    berth.close();
    drop(runtime);
    lent.push(Message::Text("to nobody".into()));
    assert!(lent.flush_elsewhere(), "it has broken");
    assert!(!berth.give_back(lent));
    peer.set_nonblocking(false).unwrap();
    peer.set_read_timeout(Some(HANG)).unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}
