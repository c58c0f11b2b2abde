//! One try of a trial: the phases in their order, each with its time limit, and a teardown that always happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness_core::record::{SandboxNote, StepRecord};
use harness_core::task::VerifierMode;
use harness_core::{
    AgentExit, Blame, DiffStat, Durations, EnvironmentSpec, Event, Finding, Healthcheck, NanoUsd,
    NetworkMode, Outcome, Phase, Severity, Step, TestCounts, Usage,
};
use harness_grading::{Evidence, Rewards, StepOutcome, TestReport, combine, judge, meets};
use harness_sandbox::{
    Change, EnvironmentRequest, ExecSpec, Image, Labels, OutputSpec, ProcessSpec, PutOptions, Sandbox,
    SandboxError, SandboxSpec, Source,
};

use super::{TrialContext, TryResult, artifacts, capture, verify};
use crate::agents::{AgentReport, Session};
use crate::environments;

/// How long creating, copying and reading may take in one phase, beside what has a limit of its own.
const HANDLING: Duration = Duration::from_secs(600);
/// How long after its time an agent is left to end by its own deadline, which keeps its account, before it is dropped.
const LAST_RESORT: Duration = Duration::from_secs(10);

/// What a try learned beside its verdict.
#[derive(Default)]
pub(crate) struct Details {
    pub(crate) score: Option<f64>,
    pub(crate) rewards: Option<BTreeMap<String, f64>>,
    pub(crate) steps: Option<Vec<StepRecord>>,
    pub(crate) tests: Option<TestCounts>,
    pub(crate) diff: Option<DiffStat>,
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) integrity: Vec<Finding>,
    pub(crate) sandbox: Option<SandboxNote>,
    /// It failed by our fault in a way that trying again does not mend.
    pub(crate) lasting: bool,
    /// The sandbox was lost while the agent worked or after.
    pub(crate) lost: bool,
    /// A program that the task needs is not there: the task is skipped, and nothing is on record for the trial.
    pub(crate) missing_tool: Option<String>,
}

/// Why a try ended before its verdict.
pub(super) struct Stop {
    pub(super) blame: Blame,
    pub(super) reason: String,
    /// Trying again would come to the same.
    pub(super) lasting: bool,
    /// The sandbox was gone.
    pub(super) lost: bool,
}

impl Stop {
    pub(super) fn new(blame: Blame, reason: impl Into<String>) -> Stop {
        Stop { blame, reason: reason.into(), lasting: false, lost: false }
    }
}

impl From<SandboxError> for Stop {
    fn from(error: SandboxError) -> Stop {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        if let SandboxError::Environment { log, .. } = &error {
            let skip = log.lines().count().saturating_sub(20);
            let tail: Vec<_> = log.lines().skip(skip).collect();
            reason = format!("{reason}\n{}", tail.join("\n"));
        }
        let lasting = matches!(error, SandboxError::Unsupported { .. });
        let lost = matches!(error, SandboxError::Lost { .. });
        Stop { blame: error.blame(), reason, lasting, lost }
    }
}

/// A try under way: what it has learned so far.
pub(super) struct Attempt {
    pub(super) context: Arc<TrialContext>,
    pub(super) phase: Phase,
    phase_began: Instant,
    durations: Durations,
    agent_exit: Option<AgentExit>,
    usage: Usage,
    cost: Option<NanoUsd>,
    pub(super) details: Details,
}

/// Runs one try to its end.
pub(super) async fn run(context: Arc<TrialContext>) -> TryResult {
    let began = Instant::now();
    let mut attempt = Attempt {
        context,
        phase: Phase::Prepare,
        phase_began: began,
        durations: Durations::default(),
        agent_exit: None,
        usage: Usage::default(),
        cost: None,
        details: Details::default(),
    };
    let outcome = match attempt.phases().await {
        Ok(outcome) => outcome,
        Err((phase, stop)) => {
            attempt.details.lasting = stop.lasting;
            attempt.details.lost = stop.lost && phase >= Phase::Solve;
            Outcome::Stopped { phase, blame: stop.blame, reason: stop.reason }
        }
    };
    attempt.close_phase();
    attempt.durations.total = began.elapsed().as_millis() as u64;
    TryResult {
        outcome,
        agent_exit: attempt.agent_exit,
        usage: attempt.usage,
        cost: attempt.cost,
        durations: attempt.durations,
        details: attempt.details,
    }
}

impl Attempt {
    fn enter(&mut self, phase: Phase) {
        self.close_phase();
        self.phase = phase;
        self.context.journal.write(Event::PhaseEntered { id: self.context.id.clone(), phase });
    }

