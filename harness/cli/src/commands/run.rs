//! `harness run suite` and `harness run task`.

use std::collections::BTreeMap;
use std::sync::Arc;

use harness_core::manifest::{Manifest, SuiteRef};
use harness_core::plan::Planned;
use harness_core::{Digest, RunId, Task, TaskId, Tier};
use harness_engine::{Cancel, Cell, Halt, ModelsSpec, RunDir, RunDirError, RunEnd, RunSpec};
use harness_sandbox::Backend;

use super::select::{self, Asked};
use super::{Context, images, report, runtime, sandbox};
use crate::args::{Network, RunOptions};
use crate::exit::{Exit, Failure};
use crate::live::Display;
use crate::models::{self, Prepared};
use crate::plan::{self, Selected};
use crate::variants::{self, AgentArg};
use crate::{estimate, printer, signals};

/// Runs agents over what was named.
pub fn run(mut context: Context, sources: Vec<String>, options: RunOptions) -> Result<Exit, Failure> {
    let json = context.table_or_json()?;
    flags(&mut context, &options);
    tier_flags(&mut context, &options.tier_timeout)?;
    let given = variants::agent_args(std::env::args().skip(1))?;
    let by_default = options.agent.is_empty() && options.experiment.is_none();
    let script = by_default.then(|| bundled_script(&sources)).flatten().filter(|_| options.model.is_empty());
    // A key that lies about never spends: only a model that was named does.
    let models = script.clone().map_or(options.model.clone(), |script| vec![script]);
    let agents = match (by_default, models.is_empty()) {
        _ if !given.is_empty() => given,
        (false, _) => Vec::new(),
        (true, false) => vec![named("core")],
        (true, true) => ["oracle", "noop"].map(named).into(),
    };
    let experiment = match &options.experiment {
        Some(file) => variants::from_file(file, &options.model)?,
        None => variants::experiment(&agents, &models)?,
    };
    if let Some(attempts) = &experiment.attempts {
        context.settings.file("attempts", attempts.value, &attempts.source);
    }
    // Before anything is looked at: a slip in an experiment is said at once.
    let mut cells = variants::cells(&experiment, context.settings.agents())?;
    let asked = Asked {
        sources: sources.clone(),
        filter: options.filter.clone(),
        limit: options.limit,
        env_pass: options.env_pass.clone(),
        keep_going: options.keep_going,
    };
    let selection = select::select(&mut context, &asked)?;
    if context.settings.suite_agents(&selection.agents) {
        cells = variants::cells(&experiment, context.settings.agents())?;
    }
    let runtime = runtime()?;
    let backend = runtime.block_on(sandbox::open(&context))?;
    let (tasks, skipped) = plan::admit(
        &*backend,
        plan::run_settings(&context.settings)?.network.as_ref(),
        selection.tasks,
        &cells,
    );
    for skip in &skipped {
        printer::say(&format!("skipped {}: {}", printer::plain(&skip.task), printer::plain(&skip.reason)));
    }
    if tasks.is_empty() {
        let failure = Failure::new(Exit::NothingSelected, "none of the selected tasks can run here");
        return Err(
            failure.hint("each line above says why; `harness doctor` says what works on this machine")
        );
    }
    let tasks: BTreeMap<TaskId, Arc<Task>> =
        tasks.into_iter().map(|task| (task.id.clone(), Arc::new(task))).collect();
    let trials = select::trials(&context, &tasks, &cells)?;
    if options.dry_run {
        let needs = runtime.block_on(images::needed(&*backend, &tasks));
        return dry_run(&trials, &cells, &needs, json);
    }

    // Whatever is wrong with the settings is said before anything is on disk.
    plan::run_settings(&context.settings)?;
    let prepared = models::prepare(&context.settings, &cells, &tasks)?;
    let (models, noted) = match prepared {
        Some(Prepared { spec, notes, prices }) => (Some(spec), (notes, Some(prices))),
        None => (None, (BTreeMap::new(), None)),
    };
    if let Some(models) = &models {
        estimate::lines(&context.settings, &cells, &trials, models)
            .iter()
            .for_each(|line| printer::say(line));
    }
    let tools = plan::install(&context.settings, &cells)?;
    let name = options.run_id.clone().unwrap_or_else(|| plan::run_name(&selection.name));
    let run =
        RunId::new(&name).map_err(|error| Failure::new(Exit::Usage, format!("--run-id {name}: {error}")))?;
    let suite = SuiteRef {
        name: selection.name,
        sources: sources.iter().map(|source| select::absolute(source)).collect(),
        filter: options.filter.clone(),
        limit: options.limit,
        digest: Digest::of(b""),
    };
    let selected = Selected {
        run,
        suite,
        tasks: &tasks,
        cells: &cells,
        invalid: selection.invalid,
        skipped,
        env_pass: options.env_pass.clone(),
        models: noted,
        tools,
    };
    let manifest = plan::manifest(selected, &context.settings, &*backend)?;
    let (run, dir) = make_dir(&context, manifest, &trials, options.run_id.is_some())?;
    let job = Job { run, dir, trials, tasks, cells, backend, models, display: Display::choose(json) };
    let name = job.run.to_string();
    let done = execute(&context, &runtime, job)?;
    if by_default && options.model.is_empty() && done.complete && !json {
        next_steps(&context, &name, done.failed.as_deref(), script.as_deref());
    }
    Ok(done.exit)
}

