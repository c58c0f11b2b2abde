//! Agents that are programs of others: installed once as a tool folder, run inside without anybody at the keyboard, pointed at the
//! gateway, and read afterwards from what they told of themselves.

mod json;
mod record;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use harness_core::manifest::ToolsNote;
use harness_core::{AgentExit, Finding, NanoUsd, Severity, TaskId};
use harness_gateway::budget::{Limits, Scope};
use harness_sandbox::{ExecSpec, Exit, OutputSpec, ProcessSpec, ReadOnlyMount, SandboxError, Stdin};

use crate::agents::programs::WIRES;
use crate::agents::{Agent, AgentReport, Endpoint, ModelAccess, Session};
use crate::tools::{self, Recipe, ToolFolder, ToolsError};

pub(crate) use json::{lines, number, object};
pub(crate) use told::{Called, Told};

/// Where a tool folder is shown inside.
pub(crate) const TOOLS_AT: &str = "/opt/agent";
/// A folder inside for what programs keep of themselves; made by the program's own user.
pub(crate) const HOME_AT: &str = "/logs/agent/home";
/// Most bytes of a program's own account that are kept and read.
const MAX_ACCOUNT: u64 = 64 << 20;
/// How long a program may take to say its version.
const PROBE: std::time::Duration = std::time::Duration::from_secs(60);

/// How a program is started.
#[derive(Debug, Default)]
pub(crate) struct Invocation {
    /// Below the tool folder.
    pub(crate) program: &'static str,
    /// What follows it.
    pub(crate) arguments: Vec<String>,
    /// Variables over the session's own.
    pub(crate) env: BTreeMap<String, String>,
}

/// Where a program leaves its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// On its stdout, as it goes; the name of the file on the host.
    Stdout(&'static str),
    /// In a file inside, at its end; the name of the copy on the host.
    File(&'static str, &'static str),
}

/// A program of others. It reads its instruction on its stdin.
pub(crate) trait Program: Send + Sync + 'static {
    /// How it is installed.
    fn recipe(&self) -> &Recipe;
    /// The wires that it speaks, the one that it would rather use first.
    fn wires(&self) -> &'static [&'static str];
    /// Where it leaves its account.
    fn account(&self) -> Account;
    /// What a trial may cost by its own settings, in dollars: the gateway keeps that too, before each request and by its own prices.
    fn max_cost(&self) -> Option<f64>;
    /// How it is started for this model, which it reaches at `way`.
    fn invocation(&self, session: &Session<'_>, access: &ModelAccess, way: &Endpoint) -> Invocation;
    /// What it told: its account, cut anywhere, and perhaps no account at all.
    fn read(&self, account: &[u8]) -> Told;
}

/// An agent made of a program.
pub(crate) struct Installed<P> {
    program: P,
    folder: OnceLock<ToolFolder>,
    /// The tasks whose environment has been seen to carry it.
    carried: Mutex<BTreeSet<TaskId>>,
}

impl<P: Program> Installed<P> {
    pub(crate) fn new(program: P) -> Installed<P> {
        Installed { program, folder: OnceLock::new(), carried: Mutex::new(BTreeSet::new()) }
    }

    /// Whether the program runs in the sandbox at all, and is the one that was asked for.
    async fn probe(&self, session: &Session<'_>) -> Result<(), SandboxError> {
        let recipe = self.program.recipe();
        let (program, arguments) = recipe.says_version.split_first().expect("a recipe names its program");
        let argv = std::iter::once(format!("{TOOLS_AT}/{program}"))
            .chain(arguments.iter().map(|argument| (*argument).to_owned()));
        let process = ProcessSpec {
            env: session.env.clone(),
            cwd: Some("/".to_owned()),
            user: session.user.map(str::to_owned),
            deadline: Some(PROBE),
            ..ProcessSpec::new(argv)
        };
        let why = match session.sandbox.exec(ExecSpec::new(process)).await {
            Ok(result) if result.exit.success() => {
                let said = result.stdout.text();
                if tools::says(&said, &recipe.version) {
                    return Ok(());
                }
                let said: String = said.trim().chars().take(200).collect();
                let what = format!(
                    "run {} {} in a trial: inside it says that it is {said:?}",
                    recipe.program, recipe.version
                );
                return Err(SandboxError::Unsupported { backend: "the harness", what });
            }
            Ok(result) => {
                let complaint: String = result.stderr.text().trim().chars().take(300).collect();
                format!("it ends with {:?} {complaint}", result.exit)
            }
            Err(SandboxError::Inside { message }) => message,
            Err(error) => return Err(error),
        };
        let (name, version) = (recipe.program, &recipe.version);
        let task = &session.task.id;
        let message = format!("the image of {task} cannot carry {name} {version}{}: {why}", needs(recipe));
        Err(SandboxError::Environment { message, log: String::new() })
    }
}

