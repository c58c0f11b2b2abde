//! The `docker` backend: opening it, making environments ready, starting sandboxes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use harness_core::NetworkMode;

use super::caps::caps;
use super::client::Client;
use super::door::Doors;
use super::engine::Engine;
use super::images::{ImageLimits, Images};
use super::pool::Pool;
use super::reap;
use super::running::Running;
use super::sandbox::DockerSandbox;
use super::start::Starter;
use super::successor::Ticket;
use super::{ImageHandle, NAME};
use super::{disk, doctor, environment};
use crate::link::network::no_list;
use crate::link::seccomp::{self, Ownership};
use crate::native::disk::watchdog::Watchdog;
use crate::{
    Backend, BackendKind, BackendOptions, Caps, EnvironmentPlan, EnvironmentRequest, Image, Probe, Progress,
    ReapFilter, Reaped, RemovedImages, RootFs, Sandbox, SandboxError, SandboxSpec,
};

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
        open(Client::connect().await?, options).await
    }
}

/// Opens it on an engine that has answered.
pub(crate) async fn open(client: Client, options: BackendOptions) -> Result<Arc<dyn Backend>, SandboxError> {
    Ok(Arc::new(DockerBackend(Arc::new(Inner::open(client, options).await?))))
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
    images: Images,
    pub(crate) pool: Pool,
    options: BackendOptions,
    caps: Caps,
    watchdog: Watchdog,
    /// What runs, with the label of its run.
    running: Mutex<Vec<(String, Weak<Running>)>>,
}

impl Inner {
    async fn open(client: Client, options: BackendOptions) -> Result<Inner, SandboxError> {
        if options.rootfs != RootFs::FromTask {
            return Err(SandboxError::Unsupported {
                backend: NAME,
                what: "running on a root file system that is not an image's: leave --rootfs out, or use --sandbox native".to_owned(),
            });
        }
        let refused = |error| SandboxError::host(format!("use {}", options.state_dir.display()), error);
        std::fs::create_dir_all(&options.state_dir).map_err(refused)?;
        let state_dir = std::fs::canonicalize(&options.state_dir).map_err(refused)?;
        let doors = Doors::open(&state_dir).map_err(refused)?;
        let images = Images::open(client.clone(), &state_dir.join("docker"), ImageLimits::default()).await?;
        let engine = Arc::new(Engine::new(client).await?);
        let caps = caps(&engine);
        let starter = Starter { engine, doors, filters: seccomp::programs(Ownership::Real) };
        Ok(Inner {
            caps,
            starter,
            images,
            pool: Pool::new(),
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

    pub(crate) async fn start(
        &self,
        spec: SandboxSpec,
        wanted: impl Fn() -> bool,
    ) -> Result<DockerSandbox, SandboxError> {
        let running = match self.pool.take(&spec).await {
            Some(running) => running,
            None => {
                let _needed = self.pool.needed();
                self.start_container(&spec, wanted).await?
            }
        };
        let limits = spec.limits;
        let sandbox = DockerSandbox::new(running, spec.network, spec.labels, spec.image).await?;
        disk::watch(&self.watchdog, &sandbox.running, &limits, &self.options.state_dir)?;
        Ok(sandbox)
    }

    /// The container of a process that is gone, with its agent at work.
    async fn take_over(&self, spec: SandboxSpec, ticket: Ticket) -> Result<DockerSandbox, SandboxError> {
        let handle = handle(&spec)?;
        let (name, limits) = (ticket.name.clone(), spec.limits);
        let running = match self.starter.take_over(&spec, handle, &ticket).await {
            Ok(running) => Arc::new(running),
            Err(error) => {
                // It is of no use to anybody any more; what resists is found by its label.
                if self.starter.is_of(&spec, &name).await {
                    let _ = self.starter.engine.remove(&name).await;
                    self.starter.doors.remove(&name);
                }
                return Err(error);
            }
        };
        self.register(&spec.labels.run, &running);
        let sandbox = DockerSandbox::again(running, spec, ticket.proxy).await?;
        disk::watch(&self.watchdog, &sandbox.running, &limits, &self.options.state_dir)?;
        Ok(sandbox)
    }

    /// A container whose PID 1 answers, known as ours.
    pub(crate) async fn start_container(
        &self,
        spec: &SandboxSpec,
        wanted: impl Fn() -> bool,
    ) -> Result<Arc<Running>, SandboxError> {
        let running = Arc::new(self.starter.start(spec, handle(spec)?, wanted).await?);
        self.register(&spec.labels.run, &running);
        Ok(running)
    }
}

fn handle(spec: &SandboxSpec) -> Result<&ImageHandle, SandboxError> {
    spec.image.handle.downcast_ref::<ImageHandle>().ok_or_else(|| SandboxError::Unsupported {
        backend: NAME,
        what: "starting a sandbox from another backend's environment".to_owned(),
    })
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
        doctor::probes(&self.0).await
    }

    fn admit(&self, request: &EnvironmentRequest) -> Result<(), SandboxError> {
        self.images.admit(request)
    }

    async fn prepare(
        &self,
        request: &EnvironmentRequest,
        progress: Progress,
    ) -> Result<Arc<Image>, SandboxError> {
        environment::prepare(&self.starter.engine, &self.images, request, &progress).await
    }

    async fn plan(&self, request: &EnvironmentRequest) -> Result<EnvironmentPlan, SandboxError> {
        self.images.plan(request).await
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, SandboxError> {
        if let NetworkMode::Allowlist(_) = spec.network {
            return Err(no_list(NAME, &spec.network));
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

    async fn take_over(&self, spec: SandboxSpec, ticket: &str) -> Result<Arc<dyn Sandbox>, SandboxError> {
        let inner = Arc::clone(&self.0);
        let ticket = Ticket::parse(ticket)?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let _ = sender.send(inner.take_over(spec, ticket).await);
        });
        let taken = receiver.await.unwrap_or_else(|_| {
            Err(SandboxError::Lost { cause: "taking it over was ended from outside".to_owned() })
        });
        Ok(Arc::new(taken?))
    }

    fn expect(&self, spec: &SandboxSpec) {
        Pool::expect(&self.0, spec);
    }

    async fn forget(&self, run: &str) {
        self.pool.forget(run).await;
    }

    async fn reap(&self, filter: ReapFilter) -> Result<Reaped, SandboxError> {
        reap::reap(self, &filter).await
    }

    fn limit_images(&self, bytes: Option<u64>) {
        self.images.limit(bytes);
    }

    async fn remove_images(&self, dry_run: bool) -> Result<RemovedImages, SandboxError> {
        self.images.remove_all(dry_run).await
    }
}
