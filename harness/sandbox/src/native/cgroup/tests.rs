//! Real groups where this machine lets us make them, and the two tables as other machines write them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use harness_core::Limits;

use super::find::{Cgroups, Layout};
use super::group::{Group, release};

fn here() -> Option<Cgroups> {
    let cgroups = Cgroups::detect(None);
    (!matches!(cgroups.layout, Layout::None)).then_some(cgroups)
}

/// Starts a shell in a group. (On the second version by moving it: `clone3` belongs to the spawner.)
fn start(group: &Group, script: &str) -> Child {
    let tasks: Vec<OwnedFd> = match group.to_clone_into().unwrap() {
        Some(folder) => {
            let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
            vec![rustix::fs::openat(folder, "cgroup.procs", flags, rustix::fs::Mode::empty()).unwrap()]
        }
        None => group.join(&Limits::default()).unwrap().tasks,
    };
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).stdout(Stdio::piped()).stderr(Stdio::null());
    // SAFETY: only writes to descriptors that were open before the fork.
    unsafe {
        command.pre_exec(move || {
            for task in &tasks {
                if libc::write(task.as_raw_fd(), b"0".as_ptr().cast(), 1) != 1 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command.spawn().unwrap()
}

fn id(name: &str) -> String {
    format!("test-{name}-{}", std::process::id())
}

fn made(cgroups: &Cgroups, name: &str, limits: &Limits) -> Group {
    let group = cgroups.make(&id(name)).unwrap().unwrap();
    group.limit(limits, cgroups.support()).unwrap();
    group
}

#[test]
fn cgroup_counts_kills_and_leaves_nothing() {
    let Some(cgroups) = here() else { return };
    let group = made(&cgroups, "kill", &Limits::default());
    let mut child = start(
        &group,
        "(setsid sleep 60 &) ; (trap '' TERM HUP; sleep 60) & i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; sleep 60",
    );
    let mut done = [0; 5];
    child.stdout.take().unwrap().read_exact(&mut done).unwrap();
    if cgroups.support().cpu_time {
        assert!(group.usage().cpu.unwrap() > Duration::from_millis(1));
    }
    if cgroups.support().peak {
        assert!(group.usage().peak_memory_bytes.unwrap() > 10_000);
        assert_eq!(group.usage().oom_kills, Some(0));
    }
    assert!(group.folders().iter().all(|folder| folder.exists()));
    // Its zombie stays in the group until it is waited for: somebody has to.
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    group.kill().unwrap();
    assert!(!waiter.join().unwrap().success());
    group.remove().unwrap();
    assert!(group.folders().iter().all(|folder| !folder.exists()));
    group.remove().unwrap();
}

#[test]
fn cgroup_limits_processes_and_memory() {
    let Some(cgroups) = here() else { return };
    let limits =
        Limits { milli_cpus: Some(500), memory_bytes: Some(32 << 20), pids: Some(8), ..Limits::default() };
    if cgroups.support().pids {
        let group = made(&cgroups, "pids", &limits);
        let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo started";
        let mut child = start(&group, script);
        let mut said = String::new();
        std::thread::sleep(Duration::from_millis(300));
        let inside: usize =
            fs::read_to_string(group.folders()[0].join("cgroup.procs")).unwrap().lines().count();
        assert!(inside <= 8, "{inside} processes");
        let waiter = std::thread::spawn(move || {
            let out = child.stdout.take().unwrap().read_to_string(&mut said);
            (child.wait().unwrap(), out.is_ok())
        });
        group.kill().unwrap();
        waiter.join().unwrap();
        group.remove().unwrap();
    }
    if cgroups.support().memory {
        let group = made(&cgroups, "memory", &limits);
        let status = start(&group, "dd if=/dev/zero of=/dev/null bs=200000000 count=1").wait().unwrap();
        assert!(!status.success() || group.usage().oom_kills.unwrap() > 0);
        assert!(group.usage().oom_kills.unwrap() > 0);
        assert!(group.usage().peak_memory_bytes.unwrap() <= 33 << 20);
        group.kill().unwrap();
        group.remove().unwrap();
    }
}

#[test]
fn cgroup_freezes_and_thaws() {
    let Some(cgroups) = here().filter(|cgroups| cgroups.support().freeze) else { return };
    let group = made(&cgroups, "freeze", &Limits::default());
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("ticks");
    let mut child = start(&group, &format!("while :; do echo x >> {}; sleep 0.01; done", file.display()));
    let ticks = || fs::metadata(&file).map_or(0, |found| found.len());
    while ticks() < 6 {
        std::thread::sleep(Duration::from_millis(5));
    }
    group.freeze(true).unwrap();
    let before = ticks();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ticks(), before);
    group.freeze(false).unwrap();
    while ticks() == before {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Killed while frozen, too.
    group.freeze(true).unwrap();
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    group.kill().unwrap();
    waiter.join().unwrap();
    group.remove().unwrap();
}

#[test]
fn cgroup_of_a_dead_owner_is_released_and_nothing_else() {
    let Some(cgroups) = here() else { return };
    let group = made(&cgroups, "dead", &Limits::default());
    let mut child = start(&group, "sleep 60");
    let folders = group.folders().to_vec();
    drop(group);
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    release(&folders).unwrap();
    waiter.join().unwrap();
    assert!(folders.iter().all(|folder| !folder.exists()));
    release(&folders).unwrap();
    for folder in cgroups.parents() {
        assert!(release(&[folder]).is_err());
    }
    let place = tempfile::tempdir().unwrap();
    let fake = place.path().join("harness-x");
    fs::create_dir(&fake).unwrap();
    assert!(release(std::slice::from_ref(&fake)).is_err() && fake.exists());
}

#[test]
fn cgroup_duplicate_is_refused_and_leaves_the_first() {
    let Some(cgroups) = here() else { return };
    let first = made(&cgroups, "twice", &Limits::default());
    assert!(cgroups.make(&id("twice")).is_err());
    assert!(
        first.folders().iter().all(|folder| folder.exists()),
        "the first one's folders went with the second"
    );
    first.remove().unwrap();
}

/// The second version without controllers is mounted on hybrid machines: freezing, killing and removing work there.
#[test]
fn cgroup_second_version_kills_and_freezes() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let Some(parent) = mounts.lines().find(|line| line.contains(" - cgroup2 ")) else { return };
    let parent = std::path::PathBuf::from(parent.split(' ').nth(4).unwrap());
    let mut cgroups = Cgroups::from_tables("", "");
    cgroups.layout = Layout::Second(parent);
    let Ok(group) = cgroups.make(&id("second")) else {
        return;
    };
    let group = group.unwrap();
    let mut child = start(&group, "sleep 60 & sleep 60 & echo go; wait");
    let mut go = [0; 3];
    child.stdout.take().unwrap().read_exact(&mut go).unwrap();
    group.freeze(true).unwrap();
    assert!(group.usage().cpu.is_some());
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    group.kill().unwrap();
    waiter.join().unwrap();
    group.remove().unwrap();
}

#[test]
fn cgroup_tables_of_other_machines_are_understood() {
    let none = Cgroups::from_tables("", "");
    assert!(none.make("x").unwrap().is_none());
    assert_eq!(none.support().missing.len(), 3);
    // An ordinary user's session on the second version, nothing writable: said, not failed.
    let place = tempfile::tempdir().unwrap();
    let session = place.path().join("user.slice/session-3.scope");
    fs::create_dir_all(&session).unwrap();
    fs::write(session.join("cgroup.controllers"), "cpuset io\n").unwrap();
    fs::write(session.join("cgroup.procs"), "").unwrap();
    let mount = format!("30 23 0:26 / {} rw - cgroup2 cgroup2 rw\n", place.path().display());
    let found = Cgroups::from_tables("0::/user.slice/session-3.scope\n", &mount);
    assert!(found.make("x").unwrap().is_none());
    assert!(found.support().missing[0].contains("none of cpu, memory and pids"), "{:?}", found.support());
    // Who was moved aside earlier looks beside, not below.
    let aside = place.path().join("given/harness-self");
    fs::create_dir_all(&aside).unwrap();
    for folder in [aside.as_path(), aside.parent().unwrap()] {
        fs::write(folder.join("cgroup.procs"), "").unwrap();
        fs::write(folder.join("cgroup.controllers"), "io\n").unwrap();
    }
    let found = Cgroups::from_tables("0::/given/harness-self\n", &mount);
    assert!(found.support().missing[0].contains("/given:"), "{:?}", found.support());
    // A container without a namespace for groups.
    let memory = place.path().join("memory");
    fs::create_dir_all(memory.join("inner")).unwrap();
    let mount = format!("35 31 0:31 /docker/abc {} rw - cgroup cgroup rw,memory\n", memory.display());
    let found = Cgroups::from_tables("4:memory:/docker/abc/inner\n", &mount);
    // It is no real group, so that trying fails; the name in the reason shows where was looked.
    assert!(found.support().missing[0].contains("/memory/inner"), "{:?}", found.support());
    let mut hostile = Vec::new();
    hostile.write_all(b"x\n- - -\n1 2 3 - cgroup2\n0::\n:::\n").unwrap();
    let text = String::from_utf8(hostile).unwrap();
    Cgroups::from_tables(&text, &text);
}
