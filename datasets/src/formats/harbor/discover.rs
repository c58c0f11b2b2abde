//! Which folders below a path are tasks, which would be tasks and are broken, and which are neither.

use std::fs;
use std::path::{Path, PathBuf};

use crate::load::LoadError;
use crate::problem::Problem;

/// A folder that is, or was meant to be, one task.
pub(super) struct Candidate {
    /// The folder as the user would write it.
    pub(super) folder: PathBuf,
    /// Why it is no task, when that shows before reading it.
    pub(super) problem: Option<Problem>,
}

/// Everything found below a path.
pub(super) struct Found {
    /// The path's own name: the dataset's, unless the user gave another.
    pub(super) name: String,
    pub(super) folders: Vec<Candidate>,
    pub(super) warnings: Vec<Problem>,
}

/// How many folders may lie between the path and its tasks.
const MAX_GROUPS: usize = 2;
/// More folders than any dataset has.
const MAX_FOLDERS: usize = 200_000;

/// Whether anything at the path looks like a task of this format.
pub(super) fn any(path: &Path) -> bool {
    discover(path).is_ok()
}

/// Finds the tasks: the path itself, or the folders in it, up to two groups deep. Hidden folders are passed over.
pub(super) fn discover(path: &Path) -> Result<Found, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.display().to_string(), source };
    let real = fs::canonicalize(path).map_err(unreadable)?;
    let mut found = Found { name: dataset_name(&real), folders: Vec::new(), warnings: Vec::new() };
    if has(&real, "task.toml") {
        // One task alone belongs to the dataset that its folder lies in.
        found.name = dataset_name(real.parent().unwrap_or(&real));
        // The real folder, so that `.` has a name too; a link that the user typed is the user's.
        let folder = if path.file_name().is_some() && !path.is_symlink() { path.to_owned() } else { real };
        found.folders.push(Candidate { folder, problem: None });
        return Ok(found);
    }
    if has(&real, "instruction.md") {
        found.folders.push(without_toml(path.to_owned()));
        return Ok(found);
    }
    let mut budget = MAX_FOLDERS;
    scan(path, 0, &mut budget, &mut found).map_err(unreadable)?;
    if found.folders.is_empty() && looks_like_task(&real) {
        found.folders.push(without_toml(path.to_owned()));
    }
    if found.folders.is_empty() {
        let hint = "a task's folder holds task.toml, instruction.md, environment/ and tests/".to_owned();
        return Err(LoadError::NothingFound { path: path.display().to_string(), hint });
    }
    found.folders.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(found)
}

/// A folder's name; the next one up where it is merely called "tasks".
fn dataset_name(folder: &Path) -> String {
    let names = folder.iter().rev().filter_map(|name| name.to_str());
    names.filter(|name| *name != "/").find(|name| *name != "tasks").unwrap_or("tasks").to_owned()
}

fn scan(folder: &Path, depth: usize, budget: &mut usize, found: &mut Found) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if kind.is_symlink() {
            if has(&path, "task.toml") {
                let problem = Problem::new(&path, "is a link to a task's folder, and links are not followed")
                    .hint("name the folder itself, or list it among the sources of a suite file");
                found.folders.push(Candidate { folder: path, problem: Some(problem) });
            }
            continue;
        }
        if !kind.is_dir() {
            continue;
        }
        *budget = budget.checked_sub(1).ok_or_else(|| {
            std::io::Error::other(format!(
                "there are more than {MAX_FOLDERS} folders; name the one with the tasks"
            ))
        })?;
        if has(&path, "task.toml") {
            found.folders.push(Candidate { folder: path, problem: None });
            continue;
        }
        if has(&path, "instruction.md") {
            found.folders.push(without_toml(path));
            continue;
        }
        // A folder of a project may be called like one of a task and hold tasks further down: that decides.
        let before = found.folders.len();
        if depth < MAX_GROUPS
            && let Err(error) = scan(&path, depth + 1, budget, found)
        {
            let problem = Some(Problem::new(&path, format!("cannot be read: {error}")));
            found.folders.push(Candidate { folder: path, problem });
        } else if found.folders.len() == before && looks_like_task(&path) {
            found.folders.push(without_toml(path));
        }
    }
    Ok(())
}

fn without_toml(folder: PathBuf) -> Candidate {
    let file = folder.join("task.toml");
    let problem = if has(&folder, "task.yaml") {
        Problem::new(
            folder.join("task.yaml"),
            "is a task of the first Terminal-Bench, which cannot be read yet",
        )
        .hint("convert it to Harbor's format, whose settings stand in task.toml")
    } else {
        Problem::new(file, "is missing, though the folder holds other files of a task")
            .hint("`harness new task` writes a commented one to copy")
    };
    Candidate { folder, problem: Some(problem) }
}

/// Whether a folder without task.toml was meant to be a task.
fn looks_like_task(folder: &Path) -> bool {
    ["instruction.md", "task.yaml", "environment/Dockerfile", "tests/test.sh", "solution/solve.sh"]
        .iter()
        .any(|name| has(folder, name))
}

/// Whether a name is there at all, a dangling link included.
fn has(folder: &Path, name: &str) -> bool {
    fs::symlink_metadata(folder.join(name)).is_ok()
}
