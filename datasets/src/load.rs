//! What goes into reading a dataset and what comes out of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use harness_core::Task;

use crate::problem::{InvalidTask, Problem};
use crate::tree::TreeLimits;

/// How to read a dataset.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The host's environment variables that the user named (`--env-pass NAME`); tasks can read no others.
    pub host_vars: BTreeMap<String, String>,
    /// How much one task's folder may hold.
    pub limits: TreeLimits,
    /// Name of the dataset; `None` takes the folder's name.
    pub dataset: Option<String>,
}

/// A dataset that was read. Every task of it is in `tasks` or in `invalid`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The tasks, sorted by id; no two have the same.
    pub tasks: Vec<Task>,
    /// Those that could not be read, sorted by id and folder.
    pub invalid: Vec<InvalidTask>,
    /// What somebody should look at, and what changes nothing.
    pub warnings: Vec<Problem>,
}

/// Why a dataset could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is nothing at the path, or it cannot be opened.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// As given.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No format knows it.
    #[error("{path}: no task was found here ({hint})")]
    NothingFound {
        /// As given.
        path: String,
        /// What would have been one.
        hint: String,
    },
    /// `FORMAT:` names none.
    #[error("there is no dataset format {name:?} ({hint})")]
    UnknownFormat {
        /// As typed.
        name: String,
        /// The nearest, or all.
        hint: String,
    },
}

impl Loaded {
    /// Sorts, and turns tasks that share an id into invalid ones that name each other.
    pub fn settle(&mut self) {
        let mut by_id: BTreeMap<_, Vec<Task>> = BTreeMap::new();
        for task in self.tasks.drain(..) {
            by_id.entry(task.id.clone()).or_default().push(task);
        }
        for (id, mut tasks) in by_id {
            if tasks.len() == 1 {
                self.tasks.append(&mut tasks);
                continue;
            }
            let origins: Vec<PathBuf> = tasks.iter().map(|task| task.origin.clone()).collect();
            for (at, task) in tasks.into_iter().enumerate() {
                let other = &origins[if at == 0 { 1 } else { 0 }];
                let message =
                    format!("two tasks have the id {:?}, the other is {}", id.as_str(), other.display());
                let problem = Problem::new(&task.origin, message).hint("rename one of the folders");
                self.invalid.push(InvalidTask {
                    id: id.to_string(),
                    origin: task.origin,
                    dataset: task.dataset,
                    traits: Some(task.traits),
                    problems: vec![problem],
                });
            }
        }
        self.invalid.sort_by(|a, b| (&a.id, &a.origin).cmp(&(&b.id, &b.origin)));
    }
}
