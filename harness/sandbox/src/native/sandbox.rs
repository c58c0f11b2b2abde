//! A native sandbox behind the traits of this crate.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use harness_core::{Connections, NetworkMode};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use harness_guest::message::{Request, View, ViewOverlay};
use harness_guest::wire::MAX_FDS;
use rustix::fs::{Mode, OFlags};

use super::root::Lower;
use super::running::Running;
use super::spawner::{Attached, Spawner};
use super::store::Store;
use super::{NAME, Root};
use crate::link::Live;
use crate::link::changes::{self, Stack};
use crate::link::inside::Inside;
use crate::link::network;
use crate::link::process::{self, Surroundings};
use crate::link::transfer;
use crate::link::way::{Way, Whom};
use crate::{
    Change, GetOptions, Image, Place, Process, ProcessSpec, PutOptions, Sandbox, SandboxError, SandboxUsage,
    Snapshot, SnapshotHandle, Source, ViewSpec,
};

/// See [`crate::Sandbox`].
pub(crate) struct NativeSandbox {
    pub(crate) running: Arc<Running>,
    /// Its network, and with which defaults commands start.
    pub(crate) way: Way,
    /// Keeps what the sandbox is made of: its image, and the snapshot that it started from.
    pub(crate) _image: Arc<Image>,
    pub(crate) root: Arc<Root>,
    /// Folders that are there because something is mounted on them.
    pub(crate) mount_points: Vec<Vec<u8>>,
    pub(crate) base: Option<Arc<Snapshot>>,
    /// Host folders shown read-only.
    pub(crate) _mounts: Vec<Arc<Attached>>,
    pub(crate) spawner: Arc<Spawner>,
    /// Number of the next view.
    pub(crate) next_view: AtomicU32,
}

impl NativeSandbox {
    /// Lets programs reach public addresses, through a proxy of ours on the sandbox's loopback.
    pub(crate) async fn open_network(&self) -> Result<(), SandboxError> {
        network::open(&self.running.guest, &self.way, Whom::Everybody).await
    }
}

impl Drop for NativeSandbox {
    fn drop(&mut self) {
        if self.running.is_apart() {
            return;
        }
        self.running.end("its last handle was dropped");
        let running = Arc::clone(&self.running);
        // Removing files takes its time; whoever drops a handle may be anywhere.
        std::thread::spawn(move || running.take_apart());
    }
}

#[async_trait]
impl Place for NativeSandbox {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        // Nothing here outlives us.
        let spec = ProcessSpec { kept: None, ..spec };
        let live: Arc<dyn Live> = Arc::clone(&self.running) as _;
        process::spawn(&live, &*self.way.around().await, spec).await
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

    async fn view(&self, spec: ViewSpec) -> Result<Arc<dyn Place>, SandboxError> {
        if let Some(cause) = self.running.guest.lost() {
            return Err(SandboxError::Lost { cause });
        }
        let view = self.next_view.fetch_add(1, Ordering::Relaxed);
        let (overlays, slots) = view_overlays(&self.root);
        if slots.len() > MAX_FDS {
            return Err(SandboxError::Unsupported {
                backend: NAME,
                what: format!("a view of an image with more than {MAX_FDS} layers"),
            });
        }
        let lent = self.spawner.lend(slots).await?;
        let fds: Vec<i32> = lent.iter().map(AsRawFd::as_raw_fd).collect();
        let paths = |paths: Vec<String>| paths.into_iter().map(String::into_bytes).collect();
        let spec = Box::new(View {
            view,
            private: paths(spec.private),
            restore: paths(spec.restore),
            hide: paths(spec.hide),
            private_bytes: PRIVATE_BYTES,
            overlays,
        });
        self.running.guest.ask(|call| Request::View { call, spec }, &fds)?.done().await?;
        let around = Surroundings { view, ..(*self.way.around().await).clone() };
        let live: Arc<dyn Live> = Arc::clone(&self.running) as _;
        Ok(Arc::new(Inside { live, around }))
    }

    async fn listen(&self, port: u16) -> Result<std::net::TcpListener, SandboxError> {
        network::listen(&self.running.guest, &self.way, NAME, port).await
    }

    async fn set_network(&self, mode: &NetworkMode) -> Result<(), SandboxError> {
        network::set(&self.running.guest, &self.way, NAME, mode).await
    }

    fn connections(&self) -> Option<Connections> {
        self.way.connections()
    }

    async fn destroy(&self) -> Result<SandboxUsage, SandboxError> {
        self.way.close(NetworkMode::None).await;
        self.running.destroy().await
    }
}

/// What the private folders of a view may hold, each. It counts as the sandbox's memory.
const PRIVATE_BYTES: u64 = 1 << 30;

/// The image's overlays as a view is told of them, and the attachments whose mounts it needs.
fn view_overlays(root: &Root) -> (Vec<ViewOverlay>, Vec<u32>) {
    let mut slots = Vec::new();
    let overlays = root
        .overlays
        .iter()
        .map(|overlay| ViewOverlay {
            at: overlay.at.clone().into_bytes(),
            lowers: overlay
                .lowers
                .iter()
                .map(|lower| {
                    // One mount may hold many layers.
                    let slot = lower.attached.slot;
                    let index = slots.iter().position(|known| *known == slot).unwrap_or_else(|| {
                        slots.push(slot);
                        slots.len() - 1
                    });
                    (index as u32, lower.below.clone().into_bytes())
                })
                .collect(),
        })
        .collect();
    (overlays, slots)
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
    let mut all = Vec::new();
    for (index, overlay) in root.overlays.iter().enumerate() {
        let upper = |store: &&Arc<Store>| {
            rustix::fs::openat(store.folder(), format!("u/{index}"), flags | OFlags::DIRECTORY, Mode::empty())
        };
        let lower = |lower: &Lower| rustix::fs::open(lower.path(), flags, Mode::empty());
        all.push(Stack {
            at: overlay.at.trim_end_matches('/').as_bytes(),
            uppers: stores.iter().map(upper).collect::<Result<_, _>>().map_err(refused)?,
            lowers: overlay.lowers.iter().map(lower).collect::<Result<_, _>>().map_err(refused)?,
        });
    }
    changes::list(all, mount_points, limit)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(SandboxError::Lost { cause: "the work on it failed".to_owned() }))
}
