//! How a trial ended, and whose doing it was. A trial that we or the task broke is never counted against the agent.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The phases of a trial, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Environment ready, sandbox started, files in place, healthy.
    Prepare,
    /// The agent works.
    Solve,
    /// What the agent left is fixed: processes ended where they must, changes and artifacts taken.
    Capture,
    /// The task's tests judge it.
    Verify,
    /// The sandbox goes away. Always.
    Teardown,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Phase; 5] =
        [Phase::Prepare, Phase::Solve, Phase::Capture, Phase::Verify, Phase::Teardown];

    /// The phase's name, as in every file that we write.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Prepare => "prepare",
            Phase::Solve => "solve",
            Phase::Capture => "capture",
            Phase::Verify => "verify",
            Phase::Teardown => "teardown",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who stopped a trial that has no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The agent: a failure of its own that left nothing to judge.
    Agent,
    /// Us: sandbox, disk, engine, network. Retried, and never scored.
    Harness,
    /// The task: its environment does not build, or its tests give no verdict even when nobody touched anything.
    Task,
}

impl Blame {
    /// The name, as in every file that we write.
    pub fn name(self) -> &'static str {
        match self {
            Blame::Agent => "agent",
            Blame::Harness => "harness",
            Blame::Task => "task",
        }
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The verdict of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The tests passed.
    Resolved,
    /// The tests judged, and did not all pass.
    Unresolved {
        /// In a sentence: what failed, or how the agent lost its verdict.
        reason: String,
    },
    /// There is no verdict.
    Stopped {
        /// Where it stopped.
        phase: Phase,
        /// Whose doing it was.
        blame: Blame,
        /// In a sentence.
        reason: String,
    },
}

impl Outcome {
    /// `resolved`, `unresolved` or `stopped`.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Resolved => "resolved",
            Outcome::Unresolved { .. } => "unresolved",
            Outcome::Stopped { .. } => "stopped",
        }
    }

    /// The sentence that goes with it, where there is one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Outcome::Resolved => None,
            Outcome::Unresolved { reason } | Outcome::Stopped { reason, .. } => Some(reason),
        }
    }

    /// Whether the trial counts in rates: it has a verdict, or it has none by the agent's own doing.
    pub fn counts(&self) -> bool {
        !matches!(self, Outcome::Stopped { blame: Blame::Harness | Blame::Task, .. })
    }

    /// Whether trying again could give a verdict: only what we broke.
    pub fn retryable(&self) -> bool {
        matches!(self, Outcome::Stopped { blame: Blame::Harness, .. })
    }
}

/// How the agent itself ended: a fact beside the outcome, never a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentExit {
    /// It said that it was done.
    Finished,
    /// It said that it could not go on.
    GaveUp,
    /// Its time was over.
    TimedOut,
    /// Its tokens or money were used up.
    Budget,
    /// It died, or ended with a failure status.
    Crashed,
    /// The run was interrupted while it worked.
    Cancelled,
}

impl AgentExit {
    /// The name, as in every file that we write.
    pub fn name(self) -> &'static str {
        match self {
            AgentExit::Finished => "finished",
            AgentExit::GaveUp => "gave_up",
            AgentExit::TimedOut => "timed_out",
            AgentExit::Budget => "budget",
            AgentExit::Crashed => "crashed",
            AgentExit::Cancelled => "cancelled",
        }
    }
}
