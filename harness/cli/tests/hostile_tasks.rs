//! Tasks whose tests misbehave: they never end, print without end, leave no verdict or a broken one. Each is the task's own
//! fault and says so; a sound task beside them is judged as ever.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Task, its test script, and what must come of it: outcome, blame, a word of the reason.
const TASKS: &[(&str, &str, &str, Option<&str>, &str)] = &[
    ("sound", "echo 0 > /logs/verifier/reward.txt", "unresolved", None, "reward is 0"),
    (
        "never-ends",
        "echo 1 > /logs/verifier/reward.txt; sleep 1000",
        "stopped",
        Some("task"),
        "did not end within",
    ),
    (
        "ignores-term",
        "trap '' TERM; echo 1 > /logs/verifier/reward.txt; while :; do sleep 1; done",
        "stopped",
        Some("task"),
        "did not end within",
    ),
    (
        "prints-without-end",
        "echo 1 > /logs/verifier/reward.txt; yes",
        "stopped",
        Some("task"),
        "did not end within",
    ),
    (
        "prints-much-and-ends",
        "head -c 300000000 /dev/zero; head -c 100000 /dev/urandom >&2; echo 0 > /logs/verifier/reward.txt",
        "unresolved",
        None,
        "reward is 0",
    ),
    ("no-verdict", "exit 0", "stopped", Some("task"), "neither reward.json nor reward.txt"),
    ("empty-verdict", ": > /logs/verifier/reward.txt", "stopped", Some("task"), "empty"),
    (
        "binary-verdict",
        "head -c 100 /dev/urandom > /logs/verifier/reward.txt",
        "stopped",
        Some("task"),
        "reward.txt",
    ),
    (
        "huge-verdict",
        "head -c 30000000 /dev/zero > /logs/verifier/reward.json",
        "stopped",
        Some("task"),
        "reward.json",
    ),
    ("not-a-number", "echo NaN > /logs/verifier/reward.txt", "stopped", Some("task"), "reward.txt"),
    (
        "leaves-a-child-that-holds-its-output",
        "echo 0 > /logs/verifier/reward.txt; sleep 500 &",
        "unresolved",
        None,
        "reward is 0",
    ),
    (
        "fills-its-logs",
        "head -c 300000000 /dev/zero > /logs/verifier/junk; echo 0 > /logs/verifier/reward.txt",
        "unresolved",
        None,
        "reward is 0",
    ),
    (
        "link-as-verdict",
        "echo 1 > /tmp/one; ln -s /tmp/one /logs/verifier/reward.txt",
        "stopped",
        Some("task"),
        "reward",
    ),
    ("pipe-as-verdict", "mkfifo /logs/verifier/reward.txt", "stopped", Some("task"), "reward"),
];

fn task(folder: &Path, test: &str) {
    let write = |path: &str, text: &str| {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write(
        "task.toml",
        "schema_version = \"1.4\"\n[metadata.harness]\nhost_root = true\n[environment]\nnetwork_mode = \"no-network\"\nmemory_mb = 512\n[agent]\ntimeout_sec = 5.0\n[verifier]\ntimeout_sec = 3.0\n",
    );
    write("instruction.md", "Nothing to do.\n");
    write("environment/Dockerfile", "FROM debian:12\nWORKDIR /app\n");
    write("tests/test.sh", &format!("#!/bin/sh\n{test}\n"));
}

#[test]
fn hostile_tests_are_the_tasks_fault_and_harm_no_other_trial() {
    let harness = env!("CARGO_BIN_EXE_harness");
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let doctor = Command::new(harness)
        .args(["doctor", "--sandbox", "native"])
        .env("HARNESS_STATE_DIR", &state)
        .output()
        .unwrap();
    if !doctor.status.success() {
        println!(
            "skipped hostile_tasks: the native sandbox does not work here: {}",
            String::from_utf8_lossy(&doctor.stdout)
        );
        return;
    }
    for (name, test, ..) in TASKS {
        task(&dir.path().join("tasks").join(name), test);
    }
    let output = Command::new(harness)
        .current_dir(dir.path())
        .args([
            "run",
            "suite",
            "./tasks",
            "--agent",
            "noop",
            "--sandbox",
            "native",
            "--run-id",
            "r",
            "--jobs",
            "2",
        ])
        .env("HARNESS_STATE_DIR", &state)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let results: Value =
        serde_json::from_slice(&fs::read(dir.path().join(".harness/runs/r/results.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for (name, _, outcome, blame, word) in TASKS {
        let trial =
            results["trials"].as_array().unwrap().iter().find(|trial| trial["task"] == *name).unwrap();
        let reason = trial["reason"].as_str().unwrap_or_default();
        println!("{name:<40} {} {} {reason}", trial["outcome"], trial["blame"]);
        if trial["outcome"] != *outcome || trial["blame"].as_str() != *blame || !reason.contains(word) {
            wrong.push(format!("{name}: {} {} {reason}", trial["outcome"], trial["blame"]));
        }
    }
    assert!(wrong.is_empty(), "{}\n{said}", wrong.join("\n"));
    let log = dir.path().join(".harness/runs/r/trials/prints-without-end/noop/1/verify.log");
    assert!(fs::metadata(&log).unwrap().len() <= 2 * (64 << 20), "a log has a limit");
}
