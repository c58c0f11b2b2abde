//! Counts a test report against the names that a task asks for. A name that the report does not have is a failure.

use std::collections::{HashMap, HashSet};

use harness_core::TestCounts;
use harness_core::record::Passed;
use harness_core::task::Hints;

use crate::test_report::{TestReport, TestStatus};

/// The counts and the names behind them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// For the record.
    pub counts: TestCounts,
    /// Names that a task asks for and that did not pass (missing ones too), or, where it asks for none, every test of
    /// the report that did not pass.
    pub failing: Vec<String>,
    /// Those of `failing` that the report does not mention at all.
    pub missing: Vec<String>,
}

/// Counts `report` against `hints`.
///
/// A wanted name is looked up as written, then as the last part of a name, then with the separators of different
/// tools made equal (`tests/test_a.py::test_x` is `tests.test_a::test_x`). Where several tests answer to it all of them
/// must have passed.
pub fn count(report: &TestReport, hints: &Hints) -> Counted {
    let lookup = Lookup::of(report);
    let mut counted = Counted::default();
    let mut asked: HashSet<String> = HashSet::new();
    let mut named = |names: &[String], counted: &mut Counted| {
        let mut passed = Passed::default();
        for name in names {
            passed.total = passed.total.saturating_add(1);
            let status = lookup.status(name);
            if status == Some(TestStatus::Passed) {
                passed.passed = passed.passed.saturating_add(1);
            } else if asked.insert(name.clone()) {
                counted.failing.push(name.clone());
                if status.is_none() {
                    counted.missing.push(name.clone());
                }
            }
        }
        passed
    };
    counted.counts.fail_to_pass = named(&hints.fail_to_pass, &mut counted);
    counted.counts.pass_to_pass = named(&hints.pass_to_pass, &mut counted);

    let passed = report.tests.iter().filter(|test| test.status == TestStatus::Passed).count();
    let others = report.tests.len() - passed + counted.missing.len();
    counted.counts.passed = u32::try_from(passed).unwrap_or(u32::MAX);
    counted.counts.failed = u32::try_from(others).unwrap_or(u32::MAX);
    if hints.fail_to_pass.is_empty() && hints.pass_to_pass.is_empty() {
        let failing = report.tests.iter().filter(|test| test.status != TestStatus::Passed);
        counted.failing = failing.map(|test| test.name.clone()).collect();
    }
    counted
}

/// Three ways to find a test, each with the worst status of all that answer to the name.
struct Lookup<'a> {
    full: HashMap<&'a str, TestStatus>,
    short: HashMap<&'a str, TestStatus>,
    plain: HashMap<String, TestStatus>,
}

