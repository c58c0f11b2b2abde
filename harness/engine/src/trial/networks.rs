//! Which network holds when, and what was tried through it.
//!
//! The environment's own holds while a sandbox is made ready, the agent's while the agent works, and the verifier's while the
//! tests run. Once an agent has been there, what it left running may be there too: from then on only the tests get more than the
//! agent had, in a view that its processes cannot look into (see [`Sandbox::set_network`]).

use harness_core::{Connections, NetworkMode, Phase, Step};
use harness_sandbox::{Sandbox, SandboxError};

use super::attempt::Attempt;
use super::environment::Whose;

/// When a phase began, by the clock that connections are recorded by.
pub(super) struct Mark {
    pub(super) phase: Phase,
    pub(super) at_ms: i64,
}

impl Whose<'_> {
    /// What a sandbox starts with: its environment's own where that reaches further than what comes next, since it is for making
    /// ready; else what comes next.
    pub(super) fn first_network(&self, own: &NetworkMode, next: NetworkMode) -> NetworkMode {
        let own = self.unless_told(own);
        let changes = self.backend.caps().network_per_phase;
        if changes && own.is_wider_than(&next) { own.clone() } else { next }
    }

    /// The user's word goes over every task's.
    pub(super) fn unless_told<'a>(&'a self, mode: &'a NetworkMode) -> &'a NetworkMode {
        self.settings.network.as_ref().unwrap_or(mode)
    }
}

impl Attempt {
    /// The agent's.
    /// Where nothing was to be reached, an agent with a model has the gateway's listener, and nothing else.
    pub(super) fn agent_network(&self, step: &Step) -> NetworkMode {
        let asked = self.context.task.agent_network(step);
        let told = self.context.settings.network.is_some();
        match asked {
            NetworkMode::None if self.traffic.is_some() && self.context.agent.asks_from_inside() && !told => {
                NetworkMode::Gateway
            }
            _ => self.unless_told(asked),
        }
    }

    /// The tests'.
    pub(super) fn verifier_network(&self, step: &Step) -> NetworkMode {
        self.unless_told(self.context.task.verifier_network(step))
    }

    fn unless_told(&self, mode: &NetworkMode) -> NetworkMode {
        self.context.whose().unless_told(mode).clone()
    }

    /// Gives the sandbox the network of what comes next.
    pub(super) async fn switch(&self, sandbox: &dyn Sandbox, mode: &NetworkMode) -> Result<(), SandboxError> {
        // Where networks never change there is nothing to change: other tasks are refused beforehand.
        if !self.context.backend.caps().network_per_phase {
            return Ok(());
        }
        sandbox.set_network(mode).await
    }

    /// Takes over what a sandbox that is gone has on record.
    pub(super) fn keep_connections(&mut self, sandbox: &dyn Sandbox) {
        let Some(mut tried) = sandbox.connections() else { return };
        for connection in &mut tried.connections {
            let began = |mark: &&Mark| mark.at_ms <= connection.at_ms;
            connection.phase = self.marks.iter().rev().find(began).map(|mark| mark.phase);
        }
        self.details.network.get_or_insert_with(Connections::default).extend(tried);
    }
}
