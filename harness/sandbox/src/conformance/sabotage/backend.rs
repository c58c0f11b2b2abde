//! A backend whose sandboxes break a promise.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use harness_core::{Connections, NetworkMode};

use super::place::{SabotagedPlace, play};
use super::{Sabotage, Saboteur};
use crate::{
    Backend, Caps, Change, EnvironmentRequest, ExecResult, ExecSpec, GetOptions, Image, Place, Probe,
    Process, ProcessSpec, Progress, PutOptions, ReapFilter, Reaped, Sandbox, SandboxError, SandboxSpec,
    SandboxUsage, Snapshot, Source, ViewSpec,
};

pub(super) struct SabotagedBackend(pub(super) Arc<Saboteur>);

struct SabotagedSandbox {
    place: SabotagedPlace,
    spec: SandboxSpec,
    destroyed: AtomicBool,
}

impl SabotagedSandbox {
    fn how(&self) -> Sabotage {
        self.place.saboteur.how
    }

    fn inner(&self) -> &Arc<dyn Sandbox> {
        &self.place.sandbox
    }
}

#[async_trait]
impl Backend for SabotagedBackend {
    fn name(&self) -> &'static str {
        self.0.inner.name()
    }

    fn caps(&self) -> &Caps {
        self.0.inner.caps()
    }

    async fn doctor(&self) -> Vec<Probe> {
        self.0.inner.doctor().await
    }

    fn admit(&self, request: &EnvironmentRequest) -> Result<(), SandboxError> {
        self.0.inner.admit(request)
    }

    async fn prepare(
        &self,
        request: &EnvironmentRequest,
        progress: Progress,
    ) -> Result<Arc<Image>, SandboxError> {
        self.0.inner.prepare(request, progress).await
    }

    async fn create(&self, mut spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, SandboxError> {
        let saboteur = self.0.clone();
        match saboteur.how {
            Sabotage::Create(change) => change(&mut spec),
            Sabotage::SnapshotDies if spec.snapshot.is_some() => {
                return Err(SandboxError::Lost { cause: "sabotage".into() });
            }
            _ => {}
        }
        let shared = match saboteur.how {
            Sabotage::ShareSandbox => {
                saboteur.kept.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
            }
            _ => None,
        };
        let inner = match (shared, saboteur.how) {
            (Some(shared), _) => shared,
            (None, Sabotage::DetachCreate) => {
                let (saboteur, spec) = (saboteur.clone(), spec.clone());
                let task = tokio::spawn(async move {
                    let made = saboteur.inner.create(spec).await?;
                    saboteur.keep(made.clone());
                    Ok::<_, SandboxError>(made)
                });
                task.await.map_err(|error| SandboxError::Lost { cause: error.to_string() })??
            }
            (None, Sabotage::OpenBadly) if spec.network == NetworkMode::Open => {
                saboteur.inner.create(spec.clone()).await.map_err(|_| SandboxError::Cancelled)?
            }
            (None, _) => saboteur.inner.create(spec.clone()).await?,
        };
        match saboteur.how {
            Sabotage::AfterRestore(script) if spec.snapshot.is_some() => play(&inner, script).await,
            Sabotage::ShareSandbox
            | Sabotage::LeakDropped
            | Sabotage::LeakDestroyed
            | Sabotage::ReapLiving => saboteur.keep(inner.clone()),
            _ => {}
        }
        let as_place = Arc::new(Whole(inner.clone()));
        let place = SabotagedPlace { saboteur, inner: as_place, sandbox: inner };
        Ok(Arc::new(SabotagedSandbox { place, spec, destroyed: AtomicBool::new(false) }))
    }

    fn expect(&self, spec: &SandboxSpec) {
        let mut spec = spec.clone();
        // What `create` will ask for.
        if let Sabotage::Create(change) = self.0.how {
            change(&mut spec);
        }
        self.0.inner.expect(&spec);
    }

    async fn forget(&self, run: &str) {
        self.0.inner.forget(run).await;
    }

    async fn reap(&self, filter: ReapFilter) -> Result<Reaped, SandboxError> {
        match self.0.how {
            Sabotage::ReapNothing => Ok(Reaped::default()),
            Sabotage::ReapUnasked => self.0.inner.reap(ReapFilter { dry_run: false, ..filter }).await,
            Sabotage::ReapLiving => {
                let living = std::mem::take(&mut *self.0.kept.lock().unwrap_or_else(PoisonError::into_inner));
                for sandbox in living {
                    sandbox.destroy().await?;
                }
                self.0.inner.reap(filter).await
            }
            _ => self.0.inner.reap(filter).await,
        }
    }
}

