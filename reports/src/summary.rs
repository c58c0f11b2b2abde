//! One variant over all its trials: the fields, and how they come about. Counting and measuring is the frame's; what
//! groups by task is done here.

use std::collections::{BTreeMap, HashMap};

use harness_core::manifest::TaskNote;
use harness_core::{Tier, Variant};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::frame::{Frame, Slice};
use crate::measure::{Measure, Q};
use crate::results::{OutcomeName, TrialRow, UnfinishedTrial};
use crate::stats::{Rate, TaskTally, mean_pass_at_k, rate, shown_ks};

/// One variant over all its trials.
///
/// Everything but `finished`, `excluded` and `cost_usd.total` is about the `n` trials that count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantSummary {
    /// Short and stable.
    pub name: String,
    /// Name of the agent.
    pub agent: String,
    /// `PROVIDER/MODEL`, where there is one.
    pub model: Option<String>,
    /// Every setting of the agent.
    pub settings: BTreeMap<String, Value>,
    /// Whether its model is a script: tokens and cost are simulated, and no money was spent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub simulated: bool,
    /// Whether all of its answers came from a recording: no money was spent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub replayed: bool,
    /// Trials that count: finished, and not stopped by the harness or the task.
    pub n: usize,
    /// Of `n`: solved.
    pub resolved: usize,
    /// Of `n`: judged and not solved.
    pub unresolved: usize,
    /// Of `n`: without a verdict by the agent's own doing.
    pub stopped_by_agent: usize,
    /// Finished trials that do not count, and whose doing it was.
    pub excluded: Excluded,
    /// Trials with a result.
    pub finished: usize,
    /// Planned trials without a result.
    pub unfinished: usize,
    /// Resolved ÷ n with its interval; `null` when `n` is 0.
    pub resolved_rate: Option<Rate>,
    /// k → mean over the tasks that have at least k attempts which count.
    pub pass_at_k: BTreeMap<u32, f64>,
    /// k → how many tasks that are.
    pub pass_at_k_tasks: BTreeMap<u32, u32>,
    /// Mean score.
    pub score: Measure,
    /// Money.
    pub cost_usd: CostSummary,
    /// Tokens.
    pub tokens: TokenSummary,
    /// Size of the change.
    pub diff: DiffSummary,
    /// Headline simplicity of the change; not measured yet.
    pub simplicity: Measure,
    /// Wall time of each phase.
    pub duration_ms: DurationSummary,
    /// Processor time of the sandbox.
    pub cpu_ms: Measure,
    /// Largest memory of the sandbox.
    pub peak_memory_bytes: Measure,
    /// How many of the `n` trials lack a value.
    pub unknown: Unknown,
    /// Success by the tasks' tier: `simple`, `medium`, `complex`, `major`, and `unknown` for tasks that say none.
    #[serde(default)]
    pub tiers: BTreeMap<String, TierTally>,
}

/// Trials of one tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierTally {
    /// Trials that count.
    pub n: usize,
    /// Of these, solved.
    pub resolved: usize,
}

/// What a report measures, for `list metrics`: the field in the JSON, and what it means.
pub const METRICS: &[(&str, &str)] = &[
    ("resolved_rate", "resolved of the trials that count, with a Wilson 95 % interval"),
    ("pass_at_k", "chance that at least one of k attempts resolves, unbiased, mean over tasks"),
    ("tiers", "resolved of the trials that count, by the tasks' tier: simple, medium, complex, major"),
    ("score", "the verifier's reward, mean"),
    ("cost_usd", "money in all, per trial, per resolved trial; unknown is not zero"),
    ("tokens", "tokens by exclusive bucket"),
    ("diff", "size of the change: files, hunks, lines added and removed"),
    ("duration_ms", "wall time of each phase, median and 95th percentile"),
    ("cpu_ms", "processor time of the sandbox"),
    ("peak_memory_bytes", "largest memory of the sandbox"),
];

/// Finished trials that do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// Stopped by us.
    pub harness: usize,
    /// Stopped by the task.
    pub task: usize,
}

/// Money, in dollars.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CostSummary {
    /// Known to be spent on all finished trials, those that do not count included.
    pub total: Option<f64>,
    /// Mean over the trials that count and whose cost is known.
    pub per_trial: Option<f64>,
    /// All that those cost, failures included, ÷ how many of them were solved; `null` when none was.
    pub per_resolved: Option<f64>,
    /// All that those cost ÷ the tasks that they are of.
    #[serde(default)]
    pub per_task: Option<f64>,
    /// All that those cost ÷ the tasks of them that were solved at least once; `null` when none was.
    #[serde(default)]
    pub per_solved_task: Option<f64>,
    /// Finished trials whose cost is known.
    pub known: usize,
    /// Finished trials whose cost is not: with any, `total` is a lower bound.
    pub unknown: usize,
}

