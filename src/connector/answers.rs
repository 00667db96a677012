//! Answers of the application, on their way to the machine.

use super::{Haste, MeshConnector, flaw};
use crate::error::Error;
use crate::machine::action::Answer;

/// So many are answered under one lock: few enough that whoever waits for it gets it soon.
const MOST_ANSWERS_AT_ONCE: usize = 16;

impl MeshConnector {
    /// Answers a dispatch with a result, any JSON value.
    ///
    /// A result that is not JSON, no text that UTF-8 can carry, too deep or too large, or with a number that no double
    /// holds, is an error here, and the mesh is told in the result's place: the dispatch has ended either way.
    pub fn resolve(&self, dispatch_id: &str, result_json: &str, haste: Haste) -> Result<(), Error> {
        // Checked before the lock is taken: this is the part that takes long.
        let Some((short, long)) = flaw::in_result(result_json) else {
            let result = Answer::Result(result_json.trim_ascii());
            return self.answer(dispatch_id, result, haste);
        };
        self.refuse_result(dispatch_id, short, &long, haste)
    }

    /// Answers a dispatch whose result cannot be sent; both texts complete "the result …". Always an error.
    pub fn refuse_result(
        &self,
        dispatch_id: &str,
        flaw: &str,
        detail: &str,
        haste: Haste,
    ) -> Result<(), Error> {
        self.answer(dispatch_id, Answer::Flawed { flaw, detail }, haste)
    }

    /// Answers a dispatch with an error. `HANDLER_ERROR` is the handler's own failure.
    pub fn reject(
        &self,
        dispatch_id: &str,
        code: &str,
        message: &str,
        haste: Haste,
    ) -> Result<(), Error> {
        self.answer(dispatch_id, Answer::Error { code, message }, haste)
    }

    fn answer(&self, dispatch_id: &str, answer: Answer<'_>, haste: Haste) -> Result<(), Error> {
        let mut core = self.shared.lock();
        let now = self.shared.now();
        let result = core.machine.answer(now, dispatch_id, answer);
        // Read under the lock: when the driver stops lingering it takes the lock, and sees this answer.
        let lingering = core.lingering;
        drop(core);
        match haste {
            Haste::Now => self.flush(),
            // By the driver: it takes along what is given meanwhile, where a write by this thread would serve this one alone.
            Haste::Batch if !lingering => self.shared.waker.wake(),
            Haste::Batch | Haste::NextRound => {}
        }
        result
    }

    /// Answers many dispatches, whose answers leave together; how many were refused. Results must be known to be carried by all
    /// (`json_scan`).
    pub fn answer_all<'a>(
        &self,
        answers: impl Iterator<Item = (&'a str, Answer<'a>)>,
        haste: Haste,
    ) -> u32 {
        let mut answers = answers.peekable();
        let mut refused = 0;
        while answers.peek().is_some() {
            let mut core = self.shared.lock();
            let now = self.shared.now();
            for (dispatch_id, answer) in answers.by_ref().take(MOST_ANSWERS_AT_ONCE) {
                refused += u32::from(core.machine.answer(now, dispatch_id, answer).is_err());
            }
        }
        // Not before: nothing here takes long, and a driver that wakes would only wait for the lock.
        if haste != Haste::NextRound {
            self.flush();
        }
        refused
    }

    /// Lets the answers of a batch leave. Never blocks.
    pub fn flush(&self) {
        self.shared.let_go();
    }
}
