//! A disk that is full, read-only or in the way below the run directory.

use std::path::{Path, PathBuf};

use harness_core::{Blame, Outcome};
use harness_engine::{EngineError, RunDirError};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::support::{SOLVE, World, write};

/// A small file system of its own; only root can have one.
struct Disk(PathBuf);

impl Disk {
    fn new(at: &Path, size: &str) -> Option<Disk> {
        std::fs::create_dir_all(at).unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        match mount("none", at, "tmpfs", MountFlags::empty(), options.as_c_str()) {
            Ok(()) => Some(Disk(at.to_owned())),
            Err(error) => {
                eprintln!("skipped: no file system of one's own can be mounted here ({error})");
                None
            }
        }
    }

    fn remount(&self, flags: MountFlags, size: &str) {
        mount_remount(&self.0, flags, format!("size={size}")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _unmounted = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn full_disk_below_the_run_stops_it_by_name_and_resume_finishes_it() {
    // Different sizes fill at different writes: a trial's folder, its logs, the journal.
    for kilobytes in [64, 68, 72, 80, 96, 128, 200, 300] {
        let mut world = World::new();
        let Some(disk) = Disk::new(&world.runs, &format!("{kilobytes}k")) else { return };
        world.attempts = 30;
        world.settings.jobs = 2;
        world.task("chatty", |_, origin| {
            write(&origin.join("solution/solve.sh"), &format!("{SOLVE}seq 1 2000\n"));
        });
        world.agent("oracle", "oracle", &[]);
        let error = world.try_run().await.unwrap_err();
        let whole = format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(whole.contains("No space left"), "{kilobytes} kB: {whole}");
        assert!(whole.contains(world.runs.to_str().unwrap()), "{kilobytes} kB: {whole}");
        if matches!(error, EngineError::RunDir(_)) {
            assert!(kilobytes < 80, "{kilobytes} kB: {whole}");
        }
        if world.run_path().join("journal.jsonl").exists() {
            for record in world.journal().finished() {
                assert_eq!(
                    record.outcome,
                    Outcome::Resolved,
                    "{kilobytes} kB: nothing is written off: {record:?}"
                );
            }
        }
        disk.remount(MountFlags::empty(), "64m");
        world.cancel = harness_engine::Cancel::default();
        let end = world.run().await;
        assert!(end.complete(), "{kilobytes} kB: {end:?}");
        assert_eq!(end.harness_faults, 0, "{kilobytes} kB");
        world.assert_each_once();
    }
}

#[tokio::test]
async fn read_only_run_directory_is_an_error_that_names_the_file() {
    let mut world = World::new();
    let Some(disk) = Disk::new(&world.runs, "1m") else { return };
    world.plain("a");
    world.agent("oracle", "oracle", &[]);
    drop(world.take().unwrap());
    disk.remount(MountFlags::RDONLY, "1m");
    let error = world.try_run().await.unwrap_err();
    assert!(matches!(&error, EngineError::RunDir(RunDirError::Io { .. })), "{error:?}");
    let lock = world.run_path().join("lock");
    assert!(error.to_string().contains(lock.to_str().unwrap()), "{error}");
    // A new run there is refused as well.
    world.runs = world.runs.join("new");
    let error = world.try_run().await.unwrap_err().to_string();
    assert!(error.contains(world.runs.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn run_directory_that_becomes_read_only_stops_the_run_by_name() {
    let mut world = World::new();
    let Some(disk) = Disk::new(&world.runs, "1m") else { return };
    world.attempts = 50;
    world.plain("a");
    world.agent("oracle", "oracle", &[]);
    let at = world.runs.clone();
    let told = std::sync::atomic::AtomicUsize::new(0);
    // The watcher runs between two batches; a file that is open for writing keeps a real disk from becoming read-only, so
    // the space goes away in place of the permission.
    world.on_event = std::sync::Arc::new(move |_| {
        if told.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 20 {
            let _filled = std::fs::write(at.join("ballast"), vec![0u8; 4 << 20]);
        }
    });
    let error = world.try_run().await.unwrap_err();
    let whole = format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string));
    assert!(whole.contains("No space left"), "{whole}");
    std::fs::remove_file(world.runs.join("ballast")).unwrap();
    disk.remount(MountFlags::empty(), "64m");
    world.on_event = std::sync::Arc::new(|_| {});
    world.cancel = harness_engine::Cancel::default();
    assert!(world.run().await.complete());
    world.assert_each_once();
}

#[tokio::test]
async fn trial_whose_folder_cannot_be_made_is_a_harness_fault_of_its_own() {
    let mut world = World::new();
    for name in ["blocked", "free"] {
        world.plain(name);
    }
    world.agent("oracle", "oracle", &[]);
    drop(world.take().unwrap());
    write(&world.run_path().join("trials/blocked"), "a file where a folder has to be");
    let end = world.run().await;
    assert_eq!((end.finished, end.harness_faults), (2, 1));
    assert_eq!(world.record("free/oracle/1").outcome, Outcome::Resolved);
    match world.record("blocked/oracle/1").outcome {
        Outcome::Stopped { blame: Blame::Harness, reason, .. } => {
            assert!(reason.contains("trials/blocked"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}
