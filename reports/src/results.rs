//! The result fields: what `harness report --format json` gives and what every document is made from.
//!
//! The names and their nesting are an interface. `null` means unknown. All of it reads back, so that a comparison can be
//! made from `results.json` alone.

use std::collections::BTreeMap;

use harness_core::manifest::{InvalidTask, Setting, SkippedTask, TaskNote};
use harness_core::record::{SandboxNote, StepRecord};
use harness_core::{
    AgentExit, Blame, Connections, DiffStat, Digest, Durations, Finding, NanoUsd, Outcome, Phase, RunId,
    TestCounts, Usage,
};
use serde::{Deserialize, Serialize};

use crate::summary::VariantSummary;

/// All that is known of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The run as a whole.
    pub run: RunInfo,
    /// One for each variant, in the order in which they were asked for.
    pub variants: Vec<VariantSummary>,
    /// The finished trials, in the order of the plan.
    pub trials: Vec<TrialRow>,
    /// Tasks that could not be read.
    pub invalid: Vec<InvalidTask>,
    /// Tasks that were selected and cannot run here.
    pub skipped: Vec<SkippedTask>,
}

/// The run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its id: the name of its folder.
    pub id: RunId,
    /// Name of the suite.
    pub suite: String,
    /// The suite as typed.
    pub sources: Vec<String>,
    /// The filter expression, where one was given.
    pub filter: Option<String>,
    /// At most so many tasks.
    pub limit: Option<usize>,
    /// Digest of the selection.
    pub suite_digest: Digest,
    /// UTC, RFC 3339.
    pub created: String,
    /// The same in milliseconds since the epoch.
    pub created_ms: i64,
    /// Version of the program that ran it.
    pub harness_version: String,
    /// Attempts per task and variant.
    pub attempts: u32,
    /// Seed of every random choice.
    pub seed: u64,
    /// Settings that results depend on, each with where it came from.
    pub settings: BTreeMap<String, Setting>,
    /// The machine.
    pub machine: BTreeMap<String, String>,
    /// The sandbox and what it does not isolate.
    pub sandbox: SandboxNote,
    /// Whether every planned trial is finished.
    pub complete: bool,
    /// Why the last process on it ended before that, in a sentence, where it could say.
    pub ended: Option<String>,
    /// How much of what.
    pub totals: Totals,
    /// Planned trials without a result.
    pub unfinished: Vec<UnfinishedTrial>,
    /// What people should know and what changes no result.
    pub warnings: Vec<String>,
    /// What was run: task → digest and traits.
    pub tasks: BTreeMap<String, TaskNote>,
}

/// How much of what. `selected`, `run`, `skipped` and `invalid` count tasks, everything else counts trials.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Tasks that were asked for: those below, and those that were not reached.
    pub selected: usize,
    /// Tasks with at least one finished trial.
    pub run: usize,
    /// Tasks that cannot run here.
    pub skipped: usize,
    /// Tasks that could not be read.
    pub invalid: usize,
    /// Trials in the plan, without those of tasks that were skipped later.
    pub planned: usize,
    /// Trials with a result.
    pub finished: usize,
    /// Planned trials without a result.
    pub unfinished: usize,
    /// Of the finished: solved.
    pub resolved: usize,
    /// Of the finished: judged and not solved.
    pub unresolved: usize,
    /// Of the finished: without a verdict.
    pub stopped: usize,
    /// All money that is known to have been spent, failed tries of unfinished trials included; `null` when nothing is known.
    /// What scripts cost is no money, and not in it.
    #[serde(rename = "cost_usd", with = "usd")]
    pub cost: Option<NanoUsd>,
    /// Finished trials whose cost is unknown: with any, `cost_usd` is a lower bound.
    pub cost_unknown: usize,
    /// What simulated trials would have cost; `null` when there are none.
    #[serde(default, rename = "simulated_cost_usd", with = "usd", skip_serializing_if = "Option::is_none")]
    pub simulated_cost: Option<NanoUsd>,
}

/// A planned trial without a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnfinishedTrial {
    /// Which task.
    pub task: String,
    /// Which variant.
    pub variant: String,
    /// Which attempt.
    pub attempt: u32,
    /// Whether it was ever started.
    pub started: bool,
    /// Its failed tries so far.
    pub tries: Vec<TryRow>,
}

/// A verdict as flat fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerdictRow {
    /// `resolved`, `unresolved` or `stopped`.
    pub outcome: OutcomeName,
    /// Whose doing; only for `stopped`.
    pub blame: Option<Blame>,
    /// Where; only for `stopped`.
    pub phase: Option<Phase>,
    /// Why, in a sentence.
    pub reason: Option<String>,
}

