//! The machine, played by hand on a virtual clock, and by a simulation of the mesh and the network.
// Virtual times are subtracted everywhere, and a wrong order is a failed test.
#![allow(clippy::unchecked_time_subtraction)]

mod auth_loop;
mod connecting;
mod coverage;
mod delivery;
mod dispatches;
mod draining;
mod farewell;
mod fences;
mod health;
mod herd;
mod herd_of_machines;
mod hosted;
mod jitter;
mod link_ends;
mod liveness;
mod mesh;
mod outages;
mod pick_up;
mod poison;
mod proxy;
mod queue;
mod refusals;
mod rig;
mod rig_application;
mod rig_mesh;
mod secrets;
mod sessions;
mod simulation;
mod slow_link;
mod suspend;
mod token_life;
mod token_sources;
mod tokens;
mod transitions;
mod wire;
mod world;
