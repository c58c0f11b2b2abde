//! Agents: what can be told to solve a task. The trait stands beside the list of its implementations.

mod claude_code;
mod codex;
mod command;
mod core;
mod host_program;
mod mini_swe_agent;
mod noop;
mod oracle;
pub(crate) mod programs;
mod script;
pub mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use harness_core::manifest::ToolsNote;
use harness_core::{AgentExit, Finding, NanoUsd, Step, Task, Usage};
use harness_gateway::budget::Limits;
use harness_sandbox::{ReadOnlyMount, Sandbox, SandboxError};

pub use crate::models::{Endpoint, ModelAccess};
pub use crate::tools::ToolsError;
pub use settings::{SettingError, SettingSpec};

pub(crate) use script::script_argv;

/// All agents, in the order in which `list agents` shows them.
pub const AGENTS: &[&dyn AgentKind] = &[
    &core::CoreKind,
    &oracle::Oracle,
    &noop::Noop,
    &command::CommandKind,
    &codex::KIND,
    &claude_code::KIND,
    &mini_swe_agent::KIND,
];

/// The agent of this name.
pub fn by_name(name: &str) -> Option<&'static dyn AgentKind> {
    AGENTS.iter().copied().find(|kind| kind.name() == name)
}

/// An entry of [`AGENTS`].
pub trait AgentKind: Sync {
    /// Name on the command line.
    fn name(&self) -> &'static str;
    /// One line for `list agents`.
    fn about(&self) -> &'static str;
    /// The version of the program that it runs by default, where it is a program of others.
    fn version(&self) -> Option<&'static str> {
        None
    }
    /// The settings that it takes; anything else is refused by name.
    fn settings(&self) -> &'static [SettingSpec] {
        &[]
    }
    /// Whether it asks a model: then each `--model` makes a variant of it.
    fn uses_model(&self) -> bool {
        false
    }
    /// Makes an agent from checked settings. Nothing has started yet: what is wrong must be said here.
    ///
    /// # Errors
    /// [`SettingError`] names the setting and the way out.
    fn configure(
        &self,
        model: Option<&str>,
        settings: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Arc<dyn Agent>, SettingError>;
}

/// A configured agent. One value serves all trials of its variant at once.
#[async_trait]
pub trait Agent: Send + Sync {
    /// Installs what it needs on the host, below the harness's own `state`, unless that is there; once, before any trial starts and
    /// anything is spent. It may take minutes; `say` is told so. What was installed goes into the manifest.
    ///
    /// # Errors
    /// [`ToolsError`]: it cannot be installed, or is not what was asked for.
    fn install(&self, _state: &Path, _say: &dyn Fn(&str)) -> Result<Option<ToolsNote>, ToolsError> {
        Ok(None)
    }

    /// Whether it can work with `PROVIDER/MODEL` over the wires that its provider speaks: known once the providers are, and asked
    /// before anything starts.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    fn can_ask(&self, _model: &str, _wires: &[&'static str]) -> Result<(), String> {
        Ok(())
    }

    /// Host folders that every sandbox of its trials shows read-only.
    fn mounts(&self) -> Vec<ReadOnlyMount> {
        Vec::new()
    }

    /// Whether what asks its model is inside the sandbox. For an agent that asks from the host alone no way to the model is opened
    /// inside: what it starts there cannot spend.
    fn asks_from_inside(&self) -> bool {
        true
    }

    /// Whether all of its work is in processes inside the sandbox: then it goes on after this process was killed, where the sandbox
    /// lives on. [`Agent::work`] is called again then, and has to ask for the same processes in the same order until then.
    fn lives_inside(&self) -> bool {
        self.asks_from_inside()
    }

    /// What each of its trials may use at most, by its own settings: the gateway keeps it, beside the run's own limits.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Whether it can try this task at all; `Err` is a sentence that says why not.
    ///
    /// # Errors
    /// A sentence for people; the task is then skipped for this agent.
    fn suits(&self, _task: &Task) -> Result<(), String> {
        Ok(())
    }

    /// Makes the sandbox ready for it, before each step; not counted as its time, but limited like a build of the
    /// environment. `Some` when that failed and there is nothing to work with.
    ///
    /// # Errors
    /// As for [`Agent::work`].
    async fn set_up(&self, _session: &Session<'_>) -> Result<Option<AgentReport>, SandboxError> {
        Ok(None)
    }

    /// Works on one step until it is done. The engine ends it at its time limit by dropping this future and killing
    /// everything in the sandbox; it need not watch the clock itself.
    ///
    /// # Errors
    /// Only for what is *not* the agent's doing: a lost sandbox, a refused disk.
    async fn work(&self, session: &Session<'_>) -> Result<AgentReport, SandboxError>;
}

/// Everything that an agent gets for one step.
pub struct Session<'a> {
    /// Where it works.
    pub sandbox: &'a dyn Sandbox,
    /// The task. An agent reads no tests from it; only the oracle looks at solutions.
    pub task: &'a Task,
    /// The step that it works on.
    pub step: &'a Step,
    /// Working folder inside.
    pub workdir: &'a str,
    /// User inside; `None` means the image's own.
    pub user: Option<&'a str>,
    /// Variables for what it starts inside.
    pub env: &'a BTreeMap<String, String>,
    /// How long it has.
    pub timeout: Duration,
    /// Where its output goes on the host.
    pub log: &'a Path,
    /// How it reaches its model; `None` when its variant has none, and while it is set up.
    pub model: Option<ModelAccess>,
    /// Whether it was at work on this step before a harness was killed (see [`Agent::lives_inside`]).
    pub again: bool,
}

/// Where an agent leaves its own trajectory (ATIF) inside; it is kept with the trial.
pub const TRAJECTORY: &str = "/logs/agent/trajectory.json";

impl Session<'_> {
    /// Where skills for the agent lie inside, from the root.
    pub fn skills_dir(&self) -> Option<String> {
        let folder = self.step.agent.skills_dir.as_deref()?;
        let below = || format!("{}/{folder}", self.workdir.trim_end_matches('/'));
        Some(if folder.starts_with('/') { folder.to_owned() } else { below() })
    }
}

/// How an agent ended, by its own account.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentReport {
    /// How.
    pub exit: AgentExit,
    /// Its own count, where it gives one.
    pub usage: Usage,
    /// Its own bill, where it gives one.
    pub cost: Option<NanoUsd>,
    /// A sentence for people.
    pub message: Option<String>,
    /// What was seen of it that touches trust in its result.
    pub findings: Vec<Finding>,
}

impl AgentReport {
    /// Ended in this way; nothing known about tokens.
    pub fn ended(exit: AgentExit) -> AgentReport {
        AgentReport { exit, usage: Usage::default(), cost: None, message: None, findings: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agent_has_a_distinct_name_and_a_line_about_it() {
        let mut names: Vec<_> = AGENTS.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), AGENTS.len());
        for kind in AGENTS {
            assert!(!kind.about().is_empty() && !kind.about().ends_with('.'), "{}", kind.name());
        }
    }

    #[test]
    fn every_agent_file_is_in_the_list() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/agents");
        let helpers = ["mod.rs", "settings.rs", "script.rs", "host_program.rs", "programs.rs"];
        let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
        let is_agent = |name: &String| {
            name.ends_with(".rs") && !helpers.contains(&name.as_str()) && !name.ends_with("_tests.rs")
        };
        let agents: Vec<_> = files.filter(is_agent).collect();
        assert_eq!(agents.len(), AGENTS.len(), "{agents:?}");
    }
}
