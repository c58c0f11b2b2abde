//! One trial, from its sandbox to its record: prepare → solve → capture → verify → teardown, tried again when we broke it.

mod again;
mod artifacts;
mod attempt;
mod capture;
mod diff;
mod direct;
mod durable;
mod entrypoint;
mod environment;
mod left;
mod limits;
mod networks;
mod packages;
mod programs;
mod ready;
mod step;
mod steps;
mod stop;
mod traffic;
mod verify;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use harness_core::record::{SandboxNote, SelfReport};
use harness_core::{
    Blame, Durations, Event, NanoUsd, Outcome, Phase, Task, TrialId, TrialRecord, TryRecord, Usage, Variant,
};
use harness_sandbox::Backend;

pub(crate) use environment::Whose;

use crate::agents::Agent;
use crate::cancel::{Cancel, Stage};
use crate::environments::Environments;
use crate::journal_writer::{JournalWriter, now_ms};
use crate::models::{Models, Tally};
use crate::run::RunSettings;

/// Everything that a trial needs and does not change.
pub(crate) struct TrialContext {
    pub(crate) id: TrialId,
    pub(crate) task: Arc<Task>,
    pub(crate) variant: Arc<Variant>,
    pub(crate) agent: Arc<dyn Agent>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) environments: Arc<Environments>,
    pub(crate) settings: Arc<RunSettings>,
    pub(crate) journal: JournalWriter,
    pub(crate) cancel: Cancel,
    /// Its folder on the host.
    pub(crate) dir: PathBuf,
    /// The folder of the whole run.
    pub(crate) run_dir: PathBuf,
    pub(crate) trouble: Trouble,
    /// The run's name, for labels.
    pub(crate) run: String,
    /// The run's models, where it has any.
    pub(crate) models: Option<Arc<Models>>,
    /// Tries of earlier processes.
    pub(crate) earlier: Vec<TryRecord>,
    /// Whether the last of them was under way as its process ended.
    pub(crate) interrupted: bool,
    /// Set once the task's tools were found; shared by all its trials.
    pub(crate) tools_seen: Arc<OnceLock<()>>,
}

/// How a trial left the scheduler.
pub(crate) enum Ended {
    /// With a record.
    Finished(Box<TrialRecord>),
    /// Its task cannot run here, for this reason.
    Skipped(String),
    /// The run is being ended; `resume` tries it again.
    Interrupted,
}

/// What one try came to.
pub(crate) struct TryResult {
    pub(crate) outcome: Outcome,
    pub(crate) agent_exit: Option<harness_core::AgentExit>,
    pub(crate) usage: Usage,
    pub(crate) cost: Option<NanoUsd>,
    pub(crate) reported: Option<SelfReport>,
    pub(crate) simulated: bool,
    pub(crate) replayed: bool,
    pub(crate) durations: Durations,
    pub(crate) details: attempt::Details,
}

impl TryResult {
    fn record(&self, number: u32) -> TryRecord {
        TryRecord {
            number,
            outcome: self.outcome.clone(),
            agent_exit: self.agent_exit,
            usage: self.usage,
            cost: self.cost,
            reported: self.reported,
            cut_by: self.details.cut_by.clone(),
            reattached: self.details.reattached,
            durations: self.durations,
        }
    }
}

/// Carries a trial to its end. There is no way for a trial to disappear: it has a record, its task is skipped by name,
/// or the run was told to stop and `resume` tries it again.
pub(crate) async fn run_trial(context: Arc<TrialContext>) -> Ended {
    let started_ms = now_ms();
    let mut tries = context.earlier.clone();
    let first = tries.len() as u32 + 1;
    let mut lost = 0;
    let mut taken = tokio::select! {
        biased;
        () = context.cancel.reached(Stage::Kill) => return Ended::Interrupted,
        taken = again::take_up(&context, &mut tries) => taken,
    };
    loop {
        let number = tries.len() as u32 + 1;
        // What is gone on with goes on in the same files.
        if number > 1 && taken.is_none() {
            set_aside(&context.dir, number - 1);
        }
        context.journal.write(Event::TrialStarted { id: context.id.clone(), number });
        let result = tokio::select! {
            biased;
            () = context.cancel.reached(Stage::Kill) => return Ended::Interrupted,
            result = guarded(context.clone(), number, taken.take()) => result,
        };
        if let Some(reason) = result.details.missing_tool {
            return Ended::Skipped(reason);
        }
        let failed = number - first;
        tries.push(result.record(number));
        if result.details.cut_by.is_some() {
            let record = tries.pop().expect("a try was just added");
            context.journal.write(Event::TryFailed { id: context.id.clone(), record });
            return Ended::Interrupted;
        }
        let fault = result.outcome.retryable();
        let full = if fault { refuses(&context.run_dir) } else { None };
        // On a full disk the trial is left to `resume`: no number of tries would have helped.
        let again =
            fault && (full.is_some() || (!result.details.lasting && failed < context.settings.retries));
        lost += u32::from(result.details.lost);
        if !again {
            let result = TryResult { outcome: blame_for_loss(result.outcome, lost, failed + 1), ..result };
            return Ended::Finished(Box::new(finish(&context, result, tries, started_ms)));
        }
        if let Some(refusal) = full {
            context.trouble.set(refusal, &context.cancel);
        }
        let record = tries.last().expect("a try was just added").clone();
        context.journal.write(Event::TryFailed { id: context.id.clone(), record });
        let wait = back_off(failed, &context);
        tokio::select! {
            biased;
            () = context.cancel.reached(Stage::Drain) => {}
            () = tokio::time::sleep(wait) => continue,
        }
        // Told to stop before it could be tried again: the fault stays ours, and `resume` does not see this trial as finished.
        return Ended::Interrupted;
    }
}

