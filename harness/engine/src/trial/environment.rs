//! What a try's sandboxes are made of: the environment, built or found, the sandboxes' specification, and the programs that must
//! be there.

use std::sync::Arc;

use harness_core::{Blame, EnvironmentSpec, NetworkMode, Task, TrialId};
use harness_sandbox::{
    Backend, EnvironmentRequest, ExecSpec, Image, Labels, ProcessSpec, Sandbox, SandboxSpec,
};

use super::TrialContext;
use super::attempt::Attempt;
use super::stop::Stop;
use crate::agents::Agent;
use crate::environments;
use crate::run::RunSettings;

/// As much of a trial as is known before it starts, and decides what its sandboxes are.
pub(crate) struct Whose<'a> {
    pub(crate) run: &'a str,
    pub(crate) id: &'a TrialId,
    pub(crate) task: &'a Task,
    pub(crate) agent: &'a dyn Agent,
    pub(crate) settings: &'a RunSettings,
    pub(crate) backend: &'a dyn Backend,
}

impl TrialContext {
    pub(super) fn whose(&self) -> Whose<'_> {
        Whose {
            run: &self.run,
            id: &self.id,
            task: &self.task,
            agent: &*self.agent,
            settings: &self.settings,
            backend: &*self.backend,
        }
    }
}

impl Whose<'_> {
    /// The sandbox that the agent works in.
    pub(crate) fn agents_sandbox(&self, image: Arc<Image>) -> SandboxSpec {
        let step = self.task.steps.first().expect("a task has at least one step");
        let network = self.unless_told(self.task.agent_network(step)).clone();
        let spec = self.sandbox(image, "agent", &self.task.environment, network);
        SandboxSpec { mounts: self.agent.mounts(), ..spec }
    }

    /// A sandbox of this environment, for what comes `next` there.
    fn sandbox(
        &self,
        image: Arc<Image>,
        role: &str,
        environment: &EnvironmentSpec,
        next: NetworkMode,
    ) -> SandboxSpec {
        SandboxSpec {
            labels: Labels { run: self.run.to_owned(), trial: self.id.path(), role: role.to_owned() },
            image,
            snapshot: None,
            limits: environment.limits,
            network: self.first_network(&environment.network, next),
            mounts: Vec::new(),
        }
    }
}

impl Attempt {
    /// Builds or finds an environment. Its time for building is kept by the backend, which knows when building begins.
    pub(super) async fn image(&self, environment: &EnvironmentSpec) -> Result<Arc<Image>, Stop> {
        let context = &self.context;
        let request = EnvironmentRequest {
            spec: environment.clone(),
            digest: environments::digest(&context.task, environment),
            log: Some(context.dir.join("build.log")),
        };
        Ok(context.environments.get(&request).await?)
    }

    /// A sandbox of this environment, for what comes `next` there.
    pub(super) fn spec(
        &self,
        image: Arc<Image>,
        role: &str,
        environment: &EnvironmentSpec,
        next: NetworkMode,
    ) -> SandboxSpec {
        self.context.whose().sandbox(image, role, environment, next)
    }

    /// Looks up the programs that the task says it needs, inside.
    pub(super) async fn tools(&mut self, sandbox: &dyn Sandbox, image: &Image) -> Result<(), Stop> {
        let task = self.context.task.clone();
        if task.hints.tools.is_empty() || self.context.tools_seen.get().is_some() {
            return Ok(());
        }
        let script =
            "for tool in \"$@\"; do command -v \"$tool\" >/dev/null 2>&1 || echo \"$tool\"; done; exit 0";
        let argv =
            ["/bin/sh", "-c", script, "sh"].into_iter().chain(task.hints.tools.iter().map(String::as_str));
        let process = ProcessSpec {
            cwd: Some("/".into()),
            env: task.environment.env.clone(),
            ..ProcessSpec::new(argv)
        };
        let result = sandbox.exec(ExecSpec::new(process)).await?;
        if !result.exit.success() {
            let reason = format!(
                "the environment's shell cannot look up programs, it ended with {:?}: {}",
                result.exit,
                result.stderr.text().trim()
            );
            return Err(Stop::new(Blame::Task, reason));
        }
        let missing = result.stdout.text();
        let missing: Vec<&str> = missing.split_whitespace().collect();
        if !missing.is_empty() {
            self.details.missing_tool = Some(format!("{} not found in {}", missing.join(", "), image.name));
            return Err(Stop::new(Blame::Task, "a tool that the task needs is missing"));
        }
        // Another trial of the task may have been as quick.
        let _first = self.context.tools_seen.set(());
        Ok(())
    }
}
