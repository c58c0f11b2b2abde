//! `harness list …`: tables for people, arrays for scripts.

use insta::assert_snapshot;

use crate::room::Room;

#[test]
fn everything_can_be_listed_for_people() {
    let room = Room::with(&["one", "two"]);
    assert_snapshot!(room.harness("list suites").exits(0).shown(), @"starter  real work in miniature: bug fixes, refactorings and terminal work in shell, C, Rust, Python and JavaScript");
    assert_snapshot!(room.harness("list tasks tasks").exits(0).shown(), @"
    one  easy  shell
    two  easy  shell
    ");
    assert_snapshot!(room.harness("list agents").exits(0).shown(), @"
    oracle  runs the task's own solution: what a sound task resolves
             script  a script below the task's folder to run in place of solution/solve.sh
             then  `visible`: run the task's visible test afterwards; where it fails the agent counts as crashed
    noop  does nothing: what a sound task does not resolve
    command  any program: a command inside the sandbox, or a host program speaking JSON lines
             run  shell command run inside, in the working folder; $HARNESS_INSTRUCTION_FILE and $HARNESS_INSTRUCTION hold the instruction
             host  program on the host and its arguments; it is served the sandbox as JSON lines on its stdin and stdout
             tools  folder on the host that is shown read-only at /opt/agent, first in PATH by its bin
             env  names of host variables that it gets; nothing else of the host's environment reaches it
             setup  shell command run inside as root before it, not counted as its time
    ");
    assert_snapshot!(room.harness("list sandboxes").exits(0).shown(), @"
    native  Linux namespaces and overlays, no engine needed; starts in milliseconds
    docker  containers of Docker or Podman; builds and uses images
    memory  for tests; runs nothing real
    ");
    assert_snapshot!(room.harness("list formats").exits(0).shown(), @"
    harbor  tasks  task folders of Harbor and Terminal-Bench 2 (task.toml 1.0 to 1.4), and this program's own
    terminal  reports  tables for people, as wide as the terminal
    markdown  reports  tables for comments and notes
    json  reports  every field, for programs
    csv  reports  one row a trial, for spreadsheets and data frames
    ");
    assert_snapshot!(room.harness("list metrics").exits(0).shown(), @"
    resolved_rate  resolved of the trials that count, with a Wilson 95 % interval
    pass_at_k  chance that at least one of k attempts resolves, unbiased, mean over tasks
    score  the verifier's reward, mean
    cost_usd  money in all, per trial, per resolved trial; unknown is not zero
    tokens  tokens by exclusive bucket
    diff  size of the change: files, hunks, lines added and removed
    duration_ms  wall time of each phase, median and 95th percentile
    cpu_ms  processor time of the sandbox
    peak_memory_bytes  largest memory of the sandbox
    ");
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
    assert_snapshot!(room.harness("list runs").exits(0).shown(), @"
    c  DATE
    a  DATE
    b  DATE
    ");
}

#[test]
fn tasks_that_are_invalid_are_listed_as_such() {
    let room = Room::with(&["bad", "good"]);
    room.write("tasks/bad/task.toml", "version = 3");
    assert_snapshot!(room.harness("list tasks tasks").exits(0).shown(), @r#"
    good  easy  shell
    bad  invalid: "version" must be a string, not a whole number
    "#);
}

#[test]
fn the_doctor_says_what_works_within_eighty_columns() {
    let room = Room::new();
    let mut command = room.command();
    command.env("COLUMNS", "80").arg("doctor");
    // Zero or one: whether a sandbox works is the machine's business.
    let done = room.finish(command, "doctor");
    assert!(done.code <= 1 && done.out.contains("memory: works"), "{}", done.out);
    assert!(done.out.contains("not isolated or limited runs nothing real"), "{}", done.out);
    for line in done.out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let json = room.harness("doctor --sandbox memory --format json").exits(0).json();
    assert_eq!(json["sandboxes"][0]["works"], true);
}
