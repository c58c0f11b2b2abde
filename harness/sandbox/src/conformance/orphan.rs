//! Plays an owner that dies: the test binary runs itself, starts a sandbox, says so, and is killed.

use std::ffi::OsString;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::context::{HEART, script, secs};
use super::{Ctx, Failure, Setup};
use crate::SandboxError;

/// Leaves a sandbox without an owner; the argument is its run's label, the result its id.
pub type OrphanMaker = Arc<dyn Fn(String) -> OrphanFuture + Send + Sync>;

/// An orphan that is being made.
pub type OrphanFuture = std::pin::Pin<Box<dyn Future<Output = Result<String, Failure>> + Send>>;

/// Asks a copy of this program to be the owner; holds the run's label.
const ASKED: &str = "HARNESS_CONFORMANCE_ORPHAN";

/// To be called by a test program first: when it was started as the owner that dies, opens the backend, starts a sandbox
/// with a process in it, prints its id, and sleeps until it is killed. Otherwise returns at once.
///
/// # Errors
/// Whatever hinders the owner.
pub async fn be_an_orphan_if_asked<F>(open: impl FnOnce() -> F) -> Result<(), SandboxError>
where
    F: Future<Output = Result<Setup, SandboxError>>,
{
    let Ok(run) = std::env::var(ASKED) else { return Ok(()) };
    let setup = open().await?;
    let ctx = Ctx::new(setup.backend, setup.image, None, std::path::Path::new("/nonexistent"));
    let mut spec = ctx.spec();
    spec.labels.run.clone_from(&run);
    let sandbox = ctx.backend.create(spec).await?;
    // The label in its command line is how the case looks for it.
    sandbox.exec(script(&format!(": {run}; ({HEART}) > /dev/null 2>&1 &"))).await?;
    let line = format!("{}\n", sandbox.id());
    rustix::io::write(std::io::stdout(), line.as_bytes())
        .map_err(|error| SandboxError::host("tell the id", error.into()))?;
    std::future::pending().await
}

impl Setup {
    /// The setup with orphans made by running this program again with these variables;
    /// it has to call [`be_an_orphan_if_asked`] first.
    #[must_use]
    pub fn with_orphans(mut self, variables: Vec<(OsString, OsString)>) -> Setup {
        self.orphans = Some(Arc::new(move |run| {
            let variables = variables.clone();
            Box::pin(async move {
                let mut child = tokio::process::Command::new(std::env::current_exe()?)
                    .envs(variables)
                    .env(ASKED, run)
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .kill_on_drop(true)
                    .spawn()?;
                let stdout = child.stdout.take().ok_or(Failure("no stdout".into()))?;
                let line = timeout(secs(20), BufReader::new(stdout).lines().next_line()).await;
                child.kill().await?;
                match line {
                    Ok(Ok(Some(id))) => Ok(id),
                    _ => Err(Failure("the owner that should die did not start a sandbox".into())),
                }
            })
        }));
        self
    }
}
