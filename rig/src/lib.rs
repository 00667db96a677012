//! The fault rig: the connector on real sockets, with a gateway, faults in between, and two ledgers.
//!
//! A run has three parts. The **gateway** (`svantic-gateway`) plays the mesh and keeps a ledger of every dispatch and
//! answer. The [`agent`] is an application on the Rust face of the library with a ledger of its own. Between them the
//! [`chaos_proxy`] does to the connection what networks do. Afterwards the [`verdict`] compares the two ledgers
//! against the invariants I1 to I8 of `reliability.md`.
//!
//! Every fault test also runs once with its protection switched off, and must then find violations: a chaos test that
//! cannot fail proves nothing.
//!
//! # Running
//!
//! ```sh
//! cargo test -p svantic-rig                                    # the CI sizes
//! SVANTIC_RIG_DISPATCHES=100000 cargo test -p svantic-rig --test kills   # R-01 in full
//! SVANTIC_RIG_OFFSETS=2000 cargo test -p svantic-rig --test cuts         # R-04 in full
//! SVANTIC_RIG_FRAMES=1000000 cargo test -p svantic-rig --test frames     # R-30, all of it over the socket
//! SVANTIC_RIG_RECONNECTS=10000 SVANTIC_RIG_DISPATCHES=1000000 cargo test -p svantic-rig --test memory
//! SVANTIC_RIG_FORGERIES=100000 cargo test -p svantic-rig --test hosted_abuse          # S-17 in full
//! SVANTIC_RIG_SEED=7 cargo test -p svantic-rig                 # the same dice again
//! cargo xtask soak --minutes 10                                # mixed faults, then a table
//! ```

pub mod agent;
pub mod agent_ledger;
pub mod bad_frames;
pub mod chaos_plan;
pub mod chaos_proxy;
mod chaos_pump;
pub mod dice;
pub mod frame_counter;
pub mod live_bytes;
pub mod load;
pub mod process_facts;
pub mod raw_peer;
pub mod soak_round;
pub mod verdict;
pub mod virtual_link;

use std::time::Duration;

/// How long anything is waited for that must come: generous, since it only ends a test that has failed.
pub const GUARD: Duration = Duration::from_mins(1);
