//! Documents as they look, checked in under `tests/golden`; `UPDATE_GOLDEN=1` writes them anew.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod common;

use std::fs;
use std::path::Path;

use common::sample;
use reports::{FORMATS, Look, Side, compare, format, story};

fn golden(name: &str, found: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read(&path).unwrap_or_default();
    let (found, expected) = (String::from_utf8_lossy(found), String::from_utf8_lossy(&expected));
    assert_eq!(found, expected, "{name} changed; UPDATE_GOLDEN=1 accepts it");
}

fn fits(text: &[u8], width: usize) {
    for line in std::str::from_utf8(text).unwrap().lines() {
        assert!(reports::text::width(line) <= width, "wider than {width}: {line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn report_looks_as_checked_in() {
    let results = [sample("run-1").results()];
    for width in [40, 80, 120] {
        let look = Look { width, ..Look::default() };
        let text = format("terminal").unwrap().report(&results, &look).unwrap();
        fits(&text, width);
        golden(&format!("report-{width}.txt"), &text);
    }
    for (name, file) in [("markdown", "report.md"), ("json", "report.json"), ("csv", "report.csv")] {
        golden(file, &format(name).unwrap().report(&results, &Look::default()).unwrap());
    }
}

#[test]
fn comparison_looks_as_checked_in() {
    let results = sample("run-1").results();
    let sides = Side::of(&results, None).unwrap();
    let comparison = compare(sides[0], &sides[1..]).unwrap();
    for width in [40, 80, 120] {
        let look = Look { width, ..Look::default() };
        let text = format("terminal").unwrap().comparison(&comparison, &look).unwrap();
        fits(&text, width);
        golden(&format!("compare-{width}.txt"), &text);
    }
    for (name, file) in [("markdown", "compare.md"), ("json", "compare.json"), ("csv", "compare.csv")] {
        golden(file, &format(name).unwrap().comparison(&comparison, &Look::default()).unwrap());
    }
}

#[test]
fn story_looks_as_checked_in() {
    let results = sample("run-1").results();
    let folder = tempfile::tempdir().unwrap();
    let id = common::id("修正-データ", "core", 1);
    let trial = folder.path().join("trials").join(id.path());
    fs::create_dir_all(trial.join("artifacts")).unwrap();
    let log: String = (1..=40).map(|n| format!("  step {n}\u{1b}[31m red\u{1b}[0m\r\n")).collect();
    fs::write(trial.join("agent.log"), log + "end\u{1b}]0;title\u{7}").unwrap();
    fs::write(trial.join("verify.log"), "ok 1\n").unwrap();
    fs::write(trial.join("artifacts/out.bin"), [0u8; 10]).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", trial.join("artifacts/link")).unwrap();
    for width in [40, 80] {
        let told = story(folder.path(), &results, &id).unwrap();
        assert!(serde_json::to_string(&told).unwrap().contains("修正"));
        let text = told.text(&Look { width, ..Look::default() });
        fits(text.as_bytes(), width);
        let found = text.split("\nfiles\n").next().unwrap();
        golden(&format!("story-{width}.txt"), found.as_bytes());
        assert!(
            text.contains("artifacts/link (-)") && text.contains("artifacts/out.bin (10 bytes)"),
            "{text}"
        );
    }
    let late = story(folder.path(), &results, &common::id("late", "core", 1)).unwrap().text(&Look::default());
    assert!(late.contains("started, and not finished") && late.contains("the sandbox was lost"), "{late}");
    assert!(story(folder.path(), &results, &common::id("nowhere", "core", 1)).is_err());
}

#[test]
fn story_does_not_follow_a_link_in_place_of_a_log() {
    let results = sample("run-1").results();
    let folder = tempfile::tempdir().unwrap();
    let id = common::id("late", "core", 1);
    let trial = folder.path().join("trials").join(id.path());
    fs::create_dir_all(&trial).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", trial.join("agent.log")).unwrap();
    assert_eq!(story(folder.path(), &results, &id).unwrap().logs, []);
}

#[test]
fn colour_is_only_ours_and_only_when_allowed() {
    let results = [sample("run-1").results()];
    for known in FORMATS {
        let plain = known.report(&results, &Look::default()).unwrap();
        assert!(!plain.contains(&0x1b), "{}", known.name());
    }
    let colored =
        format("terminal").unwrap().report(&results, &Look { color: true, ..Look::default() }).unwrap();
    let mut text = String::from_utf8(colored).unwrap();
    for code in ["0", "1", "2", "31", "32", "33"] {
        text = text.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert!(!text.contains('\u{1b}'));
    assert_eq!(text.as_bytes(), format("terminal").unwrap().report(&results, &Look::default()).unwrap());
}
