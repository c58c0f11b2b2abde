//! The `native` backend: opening it, making environments ready, starting sandboxes, removing what dead owners left.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode};
use harness_guest::recipe::{Bind, Overlay, Recipe, Source};

use super::NAME;
use super::blanks::{Blank, Blanks, Wanted};
use super::cgroup::find::Cgroups;
use super::cgroup::group::{self, Join};
use super::disk;
use super::disk::image::DiskPool;
use super::disk::watchdog::Watchdog;
use super::doctor;
use super::environment::Base;
use super::layers::store::LayerStore;
use super::remover::Remover;
use super::root::{Lower, Root};
use super::running::Running;
use super::sandbox::{NativeSandbox, stacked};
use super::scratch::{Scratch, ScratchStore};
use super::spawner::{Attach, Attached, Spawner};
use super::stalls::{NewGroup, Stall, Stalls};
use super::store::Store;
use crate::link::guest::Guest;
use crate::link::network::no_list;
use crate::link::process::Surroundings;
use crate::link::seccomp::{self, Ownership};
use crate::link::way::Way;
use crate::link::{Live, capabilities};
use crate::{
    Backend, BackendKind, BackendOptions, Caps, EnvironmentRequest, ExecSpec, Exit, Image, Labels, Place,
    Probe, ProcessSpec, Progress, ReapFilter, Reaped, Sandbox, SandboxError, SandboxSpec, Unsupported,
};

/// Processes and threads of a sandbox whose task sets no limit.
const DEFAULT_PIDS: u64 = 2048;
/// What layers may take where no quota is set, and how long one that nobody uses is kept.
const LAYERS_BYTES: u64 = 40 << 30;
const LAYERS_UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// The entry of [`crate::BACKENDS`].
pub(crate) struct NativeKind;

#[async_trait]
impl BackendKind for NativeKind {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "Linux namespaces and overlays, no engine needed; starts in milliseconds"
    }

    async fn open(&self, options: BackendOptions) -> Result<Arc<dyn Backend>, SandboxError> {
        Ok(Arc::new(Native::open(options).await?))
    }
}

/// An open backend.
pub(crate) struct Native {
    pub(super) options: BackendOptions,
    caps: Caps,
    scratch: ScratchStore,
    blanks: Blanks,
    pub(super) spawner: Arc<Spawner>,
    cgroups: Cgroups,
    /// File systems of a given size, or why there are none.
    disks: Result<DiskPool, String>,
    watchdog: Watchdog,
    remover: Arc<Remover>,
    /// What runs, with the label of its run.
    running: Mutex<Vec<(String, Weak<Running>)>>,
    /// The folder of all scratch folders, as recipes name it.
    uppers: Arc<Attached>,
    /// What is attached, by host path.
    attached: tokio::sync::Mutex<HashMap<PathBuf, Weak<Attached>>>,
    /// What environments start from, found once.
    pub(super) base: tokio::sync::Mutex<Option<Base>>,
    pub(super) layers: LayerStore,
    layers_bytes: AtomicU64,
}

impl Native {
    async fn open(options: BackendOptions) -> Result<Native, SandboxError> {
        let refused = |error| SandboxError::host(format!("use {}", options.state_dir.display()), error);
        std::fs::create_dir_all(&options.state_dir).map_err(refused)?;
        let state_dir = std::fs::canonicalize(&options.state_dir).map_err(refused)?;
        let options = BackendOptions { state_dir, ..options };
        let scratch = ScratchStore::open(&options.state_dir)
            .map_err(|error| SandboxError::host("open the scratch folders", error))?;
        let layers = LayerStore::open(&options.state_dir)
            .map_err(|error| SandboxError::host("open the store of layers", error))?;
        std::fs::create_dir_all(options.state_dir.join("skeletons")).map_err(refused)?;
        let privileged = capabilities::are_roots();
        let ownership = if privileged { Ownership::Real } else { Ownership::Pretended };
        let spawner = Arc::new(Spawner::start(privileged, seccomp::programs(ownership)).await?);
        let cgroups = Cgroups::detect(None);
        let disks = DiskPool::open(&options.state_dir);
        let uppers = spawner.attach(&options.state_dir.join("scratch"), Attach::Writable).await?;
        Ok(Native {
            caps: caps(&spawner, &cgroups, &disks),
            disks,
            watchdog: Watchdog::new(),
            remover: Arc::new(Remover::start().map_err(|error| SandboxError::host("start a thread", error))?),
            running: Mutex::default(),
            options,
            blanks: Blanks::new(Arc::clone(&spawner), Stalls::new(scratch.clone(), cgroups.clone())),
            cgroups,
            scratch,
            spawner,
            uppers: Arc::new(uppers),
            attached: tokio::sync::Mutex::default(),
            base: tokio::sync::Mutex::default(),
            layers,
            layers_bytes: AtomicU64::new(LAYERS_BYTES),
        })
    }

