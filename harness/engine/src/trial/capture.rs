//! What the agent left: collect hooks, and its change as a diff.

use harness_core::task::Collect;
use harness_core::{DiffStat, Step};
use harness_sandbox::{
    Change, ChangeKind, ExecSpec, FileType, GetOptions, Place, ProcessSpec, Sandbox, SandboxError, ViewSpec,
};

use super::attempt::Attempt;
use super::diff::Diff;
use super::ready::Setting;
use super::stop::Stop;

/// Most changed paths that are looked at.
pub(super) const MAX_CHANGES: usize = 100_000;
/// Most files in a diff, and the most bytes of one.
const MAX_FILES: usize = 2_000;
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Runs the step's collect hooks. One that fails or hangs does not end the trial.
pub(super) async fn collect(sandbox: &dyn Sandbox, step: &Step, place: &Setting) -> Result<(), SandboxError> {
    for Collect { command, user, timeout } in &step.verifier.collect {
        let process = ProcessSpec {
            user: user.clone(),
            deadline: Some(*timeout),
            env: place.env.clone(),
            cwd: Some(place.workdir.clone()),
            ..ProcessSpec::shell(command)
        };
        match sandbox.exec(ExecSpec::new(process)).await {
            Ok(_) | Err(SandboxError::Inside { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes `patch.diff`: the agent's change below the working folder, as a unified diff against the environment's own files.
pub(super) async fn patch(
    attempt: &mut Attempt,
    sandbox: &dyn Sandbox,
    changes: &[Change],
    workdir: &str,
) -> Result<Option<DiffStat>, Stop> {
    let prefix = format!("{}/", workdir.trim_end_matches('/'));
    let mine: Vec<(&Change, &str)> = changes
        .iter()
        .filter(|change| change.file_type != Some(FileType::Folder))
        .filter_map(|change| Some((change, std::str::from_utf8(&change.path).ok()?.strip_prefix(&prefix)?)))
        .filter(|(_, path)| !generated(path))
        .take(MAX_FILES)
        .collect();
    let was: Vec<String> = mine
        .iter()
        .filter(|(change, _)| change.kind != ChangeKind::Added)
        .map(|(_, path)| format!("{prefix}{path}"))
        .collect();
    // The old content is read through a view that has the environment's own files again.
    let before = if was.is_empty() {
        None
    } else {
        Some(sandbox.view(ViewSpec { restore: was, ..ViewSpec::default() }).await?)
    };
    let mut diff = Diff::default();
    for (change, path) in &mine {
        let full = format!("{prefix}{path}");
        let limit = MAX_FILE_BYTES;
        let old = match (&before, change.kind) {
            (Some(view), ChangeKind::Modified | ChangeKind::Deleted) => view.read(&full, limit).await,
            _ => Ok(None),
        };
        let new =
            if change.kind == ChangeKind::Deleted { Ok(None) } else { sandbox.read(&full, limit).await };
        if let (Some(view), ChangeKind::Deleted, Ok(None)) = (&before, change.kind, &old) {
            // A folder that is gone is one change; the files that were in it are what a reviewer sees go.
            for (below, content) in folder(&**view, &full).await? {
                diff.file(&format!("{path}/{below}"), Some(&content), None);
            }
            continue;
        }
        match (old, new) {
            (Ok(old), Ok(new)) => diff.file(path, old.as_deref(), new.as_deref()),
            (Err(SandboxError::TooLarge { .. } | SandboxError::Inside { .. }), _)
            | (_, Err(SandboxError::TooLarge { .. } | SandboxError::Inside { .. })) => diff.opaque(path),
            (Err(error), _) | (_, Err(error)) => return Err(error.into()),
        }
    }
    let file = attempt.context.dir.join("patch.diff");
    std::fs::write(&file, &diff.text)
        .map_err(|source| SandboxError::host(format!("cannot write {}", file.display()), source))?;
    Ok(Some(diff.stat))
}

/// The regular files of a folder of the environment's own, by their path in it. What is too much is left out: the diff then
/// counts less than was removed, never more.
async fn folder(view: &dyn Place, path: &str) -> Result<Vec<(String, Vec<u8>)>, Stop> {
    let host = |source| SandboxError::host("read what was removed", source);
    let temporary = tempfile::tempdir().map_err(host)?;
    let root = temporary.path().join("was");
    let options = GetOptions { limit: 64 << 20, max_entries: MAX_FILES as u64, exclude: Vec::new() };
    match view.get(path, &root, options).await {
        Ok(()) => {}
        Err(SandboxError::TooLarge { .. } | SandboxError::Inside { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).map_err(host)? {
            let entry = entry.map_err(host)?;
            let kind = entry.file_type().map_err(host)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let file = entry.path();
                let below = file.strip_prefix(&root).ok().and_then(|below| below.to_str());
                if let Some(below) = below.filter(|below| !generated(below)) {
                    found.push((below.to_owned(), std::fs::read(&file).map_err(host)?));
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What tools leave behind while they work: no part of a change that anyone would review.
fn generated(path: &str) -> bool {
    let folders = [
        ".git",
        "__pycache__",
        "node_modules",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        "target",
        ".tox",
        ".venv",
        ".cache",
    ];
    path.split('/').any(|part| folders.contains(&part)) || path.ends_with(".pyc") || path.ends_with(".o")
}
