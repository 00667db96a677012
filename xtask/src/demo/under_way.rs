//! Calls of which a certain number are under way together: the next one leaves when the oldest one is answered.

use std::{collections::VecDeque, time::Duration};

use serde_json::json;
use svantic_gateway::{Answer, DispatchRequest, Gateway, PendingDispatch};

use crate::failure::Failure;

/// Of the last of those that wait together, on a busy machine.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_mins(1);

/// Calls of `find_order` that wait for their answers, the oldest one first.
pub(super) struct UnderWay<'a> {
    gateway: &'a Gateway,
    at_once: usize,
    waiting: VecDeque<PendingDispatch>,
}

impl<'a> UnderWay<'a> {
    /// At most this many at once.
    pub(super) fn new(gateway: &'a Gateway, at_once: usize) -> Self {
        Self {
            gateway,
            at_once,
            waiting: VecDeque::new(),
        }
    }

    /// Sends this one, after the answer to the oldest one if no more may wait.
    pub(super) fn call(&mut self, request: DispatchRequest) -> Result<(), Failure> {
        if self.waiting.len() == self.at_once {
            self.take_oldest()?;
        }
        self.waiting.push_back(self.gateway.begin_dispatch(request));
        Ok(())
    }

    /// Waits for the answers that are still to come.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        while !self.waiting.is_empty() {
            self.take_oldest()?;
        }
        Ok(())
    }

    fn take_oldest(&mut self) -> Result<(), Failure> {
        let Some(call) = self.waiting.pop_front() else {
            return Ok(());
        };
        let answer = call
            .wait(ANSWERED_WITHIN)
            .map_err(|error| Failure::new(format!("a call was lost: {error}")))?;
        let shipped = Answer::Result(json!({"order_id": "A17", "state": "shipped"}));
        if answer == shipped {
            return Ok(());
        }
        Err(Failure::new(format!("a call brought {answer:?}")))
    }
}