    /// Really runs `/bin/true`; how long it took from nothing to nothing.
    async fn run_true(&self) -> Result<Duration, SandboxError> {
        let spec = EnvironmentSpec {
            source: EnvironmentSource::Image { reference: "doctor".to_owned(), files: None },
            build_timeout: Duration::from_secs(60),
            limits: Limits::default(),
            env: BTreeMap::new(),
            workdir: None,
            network: NetworkMode::None,
            healthcheck: None,
            host_root: true,
        };
        let request = EnvironmentRequest { spec, digest: Digest::of(b"doctor"), log: None };
        let image = self.prepared(&request, Arc::new(|_| {})).await?;
        let begun = Instant::now();
        let labels = Labels { run: "doctor".into(), trial: "doctor".into(), role: "doctor".into() };
        let sandbox = self
            .start(SandboxSpec {
                labels,
                image,
                snapshot: None,
                limits: Limits::default(),
                network: NetworkMode::None,
                mounts: Vec::new(),
            })
            .await?;
        let process =
            ProcessSpec { deadline: Some(Duration::from_secs(10)), ..ProcessSpec::new(["/bin/true"]) };
        let exit = sandbox.exec(ExecSpec::new(process)).await?.exit;
        sandbox.destroy().await?;
        match exit {
            Exit::Code(0) => Ok(begun.elapsed()),
            other => Err(SandboxError::Inside { message: format!("/bin/true ended with {other:?}") }),
        }
    }

    /// Attaches a folder or file read-only, or finds it attached.
    pub(super) async fn attach(&self, path: &Path) -> Result<Arc<Attached>, SandboxError> {
        let mut attached = self.attached.lock().await;
        if let Some(found) = attached.get(path).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let made = Arc::new(self.spawner.attach(path, Attach::ReadOnly).await?);
        attached.retain(|_, known| known.strong_count() > 0);
        attached.insert(path.to_owned(), Arc::downgrade(&made));
        Ok(made)
    }

    fn recipe(&self, store: &Store, spec: &SandboxSpec, root: &Root) -> Recipe {
        let frozen = stacked(spec.snapshot.as_ref());
        let overlays = root.overlays.iter().enumerate().map(|(index, overlay)| {
            let own = overlay.lowers.iter().map(Lower::source);
            Overlay {
                at: overlay.at.clone().into_bytes(),
                lowers: frozen.iter().map(|snapshot| snapshot.store.upper(index)).chain(own).collect(),
                upper: store.upper(index),
                work: store.work(index),
            }
        });
        Recipe {
            overlays: overlays.collect(),
            binds: root.binds.iter().map(|(at, source)| bind(at, source)).collect(),
            // Counted by the kernel for each user namespace, hence for each sandbox: where no group counts.
            nproc: spec.limits.pids.filter(|_| !self.cgroups.support().pids),
            commands_groups: 0,
        }
    }

    /// Where its changes go: a file system of the size that was asked for, or the scratch folder.
    async fn store(&self, scratch: Scratch, limits: &Limits) -> Result<Store, SandboxError> {
        let refused = |error| SandboxError::host("make room for what a sandbox writes", error);
        let (Some(limit), Ok(pool)) = (limits.disk_bytes, &self.disks) else {
            return Store::in_scratch(scratch, &self.uppers, &self.remover).map_err(refused);
        };
        let pool = pool.clone();
        let disk = tokio::task::spawn_blocking(move || pool.take(limit))
            .await
            .unwrap_or_else(|_| Err(std::io::Error::other("the thread that makes it ended")))
            .map_err(refused)?;
        let attached = self.spawner.attach_mount(&scratch.path(), disk.root()).await?;
        Store::on_disk(scratch, disk, attached, &self.remover).map_err(refused)
    }

    /// Ends a sandbox that writes more than it may, where no file system of its own stops it.
    fn watch(&self, running: &Arc<Running>, store: &Store, limits: &Limits) -> Result<(), SandboxError> {
        if store.disk.is_some() {
            return Ok(());
        }
        let refused = |error| SandboxError::host("watch what a sandbox writes", error);
        let limit = match limits.disk_bytes {
            Some(limit) => limit,
            None => disk::default_limit(&self.options.state_dir).map_err(refused)?,
        };
        let weak = Arc::downgrade(running);
        let over = Box::new(move |why: String| {
            if let Some(running) = weak.upgrade() {
                running.end(&format!("it wrote {why}"));
            }
        });
        running.keep(self.watchdog.watch(&store.uppers(), limit, over).map_err(refused)?);
        Ok(())
    }

