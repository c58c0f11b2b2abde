//! The host's side of the spawner: one helper process per backend, asked over a socket to attach folders and to clone
//! sandboxes. It ends when this handle is dropped.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use harness_guest::message::{SpawnerReply, SpawnerRequest};
use harness_guest::recipe::Basis;
use harness_guest::sys;
use tokio::sync::oneshot;

use crate::SandboxError;
use crate::link::capabilities;
use crate::link::channel::Channel;
use crate::link::program;
use crate::link::seccomp::Programs;

/// First id on the host of the range that sandboxes get when the harness has root's rights. High enough that no account and
/// no `subuid` range of a distribution lies there.
pub(crate) const ID_BASE: u32 = 0x7000_0000;
/// How many ids the range has.
pub(crate) const ID_COUNT: u32 = 65536;

type Waiting = Arc<Mutex<HashMap<u32, oneshot::Sender<(SpawnerReply, Vec<OwnedFd>)>>>>;

/// A running spawner.
pub(crate) struct Spawner {
    channel: Channel,
    waiting: Waiting,
    next_call: AtomicU32,
    /// Whether it has the machine's root rights.
    pub(crate) privileged: bool,
    child: Mutex<Child>,
    reader: tokio::task::JoinHandle<()>,
}

impl Spawner {
    /// Starts it and waits until it stands.
    pub(crate) async fn start(privileged: bool, filters: Programs) -> Result<Spawner, SandboxError> {
        let (ours, theirs) =
            sys::socket_pair().map_err(|error| SandboxError::host("make a pair of sockets", error))?;
        let child = program::start_spawner(theirs)
            .map_err(|error| SandboxError::host("start the helper that clones sandboxes", error))?;
        let channel = Channel::new(ours).map_err(|error| SandboxError::host("watch a socket", error))?;
        let basis = Box::new(basis(privileged, filters));
        let hello = SpawnerRequest::Hello { privileged, base: ID_BASE, basis };
        channel.send(&hello.encode(), &[]).map_err(|error| SandboxError::host("greet the helper", error))?;
        let greeted = channel.receive().await.ok().flatten();
        let trouble = match greeted.map(|frame| SpawnerReply::decode(&frame.body)) {
            Some(Ok(SpawnerReply::Hello { trouble })) => trouble,
            Some(Ok(SpawnerReply::Failed { what, errno, .. })) => {
                return Err(SandboxError::host(what, io::Error::from_raw_os_error(errno)));
            }
            _ => return Err(SandboxError::Lost { cause: "the helper ended at once".to_owned() }),
        };
        if !trouble.is_empty() {
            return Err(SandboxError::Unsupported {
                backend: super::NAME,
                what: format!("user namespaces with shifted ids ({trouble})"),
            });
        }
        let waiting = Waiting::default();
        let reader = tokio::spawn(read(channel.clone(), Arc::clone(&waiting)));
        Ok(Spawner {
            channel,
            waiting,
            next_call: AtomicU32::new(1),
            privileged,
            child: Mutex::new(child),
            reader,
        })
    }

    /// Makes a host path available to recipes until the returned handle is dropped.
    pub(crate) async fn attach(self: &Arc<Self>, path: &Path, how: Attach) -> Result<Attached, SandboxError> {
        self.attach_any(path, how, &[]).await
    }

    /// The same for a detached mount; `name` is for messages.
    pub(crate) async fn attach_mount(
        self: &Arc<Self>,
        name: &Path,
        mount: BorrowedFd<'_>,
    ) -> Result<Attached, SandboxError> {
        self.attach_any(name, Attach::Writable, &[mount.as_raw_fd()]).await
    }

    async fn attach_any(
        self: &Arc<Self>,
        path: &Path,
        how: Attach,
        fds: &[i32],
    ) -> Result<Attached, SandboxError> {
        let (reply, _) = self
            .ask(
                |call| SpawnerRequest::Attach {
                    call,
                    path: path.as_os_str().as_bytes().to_vec(),
                    read_only: how == Attach::ReadOnly,
                    plain_ids: false,
                },
                fds,
            )
            .await?;
        match reply {
            SpawnerReply::Attached { slot, .. } => {
                Ok(Attached { spawner: Arc::clone(self), slot, path: path.to_owned() })
            }
            other => Err(unexpected(other)),
        }
    }

