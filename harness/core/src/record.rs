//! What happened in a trial, as it is written to the journal and read by every report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AgentExit, Connections, NanoUsd, Outcome, Phase, TrialId, Usage};

/// A finished trial: the last word on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Which trial.
    #[serde(flatten)]
    pub id: TrialId,
    /// Name of the agent.
    pub agent: String,
    /// `PROVIDER/MODEL`, where there is one.
    pub model: Option<String>,
    /// The verdict.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How the agent ended in the try that counts; `None` when it never started.
    pub agent_exit: Option<AgentExit>,
    /// The verifier's `reward`; `None` without a verdict.
    pub score: Option<f64>,
    /// All named rewards.
    pub rewards: Option<BTreeMap<String, f64>>,
    /// Per step; `None` for a task of one step.
    pub steps: Option<Vec<StepRecord>>,
    /// From the tests' own report.
    pub tests: Option<TestCounts>,
    /// All tries together.
    pub usage: Usage,
    /// All tries together; `None` when unknown. Where the model was simulated: what it would have cost.
    pub cost: Option<NanoUsd>,
    /// The agent's own account of all tries, where the gateway counted too: a cross-check, never added to anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<SelfReport>,
    /// Whether the model was a script: no money was spent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub simulated: bool,
    /// Whether every answer came from a recording: no money was spent, and usage and cost are the recorded ones.
    #[serde(default, skip_serializing_if = "is_false")]
    pub replayed: bool,
    /// The agent's change, where there is a repository to compare with.
    pub diff: Option<DiffStat>,
    /// The try that counts.
    pub durations: Durations,
    /// Processor time of the sandbox, all tries, milliseconds.
    pub cpu_ms: Option<u64>,
    /// Largest memory of the sandbox, bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Connections that were tried through its network in the try that counts; `None` when nobody watched, or there was none.
    #[serde(default)]
    pub network: Option<Connections>,
    /// What was seen that touches trust.
    pub integrity: Vec<Finding>,
    /// Which sandbox it ran in, and what that one does not isolate.
    pub sandbox: SandboxNote,
    /// Every try, the last one included.
    pub tries: Vec<TryRecord>,
    /// Milliseconds since the epoch, by the host's clock.
    pub started_ms: i64,
    /// Milliseconds since the epoch, by the host's clock.
    pub finished_ms: i64,
}

/// One step of a multi-step task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step's name.
    pub name: String,
    /// Its named rewards; `None` when it was not judged.
    pub rewards: Option<BTreeMap<String, f64>>,
    /// Why it failed, or was not tried.
    pub reason: Option<String>,
}

/// One try of a trial. Only harness faults are tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TryRecord {
    /// From 1.
    pub number: u32,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How the agent ended in it.
    pub agent_exit: Option<AgentExit>,
    /// Its own tokens.
    pub usage: Usage,
    /// Its own cost; `None` when unknown.
    pub cost: Option<NanoUsd>,
    /// Whose budget, or which provider, cut it short: it is no verdict on anybody, and `resume` tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_by: Option<String>,
    /// The agent's own account of it, where the gateway counted too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<SelfReport>,
    /// Whether it goes on with the agent of the try before, in the sandbox that outlived a harness that was killed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reattached: bool,
    /// Its own times.
    pub durations: Durations,
}

/// What an agent says that it used, beside what the gateway counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfReport {
    /// Tokens, by its own count.
    pub usage: Usage,
    /// Money, by its own count; `None` when it does not say.
    pub cost: Option<NanoUsd>,
}

impl SelfReport {
    /// Both together.
    pub fn plus(self, other: SelfReport) -> SelfReport {
        let cost = match (self.cost, other.cost) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or_default() + b.unwrap_or_default()),
        };
        SelfReport { usage: self.usage.plus(&other.usage), cost }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Wall time of each phase in milliseconds, by the monotonic clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    /// Until the sandbox is ready.
    pub prepare: u64,
    /// The agent.
    pub solve: u64,
    /// Taking what it left.
    pub capture: u64,
    /// The tests.
    pub verify: u64,
    /// Removing the sandbox.
    pub teardown: u64,
    /// All of it, with the time between phases.
    pub total: u64,
}

impl Durations {
    /// The slot of one phase.
    pub fn of_mut(&mut self, phase: Phase) -> &mut u64 {
        match phase {
            Phase::Prepare => &mut self.prepare,
            Phase::Solve => &mut self.solve,
            Phase::Capture => &mut self.capture,
            Phase::Verify => &mut self.verify,
            Phase::Teardown => &mut self.teardown,
        }
    }
}

/// How many of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Passed.
    pub passed: u32,
    /// Asked for.
    pub total: u32,
}

/// The tests' own report, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCounts {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that did not: failed, skipped, missing.
    pub failed: u32,
    /// Of those that must begin to pass.
    pub fail_to_pass: Passed,
    /// Of those that must go on passing.
    pub pass_to_pass: Passed,
}

/// Size of a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DiffStat {
    /// Files touched.
    pub files: u32,
    /// Hunks.
    pub hunks: u32,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
    /// Headline simplicity; not measured yet.
    pub simplicity: Option<f64>,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Someone should look.
    Warning,
    /// The verdict was defended against it.
    Tampered,
}

/// Something seen that touches trust in the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Short name of the check, for example `program_restored`.
    pub check: String,
    /// How much it weighs.
    pub severity: Severity,
    /// In a sentence.
    pub detail: String,
}

/// Which sandbox a trial ran in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxNote {
    /// The backend's name.
    pub backend: String,
    /// The root file system: `host`, a folder, an image.
    pub rootfs: String,
    /// The network that held while the agent worked.
    pub network: String,
    /// The network of the tests, where it was another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifier_network: Option<String>,
    /// What it does not isolate or could not limit here, one sentence each.
    pub weaknesses: Vec<String>,
}
