//! Rewards and tests → resolved or not, a score, and why in a sentence.
//!
//! A reward decides where there is one, because that is what the task's author wrote; the tests' own report then
//! explains it, and where the two disagree that is said. Without a reward the tests decide.

use harness_core::TestCounts;
use harness_core::task::Hints;

use crate::count::{Counted, count};
use crate::reward::Rewards;
use crate::test_report::TestReport;

/// Most names in a reason.
const MAX_NAMES: usize = 5;
/// Longest name in a reason, in characters.
const MAX_NAME_CHARS: usize = 80;

/// What a verification left.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The rewards; `None` where the task's format has none. A reward that is *missing* is not this crate's to judge.
    pub rewards: Option<&'a Rewards>,
    /// The tests' own report, where there is one that reads.
    pub tests: Option<&'a TestReport>,
    /// The names that the task asks for.
    pub hints: &'a Hints,
    /// Why later steps were not tried, where that is so: such a trial is not resolved, whatever its rewards.
    pub stopped: Option<&'a str>,
}

/// What it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Whether the task is solved.
    pub resolved: bool,
    /// The reward `reward`; else the only reward; else the least of them; else 1 or 0 by the tests.
    pub score: f64,
    /// From the tests' own report.
    pub tests: Option<TestCounts>,
    /// Why it is not resolved; `None` when it is.
    pub reason: Option<String>,
    /// Reward and tests contradict each other, in a sentence for the record's findings.
    pub disagreement: Option<String>,
}

/// Judges; `None` when there is neither a reward nor a test.
///
/// Resolved by reward: `reward` is at least 1; without that key, the only reward is; with several and none called
/// `reward`, all of them are. Resolved by tests: every name that the task asks for passed; where it asks for none,
/// there is a test and all of them passed (a skipped one did not).
pub fn judge(evidence: Evidence<'_>) -> Option<Verdict> {
    let counted = evidence.tests.map(|report| count(report, evidence.hints));
    let tests_hold = counted.as_ref().and_then(|counted| holds(counted, evidence));
    let headline = evidence.rewards.and_then(headline);
    let (resolved, score) = match (&headline, tests_hold) {
        (Some((_, score)), _) => (*score >= 1.0 && evidence.stopped.is_none(), *score),
        (None, Some(hold)) => (hold && evidence.stopped.is_none(), if hold { 1.0 } else { 0.0 }),
        (None, None) => return None,
    };
    let failing = counted.as_ref().and_then(failing_names);
    let reason = (!resolved).then(|| match (evidence.stopped, &headline, &failing) {
        (Some(why), ..) => why.to_owned(),
        (_, _, Some(failing)) => failing.clone(),
        (_, Some((name, score)), None) => format!("{} is {score}, below 1", shown(name)),
        (_, None, None) => "no test passed or failed".to_owned(),
    });
    let disagreement = match (headline, tests_hold) {
        (Some(_), Some(hold)) if hold != resolved && asks(evidence.hints) && evidence.stopped.is_none() => {
            Some(match failing {
                Some(failing) => {
                    format!("the reward says resolved, the tests' own report does not: {failing}")
                }
                None => "the reward says unresolved, though every test that the task names passed".to_owned(),
            })
        }
        _ => None,
    };
    Some(Verdict { resolved, score, tests: counted.map(|counted| counted.counts), reason, disagreement })
}

/// The reward that decides, with its name: `reward`, or the least of those there are.
fn headline(rewards: &Rewards) -> Option<(String, f64)> {
    if let Some(score) = rewards.get("reward") {
        return Some(("reward".to_owned(), *score));
    }
    let least = rewards.iter().min_by(|(_, a), (_, b)| a.total_cmp(b));
    least.map(|(name, score)| (format!("reward {name}"), *score))
}

fn asks(hints: &Hints) -> bool {
    !hints.fail_to_pass.is_empty() || !hints.pass_to_pass.is_empty()
}

fn holds(counted: &Counted, evidence: Evidence<'_>) -> Option<bool> {
    let any = evidence.tests.is_some_and(|report| !report.tests.is_empty());
    (any || asks(evidence.hints)).then_some(counted.failing.is_empty())
}

/// `2 tests did not pass: a, b (missing)`; `None` when all did.
fn failing_names(counted: &Counted) -> Option<String> {
    let failing = &counted.failing;
    if failing.is_empty() {
        return None;
    }
    let mark = |name: &String| {
        let missing = if counted.missing.contains(name) { " (missing)" } else { "" };
        shown(name) + missing
    };
    let mut names: Vec<String> = failing.iter().take(MAX_NAMES).map(mark).collect();
    if failing.len() > MAX_NAMES {
        names.push(format!("and {} more", failing.len() - MAX_NAMES));
    }
    let tests = if failing.len() == 1 { "1 test" } else { &format!("{} tests", failing.len()) };
    Some(format!("{tests} did not pass: {}", names.join(", ")))
}

