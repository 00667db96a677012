//! HTTP without a server: what a request asks for, and what is answered. The application, or the library's own server,
//! carries the bytes (`protocol.md` 8).

mod head;
mod part;

pub use head::Head;
pub use part::ResponsePart;
