//! A memory sandbox, and the views into it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::io::duplex;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::image::ImageTree;
use super::process::{Descriptor, Tree, Verdict};
use super::programs::Programs;
use super::shell::Shell;
use super::transfer;
use super::tree::{Kind, Mounts, Node, Shared, Space, Upper, is_within, lock, normal};
use super::{MOST_PROCESSES, NAME, users};
use crate::{
    Change, ChangeKind, Exit, GetOptions, Image, Labels, Place, Process, ProcessControl, ProcessSpec,
    PtySize, PutOptions, Sandbox, SandboxError, SandboxSpec, SandboxUsage, Snapshot, SnapshotHandle, Source,
    ViewSpec,
};

/// As much as a pipe holds.
const PIPE: usize = 64 << 10;

/// What a sandbox and its views share.
pub(super) struct Inner {
    pub(super) id: String,
    pub(super) labels: Labels,
    image: Arc<Image>,
    shared: Arc<Shared>,
    programs: Arc<Programs>,
    most_processes: usize,
    alive: AtomicBool,
    /// After a snapshot nothing may start.
    fixed: AtomicBool,
    /// Execs so far.
    born: AtomicU64,
    /// Execs until this one are frozen; 0 for none.
    frozen: watch::Sender<u64>,
    trees: Mutex<Vec<Arc<Tree>>>,
}

/// A sandbox: dropping it ends it.
pub(super) struct MemorySandbox {
    place: MemoryPlace,
}

/// A sandbox's files and processes as one set of mounts sees them.
struct MemoryPlace {
    inner: Arc<Inner>,
    space: Space,
}

struct Layers {
    image: harness_core::Digest,
    upper: Upper,
}

impl SnapshotHandle for Layers {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl MemorySandbox {
    pub(super) fn start(
        id: String,
        spec: SandboxSpec,
        programs: Arc<Programs>,
    ) -> Result<MemorySandbox, SandboxError> {
        let foreign = || SandboxError::Unsupported {
            backend: NAME,
            what: "this image or snapshot was made by another backend".into(),
        };
        let base = spec.image.handle.downcast_ref::<ImageTree>().ok_or_else(foreign)?.0.clone();
        let upper = match &spec.snapshot {
            None => Upper::new(),
            Some(snapshot) => {
                let layers = snapshot.handle.as_any().downcast_ref::<Layers>().ok_or_else(foreign)?;
                if layers.image != spec.image.digest {
                    return Err(foreign());
                }
                layers.upper.clone()
            }
        };
        let shared = Arc::new(Shared { base, upper: Mutex::new(upper) });
        let space = Space { shared: shared.clone(), mounts: None };
        for mount in &spec.mounts {
            let source = match mount.host.is_dir() {
                true => Source::Folder(mount.host.clone()),
                false => Source::File(mount.host.clone()),
            };
            transfer::put(&space, &mount.at, source, &PutOptions::default())?;
        }
        let inner = Arc::new(Inner {
            id,
            labels: spec.labels,
            image: spec.image,
            shared,
            programs,
            most_processes: spec
                .limits
                .pids
                .map_or(MOST_PROCESSES, |most| usize::try_from(most).unwrap_or(MOST_PROCESSES)),
            alive: AtomicBool::new(true),
            fixed: AtomicBool::new(false),
            born: AtomicU64::new(0),
            frozen: watch::Sender::new(0),
            trees: Mutex::default(),
        });
        Ok(MemorySandbox { place: MemoryPlace { inner, space } })
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.place.inner
    }
}

impl Drop for MemorySandbox {
    fn drop(&mut self) {
        self.place.inner.end();
    }
}

impl Inner {
    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Ends everything and forgets the files.
    pub(super) fn end(&self) {
        if self.alive.swap(false, Ordering::AcqRel) {
            for tree in lock(&self.trees).drain(..) {
                tree.end(Verdict::Lost);
            }
            lock(&self.shared.upper).clear();
        }
    }

    fn check(&self) -> Result<(), SandboxError> {
        match self.is_alive() {
            true => Ok(()),
            false => Err(SandboxError::Lost { cause: "it was destroyed".into() }),
        }
    }

