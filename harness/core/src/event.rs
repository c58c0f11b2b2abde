//! Facts about a run, in the order in which they became true. The journal, the live view and `--format json` are
//! folds over them; nothing else tells anybody anything.

use serde::{Deserialize, Serialize};

use crate::{Phase, TrialId, TrialRecord, TryRecord};

/// One fact.
#[allow(clippy::large_enum_variant, reason = "events are few, and gone as soon as they are written")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A process began to work on the run; more than one means that it was resumed.
    RunStarted {
        /// Process id, for people.
        pid: u32,
        /// Trials in the plan.
        planned: usize,
        /// Of these, already finished by earlier processes.
        finished: usize,
    },
    /// A task left the plan because a program that it needs is missing inside.
    TaskSkipped {
        /// Which task.
        task: crate::TaskId,
        /// Why.
        reason: String,
    },
    /// A trial was admitted.
    TrialStarted {
        /// Which trial.
        #[serde(flatten)]
        id: TrialId,
        /// Which try, from 1.
        number: u32,
    },
    /// A trial entered a phase.
    PhaseEntered {
        /// Which trial.
        #[serde(flatten)]
        id: TrialId,
        /// Which phase.
        phase: Phase,
    },
    /// An agent is at work: now and then, and when it falls silent or is heard of again.
    Heartbeat {
        /// Which trial.
        #[serde(flatten)]
        id: TrialId,
        /// How long it has worked on its step, milliseconds.
        working_ms: u64,
        /// For how long there has been neither output nor traffic with a model, milliseconds.
        silent_ms: u64,
        /// Whether that is so long that it looks stalled.
        stalled: bool,
    },
    /// A try ended without a verdict by our fault and will be followed by another.
    TryFailed {
        /// Which trial.
        #[serde(flatten)]
        id: TrialId,
        /// What happened in it.
        record: TryRecord,
    },
    /// A trial ended. Exactly one for each.
    TrialFinished {
        /// What happened.
        record: Box<TrialRecord>,
    },
    /// A model was asked for a few tokens, to see that it can be.
    ModelChecked {
        /// `PROVIDER/MODEL`.
        model: String,
        /// What that used.
        usage: crate::Usage,
        /// What it cost; `None` when unknown.
        cost: Option<crate::NanoUsd>,
    },
    /// What the run has spent on models so far, for watchers.
    Spent {
        /// Nano-dollars that are known; those of scripts included.
        nano_usd: u64,
        /// Tokens.
        tokens: u64,
        /// The run's limit in nano-dollars, where it has one.
        limit_nano_usd: Option<u64>,
        /// The run's limit in tokens, where it has one.
        limit_tokens: Option<u64>,
        /// Whether all of it was a script's: no money was spent.
        simulated: bool,
    },
    /// Something that people should know and that changes no result.
    Warning {
        /// In a sentence.
        message: String,
    },
    /// The process ended in order.
    RunEnded {
        /// Whether all planned trials are finished.
        complete: bool,
        /// Why not, where it is not.
        reason: Option<String>,
    },
}

impl Event {
    /// Whether the journal keeps it. Phases and spending are for watchers only: they cost
    /// a write and say nothing that the record and the ledger do not.
    pub fn journaled(&self) -> bool {
        !matches!(self, Event::PhaseEntered { .. } | Event::Spent { .. })
    }
}
