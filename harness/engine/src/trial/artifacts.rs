//! Files that are taken out of the sandbox after the agent ended, and carried into a separate verifier.

use std::path::{Component, Path, PathBuf};

use harness_core::{Severity, Step};
use harness_sandbox::{Change, FileType, GetOptions, Place, PutOptions, Sandbox, SandboxError, Source};
use serde_json::json;

use super::attempt::Attempt;
use super::stop::Stop;
use crate::agents::TRAJECTORY;

/// Everything here crosses, declared or not.
const ALWAYS: &str = "/logs/artifacts";
/// Most bytes and entries of one artifact.
const MAX_BYTES: u64 = 2 << 30;
const MAX_ENTRIES: u64 = 100_000;
/// Most bytes of a trajectory.
const MAX_TRAJECTORY: u64 = 64 << 20;

/// Takes the declared artifacts and everything in `/logs/artifacts` into the trial's folder, with a manifest.
/// One that was never made is a mark in the manifest, not an error.
///
/// `changes` says whether there is anything in `/logs/artifacts`: making folders to find out that there is not costs more than
/// everything else that is written for a short trial.
pub(super) async fn take(
    attempt: &mut Attempt,
    sandbox: &dyn Sandbox,
    step: &Step,
    changes: Option<&[Change]>,
) -> Result<(), Stop> {
    let task = attempt.context.task.clone();
    let root = attempt.context.dir.join("artifacts");
    let declared = task.artifacts.iter().chain(&step.artifacts);
    let always =
        harness_core::task::Artifact { source: ALWAYS.into(), destination: None, exclude: Vec::new() };
    let mut entries = Vec::new();
    let always = changes.is_none_or(|changes| changes.iter().any(within_always)).then_some(&always);
    for artifact in declared.chain(always) {
        let place = artifact.destination.as_deref().unwrap_or(&artifact.source);
        let Some(to) = below(&root, place) else {
            entries.push(json!({"source": artifact.source, "status": "refused", "message": "its destination leads outside"}));
            continue;
        };
        let options =
            GetOptions { limit: MAX_BYTES, max_entries: MAX_ENTRIES, exclude: artifact.exclude.clone() };
        let status = match get(sandbox, &artifact.source, &to, options).await {
            Ok(()) => json!("ok"),
            Err(SandboxError::Inside { .. }) => json!("missing"),
            Err(error @ SandboxError::TooLarge { .. }) => {
                attempt.note(
                    "artifact_too_large",
                    Severity::Warning,
                    format!("{}: {error}", artifact.source),
                );
                json!("too_large")
            }
            Err(error) => return Err(error.into()),
        };
        if artifact.source != ALWAYS || status == json!("ok") {
            entries.push(json!({"source": artifact.source, "destination": place, "status": status}));
        }
    }
    let nothing = entries.iter().all(|entry| entry["source"] == ALWAYS);
    if nothing && std::fs::remove_dir(root.join("logs/artifacts")).is_ok() {
        // An empty folder that nobody asked for is no artifact.
        let _removed = std::fs::remove_dir(root.join("logs")).and_then(|()| std::fs::remove_dir(&root));
        return Ok(());
    }
    if entries.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_vec_pretty(&json!({ "artifacts": entries })).expect("plain data");
    write(&root, "manifest.json", &text)
}

/// Keeps the agent's own trajectory, where it left one: what it says of itself, read by nobody here.
pub(super) async fn trajectory(
    attempt: &mut Attempt,
    sandbox: &dyn Sandbox,
    step: &Step,
    changes: Option<&[Change]>,
) -> Result<(), Stop> {
    if changes.is_some_and(|all| all.binary_search_by(|one| (*one.path).cmp(TRAJECTORY.as_bytes())).is_err())
    {
        return Ok(());
    }
    let text = match sandbox.read(TRAJECTORY, MAX_TRAJECTORY).await {
        Ok(Some(text)) => text,
        Ok(None) | Err(SandboxError::Inside { .. }) => return Ok(()),
        Err(error @ SandboxError::TooLarge { .. }) => {
            attempt.note("artifact_too_large", Severity::Warning, format!("{TRAJECTORY}: {error}"));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let name = match &step.name {
        Some(step) => {
            let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
            format!("trajectory-{}.json", step.chars().map(plain).collect::<String>())
        }
        None => "trajectory.json".to_owned(),
    };
    write(&attempt.context.dir, &name, &text)
}

/// Something in the folder, or something else in its place.
fn within_always(change: &Change) -> bool {
    let replaced = change.file_type != Some(FileType::Folder);
    let rest = change.path.strip_prefix(ALWAYS.as_bytes());
    rest.is_some_and(|rest| rest.starts_with(b"/") || (rest.is_empty() && replaced))
}

async fn get(sandbox: &dyn Sandbox, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
    let parent = to.parent().expect("an artifact lies below the trial's folder");
    std::fs::create_dir_all(parent)
        .map_err(|e| SandboxError::host(format!("cannot make {}", parent.display()), e))?;
    if to.exists() {
        // A later step takes the same path again; its own state is the one that counts.
        let removed = if to.is_dir() { std::fs::remove_dir_all(to) } else { std::fs::remove_file(to) };
        removed.map_err(|e| SandboxError::host(format!("cannot replace {}", to.display()), e))?;
    }
    sandbox.get(from, to, options).await
}

/// Puts what was taken where it came from, in a fresh place.
pub(super) async fn carry(attempt: &Attempt, place: &dyn Place, step: &Step) -> Result<(), Stop> {
    let root = attempt.context.dir.join("artifacts");
    let task = attempt.context.task.clone();
    let declared = task.artifacts.iter().chain(&step.artifacts);
    let sources = declared.map(|a| (a.source.as_str(), a.destination.as_deref().unwrap_or(&a.source)));
    for (source, destination) in sources.chain([(ALWAYS, ALWAYS)]) {
        let Some(host) = below(&root, destination) else { continue };
        let Ok(kind) = std::fs::symlink_metadata(&host) else { continue };
        let what = if kind.is_dir() { Source::Folder(host) } else { Source::File(host) };
        place.put(source, what, PutOptions::default()).await?;
    }
    Ok(())
}

/// The path below a folder, or nothing when it would leave it.
fn below(root: &Path, path: &str) -> Option<PathBuf> {
    let mut joined = root.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => joined.push(name),
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (joined != root).then_some(joined)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Stop> {
    let file = folder.join(name);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&file, bytes))
        .map_err(|e| SandboxError::host(format!("cannot write {}", file.display()), e).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_never_leave_their_folder() {
        let root = Path::new("/run/artifacts");
        assert_eq!(below(root, "/logs/x"), Some("/run/artifacts/logs/x".into()));
        assert_eq!(below(root, "../x"), None);
        assert_eq!(below(root, "/a/../../x"), None);
        assert_eq!(below(root, "/"), None);
    }
}