    fn close_phase(&mut self) {
        let spent = self.phase_began.elapsed().as_millis() as u64;
        *self.durations.of_mut(self.phase) += spent;
        self.phase_began = Instant::now();
    }

    async fn phases(&mut self) -> Result<Outcome, (Phase, Stop)> {
        self.enter(Phase::Prepare);
        std::fs::create_dir_all(&self.context.dir).map_err(|error| {
            let reason = format!("cannot make {}: {error}", self.context.dir.display());
            (Phase::Prepare, Stop::new(Blame::Harness, reason))
        })?;
        let limit = waits_for(&self.context, &self.context.task.environment) + HANDLING;
        let began = within(limit, Phase::Prepare, self.begin()).await;
        let (sandbox, image) = began.map_err(|stop| (Phase::Prepare, stop))?;
        let result = match within(HANDLING, Phase::Prepare, self.tools(&*sandbox, &image)).await {
            Ok(()) => self.steps(&sandbox, &image).await,
            Err(stop) => Err(stop),
        };
        let result = result.map_err(|stop| (self.phase, stop));
        self.enter(Phase::Teardown);
        // What cannot be removed now is found by its label later; the verdict stands.
        match tokio::time::timeout(Duration::from_secs(60), sandbox.destroy()).await {
            Ok(Ok(usage)) => {
                self.details.cpu_ms = usage.cpu.map(|cpu| cpu.as_millis() as u64);
                self.details.peak_memory_bytes = usage.peak_memory_bytes;
                if usage.oom_kills.is_some_and(|kills| kills > 0) {
                    self.note(
                        "out_of_memory",
                        Severity::Info,
                        format!("the memory limit killed {} processes", usage.oom_kills.unwrap_or(0)),
                    );
                }
            }
            Ok(Err(error)) => {
                self.warn(format!("{}: the sandbox was not removed whole: {error}", self.context.id))
            }
            Err(_) => self.warn(format!("{}: the sandbox was not removed within a minute", self.context.id)),
        }
        result
    }

    fn warn(&self, message: String) {
        self.context.journal.write(Event::Warning { message });
    }

    pub(super) fn note(&mut self, check: &str, severity: Severity, detail: String) {
        self.details.integrity.push(Finding { check: check.into(), severity, detail });
    }

    /// The environment and the agent's sandbox.
    async fn begin(&mut self) -> Result<(Arc<dyn Sandbox>, Arc<Image>), Stop> {
        let context = self.context.clone();
        let environment = context.task.environment.clone();
        let image = self.image(&environment).await?;
        let network = self.network();
        self.details.sandbox = Some(SandboxNote {
            backend: context.backend.name().to_owned(),
            rootfs: image.name.clone(),
            network: network.to_string(),
            weaknesses: context.backend.caps().weaknesses.iter().chain(&image.weaknesses).cloned().collect(),
        });
        let spec = SandboxSpec {
            network,
            mounts: context.agent.mounts(),
            ..self.spec(image.clone(), "agent", &environment)
        };
        let sandbox = context.backend.create(spec).await?;
        Ok((sandbox, image))
    }

