//! `harness show …`: one thing in full.

use harness_core::{TaskId, TrialId, VariantName};
use reports::Results;
use serde_json::json;

use super::select::{self, Asked};
use super::{Context, report, trajectory};
use crate::args::Show;
use crate::exit::{Exit, Failure};
use crate::printer;

/// Shows.
pub fn show(context: &Context, what: Show) -> Result<Exit, Failure> {
    if let Show::Trial { run, trial, trajectory: true } = what {
        return trajectory::show(context, &run, &trial);
    }
    let json = context.table_or_json()?;
    match what {
        Show::Run { run } => show_run(context, &run, json),
        Show::Trial { run, trial, .. } => show_trial(context, &run, &trial, json),
        Show::Task { task } => show_task(context, task, json),
        Show::Settings => show_settings(context, json),
    }
}

fn show_run(context: &Context, run: &str, json: bool) -> Result<Exit, Failure> {
    let results = report::read(&report::folder(context, run))?;
    if json {
        printer::raw(&harness_core::journal::line(&results.run));
        return Ok(Exit::Completed);
    }
    let info = &results.run;
    let mut text = format!(
        "run       {}\nsuite     {} ({})\nbegun     {}\nharness   {}\nattempts  {}\n",
        info.id,
        info.suite,
        info.sources.join(", "),
        info.created,
        info.harness_version,
        info.attempts
    );
    text += &format!(
        "sandbox   {} (root file system: {}, network: {})\n",
        info.sandbox.backend, info.sandbox.rootfs, info.sandbox.network
    );
    for weakness in &info.sandbox.weaknesses {
        text += &format!("          - {weakness}\n");
    }
    for (name, setting) in &info.settings {
        text += &format!("setting   {name} = {} ({})\n", setting.value, setting.source);
    }
    for (name, value) in &info.machine {
        text += &format!("machine   {name} = {value}\n");
    }
    let totals = &info.totals;
    text += &format!(
        "trials    {} of {} finished: {} resolved, {} unresolved, {} stopped\n",
        totals.finished, totals.planned, totals.resolved, totals.unresolved, totals.stopped
    );
    printer::data(&printer::plain(&text));
    Ok(Exit::Completed)
}

fn show_trial(context: &Context, run: &str, trial: &str, json: bool) -> Result<Exit, Failure> {
    let folder = report::folder(context, run);
    let results = report::read(&folder)?;
    let id = find(&results, trial)?;
    let story = reports::story(&folder, &results, &id).map_err(|error| Failure::of(Exit::Usage, &error))?;
    if json {
        printer::raw(&harness_core::journal::line(&story));
    } else {
        printer::data(&story.text(&report::look(true)));
    }
    Ok(Exit::Completed)
}

/// `TASK`, `TASK/VARIANT` or `TASK/VARIANT/ATTEMPT`, which must mean one trial.
pub(super) fn find(results: &Results, wanted: &str) -> Result<TrialId, Failure> {
    let parts: Vec<&str> = wanted.trim_end_matches('/').split('/').collect();
    let finished =
        results.trials.iter().map(|trial| (trial.task.as_str(), trial.variant.as_str(), trial.attempt));
    let unfinished = results
        .run
        .unfinished
        .iter()
        .map(|trial| (trial.task.as_str(), trial.variant.as_str(), trial.attempt));
    let matches: Vec<_> = finished
        .chain(unfinished)
        .filter(|(task, variant, attempt)| {
            let have = [(*task).to_owned(), (*variant).to_owned(), attempt.to_string()];
            parts.len() <= 3 && parts.iter().zip(&have).all(|(wanted, have)| wanted == have)
        })
        .collect();
    match matches.as_slice() {
        [(task, variant, attempt)] => {
            let id = |error: harness_core::IdError| Failure::of(Exit::Invalid, &error);
            Ok(TrialId {
                task: TaskId::new(*task).map_err(id)?,
                variant: VariantName::new(*variant).map_err(id)?,
                attempt: *attempt,
            })
        }
        [] => Err(Failure::new(Exit::Usage, format!("the run {} has no trial {wanted}", results.run.id))
            .hint("`harness report` lists its trials")),
        several => {
            let names: Vec<_> = several
                .iter()
                .take(8)
                .map(|(task, variant, attempt)| format!("{task}/{variant}/{attempt}"))
                .collect();
            Err(Failure::new(Exit::Usage, format!("{wanted} means {} trials", several.len()))
                .hint(format!("name one: {}", names.join(", "))))
        }
    }
}