/// What a program wants of an image.
fn needs(recipe: &Recipe) -> &'static str {
    match &recipe.source {
        tools::Source::Npm(npm) if npm.needs_glibc => ", which needs glibc",
        tools::Source::Npm(_) => ", which needs nothing of it but its kernel",
        tools::Source::Pip(_) => ", which needs /bin/sh",
    }
}

#[async_trait]
impl<P: Program> Agent for Installed<P> {
    fn limits(&self) -> Limits {
        let nano_usd = self.program.max_cost().and_then(NanoUsd::from_usd);
        Limits { nano_usd: nano_usd.and_then(|most| u64::try_from(most.0).ok()), ..Limits::default() }
    }

    fn install(&self, state: &Path, say: &dyn Fn(&str)) -> Result<Option<ToolsNote>, ToolsError> {
        let folder = match self.folder.get() {
            Some(folder) => folder,
            None => {
                let folder = tools::prepare(state, self.program.recipe(), say)?;
                self.folder.get_or_init(|| folder)
            }
        };
        Ok(Some(folder.note.clone()))
    }

    fn can_ask(&self, model: &str, wires: &[&'static str]) -> Result<(), String> {
        let speaks = self.program.wires();
        if speaks.iter().any(|wire| wires.contains(wire)) {
            return Ok(());
        }
        Err(format!(
            "the agent {} cannot ask {model}: it speaks {}, and the provider {} (wires are {}); name a model of another provider, or \
             make one of your own: [providers.NAME] with wire and base_url",
            self.program.recipe().program,
            speaks.join(", "),
            wires.join(", "),
            WIRES.join(", ")
        ))
    }

    fn mounts(&self) -> Vec<ReadOnlyMount> {
        let mount =
            |folder: &ToolFolder| ReadOnlyMount { host: folder.path.clone(), at: TOOLS_AT.to_owned() };
        self.folder.get().map(mount).into_iter().collect()
    }

    async fn set_up(&self, session: &Session<'_>) -> Result<Option<AgentReport>, SandboxError> {
        if self.folder.get().is_none() {
            let what = format!("{} was not installed before the run", self.program.recipe().program);
            return Err(SandboxError::Unsupported { backend: "the harness", what });
        }
        let carried = |tasks: &mut BTreeSet<TaskId>| tasks.contains(&session.task.id);
        if carried(&mut self.carried.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(None);
        }
        self.probe(session).await?;
        self.carried.lock().unwrap_or_else(PoisonError::into_inner).insert(session.task.id.clone());
        Ok(None)
    }

    async fn work(&self, session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        let crashed = |message: &str| AgentReport {
            message: Some(message.to_owned()),
            ..AgentReport::ended(AgentExit::Crashed)
        };
        let Some(access) = &session.model else {
            return Ok(crashed("there is no way to a model"));
        };
        let Some(way) = &access.inside else {
            let what = "have a listener for model traffic inside, which this agent needs".to_owned();
            return Err(SandboxError::Unsupported { backend: "the sandbox", what });
        };
        let scope = Scope::Trial(access.caller.trial.clone());
        let asked = || {
            let ledger = access.gateway.ledger();
            ledger.spent(&scope).requests + ledger.reserved(&scope).requests
        };
        // One that goes on may have asked all of it before.
        let before = if session.again { 0 } else { asked() };
        let account = self.program.account();
        let recipe = self.program.recipe();
        let name = format!("{} {}", recipe.program, recipe.version);
        let kept = record::Record::begin(session, &account, &name);
        // However this ends, also when it is dropped half way: what was told until then is written down.
        let guard = record::Guard::new(&kept, |bytes| self.program.read(bytes));
        let exit = self.run(session, access, way, &account, &kept).await?;
        if let Account::File(inside, _) = account {
            match session.sandbox.read(inside, MAX_ACCOUNT).await {
                Ok(Some(bytes)) => kept.keep(&bytes)?,
                Ok(None) | Err(SandboxError::TooLarge { .. } | SandboxError::Inside { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let told = guard.finish()?;
        Ok(self.report(told, exit, asked() > before))
    }
}

impl<P: Program> Installed<P> {
    /// Runs the program until it ends or its time is over.
    async fn run(
        &self,
        session: &Session<'_>,
        access: &ModelAccess,
        way: &Endpoint,
        account: &Account,
        kept: &record::Record,
    ) -> Result<(Exit, String), SandboxError> {
        let invocation = self.program.invocation(session, access, way);
        let mut env = session.env.clone();
        env.extend(invocation.env);
        // Its home is made by its own user; nothing of the image's own is changed by that.
        let script = format!("umask 022; mkdir -p {HOME_AT} || exit 97; exec \"$@\"");
        let argv = ["/bin/sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
            .into_iter()
            .chain([format!("{TOOLS_AT}/{}", invocation.program)])
            .chain(invocation.arguments);
        let process = ProcessSpec {
            env,
            cwd: Some(session.workdir.to_owned()),
            user: session.user.map(str::to_owned),
            deadline: Some(session.timeout),
            grace: std::time::Duration::ZERO,
            stdin: true,
            ..ProcessSpec::new(argv)
        };
        let log = |file: &Path| OutputSpec {
            head: 2 << 10,
            tail: 2 << 10,
            file: Some(file.to_owned()),
            file_limit: MAX_ACCOUNT,
        };
        let stdout = if matches!(account, Account::Stdout(_)) { kept.file() } else { session.log };
        let spec = ExecSpec {
            stdin: Stdin::Bytes(session.step.instruction.clone().into_bytes()),
            stdout: log(stdout),
            stderr: log(session.log),
            ..ExecSpec::new(process)
        };
        let result = session.sandbox.exec(spec).await?;
        let complaint = format!("{}\n{}", result.stderr.text(), result.stdout.text());
        Ok((result.exit, complaint))
    }

    /// How it ended: by its own account where it gave one, and by its exit status where it did not.
    fn report(&self, told: Told, (exit, said): (Exit, String), asked: bool) -> AgentReport {
        let name = self.program.recipe().program;
        let Told { usage, cost, exit: own, message, mut findings, version, .. } = told;
        let (mut ended, mut message) = match exit {
            Exit::TimedOut => (AgentExit::TimedOut, message),
            Exit::Code(0) => (own.unwrap_or(AgentExit::Finished), message),
            other => {
                let skip = said.trim().chars().count().saturating_sub(300);
                let end: String = said.trim().chars().skip(skip).collect();
                let by_status = || format!("{name} ended with {other:?}: {end}");
                let ended = own.filter(|own| *own != AgentExit::Finished).unwrap_or(AgentExit::Crashed);
                (ended, Some(message.unwrap_or_else(by_status)))
            }
        };
        let mut find = |check: &str, detail: String| {
            findings.push(Finding { check: check.to_owned(), severity: Severity::Warning, detail });
        };
        if !asked && exit != Exit::TimedOut {
            let detail =
                format!("{name} ended with {exit:?} without one request to its model: it did nothing");
            find("no_model_request", detail.clone());
            (ended, message) = (AgentExit::Crashed, Some(message.unwrap_or(detail)));
        }
        let version = version.filter(|version| *version != self.program.recipe().version);
        if let Some(other) = version {
            let asked = &self.program.recipe().version;
            find("other_version", format!("{name} {asked} was installed, and {other} says that it worked"));
        }
        AgentReport { exit: ended, usage, cost, message, findings }
    }
}
