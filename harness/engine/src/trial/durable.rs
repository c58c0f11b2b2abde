//! The sandbox as an agent that lives inside sees it, where it outlives the harness: each process that the agent starts is kept by
//! PID 1 until what became of it is written down. After a crash the agent's own code is simply gone through again: what it had
//! started is found instead of being started twice, and what had ended by then is told from the file.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use async_trait::async_trait;
use harness_core::{Connections, Digest, NetworkMode};
use harness_sandbox::{
    Change, ExecResult, ExecSpec, GetOptions, Place, Process, ProcessSpec, PutOptions, Sandbox, SandboxError,
    SandboxUsage, Snapshot, Source, Stdin, ViewSpec,
};

use super::left::{Left, LeftFile};

/// See the module.
pub(super) struct Durable<'a> {
    inner: &'a Arc<dyn Sandbox>,
    file: &'a LeftFile,
    left: Left,
    /// How many processes were asked for.
    asked: Mutex<usize>,
}

impl<'a> Durable<'a> {
    /// `left` is what an earlier process of ours left.
    pub(super) fn new(inner: &'a Arc<dyn Sandbox>, file: &'a LeftFile, left: Left) -> Durable<'a> {
        Durable { inner, file, left, asked: Mutex::new(0) }
    }

    /// Whether what is asked for now happened before the crash.
    fn is_past(&self) -> bool {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) < self.left.begun.len()
    }

    /// The name of the next process, and whether it was begun before.
    fn next(&self, process: &ProcessSpec) -> Result<(u64, bool), SandboxError> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let name = name(*asked, process);
        let before = self.left.begun.get(*asked).copied();
        *asked += 1;
        match before {
            Some(before) if before != name => Err(SandboxError::Lost {
                cause: "the agent did something else than before the harness was killed: it cannot go on"
                    .into(),
            }),
            before => Ok((name, before.is_some())),
        }
    }
}

/// The same for the same process at the same place in the order, and hardly ever for another. Its time limit is no part of it.
fn name(at: usize, process: &ProcessSpec) -> u64 {
    let ProcessSpec { argv, env, cwd, user, .. } = process;
    let digest = Digest::of(format!("{at} {argv:?} {env:?} {cwd:?} {user:?}").as_bytes());
    u64::from_str_radix(&digest.as_str()[..16], 16).unwrap_or(1)
}

#[async_trait]
impl Place for Durable<'_> {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        self.inner.spawn(spec).await
    }

    async fn put(&self, at: &str, source: Source, options: PutOptions) -> Result<(), SandboxError> {
        // It is there already, and what runs may be reading it.
        if self.is_past() { Ok(()) } else { self.inner.put(at, source, options).await }
    }

    async fn get(&self, from: &str, to: &Path, options: GetOptions) -> Result<(), SandboxError> {
        self.inner.get(from, to, options).await
    }

    async fn exec(&self, mut spec: ExecSpec) -> Result<ExecResult, SandboxError> {
        if spec.stdin != Stdin::Empty || spec.process.pty.is_some() {
            return self.inner.exec(spec).await;
        }
        let written = |error| SandboxError::host("write down what the agent does", error);
        let (name, before) = self.next(&spec.process)?;
        if let Some((_, result)) = self.left.ended.iter().find(|(ended, _)| *ended == name) {
            return Ok(result.clone());
        }
        if !before {
            self.file.begun(name).map_err(written)?;
        }
        spec.process.kept = Some(name);
        let result = self.inner.exec(spec).await?;
        self.file.ended(name, &result).map_err(written)?;
        self.inner.let_go(name);
        Ok(result)
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        self.inner.read(path, limit).await
    }
}

#[async_trait]
impl Sandbox for Durable<'_> {
    fn id(&self) -> &str {
        self.inner.id()
    }

    async fn kill_all(&self) -> Result<(), SandboxError> {
        self.inner.kill_all().await
    }

    async fn freeze(&self, on: bool) -> Result<(), SandboxError> {
        self.inner.freeze(on).await
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, SandboxError> {
        self.inner.snapshot().await
    }

    async fn changes(&self, limit: usize) -> Result<Vec<Change>, SandboxError> {
        self.inner.changes(limit).await
    }

    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        self.inner.usage().await
    }

    async fn view(&self, spec: ViewSpec) -> Result<Arc<dyn Place>, SandboxError> {
        self.inner.view(spec).await
    }

    async fn listen(&self, port: u16) -> Result<std::net::TcpListener, SandboxError> {
        self.inner.listen(port).await
    }

    async fn set_network(&self, mode: &NetworkMode) -> Result<(), SandboxError> {
        self.inner.set_network(mode).await
    }

    fn connections(&self) -> Option<Connections> {
        self.inner.connections()
    }

    async fn destroy(&self) -> Result<SandboxUsage, SandboxError> {
        self.inner.destroy().await
    }
}
