//! `trials.csv`: one row a trial, flat columns, an empty field for what is unknown; and a comparison, one row a task and side.
//!
//! Spreadsheets run text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return: such text gets a `'` in front.
//! Numbers are numbers and stay as they are. Control characters are made visible, since people look at CSV in terminals too;
//! JSON has every text as it was.

use harness_core::{ConnectionResult, Connections};

use super::{FormatError, Look, ReportFormat};
use crate::compare::Comparison;
use crate::results::{Results, TrialRow};
use crate::text::clean;

/// CSV.
pub struct Csv;

impl ReportFormat for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn about(&self) -> &'static str {
        "one row a trial, for spreadsheets and data frames"
    }

    fn report(&self, results: &[Results], _: &Look) -> Result<Vec<u8>, FormatError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let fail = |message: String| FormatError::Write { format: "csv", message };
        writer
            .write_record(COLUMNS.iter().map(|(name, _)| *name))
            .map_err(|error| fail(error.to_string()))?;
        for run in results {
            for trial in &run.trials {
                let row = Row { run: run.run.id.as_str(), trial };
                let fields = COLUMNS.iter().map(|(_, field)| field(&row));
                writer.write_record(fields).map_err(|error| fail(error.to_string()))?;
            }
        }
        writer.into_inner().map_err(|error| fail(error.to_string()))
    }

    /// One row for each task and side.
    fn comparison(&self, comparison: &Comparison, _: &Look) -> Result<Vec<u8>, FormatError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let fail = |error: csv::Error| FormatError::Write { format: "csv", message: error.to_string() };
        let titles = [
            "task",
            "change",
            "side",
            "run",
            "variant",
            "agent",
            "model",
            "n",
            "resolved",
            "cost_usd",
            "tokens",
            "duration_ms",
            "lines",
            "unknown_cost",
            "unknown_tokens",
            "unknown_lines",
        ];
        writer.write_record(titles).map_err(fail)?;
        for row in &comparison.rows {
            for (side, cell) in comparison.sides.iter().zip(&row.cells) {
                let summary = &side.summary;
                let fields = [
                    text(&row.task),
                    word(Some(&row.change)),
                    text(&side.label),
                    text(&side.run),
                    text(&summary.name),
                    text(&summary.agent),
                    text(summary.model.as_deref().unwrap_or_default()),
                    cell.n.to_string(),
                    cell.resolved.to_string(),
                    number(cell.cost_usd),
                    number(cell.tokens),
                    number(cell.duration_ms),
                    number(cell.lines),
                    cell.unknown_cost.to_string(),
                    cell.unknown_tokens.to_string(),
                    cell.unknown_lines.to_string(),
                ];
                writer.write_record(&fields).map_err(fail)?;
            }
        }
        writer.into_inner().map_err(|error| FormatError::Write { format: "csv", message: error.to_string() })
    }
}

struct Row<'a> {
    run: &'a str,
    trial: &'a TrialRow,
}

