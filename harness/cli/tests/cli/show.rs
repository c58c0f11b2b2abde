//! `harness show …`, `new`, `check` and `clean`: one thing in full, one thing new, one thing proved.

use insta::assert_snapshot;

use crate::room::Room;

#[test]
fn a_run_is_shown_with_what_it_depends_on() {
    let room = Room::with(&["one"]);
    room.harness("run suite tasks --sandbox memory --agent noop --attempts 2 --run-id r").exits(0);
    let shown = room.harness("show run r").exits(0).shown();
    let stable: Vec<_> = shown.lines().filter(|line| !line.starts_with("machine")).collect();
    assert_snapshot!(stable.join("\n"), @"");
    assert_eq!(room.harness("show run r --format json").exits(0).json()["id"], "r");
}

#[test]
fn a_trial_tells_its_story() {
    let room = Room::with(&["one"]);
    room.harness("run suite tasks --sandbox memory -j 1 --run-id r").exits(0);
    assert_snapshot!(room.harness("show trial r one/oracle").exits(0).shown(), @"");
    assert_snapshot!(room.harness("show trial r one/noop/1").exits(0).shown(), @"");
    assert_snapshot!(room.harness("show trial r one").exits(2).said(), @"");
    assert_snapshot!(room.harness("show trial r two").exits(2).said(), @"");
    assert!(room.harness("show trial r one/noop --format json").exits(0).json().is_object());
}

#[test]
fn a_task_is_shown_as_it_is_read() {
    let room = Room::with(&["one"]);
    let shown = room.harness("show task tasks/one").exits(0).shown();
    let stable: Vec<_> = shown.lines().filter(|line| !line.starts_with("digest")).collect();
    assert_snapshot!(stable.join("\n"), @"");
    assert_eq!(room.harness("show task tasks/one --format json").exits(0).json()["name"], "one");
    assert_snapshot!(room.harness("show task tasks/nine").exits(2).said(), @"");
}

#[test]
fn a_new_task_reads_and_asks_to_be_filled_in() {
    let room = Room::new();
    assert_snapshot!(room.harness("new task mine").exits(0).said(), @"");
    room.harness("show task mine").exits(0);
    assert_snapshot!(room.harness("new task mine").exits(3).said(), @"");
}

#[test]
fn a_check_of_sound_tasks_ends_with_zero() {
    let room = Room::with(&["one", "two"]);
    let done = room.harness("check suite tasks --sandbox memory -j 1").exits(0);
    assert_snapshot!(done.shown(), @"");
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
    assert_snapshot!(done.shown(), @"");
}

#[test]
fn skipped_tasks_are_defects_of_a_check_unless_allowed() {
    let room = Room::with(&["one", "two"]);
    let text =
        room.read("tasks/two/task.toml").replace("language =", "tools = [\"no-such-tool\"]\nlanguage =");
    room.write("tasks/two/task.toml", &text);
    assert_snapshot!(room.harness("check suite tasks --sandbox memory -j 1").exits(8).shown(), @"");
    room.harness("check suite tasks --sandbox memory --allow-skips").exits(0);
}

#[test]
fn clean_finds_nothing_where_nothing_is_left() {
    let room = Room::new();
    assert_snapshot!(room.harness("clean --dry-run").exits(0).shown(), @"");
    assert_eq!(room.harness("clean --format json").exits(0).json()["removed"].as_array().unwrap().len(), 0);
}
