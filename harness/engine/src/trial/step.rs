//! One step, from its agent's start to what the tests said: solve, capture, verify.

use std::sync::Arc;

use harness_core::task::VerifierMode;
use harness_core::{AgentExit, Phase, Severity, Step};
use harness_grading::{Rewards, TestReport};
use harness_sandbox::{Change, Image, Sandbox, SandboxError};

use super::again::Taken;
use super::attempt::Attempt;
use super::durable::Durable;
use super::limits::{HANDLING, LAST_RESORT, PhaseLimits, within};
use super::ready::Setting;
use super::stop::Stop;
use super::{artifacts, capture, verify};
use crate::agents::{AgentReport, Session};

/// What the tests of one step said.
pub(super) struct Judged {
    pub(super) rewards: Rewards,
    pub(super) tests: Option<TestReport>,
}

impl Attempt {
    /// `Ok(Err(reason))`: the agent took its own verdict away.
    pub(super) async fn step(
        &mut self,
        sandbox: &Arc<dyn Sandbox>,
        image: &Arc<Image>,
        step: &Step,
        taken: Option<Taken>,
    ) -> Result<Result<Judged, String>, Stop> {
        let context = self.context.clone();
        let place = Setting::of(&context, image, step);
        let limits = PhaseLimits::of(&context, step);
        if taken.is_none() {
            within(limits.prepare, Phase::Prepare, self.make_ready(&**sandbox, &place, step)).await?;
        }
        self.look_at_entrypoint().await;
        let mut session = Session {
            model: None,
            sandbox: &**sandbox,
            task: &context.task,
            step,
            workdir: &place.workdir,
            user: place.user.as_deref(),
            env: &place.env,
            timeout: context.settings.agent_timeout(step.agent.timeout),
            log: &context.dir.join("agent.log"),
        };
        let unable = if taken.is_none() { self.set_up(&session).await? } else { None };
        let network = self.agent_network(step);
        within(HANDLING, Phase::Prepare, async { Ok(self.switch(&**sandbox, &network).await?) }).await?;
        let (held, left) = taken.map(|taken| (taken.held, taken.left)).unzip();
        let mut left = left.unwrap_or_default();
        let ticket = self.outlive(sandbox, step).await;
        let before = held.as_ref().and_then(|held| held.port);
        let open = self.open_traffic(&**sandbox, step.name.clone(), before);
        let open = within(HANDLING, Phase::Prepare, open).await?;
        let unroutable = self.without_a_way(&**sandbox, &network).await;
        self.enter(Phase::Solve);
        if let Some(held) = &held {
            self.add_earlier(Phase::Solve, held.began_ms);
        }
        session.model = open.as_ref().map(|open| open.access.clone());
        let port = open.as_ref().and_then(|open| open.port);
        let began_ms = held.map(|held| held.began_ms);
        let file = self.hold(sandbox, ticket, port, began_ms).await;
        let said = unable.or_else(|| left.report.take());
        let durable = file.as_ref().map(|file| Durable::new(sandbox, file, left));
        if let Some(durable) = &durable {
            session.sandbox = durable;
        }
        let mut report = match said {
            Some(report) => report,
            None => self.while_allowed(self.solve(&session)).await?,
        };
        if let Some(file) = &file {
            let unwritten = |error| SandboxError::host("write down how the agent ended", error);
            file.report(&report).map_err(unwritten)?;
        }
        self.enter(Phase::Capture);
        // Once more: one that never began may not have said so by then.
        self.look_at_entrypoint().await;
        // From here on nothing inside reaches a model.
        drop(session);
        drop(durable);
        drop(open);
        if file.is_some() {
            self.close_listeners(sandbox).await;
        }
        // After a time-out nothing of the agent's may go on working; what ended by itself may have left a service on purpose.
        let cut = matches!(report.exit, AgentExit::TimedOut | AgentExit::Budget | AgentExit::Cancelled);
        if cut || self.was_refused() {
            within(HANDLING, Phase::Capture, async { Ok(sandbox.kill_all().await?) }).await?;
        }
        self.usage = self.usage.plus(&report.usage);
        self.cost = match (self.cost, report.cost) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or_default() + b.unwrap_or_default()),
        };
        self.agent_exit = Some(report.exit);
        if let Some(message) = &report.message {
            self.note("agent_said", Severity::Info, message.chars().take(500).collect());
        }
        self.details.integrity.append(&mut report.findings);
        self.note_direct_calls(&**sandbox, &network, unroutable).await;
        self.close_traffic(&mut report).await?;
        self.agent_exit = Some(report.exit);
        let changes = within(limits.capture, Phase::Capture, self.capture(&**sandbox, step, &place)).await?;
        // What tests have begun with is nothing to begin again with.
        if file.is_some() {
            self.no_more(sandbox, file).await;
        }
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
        // Services that a step left running are there for the next one, in the network of its agent.
        let next = context.task.steps.iter().skip_while(|other| *other != step).nth(1);
        let network = next.map(|next| self.agent_network(next));
        let go_on = async {
            if let Some(network) = &network {
                self.switch(&**sandbox, network).await?;
            }
            Ok(sandbox.freeze(false).await?)
        };
        within(HANDLING, Phase::Verify, go_on).await?;
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
        artifacts::trajectory(self, sandbox, step, changes.as_deref()).await?;
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