impl<'a> Lookup<'a> {
    fn of(report: &'a TestReport) -> Lookup<'a> {
        let mut lookup = Lookup { full: HashMap::new(), short: HashMap::new(), plain: HashMap::new() };
        for test in &report.tests {
            worse(lookup.full.entry(&test.name).or_insert(test.status), test.status);
            worse(lookup.short.entry(&test.short).or_insert(test.status), test.status);
            worse(lookup.plain.entry(plain(&test.name)).or_insert(test.status), test.status);
        }
        lookup
    }

    fn status(&self, name: &str) -> Option<TestStatus> {
        let name = name.trim();
        self.full.get(name).or_else(|| self.short.get(name)).or_else(|| self.plain.get(&plain(name))).copied()
    }
}

fn worse(slot: &mut TestStatus, status: TestStatus) {
    *slot = (*slot).max(status);
}

/// The name with every separator a dot and a Python file as its module; parameters in brackets stay as they are.
fn plain(name: &str) -> String {
    let (head, parameters) = name.split_at(name.find('[').unwrap_or(name.len()));
    let head = head.replace(".py::", ".").replace("::", ".").replace(" > ", ".").replace(" › ", ".");
    head.replace('/', ".") + parameters
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_report::TestCase;

    fn report(tests: &[(&str, &str, TestStatus)]) -> TestReport {
        let case = |(name, short, status): &(&str, &str, TestStatus)| TestCase {
            name: (*name).to_owned(),
            short: (*short).to_owned(),
            status: *status,
        };
        TestReport { tests: tests.iter().map(case).collect() }
    }

    fn hints(fail_to_pass: &[&str], pass_to_pass: &[&str]) -> Hints {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Hints { fail_to_pass: own(fail_to_pass), pass_to_pass: own(pass_to_pass), ..Hints::default() }
    }

    #[test]
    fn count_takes_missing_and_skipped_as_failed() {
        let report = report(&[("a", "a", TestStatus::Passed), ("b", "b", TestStatus::Skipped)]);
        let counted = count(&report, &hints(&["a", "b"], &["c"]));
        assert_eq!(counted.counts.fail_to_pass, Passed { passed: 1, total: 2 });
        assert_eq!(counted.counts.pass_to_pass, Passed { passed: 0, total: 1 });
        assert_eq!((counted.counts.passed, counted.counts.failed), (1, 2));
        assert_eq!(counted.failing, ["b", "c"]);
        assert_eq!(counted.missing, ["c"]);
    }

    #[test]
    fn count_finds_a_name_however_the_tool_spells_it() {
        let report = report(&[("tests.test_a.TestX::test_y[p/q]", "test_y[p/q]", TestStatus::Passed)]);
        for spelling in [
            "tests.test_a.TestX::test_y[p/q]",
            "test_y[p/q]",
            "tests/test_a.py::TestX::test_y[p/q]",
            "tests.test_a.TestX.test_y[p/q]",
        ] {
            assert_eq!(count(&report, &hints(&[spelling], &[])).counts.fail_to_pass.passed, 1, "{spelling}");
        }
        assert_eq!(count(&report, &hints(&["test_y"], &[])).missing, ["test_y"]);
    }

    #[test]
    fn count_lets_an_ambiguous_name_pass_only_when_all_of_them_did() {
        let mut two = report(&[("a::t", "t", TestStatus::Passed), ("b::t", "t", TestStatus::Failed)]);
        assert_eq!(count(&two, &hints(&["t"], &[])).failing, ["t"]);
        assert_eq!(count(&two, &hints(&["a::t"], &[])).failing, [] as [&str; 0]);
        two.tests[1].status = TestStatus::Passed;
        assert_eq!(count(&two, &hints(&["t"], &[])).failing, [] as [&str; 0]);
    }

    #[test]
    fn count_without_wanted_names_lists_every_test_that_did_not_pass() {
        let report = report(&[("a", "a", TestStatus::Passed), ("b", "b", TestStatus::Other)]);
        assert_eq!(count(&report, &Hints::default()).failing, ["b"]);
    }

    proptest! {
        #[test]
        fn counts_add_up(statuses in proptest::collection::vec(0u8..4, 0..40), asked in proptest::collection::vec(0usize..60, 0..30)) {
            let pick = [TestStatus::Passed, TestStatus::Skipped, TestStatus::Other, TestStatus::Failed];
            let names: Vec<String> = (0..60).map(|n| format!("t{n}")).collect();
            let tests = statuses.iter().enumerate().map(|(n, s)| TestCase {
                name: names[n].clone(), short: names[n].clone(), status: pick[*s as usize],
            }).collect();
            let hints = Hints { fail_to_pass: asked.iter().map(|n| names[*n].clone()).collect(), ..Hints::default() };
            let counted = count(&TestReport { tests }, &hints);
            prop_assert_eq!(
                (counted.counts.passed + counted.counts.failed) as usize,
                statuses.len() + counted.missing.len()
            );
            let naive = asked.iter().filter(|n| statuses.get(**n) == Some(&0)).count();
            prop_assert_eq!(counted.counts.fail_to_pass.passed as usize, naive);
        }
    }
}
