//! From what was typed to tasks, and from tasks to trials.

use std::collections::BTreeMap;
use std::sync::Arc;

use harness_core::manifest::InvalidTask;
use harness_core::plan::Planned;
use harness_core::{Task, TaskId};
use harness_engine::Cell;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::printer;

/// What was asked for.
pub struct Asked {
    /// Catalog names, files, folders, `FORMAT:PATH`.
    pub sources: Vec<String>,
    /// `--filter`.
    pub filter: Option<String>,
    /// `--limit`.
    pub limit: Option<usize>,
    /// `--env-pass`.
    pub env_pass: Vec<String>,
    /// `--keep-going`.
    pub keep_going: bool,
}

/// What was found.
pub struct Found {
    /// Name of the suite.
    pub name: String,
    /// The tasks.
    pub tasks: Vec<Task>,
    /// What could not be read.
    pub invalid: Vec<InvalidTask>,
}
