//! `harness show …`, `new`, `check` and `clean`: one thing in full, one thing new, one thing proved.

use insta::assert_snapshot;

use crate::room::Room;

#[test]
fn a_run_is_shown_with_what_it_depends_on() {
    let room = Room::with(&["one"]);
    room.harness("run suite tasks --sandbox memory --agent noop --attempts 2 --run-id r").exits(0);
    let shown = room.harness("show run r").exits(0).shown();
    let stable: Vec<_> = shown.lines().filter(|line| !line.starts_with("machine")).collect();
    assert_snapshot!(stable.join("\n"), @r#"
    run  r
    suite  tasks (ROOM/work/tasks)
    begun  DATE
    harness  0.1.0
    attempts  2
    sandbox  memory (root file system: task, network: task)
              - runs nothing real
    setting  agent_timeout_max_sec = 0 (default)
    setting  agent_timeout_sec = 3600 (default)
    setting  attempts = 2 (flag)
    setting  budget_requests = 0 (default)
    setting  budget_sec = 0 (default)
    setting  budget_tokens = 0 (default)
    setting  budget_usd = 0 (default)
    setting  complex_timeout_sec = 0 (default)
    setting  major_timeout_sec = 0 (default)
    setting  max_cost = 0 (default)
    setting  max_model_sec_per_task = 0 (default)
    setting  max_requests_per_task = 0 (default)
    setting  max_tokens_per_task = 0 (default)
    setting  medium_timeout_sec = 0 (default)
    setting  network = "task" (default)
    setting  prices = "" (default)
    setting  replay = "" (default)
    setting  replay_pace = "at-once" (default)
    setting  request_max_cost = 0 (default)
    setting  request_max_tokens = 0 (default)
    setting  retries = 2 (default)
    setting  rootfs = "task" (default)
    setting  sandbox = "memory" (flag)
    setting  seed = 0 (default)
    setting  simple_timeout_sec = 0 (default)
    setting  stall_timeout_sec = 0 (default)
    setting  timeout_multiplier = 1.0 (default)
    setting  variant_budget_tokens = 0 (default)
    setting  variant_budget_usd = 0 (default)
    setting  verifier_timeout_max_sec = 0 (default)
    trials  2 of 2 finished: 0 resolved, 2 unresolved, 0 stopped
    "#);
    assert_eq!(room.harness("show run r --format json").exits(0).json()["id"], "r");
}

#[test]
fn a_trial_tells_its_story() {
    let room = Room::with(&["one"]);
    room.harness("run suite tasks --sandbox memory -j 1 --run-id r").exits(0);
    assert_snapshot!(room.harness("show trial r one/oracle").exits(0).shown(), @"
    one · oracle · attempt 1
    agent oracle, no model, DATE

    verdict
      resolved
      agent: finished; score 1
      reward: 1

    time
      prepare  TIME
      solve  TIME
      capture  TIME
      verify  TIME
      teardown  TIME
      total  TIME

    cost
      money: unknown; tokens: unknown; requests: unknown
      change: 1 file, 1 hunk, +1 -0 lines

    sandbox
      memory, root memory, network none
      weak: runs nothing real

    files
      .harness/runs/r/trials/one/oracle/1
        patch.diff (88 bytes)
        verifier/reward.txt (2 bytes)
    ");
    assert_snapshot!(room.harness("show trial r one/noop/1").exits(0).shown(), @"
    one · noop · attempt 1
    agent noop, no model, DATE

    verdict
      unresolved: reward is 0, below 1
      agent: finished; score 0
      reward: 0

    time
      prepare  TIME
      solve  TIME
      capture  TIME
      verify  TIME
      teardown  TIME
      total  TIME

    cost
      money: unknown; tokens: unknown; requests: unknown
      change: 0 files, 0 hunks, +0 -0 lines

    sandbox
      memory, root memory, network none
      weak: runs nothing real

    verify.log
      grep: /app/out: No such file or directory

    files
      .harness/runs/r/trials/one/noop/1
        patch.diff (0 bytes)
        verifier/reward.txt (2 bytes)
        verify.log (42 bytes)
    ");
    assert_snapshot!(room.harness("show trial r one").exits(2).said(), @"
    error: one means 2 trials
    hint: name one: one/oracle/1, one/noop/1
    ");
    assert_snapshot!(room.harness("show trial r two").exits(2).said(), @"
    error: the run r has no trial two
    hint: `harness report` lists its trials
    ");
    assert!(room.harness("show trial r one/noop --format json").exits(0).json().is_object());
}

#[test]
fn a_task_is_shown_as_it_is_read() {
    let room = Room::with(&["one"]);
    let shown = room.harness("show task tasks/one").exits(0).shown();
    let stable: Vec<_> = shown.lines().filter(|line| !line.starts_with("digest")).collect();
    assert_snapshot!(stable.join("\n"), @"
    task  one
    description  -
    dataset  work
    origin  tasks/one
    difficulty  easy
    language  shell
    category  -
    tags  small
    network  none
    milli_cpus  -
    memory_bytes  -
    disk_bytes  -
    host_root  false
    tools  -
    product  -
    fail_to_pass  -
    pass_to_pass  -

    --- instruction ---
    Write the word done to /app/out.
    ");
    assert_eq!(room.harness("show task tasks/one --format json").exits(0).json()["task"], "one");
    assert_snapshot!(room.harness("show task tasks/nine").exits(2).said(), @r#"error: there is no suite, file or folder "tasks/nine" (bundled suites: starter)"#);
}

#[test]
fn a_new_task_reads_and_asks_to_be_filled_in() {
    let room = Room::new();
    assert_snapshot!(room.harness("new task mine").exits(0).said(), @"
    wrote mine, a small task that works as it is
    next: put yours in its place piece by piece, and prove it with
      harness check suite mine
    ");
    room.harness("show task mine").exits(0);
    assert_snapshot!(room.harness("new task mine").exits(3).said(), @"error: ROOM/work/mine is there already and not empty; name a folder that is not");
}

#[test]
fn a_check_of_sound_tasks_ends_with_zero() {
    let room = Room::with(&["one", "two"]);
    let done = room.harness("check suite tasks --sandbox memory -j 1").exits(0);
    assert_snapshot!(done.shown(), @"2 of 2 tasks are sound; 0 defects, 0 skipped, 4 trials");
    let json = room.harness("check suite tasks --sandbox memory --format json").exits(0).json();
    assert_eq!(json["defects"].as_array().unwrap().len(), 0);
}

#[test]
fn a_check_finds_what_is_wrong_and_ends_with_eight() {
    let room = Room::with(&["idle", "unsolved", "loose", "broken"]);
    room.write("tasks/idle/tests/test.sh", "echo 1 > /logs/verifier/reward.txt\n");
    room.write("tasks/unsolved/solution/solve.sh", "echo no > /app/out\n");
    room.write("tasks/loose/checks/wrong/lazy.sh", "echo done > /app/out\n");
    room.write("tasks/broken/task.toml", "version = 3");
    let done = room.harness("check suite tasks --sandbox memory -j 1").exits(8);
    assert_snapshot!(done.shown(), @r#"
    defect  broken: tasks/broken/task.toml:1:11: "version" must be a string, not a whole number
    defect  idle: doing nothing resolves it
    defect  loose: wrong-lazy, which is wrong, resolves it
    defect  unsolved: its own solution does not resolve it (attempt 1): reward is 0, below 1
    0 of 3 tasks are sound; 4 defects, 0 skipped, 7 trials
    "#);
}

#[test]
fn skipped_tasks_are_defects_of_a_check_unless_allowed() {
    let room = Room::with(&["one", "two"]);
    let text =
        room.read("tasks/two/task.toml").replace("language =", "tools = [\"no-such-tool\"]\nlanguage =");
    room.write("tasks/two/task.toml", &text);
    assert_snapshot!(room.harness("check suite tasks --sandbox memory -j 1").exits(8).shown(), @"
    skipped  two: no-such-tool not found in memory
    1 of 2 tasks are sound; 0 defects, 1 skipped, 2 trials
    ");
    room.harness("check suite tasks --sandbox memory --allow-skips").exits(0);
}

#[test]
fn clean_finds_nothing_where_nothing_is_left() {
    let room = Room::new();
    assert_snapshot!(room.harness("clean --dry-run").exits(0).shown(), @"would remove 0 sandboxes, 0 MB");
    assert_eq!(room.harness("clean --format json").exits(0).json()["removed"].as_array().unwrap().len(), 0);
}
