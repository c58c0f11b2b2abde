//! `harness run suite` and `harness run task`.

use std::collections::BTreeMap;
use std::sync::Arc;

use harness_core::manifest::SuiteRef;
use harness_core::plan::Planned;
use harness_core::{Digest, RunId, Task, TaskId};
use harness_engine::{Cancel, Cell, RunDir, RunEnd, RunSpec};
use harness_sandbox::Backend;

use super::select::{self, Asked};
use super::{Context, report, runtime, sandbox};
use crate::args::{Network, RunOptions};
use crate::exit::{Exit, Failure};
use crate::live::Display;
use crate::plan::{self, AgentArg, Selected};
use crate::{printer, signals};

/// Runs agents over what was named.
pub fn run(mut context: Context, sources: Vec<String>, options: RunOptions) -> Result<Exit, Failure> {
    let json = context.table_or_json()?;
    flags(&mut context, &options);
    let given = plan::agent_args(std::env::args().skip(1))?;
    let by_default = given.is_empty();
    let agents = if by_default { ["oracle", "noop"].map(named).into() } else { given };
    if by_default && !options.model.is_empty() {
        return Err(
            Failure::new(Exit::Usage, "--model needs an agent that uses one").hint("name it: --agent NAME")
        );
    }
    let cells = plan::cells(&agents, &options.model)?;
    let asked = Asked {
        sources: sources.clone(),
        filter: options.filter.clone(),
        limit: options.limit,
        env_pass: options.env_pass.clone(),
        keep_going: options.keep_going,
    };
    let selection = select::select(&mut context, &asked)?;
    let runtime = runtime()?;
    let backend = runtime.block_on(sandbox::open(&context))?;
    let (tasks, skipped) = plan::admit(&*backend, selection.tasks, &cells);
    for skip in &skipped {
        printer::say(&format!("skipped {}: {}", printer::plain(&skip.task), printer::plain(&skip.reason)));
    }
    if tasks.is_empty() {
        let failure = Failure::new(Exit::NothingSelected, "none of the selected tasks can run here");
        return Err(failure.hint("`--rootfs host` runs any task on this machine's own root file system"));
    }
    let tasks: BTreeMap<TaskId, Arc<Task>> =
        tasks.into_iter().map(|task| (task.id.clone(), Arc::new(task))).collect();
    let trials = select::trials(&context, &tasks, &cells)?;
    if options.dry_run {
        return dry_run(&trials, json);
    }

    let name = options.run_id.clone().unwrap_or_else(|| plan::run_name(&selection.name));
    let run = RunId::new(name).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let suite = SuiteRef {
        name: selection.name,
        sources: sources.iter().map(|source| select::absolute(source)).collect(),
        filter: options.filter.clone(),
        limit: options.limit,
        digest: Digest::of(b""),
    };
    let selected = Selected {
        run: run.clone(),
        suite,
        tasks: &tasks,
        cells: &cells,
        invalid: selection.invalid,
        skipped,
        env_pass: options.env_pass.clone(),
    };
    let manifest = plan::manifest(selected, &context.settings, &*backend)?;
    let runs = context.settings.path("runs_dir");
    let dir = RunDir::create(&runs, &manifest, &trials).map_err(|error| {
        let code = if matches!(error, harness_engine::RunDirError::Exists(_)) {
            Exit::Usage
        } else {
            Exit::Unexpected
        };
        Failure::of(code, &error)
    })?;
    let job = Job { run, dir, trials, tasks, cells, backend, display: Display::choose(json) };
    let (exit, complete) = execute(&context, &runtime, job)?;
    if by_default && complete && !json {
        next_steps();
    }
    Ok(exit)
}

fn named(name: &str) -> AgentArg {
    AgentArg { name: name.to_owned(), set: Vec::new() }
}

fn flags(context: &mut Context, options: &RunOptions) {
    let settings = &mut context.settings;
    settings.flag("jobs", options.jobs);
    settings.flag("attempts", options.attempts);
    settings.flag("retries", options.retries);
    settings.flag("seed", options.seed);
    settings.flag("timeout_multiplier", options.timeout_multiplier);
    settings.flag("sandbox", options.sandbox.clone());
    settings.flag("rootfs", options.rootfs.clone());
    settings.flag("fail_fast", options.fail_fast.then_some(true));
    let network = options.network.map(|network| match network {
        Network::None => "none",
        Network::Gateway => "gateway",
        Network::Open => "open",
    });
    settings.flag("network", network);
}

fn dry_run(trials: &[Planned], json: bool) -> Result<Exit, Failure> {
    for planned in trials {
        let line = if json {
            harness_core::journal::line(planned)
        } else {
            format!("{}\n", printer::plain(&planned.id.path())).into_bytes()
        };
        printer::raw(&line);
    }
    printer::say(&format!("{} trials would be run", trials.len()));
    Ok(Exit::Completed)
}

