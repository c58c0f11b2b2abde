//! The agent that runs the task's own solution: what a suite must always resolve.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use harness_core::{AgentExit, Task};
use harness_sandbox::{ExecSpec, Exit, OutputSpec, ProcessSpec, PutOptions, SandboxError, Source};

use super::{Agent, AgentKind, AgentReport, Session, SettingError, SettingSpec, script_argv, settings};

/// Where solutions lie inside while the oracle works, and never otherwise.
const SOLUTION: &str = "/solution";

pub(super) struct Oracle;

impl AgentKind for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn about(&self) -> &'static str {
        "runs the task's own solution: what a sound task resolves"
    }

    fn settings(&self) -> &'static [SettingSpec] {
        &[
            SettingSpec {
                name: "script",
                about: "a script below the task's folder to run in place of solution/solve.sh",
                kind: settings::SettingKind::Text,
            },
            SettingSpec {
                name: "then",
                about: "`visible`: run the task's visible test afterwards; where it fails the agent counts as crashed",
                kind: settings::SettingKind::Text,
            },
        ]
    }

    fn configure(
        &self,
        _model: Option<&str>,
        given: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Arc<dyn Agent>, SettingError> {
        let script = settings::text(given, "script").map(PathBuf::from);
        let bad = |name: &str, message: &str| SettingError::Bad {
            agent: "oracle".into(),
            name: name.into(),
            message: message.into(),
        };
        let inside =
            |path: &PathBuf| path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if script.as_ref().is_some_and(|path| !inside(path)) {
            return Err(bad("script", "must be a path below the task's folder"));
        }
        let visible = match settings::text(given, "then") {
            None => false,
            Some("visible") => true,
            Some(_) => return Err(bad("then", "can only be \"visible\"")),
        };
        Ok(Arc::new(Solution { script, visible }))
    }
}

/// Runs a script of the task: its solution, or another one that `check suite` names.
struct Solution {
    script: Option<PathBuf>,
    /// Whether the task's visible test must pass afterwards.
    visible: bool,
}

impl Solution {
    fn script_of(&self, session: &Session<'_>) -> Option<PathBuf> {
        match &self.script {
            Some(script) => Some(session.task.origin.join(script)),
            None => session.step.solution.iter().rev().map(|dir| dir.join("solve.sh")).find(|f| f.is_file()),
        }
    }
}

impl Solution {
    /// Runs the test that the agent can see.
    async fn see(&self, session: &Session<'_>, test: &str) -> Result<AgentReport, SandboxError> {
        let process = ProcessSpec {
            env: session.env.clone(),
            cwd: Some(session.workdir.to_owned()),
            user: session.user.map(str::to_owned),
            deadline: Some(session.timeout),
            // What exists at its time's end is what is judged: no grace in which work would go on.
            grace: std::time::Duration::ZERO,
            ..ProcessSpec::shell(test)
        };
        let output = OutputSpec { file: Some(session.log.to_owned()), ..OutputSpec::default() };
        let result = session
            .sandbox
            .exec(ExecSpec { stdout: output.clone(), stderr: output, ..ExecSpec::new(process) })
            .await?;
        if result.exit.success() {
            return Ok(AgentReport::ended(AgentExit::Finished));
        }
        let message = Some(format!("the visible test ended with {:?}", result.exit));
        Ok(AgentReport { message, ..AgentReport::ended(AgentExit::Crashed) })
    }
}

#[async_trait]
impl Agent for Solution {
    fn suits(&self, task: &Task) -> Result<(), String> {
        let lacks = task.steps.iter().any(|step| step.solution.is_empty());
        if self.script.is_none() && lacks { Err("the task has no solution".into()) } else { Ok(()) }
    }

    async fn work(&self, session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        let Some(script) = self.script_of(session) else {
            return Ok(AgentReport {
                message: Some("the task has no solution/solve.sh".into()),
                ..AgentReport::ended(AgentExit::GaveUp)
            });
        };
        for folder in &session.step.solution {
            let files = crate::ignore::selected(folder)
                .map_err(|error| SandboxError::host("choose the solution by its .harborignore", error))?;
            let source = Source::Folder(files.path().to_owned());
            session.sandbox.put(SOLUTION, source, PutOptions::default()).await?;
        }
        // The script is put apart from its neighbours and with an x bit, because authors forget to set one.
        let inside = format!("{SOLUTION}/solve.sh");
        let put = PutOptions { mode: Some(0o755), ..PutOptions::default() };
        session.sandbox.put(&inside, Source::File(script.clone()), put).await?;
        let argv = script_argv(session.sandbox, &script, &inside).await?;
        let mut env = session.env.clone();
        env.extend(session.task.solution_env.clone());
        let process = ProcessSpec {
            env,
            cwd: Some(session.workdir.to_owned()),
            user: session.user.map(str::to_owned),
            deadline: Some(session.timeout),
            // What exists at its time's end is what is judged: no grace in which work would go on.
            grace: std::time::Duration::ZERO,
            ..ProcessSpec::new(argv)
        };
        let output = OutputSpec { file: Some(session.log.to_owned()), ..OutputSpec::default() };
        let spec = ExecSpec { stdout: output.clone(), stderr: output, ..ExecSpec::new(process) };
        let result = session.sandbox.exec(spec).await?;
        let clean = ProcessSpec {
            user: Some("0".into()),
            cwd: Some("/".into()),
            ..ProcessSpec::new(["rm", "-rf", SOLUTION])
        };
        session.sandbox.exec(ExecSpec::new(clean)).await?;
        let exit = match result.exit {
            Exit::Code(0) => AgentExit::Finished,
            Exit::TimedOut => AgentExit::TimedOut,
            Exit::Code(_) | Exit::Signal(_) | Exit::OutOfMemory => AgentExit::Crashed,
        };
        if let (AgentExit::Finished, true, Some(test)) =
            (exit, self.visible, &session.task.hints.visible_test)
        {
            return self.see(session, test).await;
        }
        let message =
            (exit == AgentExit::Crashed).then(|| format!("the solution ended with {:?}", result.exit));
        Ok(AgentReport { message, ..AgentReport::ended(exit) })
    }
}
