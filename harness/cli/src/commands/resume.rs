//! `harness resume`: goes on with what is not finished, unless what it depends on changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use harness_core::manifest::{Manifest, ToolsNote};
use harness_core::{Task, TaskId};
use harness_engine::{ModelsSpec, RunDir, RunDirError};

use super::run::{Job, execute};
use super::select::{self, Asked};
use super::{Context, runtime, sandbox};
use crate::args::Resume;
use crate::exit::{Exit, Failure};
use crate::live::Display;
use crate::models::{self, Prepared};
use crate::plan;

/// Goes on with a run.
pub fn resume(mut context: Context, options: Resume) -> Result<Exit, Failure> {
    let json = context.table_or_json()?;
    // Like everywhere else, a run may be named by its folder: then that folder's parent is the runs folder.
    let folder = std::path::Path::new(&options.run);
    let by_path = options.run.contains('/') && folder.join("manifest.json").is_file();
    let (runs, name) = match (folder.parent(), folder.file_name()) {
        (Some(parent), Some(name)) if by_path => (parent.to_owned(), name.to_string_lossy().into_owned()),
        _ => (context.settings.path("runs_dir"), options.run.clone()),
    };
    context.settings.flag("runs_dir", by_path.then(|| runs.display().to_string()));
    let dir = RunDir::open(&runs, &name).map_err(|error| refused(&error))?;
    let manifest = dir.manifest().map_err(|error| refused(&error))?;
    let trials = dir.plan().map_err(|error| refused(&error))?;
    restore(&mut context, &manifest, &options)?;

    let asked = Asked {
        sources: manifest.suite.sources.clone(),
        filter: manifest.suite.filter.clone(),
        limit: manifest.suite.limit,
        env_pass: env_pass(&manifest)?,
        keep_going: true,
    };
    let found = select::select(&mut context, &asked)?;
    let tasks: BTreeMap<TaskId, Arc<Task>> =
        found.tasks.into_iter().map(|task| (task.id.clone(), Arc::new(task))).collect();
    for planned in &trials {
        let now = tasks.get(&planned.id.task).map(|task| &task.digest);
        if now != Some(&planned.task_digest) {
            let what = if now.is_some() { "changed" } else { "is not there any more" };
            let message = format!("the task {} {what} since the run began", planned.id.task);
            return Err(Failure::new(Exit::Invalid, message)
                .hint("put it back as it was, or start a new run: results of different tasks do not belong into one table"));
        }
    }
    let cells = manifest
        .variants
        .iter()
        .map(|variant| {
            plan::cell(&variant.agent, variant.model.as_deref(), variant.settings.clone())
                .map(|cell| harness_engine::Cell { variant: Arc::new(variant.clone()), agent: cell.agent })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let runtime = runtime()?;
    let backend = runtime.block_on(sandbox::open(&context))?;
    let prepared = models::prepare(&context.settings, &cells, &tasks)?;
    let models = prepared.map(|prepared| same_models(&manifest, prepared)).transpose()?;
    same_tools(&manifest, &plan::install(&context.settings, &cells)?)?;
    let display = Display::choose(json);
    let job = Job { run: manifest.run, dir, trials, tasks, cells, backend, models, display };
    Ok(execute(&context, &runtime, job)?.exit)
}

/// The models, when they are what they were. A key may have changed: results do not depend on it.
fn same_models(manifest: &Manifest, prepared: Prepared) -> Result<ModelsSpec, Failure> {
    let changed = |what: &str| {
        Failure::new(Exit::Invalid, format!("{what} changed since the run began"))
            .hint("put it back as it was, or start a new run")
    };
    for (name, then) in &manifest.models {
        let now = prepared.notes.get(name);
        if now.map(|now| (&now.base_url, &now.wires, &now.script))
            != Some((&then.base_url, &then.wires, &then.script))
        {
            return Err(changed(&format!("the upstream {name}")));
        }
    }
    if manifest.prices.as_ref().is_some_and(|then| *then != prepared.prices) {
        return Err(changed("the price table").hint(
            "put the price file back as it was: a budget counts in one table's prices. `harness report --prices FILE` prices a run anew",
        ));
    }
    Ok(prepared.spec)
}

/// The agents' programs are what they were.
fn same_tools(manifest: &Manifest, now: &BTreeMap<String, ToolsNote>) -> Result<(), Failure> {
    for (variant, then) in &manifest.tools {
        if now.get(variant).map(|now| &now.digest) != Some(&then.digest) {
            let message = format!(
                "what is installed as {} {} for {variant} changed since the run began",
                then.program, then.version
            );
            return Err(Failure::new(Exit::Invalid, message).hint("start a new run"));
        }
    }
    Ok(())
}

/// The host variables that tasks may read, when they still hold what they held.
fn env_pass(manifest: &Manifest) -> Result<Vec<String>, Failure> {
    let Some(setting) = manifest.settings.get("env_pass") else { return Ok(Vec::new()) };
    let passed: BTreeMap<String, String> =
        serde_json::from_value(setting.value.clone()).map_err(|error| Failure::of(Exit::Invalid, &error))?;
    for (name, then) in &passed {
        let now = harness_core::Digest::of(std::env::var(name).unwrap_or_default().as_bytes());
        if now.short() != then {
            return Err(Failure::new(
                Exit::Invalid,
                format!("the host variable {name} changed since the run began"),
            )
            .hint("set it as it was, or start a new run"));
        }
    }
    Ok(passed.into_keys().collect())
}

/// Settings as the run began. One that a file or the program itself would set otherwise today is a change, and named.
fn restore(context: &mut Context, manifest: &Manifest, options: &Resume) -> Result<(), Failure> {
    if manifest.harness_version != env!("CARGO_PKG_VERSION") {
        let message = format!(
            "the run was begun by harness {}, this is {}",
            manifest.harness_version,
            env!("CARGO_PKG_VERSION")
        );
        return Err(Failure::new(Exit::Invalid, message)
            .hint("go on with the version that began it, or start a new run"));
    }
    let now: BTreeMap<&'static str, crate::settings::Layered> =
        context.settings.mattering().map(|(name, layered)| (name, layered.clone())).collect();
    for (name, layered) in now {
        let Some(then) = manifest.settings.get(name) else { continue };
        // What a flag or the suite said holds again; only files and defaults could have moved under the run.
        let same_layer = then.source == layered.source;
        if same_layer && then.value != layered.value {
            let message = format!(
                "the setting {name} changed since the run began: {} then, {} now (from {})",
                then.value, layered.value, layered.source
            );
            return Err(
                Failure::new(Exit::Invalid, message).hint("put it back as it was, or start a new run")
            );
        }
        if !same_layer && layered.source != "default" && then.value != layered.value {
            let message = format!(
                "the setting {name} changed since the run began: {} then, {} now (from {})",
                then.value, layered.value, layered.source
            );
            return Err(
                Failure::new(Exit::Invalid, message).hint("put it back as it was, or start a new run")
            );
        }
        context.settings.flag(name, Some(then.value.clone()));
    }
    // The sandbox that was chosen then is named now: a run does not change its ground half way.
    context.settings.flag("sandbox", Some(manifest.sandbox.backend.clone()));
    context.settings.flag("jobs", options.jobs);
    context.settings.flag("budget_usd", options.budget_usd);
    context.settings.flag("budget_tokens", options.budget_tokens);
    Ok(())
}

fn refused(error: &RunDirError) -> Failure {
    let code = match error {
        RunDirError::Missing { .. } | RunDirError::Held { .. } => Exit::Usage,
        RunDirError::TooNew { .. }
        | RunDirError::Damaged { .. }
        | RunDirError::Journal { .. }
        | RunDirError::TooLarge { .. } => Exit::Invalid,
        RunDirError::Exists(_) | RunDirError::Io { .. } => Exit::Unexpected,
    };
    let failure = Failure::of(code, error);
    match error {
        RunDirError::Missing { .. } => failure.hint("`harness list runs` shows what there is"),
        RunDirError::Held { .. } => failure.hint("wait for it, or end it"),
        _ => failure,
    }
}