    /// Clones what becomes a sandbox when it gets its recipe on its control socket; its process number here, and its pidfd.
    pub(crate) async fn clone_init(
        &self,
        control: BorrowedFd<'_>,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<(u32, OwnedFd), SandboxError> {
        let fds: Vec<i32> = [control].iter().chain(&cgroup).map(AsRawFd::as_raw_fd).collect();
        let into_cgroup = cgroup.is_some();
        let (reply, mut fds) = self.ask(|call| SpawnerRequest::Clone { call, into_cgroup }, &fds).await?;
        match (reply, fds.pop()) {
            (SpawnerReply::Cloned { pid, .. }, Some(pidfd)) => Ok((pid, pidfd)),
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Detached copies of attached mounts, for a view.
    pub(crate) async fn lend(&self, slots: Vec<u32>) -> Result<Vec<OwnedFd>, SandboxError> {
        match self.ask(|call| SpawnerRequest::Lend { call, slots }, &[]).await? {
            (SpawnerReply::Lent { .. }, fds) => Ok(fds),
            (other, _) => Err(unexpected(other)),
        }
    }

    async fn ask(
        &self,
        request: impl FnOnce(u32) -> SpawnerRequest,
        fds: &[i32],
    ) -> Result<(SpawnerReply, Vec<OwnedFd>), SandboxError> {
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        lock(&self.waiting).insert(call, answer);
        let lost = || SandboxError::Lost { cause: "the helper that clones sandboxes is gone".to_owned() };
        // The reader empties the table when it ends; one that ended before we put ourselves in would never find us.
        if self.reader.is_finished() || self.channel.send(&request(call).encode(), fds).is_err() {
            lock(&self.waiting).remove(&call);
            return Err(lost());
        }
        match answered.await {
            Ok((SpawnerReply::Failed { what, errno, .. }, _)) => {
                Err(SandboxError::host(what, io::Error::from_raw_os_error(errno)))
            }
            Ok(reply) => Ok(reply),
            Err(_) => Err(lost()),
        }
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.reader.abort();
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // It holds nothing that ends badly; waiting leaves no zombie.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unexpected(reply: SpawnerReply) -> SandboxError {
    SandboxError::Lost { cause: format!("the helper answered {reply:?}") }
}

async fn read(channel: Channel, waiting: Waiting) {
    while let Ok(Some(frame)) = channel.receive().await {
        let Ok(reply) = SpawnerReply::decode(&frame.body) else { break };
        let call = match &reply {
            SpawnerReply::Hello { .. } => continue,
            SpawnerReply::Attached { call, .. }
            | SpawnerReply::Cloned { call, .. }
            | SpawnerReply::Lent { call }
            | SpawnerReply::Failed { call, .. } => *call,
        };
        if let Some(answer) = lock(&waiting).remove(&call) {
            let _ = answer.send((reply, frame.fds));
        }
    }
    lock(&waiting).clear();
}

/// `/dev/shm` of each sandbox. What is written there counts as its memory.
const SHM_BYTES: u64 = 64 << 20;

fn basis(privileged: bool, filters: Programs) -> Basis {
    // A shifted range, or root alone.
    let ids = if privileged { vec![(0, ID_BASE, ID_COUNT)] } else { vec![(0, 0, 1)] };
    Basis {
        hostname: b"sandbox".to_vec(),
        uids: ids.clone(),
        gids: ids,
        shm_bytes: SHM_BYTES,
        capabilities: capabilities::COMMANDS,
        view_capabilities: capabilities::VIEWS,
        first_filters: filters.first,
        filters: filters.commands,
    }
}

/// How a folder is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attach {
    /// Nothing may be written through it.
    ReadOnly,
    /// Upper layers lie in it.
    Writable,
}

/// A host path that recipes may name. Let go of when dropped.
pub(crate) struct Attached {
    spawner: Arc<Spawner>,
    /// Its number in recipes.
    pub(crate) slot: u32,
    /// On the host.
    pub(crate) path: PathBuf,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.spawner.channel.send(&SpawnerRequest::Detach { slot: self.slot }.encode(), &[]);
    }
}
