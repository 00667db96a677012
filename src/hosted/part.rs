//! What a request is answered with, in one part or several.

/// Takes the parts of a response, in order. Called on any thread, so it must hand over and return.
pub type Respond = Box<dyn FnMut(ResponsePart) + Send>;

/// A part of a response. Each request gets exactly one that is the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponsePart {
    /// Status and headers, in the first part; `None` in the others.
    pub head: Option<(u16, Vec<(&'static str, String)>)>,
    /// So much of the body.
    pub body: String,
    /// Whether others follow.
    pub more: bool,
    /// Nobody waits for the response any more, at the caller's own wish; there is no head if none was given before.
    pub cancelled: bool,
}

impl ResponsePart {
    /// A whole response.
    pub fn whole(status: u16, headers: Vec<(&'static str, String)>, body: String) -> Self {
        Self {
            head: Some((status, headers)),
            body,
            more: false,
            cancelled: false,
        }
    }

    /// The same with one more header, if it has a head.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Some((_, headers)) = &mut self.head {
            headers.push((name, value.to_owned()));
        }
        self
    }

    /// The last part of a response that nobody waits for.
    pub fn cancelled() -> Self {
        Self {
            cancelled: true,
            ..Self::default()
        }
    }
}
