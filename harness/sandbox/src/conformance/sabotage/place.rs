//! A place that breaks a promise.

use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Sabotage, Saboteur};
use crate::{
    ExecResult, ExecSpec, Exit, GetOptions, Place, Process, ProcessSpec, PutOptions, Sandbox, SandboxError,
    Source, Stdin,
};

/// A sandbox's own place, or a view into it.
pub(super) struct SabotagedPlace {
    pub(super) saboteur: Arc<Saboteur>,
    pub(super) inner: Arc<dyn Place>,
    /// What the place belongs to, untampered.
    pub(super) sandbox: Arc<dyn Sandbox>,
}

impl Clone for SabotagedPlace {
    fn clone(&self) -> SabotagedPlace {
        SabotagedPlace {
            saboteur: self.saboteur.clone(),
            inner: self.inner.clone(),
            sandbox: self.sandbox.clone(),
        }
    }
}

/// Runs a script in a sandbox, without waiting long for it.
pub(super) async fn play(sandbox: &Arc<dyn Sandbox>, script: &str) {
    let sandbox = sandbox.clone();
    let spec = ExecSpec::new(ProcessSpec::shell(script));
    let task = tokio::spawn(async move { sandbox.exec(spec).await });
    // What cannot be played now (in a frozen sandbox) may go on later.
    let _ = tokio::time::timeout(Duration::from_secs(2), task).await;
}

impl SabotagedPlace {
    async fn exec_now(self, mut spec: ExecSpec) -> Result<ExecResult, SandboxError> {
        let _turn = match self.saboteur.how {
            Sabotage::Serialise => Some(self.saboteur.turn.lock().await),
            _ => None,
        };
        if let Sabotage::Exec(change) = self.saboteur.how {
            change(&mut spec);
        }
        self.leak(&spec.process);
        let process = ProcessSpec { stdin: spec.stdin != Stdin::Empty, ..spec.process.clone() };
        let result = match self.spawn(process).await {
            Ok(process) => crate::collect::collect(process, spec.clone()).await,
            Err(error) => Err(error),
        };
        match (self.saboteur.how, &result) {
            (Sabotage::AfterExec(script), _) => play(&self.sandbox, script).await,
            (Sabotage::AfterTimeout(script), Ok(ExecResult { exit: Exit::TimedOut, .. })) => {
                play(&self.sandbox, script).await;
            }
            (Sabotage::DestroyAfterExec, _) => {
                self.sandbox.destroy().await?;
            }
            (Sabotage::Answer(change), _) => return change(&spec, result),
            _ => {}
        }
        result
    }

    /// Does on the host what a script tries inside.
    fn leak(&self, process: &ProcessSpec) {
        let Some(script) = process.argv.get(2).map(|script| String::from_utf8_lossy(script)) else { return };
        match self.saboteur.how {
            Sabotage::ReachHost | Sabotage::OpenBadly => {
                let target = script.split_once("/dev/tcp/").and_then(|(_, rest)| rest.split_once('\''));
                if let Some((ip, port)) = target.and_then(|(target, _)| target.split_once('/'))
                    && let Ok(stream) = TcpStream::connect((ip, port.parse().unwrap_or(0)))
                {
                    drop(stream);
                }
            }
            Sabotage::WriteOnHost => {
                let name = script.split_once("$d/conformance-").and_then(|(_, rest)| rest.split_once('"'));
                if let Some((tag, _)) = name {
                    let path = Path::new("/tmp").join(format!("conformance-{tag}"));
                    // The case looks for it; nothing else depends on it.
                    let _ = std::fs::write(&path, "");
                    self.saboteur.files.lock().unwrap_or_else(PoisonError::into_inner).push(path);
                }
            }
            _ => {}
        }
    }
}

