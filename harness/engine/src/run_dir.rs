//! The run directory on disk: where each file lies, who holds it, and how its small files are written.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use harness_core::journal::{Journal, JournalError};
use harness_core::manifest::{Manifest, RUN_FORMAT};
use harness_core::plan::Planned;
use harness_core::{RunId, TrialId};
use rustix::fs::FlockOperation;

/// Largest manifest, plan or journal that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// What can be wrong with a run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The name is taken.
    #[error("the run {0} exists already; choose another --run-id, or continue it with `harness resume {0}`")]
    Exists(RunId),
    /// There is no such run.
    #[error("there is no run {run} in {}", runs.display())]
    Missing {
        /// The run.
        run: String,
        /// Where it was looked for.
        runs: PathBuf,
    },
    /// Another process works on it.
    #[error("another harness works on {} (process {holder})", dir.display())]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The process that wrote its number into the lock.
        holder: String,
    },
    /// Written by a later version.
    #[error("{} has format {found}, this program reads up to {RUN_FORMAT}", file.display())]
    TooNew {
        /// The manifest.
        file: PathBuf,
        /// What it says.
        found: u32,
    },
    /// A file that does not read.
    #[error("{} does not read", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// A journal that does not read.
    #[error("{} is damaged", file.display())]
    Journal {
        /// Which file.
        file: PathBuf,
        /// What the reader says.
        source: JournalError,
    },
    /// A file that is larger than anything that we write.
    #[error("{} is larger than {MAX_FILE_BYTES} bytes", file.display())]
    TooLarge {
        /// Which file.
        file: PathBuf,
    },
    /// The disk or its permissions.
    #[error("{what} {}", file.display())]
    Io {
        /// What we tried.
        what: &'static str,
        /// Which file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn io_error(what: &'static str, file: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    let file = file.to_owned();
    move |source| RunDirError::Io { what, file, source }
}

/// A run directory that this process holds: nobody else writes to it.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    // Kept open for the lock on it.
    _lock: File,
}

