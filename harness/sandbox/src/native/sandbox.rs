//! A native sandbox behind the traits of this crate.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use harness_core::NetworkMode;
use harness_guest::message::Request;
use rustix::fs::{Mode, OFlags};

use super::changes::{self, Stack};
use super::process::{self, Surroundings};
use super::running::Running;
use super::spawner::{Attached, Spawner};
use super::store::Store;
use super::transfer;
use super::{NAME, Root};
use crate::{
    Change, GetOptions, Image, Place, Process, ProcessSpec, PutOptions, Sandbox, SandboxError, SandboxUsage,
    Snapshot, SnapshotHandle, Source, ViewSpec,
};

/// See [`crate::Sandbox`].
pub(crate) struct NativeSandbox {
    pub(crate) running: Arc<Running>,
    pub(crate) around: Surroundings,
    pub(crate) network: NetworkMode,
    /// Keeps what the sandbox is made of: its image, and the snapshot that it started from.
    pub(crate) image: Arc<Image>,
    pub(crate) root: Arc<Root>,
    /// Folders that are there because something is mounted on them.
    pub(crate) mount_points: Vec<Vec<u8>>,
    pub(crate) base: Option<Arc<Snapshot>>,
    /// Host folders shown read-only.
    pub(crate) mounts: Vec<Arc<Attached>>,
    pub(crate) spawner: Arc<Spawner>,
}

impl Drop for NativeSandbox {
    fn drop(&mut self) {
        self.running.end("its last handle was dropped");
        let running = Arc::clone(&self.running);
        // Removing files takes its time; whoever drops a handle may be anywhere.
        std::thread::spawn(move || running.take_apart());
    }
}

#[async_trait]
impl Place for NativeSandbox {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        process::spawn(&self.running, &self.around, spec).await
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        transfer::put(&self.running.guest, 0, at, source, options).await
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        transfer::get(&self.running.guest, 0, from, to, options).await
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        transfer::read(&self.running.guest, 0, path, limit).await
    }
}

#[async_trait]
impl Sandbox for NativeSandbox {
    fn id(&self) -> &str {
        &self.running.id
    }

    async fn kill_all(&self) -> Result<(), SandboxError> {
        self.running.guest.ask(|call| Request::KillAll { call }, &[])?.done().await?;
        Ok(())
    }

    async fn freeze(&self, on: bool) -> Result<(), SandboxError> {
        self.running.guest.ask(|call| Request::Stop { call, on }, &[])?.done().await?;
        Ok(())
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, SandboxError> {
        // Asked of PID 1 first, so that a sandbox that was lost before is not taken for what it was.
        self.kill_all().await?;
        let running = Arc::clone(&self.running);
        let store = blocking(move || running.stop("a snapshot was taken of it")).await?;
        let handle = NativeSnapshot { store, base: self.base.clone() };
        Ok(Arc::new(Snapshot { handle: Box::new(handle) }))
    }

    async fn changes(&self, limit: usize) -> Result<Vec<Change>, SandboxError> {
        if let Some(cause) = self.running.guest.lost() {
            return Err(SandboxError::Lost { cause });
        }
        let store =
            self.running.store().ok_or_else(|| SandboxError::Lost { cause: "it was destroyed".into() })?;
        let (root, base, mount_points) =
            (Arc::clone(&self.root), self.base.clone(), self.mount_points.clone());
        blocking(move || list_changes(&root, &store, base.as_ref(), &mount_points, limit)).await
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        match self.running.guest.lost() {
            Some(cause) => Err(SandboxError::Lost { cause }),
            None => Ok(self.running.usage()),
        }
    }

    async fn view(&self, _spec: ViewSpec) -> Result<Arc<dyn Place>, SandboxError> {
        Err(SandboxError::Unsupported { backend: NAME, what: "views, yet".to_owned() })
    }

    async fn listen(&self, port: u16) -> Result<std::net::TcpListener, SandboxError> {
        if !matches!(self.network, NetworkMode::Gateway | NetworkMode::Open) {
            return Err(SandboxError::Unsupported {
                backend: NAME,
                what: format!("a listener in a sandbox whose network is {}", self.network),
            });
        }
        let mut fds = self.running.guest.ask(|call| Request::Listen { call, port }, &[])?.done().await?;
        fds.pop()
            .map(std::net::TcpListener::from)
            .ok_or_else(|| SandboxError::Lost { cause: "its PID 1 passed no listener".to_owned() })
    }

    async fn destroy(&self) -> Result<SandboxUsage, SandboxError> {
        let running = Arc::clone(&self.running);
        blocking(move || running.take_apart()).await
    }
}

/// A fixed state: the changes of the sandbox that made it, and what that sandbox itself was stacked on.
pub(crate) struct NativeSnapshot {
    pub(crate) store: Arc<Store>,
    pub(crate) base: Option<Arc<Snapshot>>,
}

impl SnapshotHandle for NativeSnapshot {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// A snapshot and what it is stacked on, uppermost first.
pub(crate) fn stacked(top: Option<&Arc<Snapshot>>) -> Vec<&NativeSnapshot> {
    let mut found: Vec<&NativeSnapshot> = Vec::new();
    let mut next = top;
    while let Some(snapshot) = next.and_then(|snapshot| snapshot.handle.as_any().downcast_ref()) {
        let snapshot: &NativeSnapshot = snapshot;
        found.push(snapshot);
        next = snapshot.base.as_ref();
    }
    found
}

fn list_changes(
    root: &Root,
    store: &Arc<Store>,
    base: Option<&Arc<Snapshot>>,
    mount_points: &[Vec<u8>],
    limit: usize,
) -> Result<Vec<Change>, SandboxError> {
    let refused = |error: rustix::io::Errno| SandboxError::host("look for what changed", error.into());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut stores = vec![store];
    stores.extend(stacked(base).into_iter().map(|snapshot| &snapshot.store));
    let mut found = Vec::new();
    for (index, overlay) in root.overlays.iter().enumerate() {
        let upper = |store: &&Arc<Store>| {
            rustix::fs::openat(store.folder(), format!("{index}u"), flags | OFlags::DIRECTORY, Mode::empty())
        };
        let lower = |lower: &Arc<Attached>| rustix::fs::open(&lower.path, flags, Mode::empty());
        let stack = Stack {
            at: overlay.at.trim_end_matches('/').as_bytes(),
            uppers: stores.iter().map(upper).collect::<Result<_, _>>().map_err(refused)?,
            lowers: overlay.lowers.iter().map(lower).collect::<Result<_, _>>().map_err(refused)?,
        };
        changes::list(&stack, mount_points, limit, &mut found)?;
    }
    found.sort();
    Ok(found)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(SandboxError::Lost { cause: "the work on it failed".to_owned() }))
}