/// A name on one line, short, without control characters.
fn shown(name: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut text: String = name.chars().take(MAX_NAME_CHARS).map(clean).collect();
    if name.chars().nth(MAX_NAME_CHARS).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_report::{TestCase, TestStatus};

    fn rewards(entries: &[(&str, f64)]) -> Rewards {
        entries.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    fn by_rewards(entries: &[(&str, f64)]) -> Verdict {
        let hints = Hints::default();
        judge(Evidence { rewards: Some(&rewards(entries)), tests: None, hints: &hints, stopped: None })
            .unwrap()
    }

    fn tests_of(all: &[(&str, TestStatus)]) -> TestReport {
        let case = |(name, status): &(&str, TestStatus)| TestCase {
            name: (*name).to_owned(),
            short: (*name).to_owned(),
            status: *status,
        };
        TestReport { tests: all.iter().map(case).collect() }
    }

    #[test]
    fn verdict_by_reward_follows_reward_then_the_only_one_then_all() {
        assert!(by_rewards(&[("reward", 1.0), ("style", 0.0)]).resolved);
        assert!(!by_rewards(&[("reward", 0.99), ("style", 5.0)]).resolved);
        assert!(by_rewards(&[("accuracy", 3.5)]).resolved);
        assert!(by_rewards(&[("a", 1.0), ("b", 2.0)]).resolved);
        let one_short = by_rewards(&[("a", 1.0), ("b", 0.5)]);
        assert_eq!((one_short.resolved, one_short.score), (false, 0.5));
        assert_eq!(one_short.reason.as_deref(), Some("reward b is 0.5, below 1"));
        assert_eq!(by_rewards(&[("reward", -1.0)]).reason.as_deref(), Some("reward is -1, below 1"));
    }

    #[test]
    fn verdict_names_the_failing_tests_and_bounds_them() {
        let many: Vec<(String, TestStatus)> =
            (0..50).map(|n| (format!("t{n}\u{1b}[31m"), TestStatus::Failed)).collect();
        let many: Vec<(&str, TestStatus)> = many.iter().map(|(n, s)| (n.as_str(), *s)).collect();
        let hints = Hints::default();
        let report = tests_of(&many);
        let verdict = judge(Evidence {
            rewards: Some(&rewards(&[("reward", 0.0)])),
            tests: Some(&report),
            hints: &hints,
            stopped: None,
        })
        .unwrap();
        let reason = verdict.reason.unwrap();
        assert!(reason.starts_with("50 tests did not pass: t0"), "{reason}");
        assert!(reason.ends_with("and 45 more") && !reason.contains('\u{1b}'), "{reason}");
    }

    #[test]
    fn verdict_without_reward_comes_from_the_named_tests() {
        let hints = Hints { fail_to_pass: vec!["a".into()], ..Hints::default() };
        let report = tests_of(&[("a", TestStatus::Passed), ("b", TestStatus::Failed)]);
        let verdict =
            judge(Evidence { rewards: None, tests: Some(&report), hints: &hints, stopped: None }).unwrap();
        assert_eq!((verdict.resolved, verdict.score), (true, 1.0));
        let missing =
            judge(Evidence { rewards: None, tests: Some(&tests_of(&[])), hints: &hints, stopped: None })
                .unwrap();
        assert_eq!(missing.reason.as_deref(), Some("1 test did not pass: a (missing)"));
    }

    #[test]
    fn verdict_of_nothing_is_nothing() {
        let hints = Hints::default();
        assert_eq!(judge(Evidence { rewards: None, tests: None, hints: &hints, stopped: None }), None);
        assert_eq!(
            judge(Evidence { rewards: None, tests: Some(&tests_of(&[])), hints: &hints, stopped: None }),
            None
        );
        assert_eq!(
            judge(Evidence { rewards: Some(&Rewards::new()), tests: None, hints: &hints, stopped: None }),
            None
        );
    }

    #[test]
    fn verdict_of_a_task_that_stopped_early_is_not_resolved_whatever_its_mean() {
        let (hints, rewards) = (Hints::default(), rewards(&[("reward", 1.0)]));
        let why = "step build is below its least reward, so 2 later steps were not tried";
        let evidence = Evidence { rewards: Some(&rewards), tests: None, hints: &hints, stopped: Some(why) };
        let verdict = judge(evidence).unwrap();
        assert_eq!((verdict.resolved, verdict.score, verdict.reason.as_deref()), (false, 1.0, Some(why)));
    }

    #[test]
    fn verdict_says_when_reward_and_named_tests_disagree_and_follows_the_reward() {
        let hints = Hints { fail_to_pass: vec!["a".into()], ..Hints::default() };
        let judge_with = |reward: f64, status| {
            let (rewards, report) = (rewards(&[("reward", reward)]), tests_of(&[("a", status)]));
            judge(Evidence { rewards: Some(&rewards), tests: Some(&report), hints: &hints, stopped: None })
                .unwrap()
        };
        let paid = judge_with(1.0, TestStatus::Failed);
        assert!(paid.resolved && paid.reason.is_none() && paid.disagreement.is_some());
        let unpaid = judge_with(0.0, TestStatus::Passed);
        assert!(!unpaid.resolved && unpaid.disagreement.is_some());
        assert_eq!(unpaid.reason.as_deref(), Some("reward is 0, below 1"));
        assert!(judge_with(1.0, TestStatus::Passed).disagreement.is_none());
    }

    proptest! {
        #[test]
        fn a_verdict_has_a_reason_exactly_when_it_is_not_resolved(
            values in proptest::collection::btree_map("[a-c]|reward", -2.0..3.0f64, 1..4),
            statuses in proptest::collection::vec(0u8..4, 0..8),
            asked in proptest::collection::vec("t[0-9]", 0..4),
        ) {
            let pick = [TestStatus::Passed, TestStatus::Skipped, TestStatus::Other, TestStatus::Failed];
            let names: Vec<String> = (0..8).map(|n| format!("t{n}")).collect();
            let tests: Vec<_> = statuses.iter().enumerate().map(|(n, s)| (names[n].as_str(), pick[*s as usize])).collect();
            let report = tests_of(&tests);
            let hints = Hints { fail_to_pass: asked, ..Hints::default() };
            for rewards in [Some(&values), None] {
                if let Some(verdict) = judge(Evidence { rewards, tests: Some(&report), hints: &hints, stopped: None }) {
                    prop_assert_eq!(verdict.resolved, verdict.reason.is_none());
                    prop_assert_eq!(verdict.resolved, verdict.score >= 1.0);
                }
            }
        }
    }
}