/// A sandbox as a place.
struct Whole(Arc<dyn Sandbox>);

#[async_trait]
impl Place for Whole {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        self.0.spawn(spec).await
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        self.0.put(at, source, options).await
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        self.0.get(from, to, options).await
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        self.0.read(path, limit).await
    }
}

#[async_trait]
impl Place for SabotagedSandbox {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        self.place.spawn(spec).await
    }

    async fn exec(&self, spec: ExecSpec) -> Result<ExecResult, SandboxError> {
        self.place.exec(spec).await
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
impl Sandbox for SabotagedSandbox {
    fn id(&self) -> &str {
        self.inner().id()
    }

    async fn kill_all(&self) -> Result<(), SandboxError> {
        self.inner().kill_all().await?;
        if let Sabotage::AfterKillAll(script) = self.how() {
            play(self.inner(), script).await;
        }
        Ok(())
    }

    async fn freeze(&self, on: bool) -> Result<(), SandboxError> {
        match self.how() {
            Sabotage::IgnoreFreeze => Ok(()),
            _ => self.inner().freeze(on).await,
        }
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, SandboxError> {
        self.inner().snapshot().await
    }

    async fn changes(&self, limit: usize) -> Result<Vec<Change>, SandboxError> {
        match self.how() {
            Sabotage::Changes(change) => self.inner().changes(usize::MAX).await.map(change),
            _ => self.inner().changes(limit).await,
        }
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        let mut usage = self.inner().usage().await?;
        if let Sabotage::Usage(change) = self.how() {
            change(&mut usage);
        }
        Ok(usage)
    }

    async fn view(&self, mut spec: ViewSpec) -> Result<Arc<dyn Place>, SandboxError> {
        let mut sandbox = self.inner().clone();
        let inner: Arc<dyn Place> = match self.how() {
            Sabotage::ViewIsSandbox => Arc::new(Whole(sandbox.clone())),
            Sabotage::ViewIsFresh => {
                sandbox = self.place.saboteur.inner.create(self.spec.clone()).await?;
                Arc::new(Whole(sandbox.clone()))
            }
            Sabotage::View(change) => {
                change(&mut spec);
                sandbox.view(spec).await?
            }
            _ => sandbox.view(spec).await?,
        };
        Ok(Arc::new(SabotagedPlace { saboteur: self.place.saboteur.clone(), inner, sandbox }))
    }

    async fn listen(&self, port: u16) -> Result<TcpListener, SandboxError> {
        match self.how() {
            Sabotage::ListenOnHost => TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .map_err(|error| SandboxError::host("listen on the host", error)),
            _ => self.inner().listen(port).await,
        }
    }

    async fn set_network(&self, mode: &NetworkMode) -> Result<(), SandboxError> {
        match self.how() {
            Sabotage::IgnoreNetwork => Ok(()),
            _ => self.inner().set_network(mode).await,
        }
    }

    fn connections(&self) -> Option<Connections> {
        let mut connections = self.inner().connections();
        if let (Sabotage::Connections(change), Some(connections)) = (self.how(), &mut connections) {
            change(connections);
        }
        connections
    }

    async fn destroy(&self) -> Result<SandboxUsage, SandboxError> {
        let again = self.destroyed.swap(true, Ordering::AcqRel);
        match self.how() {
            Sabotage::LeakDestroyed => Ok(SandboxUsage::default()),
            Sabotage::DestroyOnce if again => Err(SandboxError::Lost { cause: "sabotage".into() }),
            _ => self.inner().destroy().await,
        }
    }
}
