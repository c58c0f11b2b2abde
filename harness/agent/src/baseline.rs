//! The working folder as it was at the beginning, kept on the host: what changes are compared with, and what they are undone
//! from. Rules for paths are kept by it, because no shell can be asked to keep them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness_sandbox::{
    ChangeKind, ExecSpec, FileType, GetOptions, OutputSpec, ProcessSpec, PutOptions, Sandbox, SandboxError,
    Source, Stdin,
};

use crate::paths::PathRules;

/// Most bytes of the copy.
const MAX_BYTES: u64 = 512 << 20;
/// Most entries of the copy.
const MAX_ENTRIES: u64 = 100_000;
/// Most changed paths that are looked at.
const MAX_CHANGES: usize = 100_000;
/// Longest list of paths that are gone.
const MAX_LIST: usize = 8 << 20;
/// Longest diff that a reviewer gets.
const MAX_DIFF: usize = 60 << 10;
/// Largest file that is in a diff.
const MAX_DIFFED: u64 = 1 << 20;
/// Folders whose content nobody reviews.
const UNREVIEWED: &[&str] = &[".git", "node_modules", "target", "__pycache__", ".venv"];

/// The copy.
pub(crate) struct Baseline {
    folder: tempfile::TempDir,
    /// Top-most paths that were taken out of sight, from the root.
    hidden: BTreeSet<String>,
    /// Paths that must stay, from the root: what a sandbox calls changes is told against its image, and what was made after
    /// that and is gone again leaves no trace there.
    protected: Vec<String>,
}