/// Tokens by bucket; the buckets exclude each other, `reasoning` is a part of `output`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenSummary {
    /// Requests.
    pub requests: Measure,
    /// Input from no cache.
    pub uncached_input: Measure,
    /// Input from the cache.
    pub cache_read: Measure,
    /// Input written to the cache.
    pub cache_write: Measure,
    /// Input written to the cache for an hour.
    pub cache_write_1h: Measure,
    /// Output.
    pub output: Measure,
    /// Of the output.
    pub reasoning: Measure,
    /// All input and all output.
    pub total: Measure,
    /// All tokens of the trials whose total is known ÷ the tasks that they are of.
    #[serde(default)]
    pub per_task: Option<f64>,
    /// The same ÷ the tasks of them that were solved at least once; `null` when none was.
    #[serde(default)]
    pub per_solved_task: Option<f64>,
}

/// Size of the change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DiffSummary {
    /// Files touched.
    pub files: Measure,
    /// Hunks.
    pub hunks: Measure,
    /// Lines added.
    pub added: Measure,
    /// Lines removed.
    pub removed: Measure,
}

/// Wall time by phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DurationSummary {
    /// Until the sandbox is ready.
    pub prepare: Measure,
    /// The agent.
    pub solve: Measure,
    /// Taking what it left.
    pub capture: Measure,
    /// The tests.
    pub verify: Measure,
    /// Removing the sandbox.
    pub teardown: Measure,
    /// All of it.
    pub total: Measure,
}

/// How many of the trials that count lack a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// Without a cost.
    pub cost_usd: usize,
    /// Without a token total.
    pub tokens: usize,
    /// Without a diff.
    pub diff: usize,
    /// Without a simplicity.
    pub simplicity: usize,
    /// Without a test report.
    pub tests: usize,
    /// Without a score.
    pub score: usize,
}

/// One summary for each variant of the manifest, and for any that only the trials name.
pub(crate) fn summaries(
    variants: &[Variant],
    trials: &[TrialRow],
    unfinished: &[UnfinishedTrial],
) -> Vec<VariantSummary> {
    let mut subjects: Vec<Subject> = variants
        .iter()
        .map(|variant| Subject {
            name: variant.name.to_string(),
            agent: variant.agent.clone(),
            model: variant.model.clone(),
            settings: variant.settings.clone(),
        })
        .collect();
    let mut index: HashMap<String, u32> = HashMap::new();
    for (at, subject) in (0..).zip(&subjects) {
        index.entry(subject.name.clone()).or_insert(at);
    }
    for trial in trials {
        if !index.contains_key(&trial.variant) {
            index.insert(trial.variant.clone(), u32::try_from(subjects.len()).unwrap_or(u32::MAX));
            subjects.push(Subject {
                name: trial.variant.clone(),
                agent: trial.agent.clone(),
                model: trial.model.clone(),
                settings: BTreeMap::new(),
            });
        }
    }
    let all: Vec<&TrialRow> = trials.iter().collect();
    let frame = Frame::of(&all, |trial| index[&trial.variant]);
    let mut by_group: Vec<Vec<&TrialRow>> = vec![Vec::new(); subjects.len()];
    for trial in trials {
        by_group[index[&trial.variant] as usize].push(trial);
    }
    let mut summaries = Vec::new();
    for ((group, subject), trials) in (0..).zip(subjects).zip(by_group) {
        let left = unfinished.iter().filter(|trial| trial.variant == subject.name).count();
        let mut summary = summarise(subject, &trials, &frame.group(group));
        summary.unfinished = left;
        summaries.push(summary);
    }
    summaries
}

/// Success by tier, by what the manifest says of the tasks' difficulty.
pub(crate) fn tiers<'a>(
    trials: impl IntoIterator<Item = &'a TrialRow>,
    tasks: &BTreeMap<String, TaskNote>,
) -> BTreeMap<String, TierTally> {
    let mut tiers: BTreeMap<String, TierTally> = BTreeMap::new();
    for trial in trials.into_iter().filter(|trial| trial.verdict.counts()) {
        let tier = tasks.get(&trial.task).and_then(|note| Tier::of(note.difficulty.as_deref()?));
        let tally = tiers.entry(tier.map_or("unknown", Tier::name).to_owned()).or_default();
        tally.n += 1;
        tally.resolved += usize::from(trial.verdict.outcome == OutcomeName::Resolved);
    }
    tiers
}

/// What is summarised: a variant, wherever its trials come from.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) agent: String,
    pub(crate) model: Option<String>,
    pub(crate) settings: BTreeMap<String, serde_json::Value>,
}

/// The numbers of some trials of one variant, for comparisons that leave tasks out.
pub(crate) fn summarise_alone(subject: Subject, trials: &[&TrialRow]) -> VariantSummary {
    let frame = Frame::of(trials, |_| 0);
    summarise(subject, trials, &frame.group(0))
}

