//! An agent from its process's start to its farewell.

use std::time::Duration;

use serde_json::json;
use svantic_gateway::{Direction, DispatchRequest, FrameKind};

use super::{
    agent_process::AgentProcess,
    languages::{LANGUAGES, Language},
    stage::Stage,
};
use crate::{
    failure::Failure,
    terminal::{Colour, say},
};

const READY_WITHIN: Duration = Duration::from_secs(20);
const GONE_WITHIN: Duration = Duration::from_secs(15);
pub(super) const RECORDED_WITHIN: Duration = Duration::from_secs(15);

/// An agent that the mesh has welcomed, or whose card it has read.
pub(super) struct Joined {
    pub(super) language: &'static Language,
    pub(super) process: AgentProcess,
    /// The id that it chose for itself.
    pub(super) instance: String,
}

impl Joined {
    /// Starts one agent in each language, with the program of that language and the source that this gives.
    pub(super) fn start_all(
        stage: &mut Stage<'_>,
        programs: &[String],
        source: impl Fn(&Stage<'_>, &Language) -> Result<String, Failure>,
    ) -> Result<Vec<Self>, Failure> {
        let mut joined = Vec::new();
        for (language, program) in LANGUAGES.iter().zip(programs) {
            let name = format!("  {}", language.name);
            say(&stage.screen.paint(Colour::Agent, &name));
            let source = source(stage, language)?;
            let agent = Self::start(stage, language, &source, program, &joined)?;
            joined.push(agent);
        }
        Ok(joined)
    }

    /// Starts the source and waits until calls can reach it; `others` are there already.
    fn start(
        stage: &mut Stage<'_>,
        language: &'static Language,
        source: &str,
        program: &str,
        others: &[Self],
    ) -> Result<Self, Failure> {
        let (gateway, screen) = (stage.gateway, stage.screen);
        let mut command = (language.prepare)(stage, source, program)?;
        command.envs(stage.variables.iter().map(|(name, value)| (name, value)));
        let mut process = AgentProcess::start(command, language.name, gateway, screen)?;
        let mut instance = None;
        process.wait_until(gateway, READY_WITHIN, "became ready", |seen| {
            let is_new = |id: &str| others.iter().all(|other| other.instance != id);
            let mut agents = seen.agents();
            let ready = agents.find(|agent| agent.ready && is_new(&agent.instance_id));
            instance = ready.map(|agent| agent.instance_id.clone());
            // The reply to a hosted one leaves after that.
            instance.is_some() && stage.log.is_answered(seen.requests(), "/agents/register")
        })?;
        let instance = instance.unwrap_or_default();
        stage.log.show_new(gateway, screen)?;
        match stage.record_of(&instance)?.endpoint {
            None => say(&format!("  {instance} is connected")),
            Some(endpoint) => say(&format!(
                "  the gateway has read the card of {instance} and calls it at {endpoint}"
            )),
        }
        Ok(Self {
            language,
            process,
            instance,
        })
    }

    /// The call that most of the demo's steps make, to this agent.
    pub(super) fn find_order(&self, within: Duration) -> DispatchRequest {
        DispatchRequest::new("find_order", json!({"order_id": "A17"}))
            .to(&self.instance)
            .within(within)
    }

    /// Ends the agent with SIGTERM and checks that it leaves as it should.
    pub(super) fn leave(mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        self.is_told_to_leave(stage)?;
        self.wait_for_its_end()?;
        let (gateway, instance) = (stage.gateway, self.instance.as_str());
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
        self.has_left_once(stage)
    }

    /// Sends SIGTERM.
    pub(super) fn is_told_to_leave(&mut self, stage: &Stage<'_>) -> Result<(), Failure> {
        let name = self.language.name;
        say(&stage.screen.paint(Colour::Agent, &format!("  {name}")));
        self.process.signal(rustix::process::Signal::TERM)
    }

    /// Waits for the end of the process, which must be a success.
    pub(super) fn wait_for_its_end(&mut self) -> Result<(), Failure> {
        let ended = self.process.wait_for_exit(GONE_WITHIN)?;
        if ended.success() {
            return Ok(());
        }
        let name = self.language.name;
        Err(Failure::new(format!(
            "the {name} agent ended with {ended}, not with exit status 0"
        )))
    }

    /// Checks that the mesh has been told.
    pub(super) fn has_left_once(&self, stage: &Stage<'_>) -> Result<(), Failure> {
        let record = stage.record_of(&self.instance)?;
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