impl RunDir {
    /// Makes a new run directory with its manifest and plan, and takes it.
    ///
    /// # Errors
    /// [`RunDirError::Exists`] when the name is taken, [`RunDirError::Io`] when the disk refuses.
    pub fn create(runs: &Path, manifest: &Manifest, plan: &[Planned]) -> Result<RunDir, RunDirError> {
        fs::create_dir_all(runs).map_err(io_error("cannot make the folder", runs))?;
        let path = runs.join(manifest.run.as_str());
        if fs::symlink_metadata(&path).is_ok() {
            return Err(RunDirError::Exists(manifest.run.clone()));
        }
        // Made under another name, which a run cannot have, so that no moment leaves a run without its plan. What a crash
        // left there is taken over.
        let making = runs.join(format!(".making-{}", manifest.run));
        fs::create_dir_all(&making).map_err(io_error("cannot make the folder", &making))?;
        let mut dir = RunDir::take(making)?;
        dir.write_manifest(manifest)?;
        let lines: Vec<u8> = plan.iter().flat_map(harness_core::journal::line).collect();
        write_whole(&dir.path.join("plan.jsonl"), &lines)?;
        fs::rename(&dir.path, &path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {
                RunDirError::Exists(manifest.run.clone())
            }
            _ => io_error("cannot make the folder", &path)(error),
        })?;
        sync_folder(runs)?;
        dir.path = path;
        Ok(dir)
    }

    /// Takes an existing run directory.
    ///
    /// # Errors
    /// [`RunDirError::Missing`], or [`RunDirError::Held`] when another process works on it.
    pub fn open(runs: &Path, run: &str) -> Result<RunDir, RunDirError> {
        let missing = || RunDirError::Missing { run: run.to_owned(), runs: runs.to_owned() };
        let id = RunId::new(run).map_err(|_| missing())?;
        let path = runs.join(id.as_str());
        if !path.join("manifest.json").is_file() {
            return Err(missing());
        }
        RunDir::take(path)
    }

    fn take(path: PathBuf) -> Result<RunDir, RunDirError> {
        let file = path.join("lock");
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&file)
            .map_err(io_error("cannot open", &file))?;
        if !locked(&lock) {
            let mut holder = String::new();
            // The number is for people only; an unreadable one changes nothing.
            let _read = lock.take(20).read_to_string(&mut holder);
            return Err(RunDirError::Held { dir: path, holder: holder.trim().to_owned() });
        }
        lock.set_len(0).map_err(io_error("cannot write", &file))?;
        write!(lock, "{}", std::process::id()).map_err(io_error("cannot write", &file))?;
        Ok(RunDir { path, _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of one trial.
    pub fn trial(&self, id: &TrialId) -> PathBuf {
        self.path.join("trials").join(id.task.as_str()).join(id.variant.as_str()).join(id.attempt.to_string())
    }

    /// Where the journal lies.
    pub fn journal_path(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// Writes the manifest, whole or not at all.
    ///
    /// # Errors
    /// [`RunDirError::Io`].
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), RunDirError> {
        let mut bytes = serde_json::to_vec_pretty(manifest).expect("a manifest is plain data");
        bytes.push(b'\n');
        write_whole(&self.path.join("manifest.json"), &bytes)
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// [`RunDirError`] names the file and what is wrong with it.
    pub fn manifest(&self) -> Result<Manifest, RunDirError> {
        let file = self.path.join("manifest.json");
        let bytes = read_limited(&file)?;
        let damaged = |source| RunDirError::Damaged { file: file.clone(), source };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0) as u32;
        if found > RUN_FORMAT {
            return Err(RunDirError::TooNew { file, found });
        }
        serde_json::from_value(value).map_err(damaged)
    }

    /// Reads the plan.
    ///
    /// # Errors
    /// [`RunDirError`] names the file and what is wrong with it.
    pub fn plan(&self) -> Result<Vec<Planned>, RunDirError> {
        let file = self.path.join("plan.jsonl");
        let bytes = read_limited(&file)?;
        bytes
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()
            .map_err(|source| RunDirError::Damaged { file, source })
    }

    /// Reads the journal; a missing one is empty.
    ///
    /// # Errors
    /// [`RunDirError`] names the file and what is wrong with it.
    pub fn journal(&self) -> Result<Journal, RunDirError> {
        let file = self.journal_path();
        if !file.exists() {
            return Ok(Journal::default());
        }
        let bytes = read_limited(&file)?;
        Journal::parse(&bytes).map_err(|source| RunDirError::Journal { file, source })
    }
}

/// Whether the lock is ours. A process that its last holder had begun to start holds it too, from fork until exec: that
/// is over in milliseconds.
fn locked(lock: &File) -> bool {
    for wait_ms in [1, 5, 20, 80, 0] {
        if rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
    }
    false
}

fn read_limited(file: &Path) -> Result<Vec<u8>, RunDirError> {
    let open = File::open(file).map_err(io_error("cannot read", file))?;
    let mut bytes = Vec::new();
    open.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io_error("cannot read", file))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(RunDirError::TooLarge { file: file.to_owned() });
    }
    Ok(bytes)
}

/// Temporary file, fsync, rename, fsync of the folder: after a power loss the file is the old one or the new one.
fn write_whole(file: &Path, bytes: &[u8]) -> Result<(), RunDirError> {
    let temporary = file.with_extension("tmp");
    let mut open = File::create(&temporary).map_err(io_error("cannot write", &temporary))?;
    open.write_all(bytes).and_then(|()| open.sync_all()).map_err(io_error("cannot write", &temporary))?;
    fs::rename(&temporary, file).map_err(io_error("cannot write", file))?;
    sync_folder(file.parent().expect("files of a run lie in its folder"))
}

fn sync_folder(folder: &Path) -> Result<(), RunDirError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("cannot write", folder))
}
