//! One try of a trial: the phases in their order, each with its time limit, and a teardown that always happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness_core::Blame;
use harness_core::record::{SandboxNote, SelfReport, StepRecord};
use harness_core::{
    AgentExit, Connections, DiffStat, Durations, Event, Finding, NanoUsd, Outcome, Phase, Severity,
    TestCounts, Usage,
};
use harness_sandbox::{Image, Sandbox};

use super::again::Taken;
use super::entrypoint::Entrypoint;
use super::limits::{HANDLING, waits_for, within};
use super::networks::Mark;
use super::stop::Stop;
use super::traffic::Traffic;
use super::{TrialContext, TryResult};
use crate::journal_writer::now_ms;

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
    pub(crate) network: Option<Connections>,
    pub(crate) integrity: Vec<Finding>,
    pub(crate) sandbox: Option<SandboxNote>,
    /// It went on with what a harness that was killed had begun.
    pub(crate) reattached: bool,
    /// It failed by our fault in a way that trying again does not mend.
    pub(crate) lasting: bool,
    /// The sandbox was lost while the agent worked or after.
    pub(crate) lost: bool,
    /// Whose budget, or which provider, cut it short.
    pub(crate) cut_by: Option<String>,
    /// A program that the task needs is not there: the task is skipped, and nothing is on record for the trial.
    pub(crate) missing_tool: Option<String>,
}

/// A try under way: what it has learned so far.
pub(super) struct Attempt {
    pub(super) context: Arc<TrialContext>,
    pub(super) phase: Phase,
    pub(super) marks: Vec<Mark>,
    /// Of the agent's sandbox.
    pub(super) entrypoint: Option<Entrypoint>,
    phase_began: Instant,
    durations: Durations,
    pub(super) agent_exit: Option<AgentExit>,
    pub(super) usage: Usage,
    pub(super) cost: Option<NanoUsd>,
    pub(super) reported: Option<SelfReport>,
    /// Which try, from 1.
    pub(super) number: u32,
    /// Its identity at the gateway, where its variant uses a model.
    pub(super) traffic: Option<Traffic>,
    pub(super) simulated: bool,
    pub(super) replayed: bool,
    pub(super) details: Details,
}

/// Runs one try to its end.
pub(super) async fn run(context: Arc<TrialContext>, number: u32, taken: Option<Taken>) -> TryResult {
    let began = Instant::now();
    let mut attempt = Attempt {
        context,
        phase: Phase::Prepare,
        marks: Vec::new(),
        entrypoint: None,
        phase_began: began,
        durations: Durations::default(),
        agent_exit: None,
        usage: Usage::default(),
        cost: None,
        reported: None,
        number,
        traffic: None,
        simulated: false,
        replayed: false,
        details: Details::default(),
    };
    let outcome = match attempt.phases(taken).await {
        Ok(outcome) => outcome,
        Err((phase, stop)) => {
            attempt.details.lasting = stop.lasting;
            attempt.details.lost = stop.lost && phase >= Phase::Solve;
            attempt.details.cut_by = stop.cut_by;
            Outcome::Stopped { phase, blame: stop.blame, reason: stop.reason }
        }
    };
    attempt.count_traffic();
    attempt.close_phase();
    attempt.durations.total = began.elapsed().as_millis() as u64;
    TryResult {
        outcome,
        agent_exit: attempt.agent_exit,
        usage: attempt.usage,
        cost: attempt.cost,
        reported: attempt.reported,
        simulated: attempt.simulated,
        replayed: attempt.replayed,
        durations: attempt.durations,
        details: attempt.details,
    }
}

impl Attempt {
    pub(super) fn enter(&mut self, phase: Phase) {
        self.close_phase();
        self.phase = phase;
        self.marks.push(Mark { phase, at_ms: now_ms() });
        self.context.journal.write(Event::PhaseEntered { id: self.context.id.clone(), phase });
    }

    fn close_phase(&mut self) {
        let spent = self.phase_began.elapsed().as_millis() as u64;
        *self.durations.of_mut(self.phase) += spent;
        self.phase_began = Instant::now();
    }

    async fn phases(&mut self, taken: Option<Taken>) -> Result<Outcome, (Phase, Stop)> {
        self.enter(Phase::Prepare);
        std::fs::create_dir_all(&self.context.dir).map_err(|error| {
            let reason = format!("cannot make {}: {error}", self.context.dir.display());
            (Phase::Prepare, Stop::new(Blame::Harness, reason))
        })?;
        self.identify().map_err(|stop| (Phase::Prepare, stop))?;
        let limit = waits_for(&self.context, &self.context.task.environment) + HANDLING;
        let (sandbox, image, result) = match taken {
            Some(taken) => {
                let (sandbox, image) = (taken.sandbox.clone(), taken.image.clone());
                self.go_on(&taken);
                let result = self.steps(&sandbox, &image, Some(taken)).await;
                (sandbox, image, result)
            }
            None => {
                let began = within(limit, Phase::Prepare, self.begin()).await;
                let (sandbox, image) = began.map_err(|stop| (Phase::Prepare, stop))?;
                let result = match within(HANDLING, Phase::Prepare, self.tools(&*sandbox, &image)).await {
                    Ok(()) => self.steps(&sandbox, &image, None).await,
                    Err(stop) => Err(stop),
                };
                (sandbox, image, result)
            }
        };
        drop(image);
        let result = result.map_err(|stop| (self.phase, stop));
        self.enter(Phase::Teardown);
        let destroyed = tokio::time::timeout(Duration::from_secs(60), sandbox.destroy()).await;
        self.keep_connections(&*sandbox);
        self.entrypoint = None;
        // What cannot be removed now is found by its label later; the verdict stands.
        match destroyed {
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
        self.describe(&image);
        let sandbox = context.backend.create(context.whose().agents_sandbox(image.clone())).await?;
        self.entrypoint = Entrypoint::start(&sandbox, &image, &context.dir.join("entrypoint.log"));
        Ok((sandbox, image))
    }

    /// A sandbox that was taken over, with its agent at work in it.
    fn go_on(&mut self, taken: &Taken) {
        self.describe(&taken.image);
        let log = self.context.dir.join("entrypoint.log");
        self.entrypoint = Entrypoint::start(&taken.sandbox, &taken.image, &log);
        self.details.reattached = true;
        let times = if taken.times == 1 { String::new() } else { format!(", {} times by now", taken.times) };
        let detail = format!(
            "the harness was killed while the agent worked{times}; the agent went on in its sandbox {}",
            taken.sandbox.id()
        );
        self.note("reattached", Severity::Info, detail);
    }

    /// Notes what its sandbox is.
    fn describe(&mut self, image: &Image) {
        let context = self.context.clone();
        let steps = &context.task.steps;
        let first = steps.first().expect("a task has at least one step");
        let network = self.agent_network(first);
        let other = steps.iter().map(|step| self.verifier_network(step)).find(|mode| *mode != network);
        self.details.sandbox = Some(SandboxNote {
            backend: context.backend.name().to_owned(),
            rootfs: image.name.clone(),
            network: network.to_string(),
            verifier_network: other.map(|mode| mode.to_string()),
            weaknesses: context.backend.caps().weaknesses.iter().chain(&image.weaknesses).cloned().collect(),
        });
    }

    /// Counts time of a phase that passed before this process had a part in it.
    pub(super) fn add_earlier(&mut self, phase: Phase, since_ms: i64) {
        *self.durations.of_mut(phase) += u64::try_from(now_ms() - since_ms).unwrap_or(0);
    }
}
