//! A native sandbox behind the traits of this crate.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use harness_core::NetworkMode;
use harness_guest::message::Request;

use super::process::{self, Surroundings};
use super::running::Running;
use super::transfer;
use super::{NAME, Root};
use crate::{
    Change, GetOptions, Image, Place, Process, ProcessSpec, PutOptions, Sandbox, SandboxError, SandboxUsage,
    Snapshot, SnapshotHandle, Source, ViewSpec,
};

/// See [`crate::Sandbox`].
pub(crate) struct NativeSandbox {
    pub(crate) running: Arc<Running>,
    pub(crate) around: Surroundings,
    pub(crate) network: NetworkMode,
    /// Keeps what the sandbox is made of: its image, and the snapshot that it started from.
    pub(crate) image: Arc<Image>,
    pub(crate) base: Option<Arc<Snapshot>>,
}

impl Drop for NativeSandbox {
    fn drop(&mut self) {
        self.running.end("its last handle was dropped");
        let running = Arc::clone(&self.running);
        // Removing files takes its time; whoever drops a handle may be anywhere.
        std::thread::spawn(move || running.take_apart());
    }
}

#[async_trait]
impl Place for NativeSandbox {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        process::spawn(&self.running, &self.around, spec).await
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        transfer::put(&self.running.guest, 0, at, source, options).await
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        transfer::get(&self.running.guest, 0, from, to, options).await
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        transfer::read(&self.running.guest, 0, path, limit).await
    }
}

#[async_trait]
impl Sandbox for NativeSandbox {
    fn id(&self) -> &str {
        &self.running.id
    }

    async fn kill_all(&self) -> Result<(), SandboxError> {
        self.running.guest.ask(|call| Request::KillAll { call }, &[])?.done().await?;
        Ok(())
    }

    async fn freeze(&self, on: bool) -> Result<(), SandboxError> {
        self.running.guest.ask(|call| Request::Stop { call, on }, &[])?.done().await?;
        Ok(())
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, SandboxError> {
        Err(SandboxError::Unsupported { backend: NAME, what: "snapshot, yet".to_owned() })
    }

    async fn changes(&self, _limit: usize) -> Result<Vec<Change>, SandboxError> {
        Err(SandboxError::Unsupported { backend: NAME, what: "changes, yet".to_owned() })
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        match self.running.guest.lost() {
            Some(cause) => Err(SandboxError::Lost { cause }),
            None => Ok(self.running.usage()),
        }
    }

    async fn view(&self, _spec: ViewSpec) -> Result<Arc<dyn Place>, SandboxError> {
        Err(SandboxError::Unsupported { backend: NAME, what: "views, yet".to_owned() })
    }

    async fn listen(&self, port: u16) -> Result<std::net::TcpListener, SandboxError> {
        if !matches!(self.network, NetworkMode::Gateway | NetworkMode::Open) {
            return Err(SandboxError::Unsupported {
                backend: NAME,
                what: format!("a listener in a sandbox whose network is {}", self.network),
            });
        }
        let mut fds = self.running.guest.ask(|call| Request::Listen { call, port }, &[])?.done().await?;
        fds.pop()
            .map(std::net::TcpListener::from)
            .ok_or_else(|| SandboxError::Lost { cause: "its PID 1 passed no listener".to_owned() })
    }

    async fn destroy(&self) -> Result<SandboxUsage, SandboxError> {
        let running = Arc::clone(&self.running);
        tokio::task::spawn_blocking(move || running.take_apart())
            .await
            .unwrap_or_else(|_| Err(SandboxError::Lost { cause: "taking it apart failed".to_owned() }))
    }
}

/// A fixed state: the scratch folder of the sandbox that made it, and what that sandbox itself was stacked on.
pub(crate) struct NativeSnapshot {
    pub(crate) scratch: Arc<super::scratch::Scratch>,
    pub(crate) root: Arc<Root>,
    pub(crate) base: Option<Arc<Snapshot>>,
}

impl SnapshotHandle for NativeSnapshot {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
