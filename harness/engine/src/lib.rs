//! From a plan to a journal: schedules trials, carries each through its phases, and writes down what happened.
//!
//! The engine knows sandboxes, agents and verdicts; it knows no dataset format, no report and no terminal.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agents;
pub mod cancel;
mod environments;
pub mod history;
mod ignore;
mod installed;
pub mod journal_writer;
pub mod machine;
pub mod models;
pub mod run;
pub mod run_dir;
pub mod scheduler;
pub mod tools;
pub mod trial;

pub use cancel::{Cancel, Stage};
pub use models::{Halt, ModelAccess, ModelsSpec, Route};
pub use run::{Cell, EngineError, RunEnd, RunSettings, RunSpec, execute};
pub use run_dir::{RunDir, RunDirError};
