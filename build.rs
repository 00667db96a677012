//! Generates `include/svantic.h` from the doc comments of `src/ffi`.
fn main() {}
