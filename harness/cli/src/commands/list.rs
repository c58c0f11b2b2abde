//! `harness list …`: what there is. A table for people, an array for scripts.

use harness_sandbox::BACKENDS;
use serde_json::{Value, json};

use super::select::{self, Asked};
use super::{Context, list_models, report};
use crate::args::List;
use crate::exit::{Exit, Failure};
use crate::printer;

/// Lists.
pub fn list(context: &Context, what: List) -> Result<Exit, Failure> {
    let json = context.table_or_json()?;
    let rows = match what {
        List::Suites => suites(),
        List::Tasks { suite, filter } => tasks(context, suite, filter)?,
        List::Agents => agents(),
        List::Sandboxes => {
            BACKENDS.iter().map(|kind| json!({"name": kind.name(), "about": kind.about()})).collect()
        }
        List::Formats => formats(),
        List::Metrics => metrics(),
        List::Models { provider, prices } => list_models::rows(context, provider.as_deref(), prices)?,
        List::Runs => runs(context),
    };
    if json {
        printer::raw(&harness_core::journal::line(&rows));
    } else {
        printer::data(&table(&rows));
    }
    Ok(Exit::Completed)
}

fn suites() -> Vec<Value> {
    suites::catalog::CATALOG
        .iter()
        .map(|bundled| json!({"name": bundled.name, "about": bundled.description()}))
        .collect()
}

fn tasks(context: &Context, suite: String, filter: Option<String>) -> Result<Vec<Value>, Failure> {
    let mut context = Context { settings: context.settings.clone(), format: None };
    let asked = Asked { sources: vec![suite], filter, keep_going: true, ..Asked::default() };
    let found = select::select(&mut context, &asked)?;
    let mut rows: Vec<Value> = found
        .tasks
        .iter()
        .map(|task| {
            let traits = &task.traits;
            json!({
                "name": task.id, "difficulty": traits.difficulty, "language": traits.language, "category": traits.category,
                "tags": traits.tags, "about": task.description, "digest": task.digest.short(),
            })
        })
        .collect();
    rows.extend(
        found
            .invalid
            .iter()
            .map(|invalid| json!({"name": invalid.task, "invalid": invalid.message, "file": invalid.file})),
    );
    Ok(rows)
}

fn agents() -> Vec<Value> {
    let setting =
        |spec: &harness_engine::agents::SettingSpec| json!({"name": spec.name, "about": spec.about});
    harness_engine::agents::AGENTS
        .iter()
        .map(|kind| json!({"name": kind.name(), "about": kind.about(), "version": kind.version(), "settings": kind.settings().iter().map(setting).collect::<Vec<_>>()}))
        .collect()
}

fn formats() -> Vec<Value> {
    let tasks = datasets::FORMATS
        .iter()
        .map(|format| json!({"name": format.name(), "of": "tasks", "about": format.summary()}));
    let reports = reports::FORMATS
        .iter()
        .map(|format| json!({"name": format.name(), "of": "reports", "about": format.about()}));
    tasks.chain(reports).collect()
}

fn metrics() -> Vec<Value> {
    reports::summary::METRICS.iter().map(|(name, about)| json!({"name": name, "about": about})).collect()
}

fn runs(context: &Context) -> Vec<Value> {
    report::runs(context)
        .into_iter()
        .map(|(name, folder, created_ms)| json!({"name": name, "created": reports::show::timestamp(created_ms), "folder": folder}))
        .collect()
}

/// Name and the line about it; for rows without one, what else they say.
fn table(rows: &[Value]) -> String {
    let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).map(printer::plain);
    let width =
        rows.iter().filter_map(|row| text(row, "name")).map(|name| name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for row in rows {
        let name = text(row, "name").unwrap_or_default();
        let of = text(row, "of").map(|of| format!("{of:<8} ")).unwrap_or_default();
        let traits: Vec<_> = ["difficulty", "language"]
            .iter()
            .filter_map(|key| text(row, key))
            .map(|word| format!("{word:<11}"))
            .collect();
        let about = text(row, "about")
            .or_else(|| text(row, "invalid").map(|why| format!("invalid: {why}")))
            .or_else(|| text(row, "created"))
            .unwrap_or_default();
        let version = text(row, "version").map(|version| format!(" ({version})")).unwrap_or_default();
        let line = format!("{name:<width$}  {of}{}{about}{version}", traits.concat());
        out.push_str(&fitted(line.trim_end()));
        out.push('\n');
        let settings = || row.get("settings").and_then(Value::as_array).into_iter().flatten();
        let names = settings().filter_map(|setting| text(setting, "name")).map(|name| name.chars().count());
        let longest = names.max().unwrap_or(0);
        for setting in settings() {
            let line = format!(
                "{:width$}  {:<longest$}  {}",
                "",
                text(setting, "name").unwrap_or_default(),
                text(setting, "about").unwrap_or_default()
            );
            out.push_str(&fitted(&line));
            out.push('\n');
        }
    }
    out
}

/// Cut at the terminal's edge; whole where nobody looks.
fn fitted(line: &str) -> String {
    use std::io::IsTerminal;
    let width = if std::io::stdout().is_terminal() { printer::width() } else { usize::MAX };
    printer::fitted(line, width)
}
