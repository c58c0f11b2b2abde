//! `manifest.json`: everything that a result depends on, written before anything slow starts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, RunId, Variant};

/// Version of the run directory's format.
///
/// - 1: the first.
pub const RUN_FORMAT: u32 = 1;

/// Everything that a run's results depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`RUN_FORMAT`] of the writer.
    pub format: u32,
    /// Which run.
    pub run: RunId,
    /// Version of this program.
    pub harness_version: String,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
    /// The suite as it was asked for, so that `resume` can load it again.
    pub suite: SuiteRef,
    /// The variants, in the order of the reports' columns.
    pub variants: Vec<Variant>,
    /// Attempts per task and variant.
    pub attempts: u32,
    /// Seed of every random choice.
    pub seed: u64,
    /// The settings that results depend on, each with where it came from. Resume refuses when one changed.
    pub settings: BTreeMap<String, Setting>,
    /// Task id → what the result depends on.
    pub tasks: BTreeMap<String, TaskNote>,
    /// Tasks that could not be read, counted and shown, never dropped.
    #[serde(default)]
    pub invalid: Vec<InvalidTask>,
    /// Tasks that were selected and cannot run here.
    #[serde(default)]
    pub skipped: Vec<SkippedTask>,
    /// The machine: kernel, processors, memory, host class.
    pub machine: BTreeMap<String, String>,
    /// The sandbox and what it does not isolate.
    pub sandbox: crate::record::SandboxNote,
    /// Which upstream serves each provider that a variant names. No key is in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, UpstreamNote>,
    /// Digest of the prices that costs were reckoned by; `None` when no model took part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Digest>,
    /// The program that each variant's agent runs inside, where one was installed for it; by the variant's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ToolsNote>,
}

/// A program that was installed for an agent, with all that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolsNote {
    /// Its name.
    pub program: String,
    /// Its version, as it says itself.
    pub version: String,
    /// Digest of every file.
    pub digest: Digest,
    /// All files together.
    pub bytes: u64,
    /// What was installed, by name: the version, and the registry's own digest where it gives one.
    pub packages: BTreeMap<String, String>,
}

/// An upstream as it was set up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamNote {
    /// The wires that reach it.
    pub wires: Vec<String>,
    /// Where it is; `None` for a script.
    pub base_url: Option<String>,
    /// Name of the variable or file that its key came from.
    pub key_from: Option<String>,
    /// What price tables call it.
    pub price_provider: String,
    /// Digest of its script, where it is one: simulated, no money spent.
    pub script: Option<Digest>,
}

/// A suite as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuiteRef {
    /// Its name, for people.
    pub name: String,
    /// As typed: catalog name, file, folder, `FORMAT:PATH`; one for a suite, several for tasks.
    pub sources: Vec<String>,
    /// The filter expression, where one was given.
    pub filter: Option<String>,
    /// At most so many tasks.
    pub limit: Option<usize>,
    /// Digest of the selection: task ids and their digests.
    pub digest: Digest,
}

/// One setting and the layer that set it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its value.
    pub value: serde_json::Value,
    /// `default`, a file, or `flag`.
    pub source: String,
}

/// What is kept of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskNote {
    /// Digest of everything that defines it.
    pub digest: Digest,
    /// The dataset it came from.
    pub dataset: String,
    /// For slices in reports.
    pub difficulty: Option<String>,
    /// For slices in reports.
    pub language: Option<String>,
    /// For slices in reports.
    pub tags: Vec<String>,
}

/// A task that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidTask {
    /// Its folder's name.
    pub task: String,
    /// The file, with line and column where they are known.
    pub file: String,
    /// What is wrong, and the way out.
    pub message: String,
}

/// A task that was selected and cannot run here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedTask {
    /// Which task.
    pub task: String,
    /// Why.
    pub reason: String,
}
