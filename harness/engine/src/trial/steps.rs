//! All steps of a task in one sandbox, and their rewards as one outcome.

use std::sync::Arc;

use harness_core::record::StepRecord;
use harness_core::{Outcome, Phase, Severity};
use harness_grading::{Evidence, StepOutcome, TestReport, combine, judge, meets};
use harness_sandbox::{Image, Sandbox};

use super::again::Taken;
use super::attempt::Attempt;
use super::step::Judged;
use super::stop::Stop;

impl Attempt {
    /// All steps in one sandbox.
    pub(super) async fn steps(
        &mut self,
        sandbox: &Arc<dyn Sandbox>,
        image: &Arc<Image>,
        mut taken: Option<Taken>,
    ) -> Result<Outcome, Stop> {
        let task = self.context.task.clone();
        let mut judged: Vec<Judged> = Vec::new();
        for (at, step) in task.steps.iter().enumerate() {
            if at > 0 {
                self.enter(Phase::Prepare);
            }
            let one = match self.step(sandbox, image, step, taken.take()).await? {
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
        Ok(self.conclude(&judged))
    }

    /// The steps that were judged, as one outcome.
    fn conclude(&mut self, judged: &[Judged]) -> Outcome {
        let task = self.context.task.clone();
        let several = task.steps.len() > 1 || task.steps.iter().any(|step| step.name.is_some());
        let names: Vec<String> = (1..)
            .zip(&task.steps)
            .map(|(at, step)| step.name.clone().unwrap_or_else(|| format!("step {at}")))
            .collect();
        let ran: Vec<StepOutcome<'_>> = names
            .iter()
            .zip(&task.steps)
            .zip(judged)
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
        match verdict.reason {
            None => Outcome::Resolved,
            Some(reason) => Outcome::Unresolved { reason },
        }
    }
}
