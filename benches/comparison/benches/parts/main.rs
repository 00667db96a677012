//! The parts of the dispatch path, one by one: `cargo bench -p svantic-bench`, with a word only those that have it in their
//! name. What a whole dispatch costs says `cargo xtask bench`; these say where to look.

mod admission;
mod backoff;
mod decode;
mod encode;
mod outbox;

use criterion::{criterion_group, criterion_main};
use svantic_bench::{
    traffic::{Shape, Traffic},
    websocket::Head,
};

/// The texts of dispatches with these numbers, of the kinds of work that comparisons measure.
fn dispatches(size: usize, shape: Shape, numbers: impl Iterator<Item = u64>) -> Vec<String> {
    let mut traffic = Traffic::new(size, shape);
    let mut text = |number| {
        let mut frame = Vec::new();
        traffic.push(&mut frame, number);
        let head = Head::read(&frame).expect("a whole frame");
        String::from_utf8(frame.split_off(head.head)).expect("text")
    };
    numbers.map(&mut text).collect()
}

/// The kinds, under the names that the benches have.
const KINDS: [(&str, usize, Shape); 4] = [
    ("32 B", 32, Shape::Text),
    ("1 KiB of text", 1 << 10, Shape::Text),
    ("1 KiB of objects", 1 << 10, Shape::Objects),
    ("64 KiB of text", 64 << 10, Shape::Text),
];

criterion_group!(
    parts,
    decode::benches,
    encode::benches,
    outbox::benches,
    admission::benches,
    backoff::benches
);
criterion_main!(parts);
