//! Variants side by side, from one run or several, on the tasks that all of them took part in.
//!
//! A task takes part when every side has an attempt at it that counts and the task's content is the same everywhere;
//! what is left out is listed. There is no test of significance here yet: the numbers stand beside their intervals.

use std::collections::{BTreeMap, BTreeSet};

use harness_core::manifest::Setting;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::results::{OutcomeName, Results, TrialRow};
use crate::summary::{Subject, VariantSummary, summarise_alone};

/// One thing that is compared: a variant of a run.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The run.
    pub results: &'a Results,
    /// Name of the variant.
    pub variant: &'a str,
}

impl<'a> Side<'a> {
    /// Every variant of a run, or the one that is named.
    ///
    /// # Errors
    /// [`CompareError::NoVariant`] lists those that there are.
    pub fn of(results: &'a Results, variant: Option<&str>) -> Result<Vec<Side<'a>>, CompareError> {
        let all = results.variants.iter().map(|one| Side { results, variant: &one.name });
        let found: Vec<Side<'a>> =
            all.filter(|side| variant.is_none_or(|name| name == side.variant)).collect();
        if found.is_empty() {
            return Err(CompareError::NoVariant {
                run: results.run.id.to_string(),
                variant: variant.unwrap_or("any").to_owned(),
                known: results.variants.iter().map(|one| one.name.clone()).collect::<Vec<_>>().join(", "),
            });
        }
        Ok(found)
    }
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CompareError {
    /// The run has no such variant.
    #[error("run {run} has no variant {variant}; it has: {known}")]
    NoVariant {
        /// The run.
        run: String,
        /// What was asked for.
        variant: String,
        /// What there is.
        known: String,
    },
    /// Nothing to compare with.
    #[error("a comparison needs a base and at least one candidate")]
    Alone,
    /// No task has a result on every side.
    #[error("no task has a result that counts on every side, so there is nothing to compare")]
    NothingShared,
}

/// Variants side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The first is the base.
    pub sides: Vec<SideSummary>,
    /// Tasks that all took part in.
    pub tasks: usize,
    /// Tasks that are left out, and why.
    pub left_out: Vec<LeftOut>,
    /// Settings that are not the same everywhere.
    pub differences: Vec<Difference>,
    /// Task by task: what got worse first, then what got better, then the rest.
    pub rows: Vec<TaskRow>,
}

/// One side over the shared tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideSummary {
    /// Unique among the sides: the variant's name, with its run where two sides share it.
    pub label: String,
    /// The run.
    pub run: String,
    /// Resolved rate minus the base's; `null` for the base itself.
    pub rate_change: Option<f64>,
    /// Tasks solved more often than by the base.
    pub better: usize,
    /// Tasks solved less often than by the base.
    pub worse: usize,
    /// The numbers.
    pub summary: VariantSummary,
}

/// A task that not all took part in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Which task.
    pub task: String,
    /// Why.
    pub reason: String,
}

/// A setting that is not the same everywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// `agent`, `model`, `agent.KEY`, `run.KEY`.
    pub setting: String,
    /// One for each side; `null` where it is not set.
    pub values: Vec<Value>,
}

/// One task on all sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Which task.
    pub task: String,
    /// Against the base.
    pub change: Change,
    /// One for each side.
    pub cells: Vec<TaskCell>,
}

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Some candidate solves it less often than the base.
    Worse,
    /// Some candidate solves it more often than the base, and none less often.
    Better,
    /// All alike.
    Same,
}

/// One task on one side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskCell {
    /// Attempts that count.
    pub n: u32,
    /// Of these, solved.
    pub resolved: u32,
    /// Mean dollars of the attempts whose cost is known; `null` when none's is.
    pub cost_usd: Option<f64>,
    /// Mean tokens of those whose tokens are known.
    pub tokens: Option<f64>,
    /// Mean wall time in milliseconds.
    pub duration_ms: Option<f64>,
    /// Mean lines added and removed together, of those with a diff.
    pub lines: Option<f64>,
    /// How many of the attempts have no known cost.
    pub unknown_cost: u32,
    /// How many of them have no known tokens.
    pub unknown_tokens: u32,
    /// How many of them have no diff.
    pub unknown_lines: u32,
}

