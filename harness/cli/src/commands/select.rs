//! From what was typed to tasks, and from tasks to trials.

use std::collections::BTreeMap;
use std::sync::Arc;

use datasets::LoadOptions;
use harness_core::manifest::InvalidTask;
use harness_core::plan::Planned;
use harness_core::{Task, TaskId, VariantName};
use harness_engine::Cell;
use suites::{Defaults, Filter, PlanSpec, SelectError, SelectOptions};

use super::Context;
use crate::exit::{Exit, Failure};
use crate::printer;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Catalog names, files, folders, `FORMAT:PATH`.
    pub sources: Vec<String>,
    /// `--filter`.
    pub filter: Option<String>,
    /// `--limit`.
    pub limit: Option<usize>,
    /// `--env-pass`.
    pub env_pass: Vec<String>,
    /// `--keep-going`.
    pub keep_going: bool,
}

/// What was found.
pub struct Found {
    /// Name of the suite.
    pub name: String,
    /// The tasks.
    pub tasks: Vec<Task>,
    /// What could not be read.
    pub invalid: Vec<InvalidTask>,
    /// What the suite says of agents.
    pub agents: suites::defaults::AgentDefaults,
}

/// Finds the tasks, says what is odd, and refuses to go on with what is wrong unless told to.
pub fn select(context: &mut Context, asked: &Asked) -> Result<Found, Failure> {
    let filter = asked.filter.as_deref().map(Filter::parse).transpose();
    let filter = filter.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let mut host_vars = BTreeMap::new();
    for name in &asked.env_pass {
        let value = std::env::var(name).map_err(|_| {
            Failure::new(Exit::Usage, format!("--env-pass {name}: the host has no such variable"))
        })?;
        host_vars.insert(name.clone(), value);
    }
    let seed = context.settings.count("seed")?;
    let options = SelectOptions {
        cache: context.settings.path("state_dir").join("suites"),
        load: LoadOptions { host_vars, ..LoadOptions::default() },
        filter,
        limit: asked.limit,
        // Without a seed of its own a limit takes the first, which is what people expect of it.
        seed: (seed != 0).then_some(seed),
    };
    let selection = suites::resolve(&asked.sources, &options).map_err(|error| {
        let code = match error {
            SelectError::Unknown { .. } | SelectError::NoTask { .. } => Exit::Usage,
            SelectError::File(_) | SelectError::Load(_) => Exit::Invalid,
            SelectError::Catalog(_) => Exit::Unexpected,
        };
        Failure::of(code, &error)
    })?;
    for warning in &selection.warnings {
        printer::warn(&warning.to_string());
    }
    if !selection.invalid.is_empty() && !asked.keep_going {
        for problem in selection.invalid.iter().flat_map(|invalid| &invalid.problems) {
            printer::error(&Failure::new(Exit::Invalid, problem.to_string()));
        }
        let count = selection.invalid.len();
        let tasks = if count == 1 { "1 task is".to_owned() } else { format!("{count} tasks are") };
        return Err(Failure::new(Exit::Invalid, format!("{tasks} invalid, so nothing was started")).hint(
            "mend them, or run the others with --keep-going: invalid tasks are then counted and shown",
        ));
    }
    if selection.tasks.is_empty() {
        let code = if selection.invalid.is_empty() { Exit::NothingSelected } else { Exit::Invalid };
        return Err(
            Failure::new(code, "no task was selected").hint("`harness list tasks` shows what there is")
        );
    }
    suite_defaults(context, &selection.defaults);
    let invalid = selection.invalid.iter().map(datasets::InvalidTask::note).collect();
    Ok(Found { name: selection.name, tasks: selection.tasks, invalid, agents: selection.defaults.agents })
}

fn suite_defaults(context: &mut Context, defaults: &Defaults) {
    let settings = &mut context.settings;
    if let Some(attempts) = &defaults.attempts {
        settings.suite("attempts", Some(attempts.value), &attempts.source);
    }
    if let Some(jobs) = &defaults.jobs {
        settings.suite("jobs", Some(jobs.value), &jobs.source);
    }
    if let Some(retries) = &defaults.retries {
        settings.suite("retries", Some(retries.value), &retries.source);
    }
    if let Some(multiplier) = &defaults.timeout_multiplier {
        settings.suite("timeout_multiplier", Some(multiplier.value), &multiplier.source);
    }
    if let Some(seed) = &defaults.seed {
        settings.suite("seed", Some(seed.value), &seed.source);
    }
    if let Some(network) = &defaults.network {
        settings.suite("network", Some(network.value.to_string()), &network.source);
    }
    if let Some(most) = &defaults.agent_timeout_max {
        settings.suite("agent_timeout_max_sec", Some(most.value.as_secs_f64()), &most.source);
    }
    if let Some(most) = &defaults.verifier_timeout_max {
        settings.suite("verifier_timeout_max_sec", Some(most.value.as_secs_f64()), &most.source);
    }
}

/// All trials of all tasks and variants, in the order in which they are tried.
pub fn trials(
    context: &Context,
    tasks: &BTreeMap<TaskId, Arc<Task>>,
    cells: &[Cell],
) -> Result<Vec<Planned>, Failure> {
    let variants: Vec<VariantName> = cells.iter().map(|cell| cell.variant.name.clone()).collect();
    let tasks: Vec<Task> = tasks.values().map(|task| (**task).clone()).collect();
    let history = harness_engine::history::expected(&context.settings.path("runs_dir"));
    let attempts = context.settings.count("attempts")?.clamp(1, 10_000) as u32;
    Ok(suites::plan(&PlanSpec { tasks: &tasks, variants: &variants, attempts, history: &history }))
}

/// A source that means the same from another folder: paths become absolute, names stay names.
pub fn absolute(source: &str) -> String {
    let here =
        |path: &str| std::path::absolute(path).map_or_else(|_| path.to_owned(), |p| p.display().to_string());
    if let Some((format, path)) = source.split_once(':').filter(|(format, _)| !format.contains('/')) {
        return format!("{format}:{}", here(path));
    }
    let bundled = source.split('/').next().is_some_and(|name| suites::catalog::by_name(name).is_some());
    if bundled { source.to_owned() } else { here(source) }
}
