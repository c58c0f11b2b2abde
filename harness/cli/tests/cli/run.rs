//! `harness run`: what it does, what it says and on which stream.

use insta::assert_snapshot;

use crate::room::Room;

#[test]
fn a_run_without_agents_shows_that_the_instrument_works_and_what_comes_next() {
    let room = Room::with(&["one", "two"]);
    let done = room.harness("run suite tasks --sandbox memory -j 1").exits(0);
    assert_snapshot!(done.shown(), @"");
    assert_snapshot!(done.said(), @"");
}

#[test]
fn single_tasks_run_by_their_folders() {
    let room = Room::with(&["one", "two", "three"]);
    let done = room
        .harness("run task tasks/one tasks/three --agent oracle --sandbox memory -j 1 --run-id r")
        .exits(0);
    assert_snapshot!(done.said(), @"");
}

#[test]
fn json_events_are_all_that_stdout_holds_and_talk_goes_to_stderr() {
    let room = Room::with(&["one", "two"]);
    let done = room.harness("run suite tasks --sandbox memory --format json -j 1 --run-id r").exits(0);
    let events = done.json_lines();
    let names: Vec<String> = events
        .iter()
        .map(|event| {
            event.get("event").or(event.get("type")).map_or_else(|| event.to_string(), ToString::to_string)
        })
        .collect();
    assert_snapshot!(names.join(" "), @"");
    assert_snapshot!(done.said(), @"");
    // Without --format json the same run says no event at all.
    let plain = room.harness("run suite tasks --sandbox memory -j 1").exits(0);
    assert!(!plain.out.contains('{') && !plain.err.contains('{'), "{}{}", plain.out, plain.err);
}

#[test]
fn a_dry_run_lists_the_trials_and_writes_nothing() {
    let room = Room::with(&["one", "two"]);
    let done = room.harness("run suite tasks --sandbox memory --attempts 2 --dry-run").exits(0);
    assert_snapshot!(done.shown(), @"");
    assert_snapshot!(done.said(), @"");
    let json = room.harness("run suite tasks --sandbox memory --agent noop --dry-run --format json").exits(0);
    let trials: Vec<_> = json.json_lines().iter().map(|line| line["id"].to_string()).collect();
    assert_snapshot!(trials.join("\n"), @"");
    assert!(!room.path(".harness").exists());
}

#[test]
fn filter_limit_attempts_and_seed_choose_what_runs() {
    let room = Room::with(&["a", "b", "c", "d", "e", "f"]);
    let hard = room.read("tasks/b/task.toml").replace("easy", "hard");
    room.write("tasks/b/task.toml", &hard);
    let trials = |line: &str| {
        let line = format!("run suite tasks --agent noop --sandbox memory --dry-run {line}");
        room.harness(&line).exits(0).out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(trials("--filter 'difficulty == \"hard\"'"), ["b/noop/1"]);
    assert_eq!(trials("--limit 2"), ["a/noop/1", "b/noop/1"]);
    // Attempts are outermost: an interrupted run has whole rounds.
    assert_eq!(trials("--limit 2 --attempts 2"), ["a/noop/1", "b/noop/1", "a/noop/2", "b/noop/2"]);
    // A seed draws; the same seed draws the same.
    let draws: std::collections::BTreeSet<_> =
        (1..9).map(|seed| trials(&format!("--limit 3 --seed {seed}"))).collect();
    assert!(draws.len() > 1, "{draws:?}");
    assert_eq!(trials("--limit 3 --seed 5"), trials("--limit 3 --seed 5"));
}

#[test]
fn fail_fast_starts_nothing_after_the_first_trial_that_is_not_resolved() {
    let room = Room::with(&["one", "two", "three"]);
    let done =
        room.harness("run suite tasks --agent noop --sandbox memory -j 1 --fail-fast --run-id r").exits(0);
    assert_snapshot!(done.said(), @"");
    // A second look goes on where it stopped.
    room.harness("resume r").exits(0);
    assert_eq!(room.harness("report r --format json").exits(0).json()["trials"].as_array().unwrap().len(), 3);
}

#[test]
fn the_manifest_and_the_plan_lie_there_before_anything_slow_starts() {
    let room = Room::new();
    room.slow_task("slow", 600.0);
    let mut command = room.command();
    command.args(crate::room::words("run suite tasks --agent oracle --sandbox memory --run-id r"));
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    crate::room::until("the journal says that the trial began", || {
        std::fs::read_to_string(room.path(".harness/runs/r/journal.jsonl"))
            .is_ok_and(|text| text.contains("trial_started"))
    });
    let manifest: serde_json::Value =
        serde_json::from_str(&room.read(".harness/runs/r/manifest.json")).unwrap();
    assert_eq!(manifest["run"], "r");
    assert_eq!(room.read(".harness/runs/r/plan.jsonl").lines().count(), 1);
    // What is there of an unfinished run is reported, from another process, while it runs.
    let report = room.harness("report r").exits(0);
    assert!(report.out.contains("0 of 1 planned trials finished"), "{}", report.out);
    child.kill().unwrap();
    child.wait().unwrap();
}
