//! The loop: ask, run what the model calls, tell it what came of that, until it hands the work in and that is accepted.

use std::time::{Duration, Instant};

use harness_core::{AgentExit, Usage, UsageSource};
use serde_json::{Value, json};

use crate::baseline::Baseline;
use crate::client::{Model, ModelError};
use crate::context::Window;
use crate::conversation::{mask, old_until, say, shorten, transcript};
use crate::events::{CallRecord, EVENTS_VERSION, Event, Purpose, clip};
use crate::goal;
use crate::guard::{Guard, Noticed};
use crate::job::{Fault, Halt, Job, Report, Waiting};
use crate::prompts::{self, Opening};
use crate::settings::{ContextPolicy, Effort, Goal};
use crate::tools::{self, Desk, DeskSpec, Output, Submission, TOOLS};
use crate::wires::{Call, Heard, Prompt, Stop, ToolResult, ToolSpec, Turn};

/// How often an answer that broke off is asked for.
const TRIES: u32 = 5;
/// The first wait between two tries; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Answers in a row of which nothing can be used, after which no better ones are waited for.
const USELESS: u32 = 5;
/// Answers in a row that were withheld or refused.
const WITHHELD: u32 = 2;
/// Answers in a row without any call and without a word that it is done.
const TALK: u32 = 3;
/// Pauses in a row that a provider may make.
const PAUSES: u32 = 30;
/// How often a window that is smaller than was thought is tried to fit.
const FITTINGS: u32 = 6;
/// Longest answer that stays in the conversation.
const MAX_KEPT: usize = 400 << 10;
/// Most calls of one answer that are run.
const MAX_CALLS: usize = 32;
/// How often work may be handed in while the test fails.
const REJECTIONS: u32 = 8;
/// Results that stay when older ones are masked.
const KEPT_RESULTS: usize = 4;
/// Turns of the model that stay when older ones are summed up.
const KEPT_TURNS: usize = 4;
/// Longest account of old turns that is summed up.
const MAX_TRANSCRIPT: usize = 400 << 10;

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

/// What is done about a submission.
enum Judged {
    Accepted,
    Back(String),
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

    /// Asks for the next step, making the conversation shorter where it does not fit.
    async fn next_answer(&mut self) -> Result<Heard, Halt> {
        for _ in 0..FITTINGS {
            let mut body = self.body();
            if self.window.is_filling(body.len()) && self.make_room(body.len()).await? {
                body = self.body();
            }
            let bytes = body.len();
            match self.ask(Purpose::Act, &self.job.model.clone(), body).await {
                Err(Halt::Overflow(message)) => {
                    if self.job.settings.context_policy == ContextPolicy::None {
                        return Err(Halt::End(AgentExit::GaveUp, message));
                    }
                    self.window.overflowed(bytes);
                }
                Err(Halt::TooLarge) => {
                    self.useless(
                        "Your answer was too long to be read and was not kept. Say less at a time.",
                    )?;
                }
                other => return other,
            }
        }
        Err(Halt::End(
            AgentExit::GaveUp,
            "the conversation does not fit into the model's window, however short".to_owned(),
        ))
    }

