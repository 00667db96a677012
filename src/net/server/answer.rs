//! The body of a response, whole or in parts, and whose turn it ends.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::UnboundedReceiver;

use super::Service;
use super::seats::{Phase, Seat};
use crate::hosted::ResponsePart;

/// A client's turn, from its request to the end of our response. Dropped before that end, the client has gone.
pub(super) struct Turn {
    service: Arc<dyn Service>,
    seat: Arc<Seat>,
    /// Whether somebody is answering.
    pending: bool,
}

impl Turn {
    pub(super) fn new(service: Arc<dyn Service>, seat: Arc<Seat>) -> Self {
        Self {
            service,
            seat,
            pending: false,
        }
    }

    /// Somebody answers from now on. Returns the name of this turn: an address of ours, which nobody else goes by.
    pub(super) fn begin(&mut self) -> usize {
        self.pending = true;
        self.tag()
    }

    fn tag(&self) -> usize {
        Arc::as_ptr(&self.seat).addr()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.pending {
            self.service.abandon(self.tag());
        }
        self.seat.enter(Phase::Idle);
    }
}

/// The response's end is missing.
#[derive(Debug)]
pub(super) struct CutOff;

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response was cut off")
    }
}

impl std::error::Error for CutOff {}

/// What is still to be written of a response.
pub(super) struct Answer {
    ready: Bytes,
    rest: Option<UnboundedReceiver<ResponsePart>>,
    turn: Turn,
}

impl Answer {
    pub(super) fn whole(text: String, mut turn: Turn) -> Self {
        turn.pending = false;
        let (ready, rest) = (text.into(), None);
        Self { ready, rest, turn }
    }

    pub(super) fn in_parts(
        first: String,
        rest: UnboundedReceiver<ResponsePart>,
        turn: Turn,
    ) -> Self {
        let (ready, rest) = (first.into(), Some(rest));
        Self { ready, rest, turn }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        loop {
            if !self.ready.is_empty() {
                let ready = std::mem::take(&mut self.ready);
                return Poll::Ready(Some(Ok(Frame::data(ready))));
            }
            let Some(rest) = &mut self.rest else {
                return Poll::Ready(None);
            };
            let part = ready!(rest.poll_recv(cx)).filter(|part| !part.cancelled);
            if part.as_ref().is_none_or(|part| !part.more) {
                self.rest = None;
                self.turn.pending = false;
            }
            match part {
                None => return Poll::Ready(Some(Err(CutOff))),
                Some(part) => self.ready = part.body.into(),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            None => SizeHint::with_exact(self.ready.len() as u64),
            Some(_) => SizeHint::default(),
        }
    }
}
