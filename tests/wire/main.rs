//! The network, through the exported functions of the C ABI, against the local gateway over real sockets: what is
//! refused, what stalls, what breaks, what comes back, and what must never be seen.

mod abi;

mod amnesia;
mod cancel;
mod connect_refused;
mod connect_retried;
mod connect_url;
mod dispatch_rules;
mod fragments;
mod frames;
mod heartbeats;
mod hosted_dispatches;
mod listen;
mod mutual_tls;
mod network_changed;
mod outages;
mod proxy;
mod redirects;
mod replies;
mod requests;
mod rotation;
mod secrets;
mod stalls;
mod tls;
mod tokens;
mod unreachable;
mod upgrade_refused;