    async fn kill_all(&self) {
        let trees = std::mem::take(&mut *lock(&self.trees));
        let tasks: Vec<_> = trees.iter().flat_map(|tree| tree.end(Verdict::Killed)).collect();
        while tasks.iter().any(|task| !task.is_finished()) {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl Place for MemoryPlace {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        let inner = &self.inner;
        inner.check()?;
        if inner.fixed.load(Ordering::Acquire) {
            return Err(SandboxError::Lost { cause: "a snapshot was taken of it".into() });
        }
        if spec.pty.is_some() {
            return Err(SandboxError::Unsupported { backend: NAME, what: "terminals".into() });
        }
        let wrong = |message: String| SandboxError::Inside { message };
        let user = spec.user.as_deref().or(inner.image.user.as_deref()).unwrap_or("0");
        let ids = users::look_up(&self.space, user).ok_or_else(|| wrong(format!("no user {user:?}")))?;
        let cwd = spec.cwd.as_deref().unwrap_or(&inner.image.workdir);
        let folder = self.space.resolve(b"", cwd.as_bytes(), true);
        let folder = folder
            .ok()
            .filter(|path| self.space.node(path).is_some_and(|node| node.kind == Kind::Folder))
            .ok_or_else(|| wrong(format!("no folder {cwd:?}")))?;
        let mut env = inner.image.env.clone();
        env.extend(spec.env);

        let (stdin, fd_0) = match spec.stdin {
            true => {
                let (write, read) = duplex(PIPE);
                (Some(Box::new(write) as Box<_>), Descriptor::stream(read))
            }
            false => (None, Descriptor::Null),
        };
        let ((stdout, fd_1), (stderr, fd_2)) = (duplex(PIPE), duplex(PIPE));
        let tree = {
            let born = inner.born.fetch_add(1, Ordering::AcqRel) + 1;
            Arc::new(Tree::new(born, inner.frozen.subscribe(), inner.most_processes))
        };
        let ignores_term = Arc::new(AtomicBool::new(false));
        let shell = Shell {
            space: self.space.clone(),
            programs: inner.programs.clone(),
            tree: tree.clone(),
            fds: [fd_0, Descriptor::stream(fd_1), Descriptor::stream(fd_2)],
            env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            args: Vec::new(),
            cwd: folder,
            user: ids,
            status: 0,
            stop_on_error: false,
            ignores_term: ignores_term.clone(),
            depth: 0,
        };
        let program = spec.argv.first().ok_or_else(|| wrong("no program given".into()))?;
        shell
            .find(program)
            .map_err(|(_, why)| wrong(format!("{}: {why}", String::from_utf8_lossy(program))))?;
        {
            let mut trees = lock(&inner.trees);
            trees.retain(|tree| tree.alive());
            trees.push(tree.clone());
        }
        let (report, reported) = oneshot::channel();
        let own = tree.clone();
        tree.spawn(ignores_term.clone(), async move {
            let exit = first_process(shell, spec.argv, spec.deadline, spec.grace, &own, &ignores_term).await;
            own.has_ended();
            // Nobody may be waiting for it.
            let _ = report.send(exit);
        });
        // What was destroyed meanwhile has not seen the new tree.
        if !inner.is_alive() {
            tree.end(Verdict::Lost);
        }
        let waited = tree.clone();
        Ok(Process {
            stdin,
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            exit: Box::pin(async move {
                match reported.await {
                    Ok(exit) => Ok(exit),
                    Err(_) => waited.without_status(),
                }
            }),
            control: Box::new(Control(tree)),
        })
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        self.inner.check()?;
        transfer::put(&self.space, at, source, &options)
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        self.inner.check()?;
        transfer::get(&self.space, from, to, &options)
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        self.inner.check()?;
        match self.space.read(b"", path.as_bytes()) {
            Ok(content) if content.len() as u64 > limit => {
                Err(SandboxError::TooLarge { what: path.into(), limit })
            }
            Ok(content) => Ok(Some(content.to_vec())),
            Err(_) => Ok(None),
        }
    }
}

/// Runs until it ends, or until its deadline has ended everything.
async fn first_process(
    shell: Shell,
    argv: Vec<Vec<u8>>,
    deadline: Option<std::time::Duration>,
    grace: std::time::Duration,
    tree: &Tree,
    ignores_term: &AtomicBool,
) -> Exit {
    let mut work = Box::pin(shell.run(argv));
    let Some(deadline) = deadline else { return work.await };
    if let Ok(exit) = timeout(deadline, &mut work).await {
        return exit;
    }
    tree.terminate_children();
    if ignores_term.load(Ordering::Relaxed) {
        // How it ends in its grace does not matter: its time was over.
        let _ = timeout(grace, &mut work).await;
    }
    drop(work);
    tree.end(Verdict::TimedOut);
    Exit::TimedOut
}

struct Control(Arc<Tree>);

impl ProcessControl for Control {
    fn kill(&self) {
        self.0.end(Verdict::Killed);
    }

    fn resize(&self, _size: PtySize) {}
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.0.first_runs() {
            self.kill();
        }
    }
}

#[async_trait]
impl Place for MemorySandbox {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        self.place.spawn(spec).await
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        self.place.put(at, source, options).await
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        self.place.get(from, to, options).await
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        self.place.read(path, limit).await
    }
}

#[async_trait]
impl Sandbox for MemorySandbox {
    fn id(&self) -> &str {
        &self.inner().id
    }

