//! A backend in which one call from outside goes wrong, so that tests can fail each call in turn.
//!
//! Calls are counted in the order in which they are made; nothing is random. Run once with [`FaultPlan::none`] to learn
//! how many there are ([`FaultBackend::calls`]), then once for each of them with each [`Fault`].

mod sandbox;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use self::sandbox::FaultSandbox;
use crate::{
    Backend, Caps, EnvironmentPlan, EnvironmentRequest, Image, Probe, Progress, ReapFilter, Reaped,
    RemovedImages, Sandbox, SandboxError, SandboxSpec,
};

/// A kind of call, in the order of a trial's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// [`Backend::prepare`].
    Prepare,
    /// [`Backend::create`].
    Create,
    /// [`crate::Place::spawn`], and [`crate::Place::exec`] by way of it.
    Spawn,
    /// [`crate::Place::put`].
    Put,
    /// [`crate::Place::get`].
    Get,
    /// [`crate::Place::read`].
    Read,
    /// [`Sandbox::kill_all`].
    KillAll,
    /// [`Sandbox::freeze`].
    Freeze,
    /// [`Sandbox::snapshot`].
    Snapshot,
    /// [`Sandbox::changes`].
    Changes,
    /// [`Sandbox::usage`].
    Usage,
    /// [`Sandbox::view`].
    View,
    /// [`Sandbox::listen`].
    Listen,
    /// [`Sandbox::set_network`].
    SetNetwork,
    /// [`Sandbox::destroy`].
    Destroy,
    /// [`Backend::reap`].
    Reap,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused, and has no effect.
    Refuse,
    /// It has its effect, and is reported as refused.
    RefuseAfterwards,
    /// The sandbox is gone in the middle of it: streams end as if all were well, and no status ever comes.
    Lose,
    /// It takes that much longer.
    Delay(Duration),
    /// A process's streams end at once, though it goes on and has a status. For other calls nothing.
    StreamsEnd,
}

impl Fault {
    /// One of each kind.
    pub const ALL: &[Fault] = &[
        Fault::Refuse,
        Fault::RefuseAfterwards,
        Fault::Lose,
        Fault::Delay(Duration::from_millis(50)),
        Fault::StreamsEnd,
    ];
}

/// Which call goes wrong, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultPlan {
    /// Which one, counted from 1; 0 for none.
    pub at: usize,
    /// Count calls of this kind alone.
    pub only: Option<Call>,
    /// What goes wrong.
    pub fault: Fault,
    /// Calls after that one, of the same count, go wrong too.
    pub repeats: usize,
}

impl FaultPlan {
    /// Nothing goes wrong.
    pub fn none() -> FaultPlan {
        FaultPlan { at: 0, only: None, fault: Fault::Refuse, repeats: 0 }
    }

    /// The n-th call of all, counted from 1, goes wrong.
    pub fn nth(at: usize, fault: Fault) -> FaultPlan {
        FaultPlan { at, only: None, fault, repeats: 0 }
    }

    /// The n-th call of one kind, counted from 1, goes wrong.
    pub fn nth_of(call: Call, at: usize, fault: Fault) -> FaultPlan {
        FaultPlan { at, only: Some(call), fault, repeats: 0 }
    }
}

/// The backend; clones share their count.
#[derive(Clone)]
pub struct FaultBackend {
    inner: Arc<dyn Backend>,
    ledger: Arc<Ledger>,
}

/// What was called, and what is to go wrong.
struct Ledger {
    plan: FaultPlan,
    calls: Mutex<Vec<Call>>,
}

impl FaultBackend {
    /// Wraps a backend.
    pub fn new(inner: Arc<dyn Backend>, plan: FaultPlan) -> FaultBackend {
        FaultBackend { inner, ledger: Arc::new(Ledger { plan, calls: Mutex::default() }) }
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.ledger.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the call that was to go wrong has been made.
    pub fn struck(&self) -> bool {
        let plan = self.ledger.plan;
        let counted =
            self.calls().into_iter().filter(|call| plan.only.is_none_or(|only| only == *call)).count();
        plan.at > 0 && counted >= plan.at
    }
}

impl Ledger {
    /// Counts a call; says what goes wrong with it.
    fn enter(&self, call: Call) -> Option<Fault> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(call);
        if self.plan.only.is_some_and(|only| only != call) {
            return None;
        }
        let number = calls.iter().filter(|made| self.plan.only.is_none_or(|only| only == **made)).count();
        let struck = self.plan.at > 0 && (self.plan.at..=self.plan.at + self.plan.repeats).contains(&number);
        struck.then_some(self.plan.fault)
    }
}

/// What a refused call says.
fn refusal(call: Call) -> SandboxError {
    SandboxError::host(format!("{call:?} (a fault of the test's)"), std::io::ErrorKind::Other.into())
}

fn loss() -> SandboxError {
    SandboxError::Lost { cause: "a fault of the test's".into() }
}

/// Makes a call go wrong that returns when its work is done. Losing a sandbox is up to `lose`.
async fn disturbed<T>(
    fault: Option<Fault>,
    call: Call,
    work: impl Future<Output = Result<T, SandboxError>>,
    lose: impl AsyncFnOnce(),
) -> Result<T, SandboxError> {
    match fault {
        None | Some(Fault::StreamsEnd) => work.await,
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            work.await
        }
        Some(Fault::Refuse) => Err(refusal(call)),
        Some(Fault::RefuseAfterwards) => {
            drop(work.await?);
            Err(refusal(call))
        }
        Some(Fault::Lose) => {
            lose().await;
            Err(loss())
        }
    }
}

#[async_trait]
impl Backend for FaultBackend {
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
        let fault = self.ledger.enter(Call::Prepare);
        disturbed(fault, Call::Prepare, self.inner.prepare(request, progress), async || ()).await
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, SandboxError> {
        let fault = self.ledger.enter(Call::Create);
        let inner = disturbed(fault, Call::Create, self.inner.create(spec), async || ()).await?;
        Ok(Arc::new(FaultSandbox::new(inner, self.ledger.clone())))
    }

    async fn take_over(&self, spec: SandboxSpec, ticket: &str) -> Result<Arc<dyn Sandbox>, SandboxError> {
        let inner = self.inner.take_over(spec, ticket).await?;
        Ok(Arc::new(FaultSandbox::new(inner, self.ledger.clone())))
    }

    fn expect(&self, spec: &SandboxSpec) {
        self.inner.expect(spec);
    }

    async fn forget(&self, run: &str) {
        self.inner.forget(run).await;
    }

    async fn reap(&self, filter: ReapFilter) -> Result<Reaped, SandboxError> {
        let fault = self.ledger.enter(Call::Reap);
        disturbed(fault, Call::Reap, self.inner.reap(filter), async || ()).await
    }

    async fn plan(&self, request: &EnvironmentRequest) -> Result<EnvironmentPlan, SandboxError> {
        self.inner.plan(request).await
    }

    fn limit_images(&self, bytes: Option<u64>) {
        self.inner.limit_images(bytes);
    }

    async fn remove_images(&self, dry_run: bool) -> Result<RemovedImages, SandboxError> {
        self.inner.remove_images(dry_run).await
    }
}
