//! Delivery threads that have nothing to do.

use std::ffi::{c_char, c_void};
use std::sync::atomic::AtomicUsize;

use super::super::lanes::{Done, Notify, UserData};
use super::*;
use crate::agent::Capability;
use crate::machine::action::{Dispatch, Output};

static CALLS: AtomicUsize = AtomicUsize::new(0);

static LATE_CALLS: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn count_late(_: *mut c_void, _: i32, _: *const c_char, _: usize) {
    LATE_CALLS.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn count(_: *mut c_void, _: i32, _: *const c_char, _: usize) {
    CALLS.fetch_add(1, Ordering::SeqCst);
}

fn done(run: crate::ffi::callback::svantic_done_fn) -> Control {
    let notify = Notify::Callback(run, UserData(std::ptr::null_mut()));
    let result = Ok(Output::Nothing);
    Control::Done(Done { notify, result })
}

fn callbacks(workers: usize) -> DeliveryQueue {
    DeliveryQueue::new(DeliveryMode::Callbacks { workers })
}

/// Waits until the queue has no thread.
fn threads_have_ended(queue: &DeliveryQueue) {
    let (lanes, waited) = queue
        .changed
        .wait_timeout_while(queue.lock(), Duration::from_mins(1), |lanes| {
            lanes.workers > 0
        })
        .unwrap();
    assert!(!waited.timed_out(), "{} threads", lanes.workers);
}

#[test]
fn a_thread_without_work_ends_and_another_takes_what_comes_later() {
    let queue = Arc::new(callbacks(2));
    for calls in 1..=3 {
        queue.push(done(Some(count)));
        assert!(queue.lock().workers > 0, "somebody is to run it");
        threads_have_ended(&queue);
        assert_eq!(CALLS.load(Ordering::SeqCst), calls);
    }
    assert!(queue.free(None));
}

#[test]
fn what_nobody_hears_starts_no_thread() {
    let queue = Arc::new(callbacks(1));
    queue.push(done(None));
    assert_eq!(queue.lock().workers, 0);
    let pulled = Arc::new(DeliveryQueue::new(DeliveryMode::Pull));
    pulled.push(done(None));
    assert!(pulled.lock().has_items(), "a pull hands everything out");
}

#[test]
fn nothing_is_called_behind_a_free_that_has_waited_for_all() {
    let queue = Arc::new(callbacks(1));
    assert!(queue.free(None));
    queue.push(done(Some(count)));
    assert_eq!(queue.lock().workers, 0);
}

#[test]
fn what_ends_behind_a_free_that_did_not_wait_is_still_told() {
    let queue = Arc::new(callbacks(1));
    assert!(queue.free(Some(Instant::now())));
    queue.push(done(Some(count_late)));
    threads_have_ended(&queue);
    assert_eq!(LATE_CALLS.load(Ordering::SeqCst), 1);
}

static HANDLED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn handle(_: *mut c_void, _: *const c_char, _: *const c_char, _: usize) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn a_panic_costs_an_item_and_not_the_thread() {
    let queue = Arc::new(callbacks(1));
    let owned = Owned::new(std::ptr::null_mut(), None);
    queue.add_handler(Some(handle), owned, || Ok(0)).unwrap();
    let capability = Capability::parse(r#"{"name":"a","description":"d"}"#).unwrap();
    let capability = Arc::new(capability);
    let mut batch = ["an id that nobody lets in".repeat(8), "d".to_owned()]
        .map(|id| {
            Delivery::Dispatch(Dispatch {
                id: id.as_str().into(),
                capability: Arc::clone(&capability),
                request: String::new().into(),
            })
        })
        .into();
    QueueSink(Arc::clone(&queue)).deliver(&mut batch);
    threads_have_ended(&queue);
    assert_eq!(HANDLED.load(Ordering::SeqCst), 1);
    assert!(queue.free(None));
}

#[test]
fn the_thread_that_is_to_release_everything_waits_for_the_end() {
    let queue = Arc::new(callbacks(1));
    assert!(queue.release_at_exit());
    assert!(!queue.end_worker(), "the end has not come");
    queue.lock().close();
    queue.changed.notify_all();
    threads_have_ended(&queue);
}
