//! HTTP without a server: what a request asks for, and what is answered. The application, or the library's own server,
//! carries the bytes (`protocol.md` 8).
//!
//! Everything here is text in and text out. Who is let in is decided by [`crate::verification`] and the machine.

mod call;
mod card;
mod fingerprint;
pub(crate) mod gate;
mod head;
mod part;
mod response;
mod site;

pub(crate) use call::{Trouble, read};
pub use head::Head;
pub use part::{Respond, ResponsePart};
pub(crate) use response::{ended, no_thread, render, turned_away};
pub(crate) use site::{Route, Site, not_served};
