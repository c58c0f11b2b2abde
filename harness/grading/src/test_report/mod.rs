//! The tests' own report, whatever tool wrote it: names and statuses, one entry a name.
//!
//! A reader is a file of this folder and a line in [`READERS`]. It gives all of a report or an error: a report that
//! was cut while it was written never reads as a shorter one.

use std::collections::HashMap;

pub mod ctrf;
pub mod junit;

/// Largest report that is read, in bytes.
pub const MAX_REPORT_BYTES: usize = 32 << 20;
/// Most entries in a report.
pub const MAX_TESTS: usize = 200_000;
/// Longest name that is kept, in bytes; longer ones are cut, and what becomes equal by that is merged, worst first.
pub const MAX_NAME_BYTES: usize = 2048;
/// Deepest nesting of elements.
pub const MAX_DEPTH: usize = 64;

/// Every format that is understood, in the order in which they are asked.
pub const READERS: &[Reader] = &[ctrf::READER, junit::READER];

/// One format of test reports.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// Short name, for messages.
    pub name: &'static str,
    /// File names under which verifiers leave it, most usual first.
    pub files: &'static [&'static str],
    /// Whether the bytes look like it, from the first byte that is not blank.
    pub looks_like: fn(&[u8]) -> bool,
    /// Reads all of it.
    pub read: fn(&[u8]) -> Result<TestReport, TestReportError>,
}

/// How one test ended. The order is how much it weighs when a name is reported twice: the last one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TestStatus {
    /// It ran and held.
    Passed,
    /// It did not run: skipped, pending, disabled. Not a pass.
    Skipped,
    /// Something else, or nothing was said. Not a pass.
    Other,
    /// It ran and did not hold, or broke.
    Failed,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCase {
    /// Full name: `group::name` where the report names a class or suite, else the name as reported.
    pub name: String,
    /// The last part of the name alone.
    pub short: String,
    /// How it ended.
    pub status: TestStatus,
}

/// All tests of one report, in its order, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestReport {
    /// The tests.
    pub tests: Vec<TestCase>,
}

/// Why bytes are not a test report.
#[derive(Debug, thiserror::Error)]
pub enum TestReportError {
    /// Neither of the formats.
    #[error("the test report is neither CTRF JSON nor JUnit XML")]
    Unknown,
    /// Larger than [`MAX_REPORT_BYTES`].
    #[error("the test report has {0} bytes, at most {MAX_REPORT_BYTES} are read")]
    TooLarge(usize),
    /// More tests than [`MAX_TESTS`].
    #[error("the test report names more than {MAX_TESTS} tests")]
    TooMany,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the test report is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// A test without a name.
    #[error("test {0} of the report has no name")]
    NoName(usize),
    /// Not JSON, or not shaped like CTRF.
    #[error("the CTRF report does not read: {0}")]
    Json(#[source] serde_json::Error),
    /// Not well-formed XML.
    #[error("the JUnit report does not read at byte {at}: {message}")]
    Xml {
        /// Where the reader stopped.
        at: u64,
        /// What it says.
        message: String,
    },
}

impl TestReport {
    /// Reads a report in whichever of [`READERS`] it looks like.
    ///
    /// # Errors
    /// [`TestReportError`] says what is wrong or which limit it breaks.
    pub fn read(bytes: &[u8]) -> Result<TestReport, TestReportError> {
        if bytes.len() > MAX_REPORT_BYTES {
            return Err(TestReportError::TooLarge(bytes.len()));
        }
        let reader = READERS.iter().find(|reader| (reader.looks_like)(bytes));
        (reader.ok_or(TestReportError::Unknown)?.read)(bytes)
    }

    /// Both reports as one; a name in both keeps its worse status.
    ///
    /// # Errors
    /// [`TestReportError::TooMany`].
    pub fn merge(self, other: TestReport) -> Result<TestReport, TestReportError> {
        let mut collector = Collector::default();
        for test in self.tests.into_iter().chain(other.tests) {
            collector.add(test)?;
        }
        Ok(collector.finish())
    }
}

/// Gathers tests under the limits, the worst status of each name winning.
#[derive(Default)]
pub(crate) struct Collector {
    tests: Vec<TestCase>,
    index: HashMap<String, usize>,
    seen: usize,
}

impl Collector {
    /// Adds a test as a report names it: a class or suite (or nothing), a name, a status.
    pub(crate) fn push(
        &mut self,
        group: &str,
        name: &str,
        status: TestStatus,
    ) -> Result<(), TestReportError> {
        let (group, name) = (group.trim(), name.trim());
        if name.is_empty() {
            return Err(TestReportError::NoName(self.seen + 1));
        }
        // Some tools repeat the suite at the start of the name; `add` is not the suite of `adds up`.
        let rest = name.strip_prefix(group).unwrap_or("x");
        let qualified = group.is_empty() || !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let full = if qualified { cut(name).to_owned() } else { format!("{}::{}", cut(group), cut(name)) };
        let short = cut(if qualified { last_part(name) } else { name }).to_owned();
        self.add(TestCase { name: full, short, status })
    }

