//! Manifest, plan and journal → [`Results`]: nothing is dropped, nothing is counted twice.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use harness_core::manifest::{Manifest, SkippedTask};
use harness_core::{Event, NanoUsd, TrialId, TrialRecord, TryRecord, Usage};

use crate::read::RunFiles;
use crate::results::{
    OutcomeName, ReportedRow, Results, RunInfo, Totals, TrialRow, TryRow, UnfinishedTrial, VerdictRow,
};
use crate::show;
use crate::summary::{summaries, tiers};

/// Most warnings that are kept; the last one then says how many there were.
const MAX_WARNINGS: usize = 100;

/// Folds a run's files.
pub fn fold(files: &RunFiles) -> Results {
    let seen = Seen::of(files);
    let manifest = &files.manifest;
    let trials: Vec<TrialRow> = seen.finished.iter().map(|record| row(record)).collect();
    let mut variants = summaries(&manifest.variants, &trials, &seen.unfinished);
    for variant in &mut variants {
        let own = trials.iter().filter(|trial| trial.variant == variant.name);
        variant.tiers = tiers(own, &manifest.tasks);
    }

    let mut skipped = manifest.skipped.clone();
    let known: HashSet<String> = skipped.iter().map(|skip| skip.task.clone()).collect();
    skipped.extend(
        seen.skipped
            .iter()
            .filter(|(task, _)| !known.contains(*task))
            .map(|(task, reason)| SkippedTask { task: task.clone(), reason: reason.clone() }),
    );
    let mut totals = totals(manifest, &skipped, &trials, &seen.unfinished);
    totals.cost = sum_known(seen.checked.iter().copied().chain([totals.cost]));
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
    /// What asking the models beforehand cost.
    checked: Vec<Option<NanoUsd>>,
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
        let mut checked = Vec::new();
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
                Event::ModelChecked { cost, .. } => checked.push(*cost),
                Event::PhaseEntered { .. } | Event::Heartbeat { .. } | Event::Spent { .. } => {}
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
        Seen { finished, unfinished, skipped, warnings, ended, checked }
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
        usage: with_total(record.usage),
        cost: record.cost,
        reported: record.reported.map(|said| ReportedRow { usage: with_total(said.usage), cost: said.cost }),
        simulated: record.simulated,
        replayed: record.replayed,
        diff: record.diff,
        duration_ms: record.durations,
        cpu_ms: record.cpu_ms,
        peak_memory_bytes: record.peak_memory_bytes,
        network: record.network.clone(),
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
        usage: with_total(record.usage),
        cost: record.cost,
        cut_by: record.cut_by.clone(),
        duration_ms: record.durations,
    }
}

/// With the total that its buckets give, where nobody reported one.
fn with_total(usage: Usage) -> Usage {
    Usage { total_tokens: usage.total(), ..usage }
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
    let simulated: BTreeSet<&str> = manifest
        .variants
        .iter()
        .filter(|variant| variant.model.as_deref().is_some_and(is_simulated))
        .map(|variant| variant.name.as_str())
        .collect();
    let of = |is: bool| {
        let finished = trials.iter().filter(move |trial| trial.simulated == is && !trial.replayed);
        let finished = finished.map(|trial| trial.cost);
        let left = unfinished.iter().filter(|trial| simulated.contains(trial.variant.as_str()) == is);
        sum_known(finished.chain(left.flat_map(|trial| &trial.tries).map(|one| one.cost)))
    };
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
        cost: of(false),
        simulated_cost: of(true),
        cost_unknown: trials.iter().filter(|trial| trial.cost.is_none()).count(),
    }
}

/// Whether a model is the scripted one's.
pub(crate) fn is_simulated(model: &str) -> bool {
    model.starts_with("scripted/")
}

fn sum_known(amounts: impl Iterator<Item = Option<NanoUsd>>) -> Option<NanoUsd> {
    amounts.flatten().fold(None, |sum, amount| Some(sum.unwrap_or_default() + amount))
}
