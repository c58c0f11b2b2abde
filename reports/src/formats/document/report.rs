//! A run: what became of it, its variants, its trials, and what was left out.

use std::collections::BTreeSet;

use harness_core::Severity;

use super::{Block, by_tier, listed, numbers, spending, table_of, text};
use crate::formats::Look;
use crate::grid::{Cell, Column, Grid, Paint};
use crate::results::{OutcomeName, Results, TrialRow};
use crate::show::{self, or_unknown, plural};
use crate::summary::VariantSummary;
use crate::text::clean;

/// A run.
pub(in crate::formats) fn reported(results: &Results, look: &Look) -> Vec<Block> {
    let (run, totals) = (&results.run, &results.run.totals);
    let mut blocks = vec![Block::Title(
        clean(&format!("run {} · {} · {} · harness {}", run.id, run.suite, run.created, run.harness_version))
            .into_owned(),
    )];
    let solved = |trial: &&TrialRow| trial.verdict.outcome == OutcomeName::Resolved;
    let solved: BTreeSet<&str> =
        results.trials.iter().filter(solved).map(|trial| trial.task.as_str()).collect();
    let tasks = format!(
        "tasks: {} resolved / {} run / {} skipped / {} invalid of {} selected",
        solved.len(),
        totals.run,
        totals.skipped,
        totals.invalid,
        totals.selected
    );
    blocks.push(text(Paint::Plain, &tasks));
    let trials = format!(
        "trials: {} resolved / {} unresolved / {} stopped of {} planned",
        totals.resolved, totals.unresolved, totals.stopped, totals.planned
    );
    blocks.push(text(Paint::Plain, &trials));
    if totals.unfinished > 0 {
        let why = run.ended.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
        let left = plural(totals.unfinished, "trial");
        blocks.push(text(Paint::Odd, &format!("not complete{why}: {left} without a result")));
    }
    if !results.variants.is_empty() && results.variants.iter().all(|variant| variant.model.is_none()) {
        blocks.push(text(Paint::Odd, "no model took part in this run"));
    }
    blocks.push(Block::Table(variant_table(results)));
    blocks.extend(variant_notes(results));
    if !results.trials.is_empty() {
        blocks.push(Block::Table(trial_table(results, look.rows)));
        if results.trials.len() > look.rows {
            let more = plural(results.trials.len() - look.rows, "more trial");
            blocks.push(text(Paint::Faint, &format!("and {more}: json and csv have all of them")));
        }
    }
    let limit = look.rows;
    blocks.extend(listed(
        "skipped",
        limit,
        results.skipped.iter().map(|skip| (skip.task.as_str(), skip.reason.clone())),
    ));
    let invalid =
        results.invalid.iter().map(|one| (one.task.as_str(), format!("{}: {}", one.file, one.message)));
    blocks.extend(listed("invalid", limit, invalid));
    let unfinished = run.unfinished.iter().map(|one| {
        let state = if one.started { "started" } else { "not started" };
        let cut = one.tries.last().filter(|last| last.cut_by.is_some());
        if let Some(reason) = cut.and_then(|last| last.verdict.reason.as_deref()) {
            return (
                one.task.as_str(),
                format!("{}, attempt {}: cut short: {reason}", one.variant, one.attempt),
            );
        }
        let tries = match one.tries.len() {
            0 => String::new(),
            1 => ", 1 failed try".to_owned(),
            more => format!(", {more} failed tries"),
        };
        (one.task.as_str(), format!("{}, attempt {}: {state}{tries}", one.variant, one.attempt))
    });
    blocks.extend(listed("unfinished", limit, unfinished));
    blocks.extend(run.warnings.iter().map(|warning| text(Paint::Odd, &format!("warning: {warning}"))));
    blocks
}

