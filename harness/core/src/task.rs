//! A task as the harness sees it, whatever format it came in.
//!
//! Paths name files on the host. None of them is ever mounted into a sandbox: what an agent may see is copied in,
//! and tests and solutions only when the agent is gone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Digest, EnvironmentSpec, NetworkMode, TaskId};

/// One task: an environment, instructions, and tests that judge.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Unique within a run.
    pub id: TaskId,
    /// The dataset or suite that it was selected from.
    pub dataset: String,
    /// The folder or file that defines it, for messages and for copying from.
    pub origin: PathBuf,
    /// Digest of everything that defines it; resume refuses when it changed.
    pub digest: Digest,
    /// One line for people.
    pub description: Option<String>,
    /// What selections can ask for.
    pub traits: Traits,
    /// Where it runs.
    pub environment: EnvironmentSpec,
    /// At least one. Several share one sandbox, in order.
    pub steps: Vec<Step>,
    /// How the rewards of several steps become one.
    pub reward_strategy: RewardStrategy,
    /// Files that are taken out of the sandbox after the agent ended, for every step.
    pub artifacts: Vec<Artifact>,
    /// Environment variables for the oracle's solution.
    pub solution_env: BTreeMap<String, String>,
    /// What the task says to this harness in particular.
    pub hints: Hints,
}

impl Task {
    /// Whom the agent may talk to in this step.
    pub fn agent_network<'a>(&'a self, step: &'a Step) -> &'a NetworkMode {
        step.agent.network.as_ref().unwrap_or(&self.environment.network)
    }

    /// Whom the tests may talk to in this step: what the phase says, else what holds in the sandbox where they run.
    pub fn verifier_network<'a>(&'a self, step: &'a Step) -> &'a NetworkMode {
        let own = match &step.verifier.mode {
            VerifierMode::Separate(Some(environment)) => &environment.network,
            VerifierMode::Separate(None) | VerifierMode::Shared => &self.environment.network,
        };
        step.verifier.network.as_ref().unwrap_or(own)
    }
}

/// What selections (`--filter`) can ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traits {
    /// `easy`, `medium`, `hard`, or what the author wrote.
    pub difficulty: Option<String>,
    /// The author's own category.
    pub category: Option<String>,
    /// Tags and keywords.
    pub tags: Vec<String>,
    /// The programming language, in lower case.
    pub language: Option<String>,
}

/// `[metadata.harness]`: keys of ours in a table that the format leaves free.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// Programs that must be found inside; where one is missing the task is skipped by name.
    pub tools: Vec<String>,
    /// System paths that the task asks to be replaced: the verifier leaves them as the agent made them.
    pub product: Vec<String>,
    /// Names in the tests' own report that fail before and pass after.
    pub fail_to_pass: Vec<String>,
    /// Names in the tests' own report that pass before and after.
    pub pass_to_pass: Vec<String>,
    /// A command that the agent can run itself: what it can see of success.
    pub visible_test: Option<String>,
    /// Whether the task is about several users: it cannot work where all of them are one.
    pub users: bool,
}

/// One instruction with its own agent limits and tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Name of the step; `None` in a task of one step.
    pub name: Option<String>,
    /// What the agent is told.
    pub instruction: String,
    /// Limits of the agent.
    pub agent: AgentPhase,
    /// How it is judged.
    pub verifier: VerifierPhase,
    /// Folders whose content is laid over each other at `/tests`, later ones on top.
    pub tests: Vec<PathBuf>,
    /// The solution's folders, laid over each other at `/solution`; empty when the task has none.
    pub solution: Vec<PathBuf>,
    /// Files put into the working folder before the agent starts; `setup.sh` among them is run.
    pub workdir_files: Option<PathBuf>,
    /// Later steps are not tried when a reward is below.
    pub min_reward: Option<MinReward>,
    /// Must succeed before the agent starts.
    pub healthcheck: Option<crate::Healthcheck>,
    /// Files that are taken out after this step, beside the task's own.
    pub artifacts: Vec<Artifact>,
}

/// Limits of the agent in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentPhase {
    /// `None` means without limit in the format; the run's own default then holds.
    pub timeout: Option<Duration>,
    /// User name or number inside; `None` means the image's own.
    pub user: Option<String>,
    /// Overrides the environment's network while the agent works.
    pub network: Option<NetworkMode>,
    /// Folder inside with skills for the agent: an agent that knows such a thing takes over what is in it.
    pub skills_dir: Option<String>,
    /// A conversation (ATIF) that the agent is told it has had before the first instruction.
    pub trajectory: Option<PathBuf>,
}

/// How one step is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifierPhase {
    /// Of the whole verification.
    pub timeout: Duration,
    /// For the tests alone, `${VAR}` already replaced.
    pub env: BTreeMap<String, String>,
    /// User name or number inside; `None` means the image's own.
    pub user: Option<String>,
    /// Overrides the environment's network while the tests run.
    pub network: Option<NetworkMode>,
    /// Where the tests run.
    pub mode: VerifierMode,
    /// Commands run in the agent's sandbox after the agent ended, before artifacts are taken.
    pub collect: Vec<Collect>,
}

/// Where the tests run.
#[derive(Debug, Clone, PartialEq)]
pub enum VerifierMode {
    /// In the agent's own sandbox, in the verifier's own mounts.
    Shared,
    /// In a fresh sandbox of this environment (`None`: a fresh copy of the task's own), to which only artifacts cross.
    Separate(Option<Box<EnvironmentSpec>>),
}

/// A command that gathers something before artifacts are taken. Its failure does not end the trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collect {
    /// Run by `sh -c`.
    pub command: String,
    /// User name or number.
    pub user: Option<String>,
    /// Of this command.
    pub timeout: Duration,
}

/// Files to take out of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Absolute path inside.
    pub source: String,
    /// Path below the artifacts folder; `None` means the same as the source.
    pub destination: Option<String>,
    /// Globs that are left out, at every depth.
    pub exclude: Vec<String>,
}

/// How the rewards of several steps become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RewardStrategy {
    /// Per key, over the steps that ran; a missing key counts 0.
    #[default]
    Mean,
    /// The last step that ran.
    Final,
}

/// The least reward that lets later steps run.
#[derive(Debug, Clone, PartialEq)]
pub enum MinReward {
    /// Of the reward `reward`.
    One(f64),
    /// Of each named reward; a missing one is below.
    Named(BTreeMap<String, f64>),
}
