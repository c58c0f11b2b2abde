//! `harness check suite`: proves the instrument before it is used.
//!
//! For each task: its solution resolves (as often as asked, always the same way), doing nothing does not, no test that must
//! begin to pass passes before, every test that must go on passing passes before; every declared wrong solution passes what
//! the agent can see and is not resolved; every declared other right solution is resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use datasets::checks::read_checks;
use harness_core::manifest::SuiteRef;
use harness_core::plan::Planned;
use harness_core::{
    AgentExit, Digest, Outcome, RunId, Task, TaskId, TrialId, TrialRecord, Variant, VariantName,
};
use harness_engine::Cell;
use serde_json::{Value, json};

use super::run::{Job, execute_quietly, make_dir};
use super::select::{self, Asked};
use super::{Context, runtime, sandbox};
use crate::args::CheckSuite;
use crate::exit::{Exit, Failure};
use crate::live::Display;
use crate::plan::{self, Selected};
use crate::printer;

/// What a trial must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Solution,
    Nothing,
    Wrong,
    Right,
}

/// One thing that is wrong with a task.
struct Defect {
    task: String,
    what: String,
}

/// Checks every task of a suite.
pub fn suite(mut context: Context, options: CheckSuite) -> Result<Exit, Failure> {
    let json = context.table_or_json()?;
    let settings = &mut context.settings;
    settings.flag("jobs", options.jobs);
    settings.flag("sandbox", options.sandbox.clone());
    settings.flag("rootfs", options.rootfs.clone());
    settings.flag("attempts", Some(1));
    let asked = Asked {
        sources: vec![options.suite.clone()],
        filter: options.filter.clone(),
        limit: options.limit,
        env_pass: Vec::new(),
        keep_going: true,
    };
    let selection = select::select(&mut context, &asked)?;
    let mut defects: Vec<Defect> = Vec::new();
    for invalid in &selection.invalid {
        defects.push(Defect {
            task: invalid.task.clone(),
            what: format!("{}: {}", invalid.file, invalid.message),
        });
    }
    plan::run_settings(&context.settings)?;
    let runtime = runtime()?;
    let backend = runtime.block_on(sandbox::open(&context))?;
    let (tasks, mut skipped) =
        plan::admit(&*backend, plan::run_settings(&context.settings)?.network.as_ref(), selection.tasks, &[]);
    let tasks: BTreeMap<TaskId, Arc<Task>> =
        tasks.into_iter().map(|task| (task.id.clone(), Arc::new(task))).collect();
    let mut cells: BTreeMap<VariantName, (Cell, Role)> = BTreeMap::new();
    let mut trials = Vec::new();
    for task in tasks.values() {
        plan_task(task, options.repeat.max(1), &mut cells, &mut trials, &mut defects)?;
    }
    // Repeats last, so that a defect shows as early as it can.
    trials.sort_by_key(|planned: &Planned| planned.id.attempt);

    let mut records: Vec<TrialRecord> = Vec::new();
    let mut complete = true;
    if !trials.is_empty() {
        let run = RunId::new(format!("check-{}", plan::run_name(&selection.name)))
            .map_err(|error| Failure::of(Exit::Usage, &error))?;
        let variants: Vec<Cell> = cells.values().map(|(cell, _)| cell.clone()).collect();
        let suite = SuiteRef {
            name: selection.name.clone(),
            sources: vec![select::absolute(&options.suite)],
            filter: options.filter,
            limit: options.limit,
            digest: Digest::of(b""),
        };
        let selected = Selected {
            run,
            suite,
            tasks: &tasks,
            cells: &variants,
            invalid: selection.invalid,
            skipped: skipped.clone(),
            models: (BTreeMap::new(), None),
            tools: BTreeMap::new(),
            env_pass: Vec::new(),
        };
        let manifest = plan::manifest(selected, &context.settings, &*backend)?;
        let (run, dir) = make_dir(&context, manifest, &trials, false)?;
        let folder = dir.path().to_owned();
        let job = Job {
            run,
            dir,
            trials,
            tasks: tasks.clone(),
            cells: variants,
            backend,
            models: None,
            display: if json { Display::Plain } else { Display::choose(false) },
        };
        let end = execute_quietly(&context, &runtime, job)?;
        complete = end.complete();
        let journal = read_journal(&folder)?;
        records = journal.finished().cloned().collect();
        for entry in &journal.entries {
            if let harness_core::Event::TaskSkipped { task, reason } = &entry.event {
                skipped.push(harness_core::manifest::SkippedTask {
                    task: task.to_string(),
                    reason: reason.clone(),
                });
            }
        }
    }
    let mut faults = 0;
    for task in tasks.values() {
        let mine: Vec<&TrialRecord> = records.iter().filter(|record| record.id.task == task.id).collect();
        faults += judge(task, &mine, &cells, &mut defects);
    }
    tell(json, &tasks, &defects, &skipped, records.len());
    let skips_count = !options.allow_skips && !skipped.is_empty();
    Ok(match () {
        () if !complete => Exit::Interrupted,
        () if !defects.is_empty() || skips_count => Exit::Defects,
        () if faults > 0 => Exit::HarnessFaults,
        () if tasks.is_empty() => Exit::NothingSelected,
        () => Exit::Completed,
    })
}

