//! Manifest, plan and journal → [`Results`]: nothing is dropped, nothing is counted twice.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use harness_core::manifest::{Manifest, SkippedTask};
use harness_core::{Event, NanoUsd, TrialId, TrialRecord, TryRecord, Variant};

use crate::frame::{Frame, Slice};
use crate::measure::Q;
use crate::read::RunFiles;
use crate::results::{
    CostSummary, DiffSummary, DurationSummary, Excluded, OutcomeName, Results, RunInfo, TokenSummary, Totals,
    TrialRow, TryRow, UnfinishedTrial, Unknown, VariantSummary, VerdictRow,
};
use crate::show;
use crate::stats::{TaskTally, mean_pass_at_k, rate, shown_ks};

/// Most warnings that are kept; the last one then says how many there were.
const MAX_WARNINGS: usize = 100;

/// Folds a run's files.
pub fn fold(files: &RunFiles) -> Results {
    let seen = Seen::of(files);
    let manifest = &files.manifest;
    let trials: Vec<TrialRow> = seen.finished.iter().map(|record| row(record)).collect();
    let variants = summaries(&manifest.variants, &trials, &seen.unfinished);

    let mut skipped = manifest.skipped.clone();
    let known: HashSet<String> = skipped.iter().map(|skip| skip.task.clone()).collect();
    skipped.extend(
        seen.skipped
            .iter()
            .filter(|(task, _)| !known.contains(*task))
            .map(|(task, reason)| SkippedTask { task: task.clone(), reason: reason.clone() }),
    );
    let totals = totals(manifest, &skipped, &trials, &seen.unfinished);
    Results {
        run: run_info(manifest, seen, totals),
        variants,
        trials,
        invalid: manifest.invalid.clone(),
        skipped,
    }
}

/// The journal in the order of the plan.
struct Seen<'a> {
    finished: Vec<&'a TrialRecord>,
    unfinished: Vec<UnfinishedTrial>,
    skipped: BTreeMap<String, String>,
    warnings: Vec<String>,
    ended: Option<String>,
}