type Field = fn(&Row<'_>) -> String;

/// The columns, in order. A new one goes to the end: scripts count them.
const COLUMNS: &[(&str, Field)] = &[
    ("run", |r| text(r.run)),
    ("task", |r| text(&r.trial.task)),
    ("variant", |r| text(&r.trial.variant)),
    ("agent", |r| text(&r.trial.agent)),
    ("model", |r| text(r.trial.model.as_deref().unwrap_or_default())),
    ("attempt", |r| r.trial.attempt.to_string()),
    ("outcome", |r| r.trial.verdict.outcome.name().to_owned()),
    ("blame", |r| number(r.trial.verdict.blame)),
    ("phase", |r| number(r.trial.verdict.phase)),
    ("reason", |r| text(r.trial.verdict.reason.as_deref().unwrap_or_default())),
    ("agent_exit", |r| number(r.trial.agent_exit.map(harness_core::AgentExit::name))),
    ("score", |r| number(r.trial.score)),
    ("rewards", |r| json(r.trial.rewards.as_ref())),
    ("steps", |r| json(r.trial.steps.as_ref())),
    ("tests_passed", |r| number(r.trial.tests.map(|t| t.passed))),
    ("tests_failed", |r| number(r.trial.tests.map(|t| t.failed))),
    ("fail_to_pass_passed", |r| number(r.trial.tests.map(|t| t.fail_to_pass.passed))),
    ("fail_to_pass_total", |r| number(r.trial.tests.map(|t| t.fail_to_pass.total))),
    ("pass_to_pass_passed", |r| number(r.trial.tests.map(|t| t.pass_to_pass.passed))),
    ("pass_to_pass_total", |r| number(r.trial.tests.map(|t| t.pass_to_pass.total))),
    ("requests", |r| number(r.trial.usage.requests)),
    ("uncached_input_tokens", |r| number(r.trial.usage.uncached_input_tokens)),
    ("cache_read_tokens", |r| number(r.trial.usage.cache_read_tokens)),
    ("cache_write_tokens", |r| number(r.trial.usage.cache_write_tokens)),
    ("cache_write_1h_tokens", |r| number(r.trial.usage.cache_write_1h_tokens)),
    ("output_tokens", |r| number(r.trial.usage.output_tokens)),
    ("reasoning_tokens", |r| number(r.trial.usage.reasoning_tokens)),
    ("total_tokens", |r| number(r.trial.usage.total())),
    ("usage_source", |r| word(r.trial.usage.source.as_ref())),
    ("cost_usd", |r| number(r.trial.cost.map(harness_core::NanoUsd::as_usd))),
    ("diff_files", |r| number(r.trial.diff.map(|d| d.files))),
    ("diff_hunks", |r| number(r.trial.diff.map(|d| d.hunks))),
    ("diff_added", |r| number(r.trial.diff.map(|d| d.added))),
    ("diff_removed", |r| number(r.trial.diff.map(|d| d.removed))),
    ("diff_simplicity", |r| number(r.trial.diff.and_then(|d| d.simplicity))),
    ("prepare_ms", |r| r.trial.duration_ms.prepare.to_string()),
    ("solve_ms", |r| r.trial.duration_ms.solve.to_string()),
    ("capture_ms", |r| r.trial.duration_ms.capture.to_string()),
    ("verify_ms", |r| r.trial.duration_ms.verify.to_string()),
    ("teardown_ms", |r| r.trial.duration_ms.teardown.to_string()),
    ("total_ms", |r| r.trial.duration_ms.total.to_string()),
    ("cpu_ms", |r| number(r.trial.cpu_ms)),
    ("peak_memory_bytes", |r| number(r.trial.peak_memory_bytes)),
    ("connections", |r| number(r.trial.network.as_ref().map(|n| n.connections.len() as u64 + n.left_out))),
    ("connections_refused", |r| number(r.trial.network.as_ref().map(refused))),
    ("integrity_findings", |r| r.trial.integrity.len().to_string()),
    ("integrity_worst", |r| word(r.trial.integrity.iter().map(|finding| finding.severity).max().as_ref())),
    ("tries", |r| r.trial.tries.len().to_string()),
    ("sandbox", |r| text(&r.trial.sandbox.backend)),
    ("rootfs", |r| text(&r.trial.sandbox.rootfs)),
    ("network", |r| text(&r.trial.sandbox.network)),
    ("started_ms", |r| r.trial.started_ms.to_string()),
    ("finished_ms", |r| r.trial.finished_ms.to_string()),
];

fn text(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("{guard}{}", clean(text))
}

/// Of those that are kept.
fn refused(tried: &Connections) -> usize {
    tried.connections.iter().filter(|one| one.result == ConnectionResult::Refused).count()
}

fn number(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn json(value: Option<&impl serde::Serialize>) -> String {
    let text = value.and_then(|value| serde_json::to_string(value).ok()).unwrap_or_default();
    clean(&text).into_owned()
}

/// A value whose JSON is one word.
fn word(value: Option<&impl serde::Serialize>) -> String {
    json(value).trim_matches('"').to_owned()
}
