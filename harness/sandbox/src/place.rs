//! Somewhere commands run and files lie: a sandbox, or a view into one.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::{ExecResult, ExecSpec, Process, ProcessSpec, SandboxError, Stdin};

/// Somewhere commands run and files lie.
///
/// To the implementer: paths are absolute inside, resolved inside (`openat2` with `RESOLVE_IN_ROOT`, or by a program that has
/// no other root); never join one to a host path. Never report a status that was not received. Do not wait for end-of-stream.
#[async_trait]
pub trait Place: Send + Sync {
    /// Starts a process and returns at once.
    ///
    /// # Errors
    /// [`SandboxError::Inside`] when user, folder or program do not exist, [`SandboxError::Lost`] when the sandbox is gone.
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError>;

    /// Copies files in: bytes to a file, a host file to a file, or the *content* of a host folder into a folder.
    /// Parent folders are made. Links are copied as links, never followed on the host.
    ///
    /// # Errors
    /// [`SandboxError::Escape`], [`SandboxError::TooLarge`], [`SandboxError::Host`] for the host's side, [`SandboxError::Inside`].
    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError>;

    /// Copies a file, or a folder's content, out to a path on the host that must not exist yet (its parent must).
    /// Never follows a link out of `from`, never writes outside `to`; devices, sockets and pipes are left out.
    ///
    /// # Errors
    /// As for `put`; [`SandboxError::Inside`] when there is nothing at `from`.
    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError>;

    /// Runs a command to its end and keeps what the spec says of its output.
    ///
    /// # Errors
    /// As for `spawn`.
    async fn exec(&self, spec: ExecSpec) -> Result<ExecResult, SandboxError> {
        let process =
            self.spawn(ProcessSpec { stdin: spec.stdin != Stdin::Empty, ..spec.process.clone() }).await?;
        crate::collect::collect(process, spec).await
    }

    /// Reads one regular file into memory; `Ok(None)` when there is none, or it is not a regular file.
    ///
    /// # Errors
    /// [`SandboxError::TooLarge`] when it has more than `limit` bytes.
    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError>;
}

/// What is copied in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file with this content.
    Bytes(Vec<u8>),
    /// A regular file on the host.
    File(PathBuf),
    /// The content of a folder on the host.
    Folder(PathBuf),
}

/// How files are copied in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// `uid` and `gid` inside that own the copies; 0 and 0 by default.
    pub owner: (u32, u32),
    /// Permission bits of a single file; `None` keeps the host's (0644 for bytes).
    pub mode: Option<u32>,
    /// Globs of paths below the source that are left out.
    pub exclude: Vec<String>,
}

/// How files are copied out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetOptions {
    /// Most bytes of content altogether (holes of sparse files are not content).
    pub limit: u64,
    /// Most files, folders and links.
    pub max_entries: u64,
    /// Globs of paths below the source that are left out, at every depth.
    pub exclude: Vec<String>,
}

impl Default for GetOptions {
    fn default() -> GetOptions {
        GetOptions { limit: 1 << 30, max_entries: 200_000, exclude: Vec::new() }
    }
}
