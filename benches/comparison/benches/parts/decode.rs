//! From the text of a frame to what a handler is given.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput};
use svantic::protocol::{
    frame::{self, Kind},
    request::{self, Beside},
};

use crate::{KINDS, dispatches};

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, size, shape) in KINDS {
        let text = dispatches(size, shape, 7..8).remove(0);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("parse, {name}"), |bencher| {
            bencher.iter(|| {
                let envelope = frame::parse(black_box(&text)).expect("a frame");
                assert_eq!(envelope.kind, Kind::Dispatch);
                black_box(&envelope);
            });
        });
        group.bench_function(format!("parse and request, {name}"), |bencher| {
            bencher.iter(|| black_box(request(black_box(&text))));
        });
    }
    group.finish();
}

fn request(text: &str) -> String {
    let envelope = frame::parse(text).expect("a frame");
    let dispatch = &envelope.dispatch;
    let skill_id = frame::text_in(dispatch.skill_id).expect("a skill");
    let args = dispatch.args.expect("arguments").get();
    let deadline = Duration::from_mins(5);
    let beside = Beside::default();
    request::write(
        "",
        &envelope.id,
        &skill_id,
        args,
        deadline,
        dispatch,
        beside,
    )
}
