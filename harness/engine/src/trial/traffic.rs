//! A try's model traffic: its identity at the gateway, a listener that is there while the agent works and never while anything
//! is judged, and what budgets and providers mean for the try.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use harness_core::record::SelfReport;
use harness_core::{AgentExit, Blame, Severity};
use harness_gateway::proxy::Health;
use harness_sandbox::{Sandbox, SandboxError};

use super::attempt::Attempt;
use super::stop::Stop;
use crate::agents::AgentReport;
use crate::models::{Fault, Halt, Identity, ModelAccess, Models, Route, Serving, TryOf};

/// How long an agent may go on after it was refused: some have something to tidy up, others would ask for ever.
const AFTER_REFUSAL: Duration = Duration::from_secs(15);
/// How many refusals are enough to see that it does not stop by itself.
const MOST_REFUSALS: u64 = 20;
/// How long answers are waited for that nobody reads any more, so that their usage is known: longer than the gateway reads on.
const IN_FLIGHT: Duration = Duration::from_secs(25);
/// How far an agent's own count may be off, in hundredths, without a word.
const TOLERANCE: u64 = 1;

/// A try's identity at the gateway.
pub(super) struct Traffic {
    models: Arc<Models>,
    route: Arc<Route>,
    identity: Identity,
    trial: String,
}

/// What an agent has while it works; dropped, the listener is gone.
pub(super) struct Open {
    pub(super) access: ModelAccess,
    /// Where it is reached inside.
    pub(super) port: Option<u16>,
    _listener: Option<Serving>,
}

impl Traffic {
    fn tally(&self) -> crate::models::Tally {
        self.models.kept().tally(&self.trial).0
    }

