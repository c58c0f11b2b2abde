//! The `native` backend: opening it, making environments ready, starting sandboxes, removing what dead owners left.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use harness_core::{Digest, NetworkMode};
use harness_guest::recipe::{Bind, Overlay, Recipe, Source};
use harness_guest::sys;

use super::guest::Guest;
use super::hostroot::{self, HostView};
use super::process::Surroundings;
use super::root::{Root, RootOverlay};
use super::running::Running;
use super::sandbox::{NativeSandbox, NativeSnapshot};
use super::scratch::{Scratch, ScratchStore};
use super::seccomp::{self, Ownership};
use super::skeleton;
use super::spawner::{Attach, Attached, ID_BASE, ID_COUNT, Spawner};
use super::{NAME, capabilities};
use crate::{
    Backend, BackendKind, BackendOptions, Caps, EnvironmentRequest, Image, Probe, ProbeStatus, Progress,
    ReapFilter, Reaped, RootFs, Sandbox, SandboxError, SandboxSpec,
};

/// `/dev/shm` of each sandbox. What is written there counts as its memory.
const SHM_BYTES: u64 = 64 << 20;
/// PATH where nothing else says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
    options: BackendOptions,
    caps: Caps,
    scratch: ScratchStore,
    filters: Vec<Vec<u8>>,
    spawner: Arc<Spawner>,
    /// The folder of all scratch folders, as recipes name it.
    uppers: Arc<Attached>,
    /// What is attached, by host path.
    attached: tokio::sync::Mutex<HashMap<PathBuf, Weak<Attached>>>,
    /// The host's root, planned and attached once.
    host_root: tokio::sync::Mutex<Option<(Arc<Root>, Digest, String)>>,
}

impl Native {
    async fn open(options: BackendOptions) -> Result<Native, SandboxError> {
        let refused = |error| SandboxError::host(format!("use {}", options.state_dir.display()), error);
        std::fs::create_dir_all(&options.state_dir).map_err(refused)?;
        let state_dir = std::fs::canonicalize(&options.state_dir).map_err(refused)?;
        let options = BackendOptions { state_dir, ..options };
        let scratch = ScratchStore::open(&options.state_dir)
            .map_err(|error| SandboxError::host("open the scratch folders", error))?;
        let privileged = capabilities::are_roots();
        let ownership = if privileged { Ownership::Real } else { Ownership::Pretended };
        let filters = seccomp::programs(ownership).map_err(|error| SandboxError::Unsupported {
            backend: NAME,
            what: format!("a system call filter for this processor: {error}"),
        })?;
        let spawner = Arc::new(Spawner::start(privileged).await?);
        let uppers = spawner.attach(&options.state_dir.join("scratch"), Attach::Writable).await?;
        Ok(Native {
            caps: Caps::default(),
            options,
            scratch,
            filters,
            spawner,
            uppers: Arc::new(uppers),
            attached: tokio::sync::Mutex::default(),
            host_root: tokio::sync::Mutex::default(),
        })
    }

    /// Attaches a folder or file read-only, or finds it attached.
    async fn attach(&self, path: &Path) -> Result<Arc<Attached>, SandboxError> {
        let mut attached = self.attached.lock().await;
        if let Some(found) = attached.get(path).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let made = Arc::new(self.spawner.attach(path, Attach::ReadOnly).await?);
        attached.retain(|_, known| known.strong_count() > 0);
        attached.insert(path.to_owned(), Arc::downgrade(&made));
        Ok(made)
    }