#[async_trait]
impl Place for SabotagedPlace {
    async fn spawn(&self, mut spec: ProcessSpec) -> Result<Process, SandboxError> {
        match self.saboteur.how {
            Sabotage::Spawn(change, tamper) => {
                change(&mut spec);
                self.inner.spawn(spec).await.map(tamper)
            }
            Sabotage::Wrap(script) => {
                let mut argv = ["/bin/sh", "-c", script, "sh"].map(|arg| arg.as_bytes().to_vec()).to_vec();
                argv.extend(spec.argv);
                self.inner.spawn(ProcessSpec { argv, ..spec }).await
            }
            Sabotage::Retry(change) => match self.inner.spawn(spec.clone()).await {
                Err(SandboxError::Inside { .. }) => {
                    change(&mut spec);
                    self.inner.spawn(spec).await
                }
                result => result,
            },
            Sabotage::KillBackground => {
                let process = self.inner.spawn(spec).await?;
                let (exit, sandbox) = (process.exit, self.sandbox.clone());
                let exit = Box::pin(async move {
                    let ended = exit.await;
                    sandbox.kill_all().await?;
                    ended
                });
                Ok(Process { exit, ..process })
            }
            _ => self.inner.spawn(spec).await,
        }
    }

    async fn exec(&self, spec: ExecSpec) -> Result<ExecResult, SandboxError> {
        let work = self.clone().exec_now(spec);
        match self.saboteur.how {
            Sabotage::DetachExec => {
                tokio::spawn(work).await.map_err(|error| SandboxError::Lost { cause: error.to_string() })?
            }
            _ => work.await,
        }
    }

    async fn put(&self, at: &str, mut source: Source, mut options: PutOptions) -> Result<(), SandboxError> {
        match self.saboteur.how {
            Sabotage::Put(change) => change(&mut source, &mut options),
            Sabotage::PutKeeps if self.inner.read(at, u64::MAX).await?.is_some() => return Ok(()),
            Sabotage::PutNeverFails => {
                // That it never fails is the sabotage.
                let _ = self.inner.put(at, source, options).await;
                return Ok(());
            }
            Sabotage::PutCopy(arguments, tamper) => {
                let from = match &source {
                    Source::Bytes(_) => return self.inner.put(at, source, options).await,
                    Source::File(path) | Source::Folder(path) => path.clone(),
                };
                let copy = copied(&from, arguments, tamper)
                    .map_err(|error| SandboxError::host("make a tampered copy", error))?;
                let path = copy.path().join("copy");
                let source = if path.is_dir() { Source::Folder(path) } else { Source::File(path) };
                return self.inner.put(at, source, options).await;
            }
            Sabotage::PutThroughLinks => {
                let spec = ExecSpec::new(ProcessSpec::new(["readlink", at]));
                let target = self.sandbox.exec(spec).await?.stdout.text();
                if let Source::Bytes(bytes) = &source
                    && Path::new(target.trim_end()).is_file()
                {
                    std::fs::write(target.trim_end(), bytes)
                        .map_err(|error| SandboxError::host("write through a link", error))?;
                }
            }
            _ => {}
        }
        self.inner.put(at, source, options).await
    }

    async fn get(&self, from: &str, to: &Path, mut options: GetOptions) -> Result<(), SandboxError> {
        let failed = |error| SandboxError::host("tamper with files", error);
        match self.saboteur.how {
            Sabotage::Get(change) => change(&mut options),
            Sabotage::BeforeGet(tamper) => tamper(to).map_err(failed)?,
            _ => {}
        }
        let result = self.inner.get(from, to, options).await;
        match (self.saboteur.how, result) {
            (Sabotage::AfterGet(tamper), Ok(())) => tamper(to).map_err(failed),
            (Sabotage::GetMissing, Err(SandboxError::Inside { .. })) => {
                std::fs::create_dir(to).map_err(failed)
            }
            (_, result) => result,
        }
    }

    async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        let result = self.inner.read(path, limit).await;
        match self.saboteur.how {
            Sabotage::Read(change) => change(limit, result),
            _ => result,
        }
    }
}

/// A copy on the host, tampered with.
fn copied(
    from: &Path,
    arguments: &[&str],
    tamper: fn(&Path) -> std::io::Result<()>,
) -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("copy");
    // What it cannot copy (dangling links) is missing then, which is sabotage enough.
    let _ = std::process::Command::new("cp")
        .args(arguments)
        .arg(from)
        .arg(&copy)
        .stderr(std::process::Stdio::null())
        .status()?;
    tamper(&copy)?;
    Ok(folder)
}
