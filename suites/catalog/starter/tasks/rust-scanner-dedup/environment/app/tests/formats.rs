//! One look at each format.
use attrs::{header, labels, logfmt};

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_string(), value.to_string())
}

#[test]
fn labels_are_read_and_written() {
    let pairs = labels::parse(r#"{job="api", path="/a \"b\" \u{e4}",}"#).unwrap();
    assert_eq!(pairs, [pair("job", "api"), pair("path", "/a \"b\" ä")]);
    assert_eq!(labels::write(&pairs), r#"{job="api", path="/a \"b\" ä"}"#);
    let error = labels::parse(r#"{a="1", a="2"}"#).unwrap_err();
    assert_eq!(error.to_string(), "labels: duplicate \"a\" at 8");
    assert!(labels::parse("{a=").unwrap_err().is_incomplete());
}

#[test]
fn log_lines_are_read_and_written() {
    let pairs = logfmt::parse(r#"level=info msg="two\nlines" retry level=warn"#).unwrap();
    assert_eq!(pairs, [pair("level", "warn"), pair("msg", "two\nlines"), pair("retry", "true")]);
    assert_eq!(logfmt::write(&pairs), r#"level=warn msg="two\nlines" retry=true"#);
    assert_eq!(logfmt::parse(r#"a="\x""#).unwrap_err().position(), 3);
}

#[test]
fn headers_are_read_and_written() {
    let parsed = header::parse(r#"text/html; Charset=utf-8; title="a \"b\"""#).unwrap();
    assert_eq!(parsed.value, "text/html");
    assert_eq!(parsed.parameters, [pair("charset", "utf-8"), pair("title", "a \"b\"")]);
    assert_eq!(header::write(&parsed), r#"text/html; charset=utf-8; title="a \"b\"""#);
    assert_eq!(header::parse("a b").unwrap_err().to_string(), "header: unexpected 'b' at 2");
}
