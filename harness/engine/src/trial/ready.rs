//! Makes the environment of a step ready before its agent starts: folders, files, set-up, health.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness_core::task::VerifierMode;
use harness_core::{Blame, Healthcheck, Step};
use harness_sandbox::{ExecSpec, Image, OutputSpec, ProcessSpec, PutOptions, Sandbox, SandboxError, Source};

use super::TrialContext;
use super::attempt::Attempt;
use super::stop::Stop;

/// Where and as whom a step's agent works.
pub(super) struct Setting {
    pub(super) workdir: String,
    pub(super) user: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    /// Folders in PATH.
    pub(super) path: Vec<String>,
}

impl Setting {
    pub(super) fn of(context: &TrialContext, image: &Image, step: &Step) -> Setting {
        let environment = &context.task.environment;
        let path = environment
            .env
            .get("PATH")
            .or_else(|| image.env.get("PATH"))
            .map(String::as_str)
            .unwrap_or_default();
        Setting {
            workdir: environment.workdir.clone().unwrap_or_else(|| image.workdir.clone()),
            user: step.agent.user.clone(),
            env: environment.env.clone(),
            path: path.split(':').map(str::to_owned).collect(),
        }
    }
}

impl Attempt {
    /// Files and health of a step, before its agent starts.
    pub(super) async fn make_ready(
        &self,
        sandbox: &dyn Sandbox,
        place: &Setting,
        step: &Step,
    ) -> Result<(), Stop> {
        let root = |script: &str| ProcessSpec {
            user: Some("0".into()),
            cwd: Some("/".into()),
            ..ProcessSpec::shell(script)
        };
        let mut folders = "mkdir -p /logs/agent /logs/artifacts && chmod 1777 /logs/agent /logs/artifacts && rm -rf /logs/agent/trajectory.json".to_owned();
        if step.verifier.mode == VerifierMode::Shared {
            // Solutions look whether it is there. It stays empty: what the tests write is in the verifier's own mount over it.
            folders += " || exit 1; [ -e /logs/verifier ] || mkdir /logs/verifier; exit 0";
        }
        let mut folders = root(&folders);
        let first = self.context.task.steps.first() == Some(step);
        if first {
            folders.cwd = Some(place.workdir.clone());
        }
        let made = match sandbox.exec(ExecSpec::new(folders)).await {
            // Before anybody worked in it, it is what its description says.
            Err(SandboxError::Inside { message }) if first => {
                return Err(Stop::new(
                    Blame::Task,
                    format!("the environment cannot be worked in: {message}"),
                ));
            }
            made => made?,
        };
        if !made.exit.success() {
            let said = made.stderr.text();
            return Err(Stop::new(
                Blame::Task,
                format!("the environment cannot hold /logs: {}", said.trim()),
            ));
        }
        if let Some(files) = &step.workdir_files {
            sandbox.put(&place.workdir, Source::Folder(files.clone()), PutOptions::default()).await?;
            let setup = files.join("setup.sh");
            if setup.is_file() {
                let inside = format!("{}/setup.sh", place.workdir.trim_end_matches('/'));
                let argv = crate::agents::script_argv(sandbox, &setup, &inside).await?;
                let put = PutOptions { mode: Some(0o755), ..PutOptions::default() };
                sandbox.put(&inside, Source::File(setup), put).await?;
                let process = ProcessSpec {
                    deadline: Some(self.context.task.environment.build_timeout),
                    cwd: Some(place.workdir.clone()),
                    env: place.env.clone(),
                    user: place.user.clone(),
                    ..ProcessSpec::new(argv)
                };
                let log =
                    OutputSpec { file: Some(self.context.dir.join("setup.log")), ..OutputSpec::default() };
                let result = sandbox
                    .exec(ExecSpec { stdout: log.clone(), stderr: log, ..ExecSpec::new(process) })
                    .await?;
                if !result.exit.success() {
                    let reason = format!(
                        "the step's setup.sh ended with {:?}: {}",
                        result.exit,
                        result.stderr.text().trim()
                    );
                    return Err(Stop::new(Blame::Task, reason));
                }
            }
        }
        for check in [&self.context.task.environment.healthcheck, &step.healthcheck].into_iter().flatten() {
            healthy(sandbox, place, check).await?;
        }
        Ok(())
    }
}

/// Waits until the environment says that it is ready.
pub(super) async fn healthy(sandbox: &dyn Sandbox, place: &Setting, check: &Healthcheck) -> Result<(), Stop> {
    let began = Instant::now();
    let mut failures = 0;
    loop {
        let process = ProcessSpec {
            deadline: Some(check.timeout),
            grace: Duration::ZERO,
            env: place.env.clone(),
            cwd: Some(place.workdir.clone()),
            ..ProcessSpec::shell(&check.command)
        };
        let result = sandbox.exec(ExecSpec::new(process)).await?;
        if result.exit.success() {
            return Ok(());
        }
        let starting = began.elapsed() < check.start_period;
        if !starting {
            failures += 1;
        }
        if failures >= check.retries.max(1) {
            let said = format!("{}{}", result.stdout.text(), result.stderr.text());
            let reason = format!(
                "the environment is not healthy: {:?} ended with {:?}: {}",
                check.command,
                result.exit,
                said.trim()
            );
            return Err(Stop::new(Blame::Task, reason));
        }
        tokio::time::sleep(if starting { check.start_interval } else { check.interval }).await;
    }
}