    fn body(&self) -> Vec<u8> {
        let settings = self.job.settings;
        self.job.model.body(&Prompt {
            model: &self.job.model.name,
            system: &self.system,
            tools: &self.specs,
            turns: &self.turns,
            effort: self.effort(),
            temperature: settings.temperature,
            seed: settings.seed,
            max_output: settings.max_output,
            caching: settings.caching,
            cache_key: &self.cache_key,
        })
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

    /// Takes something out of the window, by the policy; whatever the policy, what does not fit at all goes. Gives whether
    /// anything went.
    async fn make_room(&mut self, bytes: usize) -> Result<bool, Halt> {
        let policy = self.job.settings.context_policy;
        let before = self.window.estimate(bytes);
        let mut changed = false;
        if matches!(policy, ContextPolicy::Mask | ContextPolicy::Hybrid)
            && mask(&mut self.turns, KEPT_RESULTS) > 0
        {
            changed = true;
            self.compacted("mask", before);
        }
        let still = |work: &Work<'_>| work.window.is_filling(work.body().len());
        if matches!(policy, ContextPolicy::Summarise | ContextPolicy::Hybrid)
            && still(self)
            && self.summarise().await?
        {
            changed = true;
            self.compacted("summarise", before);
        }
        if policy == ContextPolicy::None {
            return Ok(changed);
        }
        // What is left does not fit: newest outputs are shortened, then old turns go without a summary.
        let full = |work: &Work<'_>| work.window.is_full(work.body().len());
        for bytes in [4000, 1000] {
            if full(self) && shorten(&mut self.turns, bytes) > 0 {
                changed = true;
                self.compacted("shorten", before);
            }
        }
        for keep in [KEPT_TURNS, 1] {
            if full(self)
                && let Some(cut) = old_until(&self.turns, keep)
            {
                self.forget(cut, "[Earlier work was taken out of the window without a summary. Look again at what you need.]");
                changed = true;
                self.compacted("drop", before);
            }
        }
        Ok(changed)
    }

    fn compacted(&self, how: &str, before: u64) {
        let after = self.window.estimate(self.body().len());
        self.job.log.write(Event::Compacted { how: how.to_owned(), before, after });
    }

    /// Puts a text in place of old turns, the task aside.
    fn forget(&mut self, cut: usize, text: &str) {
        let kept = self.turns.split_off(cut);
        self.turns.truncate(1);
        self.turns.push(Turn::User(text.to_owned()));
        self.turns.extend(kept);
    }

    async fn summarise(&mut self) -> Result<bool, Halt> {
        let Some(cut) = old_until(&self.turns, KEPT_TURNS) else { return Ok(false) };
        let room = usize::try_from(self.job.settings.context_window).unwrap_or(usize::MAX);
        let old = transcript(&self.turns[..cut], MAX_TRANSCRIPT.min(room.saturating_mul(2)));
        match self.ask_aside(Purpose::Summary, prompts::SUMMARY, vec![Turn::User(old)]).await {
            Ok(answer) if !answer.text.trim().is_empty() => {
                let end = answer.text.floor_char_boundary(answer.text.len().min(40_000));
                let summary = format!(
                    "<summary_of_earlier_work>\n{}\n</summary_of_earlier_work>",
                    answer.text[..end].trim()
                );
                self.forget(cut, &summary);
                Ok(true)
            }
            // What cannot be summed up is dropped later, if it has to be.
            Ok(_) | Err(Halt::Overflow(_) | Halt::TooLarge) => Ok(false),
            Err(halt) => Err(halt),
        }
    }

    /// Asks something apart from the conversation.
    pub(crate) async fn ask_aside(
        &mut self,
        purpose: Purpose,
        system: &str,
        turns: Vec<Turn>,
    ) -> Result<Heard, Halt> {
        let settings = self.job.settings;
        let is_other = self.job.subtask_model.is_some();
        let model = self.job.subtask_model.clone().unwrap_or_else(|| self.job.model.clone());
        let body = model.body(&Prompt {
            model: &model.name,
            system,
            tools: &[],
            turns: &turns,
            // What is set is set for the model itself; another may not have it.
            effort: self.effort().filter(|_| !is_other),
            temperature: settings.temperature.filter(|_| !is_other),
            seed: settings.seed.filter(|_| !is_other),
            max_output: settings.max_output.min(8192),
            caching: settings.caching,
            cache_key: &self.cache_key,
        });
        self.ask(purpose, &model, body).await
    }

    /// One request, and again while its answer breaks off.
    async fn ask(&mut self, purpose: Purpose, model: &Model, body: Vec<u8>) -> Result<Heard, Halt> {
        let body = bytes::Bytes::from(body);
        let estimated = self.window.estimate(body.len());
        if let Some(most) = self.job.settings.max_tokens {
            let used = self.usage.total().unwrap_or(0);
            if used.saturating_add(estimated) >= most {
                let reason =
                    format!("max_tokens_per_task of {most} has no room for another request ({used} used)");
                return Err(Halt::End(AgentExit::Budget, reason));
            }
        }
        if let (Some(most), Some(spent)) = (self.job.settings.max_cost, self.job.spent) {
            match spent() {
                Some(spent) if spent >= most => {
                    return Err(Halt::End(
                        AgentExit::Budget,
                        format!("max_cost of {most} is spent ({spent})"),
                    ));
                }
                Some(_) => {}
                None => {
                    let reason = "max_cost cannot be kept: what the model's tokens cost is not known";
                    return Err(Halt::End(AgentExit::Budget, reason.to_owned()));
                }
            }
        }
        let label = match purpose {
            Purpose::Act => None,
            Purpose::Plan => Some("plan"),
            Purpose::Review => Some("review"),
            Purpose::Summary => Some("summary"),
        };
        let mut wait = FIRST_WAIT;
        for attempt in 1..=TRIES {
            self.requests += 1;
            let request = self.requests;
            let effort = self.effort().map(str::to_owned);
            self.job.log.write(Event::Asked { request, purpose, effort, estimated_tokens: estimated });
            self.waiting.now_for("the model");
            let asked =
                model.ask(&body, label, &|| self.waiting.now_for("the rest of the model's answer")).await;
            let again = matches!(asked, Err(ModelError::Broken(_))) && attempt < TRIES;
            let error = match asked {
                Ok(asked) => {
                    self.heard(request, purpose, model, &asked);
                    return Ok(asked.heard);
                }
                Err(error) => error,
            };
            self.job.log.write(Event::Unanswered { request, message: error.to_string(), again });
            match error {
                ModelError::Broken(_) if again => {
                    self.waiting.now_for("a better moment to ask again");
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                ModelError::Budget(message) => return Err(Halt::End(AgentExit::Budget, message)),
                ModelError::Overflow(message) => return Err(Halt::Overflow(message)),
                ModelError::TooLarge => return Err(Halt::TooLarge),
                error @ ModelError::Rejected { .. } => {
                    return Err(Halt::End(AgentExit::Crashed, error.to_string()));
                }
                error @ (ModelError::Away(_) | ModelError::Broken(_)) => {
                    return Err(Halt::Fault(Fault::Upstream(error.to_string())));
                }
            }
        }
        unreachable!("the last try returns")
    }

    fn heard(&mut self, request: u64, purpose: Purpose, model: &Model, asked: &crate::client::Asked) {
        let heard = &asked.heard;
        let wire = harness_gateway::wire::by_name(model.dialect.name()).expect("every dialect is a wire");
        let mut usage = heard.usage.as_ref().map(|raw| wire.usage(raw)).unwrap_or_default();
        usage.requests = Some(1);
        usage.source = Some(UsageSource::Agent);
        usage.total_tokens = None;
        usage.total_tokens = usage.total();
        self.usage = self.usage.plus(&usage);
        if purpose == Purpose::Act {
            self.window.learn(asked.sent, &usage);
        }
        self.job.log.write(Event::Answered {
            request,
            purpose,
            model: heard.model.clone(),
            text: clip(&heard.text),
            thinking: clip(&heard.thinking),
            calls: heard.calls.iter().map(CallRecord::of).collect(),
            stop: format!("{:?}", heard.stop).to_lowercase(),
            usage,
            raw_usage: heard.usage.clone(),
            took_ms: millis(asked.took),
        });
    }

    /// Does what an answer asks for.
    async fn take(&mut self, heard: Heard) -> Result<(), Halt> {
        let Heard { raw, text, calls, stop, .. } = heard;
        let has_calls = !calls.is_empty();
        if let Stop::Filtered(word) | Stop::Refused(word) = &stop {
            return self.withheld(word);
        }
        self.streaks.withheld = 0;
        let long = text.len() + raw.as_ref().map_or(0, |raw| raw.to_string().len());
        if long > MAX_KEPT {
            let told = format!(
                "Your answer had {long} bytes and was not kept. Say less at a time; write long files in parts."
            );
            return self.useless(&told);
        }
        let Some(raw) = raw else {
            return self.useless(match stop {
                Stop::Length => {
                    "Your answer was cut off before anything in it could be used. Do it in smaller pieces."
                }
                _ => "Your answer was empty. Go on with the task: call a tool, or submit.",
            });
        };
        if !has_calls && text.trim().is_empty() && stop != Stop::Paused && stop != Stop::Length {
            // Thoughts alone, or a part of a kind that means nothing here: kept, because it must come back verbatim.
            self.turns.push(Turn::Model(raw));
            return self.useless(
                "Your answer held nothing to read and no call. Go on with the task: call a tool, or submit.",
            );
        }
        self.turns.push(Turn::Model(raw));
        if stop == Stop::Paused && !has_calls {
            self.streaks.pauses += 1;
            if self.streaks.pauses > PAUSES {
                return Err(Halt::End(
                    AgentExit::GaveUp,
                    format!("the model paused {PAUSES} times in a row"),
                ));
            }
            return Ok(());
        }
        self.streaks.pauses = 0;
        if has_calls {
            self.streaks.talk = 0;
            let cut = stop == Stop::Length;
            self.call(calls).await?;
            if cut {
                self.nudge(
                    "length",
                    "Your answer was cut off by the cap on its length; what came after these calls is lost.",
                );
            }
            return Ok(());
        }
        if stop == Stop::Length {
            self.streaks.cut += 1;
            if self.streaks.cut >= USELESS {
                return Err(Halt::End(AgentExit::GaveUp, format!("{USELESS} answers in a row were cut off")));
            }
            self.nudge(
                "length",
                "Your answer was cut off by the cap on its length. Go on from there, in smaller pieces.",
            );
            return Ok(());
        }
        self.streaks.cut = 0;
        self.talk(&text).await
    }

    /// Words and no call: where there is nothing to hand in with, that is how work ends.
    async fn talk(&mut self, text: &str) -> Result<(), Halt> {
        if !self.job.settings.tools.contains(&"submit") {
            let submission = Submission { done: true, message: text.chars().take(4000).collect() };
            return match self.judge(&submission).await? {
                Judged::Accepted => Err(Halt::End(AgentExit::Finished, submission.message)),
                Judged::Back(told) => {
                    self.nudge("handed_back", &told);
                    Ok(())
                }
            };
        }
        self.streaks.talk += 1;
        if self.streaks.talk >= TALK {
            let said: String = text.trim().chars().take(300).collect();
            let reason = format!("it stopped working without handing anything in; its last words: {said}");
            return Err(Halt::End(AgentExit::GaveUp, reason));
        }
        self.nudge(
            "no_call",
            "You called no tool. If the task is done, call submit; if there is no way to do it, call submit with cannot_go_on; else go on.",
        );
        Ok(())
    }

    fn withheld(&mut self, word: &str) -> Result<(), Halt> {
        self.streaks.withheld += 1;
        let word: String = word.trim().chars().take(300).collect();
        if self.streaks.withheld >= WITHHELD {
            return Err(Halt::End(AgentExit::GaveUp, format!("the model refused: {word}")));
        }
        // What was refused is not kept: providers refuse what follows it too.
        self.nudge(
            "withheld",
            "Your last answer was withheld. This is ordinary software work in a sandbox; go on with it in another way, or call \
             submit with cannot_go_on.",
        );
        Ok(())
    }

    fn useless(&mut self, told: &str) -> Result<(), Halt> {
        self.streaks.useless += 1;
        if self.streaks.useless >= USELESS {
            return Err(Halt::End(
                AgentExit::GaveUp,
                format!("{USELESS} answers in a row could not be used"),
            ));
        }
        self.nudge("useless_answer", told);
        Ok(())
    }

    fn nudge(&mut self, why: &str, text: &str) {
        self.job.log.write(Event::Nudged { why: why.to_owned(), text: text.to_owned() });
        say(&mut self.turns, text);
    }

    /// Runs calls in order, and tells what came of them.
    async fn call(&mut self, calls: Vec<Call>) -> Result<(), Halt> {
        let mut results: Vec<ToolResult> = Vec::new();
        let mut outputs: Vec<String> = Vec::new();
        let mut usable = 0;
        for (at, call) in calls.iter().enumerate() {
            self.waiting.now_for("a tool");
            let began = Instant::now();
            let tool =
                tools::by_name(&call.name).filter(|tool| self.job.settings.tools.contains(&tool.name()));
            let mut output = match (tool, &call.input) {
                _ if at >= MAX_CALLS => Output::error(format!("not run: at most {MAX_CALLS} calls at once")),
                (None, _) => tools::unknown(&call.name, &self.job.settings.tools),
                (Some(_), Err(broken)) => Output::error(format!(
                    "the input is no JSON object; it begins: {}",
                    broken.chars().take(200).collect::<String>()
                )),
                (Some(tool), Ok(input)) => {
                    usable += 1;
                    if tool.name() != "submit" {
                        self.calls += 1;
                    }
                    let output = tool.run(&mut self.desk, input).await?;
                    if tool.name() == "bash" { self.keep_rules(output).await? } else { output }
                }
            };
            let submission = output.submitted.take();
            let mut ends = None;
            if let Some(submission) = &submission {
                match (submission.done, calls.len() > at + 1) {
                    (true, true) => {
                        output =
                            Output::error("not handed in: other calls follow it. Submit when they are done.");
                    }
                    (true, false) => match self.judge(submission).await? {
                        Judged::Accepted => ends = Some(AgentExit::Finished),
                        Judged::Back(told) => output = Output::error(told),
                    },
                    (false, _) => ends = Some(AgentExit::GaveUp),
                }
            }
            self.job.log.write(Event::Ran {
                id: call.id.clone(),
                tool: call.name.chars().take(80).collect(),
                output: clip(&output.text),
                is_error: output.is_error,
                took_ms: millis(began.elapsed()),
            });
            if let (Some(exit), Some(submission)) = (ends, submission) {
                return Err(Halt::End(exit, submission.message));
            }
            self.count_failed_tests(&output);
            outputs.push(output.text.clone());
            results.push(ToolResult {
                id: call.id.clone(),
                name: call.name.clone(),
                text: output.text,
                is_error: output.is_error,
                masked: false,
            });
        }
        self.turns.push(Turn::Results { results, note: None });
        if usable == 0 {
            self.streaks.useless += 1;
            if self.streaks.useless >= USELESS {
                return Err(Halt::End(
                    AgentExit::GaveUp,
                    format!("{USELESS} answers in a row held no call that can be run"),
                ));
            }
        } else {
            self.streaks.useless = 0;
        }
        match self.guard.step(&calls, &outputs, self.desk.edits) {
            Noticed::Fine => {}
            Noticed::Loop(told) => {
                self.nudge("loop", &told);
                self.raise_effort("loop");
            }
            Noticed::Idle(told) => self.nudge("idle", &told),
            Noticed::Hopeless(reason) => return Err(Halt::End(AgentExit::GaveUp, reason)),
        }
        Ok(())
    }

    fn count_failed_tests(&mut self, output: &Output) {
        if !output.failed_test {
            return;
        }
        self.failed_tests += 1;
        // The first failure is how work begins; the next ones say that it is hard.
        if self.failed_tests % 2 == 0 {
            self.raise_effort("failing_tests");
        }
    }

    /// Undoes what a command changed out of bounds.
    async fn keep_rules(&mut self, mut output: Output) -> Result<Output, Halt> {
        if self.desk.rules.is_empty() {
            return Ok(output);
        }
        let Some(baseline) = &self.baseline else { return Ok(output) };
        let broken = baseline.enforce(self.job.sandbox, self.job.workdir, &self.desk.rules).await?;
        if !broken.is_empty() {
            let told = self.desk.rules.told().unwrap_or_default();
            output.text.push_str(&format!("\n[undone: {}. {told}]", broken.join(", ")));
        }
        for path in broken {
            self.desk.violate("bash", &path, "undone");
        }
        Ok(output)
    }

    /// Whether work that is handed in is accepted.
    async fn judge(&mut self, _submission: &Submission) -> Result<Judged, Halt> {
        let settings = self.job.settings;
        if self.calls == 0 && !self.asked_about_nothing {
            self.asked_about_nothing = true;
            return Ok(Judged::Back(
                "You have not looked at anything yet. If there is really nothing to do, submit again."
                    .to_owned(),
            ));
        }
        let mut tests = None;
        if let Some(command) = self.test.clone() {
            self.waiting.now_for("the test command");
            let tested = goal::test(&self.desk, &command).await?;
            self.job.log.write(Event::Tested {
                command: command.clone(),
                passed: tested.passed,
                output: clip(&tested.output),
                took_ms: millis(tested.took),
            });
            let insists = settings.goal == Goal::Require || !self.advised;
            if !tested.passed && insists {
                self.advised = true;
                self.rejections += 1;
                self.raise_effort("failing_tests");
                if self.rejections >= REJECTIONS {
                    let reason = format!("it handed the work in {REJECTIONS} times while `{command}` failed");
                    return Err(Halt::End(AgentExit::GaveUp, reason));
                }
                return Ok(Judged::Back(format!("Not accepted: `{command}` fails.\n{}", tested.output)));
            }
            tests = Some(tested.output);
        } else if settings.goal == Goal::Require && !self.advised {
            // Nothing was found that could be required: said once, and then left to the model's own checks.
            self.advised = true;
            return Ok(Judged::Back(
                "No test command was found. Check the work yourself by commands that fail if it is wrong, then submit again."
                    .to_owned(),
            ));
        }
        if settings.review && self.reviews < settings.review_rounds {
            self.reviews += 1;
            if let Some(findings) = self.review(tests.as_deref()).await? {
                self.raise_effort("review");
                return Ok(Judged::Back(format!("Not accepted yet: a review asks for this.\n{findings}")));
            }
        }
        Ok(Judged::Accepted)
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
