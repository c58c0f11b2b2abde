//! `harness new task`: a task's skeleton to fill in.

use std::path::{Path, PathBuf};

use datasets::new_task::{self, NewTask, RepoAt};

use crate::exit::{Exit, Failure};
use crate::printer;

/// Writes the skeleton and says what comes next.
pub fn task(dir: &Path, repo: Option<PathBuf>, commit: Option<String>) -> Result<Exit, Failure> {
    let repo = repo.zip(commit).map(|(path, commit)| RepoAt { path, commit, depth: 1 });
    let options = NewTask { repo };
    new_task::new_task(dir, &options).map_err(|error| Failure::of(Exit::Invalid, &error))?;
    printer::say(&format!("wrote {}", dir.display()));
    printer::say("next: fill in the places marked FILL IN, then prove it with");
    printer::say(&format!("  harness check suite {}", dir.display()));
    Ok(Exit::Completed)
}
