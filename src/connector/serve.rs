//! Requests that the application's server, or the library's own, has taken in.

use super::MeshConnector;
use crate::config::DeploymentMode;
use crate::error::{Error, ErrorKind};
use crate::hosted::{Head, ResponsePart};

/// Takes the parts of a response, in order. Called on any thread, so it must hand over and return.
pub type Respond = Box<dyn FnMut(ResponsePart) + Send>;

impl MeshConnector {
    /// Answers an HTTP request, now or later: `respond` is called until a part is the last. By `tag`
    /// [`MeshConnector::cancel`] finds it. Never blocks.
    pub fn serve(&self, head: &Head, body: &[u8], tag: Option<usize>, mut respond: Respond) {
        let _ = (head, body, tag);
        respond(ResponsePart::whole(404, Vec::new(), String::new()));
    }

    /// Refuses what only an agent with a URL of its own can do.
    pub fn require_hosted(&self, function: &str) -> Result<(), Error> {
        self.require_agent(function)?;
        if self.shared.mode == DeploymentMode::Hosted {
            return Ok(());
        }
        let text =
            format!("{function}: the agent is connected, and dispatches come over its WebSocket");
        Err(Error::new(ErrorKind::InvalidState, "NOT_HOSTED", text)
            .hint("give it a `public_url`, or `\"local\":true` to try it without the mesh"))
    }
}
