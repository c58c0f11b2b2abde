//! `harness list …`: tables for people, arrays for scripts.

use insta::assert_snapshot;

use crate::room::Room;

#[test]
fn everything_can_be_listed_for_people() {
    let room = Room::with(&["one", "two"]);
    assert_snapshot!(room.harness("list suites").exits(0).shown(), @"");
    assert_snapshot!(room.harness("list tasks tasks").exits(0).shown(), @"");
    assert_snapshot!(room.harness("list agents").exits(0).shown(), @"");
    assert_snapshot!(room.harness("list sandboxes").exits(0).shown(), @"");
    assert_snapshot!(room.harness("list formats").exits(0).shown(), @"");
    assert_snapshot!(room.harness("list metrics").exits(0).shown(), @"");
    assert_snapshot!(room.harness("list runs").exits(0).shown(), @"");
}

#[test]
fn every_list_is_an_array_of_named_things_for_scripts() {
    let room = Room::with(&["one", "two"]);
    room.harness("run suite tasks --sandbox memory --agent noop --run-id first").exits(0);
    for what in ["suites", "tasks tasks", "agents", "sandboxes", "formats", "metrics", "runs"] {
        let list = room.harness(&format!("list {what} --format json")).exits(0).json();
        let rows = list.as_array().unwrap_or_else(|| panic!("{what}: {list}"));
        assert!(!rows.is_empty(), "{what}");
        assert!(rows.iter().all(|row| row["name"].is_string()), "{what}: {list}");
    }
}

#[test]
fn runs_are_listed_newest_first() {
    let room = Room::with(&["one"]);
    for run in ["b", "a", "c"] {
        room.harness(&format!("run suite tasks --sandbox memory --agent noop --run-id {run}")).exits(0);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let list = room.harness("list runs --format json").exits(0).json();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["c", "a", "b"]);
    assert_snapshot!(room.harness("list runs").exits(0).shown(), @"");
}

#[test]
fn tasks_that_are_invalid_are_listed_as_such() {
    let room = Room::with(&["bad", "good"]);
    room.write("tasks/bad/task.toml", "version = 3");
    assert_snapshot!(room.harness("list tasks tasks").exits(0).shown(), @"");
}