    /// Looks up the programs that the task says it needs, inside.
    async fn tools(&mut self, sandbox: &dyn Sandbox, image: &Image) -> Result<(), Stop> {
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

    fn network(&self) -> NetworkMode {
        let context = &self.context;
        let step = context.task.steps.first();
        let asked = step.and_then(|step| step.agent.network.clone());
        let own = asked.unwrap_or_else(|| context.task.environment.network.clone());
        context.settings.network.clone().unwrap_or(own)
    }

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

    pub(super) fn spec(&self, image: Arc<Image>, role: &str, environment: &EnvironmentSpec) -> SandboxSpec {
        SandboxSpec {
            labels: Labels {
                run: self.context.run.clone(),
                trial: self.context.id.path(),
                role: role.to_owned(),
            },
            image,
            snapshot: None,
            limits: environment.limits,
            network: self.context.settings.network.clone().unwrap_or_else(|| environment.network.clone()),
            mounts: Vec::new(),
        }
    }

    /// All steps in one sandbox.
    async fn steps(&mut self, sandbox: &Arc<dyn Sandbox>, image: &Arc<Image>) -> Result<Outcome, Stop> {
        let task = self.context.task.clone();
        let several = task.steps.len() > 1 || task.steps.iter().any(|step| step.name.is_some());
        let mut judged: Vec<Judged> = Vec::new();
        for (at, step) in task.steps.iter().enumerate() {
            if at > 0 {
                self.enter(Phase::Prepare);
            }
            let one = match self.step(sandbox, image, step).await? {
                Ok(one) => one,
                // The agent took its own verdict away: what it says of this step goes for the whole task.
                Err(reason) => {
                    self.details.score = Some(0.0);
                    return Ok(Outcome::Unresolved { reason });
                }
            };
            let enough = step.min_reward.as_ref().is_none_or(|least| meets(least, &one.rewards));
            judged.push(one);
            if !enough {
                break;
            }
        }
        let names: Vec<String> = (1..)
            .zip(&task.steps)
            .map(|(at, step)| step.name.clone().unwrap_or_else(|| format!("step {at}")))
            .collect();
        let ran: Vec<StepOutcome<'_>> = names
            .iter()
            .zip(&task.steps)
            .zip(&judged)
            .map(|((name, step), one)| StepOutcome {
                name,
                rewards: &one.rewards,
                min_reward: step.min_reward.as_ref(),
            })
            .collect();
        let whole =
            combine(task.reward_strategy, &ran, task.steps.len()).expect("a task has at least one step");
        let mut tests: Option<TestReport> = None;
        for report in judged.iter().filter_map(|one| one.tests.clone()) {
            tests = match tests {
                None => Some(report),
                // More tests than are counted: the rewards still decide.
                Some(before) => before.merge(report).ok(),
            };
        }
        let evidence = Evidence {
            rewards: Some(&whole.rewards),
            tests: tests.as_ref(),
            hints: &task.hints,
            stopped: whole.stopped.as_deref(),
        };
        let verdict = judge(evidence).expect("there are rewards");
        if let Some(disagreement) = verdict.disagreement {
            self.note("tests_disagree", Severity::Warning, disagreement);
        }
        self.details.steps = several.then(|| {
            let mut rest = judged.iter();
            let record = |name: &String| match rest.next() {
                Some(one) => {
                    StepRecord { name: name.clone(), rewards: Some(one.rewards.clone()), reason: None }
                }
                None => StepRecord { name: name.clone(), rewards: None, reason: Some("not tried".into()) },
            };
            names.iter().map(record).collect()
        });
        self.details.score = Some(verdict.score);
        self.details.tests = verdict.tests;
        self.details.rewards = Some(whole.rewards);
        Ok(match verdict.reason {
            None => Outcome::Resolved,
            Some(reason) => Outcome::Unresolved { reason },
        })
    }

    async fn step(
        &mut self,
        sandbox: &Arc<dyn Sandbox>,
        image: &Arc<Image>,
        step: &Step,
    ) -> Result<Result<Judged, String>, Stop> {
        let context = self.context.clone();
        let place = Setting::of(&context, image, step);
        let limits = PhaseLimits::of(&context, step);
        within(limits.prepare, Phase::Prepare, self.make_ready(&**sandbox, &place, step)).await?;
        let session = Session {
            sandbox: &**sandbox,
            task: &context.task,
            step,
            workdir: &place.workdir,
            user: place.user.as_deref(),
            env: &place.env,
            timeout: context.settings.agent_timeout(step.agent.timeout),
            log: &context.dir.join("agent.log"),
        };
        let unable = self.set_up(&session).await?;
        self.enter(Phase::Solve);
        let report = match unable {
            Some(report) => report,
            None => self.solve(&session).await?,
        };
        self.enter(Phase::Capture);
        self.usage = self.usage.plus(&report.usage);
        self.cost = match (self.cost, report.cost) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or_default() + b.unwrap_or_default()),
        };
        self.agent_exit = Some(report.exit);
        if let Some(message) = &report.message {
            self.note("agent_said", Severity::Info, message.chars().take(500).collect());
        }
        // After a time-out nothing of the agent's may go on working; what ended by itself may have left a service on purpose.
        if matches!(report.exit, AgentExit::TimedOut | AgentExit::Budget | AgentExit::Cancelled) {
            within(HANDLING, Phase::Capture, async { Ok(sandbox.kill_all().await?) }).await?;
        }
        let changes = within(limits.capture, Phase::Capture, self.capture(&**sandbox, step, &place)).await?;
        self.enter(Phase::Verify);
        let verified = async {
            match &step.verifier.mode {
                VerifierMode::Shared => {
                    verify::in_place(self, sandbox, image, step, &place, changes.as_deref()).await
                }
                VerifierMode::Separate(environment) => {
                    let environment = environment.as_deref().unwrap_or(&context.task.environment);
                    verify::separately(self, environment, step).await
                }
            }
        };
        let verified = within(limits.verify, Phase::Verify, verified).await?;
        // Services that a step left running are there for the next one.
        within(HANDLING, Phase::Verify, async { Ok(sandbox.freeze(false).await?) }).await?;
        Ok(verified)
    }

    /// Takes what the agent left; `None` for changes that are too many to look at.
    async fn capture(
        &mut self,
        sandbox: &dyn Sandbox,
        step: &Step,
        place: &Setting,
    ) -> Result<Option<Vec<Change>>, Stop> {
        capture::collect(sandbox, step, place).await?;
        // From here on nothing of the agent's moves but while the tests run, so that what is taken is one state.
        sandbox.freeze(true).await?;
        let changes = match sandbox.changes(capture::MAX_CHANGES).await {
            Ok(changes) => Some(changes),
            Err(SandboxError::TooLarge { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        artifacts::take(self, sandbox, step, changes.as_deref()).await?;
        if let Some(changes) = &changes {
            self.details.diff = capture::patch(self, sandbox, changes, &place.workdir).await?;
        } else {
            self.note(
                "many_changes",
                Severity::Warning,
                format!("more than {} paths changed: no diff was taken", capture::MAX_CHANGES),
            );
        }
        Ok(changes)
    }

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
        let folders = "mkdir -p /logs/agent /logs/artifacts && chmod 1777 /logs/agent /logs/artifacts";
        let made = sandbox.exec(ExecSpec::new(root(folders))).await?;
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

    /// What the agent needs before its clock starts; a report when it failed at that.
    async fn set_up(&self, session: &Session<'_>) -> Result<Option<AgentReport>, Stop> {
        let limit = self.context.task.environment.build_timeout;
        match tokio::time::timeout(limit + LAST_RESORT, self.context.agent.set_up(session)).await {
            Ok(report) => Ok(report?),
            Err(_) => {
                let message = Some(format!("its set-up did not end within {} s", limit.as_secs()));
                Ok(Some(AgentReport { message, ..AgentReport::ended(AgentExit::TimedOut) }))
            }
        }
    }

    async fn solve(&self, session: &Session<'_>) -> Result<AgentReport, Stop> {
        let work = self.context.agent.work(session);
        match tokio::time::timeout(session.timeout + LAST_RESORT, work).await {
            Ok(report) => Ok(report?),
            // The agent's own deadline inside did not end it; dropping its future has.
            Err(_) => Ok(AgentReport::ended(AgentExit::TimedOut)),
        }
    }
}

/// How long the phases of one step may take altogether: what its parts are allowed, and time to handle files.
struct PhaseLimits {
    prepare: Duration,
    capture: Duration,
    verify: Duration,
}

impl PhaseLimits {
    fn of(context: &TrialContext, step: &Step) -> PhaseLimits {
        let environment = &context.task.environment;
        let waits = |check: &Healthcheck| {
            check.start_period + (check.interval + check.timeout).saturating_mul(check.retries.max(1) + 1)
        };
        let health: Duration =
            [&environment.healthcheck, &step.healthcheck].into_iter().flatten().map(waits).sum();
        let prepare = environment.build_timeout + health + HANDLING;
        let hooks: Duration = step.verifier.collect.iter().map(|hook| hook.timeout).sum();
        let own = match &step.verifier.mode {
            VerifierMode::Separate(Some(own)) => {
                waits_for(context, own) + own.healthcheck.as_ref().map(waits).unwrap_or_default()
            }
            VerifierMode::Separate(None) | VerifierMode::Shared => Duration::ZERO,
        };
        // Each repeat, and once more in the untouched environment, which is made ready like the first one.
        let runs = context.settings.retries.saturating_add(2);
        let tests = context.settings.verifier_timeout(step.verifier.timeout).saturating_mul(runs);
        let ready = prepare.saturating_mul(context.task.steps.len() as u32);
        PhaseLimits { prepare, capture: hooks + HANDLING, verify: tests + own + ready + HANDLING }
    }
}

/// How long an environment may take, others that are made before it included: a few at a time, in turn.
fn waits_for(context: &TrialContext, environment: &EnvironmentSpec) -> Duration {
    let before = u32::try_from(context.settings.jobs / 2).unwrap_or(u32::MAX).saturating_add(4);
    environment.build_timeout.saturating_mul(before)
}

/// A phase that does not end is our fault: every part of it that is the task's or the agent's has a limit of its own.
async fn within<T>(
    limit: Duration,
    phase: Phase,
    work: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => {
            let reason = format!("{phase} did not end within {} s", limit.as_secs());
            Err(Stop::new(Blame::Harness, reason))
        }
    }
}

/// What the tests of one step said.
pub(super) struct Judged {
    pub(super) rewards: Rewards,
    pub(super) tests: Option<TestReport>,
}

/// Where and as whom a step's agent works.
pub(super) struct Setting {
    pub(super) workdir: String,
    pub(super) user: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    /// Folders in PATH.
    pub(super) path: Vec<String>,
}

impl Setting {
    fn of(context: &TrialContext, image: &Image, step: &Step) -> Setting {
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
