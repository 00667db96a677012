//! Answers on their way: kept, written, fenced and proven.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, Throughput};
use svantic::{
    machine::{
        action::DispatchId,
        outbox::{Outbox, Write},
        protections::Protections,
    },
    protocol::frame::FrameText,
};

const CONNECTION: u64 = 1;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outbox");
    for answers in [1, 64, 1024] {
        let ids: Vec<DispatchId> = (0..answers).map(|n| format!("d-{n:016x}").into()).collect();
        let frame = FrameText::from("x".repeat(200));
        group.throughput(Throughput::Elements(answers));
        group.bench_function(format!("push, flush and prove {answers}"), |bencher| {
            bencher.iter_batched(
                || Outbox::new(Protections::default()),
                |outbox| pass(outbox, &ids, &frame),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Every answer goes out as soon as it is there; the pongs come when all are out.
fn pass(mut outbox: Outbox, ids: &[DispatchId], frame: &FrameText) -> Outbox {
    let now = Duration::ZERO;
    let mut fence = None;
    let mut write = |write| match write {
        Write::Frame(text) => drop(black_box(text)),
        Write::Fence(number) => fence = Some(number),
    };
    for id in ids {
        outbox.push(DispatchId::clone(id), frame.clone(), Duration::from_mins(5));
        outbox.flush(CONNECTION, now, &mut write);
    }
    while let Some(number) = fence.take() {
        let mut write = |write| {
            if let Write::Fence(number) = write {
                fence = Some(number);
            }
        };
        outbox.proven(CONNECTION, number, now, &mut write);
    }
    outbox
}