/// The model that plays the bundled suite which was asked for, by name or by saying nothing.
fn bundled_script(sources: &[String]) -> Option<String> {
    let name = match sources {
        [] => "starter",
        [name] => name.as_str(),
        _ => return None,
    };
    suites::catalog::by_name(name).map(|bundled| format!("{}/{}", crate::providers::SCRIPTED, bundled.name))
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
    settings.flag("stall_timeout_sec", options.stall_timeout);
    settings.flag("sandbox", options.sandbox.clone());
    settings.flag("rootfs", options.rootfs.clone());
    settings.flag("fail_fast", options.fail_fast.then_some(true));
    settings.flag("prices", options.prices.as_ref().map(|file| file.display().to_string()));
    settings.flag("record", options.record.then_some(true));
    settings.flag("replay", options.replay.clone());
    settings.flag("budget_usd", options.budget_usd);
    settings.flag("budget_tokens", options.budget_tokens);
    settings.flag("max_cost", options.max_cost);
    settings.flag("max_tokens_per_task", options.max_tokens_per_task);
    let network = options.network.map(|network| match network {
        Network::None => "none",
        Network::Gateway => "gateway",
        Network::Open => "open",
    });
    settings.flag("network", network);
}

/// `--tier-timeout TIER=SECONDS`.
fn tier_flags(context: &mut Context, given: &[String]) -> Result<(), Failure> {
    for item in given {
        let usage = |message: String| {
            Failure::new(Exit::Usage, format!("--tier-timeout {item}: {message}"))
                .hint("write TIER=SECONDS, with a tier of simple, medium, complex, major")
        };
        let (name, seconds) = item.split_once('=').ok_or_else(|| usage("has no time".to_owned()))?;
        let tier = Tier::ALL.into_iter().find(|tier| tier.name() == name);
        let tier = tier.ok_or_else(|| usage(format!("there is no tier {name:?}")))?;
        let seconds: f64 =
            seconds.parse().map_err(|_| usage(format!("{seconds:?} is no number of seconds")))?;
        context.settings.flag(plan::tier_setting(tier), Some(seconds));
    }
    Ok(())
}

/// Makes the run's directory. A name that nobody chose gives way to one that is taken: two runs may begin in one second.
pub fn make_dir(
    context: &Context,
    mut manifest: Manifest,
    trials: &[Planned],
    chosen: bool,
) -> Result<(RunId, RunDir), Failure> {
    let runs = context.settings.path("runs_dir");
    let name = manifest.run.clone();
    for number in 2.. {
        match RunDir::create(&runs, &manifest, trials) {
            Ok(dir) => return Ok((manifest.run, dir)),
            Err(RunDirError::Exists(_)) if !chosen && number < 1000 => {
                manifest.run = RunId::new(format!("{name}-{number}"))
                    .map_err(|error| Failure::of(Exit::Usage, &error))?;
            }
            Err(error @ RunDirError::Exists(_)) => return Err(Failure::of(Exit::Usage, &error)),
            Err(error) => return Err(Failure::of(Exit::Unexpected, &error)),
        }
    }
    unreachable!("the loop ends by returning")
}

/// Trials are the data, with JSON each with its variant's settings; variants and what would be made for them are talk.
fn dry_run(trials: &[Planned], cells: &[Cell], needs: &[String], json: bool) -> Result<Exit, Failure> {
    for planned in trials {
        let line = if json {
            let variant = cells.iter().find(|cell| cell.variant.name == planned.id.variant);
            harness_core::journal::line(&DryTrial {
                planned,
                agent: variant.map(|cell| cell.variant.agent.as_str()),
                model: variant.and_then(|cell| cell.variant.model.as_deref()),
                settings: variant.map(|cell| &cell.variant.settings),
            })
        } else {
            format!("{}\n", printer::plain(&planned.id.path())).into_bytes()
        };
        printer::raw(&line);
    }
    let plain = |cell: &Cell| cell.variant.model.is_none() && cell.variant.settings.is_empty();
    if !json && !cells.iter().all(plain) {
        variants::list(cells).iter().for_each(|line| printer::say(line));
    }
    for line in needs {
        printer::say(line);
    }
    printer::say(&format!("{} would be run", printer::plural(trials.len(), "trial")));
    Ok(Exit::Completed)
}

/// A trial that would be run.
#[derive(serde::Serialize)]
struct DryTrial<'a> {
    #[serde(flatten)]
    planned: &'a Planned,
    agent: Option<&'a str>,
    model: Option<&'a str>,
    settings: Option<&'a BTreeMap<String, serde_json::Value>>,
}

/// A run that is ready to go, from a fresh plan or from a directory.
pub struct Job {
    pub run: RunId,
    pub dir: RunDir,
    pub trials: Vec<Planned>,
    pub tasks: BTreeMap<TaskId, Arc<Task>>,
    pub cells: Vec<Cell>,
    pub backend: Arc<dyn Backend>,
    pub models: Option<ModelsSpec>,
    pub display: Display,
}