fn variant_table(results: &Results) -> Grid {
    let row = |variant: &VariantSummary| {
        let mut row: Vec<(&'static str, Cell)> =
            numbers(variant).into_iter().map(|(name, value)| (name, Cell::new(&value))).collect();
        let excluded = variant.excluded.harness + variant.excluded.task;
        let paint = if excluded > 0 { Paint::Odd } else { Paint::Plain };
        row.push(("excluded", Cell::painted(&excluded.to_string(), paint)));
        (variant.name.clone(), row)
    };
    table_of(results.variants.iter().map(row).collect())
}

/// What a reader must know about the numbers above, and cannot see in them.
fn variant_notes(results: &Results) -> Vec<Block> {
    let mut blocks = Vec::new();
    let methods: Vec<&str> = results
        .variants
        .iter()
        .filter_map(|variant| Some(variant.resolved_rate.as_ref()?.method.as_str()))
        .collect();
    if let Some(method) = methods.iter().max() {
        let note = format!("95% interval: {method}, for tasks like these; tokens: mean; time, lines: median");
        blocks.push(text(Paint::Faint, &note));
    }
    for variant in &results.variants {
        let (harness, task) = (variant.excluded.harness, variant.excluded.task);
        if harness + task > 0 {
            let note = format!(
                "{}: {} not in the rate, because no verdict was possible ({harness} by the harness, {task} by the task)",
                variant.name,
                plural(harness + task, "stopped trial"),
            );
            blocks.push(text(Paint::Odd, &note));
        }
        if let Some(tiers) = by_tier(variant) {
            blocks.push(text(Paint::Plain, &format!("by tier, {}: {tiers}", variant.name)));
        }
        if let Some(spent) = spending(&variant.name, variant) {
            blocks.push(text(Paint::Plain, &spent));
        }
        let unknown = &variant.unknown;
        let counts = [
            ("cost", variant.cost_usd.unknown, variant.finished),
            ("tokens", unknown.tokens, variant.n),
            ("diff", unknown.diff, variant.n),
            ("tests", unknown.tests, variant.n),
        ];
        if let Some(parts) = unknown_parts(&counts) {
            blocks.push(text(Paint::Faint, &format!("unknown for {}: {parts}", variant.name)));
        }
    }
    let marked = |severity| {
        let has = |trial: &&TrialRow| {
            trial.integrity.iter().map(|finding| finding.severity).max() == Some(severity)
        };
        results.trials.iter().filter(has).count()
    };
    let (tampered, warned) = (marked(Severity::Tampered), marked(Severity::Warning));
    if tampered > 0 {
        let note = format!("integrity: the verdict had to be defended in {}", plural(tampered, "trial"));
        blocks.push(text(Paint::Odd, &note));
    }
    if warned > 0 {
        blocks.push(text(
            Paint::Odd,
            &format!("integrity: someone should look at {}", plural(warned, "trial")),
        ));
    }
    blocks
}

/// `cost (1 of 4 trials); tokens, diff (1 of 3 trials)`: what is unknown as often is named together.
fn unknown_parts(counts: &[(&str, usize, usize)]) -> Option<String> {
    let mut parts: Vec<(Vec<&str>, usize, usize)> = Vec::new();
    for (what, count, of) in counts.iter().filter(|(_, count, _)| *count > 0) {
        match parts.iter_mut().find(|part| (part.1, part.2) == (*count, *of)) {
            Some(part) => part.0.push(what),
            None => parts.push((vec![what], *count, *of)),
        }
    }
    let say = |(names, count, of): &(Vec<&str>, usize, usize)| {
        format!("{} ({count} of {})", names.join(", "), plural(*of, "trial"))
    };
    let said: Vec<String> = parts.iter().map(say).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn trial_table(results: &Results, limit: usize) -> Grid {
    let repeated = results.trials.iter().any(|trial| trial.attempt > 1);
    let mut columns = vec![Column::name("task"), Column::name("variant")];
    if repeated {
        columns.push(Column::number("#", 0));
    }
    columns.extend([
        Column::word("outcome", 0),
        Column::number("tests", 4),
        Column::number("time", 1),
        Column::number("tokens", 5),
        Column::number("cost", 3),
        Column::number("lines", 6),
        Column::prose("why", 2),
    ]);
    let mut grid = Grid::new(columns);
    for trial in by_task(results).into_iter().take(limit) {
        let mut row = vec![Cell::new(&trial.task), Cell::new(&trial.variant)];
        if repeated {
            row.push(Cell::new(&trial.attempt.to_string()));
        }
        row.extend(trial_cells(trial));
        grid.push(row);
    }
    grid
}

/// Attempts are outermost in the plan; people look for tasks.
fn by_task(results: &Results) -> Vec<&TrialRow> {
    let mut first: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for (at, trial) in results.trials.iter().enumerate() {
        first.entry(&trial.task).or_insert(at);
    }
    let place = |name: &str| results.variants.iter().position(|variant| variant.name == name);
    let variants: std::collections::HashMap<&str, Option<usize>> =
        results.trials.iter().map(|trial| (trial.variant.as_str(), place(&trial.variant))).collect();
    let mut trials: Vec<&TrialRow> = results.trials.iter().collect();
    trials.sort_by_key(|trial| (first[trial.task.as_str()], variants[trial.variant.as_str()], trial.attempt));
    trials
}

fn trial_cells(trial: &TrialRow) -> Vec<Cell> {
    let verdict = &trial.verdict;
    let paint = match verdict.outcome {
        OutcomeName::Resolved => Paint::Good,
        OutcomeName::Unresolved => Paint::Bad,
        OutcomeName::Stopped => Paint::Odd,
    };
    let tests =
        trial.tests.map(|tests| format!("{}/{}", tests.passed, tests.passed.saturating_add(tests.failed)));
    let why = match (&verdict.reason, verdict.blame) {
        (Some(reason), Some(blame)) => format!("({blame}) {reason}"),
        (Some(reason), None) => reason.clone(),
        (None, _) => String::new(),
    };
    vec![
        Cell::painted(verdict.outcome.name(), paint),
        Cell::new(&or_unknown(tests, |tests| tests)),
        Cell::new(&show::duration(trial.duration_ms.total)),
        Cell::new(&or_unknown(trial.usage.total(), show::count)),
        Cell::new(&or_unknown(trial.cost, |cost| show::usd(cost.as_usd()))),
        Cell::new(&or_unknown(trial.diff, |diff| format!("+{} -{}", diff.added, diff.removed))),
        Cell::new(&why),
    ]
}
