//! JUnit XML, as dozens of tools write it: `testsuites` and `testsuite` nested at will, `testcase` with `classname`
//! and `name`, and `failure`, `error`, `skipped` as children.
//!
//! No document type, no entities of the document's own: there is nothing to expand, so nothing can blow up.

use quick_xml::Reader as XmlReader;
use quick_xml::events::{BytesStart, Event};

use super::{Collector, MAX_DEPTH, Reader, TestReport, TestReportError, TestStatus, first_byte, status_word};

/// JUnit XML.
pub const READER: Reader =
    Reader { name: "junit", files: &["junit.xml", "report.xml", "results.xml"], looks_like, read };

fn looks_like(bytes: &[u8]) -> bool {
    matches!(first_byte(bytes), Some(b'<'))
        || bytes.starts_with(b"\xff\xfe<")
        || bytes.starts_with(b"\xfe\xff\0<")
}

/// An open element that matters; everything else (`properties`, `system-out` …) is `Ignored`.
enum Open {
    Root,
    Suite { name: String },
    Case(Case),
    Ignored,
}

struct Case {
    group: Option<String>,
    name: String,
    status: TestStatus,
}

fn read(bytes: &[u8]) -> Result<TestReport, TestReportError> {
    let text = decode(bytes);
    let mut xml = XmlReader::from_str(&text);
    let mut open: Vec<Open> = Vec::new();
    let mut collector = Collector::default();
    let mut root_seen = false;
    loop {
        let event = xml.read_event().map_err(|source| fault(&xml, source.to_string()))?;
        match event {
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                if open.is_empty() && root_seen {
                    return Err(fault(&xml, "a second root element"));
                }
                if open.len() >= MAX_DEPTH {
                    return Err(TestReportError::TooDeep);
                }
                root_seen = true;
                let element = enter(tag, &mut open, &mut collector).map_err(|problem| match problem {
                    Problem::Xml(message) => fault(&xml, message),
                    Problem::Report(error) => error,
                })?;
                open.push(element);
                if matches!(event, Event::Empty(_)) {
                    leave(&mut open, &mut collector)?;
                }
            }
            Event::End(_) => leave(&mut open, &mut collector)?,
            Event::DocType(_) => return Err(fault(&xml, "a document type, which no test report needs")),
            Event::Eof if !root_seen || !open.is_empty() => {
                return Err(fault(&xml, "the end came too early"));
            }
            Event::Eof => return Ok(collector.finish()),
            Event::Text(text) if open.is_empty() && !text.iter().all(u8::is_ascii_whitespace) => {
                return Err(fault(&xml, "text outside the root element"));
            }
            Event::CData(_) | Event::GeneralRef(_) if open.is_empty() => {
                return Err(fault(&xml, "text outside the root element"));
            }
            _ => {}
        }
    }
}

enum Problem {
    Xml(String),
    Report(TestReportError),
}

/// What an opening tag means where it stands; a child that says how a test ended is written into that test.
fn enter(tag: &BytesStart<'_>, open: &mut [Open], collector: &mut Collector) -> Result<Open, Problem> {
    let local = tag.local_name();
    let element = match (local.as_ref(), open.last_mut()) {
        (b"testsuites", None) => Open::Root,
        (b"testsuite", None | Some(Open::Root | Open::Suite { .. })) => {
            Open::Suite { name: attribute(tag, "name")?.unwrap_or_default() }
        }
        (_, None) => return Err(Problem::Xml("the root is neither testsuites nor testsuite".into())),
        (b"testcase", Some(Open::Root | Open::Suite { .. })) => Open::Case(Case {
            group: attribute(tag, "classname")?.filter(|text| !text.trim().is_empty()),
            name: attribute(tag, "name")?.unwrap_or_default(),
            status: by_attributes(tag)?,
        }),
        (b"failure" | b"error", Some(Open::Case(case))) => {
            case.status = TestStatus::Failed;
            Open::Ignored
        }
        (b"skipped" | b"disabled", Some(Open::Case(case))) => {
            case.status = case.status.max(TestStatus::Skipped);
            Open::Ignored
        }
        // A suite that broke before any of its tests could say so: collection errors, set-up of a class.
        (b"failure" | b"error", Some(Open::Suite { name })) => {
            let name = if name.trim().is_empty() { "testsuite" } else { name.as_str() };
            collector.push("", name, TestStatus::Failed).map_err(Problem::Report)?;
            Open::Ignored
        }
        _ => Open::Ignored,
    };
    Ok(element)
}

fn leave(open: &mut Vec<Open>, collector: &mut Collector) -> Result<(), TestReportError> {
    if let Some(Open::Case(case)) = open.pop() {
        let suite = open.iter().rev().find_map(|element| match element {
            Open::Suite { name } if !name.is_empty() => Some(name.as_str()),
            _ => None,
        });
        let group = case.group.as_deref().or(suite).unwrap_or_default();
        collector.push(group, &case.name, case.status)?;
    }
    Ok(())
}

/// googletest, CTest and others say in attributes what others say in children. No word at all is a pass here, because
/// in this format a test that held has no children.
fn by_attributes(tag: &BytesStart<'_>) -> Result<TestStatus, Problem> {
    let mut worst = TestStatus::Passed;
    for key in ["status", "result"] {
        if let Some(word) = attribute(tag, key)? {
            let ran = matches!(word.trim().to_ascii_lowercase().as_str(), "" | "run" | "completed");
            let status =
                if ran { TestStatus::Passed } else { status_word(&word).unwrap_or(TestStatus::Other) };
            worst = worst.max(status);
        }
    }
    Ok(worst)
}

