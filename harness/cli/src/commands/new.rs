//! `harness new task`: a task's skeleton to fill in.

use std::path::{Path, PathBuf};

use datasets::new_task::{self, NewTask, RepoAt};

use crate::exit::{Exit, Failure};
use crate::printer;

/// Writes the skeleton and says what comes next.
pub fn task(dir: &Path, repo: Option<PathBuf>, commit: Option<String>) -> Result<Exit, Failure> {
    let blanks = repo.is_some();
    let repo = repo.zip(commit).map(|(path, commit)| RepoAt { path, commit, depth: 1 });
    let options = NewTask { repo };
    new_task::new_task(dir, &options).map_err(|error| Failure::of(Exit::Invalid, &error))?;
    let dir = dir.display().to_string();
    // Around a repository only its author knows what the task is; without one, a small task works as it is.
    let (what, next) = if blanks {
        ("", "fill in the places marked FILL IN, then prove it with")
    } else {
        (", a small task that works as it is", "put yours in its place piece by piece, and prove it with")
    };
    printer::say(&format!("wrote {dir}{what}"));
    printer::say(&format!("next: {next}"));
    printer::say(&format!("  harness check suite {}", printer::quoted(&dir)));
    Ok(Exit::Completed)
}
