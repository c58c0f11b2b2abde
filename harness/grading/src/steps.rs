//! Several steps → one set of rewards, and whether a step was good enough for the next to be tried.

use harness_core::task::{MinReward, RewardStrategy};

use crate::reward::Rewards;

/// One step that ran and was judged.
#[derive(Debug, Clone, Copy)]
pub struct StepOutcome<'a> {
    /// The step's name, for reasons.
    pub name: &'a str,
    /// What its verifier gave.
    pub rewards: &'a Rewards,
    /// The least that lets later steps run.
    pub min_reward: Option<&'a MinReward>,
}

/// The rewards of the whole task.
#[derive(Debug, Clone, PartialEq)]
pub struct Combined {
    /// One set.
    pub rewards: Rewards,
    /// Why later steps were not tried, when that is so. Such a trial is not resolved, whatever the rewards say: a mean
    /// over the steps that ran is the higher the earlier they stop.
    pub stopped: Option<String>,
}

/// Whether `rewards` lets later steps run. Meeting the limit exactly does; a reward that is asked for and not there
/// does not.
pub fn meets(min: &MinReward, rewards: &Rewards) -> bool {
    let enough = |name: &str, least: f64| rewards.get(name).is_some_and(|value| *value >= least);
    match min {
        MinReward::One(least) => enough("reward", *least),
        MinReward::Named(all) => all.iter().all(|(name, least)| enough(name, *least)),
    }
}

/// Combines the steps that ran, in order; `planned` is how many the task has. `None` when none ran.
///
/// `Mean` is per key over the steps that ran, a key that a step does not have counting 0 there; `Final` is the last
/// step that ran.
pub fn combine(strategy: RewardStrategy, ran: &[StepOutcome<'_>], planned: usize) -> Option<Combined> {
    let last = ran.last()?;
    let rewards = match strategy {
        RewardStrategy::Final => last.rewards.clone(),
        RewardStrategy::Mean => mean(ran),
    };
    let below = last.min_reward.is_some_and(|min| !meets(min, last.rewards));
    let stopped = (ran.len() < planned).then(|| {
        let left = planned - ran.len();
        let why = if below { "is below its least reward" } else { "is the last that ran" };
        let steps = if left == 1 { "1 later step was" } else { &format!("{left} later steps were") };
        format!("step {} {why}, so {steps} not tried", last.name)
    });
    Some(Combined { rewards, stopped })
}

fn mean(ran: &[StepOutcome<'_>]) -> Rewards {
    let count = ran.len() as f64;
    let mut rewards = Rewards::new();
    for (name, value) in ran.iter().flat_map(|step| step.rewards) {
        *rewards.entry(name.clone()).or_insert(0.0) += value;
    }
    for (name, value) in &mut rewards {
        // Dividing once at the end keeps a mean of ones at exactly one; only a sum that left the range is redone.
        *value = if value.is_finite() {
            *value / count
        } else {
            ran.iter().filter_map(|step| step.rewards.get(name)).map(|part| part / count).sum()
        };
    }
    rewards
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewards(entries: &[(&str, f64)]) -> Rewards {
        entries.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    fn ran(all: &[Rewards]) -> Vec<StepOutcome<'_>> {
        all.iter().map(|rewards| StepOutcome { name: "s", rewards, min_reward: None }).collect()
    }

    #[test]
    fn mean_is_per_key_with_missing_as_nought_over_the_steps_that_ran() {
        let steps = [rewards(&[("reward", 1.0), ("style", 1.0)]), rewards(&[("reward", 0.5)])];
        let combined = combine(RewardStrategy::Mean, &ran(&steps), 2).unwrap();
        assert_eq!(combined.rewards, rewards(&[("reward", 0.75), ("style", 0.5)]));
        assert_eq!(combined.stopped, None);
    }

    #[test]
    fn final_is_the_last_step_that_ran() {
        let steps = [rewards(&[("reward", 1.0)]), rewards(&[("other", 0.5)])];
        let combined = combine(RewardStrategy::Final, &ran(&steps), 3).unwrap();
        assert_eq!(combined.rewards, rewards(&[("other", 0.5)]));
        assert_eq!(
            combined.stopped.as_deref(),
            Some("step s is the last that ran, so 1 later step was not tried")
        );
        assert_eq!(combine(RewardStrategy::Final, &[], 3), None);
    }

    #[test]
    fn min_reward_met_exactly_goes_on_and_a_missing_key_stops() {
        let one = rewards(&[("reward", 0.5)]);
        assert!(meets(&MinReward::One(0.5), &one));
        assert!(!meets(&MinReward::One(0.51), &one));
        assert!(!meets(&MinReward::One(0.0), &rewards(&[("other", 9.0)])));
        assert!(!meets(&MinReward::Named(rewards(&[("reward", 0.1), ("b", -5.0)])), &one));
        assert!(meets(&MinReward::Named(rewards(&[("reward", 0.1)])), &one));
    }

    #[test]
    fn stopping_early_says_which_step_was_below() {
        let (low, min) = (rewards(&[("reward", 0.2)]), MinReward::One(0.5));
        let step = StepOutcome { name: "build", rewards: &low, min_reward: Some(&min) };
        let combined = combine(RewardStrategy::Mean, &[step], 3).unwrap();
        let expected = "step build is below its least reward, so 2 later steps were not tried";
        assert_eq!(combined.stopped.as_deref(), Some(expected));
    }

    proptest! {
        #[test]
        fn mean_of_ones_is_exactly_one_for_any_number_of_steps(count in 1usize..200) {
            let steps = vec![rewards(&[("reward", 1.0)]); count];
            let combined = combine(RewardStrategy::Mean, &ran(&steps), count).unwrap();
            prop_assert_eq!(combined.rewards["reward"], 1.0);
        }

        #[test]
        fn mean_stays_finite_and_between_the_steps(values in proptest::collection::vec(proptest::num::f64::NORMAL, 1..9)) {
            let steps: Vec<_> = values.iter().map(|value| rewards(&[("reward", *value)])).collect();
            let mean = combine(RewardStrategy::Mean, &ran(&steps), steps.len()).unwrap().rewards["reward"];
            prop_assert!(mean.is_finite());
        }
    }
}
