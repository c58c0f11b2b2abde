//! What a document says, apart from how it looks: titles, sentences and tables, in order.

mod comparison;
mod report;

pub(super) use comparison::compared;
pub(super) use report::reported;

use harness_core::Tier;

use crate::grid::{Cell, Column, Grid, Paint};
use crate::show::{self, UNKNOWN, or_unknown, percent};
use crate::summary::VariantSummary;
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

/// The numbers that a variant has in a report and in a comparison, by the names of their columns.
fn numbers(variant: &VariantSummary) -> Vec<(&'static str, String)> {
    let rate = variant.resolved_rate.as_ref();
    let interval = or_unknown(rate, |rate| format!("{}–{}", percent(rate.low), percent(rate.high)));
    let pass = variant.pass_at_k.iter().next_back().filter(|(k, _)| **k > 1);
    let lower = if variant.cost_usd.unknown > 0 { "≥" } else { "" };
    let lines = variant.diff.added.median.zip(variant.diff.removed.median);
    let time = |ms: f64| show::duration(ms.round() as u64);
    vec![
        ("resolved", format!("{}/{}", variant.resolved, variant.n)),
        ("rate", or_unknown(rate, |rate| percent(rate.value))),
        ("95% interval", interval),
        ("pass@k", or_unknown(pass, |(k, value)| format!("@{k} {}", percent(*value)))),
        ("$/resolved", or_unknown(variant.cost_usd.per_resolved, show::usd)),
        ("$ total", or_unknown(variant.cost_usd.total, |total| format!("{lower}{}", show::usd(total)))),
        ("tokens", or_unknown(variant.tokens.total.mean, |mean| show::count(mean.round() as u64))),
        ("time", or_unknown(variant.duration_ms.total.median, time)),
        ("p95", or_unknown(variant.duration_ms.total.p95, time)),
        ("lines", or_unknown(lines, |(added, removed)| format!("+{added:.0} -{removed:.0}"))),
    ]
}

/// What a variant with a model used, in all and for each task.
fn spending(label: &str, variant: &VariantSummary) -> Option<String> {
    let (cost, tokens) = (&variant.cost_usd, &variant.tokens);
    variant.model.as_ref()?;
    tokens.requests.sum.filter(|requests| *requests > 0.0)?;
    let usd = |value: Option<f64>| or_unknown(value, show::usd);
    let count = |value: Option<f64>| or_unknown(value, |value| show::count(value.round() as u64));
    let simulated = match (variant.simulated, variant.replayed) {
        (true, _) => " (its model is a script: simulated, no money was spent)",
        (false, true) => " (played from a recording: no money was spent)",
        (false, false) => "",
    };
    let least = if cost.unknown > 0 { "at least " } else { "" };
    let solved = match variant.resolved {
        0 => "no task was solved".to_owned(),
        _ => format!("{} and {} a solved task", usd(cost.per_solved_task), count(tokens.per_solved_task)),
    };
    Some(format!(
        "cost of {label}{simulated}: {least}{} and {} tokens in all; {} and {} a task; {solved}",
        usd(cost.total),
        count(tokens.total.sum),
        usd(cost.per_task),
        count(tokens.per_task),
    ))
}

/// `simple 3/4, major 0/1`; nothing where all tasks are of one.
fn by_tier(variant: &VariantSummary) -> Option<String> {
    let known = Tier::ALL.into_iter().filter_map(|tier| Some((tier.name(), variant.tiers.get(tier.name())?)));
    let told: Vec<String> = known
        .chain(variant.tiers.get("unknown").map(|tally| ("unknown", tally)))
        .map(|(name, tally)| format!("{name} {}/{}", tally.resolved, tally.n))
        .collect();
    // Of tasks that are all alike, the rate says it.
    (told.len() > 1).then(|| told.join(", "))
}

/// How soon a number gives way when the terminal is narrow.
fn rank(name: &str) -> u8 {
    match name {
        "resolved" | "rate" | "change" => 0,
        "95% interval" => 1,
        "$/resolved" | "excluded" => 2,
        "tokens" | "time" | "better" | "worse" => 3,
        "$ total" => 4,
        "lines" => 5,
        "pass@k" => 6,
        _ => 7,
    }
}

/// One row for each name; a number that nobody has (no variant was tried twice, say) gets no column.
fn table_of(rows: Vec<(String, Vec<(&'static str, Cell)>)>) -> Grid {
    let names: Vec<&'static str> =
        rows.first().map(|(_, row)| row.iter().map(|(name, _)| *name).collect()).unwrap_or_default();
    let optional = |name: &str| matches!(name, "pass@k");
    let shown: Vec<usize> = (0..names.len())
        .filter(|at| !optional(names[*at]) || rows.iter().any(|(_, row)| row[*at].1.text() != UNKNOWN))
        .collect();
    let mut columns = vec![Column::name("variant")];
    columns.extend(shown.iter().map(|at| Column::number(names[*at], rank(names[*at]))));
    let mut grid = Grid::new(columns);
    for (label, row) in rows {
        let cells = shown.iter().map(|at| row[*at].1.clone());
        grid.push(std::iter::once(Cell::new(&label)).chain(cells).collect());
    }
    grid
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
