//! A whole run: opens the journal, schedules every planned trial that is not finished, and says how it ended.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use harness_core::journal::Journal;
use harness_core::plan::Planned;
use harness_core::record::TryRecord;
use harness_core::{
    Blame, Durations, Event, NetworkMode, Outcome, Phase, RunId, Task, TaskId, TrialId, Usage, Variant,
    VariantName,
};
use harness_gateway::redact::Redactor;
use harness_sandbox::Backend;

use crate::agents::Agent;
use crate::cancel::{Cancel, Stage};
use crate::environments::Environments;
use crate::journal_writer::{JournalWriteError, JournalWriter, Opening, Watcher};
use crate::machine::Machine;
use crate::models::{self, Halt, Models, ModelsSpec};
use crate::run_dir::{RunDir, RunDirError};
use crate::scheduler::{self, Ahead, Ready};
use crate::trial::{TrialContext, Trouble};

/// How long a backend may take to remove what it started ahead and nobody asked for.
const FORGETTING: Duration = Duration::from_secs(90);

/// Settings that all trials of a run share.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSettings {
    /// Most trials at once.
    pub jobs: usize,
    /// How often a trial that we broke is tried again.
    pub retries: u32,
    /// Start nothing new after the first trial that is not resolved.
    pub fail_fast: bool,
    /// Overrides what tasks ask for.
    pub network: Option<NetworkMode>,
    /// The agent's time where a task sets none.
    pub default_agent_timeout: Duration,
    /// Multiplies every time limit of agents and verifiers.
    pub timeout_multiplier: f64,
    /// No agent gets longer than this, whatever its task says.
    pub agent_timeout_max: Option<Duration>,
    /// No verification gets longer than this.
    pub verifier_timeout_max: Option<Duration>,
    /// First wait before a retry; doubles from there.
    pub back_off: Duration,
    /// Seed of every random choice.
    pub seed: u64,
    /// What reservations are made against.
    pub machine: Machine,
}

impl Default for RunSettings {
    fn default() -> RunSettings {
        RunSettings {
            jobs: 1,
            retries: 2,
            fail_fast: false,
            network: None,
            default_agent_timeout: Duration::from_secs(3600),
            timeout_multiplier: 1.0,
            agent_timeout_max: None,
            verifier_timeout_max: None,
            back_off: Duration::from_secs(1),
            seed: 0,
            machine: Machine::here(),
        }
    }
}

impl RunSettings {
    /// The agent's time in one step.
    pub fn agent_timeout(&self, asked: Option<Duration>) -> Duration {
        let time = self.scaled(asked.unwrap_or(self.default_agent_timeout));
        self.agent_timeout_max.map_or(time, |most| time.min(most))
    }

    /// The verifier's time in one step.
    pub fn verifier_timeout(&self, asked: Duration) -> Duration {
        let time = self.scaled(asked);
        self.verifier_timeout_max.map_or(time, |most| time.min(most))
    }

    fn scaled(&self, time: Duration) -> Duration {
        // A year: what is longer overflows clocks, and nobody waits for it.
        let most = Duration::from_secs(365 * 86_400);
        Duration::try_from_secs_f64(time.as_secs_f64() * self.timeout_multiplier).unwrap_or(most).min(most)
    }
}

/// One variant with the agent that serves it.
#[derive(Clone)]
pub struct Cell {
    /// What is compared.
    pub variant: Arc<Variant>,
    /// Who does it.
    pub agent: Arc<dyn Agent>,
}