    fn register(&self, run: &str, running: &Arc<Running>) {
        let mut known = lock(&self.running);
        // Looked through when it has doubled, so that starting costs the same however many there were.
        if known.len() == known.capacity() {
            known.retain(|(_, running)| running.strong_count() > 0);
        }
        known.push((run.to_owned(), Arc::downgrade(running)));
    }

    pub(super) async fn start(&self, mut spec: SandboxSpec) -> Result<NativeSandbox, SandboxError> {
        // A fork bomb is held even where the task says nothing of processes.
        spec.limits.pids.get_or_insert(DEFAULT_PIDS);
        let handle = spec.image.handle.downcast_ref::<Arc<Root>>();
        let root = handle.cloned().ok_or_else(|| SandboxError::Unsupported {
            backend: NAME,
            what: "starting a sandbox from another backend's environment".to_owned(),
        })?;
        let mut mounts = Vec::new();
        for mount in &spec.mounts {
            mounts.push((mount.at.clone(), self.attach(&mount.host).await?));
        }
        let refused = |what: &'static str| move |error| SandboxError::host(what, error);
        let wanted = Wanted { labels: &spec.labels, limits: &spec.limits, overlays: root.overlays.len() };
        let Blank { stall: Stall { scratch, group, overlays: made }, control, pid, pidfd } =
            self.blanks.take(wanted).await?;
        let (id, run) = (scratch.id().to_owned(), spec.labels.run.clone());
        let store = Arc::new(self.store(scratch, &spec.limits).await?);
        let made = if store.disk.is_some() { 0 } else { made };
        store.make(&root, made).map_err(refused("make folders for what a sandbox writes"))?;
        let join = match &group {
            Some(group) => group.get().join(&spec.limits).map_err(refused("open a group of processes"))?,
            None => Join::default(),
        };
        let mut recipe = self.recipe(&store, &spec, &root);
        recipe.binds.extend(mounts.iter().map(|(at, source)| bind(at, source)));
        recipe.commands_groups = u32::try_from(join.commands.len()).unwrap_or(u32::MAX);
        let mount_points = mount_points(&recipe);
        let fds: Vec<i32> = join.tasks.iter().chain(&join.commands).map(AsRawFd::as_raw_fd).collect();
        let guest = Guest::start(control, &recipe, &fds).await?;
        drop(join);
        let group = group.map(NewGroup::keep);
        let env = spec.image.env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
        let around =
            Surroundings { env, workdir: spec.image.workdir.clone(), user: spec.image.user.clone(), view: 0 };
        let running = Arc::new(Running::new(id, guest, pidfd, group, Arc::clone(&store)));
        let sandbox = NativeSandbox {
            running: Arc::clone(&running),
            way: Way::new(spec.network, around, Some(pid)),
            _image: spec.image,
            root,
            mount_points,
            _mounts: mounts.into_iter().map(|(_, source)| source).collect(),
            base: spec.snapshot,
            spawner: Arc::clone(&self.spawner),
            next_view: std::sync::atomic::AtomicU32::new(1),
        };
        self.watch(&running, &store, &spec.limits)?;
        self.register(&run, &running);
        Ok(sandbox)
    }
}