fn summarise(subject: Subject, trials: &[&TrialRow], all: &Slice) -> VariantSummary {
    let counted = all.counted();
    let blamed = |blame| trials.iter().filter(|trial| trial.verdict.blame == Some(blame)).count();
    let tallies = tallies(trials);
    let most = tallies.iter().map(|tally| tally.attempts).max().unwrap_or(0);
    let passes: Vec<(u32, (f64, u32))> =
        shown_ks(most).into_iter().filter_map(|k| Some((k, mean_pass_at_k(&tallies, k)?))).collect();
    let (diff, total_tokens) = (counted.measure(Q::DiffFiles), counted.measure(Q::TotalTokens));
    let with_tokens = tallies_of(trials, |trial| trial.usage.total().is_some());
    let (score, simplicity) = (counted.measure(Q::Score), counted.measure(Q::Simplicity));
    VariantSummary {
        name: subject.name,
        agent: subject.agent,
        simulated: subject.model.as_deref().is_some_and(crate::fold::is_simulated),
        replayed: !trials.is_empty() && trials.iter().all(|trial| trial.replayed),
        model: subject.model,
        settings: subject.settings,
        n: counted.len(),
        resolved: counted.ended(OutcomeName::Resolved),
        unresolved: counted.ended(OutcomeName::Unresolved),
        stopped_by_agent: counted.ended(OutcomeName::Stopped),
        tiers: BTreeMap::new(),
        excluded: Excluded {
            harness: blamed(harness_core::Blame::Harness),
            task: blamed(harness_core::Blame::Task),
        },
        finished: all.len(),
        unfinished: 0,
        resolved_rate: rate(&tallies),
        pass_at_k: passes.iter().map(|(k, (value, _))| (*k, *value)).collect(),
        pass_at_k_tasks: passes.iter().map(|(k, (_, tasks))| (*k, *tasks)).collect(),
        cost_usd: cost(all, &counted, trials),
        unknown: Unknown {
            cost_usd: counted.measure(Q::Cost).unknown,
            tokens: total_tokens.unknown,
            diff: diff.unknown,
            simplicity: simplicity.unknown,
            tests: counted.measure(Q::TestsPassed).unknown,
            score: score.unknown,
        },
        tokens: TokenSummary {
            requests: counted.measure(Q::Requests),
            uncached_input: counted.measure(Q::UncachedInput),
            cache_read: counted.measure(Q::CacheRead),
            cache_write: counted.measure(Q::CacheWrite),
            cache_write_1h: counted.measure(Q::CacheWrite1h),
            output: counted.measure(Q::Output),
            reasoning: counted.measure(Q::Reasoning),
            per_task: total_tokens.sum.and_then(|sum| per(sum, with_tokens.len())),
            per_solved_task: total_tokens.sum.and_then(|sum| per(sum, solved(&with_tokens))),
            total: total_tokens,
        },
        diff: DiffSummary {
            files: diff,
            hunks: counted.measure(Q::DiffHunks),
            added: counted.measure(Q::DiffAdded),
            removed: counted.measure(Q::DiffRemoved),
        },
        score,
        simplicity,
        duration_ms: DurationSummary {
            prepare: counted.measure(Q::Prepare),
            solve: counted.measure(Q::Solve),
            capture: counted.measure(Q::Capture),
            verify: counted.measure(Q::Verify),
            teardown: counted.measure(Q::Teardown),
            total: counted.measure(Q::TotalTime),
        },
        cpu_ms: counted.measure(Q::Cpu),
        peak_memory_bytes: counted.measure(Q::PeakMemory),
    }
}

fn cost(all: &Slice, counted: &Slice, trials: &[&TrialRow]) -> CostSummary {
    const NANO: f64 = 1e9;
    let (spent, known) = (all.measure(Q::Cost), counted.known(Q::Cost));
    let (paid, resolved) = (known.measure(Q::Cost), known.ended(OutcomeName::Resolved));
    let tasks = tallies_of(trials, |trial| trial.cost.is_some());
    let paid_usd = paid.sum.map(|sum| sum / NANO);
    CostSummary {
        total: spent.sum.map(|sum| sum / NANO),
        per_trial: paid.mean.map(|mean| mean / NANO),
        per_resolved: paid_usd.and_then(|sum| per(sum, resolved)),
        per_task: paid_usd.and_then(|sum| per(sum, tasks.len())),
        per_solved_task: paid_usd.and_then(|sum| per(sum, solved(&tasks))),
        known: spent.known,
        unknown: spent.unknown,
    }
}

/// A sum for each of so many; `None` of none.
fn per(sum: f64, count: usize) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

/// How many of the tasks were solved at least once.
fn solved(tallies: &[TaskTally]) -> usize {
    tallies.iter().filter(|tally| tally.resolved > 0).count()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Attempts that count, by task.
fn tallies(trials: &[&TrialRow]) -> Vec<TaskTally> {
    tallies_of(trials, |_| true)
}

/// The same of the trials that have something.
fn tallies_of(trials: &[&TrialRow], has: impl Fn(&TrialRow) -> bool) -> Vec<TaskTally> {
    let mut tallies: BTreeMap<&str, TaskTally> = BTreeMap::new();
    for trial in trials.iter().filter(|trial| trial.verdict.counts() && has(trial)) {
        let tally = tallies.entry(&trial.task).or_default();
        tally.attempts += 1;
        tally.resolved += u32::from(trial.verdict.outcome == OutcomeName::Resolved);
    }
    tallies.into_values().collect()
}