    async fn kill_all(&self) -> Result<(), SandboxError> {
        self.inner().check()?;
        self.inner().kill_all().await;
        Ok(())
    }

    async fn freeze(&self, on: bool) -> Result<(), SandboxError> {
        self.inner().check()?;
        let inner = self.inner();
        inner.frozen.send_replace(if on { inner.born.load(Ordering::Acquire) } else { 0 });
        Ok(())
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, SandboxError> {
        let inner = self.inner();
        inner.check()?;
        inner.fixed.store(true, Ordering::Release);
        inner.kill_all().await;
        let upper = lock(&inner.shared.upper).clone();
        Ok(Arc::new(Snapshot { handle: Box::new(Layers { image: inner.image.digest.clone(), upper }) }))
    }

    async fn changes(&self, limit: usize) -> Result<Vec<Change>, SandboxError> {
        self.inner().check()?;
        let shared = &self.inner().shared;
        let upper = lock(&shared.upper);
        let mut changes = Vec::new();
        for (path, now) in upper.iter() {
            let kind = match (shared.base.contains_key(path), now) {
                (true, Some(_)) => ChangeKind::Modified,
                (true, None) => ChangeKind::Deleted,
                (false, Some(_)) => ChangeKind::Added,
                (false, None) => continue,
            };
            if changes.len() == limit {
                return Err(SandboxError::TooLarge {
                    what: "the list of changes".into(),
                    limit: limit as u64,
                });
            }
            let file_type = now.as_ref().map(Node::file_type);
            let size = now.as_ref().map_or(0, Node::size);
            changes.push(Change { path: path.clone(), kind, file_type, size });
        }
        Ok(changes)
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        self.inner().check()?;
        Ok(SandboxUsage::default())
    }

    async fn view(&self, spec: ViewSpec) -> Result<Arc<dyn Place>, SandboxError> {
        let inner = self.inner();
        inner.check()?;
        let mut own = Upper::new();
        let paths = |paths: &[String]| paths.iter().map(|path| normal(path.as_bytes())).collect::<Vec<_>>();
        let (private, restored, hidden) = (paths(&spec.private), paths(&spec.restore), paths(&spec.hide));
        // Folders that lead to what the view has of its own are folders in it, whatever became of them.
        for path in private.iter().chain(&restored) {
            let ends =
                path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0).map(|(at, _)| at);
            for end in ends {
                let folder = &path[..end];
                let of_image = inner.shared.base.get(folder).is_none_or(|node| node.kind == Kind::Folder);
                if of_image && !hidden.iter().any(|hidden| is_within(folder, hidden)) {
                    own.insert(folder.to_vec(), Some(Node::folder()));
                }
            }
        }
        own.extend(private.iter().map(|path| (path.clone(), Some(Node::folder()))));
        let mounts = Mounts { private, restored, hidden, own: Mutex::new(own) };
        let space = Space { shared: inner.shared.clone(), mounts: Some(Arc::new(mounts)) };
        Ok(Arc::new(MemoryPlace { inner: inner.clone(), space }))
    }

    async fn listen(&self, _port: u16) -> Result<std::net::TcpListener, SandboxError> {
        Err(SandboxError::Unsupported { backend: NAME, what: "listeners: it has no network".into() })
    }

    async fn destroy(&self) -> Result<SandboxUsage, SandboxError> {
        self.inner().end();
        Ok(SandboxUsage::default())
    }
}
