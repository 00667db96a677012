//! An agent from its process's start to its farewell.

use std::time::Duration;

use svantic_gateway::{Direction, FrameKind};

use super::{agent_process::AgentProcess, languages::Language, stage::Stage};
use crate::{
    failure::Failure,
    terminal::{Colour, say},
};

const READY_WITHIN: Duration = Duration::from_secs(20);
const GONE_WITHIN: Duration = Duration::from_secs(15);
const RECORDED_WITHIN: Duration = Duration::from_secs(15);

/// An agent that the mesh has welcomed.
pub(super) struct Joined {
    pub(super) language: &'static Language,
    pub(super) process: AgentProcess,
    /// The id that it chose for itself.
    pub(super) instance: String,
}

impl Joined {
    /// Starts the example and waits for its welcome; `others` are there already.
    pub(super) fn start(
        stage: &mut Stage<'_>,
        language: &'static Language,
        program: &str,
        others: &[Self],
    ) -> Result<Self, Failure> {
        let (gateway, screen) = (stage.gateway, stage.screen);
        say(&screen.paint(Colour::Agent, &format!("  {}", language.name)));
        let command = (language.prepare)(stage, language, program)?;
        let mut process = AgentProcess::start(command, language.name, gateway, screen)?;
        let mut instance = None;
        process.wait_until(gateway, READY_WITHIN, "became ready", |seen| {
            let is_new = |id: &str| others.iter().all(|other| other.instance != id);
            let mut agents = seen.agents();
            let ready = agents.find(|agent| agent.ready && is_new(&agent.instance_id));
            instance = ready.map(|agent| agent.instance_id.clone());
            instance.is_some()
        })?;
        let instance = instance.unwrap_or_default();
        stage.log.show_new(gateway, screen)?;
        say(&format!("  {instance} is connected"));
        Ok(Self {
            language,
            process,
            instance,
        })
    }

    /// Ends the agent with SIGTERM and checks that it leaves as it should.
    pub(super) fn leave(mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let (gateway, instance) = (stage.gateway, self.instance.as_str());
        let name = self.language.name;
        say(&stage.screen.paint(Colour::Agent, &format!("  {name}")));
        self.process.signal(rustix::process::Signal::TERM)?;
        let ended = self.process.wait_for_exit(GONE_WITHIN)?;
        if !ended.success() {
            return Err(Failure::new(format!(
                "the {name} agent ended with {ended}, not with exit status 0"
            )));
        }
        // The process may be gone before the gateway has written everything down.
        let mut goodbye = None;
        gateway.wait_until(RECORDED_WITHIN, |seen| {
            let closes = seen.frames(instance).filter(|frame| {
                frame.kind == FrameKind::Close && frame.direction == Direction::FromAgent
            });
            goodbye = closes.map(|frame| frame.text.clone()).next_back();
            goodbye.is_some() && stage.log.is_answered(seen.requests(), "/agents/deregister")
        });
        let said_draining = gateway.frames(instance).iter().any(|frame| {
            let payload = frame.json().unwrap_or_default();
            payload["type"] == "heartbeat" && payload["payload"]["status"] == "draining"
        });
        if said_draining {
            say("  told the mesh with a heartbeat that it is draining");
        }
        let goodbye =
            goodbye.ok_or_else(|| Failure::new("the agent left without a close frame"))?;
        say(&format!("  closed the WebSocket: {goodbye}"));
        stage.log.show_new(gateway, stage.screen)?;
        let record = stage.record_of(instance)?;
        if record.registered || record.deregistrations != 1 {
            let times = record.deregistrations;
            return Err(Failure::new(format!(
                "the agent deregistered {times} times instead of once"
            )));
        }
        say("  its process ended with exit status 0");
        Ok(())
    }
}
