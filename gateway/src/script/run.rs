//! A script at work: which steps an event sets off, and those that wait for their time.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{Event, Script, ScriptStatus, Step, Trigger};
use crate::{shared::Shared, state::State};

/// A step whose trigger has come.
pub(crate) struct Due {
    /// Which script it is of: a step of a replaced one does not happen any more.
    generation: u64,
    number: usize,
    step: Step,
    /// The instance of the event.
    instance: Option<String>,
    wait: Duration,
}

/// What happens later.
pub(crate) enum Later {
    Step(Box<Due>),
    /// The end of a silence, unless another has begun or ended it since.
    EndSilence(Duration, u64),
}

/// The script that is set, as part of the state.
#[derive(Default)]
pub(crate) struct Running {
    generation: u64,
    /// Steps that wait for an event, with their number and how many events are left.
    waiting: Vec<(usize, u64, Step)>,
    /// Set off by the change that is being made; done when it has been made.
    pub(crate) due: Vec<Due>,
    pub(crate) status: ScriptStatus,
}

impl Running {
    pub(crate) fn start(&mut self, script: Script) {
        self.generation += 1;
        self.waiting.clear();
        self.due.clear();
        self.status = ScriptStatus {
            steps: script.len(),
            ..ScriptStatus::default()
        };
        for (at, step) in script.steps.into_iter().enumerate() {
            match step.trigger {
                Trigger::At(wait) => self.due.push(Due {
                    generation: self.generation,
                    number: at + 1,
                    wait: wait + step.after,
                    instance: None,
                    step,
                }),
                Trigger::On(_, nth) => self.waiting.push((at + 1, nth, step)),
            }
        }
    }

    fn happened(&mut self, event: Event, instance: Option<&str>) {
        let generation = self.generation;
        let set_off = self.waiting.extract_if(.., |(_, left, step)| {
            let Trigger::On(wanted, _) = step.trigger else {
                return false;
            };
            let matches = wanted == event
                && (step.instance.as_deref()).is_none_or(|wanted| Some(wanted) == instance);
            *left -= u64::from(matches);
            *left == 0
        });
        self.due.extend(set_off.map(|(number, _, step)| Due {
            generation,
            number,
            wait: step.after,
            instance: instance.map(str::to_owned),
            step,
        }));
    }

    /// Whether an event could set anything off.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl State {
    /// Tells the script of an event. Its steps happen when the change that is being made is done.
    pub(crate) fn happened(&mut self, event: Event, instance: Option<&str>) {
        self.script.happened(event, instance);
    }
}

impl Shared {
    /// Does a step, at once or when its time has come.
    pub(crate) fn follow(&self, due: Due) {
        if due.wait.is_zero() {
            self.perform(due);
        } else {
            // An error means that the gateway has been stopped.
            let _ = self.later.send(Later::Step(Box::new(due)));
        }
    }

    fn perform(&self, due: Due) {
        if self.read(|state| state.script.generation != due.generation) {
            return;
        }
        let target = due.step.instance.or(due.instance);
        let done = due.step.action.perform(self, target.as_deref());
        self.change(|state| {
            let script = &mut state.script;
            if script.generation == due.generation {
                script.status.done += 1;
                if !done {
                    script.status.without_effect.push(due.number);
                }
            }
        });
    }
}

/// Does what is to happen later, for ever.
pub(crate) async fn run(shared: Arc<Shared>, mut later: mpsc::UnboundedReceiver<Later>) {
    let mut waiting: BTreeMap<(Instant, u64), Later> = BTreeMap::new();
    let mut count = 0;
    loop {
        let next = waiting.first_key_value().map(|((at, _), _)| *at);
        let time_comes = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time_comes => match waiting.pop_first() {
                Some((_, Later::Step(due))) => shared.perform(*due),
                Some((_, Later::EndSilence(_, silence))) => shared.end_silence(silence),
                None => {}
            },
            new = later.recv() => {
                let Some(new) = new else { return };
                let wait = match &new {
                    Later::Step(due) => due.wait,
                    Later::EndSilence(wait, _) => *wait,
                };
                count += 1;
                waiting.insert((Instant::now() + wait, count), new);
            }
        }
    }
}
