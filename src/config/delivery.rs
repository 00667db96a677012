//! How work and completions reach the application.

use super::fields::Fields;
use crate::error::{Error, ErrorKind};

/// How work and completions reach the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryMode {
    /// Called back on this many threads that the library owns.
    Callbacks {
        /// The number of delivery threads.
        workers: usize,
    },
    /// Dispatches on the I/O thread, by handlers that do not block; the rest called back on a thread of its own.
    Inline,
    /// Handed out on demand.
    Pull,
}

/// `delivery` and `workers`.
pub(super) fn delivery(fields: &mut Fields) -> Result<DeliveryMode, Error> {
    let modes = [
        ("callbacks", DeliveryMode::Callbacks { workers: 1 }),
        ("inline", DeliveryMode::Inline),
        ("pull", DeliveryMode::Pull),
    ];
    let mode = fields.choice("delivery", &modes)?;
    let workers = fields.integer("workers", 1..=64)?;
    let none = |why: &str| {
        Err(Error::new(
            ErrorKind::InvalidArgument,
            "INVALID_CONFIG",
            why.to_owned(),
        ))
    };
    match (mode.unwrap_or(modes[0].1), workers) {
        (mode, None) => Ok(mode),
        (DeliveryMode::Callbacks { .. }, Some(workers)) => Ok(DeliveryMode::Callbacks {
            workers: usize::try_from(workers).unwrap_or(1),
        }),
        (DeliveryMode::Inline, Some(_)) => none(
            "`workers` has no meaning with \"delivery\":\"inline\": handlers run on the one I/O thread",
        ),
        (DeliveryMode::Pull, Some(_)) => none(
            "`workers` has no meaning with \"delivery\":\"pull\": the threads that call svantic_next are the workers",
        ),
    }
}
