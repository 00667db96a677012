//! What a transport has instead of an agent's calls: frames out, and an end in the caller's words.

use std::time::Duration;

use super::{Completion, MeshConnector};
use crate::error::{Error, ErrorKind};
use crate::protocol::frame::{self, FrameText};
use crate::protocol::limits::{MAX_JSON_DEPTH, MAX_JSON_VALUES};

/// How many bytes of frames may wait to be written, beside one that is larger than that.
const MAX_UNWRITTEN_BYTES: usize = 64 << 20;

impl MeshConnector {
    /// Whether this is a link without an agent above it.
    pub fn is_transport(&self) -> bool {
        self.shared.raw
    }

    /// Hands a frame, any JSON object, to the link. Never blocks.
    pub fn send_frame(&self, frame_json: &str) -> Result<(), Error> {
        self.require_transport("send_frame")?;
        if !frame::is_object(frame_json) {
            let text = format!(
                "send_frame: the frame is not one JSON object, nested deeper than {MAX_JSON_DEPTH} levels, or of more than \
                 {MAX_JSON_VALUES} values"
            );
            return Err(Error::new(ErrorKind::InvalidJson, "INVALID_FRAME", text));
        }
        // Copied before the lock is taken.
        let (text, length) = (FrameText::from(frame_json), frame_json.len());
        let mut core = self.shared.lock();
        let unwritten = core.handed_over + core.in_link;
        let full = unwritten > 0 && unwritten + length > MAX_UNWRITTEN_BYTES;
        if full || (self.shared.external && !self.shared.sink.may_send()) {
            drop(core);
            let text = "send_frame: too much waits to be written already";
            return Err(Error::new(ErrorKind::InvalidState, "BACKLOG_FULL", text)
                .hint("the peer reads slower than is sent: send again when it has caught up")
                .retryable(true));
        }
        core.machine.send_frame(text)?;
        if !self.shared.external {
            core.handed_over += length;
        }
        drop(core);
        self.shared.settle();
        Ok(())
    }

    /// Closes the link with this close frame; nothing is deregistered.
    pub fn close_transport(
        &self,
        code: u16,
        reason: &str,
        timeout: Option<Duration>,
        done: Completion,
    ) -> Result<(), Error> {
        self.require_transport("close_transport")?;
        let timeout = timeout.unwrap_or(self.shared.drain_timeout);
        self.operate(done, |machine, now, id| {
            machine.close_transport(now, id, code, reason, timeout);
        });
        Ok(())
    }

    pub(super) fn require_transport(&self, what: &str) -> Result<(), Error> {
        if self.is_transport() {
            return Ok(());
        }
        let text = format!("{what}: this is an agent, and its frames are the library's own");
        Err(Error::new(ErrorKind::InvalidState, "NOT_A_TRANSPORT", text)
            .hint("svantic_create_transport makes one"))
    }

    /// Refuses what only an agent can do.
    pub fn require_agent(&self, what: &str) -> Result<(), Error> {
        if !self.is_transport() {
            return Ok(());
        }
        let text = format!("{what}: this is a transport, which has no agent above it");
        Err(Error::new(ErrorKind::InvalidState, "NOT_AN_AGENT", text)
            .hint("svantic_create makes an agent; on a transport the frames are the caller's own"))
    }
}
