//! `harness resume`: goes on, and refuses when what the run depends on changed.

use std::process::{Child, Stdio};

use insta::assert_snapshot;

use crate::room::{Room, until, words};

/// Starts a run of which one trial is finished and one goes on for minutes.
fn half_way(room: &Room, extra: &str) -> Child {
    room.task("a-fast");
    room.slow_task("b-slow", 600.0);
    let line = format!("run suite tasks --agent oracle --sandbox memory -j 1 --run-id r {extra}");
    let child =
        room.command().args(words(&line)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the first trial is finished and the second begun", || {
        let journal = std::fs::read_to_string(room.path(".harness/runs/r/journal.jsonl")).unwrap_or_default();
        journal.contains("trial_finished") && journal.contains("b-slow")
    });
    child
}

/// The same, killed as by a power loss.
fn cut(extra: &str) -> Room {
    let room = Room::new();
    let mut child = half_way(&room, extra);
    child.kill().unwrap();
    child.wait().unwrap();
    room
}

/// What each finished trial came to.
fn trials(room: &Room) -> Vec<String> {
    let report = room.harness("report r --format json").exits(0).json();
    let trials = report["trials"].as_array().unwrap().iter();
    trials
        .map(|trial| format!("{} {}", trial["task"].as_str().unwrap(), trial["outcome"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_run_that_was_killed_goes_on_and_counts_every_trial_once() {
    let room = Room::new();
    room.task("a-fast");
    room.slow_task("b-slow", 1.5);
    let line = "run suite tasks --agent oracle --sandbox memory -j 1 --run-id r";
    let mut child =
        room.command().args(words(line)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the slow trial began", || {
        std::fs::read_to_string(room.path(".harness/runs/r/journal.jsonl"))
            .is_ok_and(|text| text.contains("b-slow"))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(trials(&room), ["a-fast resolved"]);
    let report = room.harness("report r").exits(0);
    assert_snapshot!(report.shown(), @"
    run r · tasks · DATE · harness 0.1.0
    tasks: 1 resolved / 1 run / 0 skipped / 0 invalid of 2 selected
    trials: 1 resolved / 0 unresolved / 0 stopped of 2 planned
    not complete: 1 trial without a result
    no model took part in this run

    variant  resolved  rate  95% interval  $/resolved  $ total  tokens  time  p95  lines  excluded
    oracle  1/1  100%  21%–100%  -  -  -  TIME  TIME  +1 -0  0
    95% interval: wilson, for tasks like these; tokens: mean; time, lines: median
    unknown for oracle: cost, tokens, tests (1 of 1 trial)

    task  variant  outcome  tests  time  tokens  cost  lines  why
    a-fast  oracle  resolved  -  TIME  -  -  +1 -0

    unfinished  why
    b-slow  oracle, attempt 1: started
    ");
    let done = room.harness("resume r").exits(0);
    assert_snapshot!(done.said(), @"
    run r in .harness/runs/r
    1 of 2 trials are finished already
    warning: b-slow/oracle/1: the harness was killed while it was under way; it starts over: sandboxes of memory go with the harness
    [2/2] resolved  b-slow/oracle/1 (TIME)
    completed (exit 0 means that all was tried, not that it was solved)
    ");
    assert_eq!(trials(&room), ["a-fast resolved", "b-slow resolved"]);
    // Nothing is left to do; saying so is no failure.
    assert_snapshot!(room.harness("resume r").exits(0).said(), @"
    run r in .harness/runs/r
    2 of 2 trials are finished already
    completed (exit 0 means that all was tried, not that it was solved)
    ");
}

#[test]
fn a_changed_task_is_refused_by_name() {
    let room = cut("");
    room.write("tasks/b-slow/instruction.md", "Something else.\n");
    assert_snapshot!(room.harness("resume r").exits(3).said(), @"
    error: the task b-slow changed since the run began
    hint: put it back as it was, or start a new run: results of different tasks do not belong into one table
    ");
    std::fs::remove_dir_all(room.path("tasks/b-slow")).unwrap();
    assert_snapshot!(room.harness("resume r").exits(3).said(), @"
    error: the task b-slow is not there any more since the run began
    hint: put it back as it was, or start a new run: results of different tasks do not belong into one table
    ");
    assert_eq!(trials(&room), ["a-fast resolved"]);
}

#[test]
fn a_changed_setting_is_refused_by_name() {
    let room = cut("");
    room.write("harness.toml", "retries = 5\n");
    assert_snapshot!(room.harness("resume r").exits(3).said(), @"
    error: the setting retries changed since the run began: 2 then, 5 now (from harness.toml)
    hint: put it back as it was, or start a new run
    ");
    room.write("harness.toml", "timeout_multiplier = 2.0\n");
    assert_snapshot!(room.harness("resume r").exits(3).said(), @"
    error: the setting timeout_multiplier changed since the run began: 1.0 then, 2.0 now (from harness.toml)
    hint: put it back as it was, or start a new run
    ");
}

#[test]
fn a_second_harness_on_one_run_is_refused_while_the_first_lives() {
    let room = Room::new();
    let mut child = half_way(&room, "");
    let said = room.harness("resume r").exits(2).said().replace(&child.id().to_string(), "PID");
    assert_snapshot!(said, @"
    error: another harness works on .harness/runs/r (process PID)
    hint: wait for it, or end it
    ");
    assert_snapshot!(room.harness("run suite tasks --sandbox memory --run-id r").exits(2).said(), @"error: the run r exists already; choose another --run-id, or continue it with `harness resume r`");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_run_goes_on_from_another_folder_by_its_path_or_the_runs_folder() {
    let room = Room::new();
    room.task("a");
    room.slow_task("b", 1.0);
    let line = "run suite tasks --agent oracle --sandbox memory -j 1 --run-id r";
    let mut child =
        room.command().args(words(line)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the journal is there", || room.path(".harness/runs/r/journal.jsonl").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::create_dir(room.path("away")).unwrap();
    let mut command = room.command();
    command.current_dir(room.path("away")).args(["resume", "r", "--runs-dir", "../.harness/runs"]);
    room.finish(command, "resume r").exits(0);
    assert_eq!(trials(&room), ["a resolved", "b resolved"]);
    let mut command = room.command();
    command.current_dir(room.path("away")).args(["resume", "../.harness/runs/r/"]);
    room.finish(command, "resume by its path").exits(0);
}

#[test]
fn host_variables_that_tasks_may_read_are_read_again_by_resume() {
    let room = Room::new();
    room.task("a");
    room.slow_task("b", 1.0);
    let text = room.read("tasks/b/task.toml") + "\n[verifier.env]\nGREETING = \"${GREETING}\"\n";
    room.write("tasks/b/task.toml", &text);
    let line = "run suite tasks --agent oracle --sandbox memory -j 1 --run-id r --env-pass GREETING";
    let mut command = room.command();
    command.env("GREETING", "hello").args(words(line)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    until("the journal is there", || room.path(".harness/runs/r/journal.jsonl").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let mut command = room.command();
    command.env("GREETING", "hello").args(["resume", "r"]);
    room.finish(command, "resume r").exits(0);
    assert_eq!(trials(&room), ["a resolved", "b resolved"]);
    assert!(!room.read(".harness/runs/r/manifest.json").contains("hello"), "names are kept, values never");
}