/// A sandbox can be lost by our fault once. One that is lost under the agent's hands in every fresh start is the agent's own
/// doing: counted otherwise, ending the sandbox would be a way out of every task that it cannot solve.
fn blame_for_loss(outcome: Outcome, lost: u32, tries: u32) -> Outcome {
    match outcome {
        Outcome::Stopped { phase, blame: Blame::Harness, reason } if tries > 1 && lost == tries => {
            let reason =
                format!("the sandbox was lost under the agent's hands in each of {tries} tries: {reason}");
            Outcome::Stopped { phase, blame: Blame::Agent, reason }
        }
        other => other,
    }
}

/// Whether the disk below the run takes nothing more, found out by writing: an error alone does not say which disk was full,
/// and one inside a sandbox may be of the agent's making.
fn refuses(run: &Path) -> Option<String> {
    let file = run.join(".probe");
    let written = File::create(&file).and_then(|mut probe| {
        probe.write_all(&[0; 64 << 10])?;
        probe.sync_data()
    });
    let _removed = std::fs::remove_file(&file);
    let error = written.err()?;
    let lasting = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::ReadOnlyFilesystem];
    lasting.contains(&error.kind()).then(|| format!("cannot write below {}: {error}", run.display()))
}

/// What ends the whole run although its journal can still be written. Shared by its trials; the first word counts.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<OnceLock<String>>);

impl Trouble {
    pub(crate) fn set(&self, message: String, cancel: &Cancel) {
        let _first = self.0.set(message);
        cancel.raise(Stage::Drain);
    }

    /// What it is, if there is any.
    pub(crate) fn get(&self) -> Option<&String> {
        self.0.get()
    }
}

/// A panic in a try is our fault and ends that try alone.
async fn guarded(context: Arc<TrialContext>, number: u32, taken: Option<again::Taken>) -> TryResult {
    let began = Instant::now();
    let (models, trial) = (context.models.clone(), context.id.path());
    let task = tokio::spawn(attempt::run(context, number, taken));
    // Dropping a join handle does not end its task, so the kill must go through an abort.
    let abort = AbortOnDrop(task.abort_handle());
    let joined = task.await;
    drop(abort);
    joined.unwrap_or_else(|error| {
        let reason = format!("the harness failed in this trial: {error}");
        // What it spent until then is spent all the same.
        let tally =
            models.filter(|models| models.kept().knows(&trial)).map(|models| models.kept().end(&trial));
        TryResult {
            outcome: Outcome::Stopped { phase: Phase::Prepare, blame: Blame::Harness, reason },
            agent_exit: None,
            usage: tally.as_ref().map(Tally::usage).unwrap_or_default(),
            cost: tally.and_then(|tally| tally.cost()),
            reported: None,
            simulated: false,
            replayed: false,
            durations: Durations { total: began.elapsed().as_millis() as u64, ..Durations::default() },
            details: attempt::Details::default(),
        }
    })
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The logs of an earlier try move aside, so that each try's evidence is kept.
fn set_aside(dir: &Path, number: u32) {
    let aside = dir.join(format!("try-{number}"));
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    let old = names.iter().filter(|name| !name.to_string_lossy().starts_with("try-"));
    // Evidence that cannot be moved stays where it is and is appended to: losing a nicety, not a result.
    if std::fs::create_dir(&aside).is_ok() {
        for name in old {
            let _moved = std::fs::rename(dir.join(name), aside.join(name));
        }
    }
}

/// Doubles from the settings' base up to a minute, and spreads over half of that so that trials do not return together.
fn back_off(failed: u32, context: &TrialContext) -> Duration {
    let full = context.settings.back_off.saturating_mul(1 << failed.min(10)).min(Duration::from_secs(60));
    let spread =
        harness_core::Digest::of(format!("{} {} {failed}", context.settings.seed, context.id).as_bytes());
    let part = u32::from_str_radix(&spread.as_str()[..4], 16).unwrap_or(0);
    full / 2 + full.mul_f64(f64::from(part) / 65536.0 / 2.0)
}

fn finish(context: &TrialContext, last: TryResult, tries: Vec<TryRecord>, started_ms: i64) -> TrialRecord {
    let usage = tries.iter().fold(Usage::default(), |sum, one| sum.plus(&one.usage));
    let costs: Vec<_> = tries.iter().filter_map(|one| one.cost).collect();
    // What the gateway counted and could not price is unknown, and makes the sum so.
    let unpriced = |one: &TryRecord| one.cost.is_none() && one.usage.requests.is_some_and(|made| made > 0);
    let metered = context.models.as_ref().is_some_and(|models| models.route(&context.id).is_some());
    let unknown = costs.is_empty() || (metered && tries.iter().any(unpriced));
    let reported = tries.iter().filter_map(|one| one.reported).reduce(SelfReport::plus);
    let details = last.details;
    TrialRecord {
        id: context.id.clone(),
        agent: context.variant.agent.clone(),
        model: context.variant.model.clone(),
        outcome: last.outcome,
        agent_exit: last.agent_exit,
        score: details.score,
        rewards: details.rewards,
        steps: details.steps,
        tests: details.tests,
        usage,
        cost: (!unknown).then(|| costs.into_iter().sum()),
        reported,
        simulated: last.simulated,
        replayed: last.replayed,
        diff: details.diff,
        durations: last.durations,
        cpu_ms: details.cpu_ms,
        peak_memory_bytes: details.peak_memory_bytes,
        network: details.network,
        integrity: details.integrity,
        sandbox: details.sandbox.unwrap_or_else(|| SandboxNote {
            backend: context.backend.name().to_owned(),
            ..SandboxNote::default()
        }),
        tries,
        started_ms,
        finished_ms: now_ms(),
    }
}
