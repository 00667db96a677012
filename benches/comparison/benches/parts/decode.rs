//! From the text of a frame to what a handler is given.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput};
use svantic::protocol::{
    frame::{self, Kind},
    request::{Beside, RequestText, RequestWriter},
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
            let mut writer = RequestWriter::default();
            bencher.iter(|| black_box(request(&mut writer, black_box(&text))));
        });
    }
    group.finish();
}

fn request(writer: &mut RequestWriter, text: &str) -> RequestText {
    let envelope = frame::parse(text).expect("a frame");
    let dispatch = &envelope.dispatch;
    let skill_id = frame::text_in(dispatch.skill_id).expect("a skill");
    let args = dispatch.args.expect("arguments").get();
    let deadline = Duration::from_mins(5);
    let beside = Beside::default();
    writer.write(
        "",
        &envelope.id,
        &skill_id,
        args,
        deadline,
        dispatch,
        beside,
    )
}