/// An attribute's text; a reference that is none of XML's own five stays as it is written.
fn attribute(tag: &BytesStart<'_>, key: &str) -> Result<Option<String>, Problem> {
    let found = tag.try_get_attribute(key).map_err(|error| Problem::Xml(error.to_string()))?;
    Ok(found.map(|attribute| {
        let raw = String::from_utf8_lossy(&attribute.value).into_owned();
        quick_xml::escape::unescape(&raw).map(|text| text.into_owned()).unwrap_or(raw)
    }))
}

fn fault(xml: &XmlReader<&[u8]>, message: impl Into<String>) -> TestReportError {
    TestReportError::Xml { at: xml.buffer_position(), message: message.into() }
}

/// UTF-8, or UTF-16 with a byte order mark (which Windows tools write); bytes that are neither become U+FFFD.
fn decode(bytes: &[u8]) -> String {
    let wide = |pairs: &[u8], from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = pairs.chunks_exact(2).map(|pair| from([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTEST: &str = r#"<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="0.1">
<testcase classname="tests.test_a.TestX" name="test_ok[a&lt;b]" time="0.001"><system-out>noise <![CDATA[</testcase>]]></system-out></testcase>
<testcase classname="tests.test_a" name="test_bad" time="0.001"><failure message="assert 1 == 2">E &amp; trace</failure></testcase>
<testcase classname="tests.test_a" name="test_skip"><skipped type="pytest.skip" message="no"/></testcase>
<testcase classname="tests.test_a" name="test_tear"/><testcase classname="tests.test_a" name="test_tear"><error message="teardown"/></testcase>
</testsuite></testsuites>"#;

    fn statuses(text: &str) -> Vec<(String, TestStatus)> {
        TestReport::read(text.as_bytes()).unwrap().tests.into_iter().map(|t| (t.name, t.status)).collect()
    }

    #[test]
    fn junit_of_pytest_reads_with_classes_and_a_teardown_error_winning() {
        let all = statuses(PYTEST);
        let expected = [
            ("tests.test_a.TestX::test_ok[a<b]", TestStatus::Passed),
            ("tests.test_a::test_bad", TestStatus::Failed),
            ("tests.test_a::test_skip", TestStatus::Skipped),
            ("tests.test_a::test_tear", TestStatus::Failed),
        ];
        assert_eq!(all, expected.map(|(name, status)| (name.to_owned(), status)));
    }

    #[test]
    fn junit_of_googletest_and_ctest_says_it_in_attributes() {
        let all = statuses(
            r#"<testsuite name="S"><testcase name="a" status="run" result="completed" classname="S"/>
            <testcase name="b" status="notrun" result="suppressed" classname="S"/>
            <testcase name="c" status="fail"/><testcase name="d" status="disabled"/>
            <testcase name="e" status="strange"/></testsuite>"#,
        );
        let only: Vec<_> = all.iter().map(|(_, status)| *status).collect();
        use TestStatus::{Failed, Other, Passed, Skipped};
        assert_eq!(only, [Passed, Skipped, Failed, Skipped, Other]);
        assert_eq!(all[2].0, "S::c", "without a class the suite is the group");
    }

    #[test]
    fn junit_nested_suites_and_a_suite_that_broke_are_read() {
        let all = statuses(
            r#"<testsuites><testsuite name="outer"><properties><property name="x" value="y"/></properties>
            <testsuite name="inner"><testcase name="t"><rerunFailure/><failure/></testcase></testsuite>
            <testsuite name="broken"><error message="import"/></testsuite>
            <testcase name="u"><flakyFailure/></testcase></testsuite></testsuites>"#,
        );
        let expected = [
            ("inner::t", TestStatus::Failed),
            ("broken", TestStatus::Failed),
            ("outer::u", TestStatus::Passed),
        ];
        assert_eq!(all, expected.map(|(name, status)| (name.to_owned(), status)));
    }

    #[test]
    fn junit_cut_at_any_byte_is_an_error_never_a_shorter_report() {
        for cut in 0..PYTEST.len() {
            assert!(TestReport::read(&PYTEST.as_bytes()[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn junit_entity_bombs_and_deep_nests_are_refused() {
        let bomb = "<!DOCTYPE l [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><testsuite><testcase name=\"&b;\"/></testsuite>";
        assert!(TestReport::read(bomb.as_bytes()).is_err());
        let undeclared = "<testsuite><testcase name=\"&b;\"/></testsuite>";
        assert_eq!(statuses(undeclared)[0].0, "&b;");
        let deep = format!("{}{}", "<testsuite>".repeat(100_000), "</testsuite>".repeat(100_000));
        assert!(matches!(TestReport::read(deep.as_bytes()), Err(TestReportError::TooDeep)));
    }

    #[test]
    fn junit_with_another_root_a_second_root_or_text_around_it_is_refused() {
        for text in [
            "<html/>",
            "<testcase name='a'/>",
            "<testsuite/><testsuite/>",
            "<testsuite/>ok",
            "<testsuite/>&amp;",
        ] {
            assert!(TestReport::read(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(statuses("\n<testsuite/>\n<!-- end -->\n"), []);
    }

    #[test]
    fn junit_in_utf_16_is_read() {
        let mut bytes = vec![0xff, 0xfe];
        bytes.extend(
            "<testsuite><testcase name=\"é\"/></testsuite>".encode_utf16().flat_map(u16::to_le_bytes),
        );
        assert_eq!(TestReport::read(&bytes).unwrap().tests[0].name, "é");
    }
}
