//! `harness run`: what it does, what it says and on which stream.

use insta::assert_snapshot;

use crate::room::Room;

#[test]
fn a_run_without_agents_shows_that_the_instrument_works_and_what_comes_next() {
    let room = Room::with(&["one", "two"]);
    let done = room.harness("run suite tasks --sandbox memory -j 1").exits(0);
    assert_snapshot!(done.shown(), @"
    run STAMP-tasks · tasks · DATE · harness 0.1.0
    tasks: 2 resolved / 2 run / 0 skipped / 0 invalid of 2 selected
    trials: 2 resolved / 2 unresolved / 0 stopped of 4 planned
    no model took part in this run

    variant  resolved  rate  95% interval  $/resolved  $ total  tokens  time  p95  lines  excluded
    oracle  2/2  100%  34%–100%  -  -  -  TIME  TIME  +1 -0  0
    noop  0/2  0%  0%–66%  -  -  -  TIME  TIME  +0 -0  0
    95% interval: wilson, for tasks like these; tokens: mean; time, lines: median
    unknown for oracle: cost, tokens, tests (2 of 2 trials)
    unknown for noop: cost, tokens, tests (2 of 2 trials)

    task  variant  outcome  tests  time  tokens  cost  lines  why
    one  oracle  resolved  -  TIME  -  -  +1 -0
    one  noop  unresolved  -  TIME  -  -  +0 -0  reward is 0, below 1
    two  oracle  resolved  -  TIME  -  -  +1 -0
    two  noop  unresolved  -  TIME  -  -  +0 -0  reward is 0, below 1
    ");
    assert_snapshot!(done.said(), @r#"
    run STAMP-tasks in .harness/runs/STAMP-tasks
    [1/4] resolved  one/oracle/1 (TIME)
    [2/4] unresolved one/noop/1 (TIME): reward is 0, below 1
    [3/4] resolved  two/oracle/1 (TIME)
    [4/4] unresolved two/noop/1 (TIME): reward is 0, below 1
    completed (exit 0 means that all was tried, not that it was solved)

    No model took part: `oracle` ran each task's own solution, `noop` did nothing.
    Next, your own agent:
      harness run suite --agent command \
        --agent-set run='my-agent "$HARNESS_INSTRUCTION"'
    your own task:
      harness new task my-task
    why a trial failed:
      harness show trial STAMP-tasks one/noop
    "#);
}

#[test]
fn single_tasks_run_by_their_folders() {
    let room = Room::with(&["one", "two", "three"]);
    let done = room
        .harness("run task tasks/one tasks/three --agent oracle --sandbox memory -j 1 --run-id r")
        .exits(0);
    assert_snapshot!(done.said(), @"
    run r in .harness/runs/r
    [1/2] resolved  one/oracle/1 (TIME)
    [2/2] resolved  three/oracle/1 (TIME)
    completed (exit 0 means that all was tried, not that it was solved)
    ");
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
    assert_snapshot!(names.join(" "), @r#""run_started" "trial_started" "phase_entered" "phase_entered" "phase_entered" "phase_entered" "phase_entered" "trial_finished" "trial_started" "phase_entered" "phase_entered" "phase_entered" "phase_entered" "phase_entered" "trial_finished" "trial_started" "phase_entered" "phase_entered" "phase_entered" "phase_entered" "phase_entered" "trial_finished" "trial_started" "phase_entered" "phase_entered" "phase_entered" "phase_entered" "phase_entered" "trial_finished" "run_ended""#);
    assert_snapshot!(done.said(), @"
    run r in .harness/runs/r
    completed (exit 0 means that all was tried, not that it was solved)
    ");
    // Without --format json the same run says no event at all.
    let plain = room.harness("run suite tasks --sandbox memory -j 1").exits(0);
    assert!(!plain.out.contains('{') && !plain.err.contains('{'), "{}{}", plain.out, plain.err);
}

#[test]
fn a_dry_run_lists_the_trials_and_writes_nothing() {
    let room = Room::with(&["one", "two"]);
    let done = room.harness("run suite tasks --sandbox memory --attempts 2 --dry-run").exits(0);
    assert_snapshot!(done.shown(), @"
    one/oracle/1
    one/noop/1
    two/oracle/1
    two/noop/1
    one/oracle/2
    one/noop/2
    two/oracle/2
    two/noop/2
    ");
    assert_snapshot!(done.said(), @"8 trials would be run");
    let json = room.harness("run suite tasks --sandbox memory --agent noop --dry-run --format json").exits(0);
    let trials: Vec<_> = json
        .json_lines()
        .iter()
        .map(|line| format!("{}/{}/{}", line["task"], line["variant"], line["attempt"]))
        .collect();
    assert_snapshot!(trials.join("\n"), @r#"
    "one"/"noop"/1
    "two"/"noop"/1
    "#);
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
    assert_snapshot!(done.said(), @"
    run r in .harness/runs/r
    [1/3] unresolved one/noop/1 (TIME): reward is 0, below 1
    stopped by --fail-fast: 1 of 3 trials finished; go on with `harness resume r`
    ");
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
    assert!(report.out.contains("not complete: 1 trial without a result"), "{}", report.out);
    child.kill().unwrap();
    child.wait().unwrap();
}
