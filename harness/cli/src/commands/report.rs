//! `harness report`, and the table after a run.

use std::path::{Path, PathBuf};

use harness_prices::PriceTable;
use reports::results::OutcomeName;
use reports::{Look, Results, RunFiles};

use super::Context;
use crate::args::Report;
use crate::exit::{Exit, Failure};
use crate::{printer, providers};

/// Shows one or more runs.
pub fn report(context: &Context, options: &Report) -> Result<Exit, Failure> {
    let format = format(context, "terminal")?;
    let folders = match options.runs.as_slice() {
        [] => vec![newest(context)?],
        runs => runs.iter().map(|run| folder(context, run)).collect(),
    };
    let prices = options.prices.as_deref();
    let prices = prices.map(|file| providers::with_file(PriceTable::bundled(), file)).transpose()?;
    let read = |folder: &PathBuf| {
        let mut files = files(folder)?;
        if let Some(prices) = &prices {
            let warnings = reports::reprice(&mut files, prices);
            for warning in warnings {
                printer::warn(&printer::plain(&warning));
            }
        }
        Ok(reports::fold(&files))
    };
    let results = folders.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
    let look = look(options.output.is_none());
    let bytes = format.report(&results, &look).map_err(|error| Failure::of(Exit::Unexpected, &error))?;
    write(options.output.as_deref(), &bytes)
}

/// The table after a run, and the derived files beside it. Gives the first trial that did not resolve.
pub fn after_run(context: &Context, folder: &Path, json: bool) -> Result<Option<String>, Failure> {
    let results = read(folder)?;
    if let Err(error) = reports::derive(folder, &results) {
        printer::warn(&format!("{}; `harness report` makes it again", Failure::of(Exit::Unexpected, &error)));
    }
    let failed = results.trials.iter().find(|trial| trial.verdict.outcome != OutcomeName::Resolved);
    let failed = failed.map(|trial| {
        let attempt = if results.run.attempts > 1 { format!("/{}", trial.attempt) } else { String::new() };
        format!("{}/{}{attempt}", trial.task, trial.variant)
    });
    // With JSON, events went to stdout; a script reads results.json or asks for the report.
    if !json {
        let format = format(context, "terminal")?;
        let bytes =
            format.report(&[results], &look(true)).map_err(|error| Failure::of(Exit::Unexpected, &error))?;
        printer::raw(&bytes);
    }
    Ok(failed)
}

/// The format that was asked for; `table` is a name for the terminal's.
pub fn format(context: &Context, default: &str) -> Result<&'static dyn reports::ReportFormat, Failure> {
    let name = match context.format.as_deref().unwrap_or(default) {
        "table" => "terminal",
        name => name,
    };
    reports::format(name).map_err(|error| Failure::of(Exit::Usage, &error))
}

/// How documents look on this stdout.
pub fn look(to_terminal: bool) -> Look {
    let color = to_terminal && printer::colour(&std::io::stdout());
    Look { width: if to_terminal { printer::width() } else { 100 }, color, ..Look::default() }
}

/// Writes a document where it was asked to go.
pub fn write(file: Option<&Path>, bytes: &[u8]) -> Result<Exit, Failure> {
    match file {
        None => printer::raw(bytes),
        Some(file) => {
            std::fs::write(file, bytes).map_err(|error| {
                Failure::new(Exit::Unexpected, format!("cannot write {}: {error}", file.display()))
            })?;
            printer::say(&format!("wrote {}", file.display()));
        }
    }
    Ok(Exit::Completed)
}

/// The folder of a run: a path where it is one, else a name below the runs folder.
pub fn folder(context: &Context, run: &str) -> PathBuf {
    let path = Path::new(run);
    if run.contains('/') && path.join("manifest.json").is_file() {
        path.to_owned()
    } else {
        context.settings.path("runs_dir").join(run)
    }
}

/// Reads and folds a run.
pub fn read(folder: &Path) -> Result<Results, Failure> {
    Ok(reports::fold(&files(folder)?))
}

fn files(folder: &Path) -> Result<RunFiles, Failure> {
    RunFiles::read(folder).map_err(|error| {
        let failure = Failure::of(Exit::Invalid, &error);
        match error {
            reports::ReadError::NotARun(_) => {
                Failure { code: Exit::Usage, ..failure }.hint("`harness list runs` shows what there is")
            }
            _ => failure,
        }
    })
}

/// All runs, newest first: name, folder and when it began.
pub fn runs(context: &Context) -> Vec<(String, PathBuf, i64)> {
    let entries = std::fs::read_dir(context.settings.path("runs_dir")).into_iter().flatten().flatten();
    let mut runs: Vec<_> = entries
        .filter_map(|entry| {
            let folder = entry.path();
            let text = std::fs::read(folder.join("manifest.json")).ok()?;
            let manifest: serde_json::Value = serde_json::from_slice(&text).ok()?;
            Some((
                entry.file_name().to_string_lossy().into_owned(),
                folder,
                manifest.get("created_ms")?.as_i64()?,
            ))
        })
        .collect();
    runs.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| b.0.cmp(&a.0)));
    runs
}

fn newest(context: &Context) -> Result<PathBuf, Failure> {
    let none = || Failure::new(Exit::Usage, "there is no run yet").hint("`harness run suite` makes one");
    runs(context).into_iter().next().map(|(_, folder, _)| folder).ok_or_else(none)
}
