//! From a result to the text of a frame.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use svantic::protocol::{
    frame,
    frame_writer::{FrameWriter, Stamp},
    timestamp::push_timestamp,
};
use uuid::Uuid;

use crate::{KINDS, dispatches};

const NOW: u64 = 1_777_622_400_001;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, size, shape) in KINDS {
        let text = dispatches(size, shape, 7..8).remove(0);
        let envelope = frame::parse(&text).expect("a frame");
        let result = envelope.dispatch.args.expect("arguments").get();
        let stamp = Stamp {
            id: Uuid::from_u128(7),
            unix_ms: NOW,
        };
        let mut writer = FrameWriter::default();
        group.throughput(Throughput::Bytes(result.len() as u64));
        group.bench_function(format!("dispatch_result, {name}"), |bencher| {
            bencher.iter(|| {
                let frame =
                    writer.dispatch_result(stamp, &envelope.id, black_box(result), usize::MAX);
                black_box(frame.is_ok())
            });
        });
    }
    group.finish();
    let mut text = String::with_capacity(24);
    criterion.bench_function("encode/timestamp", |bencher| {
        bencher.iter(|| {
            text.clear();
            push_timestamp(&mut text, black_box(NOW));
            black_box(&text);
        });
    });
}