impl TaskCell {
    fn of(trials: &[&TrialRow]) -> TaskCell {
        let mean = |value: &dyn Fn(&TrialRow) -> Option<f64>| {
            let known: Vec<f64> = trials.iter().filter_map(|trial| value(trial)).collect();
            let unknown = u32::try_from(trials.len() - known.len()).unwrap_or(u32::MAX);
            ((!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64), unknown)
        };
        let solved = trials.iter().filter(|trial| trial.verdict.outcome == OutcomeName::Resolved).count();
        let (cost_usd, unknown_cost) = mean(&|trial| trial.cost.map(harness_core::NanoUsd::as_usd));
        let (tokens, unknown_tokens) = mean(&|trial| trial.usage.total().map(|total| total as f64));
        let (duration_ms, _) = mean(&|trial| Some(trial.duration_ms.total as f64));
        let (lines, unknown_lines) =
            mean(&|trial| trial.diff.map(|diff| f64::from(diff.added) + f64::from(diff.removed)));
        TaskCell {
            n: u32::try_from(trials.len()).unwrap_or(u32::MAX),
            resolved: u32::try_from(solved).unwrap_or(u32::MAX),
            cost_usd,
            tokens,
            duration_ms,
            lines,
            unknown_cost,
            unknown_tokens,
            unknown_lines,
        }
    }
}

/// Compares candidates with a base.
///
/// # Errors
/// [`CompareError`]: there is nothing to compare.
pub fn compare(base: Side<'_>, candidates: &[Side<'_>]) -> Result<Comparison, CompareError> {
    if candidates.is_empty() {
        return Err(CompareError::Alone);
    }
    let sides: Vec<Side<'_>> = std::iter::once(base).chain(candidates.iter().copied()).collect();
    let labels = labels(&sides);
    let (shared, left_out) = share(&sides, &labels);
    if shared.is_empty() {
        return Err(CompareError::NothingShared);
    }
    let rows = rows(&sides, &shared);
    let mut summaries: Vec<SideSummary> = Vec::new();
    for (at, (side, label)) in sides.iter().zip(labels).enumerate() {
        let summary = summarise_side(*side, &shared);
        let rate = |summary: &VariantSummary| summary.resolved_rate.as_ref().map(|rate| rate.value);
        let base_rate = summaries.first().and_then(|base| rate(&base.summary));
        let against = |wanted: std::cmp::Ordering| {
            let count = |row: &&TaskRow| order(row.cells[at], row.cells[0]) == wanted;
            rows.iter().filter(count).count()
        };
        summaries.push(SideSummary {
            label,
            run: side.results.run.id.to_string(),
            rate_change: rate(&summary).zip(base_rate).map(|(rate, base)| rate - base),
            better: against(std::cmp::Ordering::Greater),
            worse: against(std::cmp::Ordering::Less),
            summary,
        });
    }
    Ok(Comparison { sides: summaries, tasks: shared.len(), left_out, differences: differences(&sides), rows })
}

fn labels(sides: &[Side<'_>]) -> Vec<String> {
    let shared = |name: &str| sides.iter().filter(|side| side.variant == name).count() > 1;
    let label = |side: &Side<'_>| match shared(side.variant) {
        true => format!("{}:{}", side.results.run.id, side.variant),
        false => side.variant.to_owned(),
    };
    sides.iter().map(label).collect()
}

fn trials<'a>(side: Side<'a>) -> impl Iterator<Item = &'a TrialRow> {
    side.results.trials.iter().filter(move |trial| trial.variant == side.variant)
}

/// The tasks that all took part in, and the others with the reason.
fn share<'a>(sides: &[Side<'a>], labels: &[String]) -> (BTreeSet<&'a str>, Vec<LeftOut>) {
    let counted: Vec<BTreeSet<&str>> = sides
        .iter()
        .map(|side| {
            trials(*side).filter(|trial| trial.verdict.counts()).map(|trial| trial.task.as_str()).collect()
        })
        .collect();
    let mut all: BTreeSet<&str> = counted.iter().flatten().copied().collect();
    all.extend(sides.iter().flat_map(|side| trials(*side).map(|trial| trial.task.as_str())));
    let (mut shared, mut left_out) = (BTreeSet::new(), Vec::new());
    for task in all {
        let missing = counted.iter().zip(labels).filter(|(tasks, _)| !tasks.contains(task));
        let missing: Vec<&str> = missing.map(|(_, label)| label.as_str()).collect();
        let digest = |side: &Side<'a>| side.results.run.tasks.get(task).map(|note| &note.digest);
        let reason = if !missing.is_empty() {
            format!("no result that counts from {}", missing.join(", "))
        } else if sides.iter().any(|side| digest(side) != digest(&sides[0])) {
            "its content is not the same in all runs".to_owned()
        } else {
            shared.insert(task);
            continue;
        };
        left_out.push(LeftOut { task: task.to_owned(), reason });
    }
    (shared, left_out)
}

