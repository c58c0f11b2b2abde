//! CTRF, the common test report format: JSON that plugins of many test tools write.
//! <https://ctrf.io>: `results.tests[]` with `name`, `status`, and a `suite` that is text or a path of texts.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Collector, MAX_TESTS, Reader, TestReport, TestReportError, TestStatus, first_byte, status_word};

/// CTRF.
pub const READER: Reader =
    Reader { name: "ctrf", files: &["ctrf.json", "ctrf-report.json"], looks_like, read };

fn looks_like(bytes: &[u8]) -> bool {
    first_byte(bytes) == Some(b'{')
}

#[derive(Deserialize)]
struct Wire {
    results: WireResults,
}

#[derive(Deserialize)]
struct WireResults {
    #[serde(deserialize_with = "limited")]
    tests: Vec<WireTest>,
}

#[derive(Deserialize)]
struct WireTest {
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    suite: Option<WireSuite>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireSuite {
    Text(String),
    Path(Vec<String>),
    Other(IgnoredAny),
}

fn read(bytes: &[u8]) -> Result<TestReport, TestReportError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let wire: Wire = serde_json::from_slice(bytes).map_err(TestReportError::Json)?;
    if wire.results.tests.len() > MAX_TESTS {
        return Err(TestReportError::TooMany);
    }
    let mut collector = Collector::default();
    for test in wire.results.tests {
        let status = test.status.as_deref().and_then(status_word).unwrap_or(TestStatus::Other);
        let group = match test.suite {
            Some(WireSuite::Text(text)) => text,
            Some(WireSuite::Path(parts)) => parts.join(" > "),
            Some(WireSuite::Other(_)) | None => String::new(),
        };
        // pytest's plugin repeats the file in `suite` and in a name that is already whole.
        let group = if test.name.contains("::") { "" } else { &group };
        collector.push(group, &test.name, status)?;
    }
    Ok(collector.finish())
}

/// Stops one after the limit, so that a small file of millions of empty objects does not become gigabytes.
fn limited<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WireTest>, D::Error> {
    struct Tests;
    impl<'de> Visitor<'de> for Tests {
        type Value = Vec<WireTest>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of tests")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<WireTest>, A::Error> {
            let mut tests = Vec::new();
            while let Some(test) = seq.next_element()? {
                tests.push(test);
                if tests.len() > MAX_TESTS {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    break;
                }
            }
            Ok(tests)
        }
    }
    deserializer.deserialize_seq(Tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTEST: &str = r#"{"results":{"tool":{"name":"pytest","version":"8.4.1"},
        "summary":{"tests":2,"passed":1,"failed":1,"pending":0,"skipped":0,"other":0,"start":1,"stop":2},
        "tests":[
          {"name":"test_outputs.py::test_hello","status":"passed","duration":0.1,"retries":0,"file_path":"test_outputs.py"},
          {"name":"test_outputs.py::test_x[a-b]","status":"failed","duration":0,"trace":"E assert","message":"The test failed"}]}}"#;

    const JEST: &str = r#"{"reportFormat":"CTRF","specVersion":"0.0.0","results":{"tool":{"name":"jest"},
        "tests":[{"name":"adds","suite":"Math > add","status":"passed","rawStatus":"passed"},
                 {"name":"adds","suite":["Math","sub"],"status":"pending","flaky":false,"steps":[{"name":"x","status":"failed"}]},
                 {"name":"throws","suite":null,"status":"other"},
                 {"name":"odd","suite":7,"status":"exploded"},
                 {"name":"silent"}],
        "environment":{"appName":"x"}},"extra":{"deep":[[[]]]}}"#;

    #[test]
    fn ctrf_of_pytest_keeps_node_ids() {
        let report = TestReport::read(PYTEST.as_bytes()).unwrap();
        assert_eq!(report.tests[0].name, "test_outputs.py::test_hello");
        assert_eq!(report.tests[1].short, "test_x[a-b]");
        assert_eq!(report.tests[1].status, TestStatus::Failed);
    }

    #[test]
    fn ctrf_of_jest_takes_suites_as_text_or_path_and_unknown_statuses_as_no_pass() {
        let report = TestReport::read(JEST.as_bytes()).unwrap();
        let all: Vec<_> = report.tests.iter().map(|t| (t.name.as_str(), t.status)).collect();
        assert_eq!(
            all,
            [
                ("Math > add::adds", TestStatus::Passed),
                ("Math > sub::adds", TestStatus::Skipped),
                ("throws", TestStatus::Other),
                ("odd", TestStatus::Other),
                ("silent", TestStatus::Other),
            ]
        );
    }

    #[test]
    fn ctrf_cut_at_any_byte_is_an_error_never_a_shorter_report() {
        for text in [PYTEST, JEST] {
            for cut in 0..text.len() {
                assert!(TestReport::read(&text.as_bytes()[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn ctrf_with_millions_of_empty_tests_is_refused() {
        let body = "{},".repeat(MAX_TESTS + 10);
        let text = format!("{{\"results\":{{\"tests\":[{}{{}}]}}}}", body);
        assert!(matches!(TestReport::read(text.as_bytes()), Err(TestReportError::TooMany)));
    }

    #[test]
    fn ctrf_without_results_or_with_a_nameless_test_is_refused() {
        for text in
            ["{}", "{\"results\":{}}", "{\"results\":{\"tests\":{}}}", "{\"results\":{\"tests\":[{}]}}"]
        {
            assert!(TestReport::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
