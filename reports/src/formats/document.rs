//! What a report says, apart from how it looks: titles, sentences and tables, in order.

use super::Look;
use crate::compare::{Change, Comparison, SideSummary, TaskCell, TaskRow};
use crate::grid::{Cell, Column, Grid, Paint};
use crate::results::{OutcomeName, Results, TrialRow, VariantSummary};
use crate::show::{self, UNKNOWN, or_unknown, percent, plural};
use crate::text::clean;

/// One part of a document. Its text is safe already.
pub(super) enum Block {
    /// Begins a part.
    Title(String),
    /// One sentence.
    Text(Paint, String),
    /// A table.
    Table(Grid),
}

fn text(paint: Paint, line: &str) -> Block {
    Block::Text(paint, clean(line).into_owned())
}

/// A run.
pub(super) fn reported(results: &Results, look: &Look) -> Vec<Block> {
    let (run, totals) = (&results.run, &results.run.totals);
    let mut blocks = vec![Block::Title(
        clean(&format!("run {} · {} · {} · harness {}", run.id, run.suite, run.created, run.harness_version))
            .into_owned(),
    )];
    let tasks = format!(
        "{} resolved / {} run / {} skipped / {} invalid of {} selected",
        plural(totals.resolved, "trial"),
        plural(totals.run, "task"),
        totals.skipped,
        totals.invalid,
        plural(totals.selected, "task")
    );
    blocks.push(text(Paint::Plain, &tasks));
    let trials = format!(
        "{} of {} finished: {} resolved, {} unresolved, {} stopped",
        totals.finished,
        plural(totals.planned, "planned trial"),
        totals.resolved,
        totals.unresolved,
        totals.stopped
    );
    blocks.push(text(Paint::Plain, &trials));
    if !run.complete {
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
        let tries = plural(one.tries.len(), "failed try").replace("trys", "tries");
        (one.task.as_str(), format!("{}, attempt {}: {state}, {tries}", one.variant, one.attempt))
    });
    blocks.extend(listed("unfinished", limit, unfinished));
    blocks.extend(run.warnings.iter().map(|warning| text(Paint::Odd, &format!("warning: {warning}"))));
    blocks
}

fn variant_table(results: &Results) -> Grid {
    let mut grid = Grid::new(vec![
        Column::name("variant"),
        Column::number("resolved", 0),
        Column::number("rate", 0),
        Column::number("95% interval", 1),
        Column::number("pass@k", 6),
        Column::number("$/resolved", 2),
        Column::number("$ total", 4),
        Column::number("tokens", 3),
        Column::number("time", 3),
        Column::number("p95", 7),
        Column::number("lines", 5),
        Column::number("excluded", 2),
    ]);
    for variant in &results.variants {
        let mut row = vec![Cell::new(&variant.name)];
        row.extend(numbers(variant));
        let excluded = variant.excluded.harness + variant.excluded.task;
        let paint = if excluded > 0 { Paint::Odd } else { Paint::Plain };
        row.push(Cell::painted(&excluded.to_string(), paint));
        grid.push(row);
    }
    grid
}

/// The columns that a variant has in a report and in a comparison.
fn numbers(variant: &VariantSummary) -> Vec<Cell> {
    let rate = variant.resolved_rate.as_ref();
    let interval = or_unknown(rate, |rate| format!("{}–{}", show::percent(rate.low), percent(rate.high)));
    let pass = variant.pass_at_k.iter().next_back().filter(|(k, _)| **k > 1);
    let lower = if variant.cost_usd.unknown > 0 { "≥" } else { "" };
    let lines = variant.diff.added.median.zip(variant.diff.removed.median);
    [
        format!("{}/{}", variant.resolved, variant.n),
        or_unknown(rate, |rate| percent(rate.value)),
        interval,
        or_unknown(pass, |(k, value)| format!("@{k} {}", percent(*value))),
        or_unknown(variant.cost_usd.per_resolved, show::usd),
        or_unknown(variant.cost_usd.total, |total| format!("{lower}{}", show::usd(total))),
        or_unknown(variant.tokens.total.mean, |mean| show::count(mean.round() as u64)),
        or_unknown(variant.duration_ms.total.median, |ms| show::duration(ms.round() as u64)),
        or_unknown(variant.duration_ms.total.p95, |ms| show::duration(ms.round() as u64)),
        or_unknown(lines, |(added, removed)| format!("+{added:.0} -{removed:.0}")),
    ]
    .iter()
    .map(|text| Cell::new(text))
    .collect()
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
        let note =
            format!("interval: {method}, for tasks like these; tokens mean, time and lines median, a trial");
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
        let unknown = &variant.unknown;
        let parts: Vec<String> = [
            ("cost", variant.cost_usd.unknown, variant.finished),
            ("tokens", unknown.tokens, variant.n),
            ("diff", unknown.diff, variant.n),
            ("tests", unknown.tests, variant.n),
        ]
        .iter()
        .filter(|(_, count, _)| *count > 0)
        .map(|(what, count, of)| format!("{what} of {count} of {of}"))
        .collect();
        if !parts.is_empty() {
            blocks.push(text(Paint::Faint, &format!("{}: unknown {}", variant.name, parts.join(", "))));
        }
    }
    blocks
}

