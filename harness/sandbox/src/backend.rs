//! What makes sandboxes, and what can be done with one beside running commands in it.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use harness_core::{Connections, Digest, EnvironmentSpec, Limits, NetworkMode};

use crate::{Place, SandboxError};

/// An entry of [`crate::BACKENDS`]: what a backend is called and how to open it.
#[async_trait]
pub trait BackendKind: Sync {
    /// Name on the command line.
    fn name(&self) -> &'static str;
    /// One line for `list sandboxes`.
    fn about(&self) -> &'static str;
    /// Opens it; cheap, and without effects on the machine beside its own state folder.
    ///
    /// # Errors
    /// [`SandboxError::Unsupported`] names what is missing here and how to mend it.
    async fn open(&self, options: BackendOptions) -> Result<Arc<dyn Backend>, SandboxError>;
}

/// What a backend is opened with.
#[derive(Debug, Clone)]
pub struct BackendOptions {
    /// Where the backend keeps layers, scratch space and locks; made when missing.
    pub state_dir: PathBuf,
    /// Which root file system tasks get.
    pub rootfs: RootFs,
    /// Host folders whose content must never be visible inside, beside what is hidden anyway (run directory, project).
    pub hidden: Vec<PathBuf>,
}

/// Which root file system tasks get (`--rootfs`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RootFs {
    /// What the task's environment names; where that is an image and the backend has none, the host's own root for tasks
    /// that allow it.
    #[default]
    FromTask,
    /// The host's own, for every task: the user typed it.
    Host,
    /// An unpacked root file system.
    Dir(PathBuf),
    /// A tar archive of one, plain or compressed by gzip.
    Tar(PathBuf),
}

/// Makes sandboxes of one kind.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The registered name.
    fn name(&self) -> &'static str;

    /// What it can do here, settled when it was opened.
    fn caps(&self) -> &Caps;

    /// Looks at the machine, and really runs `/bin/true` in a sandbox.
    async fn doctor(&self) -> Vec<Probe>;

    /// Whether this environment can be made here at all, without making it: cheap, for `--dry-run` and before the run starts.
    ///
    /// # Errors
    /// [`SandboxError::Unsupported`] or [`SandboxError::Environment`], naming the way out.
    fn admit(&self, request: &EnvironmentRequest) -> Result<(), SandboxError>;

    /// What making the environment ready would take, without doing it: for `--dry-run`.
    ///
    /// # Errors
    /// As for [`Backend::prepare`], as far as it can be seen.
    async fn plan(&self, _request: &EnvironmentRequest) -> Result<EnvironmentPlan, SandboxError> {
        Ok(EnvironmentPlan::Untold)
    }

    /// Makes the environment ready to start sandboxes from: builds or finds it. Single-flight: many callers, one build.
    /// Keeps the description's time for building itself, from when building begins: waiting for others does not count.
    ///
    /// # Errors
    /// [`SandboxError::Environment`] with the end of the log when the description or the build is at fault.
    async fn prepare(
        &self,
        request: &EnvironmentRequest,
        progress: Progress,
    ) -> Result<Arc<Image>, SandboxError>;

    /// Starts a sandbox; returns when the guest program inside has answered. Cancel-safe: a dropped call leaves nothing
    /// that [`Backend::reap`] does not find.
    ///
    /// # Errors
    /// [`SandboxError::Host`] and its kin; whatever was begun is undone.
    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, SandboxError>;

    /// Takes over the sandbox of a process that is gone, with the ticket that [`Sandbox::outlive`] gave it: what runs in it goes
    /// on. The spec is that of [`Backend::create`]. When it fails, the sandbox is gone for good, as far as that can be had.
    ///
    /// # Errors
    /// A sentence that says why not: it is gone, it is another trial's, its PID 1 refused; [`SandboxError::Unsupported`] where
    /// sandboxes never outlive who made them.
    async fn take_over(&self, _spec: SandboxSpec, _ticket: &str) -> Result<Arc<dyn Sandbox>, SandboxError> {
        Err(ends_with_us(self.name()))
    }

    /// Says that a sandbox like this will soon be asked for: a backend whose sandboxes start slowly may start one ahead of
    /// need, which [`Backend::create`] with equal labels, image, limits and mounts then finds. Each call stands for one sandbox;
    /// what nobody asks for is removed after a while, and by [`Backend::reap`] of its run. Returns at once; does nothing unless
    /// a backend says otherwise.
    fn expect(&self, _spec: &SandboxSpec) {}

    /// Removes what [`Backend::expect`] started for this run and nobody asked for; returns when it is gone, or in a minute.
    async fn forget(&self, _run: &str) {}

    /// Removes what dead owners left.
    ///
    /// # Errors
    /// When looking itself fails; single things that resist are named in the result.
    async fn reap(&self, filter: ReapFilter) -> Result<Reaped, SandboxError>;

    /// Sets how many bytes of images (or of layers of its own that stand for them) it may keep, from now on: beyond that the least
    /// recently used go. `None` leaves the bound to the backend.
    fn limit_images(&self, _bytes: Option<u64>) {}

    /// Removes the images that it keeps somewhere other than in its own state folder and that nobody uses; or says which.
    ///
    /// # Errors
    /// When looking itself fails; single images that resist are named in the result.
    async fn remove_images(&self, _dry_run: bool) -> Result<RemovedImages, SandboxError> {
        Ok(RemovedImages::default())
    }
}

