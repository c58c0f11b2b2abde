//! How long each phase may take: what its parts are allowed by the task, and time to handle files. A phase that does not end is
//! our fault, because every part of it that is the task's or the agent's has a limit of its own.

use std::time::Duration;

use harness_core::task::VerifierMode;
use harness_core::{Blame, EnvironmentSpec, Healthcheck, Phase, Step};

use super::TrialContext;
use super::stop::Stop;

/// How long creating, copying and reading may take in one phase, beside what has a limit of its own.
pub(super) const HANDLING: Duration = Duration::from_secs(600);
/// How long after its time an agent is left to end by its own deadline, which keeps its account, before it is dropped.
pub(super) const LAST_RESORT: Duration = Duration::from_secs(10);

/// How long the phases of one step may take altogether: what its parts are allowed, and time to handle files.
pub(super) struct PhaseLimits {
    pub(super) prepare: Duration,
    pub(super) capture: Duration,
    pub(super) verify: Duration,
}

impl PhaseLimits {
    pub(super) fn of(context: &TrialContext, step: &Step) -> PhaseLimits {
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

/// Gives a phase this long.
pub(super) async fn within<T>(
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

/// How long an environment may take, others that are made before it included: a few at a time, in turn.
pub(super) fn waits_for(context: &TrialContext, environment: &EnvironmentSpec) -> Duration {
    let before = u32::try_from(context.settings.jobs / 2).unwrap_or(u32::MAX).saturating_add(4);
    environment.build_timeout.saturating_mul(before)
}
