//! The sandboxes and views of a [`super::FaultBackend`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use harness_core::{Connections, NetworkMode};

use super::{Call, Fault, Ledger, disturbed, loss, refusal};
use crate::{
    Change, GetOptions, Place, Process, ProcessSpec, PutOptions, Sandbox, SandboxError, SandboxUsage,
    Snapshot, Source, ViewSpec,
};

pub(super) struct FaultSandbox {
    inner: Arc<dyn Sandbox>,
    ledger: Arc<Ledger>,
}

/// A view, and the sandbox that goes with it when it is lost.
struct FaultView {
    inner: Arc<dyn Place>,
    sandbox: Arc<dyn Sandbox>,
    ledger: Arc<Ledger>,
}

impl FaultSandbox {
    pub(super) fn new(inner: Arc<dyn Sandbox>, ledger: Arc<Ledger>) -> FaultSandbox {
        FaultSandbox { inner, ledger }
    }

    async fn call<T>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, SandboxError>>,
    ) -> Result<T, SandboxError> {
        disturbed(self.ledger.enter(call), call, work, async || lose(&self.inner).await).await
    }
}

/// Loses a sandbox for good. How its removal went is not what the test is about.
async fn lose(sandbox: &Arc<dyn Sandbox>) {
    let _ = sandbox.destroy().await;
}

/// Starts a process, of which something may go wrong once it runs.
async fn spawn(
    fault: Option<Fault>,
    place: &dyn Place,
    sandbox: &Arc<dyn Sandbox>,
    spec: ProcessSpec,
) -> Result<Process, SandboxError> {
    match fault {
        Some(Fault::Refuse) => return Err(refusal(Call::Spawn)),
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    let mut process = place.spawn(spec).await?;
    match fault {
        // Dropped, so its tree is ended.
        Some(Fault::RefuseAfterwards) => return Err(refusal(Call::Spawn)),
        Some(Fault::StreamsEnd) => {
            let streams = (
                std::mem::replace(&mut process.stdout, Box::new(tokio::io::empty())),
                std::mem::replace(&mut process.stderr, Box::new(tokio::io::empty())),
            );
            // Still read, so that the process meets no closed pipe.
            for mut stream in [streams.0, streams.1] {
                tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
            }
        }
        Some(Fault::Lose) => {
            process.stdin = process.stdin.map(|_| Box::new(tokio::io::sink()) as Box<_>);
            process.stdout = Box::new(tokio::io::empty());
            process.stderr = Box::new(tokio::io::empty());
            let sandbox = sandbox.clone();
            process.exit = Box::pin(async move {
                lose(&sandbox).await;
                Err(loss())
            });
        }
        _ => {}
    }
    Ok(process)
}

#[async_trait]
impl Place for FaultSandbox {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        spawn(self.ledger.enter(Call::Spawn), &Whole(self.inner.clone()), &self.inner, spec).await
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        self.call(Call::Put, self.inner.put(at, source, options)).await
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        self.call(Call::Get, self.inner.get(from, to, options)).await
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        self.call(Call::Read, self.inner.read(path, limit)).await
    }
}

#[async_trait]
impl Sandbox for FaultSandbox {
    fn id(&self) -> &str {
        self.inner.id()
    }

    async fn kill_all(&self) -> Result<(), SandboxError> {
        self.call(Call::KillAll, self.inner.kill_all()).await
    }

    async fn freeze(&self, on: bool) -> Result<(), SandboxError> {
        self.call(Call::Freeze, self.inner.freeze(on)).await
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, SandboxError> {
        self.call(Call::Snapshot, self.inner.snapshot()).await
    }

    async fn changes(&self, limit: usize) -> Result<Vec<Change>, SandboxError> {
        self.call(Call::Changes, self.inner.changes(limit)).await
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        self.call(Call::Usage, self.inner.usage()).await
    }

    async fn view(&self, spec: ViewSpec) -> Result<Arc<dyn Place>, SandboxError> {
        let inner = self.call(Call::View, self.inner.view(spec)).await?;
        Ok(Arc::new(FaultView { inner, sandbox: self.inner.clone(), ledger: self.ledger.clone() }))
    }

    async fn listen(&self, port: u16) -> Result<std::net::TcpListener, SandboxError> {
        self.call(Call::Listen, self.inner.listen(port)).await
    }

    async fn set_network(&self, mode: &NetworkMode) -> Result<(), SandboxError> {
        self.call(Call::SetNetwork, self.inner.set_network(mode)).await
    }

    async fn outlive(&self, linger: Duration) -> Result<String, SandboxError> {
        self.inner.outlive(linger).await
    }

    fn let_go(&self, kept: u64) {
        self.inner.let_go(kept);
    }

    fn connections(&self) -> Option<Connections> {
        self.inner.connections()
    }

    async fn destroy(&self) -> Result<SandboxUsage, SandboxError> {
        self.call(Call::Destroy, self.inner.destroy()).await
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

impl FaultView {
    async fn call<T>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, SandboxError>>,
    ) -> Result<T, SandboxError> {
        disturbed(self.ledger.enter(call), call, work, async || lose(&self.sandbox).await).await
    }
}

#[async_trait]
impl Place for FaultView {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        spawn(self.ledger.enter(Call::Spawn), &*self.inner, &self.sandbox, spec).await
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        self.call(Call::Put, self.inner.put(at, source, options)).await
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        self.call(Call::Get, self.inner.get(from, to, options)).await
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        self.call(Call::Read, self.inner.read(path, limit)).await
    }
}
