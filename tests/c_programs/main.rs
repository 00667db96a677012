//! The C and C++ programs of the tests, run as what they are: real processes that know the library by its header and
//! its shared object only. Each test runs one case of a program and plays the mesh for it.
#![cfg(target_os = "linux")]

mod arguments;
mod callbacks;
mod compiler;
mod cpp;
mod delivery_threads;
mod dispatch_auth;
mod exit;
mod hosted_examples;
mod inline;
mod life_cycle;
mod lifeline;
mod process;
#[path = "../wire/abi/proxy.rs"]
#[allow(dead_code, reason = "the tests of the wire use the rest")]
mod proxy;
mod pull;
mod request;
mod serve;
mod suspend;
mod transport;
mod valgrind;
