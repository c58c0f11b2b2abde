//! What the agent left: collect hooks, and its change as a diff.

use harness_core::task::Collect;
use harness_core::{DiffStat, Step};
use harness_sandbox::{Change, ChangeKind, ExecSpec, FileType, ProcessSpec, Sandbox, SandboxError, ViewSpec};

use super::attempt::{Attempt, Setting, Stop};
use super::diff::Diff;

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