/// The trials of one task.
fn plan_task(
    task: &Task,
    repeat: u32,
    cells: &mut BTreeMap<VariantName, (Cell, Role)>,
    trials: &mut Vec<Planned>,
    defects: &mut Vec<Defect>,
) -> Result<(), Failure> {
    let mut add = |name: &str,
                   agent: &str,
                   settings: BTreeMap<String, Value>,
                   role: Role,
                   attempts: u32|
     -> Result<(), Failure> {
        let name = VariantName::new(name).map_err(|error| Failure::of(Exit::Invalid, &error))?;
        if !cells.contains_key(&name) {
            let cell = plan::cell(agent, None, settings)?;
            let variant = Variant { name: name.clone(), ..(*cell.variant).clone() };
            cells.insert(name.clone(), (Cell { variant: Arc::new(variant), agent: cell.agent }, role));
        }
        for attempt in 1..=attempts {
            let id = TrialId { task: task.id.clone(), variant: name.clone(), attempt };
            trials.push(Planned { id, task_digest: task.digest.clone() });
        }
        Ok(())
    };
    if task.steps.iter().all(|step| !step.solution.is_empty()) {
        add("oracle", "oracle", BTreeMap::new(), Role::Solution, repeat)?;
    } else {
        defects.push(Defect {
            task: task.id.to_string(),
            what: "has no solution: nothing proves that it can be solved".into(),
        });
    }
    add("noop", "noop", BTreeMap::new(), Role::Nothing, 1)?;
    match read_checks(&task.origin) {
        Ok(checks) => {
            for (kind, role, list) in
                [("wrong", Role::Wrong, checks.wrong), ("right", Role::Right, checks.right)]
            {
                for check in list {
                    let script = PathBuf::from("checks").join(kind).join(format!("{}.sh", check.name));
                    let mut settings = BTreeMap::from([("script".to_owned(), json!(script))]);
                    if role == Role::Wrong && task.hints.visible_test.is_some() {
                        settings.insert("then".into(), json!("visible"));
                    }
                    add(&format!("{kind}-{}", check.name), "oracle", settings, role, 1)?;
                }
            }
        }
        Err(problems) => {
            for problem in problems {
                defects.push(Defect { task: task.id.to_string(), what: problem.to_string() });
            }
        }
    }
    Ok(())
}

