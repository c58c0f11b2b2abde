//! Any program as an agent: a command that runs inside the sandbox, or a program on the host that is served the sandbox over
//! JSON lines (see `host_program.rs`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use harness_core::{AgentExit, NanoUsd, Usage, UsageSource};
use harness_sandbox::{
    ExecSpec, Exit, OutputSpec, ProcessSpec, PutOptions, ReadOnlyMount, SandboxError, Source,
};
use serde::Deserialize;

use super::settings::{SettingKind, list, text};
use super::{Agent, AgentKind, AgentReport, Session, SettingError, SettingSpec, TRAJECTORY, host_program};

/// Where an agent's own tools are shown inside.
const TOOLS_AT: &str = "/opt/agent";
/// Where the instruction lies inside, and where the agent may leave its own account.
const INSTRUCTION_AT: &str = "/logs/agent/instruction.md";
const REPORT_AT: &str = "/logs/agent/report.json";
/// Where a conversation lies that came before this one.
const PRIOR_AT: &str = "/logs/agent/prior-trajectory.json";
/// Largest report that is read, in bytes.
const MAX_REPORT: u64 = 64 << 10;

pub(super) struct CommandKind;

impl AgentKind for CommandKind {
    fn name(&self) -> &'static str {
        "command"
    }

    fn about(&self) -> &'static str {
        "any program: a command inside the sandbox, or a host program speaking JSON lines"
    }

    fn uses_model(&self) -> bool {
        true
    }

    fn settings(&self) -> &'static [SettingSpec] {
        &[
            SettingSpec {
                name: "run",
                about: "shell command run inside, in the working folder; $HARNESS_INSTRUCTION_FILE and $HARNESS_INSTRUCTION hold the instruction",
                kind: SettingKind::Text,
            },
            SettingSpec {
                name: "host",
                about: "program on the host and its arguments; it is served the sandbox as JSON lines on its stdin and stdout",
                kind: SettingKind::Text,
            },
            SettingSpec {
                name: "tools",
                about: "folder on the host that is shown read-only at /opt/agent, first in PATH by its bin",
                kind: SettingKind::Path,
            },
            SettingSpec {
                name: "env",
                about: "names of host variables that it gets; nothing else of the host's environment reaches it",
                kind: SettingKind::List,
            },
            SettingSpec {
                name: "setup",
                about: "shell command run inside as root before it, not counted as its time",
                kind: SettingKind::Text,
            },
        ]
    }

    fn configure(
        &self,
        model: Option<&str>,
        given: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Arc<dyn Agent>, SettingError> {
        let bad = |name: &str, message: String| SettingError::Bad {
            agent: "command".into(),
            name: name.into(),
            message,
        };
        let program = match (text(given, "run"), text(given, "host")) {
            (Some(run), None) => Program::Inside(run.to_owned()),
            (None, Some(host)) => {
                let words = split_words(host).ok_or_else(|| bad("host", "has an open quote".into()))?;
                if words.is_empty() {
                    return Err(bad("host", "names no program".into()));
                }
                Program::Host(words)
            }
            (Some(_), Some(_)) => {
                return Err(bad(
                    "host",
                    "cannot go together with \"run\": choose where the agent lives".into(),
                ));
            }
            (None, None) => {
                return Err(SettingError::Missing {
                    agent: "command".into(),
                    what: "a program: --agent-set run='COMMAND' (inside the sandbox) or --agent-set host='PROGRAM ARGS' (on the host)".into(),
                });
            }
        };
        let tools = text(given, "tools").map(PathBuf::from);
        if let Some(folder) = tools.as_deref().filter(|folder| !folder.is_dir()) {
            return Err(bad("tools", format!("names no folder: {}", folder.display())));
        }
        // Whoever mounts it may stand elsewhere.
        let tools = tools.map(|folder| std::path::absolute(&folder).unwrap_or(folder));
        let mut env = BTreeMap::new();
        for name in list(given, "env") {
            let value = std::env::var(&name)
                .map_err(|_| bad("env", format!("names {name}, which is not set on the host")))?;
            env.insert(name, value);
        }
        let setup = text(given, "setup").map(str::to_owned);
        Ok(Arc::new(Command { program, tools, env, setup, model: model.map(str::to_owned) }))
    }
}