/// What making an environment ready would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentPlan {
    /// The backend does not say.
    Untold,
    /// Nothing: it is there.
    Present {
        /// Its bytes, where they are known.
        bytes: Option<u64>,
    },
    /// A build, and perhaps pulls before it.
    Build {
        /// Bytes of the files that it reads.
        context_bytes: u64,
        /// Images that are missing.
        pulls: Vec<String>,
    },
    /// A pull.
    Pull {
        /// The image's name.
        name: String,
        /// Its bytes, where they are known.
        bytes: Option<u64>,
    },
}

/// Which images were removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovedImages {
    /// By name.
    pub images: Vec<String>,
    /// Bytes freed on disk.
    pub bytes: u64,
    /// What stayed, and why.
    pub kept: Vec<String>,
}

/// Called with one line of progress at a time.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// What an environment is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentRequest {
    /// The task's description.
    pub spec: EnvironmentSpec,
    /// Digest of the files that the description is made of (Dockerfile, context).
    pub digest: Digest,
    /// Where the build's log is kept; appended to.
    pub log: Option<PathBuf>,
}

/// An environment that is ready.
#[derive(Debug)]
pub struct Image {
    /// Content digest: equal for equal environments, on this backend.
    pub digest: Digest,
    /// For people: `host`, `debian:12`, a folder.
    pub name: String,
    /// Variables that its description sets, PATH among them.
    pub env: BTreeMap<String, String>,
    /// Its working folder.
    pub workdir: String,
    /// Its user; `None` means root.
    pub user: Option<String>,
    /// Its ENTRYPOINT, which no backend starts; empty when it has none.
    pub entrypoint: Vec<String>,
    /// What is lost in fidelity here, one sentence each.
    pub weaknesses: Vec<String>,
    /// The backend's own handle.
    pub handle: Box<dyn Any + Send + Sync>,
}

/// Which sandbox to start.
#[derive(Clone)]
pub struct SandboxSpec {
    /// Who it belongs to.
    pub labels: Labels,
    /// What it is made of.
    pub image: Arc<Image>,
    /// Start from this state instead of the image's.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Upper bounds.
    pub limits: Limits,
    /// Whom it may talk to.
    pub network: NetworkMode,
    /// Host folders shown read-only, for example an agent's tools. The caller vouches for what is in them.
    pub mounts: Vec<ReadOnlyMount>,
}

/// A host folder shown inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOnlyMount {
    /// On the host.
    pub host: PathBuf,
    /// Inside.
    pub at: String,
}