/// Adds what is wrong with a task, and returns how many trials have no result by our fault.
fn judge(
    task: &Task,
    records: &[&TrialRecord],
    cells: &BTreeMap<VariantName, (Cell, Role)>,
    defects: &mut Vec<Defect>,
) -> usize {
    let mut faults = 0;
    let mut verdicts: BTreeSet<&str> = BTreeSet::new();
    let mut defect = |what: String| defects.push(Defect { task: task.id.to_string(), what });
    for record in records {
        let Some((_, role)) = cells.get(&record.id.variant) else { continue };
        let name = &record.id.variant;
        if record.outcome.retryable() {
            faults += 1;
            continue;
        }
        if let Outcome::Stopped { phase, blame, reason } = &record.outcome {
            defect(format!("{name} stopped in {phase} by the {blame}'s fault: {reason}"));
            continue;
        }
        let resolved = record.outcome == Outcome::Resolved;
        let reason = record.outcome.reason().unwrap_or_default();
        match role {
            Role::Solution => {
                verdicts.insert(record.outcome.name());
                if !resolved {
                    defect(format!(
                        "its own solution does not resolve it (attempt {}): {reason}",
                        record.id.attempt
                    ));
                }
            }
            Role::Right if !resolved => {
                defect(format!("{name}, which is right, does not resolve it: {reason}"))
            }
            Role::Nothing if resolved => defect("doing nothing resolves it".into()),
            Role::Wrong if resolved => defect(format!("{name}, which is wrong, resolves it")),
            _ => {}
        }
        if *role == Role::Wrong && record.agent_exit != Some(AgentExit::Finished) {
            let said = record
                .integrity
                .iter()
                .find(|finding| finding.check == "agent_said")
                .map(|f| f.detail.as_str());
            defect(format!(
                "{name} does not pass what the agent can see: {}",
                said.unwrap_or("its script failed")
            ));
        }
        if let (Role::Nothing, Some(tests)) = (role, record.tests) {
            if tests.fail_to_pass.passed > 0 {
                defect(format!(
                    "{} of its FAIL_TO_PASS tests pass before anything was done",
                    tests.fail_to_pass.passed
                ));
            }
            if tests.pass_to_pass.passed < tests.pass_to_pass.total {
                let failing = tests.pass_to_pass.total - tests.pass_to_pass.passed;
                defect(format!("{failing} of its PASS_TO_PASS tests fail before anything was done"));
            }
        }
        let named = !task.hints.fail_to_pass.is_empty() || !task.hints.pass_to_pass.is_empty();
        if named && record.tests.is_none() && *role != Role::Wrong {
            defect(format!("{name}: the tests left no report that reads, though the task names tests"));
        }
    }
    if verdicts.len() > 1 {
        defect(format!(
            "its own solution does not always come to the same: {}",
            verdicts.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    faults
}

fn read_journal(folder: &std::path::Path) -> Result<harness_core::journal::Journal, Failure> {
    let file = folder.join("journal.jsonl");
    let bytes = std::fs::read(&file).map_err(|error| Failure::of(Exit::Unexpected, &error))?;
    harness_core::journal::Journal::parse(&bytes).map_err(|error| Failure::of(Exit::Unexpected, &error))
}

fn tell(
    json: bool,
    tasks: &BTreeMap<TaskId, Arc<Task>>,
    defects: &[Defect],
    skipped: &[harness_core::manifest::SkippedTask],
    trials: usize,
) {
    if json {
        let defects: Vec<_> = defects.iter().map(|d| json!({"task": d.task, "defect": d.what})).collect();
        let line = json!({"tasks": tasks.len(), "trials": trials, "defects": defects, "skipped": skipped});
        printer::raw(&harness_core::journal::line(&line));
        return;
    }
    for skip in skipped {
        printer::data(&format!(
            "skipped  {}: {}\n",
            printer::plain(&skip.task),
            printer::plain(&skip.reason)
        ));
    }
    for defect in defects {
        printer::data(&format!(
            "defect   {}: {}\n",
            printer::plain(&defect.task),
            printer::plain(&defect.what)
        ));
    }
    let sound = tasks.keys().filter(|id| {
        let id = id.as_str();
        defects.iter().all(|defect| defect.task != id) && skipped.iter().all(|skip| skip.task != id)
    });
    let sound = sound.count();
    printer::data(&format!(
        "{sound} of {} sound; {}, {} skipped, {}\n",
        if tasks.len() == 1 { "1 task is".to_owned() } else { format!("{} tasks are", tasks.len()) },
        printer::plural(defects.len(), "defect"),
        skipped.len(),
        printer::plural(trials, "trial")
    ));
}