/// A run that is ready to go, from a fresh plan or from a directory.
pub struct Job {
    pub run: RunId,
    pub dir: RunDir,
    pub trials: Vec<Planned>,
    pub tasks: BTreeMap<TaskId, Arc<Task>>,
    pub cells: Vec<Cell>,
    pub backend: Arc<dyn Backend>,
    pub display: Display,
}

/// Runs it, shows the result, and says how it ended and what comes next.
pub fn execute(
    context: &Context,
    runtime: &tokio::runtime::Runtime,
    job: Job,
) -> Result<(Exit, bool), Failure> {
    let folder = job.dir.path().to_owned();
    let resume = format!("harness resume {}{}", job.run, runs_dir_flag(context));
    let json = job.display == Display::Json;
    let end = execute_quietly(context, runtime, job)?;
    report::after_run(context, &folder, json)?;
    if !end.complete() {
        let why = if end.failed_fast { "stopped by --fail-fast" } else { "interrupted" };
        printer::say(&format!(
            "{why}: {} of {} trials finished; go on with `{resume}`",
            end.finished, end.planned
        ));
        return Ok((if end.interrupted { Exit::Interrupted } else { Exit::Completed }, false));
    }
    if end.finished == 0 {
        printer::say("every selected task was skipped");
        return Ok((Exit::NothingSelected, false));
    }
    if end.harness_faults > 0 {
        printer::warn(&format!(
            "{} trials have no result by the harness's own fault; they count for nobody",
            end.harness_faults
        ));
        return Ok((Exit::HarnessFaults, true));
    }
    printer::say("completed (exit 0 means that all was tried, not that it was solved)");
    Ok((Exit::Completed, true))
}

/// Runs it with signals and the live view, and nothing after.
pub fn execute_quietly(
    context: &Context,
    runtime: &tokio::runtime::Runtime,
    job: Job,
) -> Result<RunEnd, Failure> {
    let folder = job.dir.path().to_owned();
    let resume = format!("harness resume {}{}", job.run, runs_dir_flag(context));
    let settings = plan::run_settings(&context.settings)?;
    let cancel = Cancel::default();
    let name = job.run.to_string();
    let cells = job.cells.iter().map(|cell| (cell.variant.name.clone(), cell.clone())).collect();
    printer::say(&format!("run {} in {}", job.run, folder.display()));
    let spec = RunSpec {
        dir: job.dir,
        run: job.run,
        plan: job.trials,
        tasks: job.tasks,
        cells,
        backend: job.backend.clone(),
        settings,
        cancel: cancel.clone(),
        watcher: job.display.watcher(),
    };
    let (backend, run) = (job.backend.clone(), name);
    let ended = runtime.block_on(async {
        let listener = signals::listen(cancel).map_err(|error| Failure::of(Exit::Unexpected, &error))?;
        // What an earlier process of this or another run left behind is in nobody's way any more.
        if let Err(error) = backend.reap(harness_sandbox::ReapFilter::default()).await {
            printer::warn(&format!("could not look for what crashes left: {error}"));
        }
        let ended = harness_engine::execute(spec).await;
        // Trials that were dropped have sandboxes that are being removed behind our back: see to the end of it.
        let filter = harness_sandbox::ReapFilter { run: Some(run), dry_run: false };
        let swept = tokio::time::timeout(std::time::Duration::from_secs(3), backend.reap(filter)).await;
        if !matches!(swept, Ok(Ok(_))) {
            printer::warn("not everything that the trials used was removed yet; the next run or `harness clean` does it");
        }
        listener.abort();
        Ok::<_, Failure>(ended)
    })?;
    ended.map_err(|error| {
        let hint = format!("nothing that is on record is lost; go on with `{resume}`");
        Failure::of(Exit::Unexpected, &error).hint(hint)
    })
}

fn runs_dir_flag(context: &Context) -> String {
    let dir = context
        .settings
        .iter()
        .find(|(name, _)| *name == "runs_dir")
        .filter(|(_, layered)| layered.source == "flag");
    dir.map(|(_, layered)| format!(" --runs-dir {}", layered.value.as_str().unwrap_or_default()))
        .unwrap_or_default()
}

fn next_steps() {
    printer::say("");
    printer::say("No model took part: `oracle` ran each task's own solution, `noop` did nothing. Next:");
    printer::say(
        "  your own agent        harness run suite --agent command --agent-set run='my-agent \"$HARNESS_INSTRUCTION\"'",
    );
    printer::say("  your own task         harness new task my-task");
    printer::say("  why a trial failed    harness show trial RUN TASK/VARIANT");
}
