//! A backend that breaks chosen calls to the world outside: fails them, loses the sandbox under them, delays or never ends them.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use harness_core::{Connections, NetworkMode};
use harness_sandbox::{
    Backend, Caps, Change, EnvironmentRequest, GetOptions, Image, Place, Probe, Process, ProcessSpec,
    Progress, PutOptions, ReapFilter, Reaped, Sandbox, SandboxError, SandboxSpec, SandboxUsage, Snapshot,
    Source, ViewSpec,
};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The host refuses it, once.
    Fail,
    /// The sandbox is gone before it; what has no sandbox yet is refused.
    Lose,
    /// The call is carried out, and then the sandbox is gone.
    LoseAfter,
    /// It takes its time.
    Delay,
    /// It never answers, and neither does its sandbox from then on.
    Hang,
}

/// Asked before every outside call: its name, and its number from 1.
type Choose = Box<dyn Fn(&'static str, usize) -> Option<Fault> + Send + Sync>;

/// Which calls break, and what was called so far.
pub(crate) struct Faults {
    choose: Choose,
    calls: AtomicUsize,
    fired: AtomicUsize,
    names: Mutex<Vec<&'static str>>,
}

impl Faults {
    pub(crate) fn new(
        choose: impl Fn(&'static str, usize) -> Option<Fault> + Send + Sync + 'static,
    ) -> Arc<Faults> {
        Arc::new(Faults {
            choose: Box::new(choose),
            calls: AtomicUsize::new(0),
            fired: AtomicUsize::new(0),
            names: Mutex::default(),
        })
    }

    /// How many calls broke.
    pub(crate) fn fired(&self) -> usize {
        self.fired.load(Ordering::SeqCst)
    }

    /// The names of all calls, in order.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.names.lock().unwrap().clone()
    }

    /// Whether the sandbox shall be lost after the call.
    async fn before(&self, name: &'static str, sandbox: Option<&Held>) -> Result<bool, SandboxError> {
        if sandbox.is_some_and(|held| held.hung.load(Ordering::SeqCst)) {
            return std::future::pending().await;
        }
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.names.lock().unwrap().push(name);
        let Some(fault) = (self.choose)(name, number) else { return Ok(false) };
        self.fired.fetch_add(1, Ordering::SeqCst);
        let refused = || SandboxError::host(format!("injected into {name}"), std::io::Error::other("fault"));
        match (fault, sandbox) {
            (Fault::Fail, _) | (Fault::Lose, None) => Err(refused()),
            (Fault::Lose, Some(held)) => {
                held.sandbox.destroy().await?;
                Ok(false)
            }
            (Fault::LoseAfter, _) => Ok(true),
            (Fault::Delay, _) => {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Ok(false)
            }
            (Fault::Hang, held) => {
                if let Some(held) = held {
                    held.hung.store(true, Ordering::SeqCst);
                }
                std::future::pending().await
            }
        }
    }
}

/// A backend whose calls break.
pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn Backend>,
    pub(crate) faults: Arc<Faults>,
}

#[async_trait]
impl Backend for Faulty {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn caps(&self) -> &Caps {
        self.inner.caps()
    }

    async fn doctor(&self) -> Vec<Probe> {
        self.inner.doctor().await
    }

    fn admit(&self, request: &EnvironmentRequest) -> Result<(), SandboxError> {
        self.inner.admit(request)
    }

    async fn prepare(
        &self,
        request: &EnvironmentRequest,
        progress: Progress,
    ) -> Result<Arc<Image>, SandboxError> {
        self.faults.before("prepare", None).await?;
        self.inner.prepare(request, progress).await
    }

    fn expect(&self, spec: &SandboxSpec) {
        self.inner.expect(spec);
    }

    async fn forget(&self, run: &str) {
        // It has nothing to say, but it may never end.
        let _ = self.faults.before("forget", None).await;
        self.inner.forget(run).await;
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, SandboxError> {
        let lose = self.faults.before("create", None).await?;
        let inner = self.inner.create(spec).await?;
        if lose {
            inner.destroy().await?;
        }
        let held = Arc::new(Held { sandbox: inner, hung: AtomicBool::new(false) });
        Ok(Arc::new(FaultySandbox { held, faults: self.faults.clone() }))
    }

    async fn reap(&self, filter: ReapFilter) -> Result<Reaped, SandboxError> {
        self.inner.reap(filter).await
    }
}

/// A sandbox, and whether it has stopped answering.
struct Held {
    sandbox: Arc<dyn Sandbox>,
    hung: AtomicBool,
}

struct FaultySandbox {
    held: Arc<Held>,
    faults: Arc<Faults>,
}

/// A view whose calls break like those of its sandbox.
struct FaultyView {
    view: Arc<dyn Place>,
    held: Arc<Held>,
    faults: Arc<Faults>,
}

/// Counts the call, carries it out, and loses the sandbox afterwards where that was chosen.
macro_rules! through {
    ($self:ident, $name:literal, $call:expr) => {{
        let lose = $self.faults.before($name, Some(&$self.held)).await?;
        let result = $call.await;
        if lose {
            $self.held.sandbox.destroy().await?;
        }
        result
    }};
}

#[async_trait]
impl Place for FaultySandbox {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        through!(self, "spawn", self.held.sandbox.spawn(spec))
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        through!(self, "put", self.held.sandbox.put(at, source, options))
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        through!(self, "get", self.held.sandbox.get(from, to, options))
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        through!(self, "read", self.held.sandbox.read(path, limit))
    }
}

#[async_trait]
impl Place for FaultyView {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        through!(self, "view.spawn", self.view.spawn(spec))
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        through!(self, "view.put", self.view.put(at, source, options))
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        through!(self, "view.get", self.view.get(from, to, options))
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        through!(self, "view.read", self.view.read(path, limit))
    }
}

#[async_trait]
impl Sandbox for FaultySandbox {
    fn id(&self) -> &str {
        self.held.sandbox.id()
    }

    async fn kill_all(&self) -> Result<(), SandboxError> {
        through!(self, "kill_all", self.held.sandbox.kill_all())
    }

    async fn freeze(&self, on: bool) -> Result<(), SandboxError> {
        through!(self, "freeze", self.held.sandbox.freeze(on))
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, SandboxError> {
        through!(self, "snapshot", self.held.sandbox.snapshot())
    }

    async fn changes(&self, limit: usize) -> Result<Vec<Change>, SandboxError> {
        through!(self, "changes", self.held.sandbox.changes(limit))
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        through!(self, "usage", self.held.sandbox.usage())
    }

    async fn view(&self, spec: ViewSpec) -> Result<Arc<dyn Place>, SandboxError> {
        let view = through!(self, "view", self.held.sandbox.view(spec))?;
        Ok(Arc::new(FaultyView { view, held: self.held.clone(), faults: self.faults.clone() }))
    }

    async fn listen(&self, port: u16) -> Result<TcpListener, SandboxError> {
        self.held.sandbox.listen(port).await
    }

    async fn set_network(&self, mode: &NetworkMode) -> Result<(), SandboxError> {
        through!(self, "set_network", self.held.sandbox.set_network(mode))
    }

    fn connections(&self) -> Option<Connections> {
        self.held.sandbox.connections()
    }

    async fn destroy(&self) -> Result<SandboxUsage, SandboxError> {
        self.faults.before("destroy", Some(&self.held)).await?;
        self.held.sandbox.destroy().await
    }
}