    /// The host's root: the plan is made once in this backend's life.
    async fn host_root(&self) -> Result<(Arc<Root>, Digest, String), SandboxError> {
        let mut known = self.host_root.lock().await;
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let mut hidden = self.options.hidden.clone();
        hidden.push(self.options.state_dir.clone());
        let plan = tokio::task::spawn_blocking(move || hostroot::plan(&HostView::here(hidden)))
            .await
            .map_err(|_| SandboxError::Lost { cause: "planning the host's root failed".to_owned() })?
            .map_err(|error| SandboxError::host("look at the host's root", error))?;
        let store = self.options.state_dir.join("skeletons");
        let kept = |error| SandboxError::host(format!("use {}", store.display()), error);
        let owner = self.spawner.privileged.then_some(0);
        let base = plan.skeleton.make(&store, owner).map_err(kept)?;
        let mut overlays = vec![RootOverlay::new("/", vec![self.attach(&base).await?])];
        for shown in &plan.overlays {
            let mut lowers = Vec::new();
            if !shown.masked.is_empty() {
                let mask = skeleton::mask(&shown.masked).make(&store, owner).map_err(kept)?;
                lowers.push(self.attach(&mask).await?);
            }
            lowers.push(self.attach(&shown.host).await?);
            overlays.push(RootOverlay::new(&shown.at.to_string_lossy(), lowers));
        }
        let mut binds = Vec::new();
        for shown in &plan.binds {
            // An overlay without an upper layer would do for a masked one; it is an overlay like the others instead.
            if shown.masked.is_empty() {
                binds.push((shown.at.to_string_lossy().into_owned(), self.attach(&shown.host).await?));
            } else {
                let mask = skeleton::mask(&shown.masked).make(&store, owner).map_err(kept)?;
                let lowers = vec![self.attach(&mask).await?, self.attach(&shown.host).await?];
                overlays.push(RootOverlay::new(&shown.at.to_string_lossy(), lowers));
            }
        }
        let made = (Arc::new(Root { overlays, binds }), plan.digest, plan.path);
        *known = Some(made.clone());
        Ok(made)
    }

    fn recipe(&self, scratch: &str, spec: &SandboxSpec, root: &Root) -> Recipe {
        let (uids, gids) = if self.spawner.privileged {
            (vec![(0, ID_BASE, ID_COUNT)], vec![(0, ID_BASE, ID_COUNT)])
        } else {
            (vec![(0, 0, 1)], vec![(0, 0, 1)])
        };
        let upper = |index: usize, part: &str| Source {
            slot: self.uppers.slot,
            below: format!("{scratch}/{index}/{part}").into_bytes(),
        };
        let stacked = snapshots(spec.snapshot.as_ref());
        let overlays = root.overlays.iter().enumerate().map(|(index, overlay)| {
            let frozen = stacked.iter().map(|snapshot| Source {
                slot: self.uppers.slot,
                below: format!("{}/{index}/u", snapshot.scratch.id()).into_bytes(),
            });
            let own = overlay.lowers.iter().map(|lower| Source { slot: lower.slot, below: Vec::new() });
            Overlay {
                at: overlay.at.clone().into_bytes(),
                lowers: frozen.chain(own).collect(),
                upper: upper(index, "u"),
                work: upper(index, "w"),
            }
        });
        let binds = root.binds.iter().map(|(at, source)| Bind {
            at: at.clone().into_bytes(),
            source: Source { slot: source.slot, below: Vec::new() },
        });
        Recipe {
            hostname: b"sandbox".to_vec(),
            uids,
            gids,
            overlays: overlays.collect(),
            binds: binds.collect(),
            shm_bytes: SHM_BYTES,
            capabilities: capabilities::COMMANDS,
            view_capabilities: capabilities::VIEWS,
            filters: self.filters.clone(),
            nproc: None,
        }
    }

    fn make_uppers(&self, scratch: &Scratch, root: &Root) -> std::io::Result<()> {
        let folder = scratch.path();
        for (index, overlay) in root.overlays.iter().enumerate() {
            let place = folder.join(index.to_string());
            let make = |path: &Path| std::fs::DirBuilder::new().mode(0o755).create(path);
            make(&place)?;
            make(&place.join("w"))?;
            let upper = place.join("u");
            make(&upper)?;
            // Not by the builder: our own umask must not matter.
            std::fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(overlay.mode))?;
        }
        Ok(())
    }

    async fn start(&self, spec: SandboxSpec) -> Result<NativeSandbox, SandboxError> {
        let handle = spec.image.handle.downcast_ref::<Arc<Root>>();
        let root = handle.cloned().ok_or_else(|| SandboxError::Unsupported {
            backend: NAME,
            what: "starting a sandbox from another backend's environment".to_owned(),
        })?;
        let mut bound = Vec::new();
        for mount in &spec.mounts {
            bound.push((mount.at.clone(), self.attach(&mount.host).await?));
        }
        let scratch = self
            .scratch
            .make(&spec.labels)
            .map_err(|error| SandboxError::host("make a scratch folder", error))?;
        self.make_uppers(&scratch, &root)
            .map_err(|error| SandboxError::host("make a scratch folder", error))?;
        let mut recipe = self.recipe(scratch.id(), &spec, &root);
        recipe.binds.extend(bound.iter().map(|(at, source)| Bind {
            at: at.clone().into_bytes(),
            source: Source { slot: source.slot, below: Vec::new() },
        }));
        let (ours, theirs) =
            sys::socket_pair().map_err(|error| SandboxError::host("make a pair of sockets", error))?;
        let (_, pidfd) = self.spawner.create(recipe, false, &[theirs.as_fd()]).await?;
        drop(theirs);
        let guest = Guest::connect(ours).await?;
        let id = scratch.id().to_owned();
        let env = spec.image.env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
        Ok(NativeSandbox {
            running: Arc::new(Running::new(id, guest, pidfd, Arc::new(scratch))),
            around: Surroundings {
                env,
                workdir: spec.image.workdir.clone(),
                user: spec.image.user.clone(),
                view: 0,
            },
            network: spec.network,
            image: spec.image,
            base: spec.snapshot,
        })
    }
}