impl Baseline {
    /// Copies the working folder.
    pub(crate) async fn take(sandbox: &dyn Sandbox, workdir: &str) -> Result<Baseline, SandboxError> {
        let folder =
            tempfile::tempdir().map_err(|error| SandboxError::host("make a folder for a copy", error))?;
        let options = GetOptions { limit: MAX_BYTES, max_entries: MAX_ENTRIES, exclude: Vec::new() };
        sandbox.get(workdir, &folder.path().join("copy"), options).await?;
        Ok(Baseline { folder, hidden: BTreeSet::new(), protected: Vec::new() })
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    fn of(&self, workdir: &str, path: &str) -> PathBuf {
        let below = path.strip_prefix(workdir).unwrap_or(path);
        self.root().join(below.trim_start_matches('/'))
    }

    /// Whether something is out of sight that has to be put back.
    pub(crate) fn hides_something(&self) -> bool {
        !self.hidden.is_empty()
    }

    /// Takes what the rules exclude out of the sandbox, and remembers what has to stay.
    pub(crate) async fn guard(
        &mut self,
        sandbox: &dyn Sandbox,
        workdir: &str,
        rules: &PathRules,
    ) -> Result<(), SandboxError> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.root()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let below = path.strip_prefix(self.root()).unwrap_or(&path).to_string_lossy().into_owned();
                let inside = format!("{}/{below}", workdir.trim_end_matches('/'));
                if rules.hides(&inside) {
                    found.insert(inside);
                    continue;
                }
                if rules.may_change(workdir, &inside).is_err() && !inside.contains('\n') {
                    self.protected.push(inside);
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                }
            }
        }
        self.protected.sort();
        for path in found {
            // Known before it is done: whatever happens in between, it is put back.
            self.hidden.insert(path.clone());
            remove(sandbox, &path).await?;
        }
        Ok(())
    }

    /// Puts what was hidden back as it was.
    pub(crate) async fn show(&mut self, sandbox: &dyn Sandbox, workdir: &str) -> Result<(), SandboxError> {
        while let Some(path) = self.hidden.first().cloned() {
            remove(sandbox, &path).await?;
            self.put_back(sandbox, workdir, &path).await?;
            self.hidden.remove(&path);
        }
        Ok(())
    }

    async fn put_back(&self, sandbox: &dyn Sandbox, workdir: &str, path: &str) -> Result<(), SandboxError> {
        let copy = self.of(workdir, path);
        let meta =
            fs::symlink_metadata(&copy).map_err(|error| SandboxError::host("look at a copy", error))?;
        if meta.is_symlink() {
            let target = fs::read_link(&copy).map_err(|error| SandboxError::host("look at a copy", error))?;
            let process = ProcessSpec::new([
                b"ln".as_slice(),
                b"-s",
                b"--",
                target.as_os_str().as_encoded_bytes(),
                path.as_bytes(),
            ]);
            return as_root(sandbox, process).await;
        }
        let source = if meta.is_dir() { Source::Folder(copy) } else { Source::File(copy) };
        sandbox.put(path, source, PutOptions::default()).await
    }

    /// Undoes every change that the rules do not allow, and names their paths.
    pub(crate) async fn enforce(
        &self,
        sandbox: &dyn Sandbox,
        workdir: &str,
        rules: &PathRules,
    ) -> Result<Vec<String>, SandboxError> {
        let mut broken = Vec::new();
        for change in sandbox.changes(MAX_CHANGES).await? {
            let Ok(path) = String::from_utf8(change.path) else { continue };
            let is_inside =
                path.strip_prefix(workdir.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'));
            if !is_inside || rules.may_change(workdir, &path).is_ok() {
                continue;
            }
            let hidden = self.hidden.iter().any(|top| path == *top || path.starts_with(&format!("{top}/")));
            if hidden && change.kind == ChangeKind::Deleted {
                continue;
            }
            let copy = self.of(workdir, &path);
            let was = fs::symlink_metadata(&copy).ok().filter(|_| !hidden);
            match (&was, change.file_type) {
                // As it was: the change is older than the work, or of the folder's time only.
                (Some(was), Some(FileType::Folder)) if was.is_dir() => continue,
                (Some(was), Some(FileType::File)) if was.is_file() && same(sandbox, &path, &copy).await? => {
                    continue;
                }
                (Some(was), Some(FileType::Link))
                    if was.is_symlink() && same_link(sandbox, &path, &copy).await? =>
                {
                    continue;
                }
                (None, None) => continue,
                _ => {}
            }
            // What lies in a folder that went is put back, or taken away, with it.
            let with_parent = broken.iter().any(|parent: &String| path.starts_with(&format!("{parent}/")));
            if !with_parent {
                remove(sandbox, &path).await?;
                if was.is_some() {
                    self.put_back(sandbox, workdir, &path).await?;
                }
                broken.push(path);
            }
        }
        for path in self.missing(sandbox).await? {
            if !broken
                .iter()
                .any(|parent: &String| path == *parent || path.starts_with(&format!("{parent}/")))
            {
                self.put_back(sandbox, workdir, &path).await?;
                broken.push(path);
            }
        }
        Ok(broken)
    }

    /// Which of the paths that must stay are gone, parents before what is in them.
    async fn missing(&self, sandbox: &dyn Sandbox) -> Result<Vec<String>, SandboxError> {
        if self.protected.is_empty() {
            return Ok(Vec::new());
        }
        let process = ProcessSpec {
            user: Some("0".into()),
            cwd: Some("/".into()),
            deadline: Some(Duration::from_secs(60)),
            ..ProcessSpec::shell(
                "while IFS= read -r path; do [ -e \"$path\" ] || [ -L \"$path\" ] || printf '%s\\n' \"$path\"; done",
            )
        };
        let list = self.protected.iter().fold(String::new(), |list, path| list + path + "\n");
        let output = OutputSpec { head: MAX_LIST, tail: 0, ..OutputSpec::default() };
        let spec =
            ExecSpec { stdin: Stdin::Bytes(list.into_bytes()), stdout: output, ..ExecSpec::new(process) };
        let result = sandbox.exec(spec).await?;
        Ok(String::from_utf8_lossy(&result.stdout.head).lines().map(str::to_owned).collect())
    }

    /// What has changed since, as a diff.
    pub(crate) async fn diff(&self, sandbox: &dyn Sandbox, workdir: &str) -> Result<String, SandboxError> {
        let now =
            tempfile::tempdir().map_err(|error| SandboxError::host("make a folder for a copy", error))?;
        let exclude = UNREVIEWED.iter().map(|name| (*name).to_owned()).collect();
        let options = GetOptions { limit: MAX_BYTES, max_entries: MAX_ENTRIES, exclude };
        let new = now.path().join("copy");
        match sandbox.get(workdir, &new, options).await {
            Ok(()) => Ok(diff(&self.root(), &new)),
            Err(SandboxError::TooLarge { .. }) => {
                Ok("[the working folder is too large to be compared]".to_owned())
            }
            Err(error) => Err(error),
        }
    }
}

