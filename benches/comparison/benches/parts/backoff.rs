//! When to try again: a herd of thousands asks at the same moment.

use std::{hint::black_box, time::Duration};

use criterion::Criterion;
use fastrand::Rng;
use svantic::machine::backoff::{Backoff, Cause};

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut rng = Rng::with_seed(7);
    let mut backoff = Backoff::new(None, true);
    let mut now = Duration::ZERO;
    criterion.bench_function("backoff/next", |bencher| {
        bencher.iter(|| {
            now = backoff.next(now, black_box(Cause::Crash), None, &mut rng);
            black_box(now);
        });
    });
}
