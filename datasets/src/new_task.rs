//! `harness new task`: a task's skeleton to fill in, commented where a newcomer will wonder.
//!
//! Without a repository it is a small whole task that passes every check, to be changed piece by piece; with one, the
//! repository as it was at one commit and blanks marked FILL IN.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use harness_core::{IdError, TaskId};

mod repo;

pub use repo::{RepoAt, RepoError};

/// What the skeleton shall hold.
#[derive(Debug, Clone, Default)]
pub struct NewTask {
    /// A repository whose state at one commit is what the agent finds.
    pub repo: Option<RepoAt>,
}

/// Why no skeleton was written. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum NewTaskError {
    /// The folder's name cannot be a task's id.
    #[error("{name:?} cannot be a task's id, and its folder's name is its id: {source}")]
    Name {
        /// The folder's name.
        name: String,
        /// The rule that it breaks.
        source: IdError,
    },
    /// The folder is there and holds something.
    #[error("{0} is there already and not empty; name a folder that is not")]
    Taken(String),
    /// A file could not be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The repository could not be exported.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

/// One file of a skeleton: its path in the task, whether it is a program, its text.
struct Piece(&'static str, bool, &'static str);

macro_rules! piece {
    ($path:literal, $from:literal) => {
        Piece($path, false, include_str!(concat!("../skeleton/", $from)))
    };
    (program $path:literal, $from:literal) => {
        Piece($path, true, include_str!(concat!("../skeleton/", $from)))
    };
}

const COMMON: &[Piece] =
    &[piece!("tests/ctrf.sh", "common/ctrf.sh"), piece!("checks/README.md", "common/checks.md")];

const PLAIN: &[Piece] = &[
    piece!("instruction.md", "plain/instruction.md"),
    piece!("environment/Dockerfile", "plain/Dockerfile"),
    piece!("environment/app/greet.sh", "plain/greet.sh"),
    piece!(program "tests/test.sh", "plain/test.sh"),
    piece!(program "solution/solve.sh", "plain/solve.sh"),
    piece!(program "checks/wrong/only-the-example.sh", "plain/wrong-only-the-example.sh"),
    piece!(program "checks/wrong/name-needed.sh", "plain/wrong-name-needed.sh"),
    piece!(program "checks/wrong/unquoted.sh", "plain/wrong-unquoted.sh"),
    piece!(program "checks/right/printf.sh", "plain/right-printf.sh"),
];

const REPO: &[Piece] = &[
    piece!("instruction.md", "repo/instruction.md"),
    piece!("environment/Dockerfile", "repo/Dockerfile"),
    piece!(program "tests/test.sh", "repo/test.sh"),
    piece!(program "solution/solve.sh", "repo/solve.sh"),
];

/// Folders that wait for the author's own files.
const REPO_FOLDERS: &[&str] = &["checks/wrong", "checks/right"];

/// Writes the skeleton as a folder that must not hold anything yet, whole or not at all.
///
/// Reads and writes files and runs the host's `git` where there is a repository; give it a thread of its own.
///
/// # Errors
/// [`NewTaskError`] says what stands in the way.
pub fn new_task(dir: &Path, spec: &NewTask) -> Result<TaskId, NewTaskError> {
    let dir = std::path::absolute(dir).map_err(|source| write_error(dir, source))?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let id = TaskId::new(name.clone()).map_err(|source| NewTaskError::Name { name, source })?;
    match fs::read_dir(&dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return Err(NewTaskError::Taken(dir.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(write_error(&dir, source)),
    }
    let parent = dir.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(|source| write_error(parent, source))?;
    // Beside the folder and then renamed, so that a failure in between leaves nothing that looks like a task.
    let draft = tempfile::Builder::new()
        .prefix(".new-task-")
        .tempdir_in(parent)
        .map_err(|source| write_error(parent, source))?;
    fs::set_permissions(draft.path(), Permissions::from_mode(0o755))
        .map_err(|source| write_error(&dir, source))?;
    fill(draft.path(), &id, spec)?;
    fs::rename(draft.path(), &dir).map_err(|source| write_error(&dir, source))?;
    Ok(id)
}

fn fill(draft: &Path, id: &TaskId, spec: &NewTask) -> Result<(), NewTaskError> {
    write(draft, &Piece("task.toml", false, ""), &task_toml(id, spec.repo.is_some()))?;
    let pieces = if spec.repo.is_some() { REPO } else { PLAIN };
    for piece in COMMON.iter().chain(pieces) {
        write(draft, piece, piece.2)?;
    }
    if let Some(at) = &spec.repo {
        for folder in REPO_FOLDERS {
            let path = draft.join(folder);
            fs::create_dir_all(&path).map_err(|source| write_error(&path, source))?;
        }
        repo::export(at, &draft.join("environment/repo"))?;
    }
    Ok(())
}

fn task_toml(id: &TaskId, repo: bool) -> String {
    // Only what an organisation's task name may hold; the id itself is the folder's name.
    let name: String = id
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    let values = if repo {
        [
            ("{{description}}", "FILL IN: what the work is, in one line"),
            ("{{language}}", "other"),
            ("{{tools}}", r#"["git"]"#),
            ("{{visible_test}}", "git status --porcelain"),
            ("{{fail_to_pass}}", r#"["fill_in_what_fails_before"]"#),
            ("{{pass_to_pass}}", r#"["fill_in_what_always_passes"]"#),
        ]
    } else {
        [
            ("{{description}}", "Make a script greet people by name"),
            ("{{language}}", "shell"),
            ("{{tools}}", "[]"),
            ("{{visible_test}}", r#"test \"$(sh greet.sh World)\" = 'Hello, World!'"#),
            ("{{fail_to_pass}}", r#"["the_visible_name", "another_name", "a_name_with_blanks", "no_name"]"#),
            ("{{pass_to_pass}}", r#"["the_script_is_there"]"#),
        ]
    };
    let template = include_str!("../skeleton/task.toml").replace("{{id}}", &name);
    values.iter().fold(template, |text, (blank, value)| text.replace(blank, value))
}

fn write(draft: &Path, piece: &Piece, text: &str) -> Result<(), NewTaskError> {
    let path = draft.join(piece.0);
    let parent: PathBuf = path.parent().unwrap_or(draft).to_owned();
    fs::create_dir_all(&parent)
        .and_then(|()| fs::write(&path, text))
        .and_then(|()| {
            fs::set_permissions(&path, Permissions::from_mode(if piece.1 { 0o755 } else { 0o644 }))
        })
        .map_err(|source| write_error(&path, source))
}

fn write_error(path: &Path, source: io::Error) -> NewTaskError {
    NewTaskError::Write { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests;
