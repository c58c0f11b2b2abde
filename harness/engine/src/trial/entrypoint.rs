//! The environment's own ENTRYPOINT: services that a task expects beside the agent. It is started first, with an idle command as
//! its arguments, and runs for as long as the sandbox stands; PID 1 is never its business.

use std::path::Path;
use std::sync::Arc;

use harness_core::Severity;
use harness_sandbox::{ExecSpec, Image, OutputSpec, ProcessSpec, Sandbox};
use tokio::task::JoinHandle;

use super::again;
use super::attempt::Attempt;

/// What an entrypoint gets to run in the end.
const IDLE: [&str; 3] = ["sh", "-c", "sleep infinity"];
/// Most bytes of its output that are kept.
const LOG_LIMIT: u64 = 4 << 20;

/// An entrypoint that was started; dropping this ends it.
pub(super) struct Entrypoint(JoinHandle<String>);

impl Drop for Entrypoint {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Entrypoint {
    /// Starts the image's, if it has one; its output goes to `log`.
    pub(super) fn start(sandbox: &Arc<dyn Sandbox>, image: &Image, log: &Path) -> Option<Entrypoint> {
        if image.entrypoint.is_empty() {
            return None;
        }
        let argv = image.entrypoint.iter().map(String::as_str).chain(IDLE);
        let output = OutputSpec { head: 512, tail: 512, file: Some(log.to_owned()), file_limit: LOG_LIMIT };
        // After a crash of ours the one that runs already is found.
        let process = ProcessSpec { kept: Some(again::ENTRYPOINT), ..ProcessSpec::new(argv) };
        let spec = ExecSpec { stdout: output.clone(), stderr: output, ..ExecSpec::new(process) };
        let sandbox = Arc::clone(sandbox);
        Some(Entrypoint(tokio::spawn(async move {
            match sandbox.exec(spec).await {
                Ok(result) => {
                    format!("ended with {:?}: {}", result.exit, result.stderr.text().trim())
                }
                Err(error) => format!("could not be run: {error}"),
            }
        })))
    }

    /// How it ended, if it has.
    async fn ended(&mut self) -> Option<String> {
        if !self.0.is_finished() {
            return None;
        }
        (&mut self.0).await.ok()
    }
}

impl Attempt {
    /// An entrypoint that does not live is no reason not to try the task: where it matters, a health check says so. But it is said.
    pub(super) async fn look_at_entrypoint(&mut self) {
        let Some(entrypoint) = &mut self.entrypoint else { return };
        if let Some(how) = entrypoint.ended().await {
            self.entrypoint = None;
            self.note("entrypoint", Severity::Info, format!("the environment's ENTRYPOINT {how}"));
        }
    }
}