/// The three outcomes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeName {
    /// The tests passed.
    Resolved,
    /// The tests judged, and did not all pass.
    Unresolved,
    /// There is no verdict.
    Stopped,
}

impl OutcomeName {
    /// The name, as in every file that we write.
    pub fn name(self) -> &'static str {
        match self {
            OutcomeName::Resolved => "resolved",
            OutcomeName::Unresolved => "unresolved",
            OutcomeName::Stopped => "stopped",
        }
    }
}

impl VerdictRow {
    /// Whether it counts in rates: what the harness or the task broke does not.
    pub fn counts(&self) -> bool {
        !matches!(self.blame, Some(Blame::Harness | Blame::Task))
    }
}

impl From<&Outcome> for VerdictRow {
    fn from(outcome: &Outcome) -> VerdictRow {
        let reason = outcome.reason().map(str::to_owned);
        match outcome {
            Outcome::Resolved => {
                VerdictRow { outcome: OutcomeName::Resolved, blame: None, phase: None, reason }
            }
            Outcome::Unresolved { .. } => {
                VerdictRow { outcome: OutcomeName::Unresolved, blame: None, phase: None, reason }
            }
            Outcome::Stopped { phase, blame, .. } => {
                VerdictRow { outcome: OutcomeName::Stopped, blame: Some(*blame), phase: Some(*phase), reason }
            }
        }
    }
}

/// One finished trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRow {
    /// Which task.
    pub task: String,
    /// Which variant.
    pub variant: String,
    /// Name of the agent.
    pub agent: String,
    /// `PROVIDER/MODEL`, where there is one.
    pub model: Option<String>,
    /// From 1.
    pub attempt: u32,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: VerdictRow,
    /// How the agent ended.
    pub agent_exit: Option<AgentExit>,
    /// The verifier's `reward`.
    pub score: Option<f64>,
    /// All named rewards.
    pub rewards: Option<BTreeMap<String, f64>>,
    /// Per step.
    pub steps: Option<Vec<StepRecord>>,
    /// From the tests' own report.
    pub tests: Option<TestCounts>,
    /// All tries together.
    pub usage: Usage,
    /// All tries together.
    #[serde(rename = "cost_usd", with = "usd")]
    pub cost: Option<NanoUsd>,
    /// The agent's own account, where the gateway counted too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<ReportedRow>,
    /// Whether the model was a script: no money was spent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub simulated: bool,
    /// Whether every answer came from a recording: no money was spent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub replayed: bool,
    /// The agent's change.
    pub diff: Option<DiffStat>,
    /// The try that counts.
    pub duration_ms: Durations,
    /// Processor time of the sandbox.
    pub cpu_ms: Option<u64>,
    /// Largest memory of the sandbox.
    pub peak_memory_bytes: Option<u64>,
    /// Connections that were tried; `None` when nobody watched, or there was no network.
    #[serde(default)]
    pub network: Option<Connections>,
    /// What touches trust.
    pub integrity: Vec<Finding>,
    /// Every try, the last one included.
    pub tries: Vec<TryRow>,
    /// Where it ran.
    pub sandbox: SandboxNote,
    /// Milliseconds since the epoch.
    pub started_ms: i64,
    /// Milliseconds since the epoch.
    pub finished_ms: i64,
}

/// One try of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TryRow {
    /// From 1.
    pub number: u32,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: VerdictRow,
    /// How the agent ended in it.
    pub agent_exit: Option<AgentExit>,
    /// Its own tokens.
    pub usage: Usage,
    /// Its own cost.
    #[serde(rename = "cost_usd", with = "usd")]
    pub cost: Option<NanoUsd>,
    /// Whose budget, or which provider, cut it short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_by: Option<String>,
    /// Its own times.
    pub duration_ms: Durations,
}

/// What an agent says that it used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportedRow {
    /// Tokens.
    pub usage: Usage,
    /// Money.
    #[serde(rename = "cost_usd", with = "usd")]
    pub cost: Option<NanoUsd>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Nano-dollars in our types, dollars in files.
mod usd {
    use harness_core::NanoUsd;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(cost: &Option<NanoUsd>, serializer: S) -> Result<S::Ok, S::Error> {
        cost.map(NanoUsd::as_usd).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<NanoUsd>, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.and_then(NanoUsd::from_usd))
    }
}