    fn add(&mut self, test: TestCase) -> Result<(), TestReportError> {
        self.seen += 1;
        if self.seen > MAX_TESTS {
            return Err(TestReportError::TooMany);
        }
        match self.index.get(&test.name) {
            Some(at) => self.tests[*at].status = self.tests[*at].status.max(test.status),
            None => {
                self.index.insert(test.name.clone(), self.tests.len());
                self.tests.push(test);
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> TestReport {
        TestReport { tests: self.tests }
    }
}

/// What stands after the last `::`, parameters in brackets not looked into.
fn last_part(name: &str) -> &str {
    let head = name.find('[').unwrap_or(name.len());
    match name[..head].rfind("::") {
        Some(at) if at + 2 < name.len() => &name[at + 2..],
        _ => name,
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_NAME_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The first byte that is not blank, after a byte order mark.
pub(crate) fn first_byte(bytes: &[u8]) -> Option<u8> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// A status in the words of the many tools; `None` for a word that is none of them.
pub(crate) fn status_word(word: &str) -> Option<TestStatus> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "passed" | "pass" | "success" | "successful" | "ok" => TestStatus::Passed,
        "failed" | "fail" | "failure" | "error" | "errored" | "broken" => TestStatus::Failed,
        "skipped" | "skip" | "pending" | "disabled" | "ignored" | "notrun" | "suppressed" | "todo" => {
            TestStatus::Skipped
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..300, with in any::<u8>()) {
            let xml = b"<testsuites><testsuite name='s'><testcase classname='c' name='a&amp;b'><failure/></testcase></testsuite></testsuites>";
            let json = br#"{"results":{"tests":[{"name":"a","status":"passed","suite":["x","y"]},{"name":"b","status":"failed"}]}}"#;
            let _ = TestReport::read(&bytes);
            for whole in [&xml[..], &json[..]] {
                let mut changed = whole.to_vec();
                let at = at % changed.len();
                changed[at] = with;
                if let Ok(report) = TestReport::read(&changed) {
                    prop_assert!(report.tests.iter().all(|test| !test.name.is_empty() && test.name.len() <= 2 * MAX_NAME_BYTES + 2));
                }
                changed.splice(at..at, bytes.iter().copied());
                let _ = TestReport::read(&changed);
            }
        }
    }

    #[test]
    fn every_reader_of_this_folder_is_in_the_list() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/test_report");
        let files = std::fs::read_dir(folder).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name != "mod.rs" && name.to_string_lossy().ends_with(".rs")
        });
        assert_eq!(files.count(), READERS.len());
    }

    #[test]
    fn collector_lets_a_failure_win_whatever_the_order() {
        use TestStatus::{Failed, Other, Passed, Skipped};
        for (one, two, wins) in [
            (Passed, Failed, Failed),
            (Failed, Passed, Failed),
            (Passed, Skipped, Skipped),
            (Other, Passed, Other),
        ] {
            let mut collector = Collector::default();
            collector.push("", "a", one).unwrap();
            collector.push("", "a", two).unwrap();
            let report = collector.finish();
            assert_eq!((report.tests.len(), report.tests[0].status), (1, wins));
        }
    }

    #[test]
    fn collector_stops_at_its_limit_even_for_one_name() {
        let mut collector = Collector::default();
        for _ in 0..MAX_TESTS {
            collector.push("", "a", TestStatus::Passed).unwrap();
        }
        assert!(matches!(collector.push("", "a", TestStatus::Passed), Err(TestReportError::TooMany)));
    }

    #[test]
    fn collector_cuts_a_huge_name_at_a_character() {
        let mut collector = Collector::default();
        collector.push("", &"é".repeat(5000), TestStatus::Passed).unwrap();
        assert!(collector.finish().tests[0].name.len() <= MAX_NAME_BYTES);
    }

    #[test]
    fn collector_does_not_repeat_a_suite_that_the_name_begins_with() {
        let mut collector = Collector::default();
        for (group, name) in [("Math", "Math adds"), ("add", "adds up"), ("a", "a"), ("a", "a_b")] {
            collector.push(group, name, TestStatus::Passed).unwrap();
        }
        let names: Vec<_> = collector.finish().tests.into_iter().map(|test| test.name).collect();
        assert_eq!(names, ["Math adds", "add::adds up", "a", "a::a_b"]);
    }

    #[test]
    fn last_part_of_a_name_leaves_parameters_alone() {
        assert_eq!(last_part("tests/test_a.py::TestX::test_y[a::b]"), "test_y[a::b]");
        assert_eq!(last_part("adds two numbers"), "adds two numbers");
        assert_eq!(last_part("a::"), "a::");
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for bytes in [&b""[..], b"   \n", b"ok 1 - fine", b"\xff\xfe"] {
            assert!(TestReport::read(bytes).is_err(), "{bytes:?}");
        }
        assert!(matches!(
            TestReport::read(&vec![b'{'; MAX_REPORT_BYTES + 1]),
            Err(TestReportError::TooLarge(_))
        ));
        assert!(TestReport::read(&[b'{'; 5000]).is_err());
        assert!(TestReport::read("{\"a\":".repeat(5000).as_bytes()).is_err());
    }
}
