//! Admits trials: at most `jobs` at once, and no more processors and memory than the machine has.
//!
//! The queue's order is the plan's. A trial that does not fit yet lets a few behind it pass, but only of its own round of
//! attempts, so that an interrupted run has whole rounds and nothing waits for ever.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use harness_core::{Event, Limits, Outcome, Task, TaskId, TrialId};
use harness_sandbox::Backend;
use tokio::task::JoinSet;

use crate::cancel::{Cancel, Stage};
use crate::environments::Environments;
use crate::journal_writer::JournalWriter;
use crate::machine::Reservations;
use crate::models::Models;
use crate::run::{Cell, RunSettings};
use crate::trial::{Ended, TrialContext, Whose, run_trial};

/// How far behind the first waiting trial another may be and still pass it.
const LOOK_AHEAD: usize = 32;
/// How often the first waiting trial may be passed before nothing passes it any more.
const PATIENCE: usize = 64;

/// A trial that is waiting.
pub(crate) struct Ready {
    pub(crate) id: TrialId,
    pub(crate) task: Arc<Task>,
    pub(crate) cell: Cell,
}

/// Tells the backend which sandboxes the next trials will ask for, so that one that starts slowly is there when it is needed.
pub(crate) struct Ahead<'a> {
    pub(crate) backend: &'a dyn Backend,
    pub(crate) environments: &'a Environments,
    pub(crate) settings: &'a RunSettings,
    pub(crate) run: &'a str,
    /// Trials that it has been told of.
    pub(crate) told: HashSet<TrialId>,
}

impl Ahead<'_> {
    /// Of as many as run at once, each once, and only where that takes nothing but a start.
    fn tell(&mut self, queue: &VecDeque<Ready>) {
        for ready in queue.iter().take(self.settings.jobs.max(1)) {
            let Some(image) = self.environments.ready(&ready.task.digest) else { continue };
            if self.told.insert(ready.id.clone()) {
                let whose = Whose {
                    run: self.run,
                    id: &ready.id,
                    task: &ready.task,
                    agent: &*ready.cell.agent,
                    settings: self.settings,
                    backend: self.backend,
                };
                self.backend.expect(&whose.agents_sandbox(image));
            }
        }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) finished: usize,
    pub(crate) skipped: usize,
    pub(crate) harness_faults: usize,
    pub(crate) failed_fast: bool,
}

/// What admission goes by, and who is told.
pub(crate) struct Rules<'a> {
    pub(crate) settings: &'a RunSettings,
    pub(crate) cancel: &'a Cancel,
    pub(crate) journal: &'a JournalWriter,
    /// Trials wait while their provider is down, and are not begun when their variant's budget is spent.
    pub(crate) models: Option<&'a Models>,
}

/// How often it is looked whether a provider is back.
const PROVIDER_PAUSE: Duration = Duration::from_millis(250);

/// Runs the queue until it is empty or the run is told to stop.
pub(crate) async fn drain(
    queue: Vec<Ready>,
    mut make: impl FnMut(Ready) -> Arc<TrialContext>,
    mut ahead: Ahead<'_>,
    rules: Rules<'_>,
) -> Ran {
    let Rules { settings, cancel, journal, models } = rules;
    let mut queue: VecDeque<Ready> = queue.into();
    let mut held = Reservations::new(settings.machine);
    let mut running: JoinSet<(TaskId, Ended)> = JoinSet::new();
    let mut limits: HashMap<tokio::task::Id, Limits> = HashMap::new();
    let mut passed = 0;
    let mut ran = Ran::default();
    let mut skipped: HashSet<TaskId> = HashSet::new();
    loop {
        while cancel.stage() == Stage::Run && !ran.failed_fast && running.len() < settings.jobs.max(1) {
            if let Some(models) = models {
                queue.retain(|ready| !models.is_spent(&ready.id.variant));
            }
            let idle = running.is_empty();
            let admits = |ready: &Ready| models.is_none_or(|models| models.admits(&ready.id, idle));
            let Some(at) = next(&queue, admits, &mut held, passed) else { break };
            passed = if at == 0 { 0 } else { passed + 1 };
            let ready = queue.remove(at).expect("the index was just found");
            let wants = ready.task.environment.limits;
            let task = ready.id.task.clone();
            ahead.told.remove(&ready.id);
            let trial = make(ready);
            let handle = running.spawn(async move { (task, run_trial(trial).await) });
            limits.insert(handle.id(), wants);
        }
        if cancel.stage() == Stage::Run && !ran.failed_fast {
            ahead.tell(&queue);
        }
        let waits = models.is_some() && !queue.is_empty() && running.len() < settings.jobs.max(1);
        let joined = tokio::select! {
            biased;
            joined = running.join_next_with_id() => joined,
            () = ahead.environments.one_more() => continue,
            () = tokio::time::sleep(PROVIDER_PAUSE), if waits => continue,
        };
        let Some(joined) = joined else { return ran };
        let (id, ended) = match joined {
            Ok((id, ended)) => (id, Some(ended)),
            // `run_trial` guards its tries; only the runtime's own end cancels it.
            Err(error) => (error.id(), None),
        };
        held.give_back(&limits.remove(&id).unwrap_or_default());
        match ended {
            Some((_, Ended::Finished(record))) => {
                ran.finished += 1;
                ran.harness_faults += usize::from(record.outcome.retryable());
                ran.failed_fast |= settings.fail_fast && record.outcome != Outcome::Resolved;
                journal.write(Event::TrialFinished { record });
            }
            Some((task, Ended::Skipped(reason))) => {
                ran.skipped += 1;
                if skipped.insert(task.clone()) {
                    let before = queue.len();
                    queue.retain(|ready| ready.id.task != task);
                    ran.skipped += before - queue.len();
                    journal.write(Event::TaskSkipped { task, reason });
                }
            }
            Some((_, Ended::Interrupted)) | None => {}
        }
    }
}

/// The index of the trial to start, its reservation taken.
fn next(
    queue: &VecDeque<Ready>,
    admits: impl Fn(&Ready) -> bool,
    held: &mut Reservations,
    passed: usize,
) -> Option<usize> {
    let round = queue.front()?.id.attempt;
    let reach = if passed < PATIENCE { LOOK_AHEAD } else { 1 };
    let candidates = queue.iter().take(reach).take_while(|ready| ready.id.attempt == round);
    let mut fits = |ready: &Ready| admits(ready) && held.take(&ready.task.environment.limits);
    candidates.enumerate().find(|(_, ready)| fits(ready)).map(|(at, _)| at)
}