/// Who a sandbox belongs to: how it is found again after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The run.
    pub run: String,
    /// The trial, `task/variant/attempt`, or what else it is for.
    pub trial: String,
    /// Which of the trial's sandboxes: `agent`, `verifier`, `build`, …
    pub role: String,
}

/// A running sandbox. Dropping the last handle destroys it in the background; [`Sandbox::destroy`] waits.
#[async_trait]
pub trait Sandbox: Place {
    /// The backend's own short name for it, for messages.
    fn id(&self) -> &str;

    /// Ends every process but PID 1, stopped, frozen and daemonised ones included; returns when they are gone.
    ///
    /// # Errors
    /// [`SandboxError::Lost`].
    async fn kill_all(&self) -> Result<(), SandboxError>;

    /// Stops every process but PID 1, or continues them. What is started afterwards runs, as do copies in and out: the
    /// harness works on while the agent's processes stand still.
    ///
    /// # Errors
    /// [`SandboxError::Lost`].
    async fn freeze(&self, on: bool) -> Result<(), SandboxError>;

    /// Kills everything but PID 1 and fixes the file system as it is now. The sandbox accepts no further commands;
    /// new sandboxes of the same image can start from the result.
    ///
    /// # Errors
    /// [`SandboxError::Lost`].
    async fn snapshot(&self) -> Result<Arc<Snapshot>, SandboxError>;

    /// Which paths differ from the image, sorted by path.
    ///
    /// # Errors
    /// [`SandboxError::TooLarge`] when there are more than `limit`.
    async fn changes(&self, limit: usize) -> Result<Vec<Change>, SandboxError>;

    /// What it has used so far.
    ///
    /// # Errors
    /// [`SandboxError::Lost`].
    async fn usage(&self) -> Result<SandboxUsage, SandboxError>;

    /// A place with mounts of its own inside this sandbox: same processes, same network, same files but for what the spec
    /// hides and puts back. Nothing that runs in the sandbox can see or write the view's private folders.
    ///
    /// # Errors
    /// [`SandboxError::Unsupported`] where it cannot be had, [`SandboxError::Lost`].
    async fn view(&self, spec: ViewSpec) -> Result<Arc<dyn Place>, SandboxError>;

    /// A loopback listener inside the sandbox's own network that the host accepts on.
    ///
    /// # Errors
    /// [`SandboxError::Unsupported`] unless the network is `gateway` or `open`.
    async fn listen(&self, port: u16) -> Result<std::net::TcpListener, SandboxError>;

    /// Gives it another network from now on. The way of the one before is closed, and what went through it is cut.
    ///
    /// To the implementer: whatever was started before the call must not get to the outside through the new network, if that
    /// reaches further: it stands beside a verifier that may talk to more than the agent. Programs that are started afterwards
    /// in this place, and in views that are made afterwards, may.
    ///
    /// # Errors
    /// [`SandboxError::Unsupported`] where the mode cannot be had, or no change of mode (see [`Caps::network_per_phase`]);
    /// [`SandboxError::Lost`].
    async fn set_network(&self, _mode: &NetworkMode) -> Result<(), SandboxError> {
        Err(SandboxError::Unsupported {
            backend: "this one",
            what: "another network for a running sandbox".into(),
        })
    }

    /// From now on it outlives this process, for so long: whoever has the ticket that is returned, and nobody else, may take it
    /// over (see [`Backend::take_over`]). The ticket holds a secret: it belongs into a file that only we may read. Listeners that
    /// are made meanwhile survive too: who connects to one waits for our successor. No time at all ends that, and closes them.
    ///
    /// # Errors
    /// [`SandboxError::Unsupported`] says why it cannot; [`SandboxError::Lost`].
    async fn outlive(&self, _linger: Duration) -> Result<String, SandboxError> {
        Err(ends_with_us("this one"))
    }

    /// Forgets a process that was started with [`crate::ProcessSpec::kept`] and ended.
    fn let_go(&self, _kept: u64) {}

