//! The values that every other crate speaks in: ids, tasks, trials, usage, money, events and the journal.
//!
//! Nothing here waits, reads a clock, opens a socket, draws on a terminal or holds a data frame; a test in this
//! crate keeps it so. Times come in as arguments, and files as bytes.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod connection;
pub mod digest;
pub mod environment;
pub mod event;
pub mod id;
pub mod journal;
pub mod manifest;
pub mod money;
pub mod outcome;
pub mod plan;
pub mod record;
pub mod task;
pub mod tier;
pub mod usage;
pub mod variant;

pub use connection::{Connection, ConnectionResult, Connections};
pub use digest::Digest;
pub use environment::{EnvironmentSource, EnvironmentSpec, Healthcheck, Limits, NetworkMode};
pub use event::Event;
pub use id::{IdError, RunId, TaskId, TrialId, VariantName};
pub use money::NanoUsd;
pub use outcome::{AgentExit, Blame, Outcome, Phase};
pub use record::{DiffStat, Durations, Finding, SelfReport, Severity, TestCounts, TrialRecord, TryRecord};
pub use task::{Step, Task};
pub use tier::Tier;
pub use usage::{Usage, UsageSource};
pub use variant::Variant;
