//! One piece of work from its beginning to its end: what it is given, how its time is kept, and how it is said to have ended.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use harness_core::{AgentExit, NanoUsd, Usage};
use harness_sandbox::{Sandbox, SandboxError};
use tokio::sync::watch;

use crate::Settings;
use crate::client::Model;
use crate::events::{Event, EventLog};
use crate::steps::Work;

/// How often a sign of life is written while nothing else happens.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How long cleaning up may take after the end.
const CLEANING: Duration = Duration::from_secs(8);

/// Everything that the agent is given.
pub struct Job<'a> {
    /// How it is to work.
    pub settings: &'a Settings,
    /// The model, through the gateway.
    pub model: Model,
    /// `PROVIDER/MODEL`, as the user named it.
    pub model_name: &'a str,
    /// Another model for plan, review and summaries.
    pub subtask_model: Option<Model>,
    /// What has been spent so far, where somebody counts money: `max_cost` is held against it before each request.
    pub spent: Option<&'a (dyn Fn() -> Option<NanoUsd> + Send + Sync)>,
    /// Where its tools act.
    pub sandbox: &'a dyn Sandbox,
    /// The task in natural language.
    pub instruction: &'a str,
    /// Working folder inside.
    pub workdir: &'a str,
    /// User inside; `None` means the image's own.
    pub user: Option<&'a str>,
    /// Variables for what it starts inside.
    pub env: &'a BTreeMap<String, String>,
    /// Folder inside with notes for agents.
    pub skills_dir: Option<&'a str>,
    /// A conversation that came before, as text.
    pub prior: Option<&'a str>,
    /// Where events go.
    pub log: &'a EventLog,
    /// How long it has.
    pub time: Duration,
    /// Becomes true when it is to stop at once.
    pub cancel: Option<watch::Receiver<bool>>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How.
    pub exit: AgentExit,
    /// In a sentence.
    pub reason: String,
    /// Its own count of tokens, from what providers reported.
    pub usage: Usage,
    /// Answers that led to something.
    pub steps: u64,
    /// Paths out of bounds that were tried.
    pub violations: u64,
}

/// What ended it that was nobody's doing in here.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The model's provider, after the gateway has waited and tried again.
    #[error("{0}")]
    Upstream(String),
    /// The disk that events are written to.
    #[error("events cannot be written: {0}")]
    Log(#[source] io::Error),
}

/// Why no more steps are taken.
#[derive(Debug)]
pub(crate) enum Halt {
    End(AgentExit, String),
    Fault(Fault),
    /// The conversation does not fit; the caller may make it shorter.
    Overflow(String),
    /// The answer was too long to be read.
    TooLarge,
}

impl From<SandboxError> for Halt {
    fn from(error: SandboxError) -> Halt {
        Halt::Fault(Fault::Sandbox(error))
    }
}

/// What is being waited for.
pub(crate) struct Waiting(Mutex<(&'static str, Instant)>);

impl Waiting {
    pub(crate) fn new() -> Waiting {
        Waiting(Mutex::new(("the beginning", Instant::now())))
    }

    pub(crate) fn now_for(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (what, Instant::now());
    }

    fn what(&self) -> (&'static str, Duration) {
        let (what, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (what, since.elapsed())
    }
}

/// Works until the task is handed in or given up, a budget is spent, or the time is over. What the work leaves in the sandbox
/// stays, services in the background included; shells are ended.
///
/// # Errors
/// [`Fault`]: what was not the agent's doing. Its spend so far is in the events.
pub async fn work(job: Job<'_>) -> Result<Report, Fault> {
    let (time, over) = match job.settings.max_duration {
        Some(own) if own < job.time => (own, format!("max_duration of {} s is over", own.as_secs_f64())),
        _ => (job.time, format!("its time of {} s is over", job.time.as_secs_f64())),
    };
    let deadline = Instant::now() + time;
    let waiting = Waiting::new();
    let mut work = Work::new(&job, &waiting, deadline);
    let mut cancel = job.cancel.clone();
    let cancelled = async {
        match &mut cancel {
            Some(cancel) => {
                // Whoever would cancel is gone: nobody will.
                if cancel.wait_for(|cancelled| *cancelled).await.is_err() {
                    std::future::pending().await
                }
            }
            None => std::future::pending().await,
        }
    };
    let heartbeats = async {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            let (what, since) = waiting.what();
            let for_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            job.log.write(Event::Heartbeat { waiting_for: what.to_owned(), for_ms });
        }
    };
    // The time first: a command that its end cut must not lead to one more request on a machine where both are seen late.
    let halt = tokio::select! {
        biased;
        () = tokio::time::sleep_until(deadline.into()) => Halt::End(AgentExit::TimedOut, over),
        halt = work.run() => halt,
        () = cancelled => Halt::End(AgentExit::Cancelled, "it was told to stop".to_owned()),
        () = heartbeats => unreachable!("heartbeats never end"),
    };
    let halt = match tokio::time::timeout(CLEANING, work.leave()).await {
        Ok(Ok(())) => halt,
        // What was taken out of sight could not be put back: nothing here can be judged.
        Ok(Err(error)) => Halt::Fault(Fault::Sandbox(error)),
        Err(_) if work.hides_something() => Halt::Fault(Fault::Sandbox(SandboxError::Lost {
            cause: "it did not end its work in time".to_owned(),
        })),
        Err(_) => halt,
    };
    let (exit, reason) = match halt {
        Halt::End(exit, reason) => (exit, reason),
        Halt::Overflow(message) => (AgentExit::GaveUp, message),
        Halt::TooLarge => (AgentExit::GaveUp, "the model's answers are too long to be read".to_owned()),
        Halt::Fault(fault) => {
            let ended = work.ended(AgentExit::Crashed, fault.to_string());
            job.log.write(ended);
            return Err(fault);
        }
    };
    job.log.write(work.ended(exit, reason.clone()));
    if let Some(error) = job.log.failed() {
        return Err(Fault::Log(error));
    }
    Ok(work.report(exit, reason))
}
