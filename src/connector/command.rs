//! Commands to the machine, and somebody to carry out what comes of them.

use super::driver;
use super::shared::{Core, DriverState};
use super::{Completion, MeshConnector};
use crate::error::{Error, ErrorKind};
use crate::machine::Machine;
use crate::machine::action::OperationId;
use crate::machine::time::Now;

impl MeshConnector {
    /// Gives the machine a command whose outcome goes to `done`.
    pub(super) fn operate(
        &self,
        done: Completion,
        command: impl FnOnce(&mut Machine, Now, OperationId),
    ) {
        let mut done = Some(done);
        let told = self.command(|core, now| {
            let id = core.next_operation;
            core.next_operation += 1;
            core.completions.extend(done.take().map(|done| (id, done)));
            command(&mut core.machine, now, id);
        });
        if let (Err(error), Some(done)) = (told, done) {
            done.call(Err(error));
        }
    }

    /// Gives the machine a command, with somebody to carry out what comes of it. If there is nobody the machine never
    /// hears of it.
    pub(super) fn command(&self, command: impl FnOnce(&mut Core, Now)) -> Result<(), Error> {
        // Outlives the lock, whatever happens.
        let mut start = None;
        let mut core = self.shared.lock();
        // Not before: for the machine time never goes back, whichever thread had to wait for it.
        let now = self.shared.now();
        let driver_gone = matches!(core.driver, DriverState::Ending | DriverState::Ended);
        if driver_gone && !core.machine.link().is_final() {
            let text = "the library was shut down, or a bug has ended this connector";
            return Err(Error::new(ErrorKind::Cancelled, "CANCELLED", text));
        }
        if core.driver == DriverState::NotStarted {
            start = Some(driver::prepare(&self.shared)?);
            core.driver = DriverState::Running;
        }
        command(&mut core, now);
        drop(core);
        if let Some(start) = start {
            start();
        }
        if driver_gone {
            self.shared.pump();
        } else {
            self.shared.settle();
        }
        Ok(())
    }
}
