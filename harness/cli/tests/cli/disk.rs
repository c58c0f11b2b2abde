//! Disks that refuse: the cause is named, and nothing that is on record is lost.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;

use crate::room::Room;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_runs_folder_that_cannot_be_written_is_named_with_its_cause() {
    let room = Room::with(&["one"]);
    // A file where the folder should be refuses root as well.
    room.write("file", "");
    let line = "run suite tasks --sandbox memory --run-id r --runs-dir file/runs";
    assert_snapshot!(room.harness(line).exits(1).said(), @"error: cannot make the folder file/runs: Not a directory (os error 20)");
    if is_root() {
        println!("skipped: permissions do not hold root back");
        return;
    }
    std::fs::create_dir(room.path("closed")).unwrap();
    std::fs::set_permissions(room.path("closed"), std::fs::Permissions::from_mode(0o555)).unwrap();
    let line = "run suite tasks --sandbox memory --run-id r --runs-dir closed";
    assert_snapshot!(room.harness(line).exits(1).said(), @"error: cannot make the folder closed/.making-r: Permission denied (os error 13)");
}

/// A file system of its own at a folder, unmounted at the end.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(at: &'a Path, options: &str) -> Option<Mounted<'a>> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", options, "tmpfs"])
                .arg(at)
                .status()
                .is_ok_and(|status| status.success());
        mounted.then_some(Mounted(at))
    }

    fn again(&self, options: &str) {
        let status =
            Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_stops_the_run_with_its_cause_and_resume_finishes_it() {
    let room = Room::with(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    let runs = room.path("runs");
    let Some(disk) = Mounted::new(&runs, "size=4m,mode=755") else {
        println!("skipped: mounting a small disk needs root");
        return;
    };
    // The third trial's agent, a program on the host, fills the disk to its last byte. (Resumed, several work at once.)
    room.write(
        "agent.sh",
        "echo once more >> count\n\
         if [ $(wc -l < count) = 3 ] && mkdir filled; then cat /dev/zero > runs/filler 2>/dev/null; fi\n\
         echo '{\"call\":\"done\",\"status\":\"finished\"}'\n",
    );
    let line = "run suite tasks --agent command --agent-set host='sh agent.sh' --sandbox memory -j 1 --runs-dir runs --run-id r";
    let done = room.harness(line).exits(1);
    // Which file hits the end first is chance; the cause and the way out are not.
    assert!(done.err.contains("No space left on device"), "{}", done.err);
    assert!(done.err.contains("`harness resume r --runs-dir runs`"), "{}", done.err);
    std::fs::remove_file(runs.join("filler")).unwrap();
    let before = room.harness("report r --runs-dir runs --format json").exits(0).json();
    let finished = before["trials"].as_array().unwrap().len();
    assert!(finished >= 2, "what was finished before is there: {finished}");
    room.harness("resume r --runs-dir runs").exits(0);
    let after = room.harness("report r --runs-dir runs --format json").exits(0).json();
    let tasks: Vec<_> = after["trials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trial| trial["task"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(tasks, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    drop(disk);
}

#[test]
fn a_run_directory_that_became_read_only_is_reported_and_refused_to_resume() {
    let room = Room::with(&["one"]);
    let runs = room.path("runs");
    let Some(disk) = Mounted::new(&runs, "size=4m,mode=755") else {
        println!("skipped: mounting a small disk needs root");
        return;
    };
    room.harness("run suite tasks --agent oracle --sandbox memory --runs-dir runs --run-id r").exits(0);
    disk.again("ro");
    // Reading needs no writing.
    room.harness("report r --runs-dir runs").exits(0);
    room.harness("show trial r one --runs-dir runs").exits(0);
    assert_snapshot!(room.harness("resume r --runs-dir runs").exits(1).said(), @"error: cannot open runs/r/lock: Read-only file system (os error 30)");
    assert_snapshot!(room.harness("run suite tasks --sandbox memory --runs-dir runs --run-id s").exits(1).said(), @"error: cannot make the folder runs/.making-s: Read-only file system (os error 30)");
}