enum Program {
    Inside(String),
    Host(Vec<String>),
}

struct Command {
    program: Program,
    tools: Option<PathBuf>,
    env: BTreeMap<String, String>,
    setup: Option<String>,
    model: Option<String>,
}

#[async_trait]
impl Agent for Command {
    fn mounts(&self) -> Vec<ReadOnlyMount> {
        let mount = |host: &PathBuf| ReadOnlyMount { host: host.clone(), at: TOOLS_AT.to_owned() };
        self.tools.iter().map(mount).collect()
    }

    fn lives_inside(&self) -> bool {
        matches!(self.program, Program::Inside(_))
    }

    async fn set_up(&self, session: &Session<'_>) -> Result<Option<AgentReport>, SandboxError> {
        let Some(setup) = &self.setup else { return Ok(None) };
        let process = ProcessSpec {
            user: Some("0".into()),
            env: self.inside_env(session),
            cwd: Some(session.workdir.to_owned()),
            deadline: Some(session.task.environment.build_timeout),
            ..ProcessSpec::shell(setup)
        };
        let spec = ExecSpec { stdout: log(session), stderr: log(session), ..ExecSpec::new(process) };
        let result = session.sandbox.exec(spec).await?;
        if result.exit.success() {
            return Ok(None);
        }
        let message =
            format!("the setup command ended with {:?}: {}", result.exit, tail(&result.stderr.text()));
        Ok(Some(AgentReport { message: Some(message), ..AgentReport::ended(AgentExit::Crashed) }))
    }

    async fn work(&self, session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        match &self.program {
            Program::Inside(command) => self.work_inside(session, command).await,
            Program::Host(words) => {
                let mut env = self.env.clone();
                if let Some(model) = &session.model {
                    env.extend(model.variables(&model.host));
                }
                host_program::work(session, words, &env, self.model.as_deref()).await
            }
        }
    }
}

impl Command {
    fn inside_env(&self, session: &Session<'_>) -> BTreeMap<String, String> {
        let mut env = session.env.clone();
        env.extend(self.env.clone());
        env.insert("HARNESS_INSTRUCTION".into(), session.step.instruction.clone());
        env.insert("HARNESS_INSTRUCTION_FILE".into(), INSTRUCTION_AT.into());
        env.insert("HARNESS_REPORT_FILE".into(), REPORT_AT.into());
        env.insert("HARNESS_TRAJECTORY_FILE".into(), TRAJECTORY.into());
        if let Some(folder) = session.skills_dir() {
            env.insert("HARNESS_SKILLS_DIR".into(), folder);
        }
        if session.step.agent.trajectory.is_some() {
            env.insert("HARNESS_PRIOR_TRAJECTORY_FILE".into(), PRIOR_AT.into());
        }
        env.insert("HARNESS_TIMEOUT_SEC".into(), session.timeout.as_secs().to_string());
        if let Some(model) = &self.model {
            env.insert("HARNESS_MODEL".into(), model.clone());
        }
        if self.tools.is_some() {
            env.insert("HARNESS_TOOLS".into(), TOOLS_AT.into());
        }
        // Over what the user passes on: a real key must not take the place of one that means nothing outside.
        if let Some(model) = &session.model
            && let Some(inside) = &model.inside
        {
            env.extend(model.variables(inside));
        }
        env
    }

