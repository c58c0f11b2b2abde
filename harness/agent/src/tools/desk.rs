//! What tools work with: the sandbox, its shells, the rules for paths, and what has been seen of them so far.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness_sandbox::{
    ExecResult, ExecSpec, OutputSpec, ProcessSpec, PutOptions, Sandbox, SandboxError, Stdin,
};

use super::Output;
use crate::Settings;
use crate::events::{Event, EventLog};
use crate::paths::{PathRules, Refused, absolute};
use crate::shell::{Shell, ShellSpec, Spool};

/// Where full outputs lie inside: outside of the working folder, and gone at the end.
const OUTPUTS: &str = "/tmp/.agent-output";
/// Most shells at once.
pub(super) const MOST_SHELLS: usize = 8;

/// How a desk is set up.
pub(crate) struct DeskSpec<'a> {
    pub(crate) sandbox: &'a dyn Sandbox,
    pub(crate) settings: &'a Settings,
    pub(crate) log: &'a EventLog,
    pub(crate) workdir: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) deadline: Instant,
}

/// What tools work with.
pub(crate) struct Desk<'a> {
    pub(crate) spec: DeskSpec<'a>,
    pub(crate) rules: PathRules,
    pub(super) shells: BTreeMap<String, Shell>,
    /// Where shells that are started again begin.
    pub(super) folders: BTreeMap<String, String>,
    outputs: u32,
    /// Calls that changed a file.
    pub(crate) edits: u64,
    /// Paths out of bounds that were tried.
    pub(crate) violations: u64,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(spec: DeskSpec<'a>) -> Desk<'a> {
        let rules = PathRules::new(spec.workdir, &spec.settings.allowed_paths, &spec.settings.excluded_paths);
        Desk {
            spec,
            rules,
            shells: BTreeMap::new(),
            folders: BTreeMap::new(),
            outputs: 0,
            edits: 0,
            violations: 0,
        }
    }

    /// A path from the root, where the rules let it be read.
    pub(super) fn readable(&mut self, tool: &str, path: &str) -> Result<String, Output> {
        let path = self.resolve(path)?;
        if self.rules.hides(&path) {
            self.violate(tool, &path, "refused");
            return Err(Output::error(format!("{path} does not exist")));
        }
        Ok(path)
    }

    /// A path from the root, where the rules let it be changed.
    pub(super) fn writable(&mut self, tool: &str, path: &str) -> Result<String, Output> {
        let path = self.resolve(path)?;
        match self.rules.may_change(self.spec.workdir, &path) {
            Ok(()) => Ok(path),
            Err(why) => {
                self.violate(tool, &path, "refused");
                let told = self.rules.told().unwrap_or_default();
                let what = match why {
                    Refused::Excluded => "is out of bounds",
                    Refused::NotAllowed => "may not be changed",
                };
                Err(Output::error(format!("{path} {what}. {told}")))
            }
        }
    }

    fn resolve(&self, path: &str) -> Result<String, Output> {
        if path.is_empty() || path.contains('\0') || path.len() > 4096 {
            return Err(Output::error(
                "`path` must be a path, relative to the working folder or from the root",
            ));
        }
        Ok(absolute(self.spec.workdir, path))
    }

    pub(crate) fn violate(&mut self, tool: &str, path: &str, outcome: &str) {
        self.violations += 1;
        let (path, tool, outcome) = (path.to_owned(), tool.to_owned(), outcome.to_owned());
        self.spec.log.write(Event::Violation { path, tool, outcome });
    }

    /// What is left of the time, for a command that would take longer.
    pub(crate) fn within(&self, wanted: Duration) -> Duration {
        wanted
            .min(self.spec.deadline.saturating_duration_since(Instant::now()))
            .max(Duration::from_millis(50))
    }

    pub(super) fn shell_spec(&self, session: &str) -> ShellSpec {
        ShellSpec {
            cwd: self.folders.get(session).cloned().unwrap_or_else(|| self.spec.workdir.to_owned()),
            user: self.spec.user.map(str::to_owned),
            env: self.spec.env.clone(),
        }
    }

    /// Runs a script with arguments as the agent's user, for what a tool does itself.
    pub(crate) async fn script(
        &self,
        script: &str,
        arguments: &[&str],
        stdin: Option<&[u8]>,
        keep: usize,
    ) -> Result<ExecResult, SandboxError> {
        let fixed = ["/bin/sh", "-c", script, "sh"];
        let argv = fixed.iter().chain(arguments).copied();
        let process = ProcessSpec {
            env: self.spec.env.clone(),
            cwd: Some(self.spec.workdir.to_owned()),
            user: self.spec.user.map(str::to_owned),
            deadline: Some(self.within(Duration::from_secs(60))),
            grace: Duration::ZERO,
            ..ProcessSpec::new(argv)
        };
        let spec = ExecSpec {
            stdin: stdin.map_or(Stdin::Empty, |bytes| Stdin::Bytes(bytes.to_vec())),
            stdout: OutputSpec { head: keep, tail: 0, ..OutputSpec::default() },
            stderr: OutputSpec { head: 4 << 10, tail: 0, ..OutputSpec::default() },
            ..ExecSpec::new(process)
        };
        self.spec.sandbox.exec(spec).await
    }

    /// The model's part of an output; where something is missing, all of it is put into a file inside.
    pub(super) async fn told(&mut self, spool: &Spool) -> Result<String, SandboxError> {
        let Some(source) = spool.source() else { return Ok(spool.text(None)) };
        self.outputs += 1;
        let file = format!("{OUTPUTS}/{}.txt", self.outputs);
        let options = PutOptions { mode: Some(0o644), ..PutOptions::default() };
        match self.spec.sandbox.put(&file, source, options).await {
            Ok(()) => Ok(spool.text(Some(&file))),
            Err(error @ SandboxError::Lost { .. }) => Err(error),
            // A full disk inside is the agent's own, and no reason to end.
            Err(_) => Ok(spool.text(None)),
        }
    }

    /// Ends shells and takes away what was put there for the model.
    pub(crate) async fn leave(&mut self) {
        for (_, shell) in std::mem::take(&mut self.shells) {
            shell.leave().await;
        }
        if self.outputs > 0 {
            let process = ProcessSpec {
                user: Some("0".into()),
                cwd: Some("/".into()),
                deadline: Some(Duration::from_secs(3)),
                ..ProcessSpec::new(["rm", "-rf", OUTPUTS])
            };
            // Nothing that is judged depends on it, and a sandbox that is lost says so to whoever asks it next.
            let _ = self.spec.sandbox.exec(ExecSpec::new(process)).await;
        }
    }
}
