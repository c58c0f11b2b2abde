//! The loop: ask, run what the model calls, tell it what came of that, until it hands the work in and that is accepted.

mod answers;
mod ask;
mod calls;
mod judge;
mod room;

use std::time::{Duration, Instant};

use harness_core::{AgentExit, Usage};
use serde_json::{Value, json};

use crate::baseline::Baseline;
use crate::context::Window;
use crate::conversation::say;
use crate::events::{EVENTS_VERSION, Event, clip};
use crate::goal;
use crate::guard::Guard;
use crate::job::{Halt, Job, Report, Waiting};
use crate::prompts::{self, Opening};
use crate::settings::{Effort, Goal};
use crate::tools::{Desk, DeskSpec, TOOLS};
use crate::wires::{ToolSpec, Turn};

/// Answers in a row of which nothing can be used, after which no better ones are waited for.
const USELESS: u32 = 5;

/// Work under way.
pub(crate) struct Work<'a> {
    pub(crate) job: &'a Job<'a>,
    waiting: &'a Waiting,
    desk: Desk<'a>,
    pub(crate) baseline: Option<Baseline>,
    system: String,
    specs: Vec<ToolSpec>,
    turns: Vec<Turn>,
    window: Window,
    guard: Guard,
    /// Index into the levels of a dynamic effort.
    level: usize,
    failed_tests: u32,
    test: Option<String>,
    cache_key: String,
    usage: Usage,
    requests: u64,
    steps: u64,
    calls: u64,
    streaks: Streaks,
    rejections: u32,
    reviews: u32,
    advised: bool,
    asked_about_nothing: bool,
}

/// How often in a row something went wrong.
#[derive(Debug, Default)]
struct Streaks {
    useless: u32,
    withheld: u32,
    talk: u32,
    pauses: u32,
    cut: u32,
}

impl<'a> Work<'a> {
    pub(crate) fn new(job: &'a Job<'a>, waiting: &'a Waiting, deadline: Instant) -> Work<'a> {
        let settings = job.settings;
        let desk = Desk::new(DeskSpec {
            sandbox: job.sandbox,
            settings,
            log: job.log,
            workdir: job.workdir,
            user: job.user,
            env: job.env,
            deadline,
        });
        let specs: Vec<ToolSpec> = TOOLS
            .iter()
            .filter(|tool| settings.tools.contains(&tool.name()))
            .map(|tool| tool.spec(settings))
            .collect();
        let system = prompts::system(settings);
        let cache_key = harness_core::Digest::of(format!("{}{system}", job.model_name).as_bytes());
        Work {
            job,
            waiting,
            desk,
            baseline: None,
            specs,
            turns: Vec::new(),
            window: Window::new(settings.context_window, settings.context_at, settings.max_output),
            guard: Guard::default(),
            level: 0,
            failed_tests: 0,
            test: None,
            cache_key: cache_key.as_str().chars().take(32).collect(),
            system,
            usage: Usage::default(),
            requests: 0,
            steps: 0,
            calls: 0,
            streaks: Streaks::default(),
            rejections: 0,
            reviews: 0,
            advised: false,
            asked_about_nothing: false,
        }
    }

    /// Works until there is a reason to stop.
    pub(crate) async fn run(&mut self) -> Halt {
        match self.all().await {
            Err(halt) => halt,
            Ok(never) => match never {},
        }
    }

    async fn all(&mut self) -> Result<std::convert::Infallible, Halt> {
        self.begin().await?;
        loop {
            if self.steps >= self.job.settings.max_steps {
                let reason = format!("max_steps of {} is reached", self.job.settings.max_steps);
                return Err(Halt::End(AgentExit::Budget, reason));
            }
            let heard = self.next_answer().await?;
            self.steps += 1;
            self.take(heard).await?;
        }
    }

    async fn begin(&mut self) -> Result<(), Halt> {
        let (job, settings) = (self.job, self.job.settings);
        let tools: Vec<Value> = self
            .specs
            .iter()
            .map(|tool| json!({"name": tool.name, "description": tool.about, "parameters": tool.schema}))
            .collect();
        job.log.write(Event::Started {
            version: EVENTS_VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            model: job.model_name.to_owned(),
            wire: job.model.dialect.name().to_owned(),
            instruction: clip(job.instruction),
            system: self.system.clone(),
            tools: Value::Array(tools),
            workdir: job.workdir.to_owned(),
        });
        self.waiting.now_for("the sandbox");
        if settings.review || !self.desk.rules.is_empty() {
            let baseline = Baseline::take(job.sandbox, job.workdir).await?;
            // Kept before anything is taken away, so that whatever happens it is put back.
            let baseline = self.baseline.insert(baseline);
            if !self.desk.rules.is_empty() {
                baseline.guard(job.sandbox, job.workdir, &self.desk.rules).await?;
            }
        }
        if settings.goal != Goal::Off {
            self.test = match &settings.test_command {
                Some(command) => Some(command.clone()),
                None => goal::detect(&self.desk).await?,
            };
        }
        let plan = if settings.plan { self.plan().await? } else { None };
        let opening = Opening {
            instruction: job.instruction,
            workdir: job.workdir,
            test: self.test.as_deref(),
            skills_dir: job.skills_dir,
            prior: job.prior,
            plan: plan.as_deref(),
        };
        self.turns.push(Turn::User(prompts::opening(settings, &self.desk.rules, &opening)));
        Ok(())
    }

    fn effort(&self) -> Option<&'static str> {
        match &self.job.settings.effort {
            Effort::Default => None,
            Effort::Fixed(level) => Some(level),
            Effort::Dynamic(levels) => levels.get(self.level).copied(),
        }
    }

    fn raise_effort(&mut self, why: &str) {
        let Effort::Dynamic(levels) = &self.job.settings.effort else { return };
        if let (Some(from), Some(to)) = (levels.get(self.level), levels.get(self.level + 1)) {
            self.level += 1;
            let (from, to, why) = ((*from).to_owned(), (*to).to_owned(), why.to_owned());
            self.job.log.write(Event::EffortRaised { from, to, why });
        }
    }

    fn nudge(&mut self, why: &str, text: &str) {
        self.job.log.write(Event::Nudged { why: why.to_owned(), text: text.to_owned() });
        say(&mut self.turns, text);
    }

    /// Ends shells, undoes what is out of bounds, and puts back what was hidden.
    pub(crate) async fn leave(&mut self) -> Result<(), harness_sandbox::SandboxError> {
        self.desk.leave().await;
        if self.desk.rules.is_empty() {
            return Ok(());
        }
        let (sandbox, workdir) = (self.job.sandbox, self.job.workdir);
        let Some(baseline) = &mut self.baseline else { return Ok(()) };
        for path in baseline.enforce(sandbox, workdir, &self.desk.rules).await? {
            self.desk.violate("at the end", &path, "undone");
        }
        baseline.show(sandbox, workdir).await
    }

    pub(crate) fn hides_something(&self) -> bool {
        self.baseline.as_ref().is_some_and(Baseline::hides_something)
    }

    pub(crate) fn ended(&self, exit: AgentExit, reason: String) -> Event {
        Event::Ended { exit, reason, steps: self.steps, usage: self.usage, violations: self.desk.violations }
    }

    pub(crate) fn report(&self, exit: AgentExit, reason: String) -> Report {
        Report { exit, reason, usage: self.usage, steps: self.steps, violations: self.desk.violations }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