fn show_task(context: &Context, source: String, json: bool) -> Result<Exit, Failure> {
    let mut context = Context { settings: context.settings.clone(), format: None };
    let asked = Asked { sources: vec![source.clone()], ..Asked::default() };
    let mut found = select::select(&mut context, &asked)?;
    if found.tasks.len() != 1 {
        return Err(Failure::new(Exit::Usage, format!("{source} is {} tasks", found.tasks.len()))
            .hint("`harness list tasks` lists them; name one as SUITE/TASK"));
    }
    let task = found.tasks.remove(0);
    let limits = &task.environment.limits;
    let steps: Vec<_> = task
        .steps
        .iter()
        .map(|step| {
            json!({
                "name": step.name, "agent_timeout_sec": step.agent.timeout.map(|t| t.as_secs_f64()), "agent_user": step.agent.user,
                "verifier_timeout_sec": step.verifier.timeout.as_secs_f64(), "verifier_user": step.verifier.user,
                "verifier": format!("{:?}", step.verifier.mode).split('(').next().unwrap_or_default().to_lowercase(),
                "instruction": step.instruction,
            })
        })
        .collect();
    let value = json!({
        "task": task.id, "description": task.description, "dataset": task.dataset, "origin": task.origin, "digest": task.digest,
        "difficulty": task.traits.difficulty, "language": task.traits.language, "category": task.traits.category, "tags": task.traits.tags,
        "network": task.environment.network.to_string(), "milli_cpus": limits.milli_cpus, "memory_bytes": limits.memory_bytes,
        "disk_bytes": limits.disk_bytes, "host_root": task.environment.host_root, "tools": task.hints.tools, "product": task.hints.product,
        "fail_to_pass": task.hints.fail_to_pass, "pass_to_pass": task.hints.pass_to_pass, "steps": steps,
    });
    if json {
        printer::raw(&harness_core::journal::line(&value));
        return Ok(Exit::Completed);
    }
    let mut text = String::new();
    for (key, value) in value.as_object().into_iter().flatten().filter(|(key, _)| *key != "steps") {
        let shown = match value {
            serde_json::Value::Null => "-".to_owned(),
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(items) if items.is_empty() => "-".to_owned(),
            serde_json::Value::Array(items) => {
                let names: Vec<_> = items.iter().map(|item| item.as_str().unwrap_or_default()).collect();
                names.join(", ")
            }
            other => other.to_string(),
        };
        text += &format!("{key:<14} {shown}\n");
    }
    for step in &task.steps {
        let name = step.name.as_deref().unwrap_or("instruction");
        text += &format!("\n--- {name} ---\n{}\n", step.instruction.trim_end());
    }
    printer::data(&printer::plain(&text));
    Ok(Exit::Completed)
}

fn show_settings(context: &Context, json: bool) -> Result<Exit, Failure> {
    let about = |name: &str| {
        crate::settings::KNOWN.iter().find(|known| known.name == name).map_or("", |known| known.about)
    };
    if json {
        let rows: Vec<_> = context.settings.iter().map(|(name, layered)| json!({"name": name, "value": layered.value, "source": layered.source, "about": about(name)})).collect();
        printer::raw(&harness_core::journal::line(&rows));
        return Ok(Exit::Completed);
    }
    // As it is written in `harness.toml`, so that a line can be copied there.
    for (name, layered) in context.settings.iter() {
        let line = format!("{name} = {}  ({})\n    {}\n", layered.value, layered.source, about(name));
        printer::data(&printer::plain(&line));
    }
    Ok(Exit::Completed)
}
