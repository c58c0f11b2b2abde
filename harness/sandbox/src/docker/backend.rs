//! The `docker` backend: opening it, making environments ready, starting sandboxes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use harness_core::{Digest, EnvironmentSource, NetworkMode};

use super::caps::caps;
use super::client::{self, Client};
use super::disk;
use super::door::Doors;
use super::engine::Engine;
use super::reap;
use super::running::Running;
use super::sandbox::DockerSandbox;
use super::start::Starter;
use super::{ImageHandle, NAME};
use crate::link::seccomp::{self, Ownership};
use crate::native::disk::watchdog::Watchdog;
use crate::{
    Backend, BackendKind, BackendOptions, Caps, EnvironmentRequest, Image, Probe, Progress, ReapFilter,
    Reaped, Sandbox, SandboxError, SandboxSpec,
};

/// Where programs are looked for when an image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The entry of [`crate::BACKENDS`].
pub(crate) struct DockerKind;

#[async_trait]
impl BackendKind for DockerKind {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "containers of Docker or Podman; builds and uses images"
    }

    async fn open(&self, options: BackendOptions) -> Result<Arc<dyn Backend>, SandboxError> {
        let client = Client::connect().await?;
        Ok(Arc::new(DockerBackend(Arc::new(Inner::open(client, options).await?))))
    }
}

/// An open backend.
pub(crate) struct DockerBackend(Arc<Inner>);

impl std::ops::Deref for DockerBackend {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What outlives a call that was given up.
pub(crate) struct Inner {
    pub(crate) starter: Starter,
    options: BackendOptions,
    caps: Caps,
    watchdog: Watchdog,
    /// What runs, with the label of its run.
    running: Mutex<Vec<(String, Weak<Running>)>>,
}

impl Inner {
    async fn open(client: Client, options: BackendOptions) -> Result<Inner, SandboxError> {
        let refused = |error| SandboxError::host(format!("use {}", options.state_dir.display()), error);
        std::fs::create_dir_all(&options.state_dir).map_err(refused)?;
        let state_dir = std::fs::canonicalize(&options.state_dir).map_err(refused)?;
        let doors = Doors::open(&state_dir).map_err(refused)?;
        let engine = Arc::new(Engine::new(client).await?);
        let caps = caps(&engine);
        let starter = Starter { engine, doors, filters: seccomp::programs(Ownership::Real) };
        Ok(Inner {
            caps,
            starter,
            options: BackendOptions { state_dir, ..options },
            watchdog: Watchdog::new(),
            running: Mutex::default(),
        })
    }

    /// Containers of this process, by name, with the label of their run.
    pub(crate) fn own(&self) -> HashMap<String, (String, Arc<Running>)> {
        lock(&self.running)
            .iter()
            .filter_map(|(run, running)| Some((run.clone(), running.upgrade()?)))
            .filter(|(_, running)| !running.is_apart())
            .map(|(run, running)| (running.name.clone(), (run, running)))
            .collect()
    }

    fn register(&self, run: &str, running: &Arc<Running>) {
        let mut known = lock(&self.running);
        if known.len() == known.capacity() {
            known.retain(|(_, running)| running.strong_count() > 0);
        }
        known.push((run.to_owned(), Arc::downgrade(running)));
    }

    async fn start(
        &self,
        spec: SandboxSpec,
        wanted: impl Fn() -> bool,
    ) -> Result<DockerSandbox, SandboxError> {
        let handle =
            spec.image.handle.downcast_ref::<ImageHandle>().ok_or_else(|| SandboxError::Unsupported {
                backend: NAME,
                what: "starting a sandbox from another backend's environment".to_owned(),
            })?;
        let running = self.starter.start(&spec, handle, wanted).await?;
        let sandbox = DockerSandbox::new(running, spec.network, spec.labels.clone(), spec.image).await?;
        disk::watch(&self.watchdog, &sandbox.running, &spec.limits, &self.options.state_dir)?;
        self.register(&spec.labels.run, &sandbox.running);
        Ok(sandbox)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Backend for DockerBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn caps(&self) -> &Caps {
        &self.caps
    }

    async fn doctor(&self) -> Vec<Probe> {
        Vec::new()
    }

    fn admit(&self, _request: &EnvironmentRequest) -> Result<(), SandboxError> {
        Ok(())
    }

    async fn prepare(
        &self,
        request: &EnvironmentRequest,
        _progress: Progress,
    ) -> Result<Arc<Image>, SandboxError> {
        let EnvironmentSource::Image { reference, .. } = &request.spec.source else {
            return Err(SandboxError::Unsupported { backend: NAME, what: "building images yet".into() });
        };
        let inspected = self.starter.engine.client.short().inspect_image(reference).await;
        let inspected =
            inspected.map_err(|error| client::failed(format!("look at the image {reference}"), error))?;
        let config = inspected.config.unwrap_or_default();
        let id = inspected.id.unwrap_or_default();
        let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned()), ("HOME".into(), "/root".into())]);
        let pairs = config.env.unwrap_or_default();
        env.extend(
            pairs
                .iter()
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name.into(), value.into())),
        );
        env.extend(request.spec.env.clone());
        let workdir = config.working_dir.filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
        let handle = ImageHandle {
            layers: inspected.root_fs.and_then(|root| root.layers).map_or(0, |layers| layers.len()),
            volumes: config.volumes.unwrap_or_default(),
            id: id.clone(),
        };
        Ok(Arc::new(Image {
            digest: Digest::of(id.as_bytes()),
            name: reference.clone(),
            env,
            workdir: request.spec.workdir.clone().unwrap_or(workdir),
            user: config.user.filter(|user| !user.is_empty()),
            weaknesses: Vec::new(),
            handle: Box::new(handle),
        }))
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, SandboxError> {
        if let NetworkMode::Allowlist(_) = spec.network {
            return Err(SandboxError::Unsupported {
                backend: NAME,
                what: format!("the network {}; use none, gateway or open", spec.network),
            });
        }
        let inner = Arc::clone(&self.0);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // A request that is given up half-way may still be carried out: it is seen to its end, and undone when nobody waits.
        tokio::spawn(async move {
            let made = inner.start(spec, || !sender.is_closed()).await;
            let _ = sender.send(made);
        });
        let made = receiver.await.unwrap_or_else(|_| {
            Err(SandboxError::Lost { cause: "starting it was ended from outside".to_owned() })
        });
        Ok(Arc::new(made?))
    }

    async fn reap(&self, filter: ReapFilter) -> Result<Reaped, SandboxError> {
        reap::reap(self, &filter).await
    }
}
