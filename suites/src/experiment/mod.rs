//! An experiment: which variants a run compares, as a file or flags ask for them. Nothing here knows what agents take: whoever
//! knows checks what [`Experiment::span`] gives, and has the place of every word for what is wrong with it.
//!
//! ```toml
//! agents = ["core"]                 # left out: core
//! models = ["openai/gpt-5", "anthropic/claude-sonnet-4-5"]   # may be left to --model
//! attempts = 3                      # where no flag says otherwise
//!
//! [settings]                        # of every variant of these agents
//! max_cost = 0.50
//!
//! [matrix]                          # every combination is a variant
//! effort = ["low", "high"]
//! system_prompt = [{ file = "prompts/short.md" }, { file = "prompts/long.md" }]
//!
//! [[exclude]]                       # combinations that are left out; agent and model are patterns
//! model = "anthropic/*"
//! effort = "low"
//!
//! [[include]]                       # more variants, by the same words; nothing above holds for them
//! name = "by hand"                  # of a single variant
//! agents = ["command"]
//! settings = { run = "my-agent" }
//!
//! [names]                           # other names for combinations, by those that `--dry-run` shows
//! "core@openai.gpt-5+effort=low" = "cheap"
//! ```

pub mod names;
mod read;
mod span;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use datasets::Problem;
use serde_json::Value;

use crate::defaults::Sourced;

pub use span::flags;

/// A word and where it is written; a flag is written nowhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed<T> {
    /// The word.
    pub value: T,
    /// A problem without a message, at its place.
    pub place: Option<Problem>,
}

impl<T> Placed<T> {
    /// What a flag says.
    pub fn flag(value: T) -> Placed<T> {
        Placed { value, place: None }
    }
}

/// A setting, with all the values that it is to have.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Its name.
    pub key: Placed<String>,
    /// At least one.
    pub values: Vec<Placed<Value>>,
}

/// Agents × models × settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Block {
    /// At least one.
    pub agents: Vec<Placed<String>>,
    /// `PROVIDER/MODEL`; none where it is left to a flag, or no agent asks a model.
    pub models: Vec<Placed<String>>,
    /// In the order of the file.
    pub axes: Vec<Axis>,
    /// Of the only variant of an include.
    pub name: Option<Placed<String>>,
}

/// Combinations that are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Exclude {
    /// Where it begins.
    pub place: Problem,
    /// Patterns.
    pub agent: Option<String>,
    /// Patterns.
    pub model: Option<String>,
    /// Every one of them must be so.
    pub settings: Vec<(Placed<String>, Value)>,
}

/// An experiment as it was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Experiment {
    /// The matrix.
    pub main: Block,
    /// Beside it.
    pub include: Vec<Block>,
    /// From the matrix.
    pub exclude: Vec<Exclude>,
    /// Derived name → other name.
    pub names: Vec<(Placed<String>, Placed<String>)>,
    /// Attempts per task and variant.
    pub attempts: Option<Sourced<u32>>,
}

/// One variant as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Name of the agent.
    pub agent: Placed<String>,
    /// `PROVIDER/MODEL`.
    pub model: Option<Placed<String>>,
    /// By name: where the name is written, and the value.
    pub settings: BTreeMap<String, (Option<Problem>, Placed<Value>)>,
    /// Instead of a derived one.
    pub name: Option<Placed<String>>,
}