impl<'a> Seen<'a> {
    fn of(files: &'a RunFiles) -> Seen<'a> {
        let mut records: HashMap<&TrialId, &TrialRecord> = HashMap::new();
        let mut order: Vec<&TrialId> = Vec::new();
        let mut started: HashSet<&TrialId> = HashSet::new();
        let mut failed: HashMap<&TrialId, Vec<TryRow>> = HashMap::new();
        let mut skipped = BTreeMap::new();
        let mut warnings = Vec::new();
        let mut ended = None;
        for entry in &files.journal.entries {
            match &entry.event {
                Event::RunStarted { .. } => ended = None,
                Event::RunEnded { reason, .. } => ended.clone_from(reason),
                Event::TaskSkipped { task, reason } => {
                    skipped.insert(task.to_string(), reason.clone());
                }
                Event::TrialStarted { id, .. } => {
                    started.insert(id);
                }
                Event::TryFailed { id, record } => failed.entry(id).or_default().push(try_row(record)),
                Event::TrialFinished { record } => {
                    if records.contains_key(&record.id) {
                        warnings.push(format!(
                            "trial {} is in the journal twice; the first result counts",
                            record.id
                        ));
                    } else {
                        records.insert(&record.id, record);
                        order.push(&record.id);
                    }
                }
                Event::Warning { message } => warnings.push(message.clone()),
                Event::PhaseEntered { .. } => {}
            }
        }

        let planned: HashSet<&TrialId> = files.plan.iter().map(|planned| &planned.id).collect();
        let mut finished: Vec<&TrialRecord> = Vec::new();
        let mut unfinished = Vec::new();
        let mut listed: HashSet<&TrialId> = HashSet::new();
        for id in files.plan.iter().map(|planned| &planned.id).filter(|id| listed.insert(id)) {
            match records.get(id) {
                Some(record) => finished.push(record),
                None if skipped.contains_key(id.task.as_str()) => {}
                None => unfinished.push(UnfinishedTrial {
                    task: id.task.to_string(),
                    variant: id.variant.to_string(),
                    attempt: id.attempt,
                    started: started.contains(id),
                    tries: failed.remove(id).unwrap_or_default(),
                }),
            }
        }
        let strays: Vec<&TrialId> = order.into_iter().filter(|id| !planned.contains(id)).collect();
        if !strays.is_empty() {
            let trials = show::plural(strays.len(), "finished trial");
            warnings.push(format!("{trials} not in the plan, the first is {}", strays[0]));
        }
        finished.extend(strays.into_iter().map(|id| records[id]));
        if warnings.len() > MAX_WARNINGS {
            let more = warnings.len() - MAX_WARNINGS;
            warnings.truncate(MAX_WARNINGS);
            warnings.push(format!("and {}", show::plural(more, "more warning")));
        }
        Seen { finished, unfinished, skipped, warnings, ended }
    }
}

fn row(record: &TrialRecord) -> TrialRow {
    TrialRow {
        task: record.id.task.to_string(),
        variant: record.id.variant.to_string(),
        agent: record.agent.clone(),
        model: record.model.clone(),
        attempt: record.id.attempt,
        verdict: VerdictRow::from(&record.outcome),
        agent_exit: record.agent_exit,
        score: record.score,
        rewards: record.rewards.clone(),
        steps: record.steps.clone(),
        tests: record.tests,
        usage: record.usage,
        cost: record.cost,
        diff: record.diff,
        duration_ms: record.durations,
        cpu_ms: record.cpu_ms,
        peak_memory_bytes: record.peak_memory_bytes,
        integrity: record.integrity.clone(),
        tries: record.tries.iter().map(try_row).collect(),
        sandbox: record.sandbox.clone(),
        started_ms: record.started_ms,
        finished_ms: record.finished_ms,
    }
}

fn try_row(record: &TryRecord) -> TryRow {
    TryRow {
        number: record.number,
        verdict: VerdictRow::from(&record.outcome),
        agent_exit: record.agent_exit,
        usage: record.usage,
        cost: record.cost,
        duration_ms: record.durations,
    }
}

fn run_info(manifest: &Manifest, seen: Seen<'_>, totals: Totals) -> RunInfo {
    RunInfo {
        id: manifest.run.clone(),
        suite: manifest.suite.name.clone(),
        sources: manifest.suite.sources.clone(),
        filter: manifest.suite.filter.clone(),
        limit: manifest.suite.limit,
        suite_digest: manifest.suite.digest.clone(),
        created: show::timestamp(manifest.created_ms),
        created_ms: manifest.created_ms,
        harness_version: manifest.harness_version.clone(),
        attempts: manifest.attempts,
        seed: manifest.seed,
        settings: manifest.settings.clone(),
        machine: manifest.machine.clone(),
        sandbox: manifest.sandbox.clone(),
        // A plan that was never written is not a plan that was carried out.
        complete: seen.unfinished.is_empty() && (totals.planned > 0 || manifest.tasks.is_empty()),
        ended: seen.ended,
        totals,
        unfinished: seen.unfinished,
        warnings: seen.warnings,
        tasks: manifest.tasks.iter().map(|(task, note)| (task.clone(), note.clone())).collect(),
    }
}

fn totals(
    manifest: &Manifest,
    skipped: &[SkippedTask],
    trials: &[TrialRow],
    unfinished: &[UnfinishedTrial],
) -> Totals {
    let mut selected: BTreeSet<&str> = manifest.tasks.keys().map(String::as_str).collect();
    selected.extend(skipped.iter().map(|skip| skip.task.as_str()));
    let run: BTreeSet<&str> = trials.iter().map(|trial| trial.task.as_str()).collect();
    selected.extend(&run);
    let ended = |outcome| trials.iter().filter(|trial| trial.verdict.outcome == outcome).count();
    let finished = trials.iter().map(|trial| trial.cost);
    let tries = unfinished.iter().flat_map(|trial| &trial.tries).map(|one| one.cost);
    Totals {
        // An invalid task may have the name of a good one: it is counted by itself.
        selected: selected.len() + manifest.invalid.len(),
        run: run.len(),
        skipped: skipped.len(),
        invalid: manifest.invalid.len(),
        planned: trials.len() + unfinished.len(),
        finished: trials.len(),
        unfinished: unfinished.len(),
        resolved: ended(OutcomeName::Resolved),
        unresolved: ended(OutcomeName::Unresolved),
        stopped: ended(OutcomeName::Stopped),
        cost: sum_known(finished.chain(tries)),
        cost_unknown: trials.iter().filter(|trial| trial.cost.is_none()).count(),
    }
}

fn sum_known(amounts: impl Iterator<Item = Option<NanoUsd>>) -> Option<NanoUsd> {
    amounts.flatten().fold(None, |sum, amount| Some(sum.unwrap_or_default() + amount))
}

/// One summary for each variant of the manifest, and for any that only the trials name.
fn summaries(
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
    let (score, simplicity) = (counted.measure(Q::Score), counted.measure(Q::Simplicity));
    VariantSummary {
        name: subject.name,
        agent: subject.agent,
        model: subject.model,
        settings: subject.settings,
        n: counted.len(),
        resolved: counted.ended(OutcomeName::Resolved),
        unresolved: counted.ended(OutcomeName::Unresolved),
        stopped_by_agent: counted.ended(OutcomeName::Stopped),
        excluded: Excluded {
            harness: blamed(harness_core::Blame::Harness),
            task: blamed(harness_core::Blame::Task),
        },
        finished: all.len(),
        unfinished: 0,
        resolved_rate: rate(&tallies),
        pass_at_k: passes.iter().map(|(k, (value, _))| (*k, *value)).collect(),
        pass_at_k_tasks: passes.iter().map(|(k, (_, tasks))| (*k, *tasks)).collect(),
        cost_usd: cost(all, &counted),
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

fn cost(all: &Slice, counted: &Slice) -> CostSummary {
    const NANO: f64 = 1e9;
    let (spent, known) = (all.measure(Q::Cost), counted.known(Q::Cost));
    let (paid, solved) = (known.measure(Q::Cost), known.ended(OutcomeName::Resolved));
    CostSummary {
        total: spent.sum.map(|sum| sum / NANO),
        per_trial: paid.mean.map(|mean| mean / NANO),
        per_resolved: paid.sum.filter(|_| solved > 0).map(|sum| sum / NANO / solved as f64),
        known: spent.known,
        unknown: spent.unknown,
    }
}

/// Attempts that count, by task.
fn tallies(trials: &[&TrialRow]) -> Vec<TaskTally> {
    let mut tallies: BTreeMap<&str, TaskTally> = BTreeMap::new();
    for trial in trials.iter().filter(|trial| trial.verdict.counts()) {
        let tally = tallies.entry(&trial.task).or_default();
        tally.attempts += 1;
        tally.resolved += u32::from(trial.verdict.outcome == OutcomeName::Resolved);
    }
    tallies.into_values().collect()
}
