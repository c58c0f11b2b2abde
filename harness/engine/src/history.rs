//! What earlier runs know about how long tasks take and what they cost: for the order of the next one and for estimates, nothing
//! else.

use std::collections::BTreeMap;
use std::path::Path;

use harness_core::journal::Journal;
use harness_core::{NanoUsd, TaskId};

/// How many of the newest runs are looked at, and how much of each journal.
const RUNS: usize = 5;
const MAX_BYTES: u64 = 32 << 20;

/// The longest time that each task took lately, in milliseconds. What cannot be read is no history.
pub fn expected(runs: &Path) -> BTreeMap<TaskId, u64> {
    let mut longest = BTreeMap::new();
    for journal in journals(runs) {
        for record in journal.finished() {
            let took = longest.entry(record.id.task.clone()).or_insert(0);
            *took = record.durations.total.max(*took);
        }
    }
    longest
}

/// What trials of an agent with a model cost lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// How many trials.
    pub trials: u64,
    /// All of them together.
    pub sum: NanoUsd,
}

/// What trials cost lately, by agent and model. Those of scripts and of recordings cost nothing and do not count, nor do those of
/// unknown cost.
pub fn costs(runs: &Path) -> BTreeMap<(String, String), Spent> {
    let mut costs: BTreeMap<(String, String), Spent> = BTreeMap::new();
    for journal in journals(runs) {
        for record in journal.finished().filter(|record| !record.simulated && !record.replayed) {
            let (Some(model), Some(cost)) = (&record.model, record.cost) else { continue };
            let spent = costs.entry((record.agent.clone(), model.clone())).or_default();
            *spent = Spent { trials: spent.trials + 1, sum: spent.sum + cost };
        }
    }
    costs
}

/// The newest journals that can be read.
fn journals(runs: &Path) -> impl Iterator<Item = Journal> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let file = entry.path().join("journal.jsonl");
            let about = file.metadata().ok().filter(|about| about.is_file() && about.len() <= MAX_BYTES)?;
            Some((about.modified().ok()?, file))
        })
        .collect();
    files.sort();
    files.into_iter().rev().take(RUNS).filter_map(|(_, file)| Journal::parse(&std::fs::read(file).ok()?).ok())
}