/// A run that is ready to go.
pub struct RunSpec {
    /// Its directory, held by this process.
    pub dir: RunDir,
    /// Its name.
    pub run: RunId,
    /// All trials, finished ones included.
    pub plan: Vec<Planned>,
    /// The tasks that the plan names.
    pub tasks: BTreeMap<TaskId, Arc<Task>>,
    /// The variants that the plan names.
    pub cells: BTreeMap<VariantName, Cell>,
    /// Where they run.
    pub backend: Arc<dyn Backend>,
    /// Settings of all trials.
    pub settings: RunSettings,
    /// The models that its variants use; `None` when none does.
    pub models: Option<ModelsSpec>,
    /// How it is told to stop.
    pub cancel: Cancel,
    /// Who is told of every event, after it is safe.
    pub watcher: Watcher,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunEnd {
    /// Trials in the plan.
    pub planned: usize,
    /// Finished, by this process or an earlier one.
    pub finished: usize,
    /// Not tried because their task cannot run here.
    pub skipped: usize,
    /// Finished without a verdict by our fault.
    pub harness_faults: usize,
    /// It was told to stop before all was tried.
    pub interrupted: bool,
    /// `--fail-fast` ended it.
    pub failed_fast: bool,
    /// A budget or a provider ended it before all was tried.
    pub halted: Option<Halt>,
}

impl RunEnd {
    /// Whether every planned trial is finished.
    pub fn complete(&self) -> bool {
        self.finished + self.skipped == self.planned
    }
}

/// What ends a run before its time.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The record cannot be read.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The record cannot be written: nothing that happens from here on would be known.
    #[error("the run stopped because its journal cannot be written")]
    Journal(#[from] JournalWriteError),
    /// The disk takes nothing more: every further trial would fail by our fault.
    #[error("the run stopped because its disk takes nothing more: {message}; make room, then resume it")]
    Disk {
        /// Which folder, and what the system said.
        message: String,
    },
    /// The gateway to the models cannot be set up.
    #[error("the gateway to the models cannot be set up")]
    Gateway(#[source] std::io::Error),
    /// The plan names something that was not given.
    #[error("the plan names {what}, which this run does not have")]
    Plan {
        /// The task or variant.
        what: String,
    },
}

/// Runs every trial of the plan that the journal does not call finished.
///
/// # Errors
/// [`EngineError`]; what was journaled until then is kept, and `resume` goes on from there.
pub async fn execute(spec: RunSpec) -> Result<RunEnd, EngineError> {
    let journal = spec.dir.journal()?;
    let done: HashSet<TrialId> = journal.finished().map(|record| record.id.clone()).collect();
    let mut earlier = unfinished_tries(&journal, &done);
    let mut end = RunEnd { planned: spec.plan.len(), ..RunEnd::default() };
    let planned: HashSet<&TrialId> = spec.plan.iter().map(|planned| &planned.id).collect();
    for record in journal.finished().filter(|record| planned.contains(&record.id)) {
        end.finished += 1;
        end.harness_faults += usize::from(record.outcome.retryable());
    }

    // Checked before anything is written: a plan that cannot be carried out leaves the journal as it was.
    for planned in spec.plan.iter().filter(|planned| !done.contains(&planned.id)) {
        let (task, variant) = (&planned.id.task, &planned.id.variant);
        if !spec.tasks.contains_key(task) {
            return Err(EngineError::Plan { what: format!("the task {task}") });
        }
        if !spec.cells.contains_key(variant) {
            return Err(EngineError::Plan { what: format!("the variant {variant}") });
        }
    }

    let cancel = spec.cancel.clone();
    let on_failure = {
        let cancel = cancel.clone();
        move || cancel.raise(Stage::Kill)
    };
    let redactor = spec.models.as_ref().map_or_else(|| Redactor::new(None), |models| models.redactor.clone());
    let opening = Opening {
        file: spec.dir.journal_path(),
        run: &spec.run,
        read: &journal,
        watcher: spec.watcher,
        redactor,
    };
    let (writer, thread) = JournalWriter::start(opening, on_failure)?;
    let gone: HashSet<TaskId> = journal
        .entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::TaskSkipped { task, .. } => Some(task.clone()),
            _ => None,
        })
        .collect();
    drop(journal);
    writer.write(Event::RunStarted { pid: std::process::id(), planned: end.planned, finished: end.finished });