/// What can be had here. What an ordinary user cannot have is declared case by case.
fn caps(spawner: &Spawner, cgroups: &Cgroups, disks: &Result<DiskPool, String>) -> Caps {
    let support = cgroups.support();
    let mut caps = Caps { open_network: true, network_per_phase: true, ..Caps::default() };
    let mut declare = |cases: &[&'static str], reason: &str| {
        for case in cases {
            caps.declared.push(Unsupported { case, reason: reason.to_owned() });
        }
    };
    let mut weaknesses = vec![
        "sandboxes share the kernel of this machine: a flaw in it is a way out, as with container engines"
            .to_owned(),
    ];
    if !spawner.privileged {
        let reason = "an ordinary user has no ids to give to a sandbox but one";
        caps.single_user = Some(reason.to_owned());
        declare(&["exec-user", "put-owner"], reason);
        declare(
            &["view-restore", "view-hide"],
            "an ordinary user cannot let a sandbox change the machine's own programs",
        );
        weaknesses.push(
            "everything inside belongs to one user: changing owners does nothing, and says that it did"
                .to_owned(),
        );
    }
    let missing = support.missing.join("; ");
    if !support.cpu_time {
        declare(&["usage"], "processor time and memory are not counted here");
        weaknesses.push(format!("what a sandbox uses is not counted ({missing})"));
    }
    if !support.cpu || !support.cpu_time {
        declare(&["limit-cpus"], "no share of the processors can be set or counted here");
    }
    if !support.memory {
        declare(&["limit-memory", "limit-memory-child"], "memory cannot be limited here");
    }
    if !(support.cpu && support.memory) {
        weaknesses.push(format!("a sandbox may take all processors and all memory ({missing})"));
    }
    if let Err(reason) = disks {
        weaknesses.push(format!("a sandbox that writes too much is ended instead of refused ({reason})"));
    }
    caps.weaknesses = weaknesses;
    caps
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind(at: &str, source: &Attached) -> Bind {
    Bind { at: at.as_bytes().to_vec(), source: Source { slot: source.slot, below: Vec::new() } }
}

fn mount_points(recipe: &Recipe) -> Vec<Vec<u8>> {
    let overlays = recipe.overlays.iter().skip(1).map(|overlay| overlay.at.clone());
    let binds = recipe.binds.iter().map(|bind| bind.at.clone());
    overlays.chain(binds).chain([b"/proc".to_vec(), b"/dev".to_vec()]).collect()
}

#[async_trait]
impl Backend for Native {
    fn name(&self) -> &'static str {
        NAME
    }

    fn caps(&self) -> &Caps {
        &self.caps
    }

    async fn doctor(&self) -> Vec<Probe> {
        let look = doctor::Look {
            state: &self.options.state_dir,
            limits: self.cgroups.support(),
            no_disks: self.disks.as_ref().err().map(String::as_str),
        };
        doctor::probes(look, || self.run_true()).await
    }

    fn admit(&self, request: &EnvironmentRequest) -> Result<(), SandboxError> {
        self.admitted(request)
    }

    async fn prepare(
        &self,
        request: &EnvironmentRequest,
        progress: Progress,
    ) -> Result<Arc<Image>, SandboxError> {
        self.prepared(request, progress).await
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, SandboxError> {
        if let NetworkMode::Allowlist(_) = spec.network {
            return Err(no_list(NAME, &spec.network));
        }
        let open = spec.network == NetworkMode::Open;
        let sandbox = self.start(spec).await?;
        if open {
            sandbox.open_network().await?;
        }
        Ok(Arc::new(sandbox))
    }

    fn limit_images(&self, bytes: Option<u64>) {
        // What a Dockerfile's steps made is kept as layers of ours: the same quota bounds them.
        self.layers_bytes.store(bytes.unwrap_or(LAYERS_BYTES), Ordering::Relaxed);
    }

    async fn reap(&self, filter: ReapFilter) -> Result<Reaped, SandboxError> {
        let store = self.scratch.clone();
        // Ours first: the caller holds the run's lock, so that nothing of it is in use.
        let mut ours = Vec::new();
        if let Some(run) = &filter.run {
            let of_run: Vec<Arc<Running>> = lock(&self.running)
                .iter()
                .filter(|(label, _)| label == run)
                .filter_map(|(_, running)| running.upgrade())
                .filter(|running| !running.is_apart())
                .collect();
            for running in of_run {
                ours.push(running.id.clone());
                if !filter.dry_run {
                    tokio::task::spawn_blocking(move || running.take_apart())
                        .await
                        .unwrap_or_else(|_| Err(SandboxError::Lost { cause: "reaping failed".to_owned() }))?;
                }
            }
        }
        let release =
            |_: &str, folders: &[PathBuf]| group::release(folders).map_err(|error| error.to_string());
        let (layers, keep) = (self.layers.clone(), self.layers_bytes.load(Ordering::Relaxed));
        let reap = move || {
            let mut reaped = store.reap(&filter, &release)?;
            if filter.run.is_none() && !filter.dry_run {
                for removed in [layers.reap()?, layers.prune(keep, LAYERS_UNUSED)?] {
                    reaped.bytes += removed.bytes;
                    reaped.failed.extend(removed.failed);
                }
            }
            Ok::<_, std::io::Error>(reaped)
        };
        tokio::task::spawn_blocking(reap)
            .await
            .map_err(|_| SandboxError::Lost { cause: "reaping failed".to_owned() })?
            .map_err(|error| SandboxError::host("look for what dead owners left", error))
            .map(|mut reaped| {
                reaped.sandboxes.extend(ours);
                reaped.sandboxes.sort();
                reaped
            })
    }
}