fn summarise_side(side: Side<'_>, shared: &BTreeSet<&str>) -> VariantSummary {
    let chosen: Vec<&TrialRow> = trials(side).filter(|trial| shared.contains(trial.task.as_str())).collect();
    let variant = side.results.variants.iter().find(|variant| variant.name == side.variant);
    let subject = Subject {
        name: side.variant.to_owned(),
        agent: variant.map(|variant| variant.agent.clone()).unwrap_or_default(),
        model: variant.and_then(|variant| variant.model.clone()),
        settings: variant.map(|variant| variant.settings.clone()).unwrap_or_default(),
    };
    summarise_alone(subject, &chosen)
}

fn rows(sides: &[Side<'_>], shared: &BTreeSet<&str>) -> Vec<TaskRow> {
    let mut trials_of: BTreeMap<&str, Vec<Vec<&TrialRow>>> =
        shared.iter().map(|task| (*task, vec![Vec::new(); sides.len()])).collect();
    for (at, side) in sides.iter().enumerate() {
        for trial in trials(*side).filter(|trial| trial.verdict.counts()) {
            if let Some(row) = trials_of.get_mut(trial.task.as_str()) {
                row[at].push(trial);
            }
        }
    }
    let cells_of = |trials: &Vec<Vec<&TrialRow>>| -> Vec<TaskCell> {
        trials.iter().map(|trials| TaskCell::of(trials)).collect()
    };
    let cells: BTreeMap<&str, Vec<TaskCell>> =
        trials_of.iter().map(|(task, trials)| (*task, cells_of(trials))).collect();
    let change = |cells: &[TaskCell]| {
        let orders = || cells[1..].iter().map(|cell| order(*cell, cells[0]));
        if orders().any(std::cmp::Ordering::is_lt) {
            Change::Worse
        } else if orders().any(std::cmp::Ordering::is_gt) {
            Change::Better
        } else {
            Change::Same
        }
    };
    let mut rows: Vec<TaskRow> = cells
        .into_iter()
        .map(|(task, cells)| TaskRow { task: task.to_owned(), change: change(&cells), cells })
        .collect();
    rows.sort_by(|a, b| a.change.cmp(&b.change).then_with(|| a.task.cmp(&b.task)));
    rows
}

/// Which of two shares is greater, without rounding.
fn order(a: TaskCell, b: TaskCell) -> std::cmp::Ordering {
    (u64::from(a.resolved) * u64::from(b.n)).cmp(&(u64::from(b.resolved) * u64::from(a.n)))
}

/// What differs between the sides: agent and model, the agents' settings, and the runs' own.
fn differences(sides: &[Side<'_>]) -> Vec<Difference> {
    let tables: Vec<BTreeMap<String, Value>> = sides.iter().map(|side| settings(*side)).collect();
    let keys: BTreeSet<&String> = tables.iter().flat_map(BTreeMap::keys).collect();
    let mut found = Vec::new();
    for key in keys {
        let values: Vec<Value> =
            tables.iter().map(|table| table.get(key).cloned().unwrap_or(Value::Null)).collect();
        if values.iter().any(|value| *value != values[0]) {
            found.push(Difference { setting: key.clone(), values });
        }
    }
    found
}

fn settings(side: Side<'_>) -> BTreeMap<String, Value> {
    let run = &side.results.run;
    let mut table = BTreeMap::new();
    if let Some(variant) = side.results.variants.iter().find(|variant| variant.name == side.variant) {
        table.insert("agent".to_owned(), Value::from(variant.agent.clone()));
        table.insert("model".to_owned(), variant.model.clone().map_or(Value::Null, Value::from));
        let own = variant.settings.iter().map(|(key, value)| (format!("agent.{key}"), value.clone()));
        table.extend(own);
    }
    let of_run = |(key, setting): (&String, &Setting)| (format!("run.{key}"), setting.value.clone());
    table.extend(run.settings.iter().map(of_run));
    for (key, value) in [
        ("run.harness_version", Value::from(run.harness_version.clone())),
        ("run.attempts", Value::from(run.attempts)),
        ("run.seed", Value::from(run.seed)),
        ("run.sandbox", Value::from(run.sandbox.backend.clone())),
        ("run.rootfs", Value::from(run.sandbox.rootfs.clone())),
        ("run.network", Value::from(run.sandbox.network.clone())),
    ] {
        table.entry(key.to_owned()).or_insert(value);
    }
    table.extend(
        run.machine.iter().map(|(key, value)| (format!("machine.{key}"), Value::from(value.clone()))),
    );
    table
}
