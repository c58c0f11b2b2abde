//! What is refused, with which exit code, which words and which way out.

use insta::assert_snapshot;

use crate::room::Room;

/// Runs a line that must fail before anything starts, and gives what it said.
fn refused(room: &Room, code: i32, line: &str) -> String {
    let done = room.harness(line).exits(code);
    assert_eq!(done.out, "", "a refusal is talk, not data");
    assert!(!room.path(".harness/runs").exists(), "nothing is started");
    done.said()
}

#[test]
fn what_is_unknown_is_refused_by_name_with_a_way_out() {
    let room = Room::with(&["one"]);
    assert_snapshot!(refused(&room, 2, "run suite startre"), @"");
    assert_snapshot!(refused(&room, 2, "run suite tasks --agent orcale"), @"");
    assert_snapshot!(refused(&room, 2, "run suite tasks --sandbox dokcer"), @"");
    assert_snapshot!(refused(&room, 3, "run suite tasks --agent command --agent-set rnu=x"), @"");
    assert_snapshot!(refused(&room, 3, "run suite tasks --agent command"), @"");
    assert_snapshot!(refused(&room, 2, "run suite tasks --agent-set run=x --agent command"), @"");
    assert_snapshot!(refused(&room, 2, "run suite tasks --agent noop --agent noop"), @"");
    assert_snapshot!(refused(&room, 2, "run suite tasks --model openai/x"), @"");
    assert_snapshot!(refused(&room, 2, "run suite tasks --env-pass NOT_THERE"), @"");
    assert_snapshot!(refused(&room, 2, "run suite tasks --filter 'langauge == \"rust\"'"), @"");
    assert_snapshot!(refused(&room, 2, "run suite tasks --format yaml"), @"");
    assert_snapshot!(refused(&room, 2, "run suite tasks --run-id ../x --sandbox memory"), @"");
    assert_snapshot!(refused(&room, 2, "run suite tasks --rootfs nowhere --sandbox native"), @"");
    assert_snapshot!(refused(&room, 2, "show trial nowhere one"), @"");
    assert_snapshot!(refused(&room, 2, "resume nowhere"), @"");
    assert_snapshot!(refused(&room, 2, "report"), @"");
    assert_snapshot!(refused(&room, 2, "report --format docx"), @"");
    assert_snapshot!(refused(&room, 2, "doctor --sandbox dokcer"), @"");
}

#[test]
fn what_the_arguments_themselves_forbid_is_refused_with_two() {
    let room = Room::new();
    for line in [
        "",
        "runn",
        "run suite --jobs many",
        "run task",
        "compare",
        "run suite --network loud",
        "new task x --repo y",
    ] {
        let done = room.harness(line).exits(2);
        assert!(done.out.is_empty() && !done.err.is_empty(), "{line}");
    }
}

#[test]
fn nothing_that_fits_the_filter_is_four() {
    let room = Room::with(&["one"]);
    assert_snapshot!(refused(&room, 4, "run suite tasks --sandbox memory --filter 'name == \"other\"'"), @"");
    assert_snapshot!(refused(&room, 4, "run suite tasks --sandbox memory --limit 0"), @"");
    std::fs::create_dir(room.path("empty")).unwrap();
    assert_snapshot!(refused(&room, 2, "run suite empty --sandbox memory"), @"");
}

#[test]
fn a_malformed_task_refuses_the_run_and_is_counted_with_keep_going() {
    let room = Room::with(&["good", "bad"]);
    room.write("tasks/bad/task.toml", "version = \"1.0\"\n[agent]\ntimeout_sec = \"long\"\n");
    assert_snapshot!(refused(&room, 3, "run suite tasks --sandbox memory"), @"");
    let done =
        room.harness("run suite tasks --sandbox memory --agent oracle --keep-going -j 1 --run-id r").exits(0);
    assert_snapshot!(done.shown(), @"");
    let report = room.harness("report r --format json").exits(0).json();
    assert_snapshot!(report["invalid"], @"");
}

#[test]
fn an_unknown_key_warns_with_the_nearest_known_one_and_the_run_goes_on() {
    let room = Room::with(&["one"]);
    let text = room.read("tasks/one/task.toml").replace("[agent]\n", "[agent]\ntimeuot_sec = 5\n");
    room.write("tasks/one/task.toml", &text);
    let done = room.harness("run suite tasks --sandbox memory --agent oracle -j 1 --run-id r").exits(0);
    assert_snapshot!(done.said(), @"");
}

#[test]
fn two_tasks_with_one_id_are_an_error() {
    let room = Room::with(&["one"]);
    room.write("more/one/x", "");
    std::fs::remove_dir_all(room.path("more/one")).unwrap();
    copy(&room.path("tasks/one"), &room.path("more/one"));
    assert_snapshot!(refused(&room, 3, "run task tasks/one more/one --sandbox memory"), @"");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_suite_all_of_whose_tasks_lack_their_tools_is_four_and_names_them() {
    let room = Room::with(&["one", "two"]);
    for task in ["one", "two"] {
        let file = format!("tasks/{task}/task.toml");
        let text = room.read(&file).replace("language =", "tools = [\"no-such-tool\"]\nlanguage =");
        room.write(&file, &text);
    }
    let done = room.harness("run suite tasks --sandbox memory -j 1 --run-id r").exits(4);
    assert_snapshot!(done.said(), @"");
    assert_snapshot!(done.shown(), @"");
    let report = room.harness("report r --format json").exits(0).json();
    assert_snapshot!(report["skipped"], @"");
}

#[test]
fn harness_faults_that_leave_trials_without_a_result_are_five() {
    let room = Room::with(&["one", "two"]);
    room.write("tasks/one/instruction.md", "");
    room.task("one");
    // The first trial's agent, a program on the host, puts a file where the second's folder belongs.
    let agent = "touch .harness/runs/r/trials/two";
    room.write("agent.sh", agent);
    let line = "run suite tasks --agent command --agent-set host='sh agent.sh' --sandbox memory -j 1 --retries 0 --run-id r";
    let done = room.harness(line).exits(5);
    assert_snapshot!(done.said(), @"");
    let report = room.harness("report r --format json").exits(0).json();
    assert_eq!(report["trials"][1]["blame"], "harness");
}
