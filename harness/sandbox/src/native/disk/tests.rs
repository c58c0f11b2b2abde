//! Real file systems on loop devices where this machine lets us, and folders that grow.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc;
use std::time::Duration;

use super::image::{Disk, DiskPool};
use super::watchdog::{Watchdog, count};
use super::*;

fn pool(state: &Path) -> Option<DiskPool> {
    match DiskPool::open(state) {
        Ok(pool) => Some(pool),
        Err(reason) => {
            // Ordinary users, and machines without loop devices.
            assert!(!reason.is_empty());
            None
        }
    }
}

fn fill(disk: &Disk) -> (u64, std::io::Error) {
    let root = format!("/proc/self/fd/{}", disk.root().as_raw_fd());
    let mut file = fs::File::create(format!("{root}/filler")).unwrap();
    let block = vec![0x5a; 64 << 10];
    let mut written = 0;
    loop {
        match file.write(&block) {
            Ok(got) => written += got as u64,
            Err(error) => return (written, error),
        }
    }
}

#[test]
fn disk_of_a_size_ends_there_and_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let Some(pool) = pool(state.path()) else { return };
    for limit in [1 << 20, 24 << 20, 200 << 20] {
        let disk = pool.take(limit).unwrap();
        assert_eq!(disk.used_bytes().unwrap(), 0);
        disk.make_folders(&["upper", "work"], 100_000).unwrap();
        let (written, error) = fill(&disk);
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        assert!(written >= limit, "only {written} of {limit}");
        assert!(written <= limit + limit / 20 + (6 << 20), "{written} of {limit}");
        assert!(disk.used_bytes().unwrap() >= written);
    }
    drop(pool);
    let mine = || super::loops::attached().into_iter().filter(|file| file.starts_with(state.path())).count();
    // The pool's thread may be making one; detaching is the kernel's work after the last close.
    let begun = std::time::Instant::now();
    while mine() > 0 && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(mine(), 0, "loop devices were left");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(state.path().to_str().unwrap()));
    let left: Vec<_> =
        fs::read_dir(state.path().join("disks")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().starts_with("template-")), "{left:?}");
}

#[test]
fn disk_carries_an_overlay_once_it_is_attached() {
    let state = tempfile::tempdir().unwrap();
    let Some(pool) = pool(state.path()) else { return };
    let disk = pool.take(8 << 20).unwrap();
    disk.make_folders(&["upper", "work"], 0).unwrap();
    let lower = state.path().join("lower");
    let at = state.path().join("at");
    let merged = state.path().join("merged");
    for folder in [&lower, &at, &merged] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(lower.join("old"), "old").unwrap();
    let mount = disk.root().as_fd().try_clone_to_owned().unwrap();
    // In a thread with a mount namespace of its own: nothing is left behind whatever fails.
    let options = format!(
        "lowerdir={},upperdir={}/upper,workdir={}/work,volatile",
        lower.display(),
        at.display(),
        at.display()
    );
    std::thread::spawn(move || {
        use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags};
        // SAFETY: this thread alone leaves the shared namespace, and ends soon after.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS) }, 0);
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .unwrap();
        rustix::mount::move_mount(
            mount.as_fd(),
            "",
            rustix::fs::CWD,
            &at,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount("overlay", &merged, "overlay", MountFlags::empty(), Some(options.as_c_str()))
            .unwrap();
        assert_eq!(fs::read(merged.join("old")).unwrap(), b"old");
        let full = fs::write(merged.join("big"), vec![1; 30 << 20]).unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    })
    .join()
    .unwrap();
    assert!(disk.used_bytes().unwrap() > 7 << 20);
}

#[test]
fn disk_pool_serves_many_at_once() {
    let state = tempfile::tempdir().unwrap();
    let Some(pool) = pool(state.path()) else { return };
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let disk = pool.take(4 << 20).unwrap();
                    disk.make_folders(&["upper"], 0).unwrap();
                }
            });
        }
    });
}

#[test]
fn disk_watchdog_tells_once_when_a_folder_is_too_large() {
    let place = tempfile::tempdir().unwrap();
    let (small, large) = (place.path().join("small"), place.path().join("large"));
    fs::create_dir(&small).unwrap();
    fs::create_dir(&large).unwrap();
    let watchdog = Watchdog::new();
    let (sender, receiver) = mpsc::channel();
    let told = |name: &'static str| {
        let sender = sender.clone();
        Box::new(move |message: String| sender.send((name, message)).unwrap()) as super::watchdog::OnOver
    };
    let _small = watchdog.watch(&small, 10 << 20, told("small")).unwrap();
    let _large = watchdog.watch(&large, 10 << 20, told("large")).unwrap();
    fs::write(small.join("x"), vec![1; 1 << 20]).unwrap();
    fs::create_dir(large.join("deep")).unwrap();
    let file = fs::File::create(large.join("deep/x")).unwrap();
    (&file).write_all(&vec![1; 40 << 20]).unwrap();
    file.sync_all().unwrap();
    let (name, message) = receiver.recv_timeout(Duration::from_secs(15)).unwrap();
    assert_eq!(name, "large");
    assert_eq!(message, "more than the 10 MiB that it may write to disk");
    assert!(receiver.recv_timeout(Duration::from_millis(800)).is_err(), "told twice, or of the wrong one");
}

#[test]
fn disk_counts_blocks_not_lengths_and_follows_nothing() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::File::create(folder.join("sparse")).unwrap().set_len(1 << 40).unwrap();
    std::os::unix::fs::symlink("/usr", folder.join("link")).unwrap();
    fs::write(folder.join("one"), vec![1; 1 << 20]).unwrap();
    fs::hard_link(folder.join("one"), folder.join("two")).unwrap();
    let counted = count(&folder, u64::MAX);
    assert_eq!((counted.entries, counted.closed), (4, 0));
    assert!((1 << 20..2 << 20).contains(&counted.bytes), "{counted:?}");
    assert_eq!(count(&place.path().join("none"), 1).closed, 1);
}

#[test]
fn disk_default_limit_is_generous_and_leaves_half() {
    let place = tempfile::tempdir().unwrap();
    let limit = default_limit(place.path()).unwrap();
    assert!(limit <= 16 << 30 && limit <= free_bytes(place.path()).unwrap());
}