fn trial_table(results: &Results, limit: usize) -> Grid {
    let repeated = results.trials.iter().any(|trial| trial.attempt > 1);
    let mut columns = vec![Column::name("task"), Column::name("variant")];
    if repeated {
        columns.push(Column::number("#", 0));
    }
    columns.extend([
        Column::word("outcome", 0),
        Column::number("tests", 3),
        Column::number("time", 1),
        Column::number("tokens", 4),
        Column::number("cost", 2),
        Column::number("lines", 5),
        Column::prose("why", 6),
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

/// Names with a sentence each, at most `limit` of them.
fn listed<'a>(
    title: &'static str,
    limit: usize,
    items: impl ExactSizeIterator<Item = (&'a str, String)>,
) -> Vec<Block> {
    let count = items.len();
    if count == 0 {
        return Vec::new();
    }
    let mut grid = Grid::new(vec![Column::name(title), Column::prose("why", 0)]);
    for (name, why) in items.take(limit) {
        grid.push(vec![Cell::new(name), Cell::new(&why)]);
    }
    let mut blocks = vec![Block::Table(grid)];
    if count > limit {
        blocks.push(text(Paint::Faint, &format!("and {} more", count - limit)));
    }
    blocks
}

/// A comparison.
pub(super) fn compared(comparison: &Comparison, look: &Look) -> Vec<Block> {
    let names: Vec<&str> = comparison.sides.iter().map(|side| side.label.as_str()).collect();
    let title = format!("{} against {}", names[1..].join(", "), names[0]);
    let mut blocks = vec![Block::Title(clean(&title).into_owned())];
    let left = match comparison.left_out.len() {
        0 => String::new(),
        count => format!(", {count} left out"),
    };
    let tasks = plural(comparison.tasks, "task");
    blocks.push(text(Paint::Plain, &format!("{tasks} that all took part in{left}")));
    blocks.push(Block::Table(side_table(&comparison.sides)));
    blocks.push(Block::Table(difference_table(comparison)));
    let flips: Vec<&TaskRow> = comparison.rows.iter().filter(|row| row.change != Change::Same).collect();
    let same = comparison.rows.len() - flips.len();
    if !flips.is_empty() {
        blocks.push(Block::Table(flip_table(comparison, &flips, look.rows)));
        if flips.len() > look.rows {
            blocks.push(text(Paint::Faint, &format!("and {} more", flips.len() - look.rows)));
        }
    }
    let verb = if same == 1 { "is" } else { "are" };
    blocks.push(text(
        Paint::Plain,
        &format!("{} {verb} solved equally often on every side", plural(same, "task")),
    ));
    let why = comparison.left_out.iter().map(|one| (one.task.as_str(), one.reason.clone()));
    blocks.extend(listed("left out", look.rows, why));
    blocks
}

fn side_table(sides: &[SideSummary]) -> Grid {
    let mut grid = Grid::new(vec![
        Column::name("variant"),
        Column::number("resolved", 0),
        Column::number("rate", 0),
        Column::number("95% interval", 2),
        Column::number("pass@k", 7),
        Column::number("$/resolved", 3),
        Column::number("$ total", 5),
        Column::number("tokens", 4),
        Column::number("time", 4),
        Column::number("p95", 8),
        Column::number("lines", 6),
        Column::number("change", 1),
        Column::number("better", 3),
        Column::number("worse", 3),
    ]);
    for side in sides {
        let mut row = vec![Cell::new(&side.label)];
        row.extend(numbers(&side.summary));
        match side.rate_change {
            None => row.extend([Cell::new("base"), Cell::new(""), Cell::new("")]),
            Some(change) => {
                let paint = match change {
                    change if change > 0.0 => Paint::Good,
                    change if change < 0.0 => Paint::Bad,
                    _ => Paint::Plain,
                };
                row.push(Cell::painted(&format!("{:+.0}pp", change * 100.0), paint));
                row.push(Cell::new(&side.better.to_string()));
                row.push(Cell::new(&side.worse.to_string()));
            }
        }
        grid.push(row);
    }
    grid
}

fn difference_table(comparison: &Comparison) -> Grid {
    let mut grid =
        Grid::new(vec![Column::name("what differs"), Column::name("variant"), Column::prose("value", 0)]);
    for difference in &comparison.differences {
        for (side, value) in comparison.sides.iter().zip(&difference.values) {
            let value = match value {
                serde_json::Value::Null => UNKNOWN.to_owned(),
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            grid.push(vec![Cell::new(&difference.setting), Cell::new(&side.label), Cell::new(&value)]);
        }
    }
    if comparison.differences.is_empty() {
        grid.push(vec![Cell::new("nothing that is on record")]);
    }
    grid
}

fn flip_table(comparison: &Comparison, flips: &[&TaskRow], limit: usize) -> Grid {
    let mut grid = Grid::new(vec![
        Column::name("task"),
        Column::word("change", 0),
        Column::name("variant"),
        Column::number("resolved", 0),
    ]);
    for row in flips.iter().take(limit) {
        let (word, paint) = match row.change {
            Change::Worse => ("worse", Paint::Bad),
            Change::Better => ("better", Paint::Good),
            Change::Same => ("same", Paint::Plain),
        };
        for (at, (side, cell)) in comparison.sides.iter().zip(&row.cells).enumerate() {
            let (task, word) = if at == 0 { (row.task.as_str(), word) } else { ("", "") };
            let TaskCell { n, resolved } = cell;
            grid.push(vec![
                Cell::new(task),
                Cell::painted(word, paint),
                Cell::new(&side.label),
                Cell::new(&format!("{resolved}/{n}")),
            ]);
        }
    }
    grid
}
