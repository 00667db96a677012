//! The whole machine: a dispatch comes in, is admitted, delivered, answered, written, fenced and proven.

use criterion::{BatchSize, Criterion, Throughput};
use serde_json::json;
use svantic_rig::virtual_link::VirtualLink;

use crate::{KINDS, dispatches};

/// How many pass between two measurements: enough for the clock, few enough for the memory of ids.
const AT_ONCE: u64 = 64;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admission");
    group.throughput(Throughput::Elements(AT_ONCE));
    for (name, size, shape) in KINDS {
        let mut link = VirtualLink::connected(VirtualLink::config(&json!({})), 7);
        let mut next = 0;
        group.bench_function(format!("{AT_ONCE} dispatches, {name}"), |bencher| {
            bencher.iter_batched(
                || {
                    next += AT_ONCE;
                    dispatches(size, shape, next - AT_ONCE..next)
                },
                |texts| {
                    let before = link.sent;
                    for text in &texts {
                        link.text(text);
                    }
                    assert_eq!(link.sent - before, AT_ONCE);
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}