/// A snapshot and what it is stacked on, uppermost first.
fn snapshots(top: Option<&Arc<crate::Snapshot>>) -> Vec<&NativeSnapshot> {
    let mut found = Vec::new();
    let mut next = top;
    while let Some(snapshot) = next.and_then(|snapshot| snapshot.handle.as_any().downcast_ref()) {
        let snapshot: &NativeSnapshot = snapshot;
        found.push(snapshot);
        next = snapshot.base.as_ref();
    }
    found
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
        vec![Probe {
            name: "native sandbox".to_owned(),
            status: ProbeStatus::Good,
            detail: String::new(),
            remedy: None,
        }]
    }

    fn admit(&self, request: &EnvironmentRequest) -> Result<(), SandboxError> {
        match (&self.options.rootfs, request.spec.host_root) {
            (RootFs::FromTask, false) => Err(SandboxError::Unsupported {
                backend: NAME,
                what: "this environment is an image, which the native sandbox cannot fetch: give --rootfs host, a \
                       folder or a tar archive"
                    .to_owned(),
            }),
            (RootFs::Tar(_), _) => Err(SandboxError::Unsupported {
                backend: NAME,
                what: "a tar archive as root, yet".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    async fn prepare(
        &self,
        request: &EnvironmentRequest,
        _progress: Progress,
    ) -> Result<Arc<Image>, SandboxError> {
        self.admit(request)?;
        let (root, digest, path, name) = match &self.options.rootfs {
            RootFs::FromTask | RootFs::Host | RootFs::Tar(_) => {
                let (root, digest, path) = self.host_root().await?;
                (root, digest, path, "host".to_owned())
            }
            RootFs::Dir(folder) => {
                let attached = self.attach(folder).await?;
                let root = Root { overlays: vec![RootOverlay::new("/", vec![attached])], binds: Vec::new() };
                let digest = Digest::of(folder.as_os_str().as_encoded_bytes());
                (Arc::new(root), digest, DEFAULT_PATH.to_owned(), folder.display().to_string())
            }
        };
        let mut env = BTreeMap::from([("PATH".to_owned(), path)]);
        env.extend(request.spec.env.clone());
        Ok(Arc::new(Image {
            digest,
            name,
            env,
            workdir: request.spec.workdir.clone().unwrap_or_else(|| "/".to_owned()),
            user: None,
            weaknesses: Vec::new(),
            handle: Box::new(root),
        }))
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, SandboxError> {
        if let NetworkMode::Open | NetworkMode::Allowlist(_) = spec.network {
            return Err(SandboxError::Unsupported {
                backend: NAME,
                what: format!("the network {}; use none or gateway", spec.network),
            });
        }
        Ok(Arc::new(self.start(spec).await?))
    }

    async fn reap(&self, filter: ReapFilter) -> Result<Reaped, SandboxError> {
        let store = self.scratch.clone();
        tokio::task::spawn_blocking(move || store.reap(&filter, &|_| Ok(())))
            .await
            .map_err(|_| SandboxError::Lost { cause: "reaping failed".to_owned() })?
            .map_err(|error| SandboxError::host("look for what dead owners left", error))
    }
}