    /// Returns when the agent must be ended for what its requests came to, though it goes on itself.
    async fn must_end(&self) {
        loop {
            let (tally, changed) = self.models.kept().tally(&self.trial);
            let rings = changed.notified();
            tokio::pin!(rings);
            // Counted from here on, so that nothing is missed between looking and waiting.
            rings.as_mut().enable();
            let (now, _) = self.models.kept().tally(&self.trial);
            if matches!(now.fault, Some(Fault::Refusing { .. })) || now.refused >= MOST_REFUSALS {
                return;
            }
            if now.refused > 0 && tally.refused > 0 {
                // The grace runs from the first refusal; more of them end it sooner.
                let more = async {
                    while self.tally().refused < MOST_REFUSALS {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                };
                let _over = tokio::time::timeout(AFTER_REFUSAL, more).await;
                return;
            }
            if now.refused == 0 {
                rings.await;
            }
        }
    }

    /// Waits until every answer of the try is counted, or too long.
    async fn settle(&self) {
        let settled = async {
            while !self.identity.is_idle() || self.tally().open > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _late = tokio::time::timeout(IN_FLIGHT, settled).await;
    }
}

impl Attempt {
    /// Gives the try its identity, where its variant uses a model.
    pub(super) fn identify(&mut self) -> Result<(), Stop> {
        let context = self.context.clone();
        let Some(models) = &context.models else { return Ok(()) };
        let Some(route) = models.route(&context.id) else { return Ok(()) };
        let identity = models
            .caller(&context.id, route)
            .map_err(|error| Stop::new(Blame::Harness, format!("no identity at the gateway: {error}")))?;
        models.limit(&context.id.path(), context.agent.limits());
        models.kept().begin(TryOf {
            trial: context.id.path(),
            dir: context.dir.clone(),
            number: self.number,
            model: (route.model.clone(), route.name.clone()),
        });
        self.simulated = route.is_simulated();
        self.traffic = Some(Traffic {
            models: Arc::clone(models),
            route: Arc::clone(route),
            identity,
            trial: context.id.path(),
        });
        Ok(())
    }

    /// Opens the way to the model for one step; on the port that its agent knows already, where it was at work before.
    pub(super) async fn open_traffic(
        &self,
        sandbox: &dyn Sandbox,
        step: Option<String>,
        before: Option<u16>,
    ) -> Result<Option<Open>, Stop> {
        let Some(traffic) = &self.traffic else { return Ok(None) };
        traffic.models.kept().enter_step(&traffic.trial, step);
        if !self.context.agent.asks_from_inside() {
            let access = traffic.identity.access(&traffic.route, None);
            return Ok(Some(Open { access, port: None, _listener: None }));
        }
        // Where a sandbox can have no listener, agents on the host still reach the model.
        let (port, listener) = match sandbox.listen(before.unwrap_or(0)).await {
            Ok(listener) => {
                let broken = |error| Stop::new(Blame::Harness, format!("the listener inside fails: {error}"));
                let port = listener.local_addr().map_err(broken)?.port();
                (Some(port), Some(traffic.identity.serve(listener).map_err(broken)?))
            }
            Err(SandboxError::Unsupported { .. }) => (None, None),
            Err(error) => return Err(error.into()),
        };
        let access = traffic.identity.access(&traffic.route, port);
        Ok(Some(Open { access, port, _listener: listener }))
    }

    /// Lets the agent work until it is done, or until it must be ended for what its requests came to.
    pub(super) async fn while_allowed(
        &self,
        work: impl Future<Output = Result<AgentReport, Stop>>,
    ) -> Result<AgentReport, Stop> {
        let Some(traffic) = &self.traffic else { return work.await };
        tokio::select! {
            biased;
            report = work => report,
            () = traffic.must_end() => Ok(AgentReport::ended(AgentExit::Cancelled)),
        }
    }

    /// Whether a budget has stopped the agent, whatever it says of its own end.
    pub(super) fn was_refused(&self) -> bool {
        self.traffic.as_ref().is_some_and(|traffic| traffic.tally().refused > 0)
    }

    /// The agent is gone and its listener closed: counts the rest, and says what budgets and providers did to the step.
    pub(super) async fn close_traffic(&mut self, report: &mut AgentReport) -> Result<(), Stop> {
        let context = self.context.clone();
        let Some(traffic) = &self.traffic else { return Ok(()) };
        traffic.settle().await;
        let (models, trial, route) = (traffic.models.clone(), traffic.trial.clone(), traffic.route.clone());
        let tally = traffic.tally();
        if let Some(refusal) = models.stopped_by(&trial).filter(|_| tally.refused > 0) {
            report.exit = AgentExit::Budget;
            self.agent_exit = Some(report.exit);
            if let Some(reason) = models.cut(&context.id, &refusal) {
                return Err(Stop::cut(refusal.scope.kind(), reason));
            }
            self.note("budget", Severity::Info, refusal.message());
            return Ok(());
        }
        match tally.fault {
            Some(Fault::Refusing { upstream }) => {
                let said = route.upstreams.values().find_map(|known| match known.health() {
                    Health::Refusing(said) if known.name() == upstream => Some(said),
                    _ => None,
                });
                let said = said.unwrap_or_else(|| format!("the upstream {upstream} refuses"));
                models.halt(Halt::Upstream(said.clone()));
                Err(Stop::cut("upstream", said))
            }
            Some(Fault::Failed(said)) => {
                if let Some(gone) =
                    route.upstreams.values().find(|upstream| upstream.has_outlasted_patience())
                {
                    let reason =
                        format!("the upstream {} was down for longer than is waited: {said}", gone.name());
                    models.halt(Halt::Upstream(reason.clone()));
                    return Err(Stop::cut("upstream", reason));
                }
                Err(Stop::new(Blame::Harness, format!("the model's provider failed: {said}")))
            }
            None if tally.open > 0 && route.upstreams.values().any(|up| up.health() != Health::Up) => {
                let reason = "the model's provider was down when the agent ended";
                Err(Stop::new(Blame::Harness, reason))
            }
            None => {
                if report.exit == AgentExit::Cancelled {
                    report.exit = AgentExit::Crashed;
                }
                Ok(())
            }
        }
    }

    /// The try is over: its usage and cost are what the gateway counted, and the agent's own account stands beside them.
    pub(super) fn count_traffic(&mut self) {
        let Some(traffic) = self.traffic.take() else { return };
        let tally = traffic.models.kept().end(&traffic.trial);
        let own = SelfReport { usage: self.usage, cost: self.cost };
        (self.usage, self.cost) = (tally.usage(), tally.cost());
        if own != SelfReport::default() {
            self.reported = Some(own);
            let (counted, said) = (self.usage.total(), own.usage.total());
            if let (Some(counted), Some(said)) = (counted, said)
                && counted.abs_diff(said).saturating_mul(100) > counted.saturating_mul(TOLERANCE)
            {
                let detail = format!("the agent says {said} tokens, the gateway counted {counted}");
                self.note("usage_differs", Severity::Info, detail);
            }
        }
        self.replayed = tally.replayed > 0 && tally.replayed == tally.requests;
        if let Some(missed) = tally.missed {
            let missed: String = missed.chars().take(1000).collect();
            let detail = format!("the recording has no answer to what the agent asked: {missed}");
            self.note("replay_missed", Severity::Warning, detail);
        }
        if tally.open > 0 {
            let detail = format!(
                "{} requests were still under way when the try ended; their cost is unknown",
                tally.open
            );
            self.note("requests_in_flight", Severity::Warning, detail);
        }
        for warning in tally.warnings {
            self.note("price", Severity::Warning, warning);
        }
    }
}