    let settings = Arc::new(spec.settings);
    let mut queue = Vec::new();
    let mut tools: HashMap<TaskId, Arc<OnceLock<()>>> = HashMap::new();
    for planned in spec.plan.iter().filter(|planned| !done.contains(&planned.id)) {
        if gone.contains(&planned.id.task) {
            end.skipped += 1;
            continue;
        }
        let id = planned.id.clone();
        let (task, cell) = (spec.tasks[&id.task].clone(), spec.cells[&id.variant].clone());
        queue.push(Ready { id, task, cell });
    }
    let dir = spec.dir;
    let (backend, run) = (spec.backend, spec.run.to_string());
    let trouble = Trouble::default();
    let preflight = spec.models.as_ref().is_some_and(|models| models.preflight);
    let models = match spec.models {
        None => None,
        Some(models) => {
            let place = models::Place {
                run: spec.run.as_str(),
                dir: &dir,
                journal: writer.clone(),
                trouble: trouble.clone(),
                cancel: cancel.clone(),
            };
            let (models, spent) = Models::open(models, place).await.map_err(EngineError::Gateway)?;
            for (id, tries) in &mut earlier {
                spent.complete(id, &dir.trial(id), &mut tries.tries, &tries.lost);
            }
            Some(models)
        }
    };
    let environments = Environments::new(backend.clone(), dir.path(), settings.jobs);
    let ahead = environments.ahead(queue.iter().map(|ready| ready.task.clone()));
    let going_on = earlier.iter().filter(|(_, tries)| tries.under_way).map(|(id, _)| id.clone()).collect();
    let make = |ready: Ready| {
        Arc::new(TrialContext {
            dir: dir.trial(&ready.id),
            run_dir: dir.path().to_owned(),
            trouble: trouble.clone(),
            tools_seen: tools.entry(ready.id.task.clone()).or_default().clone(),
            interrupted: earlier.get(&ready.id).is_some_and(|tries| tries.under_way),
            earlier: earlier.remove(&ready.id).unwrap_or_default().tries,
            models: models.clone(),
            id: ready.id,
            task: ready.task,
            variant: ready.cell.variant,
            agent: ready.cell.agent,
            backend: backend.clone(),
            environments: environments.clone(),
            settings: settings.clone(),
            journal: writer.clone(),
            cancel: cancel.clone(),
            run: run.clone(),
        })
    };
    if let Some(models) = models.as_ref().filter(|_| preflight && !queue.is_empty()) {
        tokio::select! {
            () = models.preflight(&writer) => {}
            () = cancel.reached(Stage::Kill) => {}
        }
    }
    let told = Ahead {
        backend: &*backend,
        environments: &environments,
        settings: &settings,
        run: &run,
        // Their sandboxes may be there already.
        told: going_on,
    };
    let rules = scheduler::Rules {
        settings: &settings,
        cancel: &cancel,
        journal: &writer,
        models: models.as_deref(),
    };
    let ran = scheduler::drain(queue, make, told, rules).await;
    // What cannot be removed now is found by its label later.
    let _ = tokio::time::timeout(FORGETTING, backend.forget(&run)).await;
    // What nobody wants any more is not made.
    drop(ahead);
    end.finished += ran.finished;
    end.skipped += ran.skipped;
    end.harness_faults += ran.harness_faults;
    end.failed_fast = ran.failed_fast;
    end.halted = models.as_ref().and_then(|models| models.halted()).filter(|_| !end.complete());
    if let Some(models) = models {
        models.close(&writer);
    }
    let stopped = cancel.stage() != Stage::Run && !end.complete();
    end.interrupted = stopped && end.halted.is_none();
    let reason = if end.complete() {
        None
    } else if let Some(halt) = &end.halted {
        Some(halt.reason().to_owned())
    } else if end.failed_fast {
        Some("--fail-fast".to_owned())
    } else {
        Some("interrupted".to_owned())
    };
    writer.write(Event::RunEnded { complete: end.complete(), reason });
    drop(writer);
    // The thread ends when the last handle is gone; trials that were dropped have dropped theirs.
    let written = tokio::task::spawn_blocking(move || thread.join());
    written.await.expect("joining a thread does not panic")?;
    match trouble.get() {
        Some(message) => Err(EngineError::Disk { message: message.clone() }),
        None => Ok(end),
    }
}

/// Tries of a trial that is not finished.
#[derive(Default)]
struct Tries {
    tries: Vec<TryRecord>,
    /// Numbers of those that were under way when a process ended.
    lost: Vec<u32>,
    /// Whether the last process left one.
    under_way: bool,
}

impl Tries {
    fn lose(&mut self, record: TryRecord) {
        self.lost.push(record.number);
        self.tries.push(record);
    }
}

/// What earlier processes tried and did not finish: tries that ended by our fault are on record; one that was under way
/// when the process ended is a try too, whose time and tokens are unknown.
fn unfinished_tries(journal: &Journal, done: &HashSet<TrialId>) -> HashMap<TrialId, Tries> {
    let mut tries: HashMap<TrialId, Tries> = HashMap::new();
    let mut open: HashMap<TrialId, u32> = HashMap::new();
    let lost = |number: u32| TryRecord {
        number,
        outcome: Outcome::Stopped {
            phase: Phase::Solve,
            blame: Blame::Harness,
            reason: "the harness ended while this try was under way".into(),
        },
        agent_exit: None,
        usage: Usage::default(),
        cost: None,
        reported: None,
        cut_by: None,
        reattached: false,
        durations: Durations::default(),
    };
    for entry in &journal.entries {
        match &entry.event {
            Event::TrialStarted { id, number } => {
                if let Some(before) = open.insert(id.clone(), *number) {
                    tries.entry(id.clone()).or_default().lose(lost(before));
                }
            }
            Event::TryFailed { id, record } => {
                open.remove(id);
                tries.entry(id.clone()).or_default().tries.push(record.clone());
            }
            Event::TrialFinished { record } => {
                open.remove(&record.id);
                tries.remove(&record.id);
            }
            _ => {}
        }
    }
    for (id, number) in open {
        let tries = tries.entry(id).or_default();
        tries.lose(lost(number));
        tries.under_way = true;
    }
    tries.retain(|id, _| !done.contains(id));
    tries
}
