//! What earlier runs know about how long tasks take: for the order of the next one, nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use harness_core::TaskId;
use harness_core::journal::Journal;

/// How many of the newest runs are looked at, and how much of each journal.
const RUNS: usize = 5;
const MAX_BYTES: u64 = 32 << 20;

/// The longest time that each task took lately, in milliseconds. What cannot be read is no history.
pub fn expected(runs: &Path) -> BTreeMap<TaskId, u64> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let mut journals: Vec<_> = entries
        .filter_map(|entry| {
            let file = entry.path().join("journal.jsonl");
            let about = file.metadata().ok().filter(|about| about.is_file() && about.len() <= MAX_BYTES)?;
            Some((about.modified().ok()?, file))
        })
        .collect();
    journals.sort();
    let mut longest = BTreeMap::new();
    for (_, file) in journals.iter().rev().take(RUNS) {
        let Some(journal) = std::fs::read(file).ok().and_then(|bytes| Journal::parse(&bytes).ok()) else {
            continue;
        };
        for record in journal.finished() {
            let took = longest.entry(record.id.task.clone()).or_insert(0);
            *took = record.durations.total.max(*took);
        }
    }
    longest
}