/// How a job ended.
pub struct Done {
    /// The exit code.
    pub exit: Exit,
    /// Whether all of the plan was tried.
    pub complete: bool,
    /// The first trial that did not resolve, as `show trial` takes it.
    pub failed: Option<String>,
}

/// Runs it, shows the result, and says how it ended and what comes next.
pub fn execute(context: &Context, runtime: &tokio::runtime::Runtime, job: Job) -> Result<Done, Failure> {
    let folder = job.dir.path().to_owned();
    let resume = format!("harness resume {}{}", job.run, runs_dir_flag(context));
    let json = job.display == Display::Json;
    let end = execute_quietly(context, runtime, job)?;
    let failed = report::after_run(context, &folder, json)?;
    let (exit, complete) = if let Some(halt) = &end.halted {
        let planned = printer::plural(end.planned, "trial");
        let way_out = match halt {
            Halt::Budget(reason) if reason.contains('$') => format!("{resume} --budget-usd MORE"),
            Halt::Budget(reason) if reason.contains("tokens") => format!("{resume} --budget-tokens MORE"),
            Halt::Budget(_) => resume,
            Halt::Upstream(_) => resume,
        };
        let reason = printer::plain(halt.reason());
        printer::say(&format!(
            "stopped: {reason}\n{} of {planned} finished; go on with `{way_out}`",
            end.finished
        ));
        (if matches!(halt, Halt::Budget(_)) { Exit::Budget } else { Exit::HarnessFaults }, false)
    } else if !end.complete() {
        let why = if end.failed_fast { "stopped by --fail-fast" } else { "interrupted" };
        let planned = printer::plural(end.planned, "trial");
        printer::say(&format!("{why}: {} of {planned} finished; go on with `{resume}`", end.finished));
        (if end.interrupted { Exit::Interrupted } else { Exit::Completed }, false)
    } else if end.finished == 0 {
        printer::say("every selected task was skipped");
        (Exit::NothingSelected, false)
    } else if end.harness_faults > 0 {
        let trials = printer::plural(end.harness_faults, "trial");
        printer::warn(&format!(
            "{trials} without a result by the harness's own fault; not counted for or against any agent"
        ));
        (Exit::HarnessFaults, true)
    } else {
        printer::say("completed (exit 0 means that all was tried, not that it was solved)");
        (Exit::Completed, true)
    };
    Ok(Done { exit, complete, failed })
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
    let (watcher, voice) = job.display.open();
    let spec = RunSpec {
        dir: job.dir,
        run: job.run,
        plan: job.trials,
        tasks: job.tasks,
        cells,
        backend: job.backend.clone(),
        settings,
        models: job.models,
        cancel: cancel.clone(),
        watcher,
    };
    let (backend, run) = (job.backend.clone(), name);
    let ended = runtime.block_on(async {
        let listener = signals::listen(cancel, voice).map_err(|error| Failure::of(Exit::Unexpected, &error))?;
        // What an earlier process of this or another run left behind is in nobody's way any more.
        if let Err(error) = backend.reap(harness_sandbox::ReapFilter::default()).await {
            printer::warn(&format!("could not look for what crashes left: {error}"));
        }
        let ended = harness_engine::execute(spec).await;
        // What a trial that is not finished left is for whoever resumes the run.
        let over = ended.as_ref().is_ok_and(harness_engine::RunEnd::complete);
        // Trials that were dropped have sandboxes that are being removed behind our back: see to the end of it.
        let filter = harness_sandbox::ReapFilter { run: Some(run), dry_run: false, waiting: over };
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
    dir.map(|(_, layered)| {
        let dir = layered.value.as_str().unwrap_or_default();
        format!(" --runs-dir {}", printer::quoted(dir))
    })
    .unwrap_or_default()
}

/// What a newcomer does next; `failed` is a trial to look at.
fn next_steps(context: &Context, run: &str, failed: Option<&str>, script: Option<&str>) {
    let trial = failed.unwrap_or("TASK/VARIANT");
    let shown = match script {
        Some(script) => format!(
            "The built-in agent `core` really worked in sandboxes, and the tasks' own tests judged it; its model was {script}, a
script that plays what was written for each task, well or badly: no key, no network, and no money
was spent. That shows that agents, tokens and costs are at work here; it says nothing about any model.
Next, a real one, with its key in OPENAI_API_KEY:
  harness run suite --model openai/gpt-5 --budget-usd 5"
        ),
        None => "No model took part: `oracle` ran each task's own solution, `noop` did nothing.".to_owned(),
    };
    let next = if script.is_some() { "or" } else { "Next," };
    printer::say(&format!(
        "
{shown}
{next} your own agent:
  harness run suite --agent command \\
    --agent-set run='my-agent \"$HARNESS_INSTRUCTION\"'
your own task:
  harness new task my-task
why a trial failed:
  harness show trial {run} {trial}{}",
        runs_dir_flag(context)
    ));
}