    async fn work_inside(&self, session: &Session<'_>, command: &str) -> Result<AgentReport, SandboxError> {
        let instruction = Source::Bytes(session.step.instruction.clone().into_bytes());
        session.sandbox.put(INSTRUCTION_AT, instruction, PutOptions::default()).await?;
        if let Some(prior) = &session.step.agent.trajectory {
            session.sandbox.put(PRIOR_AT, Source::File(prior.clone()), PutOptions::default()).await?;
        }
        let mut env = self.inside_env(session);
        // A variable of more than 128 KiB makes every exec fail; a long instruction is in the file alone.
        if session.step.instruction.len() > 100 << 10 || session.step.instruction.contains('\0') {
            env.remove("HARNESS_INSTRUCTION");
        }
        let command = if self.tools.is_some() {
            format!("PATH={TOOLS_AT}/bin:$PATH; export PATH; {command}")
        } else {
            command.to_owned()
        };
        let process = ProcessSpec {
            env,
            cwd: Some(session.workdir.to_owned()),
            user: session.user.map(str::to_owned),
            deadline: Some(session.timeout),
            // What exists at its time's end is what is judged: no grace in which work would go on.
            grace: std::time::Duration::ZERO,
            ..ProcessSpec::shell(&command)
        };
        let spec = ExecSpec { stdout: log(session), stderr: log(session), ..ExecSpec::new(process) };
        let result = session.sandbox.exec(spec).await?;
        let exit = match result.exit {
            Exit::Code(0) => AgentExit::Finished,
            Exit::TimedOut => AgentExit::TimedOut,
            Exit::Code(_) | Exit::Signal(_) | Exit::OutOfMemory => AgentExit::Crashed,
        };
        let message = (exit == AgentExit::Crashed).then(|| {
            format!("the agent's command ended with {:?}: {}", result.exit, tail(&result.stderr.text()))
        });
        let (usage, cost) = match session.sandbox.read(REPORT_AT, MAX_REPORT).await {
            Ok(Some(bytes)) => own_account(&bytes),
            // An agent without an account, or with one that is no account: unknown, not zero.
            Ok(None) | Err(SandboxError::TooLarge { .. } | SandboxError::Inside { .. }) => Default::default(),
            Err(error) => return Err(error),
        };
        Ok(AgentReport { exit, usage, cost, message, findings: Vec::new() })
    }
}

fn log(session: &Session<'_>) -> OutputSpec {
    OutputSpec { head: 2 << 10, tail: 2 << 10, file: Some(session.log.to_owned()), ..OutputSpec::default() }
}

fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(300);
    text.chars().skip(skip).collect::<String>().trim().to_owned()
}

/// An agent's own account of what it used: `{"usage": {…}, "cost_usd": 0.12}`.
#[derive(Deserialize)]
pub(super) struct Account {
    #[serde(default)]
    pub(super) usage: Usage,
    pub(super) cost_usd: Option<f64>,
}

impl Account {
    /// Marked as the agent's own word; a cost that is no amount is unknown.
    pub(super) fn accept(self) -> (Usage, Option<NanoUsd>) {
        let known = self.usage != Usage::default();
        let source = known.then_some(UsageSource::Agent);
        (Usage { source, ..self.usage }, self.cost_usd.and_then(NanoUsd::from_usd))
    }
}

fn own_account(bytes: &[u8]) -> (Usage, Option<NanoUsd>) {
    serde_json::from_slice::<Account>(bytes).map(Account::accept).unwrap_or_default()
}

/// Words as a shell splits them, with single and double quotes and backslashes, and nothing else of a shell.
fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(chars.next()?),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_words_are_split_as_a_shell_does() {
        let words = |text| split_words(text).unwrap();
        assert_eq!(
            words("python3 'my agent.py'  --x=\"a \\\" b\" c\\ d ''"),
            ["python3", "my agent.py", "--x=a \" b", "c d", ""]
        );
        assert_eq!(split_words("open 'quote"), None);
        assert_eq!(split_words("ends in \\"), None);
    }

    #[test]
    fn command_account_is_marked_as_the_agents_own_and_bad_ones_are_unknown() {
        let (usage, cost) = own_account(br#"{"usage":{"output_tokens":5},"cost_usd":0.25}"#);
        assert_eq!((usage.output_tokens, usage.source), (Some(5), Some(UsageSource::Agent)));
        assert_eq!(cost, Some(NanoUsd(250_000_000)));
        for bad in [&b"{\"cost_usd\":-1}"[..], b"\xff", b"[]", b"{\"usage\":{\"tokens\":1}}", b""] {
            assert_eq!(own_account(bad), (Usage::default(), None));
        }
    }
}