    /// Connections that were tried through its network until now; also after it was destroyed. `None` when nobody watched:
    /// then it is not known that there were none.
    fn connections(&self) -> Option<Connections> {
        None
    }

    /// Ends everything and removes every trace; returns when that is done. A second call does nothing.
    ///
    /// # Errors
    /// Names what could not be removed; `reap` will find it.
    async fn destroy(&self) -> Result<SandboxUsage, SandboxError>;
}

/// The verifier's own mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewSpec {
    /// Folders that become empty, private and writable in the view; made when missing (in the view only).
    pub private: Vec<String>,
    /// Paths that are the image's own again, whatever became of them: changed, deleted, replaced by a link.
    pub restore: Vec<String>,
    /// Added paths that are not there in the view.
    pub hide: Vec<String>,
}

/// A fixed state of a sandbox's file system. Dropping the last handle frees it.
pub struct Snapshot {
    /// The backend's own handle.
    pub handle: Box<dyn SnapshotHandle>,
}

/// What a backend keeps of a snapshot.
pub trait SnapshotHandle: Any + Send + Sync {
    /// For the backend to get its own type back.
    fn as_any(&self) -> &dyn Any;
}

/// One path that differs from the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute, inside, raw bytes.
    pub path: Vec<u8>,
    /// In which way.
    pub kind: ChangeKind,
    /// What stands there now; `None` when deleted.
    pub file_type: Option<FileType>,
    /// Bytes, for a regular file.
    pub size: u64,
}

/// In which way a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Not in the image.
    Added,
    /// In the image, with other content, type or metadata. (A backend may report a path that was rewritten with the same content.)
    Modified,
    /// In the image, gone now.
    Deleted,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileType {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

/// What a sandbox has used. Unknown is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SandboxUsage {
    /// Processor time of everything in it.
    pub cpu: Option<Duration>,
    /// Largest memory, page cache included.
    pub peak_memory_bytes: Option<u64>,
    /// Processes that the memory limit killed.
    pub oom_kills: Option<u64>,
    /// Bytes that it wrote to its file system and that are still there.
    pub disk_bytes: Option<u64>,
}

/// What a backend can do here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caps {
    /// Conformance cases that this backend declares beforehand that it cannot pass here, each with the reason.
    pub declared: Vec<Unsupported>,
    /// What it does not isolate or cannot limit here, compared with a container engine, one sentence each.
    pub weaknesses: Vec<String>,
    /// Whether [`NetworkMode::Open`] can be had.
    pub open_network: bool,
    /// Whether [`Sandbox::set_network`] can be had.
    pub network_per_phase: bool,
    /// Whether [`Sandbox::outlive`] can be had.
    pub outlives: bool,
    /// Why all users inside are one and the same on this machine, where that is so.
    pub single_user: Option<String>,
}

/// A promise that a backend cannot keep here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Name of the conformance case.
    pub case: &'static str,
    /// Why not.
    pub reason: String,
}

/// One line of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What was looked at.
    pub name: String,
    /// How it looks.
    pub status: ProbeStatus,
    /// What that means.
    pub detail: String,
    /// How to mend it.
    pub remedy: Option<String>,
}

/// How one thing looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeStatus {
    /// Works.
    Good,
    /// Works with less.
    Weak,
    /// Does not work.
    Broken,
}

/// What to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReapFilter {
    /// Only sandboxes of this run, whoever owns it; the caller holds the run's lock.
    pub run: Option<String>,
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Also sandboxes that wait for a successor of the process that made them: their run can be resumed.
    pub waiting: bool,
}

fn ends_with_us(backend: &'static str) -> SandboxError {
    SandboxError::Unsupported {
        backend,
        what: "going on in a sandbox whose harness is gone: it goes with it".into(),
    }
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Sandboxes, by id.
    pub sandboxes: Vec<String>,
    /// Bytes freed on disk.
    pub bytes: u64,
    /// What resisted, and why.
    pub failed: Vec<String>,
}