async fn as_root(sandbox: &dyn Sandbox, process: ProcessSpec) -> Result<(), SandboxError> {
    let process = ProcessSpec {
        user: Some("0".into()),
        cwd: Some("/".into()),
        deadline: Some(Duration::from_secs(30)),
        ..process
    };
    let result = sandbox.exec(ExecSpec::new(process)).await?;
    if result.exit.success() {
        return Ok(());
    }
    Err(SandboxError::Lost {
        cause: format!("a path could not be put right: {}", result.stderr.text().trim()),
    })
}

async fn remove(sandbox: &dyn Sandbox, path: &str) -> Result<(), SandboxError> {
    as_root(sandbox, ProcessSpec::new(["rm", "-rf", "--", path])).await
}

async fn same(sandbox: &dyn Sandbox, path: &str, copy: &Path) -> Result<bool, SandboxError> {
    let Ok(was) = fs::read(copy) else { return Ok(false) };
    match sandbox.read(path, was.len() as u64).await {
        Ok(now) => Ok(now.as_deref() == Some(&was)),
        Err(SandboxError::TooLarge { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn same_link(sandbox: &dyn Sandbox, path: &str, copy: &Path) -> Result<bool, SandboxError> {
    let Ok(was) = fs::read_link(copy) else { return Ok(false) };
    let process = ProcessSpec {
        user: Some("0".into()),
        cwd: Some("/".into()),
        ..ProcessSpec::new(["readlink", "--", path])
    };
    let result = sandbox.exec(ExecSpec::new(process)).await?;
    Ok(result.stdout.text().trim_end_matches('\n') == was.to_string_lossy())
}

/// Two folders as a unified diff, files by name, cut where it gets too long.
fn diff(old: &Path, new: &Path) -> String {
    let mut paths = BTreeSet::new();
    for root in [old, new] {
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let Ok(kind) = entry.file_type() else { continue };
                if UNREVIEWED.iter().any(|other| name == **other) {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    paths.insert(entry.path().strip_prefix(root).unwrap_or(&entry.path()).to_owned());
                }
            }
        }
    }
    let mut text = String::new();
    for path in paths {
        let read = |root: &Path| {
            let path = root.join(&path);
            let small = fs::metadata(&path).is_ok_and(|meta| meta.len() <= MAX_DIFFED);
            if small { fs::read(&path).ok() } else { None }
        };
        let (before, after) = (read(old), read(new));
        if before == after {
            continue;
        }
        let (from, to) = (before.unwrap_or_default(), after.unwrap_or_default());
        if memchr::memchr(0, &from).is_some() || memchr::memchr(0, &to).is_some() {
            let _ = writeln!(text, "Binary file {} changed", path.display());
            continue;
        }
        let (from, to) = (String::from_utf8_lossy(&from), String::from_utf8_lossy(&to));
        let changes = similar::TextDiff::configure().timeout(Duration::from_secs(2)).diff_lines(&*from, &*to);
        let (a, b) = (format!("a/{}", path.display()), format!("b/{}", path.display()));
        let _ = write!(text, "{}", changes.unified_diff().header(&a, &b));
        if text.len() > MAX_DIFF {
            text.truncate(crate::text::head(&text, MAX_DIFF).len());
            text.push_str("\n[… the rest of the change is left out …]");
            break;
        }
    }
    if text.is_empty() { "[nothing was changed]".to_owned() } else { text }
}
