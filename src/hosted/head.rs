//! What a request starts with.

use http::{HeaderMap, Method};

/// A request without its body.
#[derive(Debug, Clone)]
pub struct Head {
    /// `GET`, `POST`, …
    pub method: Method,
    /// The path as the client wrote it; a query behind it is not looked at.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Who asks: an address, with or without a port. `None` where the server does not know.
    pub peer: Option<String>,
}

impl Head {
    /// The path alone.
    pub(crate) fn bare_path(&self) -> &str {
        let end = self.path.find(['?', '#']).unwrap_or(self.path.len());
        &self.path[..end]
    }

    /// The one value of a header that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
