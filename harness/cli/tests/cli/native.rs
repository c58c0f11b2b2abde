//! The README's promise, for real: tasks in the native sandbox, from an empty folder. Skipped by name where it does not work.

use std::process::Stdio;
use std::time::Duration;

use crate::room::{Room, wait};

/// A room in which the native sandbox works, or why there is none.
pub fn room() -> Option<Room> {
    let room = Room::new();
    let doctor = room.harness("doctor --sandbox native");
    if doctor.code != 0 {
        println!("skipped: the native sandbox does not work here:\n{}", doctor.out);
        return None;
    }
    Some(room)
}

/// Mounts of this machine that lie below the room: none may be left.
pub fn mounts(room: &Room) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let root = room.root().display().to_string();
    mounts.lines().filter(|line| line.contains(&root)).map(str::to_owned).collect()
}

#[test]
fn the_main_command_runs_the_bundled_suite_from_an_empty_folder() {
    let Some(room) = room() else { return };
    let mut command = room.command();
    // As the README says it, but for the time limits: other tests run beside this one.
    command.args(["run", "suite", "--timeout-multiplier", "4", "--run-id", "r"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = std::thread::spawn({
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        move || {
            let talk = std::thread::spawn(move || std::io::read_to_string(&mut err).unwrap());
            (std::io::read_to_string(&mut out).unwrap(), talk.join().unwrap())
        }
    });
    let status = wait(&mut child, Duration::from_secs(900));
    let (out, err) = out.join().unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{out}\n{err}");
    assert!(err.contains("harness show trial r "), "{err}");

    let report = room.harness("report r --format json").exits(0).json();
    for skip in report["skipped"].as_array().unwrap() {
        println!("skipped: {skip}");
    }
    let trials = report["trials"].as_array().unwrap();
    let tasks = room.harness("list tasks --format json").exits(0).json().as_array().unwrap().len();
    let skipped = report["skipped"].as_array().unwrap().len();
    assert_eq!(trials.len(), tasks - skipped, "every task that can run has a trial");
    // Some conversations are written to go wrong; none may end without a verdict or without an account.
    for trial in trials {
        assert_ne!(trial["outcome"], "stopped", "{trial:#}");
        assert!(trial["usage"]["total_tokens"].as_u64() > Some(0) && trial["simulated"] == true, "{trial:#}");
    }
    let resolved = trials.iter().filter(|trial| trial["outcome"] == "resolved").count();
    assert!(resolved > trials.len() / 2 && resolved < trials.len(), "{resolved} of {}", trials.len());
    assert_eq!(mounts(&room), Vec::<String>::new());
}

#[test]
fn a_new_task_passes_its_check_as_it_is_and_fails_it_when_its_solution_is_wrong() {
    let Some(room) = room() else { return };
    room.harness("new task mine").exits(0);
    let done = room.harness("check suite mine --sandbox native").exits(0);
    assert!(done.out.contains("1 of 1 task is sound"), "{}", done.out);
    room.write("mine/solution/solve.sh", "#!/bin/sh\nexit 0\n");
    let done = room.harness("check suite mine --sandbox native").exits(8);
    assert!(done.out.contains("its own solution does not resolve it"), "{}", done.out);
}
