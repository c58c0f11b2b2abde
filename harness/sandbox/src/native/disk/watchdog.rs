//! Looks after folders that sandboxes write to where no file system of a given size can be had: one thread for all of them
//! counts what is there, and says so when it is too much.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

/// Called once, from the watchdog's thread, with a sentence for people. It must not block for long.
pub(crate) type OnOver = Box<dyn FnOnce(String) + Send>;

/// Watches folders. Dropping the last handle ends its thread.
#[derive(Clone)]
pub(crate) struct Watchdog(Arc<Inner>);

/// Ends the watch over one folder when dropped.
pub(crate) struct Watch {
    inner: Weak<Inner>,
    number: u64,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    watched: BTreeMap<u64, Watched>,
    next: u64,
    running: bool,
}

struct Watched {
    folder: PathBuf,
    limit: u64,
    on_over: Option<OnOver>,
    /// What it held when it was counted last, how much was free then, and when that was.
    counted: u64,
    free_then: u64,
    when: Instant,
}

/// How often free space is asked for.
const TICK: Duration = Duration::from_millis(250);
/// Counted again after this time even though free space says that nothing was written: others may have freed as much.
const RECOUNT: Duration = Duration::from_secs(10);
/// Most entries counted in one go. A folder with more is over its limit: it would take too long to look after.
const MOST: u64 = 2_000_000;
const DEPTH: usize = 64;

impl Watchdog {
    /// A watchdog without folders; its thread begins with the first.
    pub(crate) fn new() -> Watchdog {
        Watchdog(Arc::default())
    }

    /// Watches a folder until the result is dropped.
    ///
    /// # Errors
    /// When its file system cannot be asked.
    pub(crate) fn watch(&self, folder: &Path, limit: u64, on_over: OnOver) -> io::Result<Watch> {
        let watched = Watched {
            folder: folder.to_path_buf(),
            limit,
            on_over: Some(on_over),
            counted: 0,
            free_then: super::free_bytes(folder)?,
            when: Instant::now(),
        };
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        state.next += 1;
        state.watched.insert(number, watched);
        if !state.running {
            let inner = Arc::downgrade(&self.0);
            std::thread::Builder::new().name("disk-watchdog".into()).spawn(move || work(&inner))?;
            state.running = true;
        }
        self.0.changed.notify_all();
        Ok(Watch { inner: Arc::downgrade(&self.0), number })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.state.lock().unwrap_or_else(PoisonError::into_inner).watched.remove(&self.number);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.changed.notify_all();
    }
}

fn work(inner: &Weak<Inner>) {
    loop {
        let due: Vec<(u64, PathBuf, u64)> = {
            // Without a folder the thread ends; the next one starts it again.
            let Some(inner) = inner.upgrade() else { return };
            let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.watched.is_empty() {
                state.running = false;
                return;
            }
            let waited = inner.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            let due = state.watched.iter().filter(|(_, watched)| is_due(watched));
            due.map(|(number, watched)| (*number, watched.folder.clone(), watched.limit)).collect()
        };
        for (number, folder, limit) in due {
            // Counted without the lock: it may take a while.
            let counted = count(&folder, limit);
            let free = super::free_bytes(&folder).unwrap_or(0);
            let Some(inner) = inner.upgrade() else { return };
            let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(watched) = state.watched.get_mut(&number) else { continue };
            let fell = watched.free_then.saturating_sub(free);
            let over = over(&counted, fell, limit);
            watched.counted = counted.bytes;
            watched.free_then = free;
            watched.when = Instant::now();
            let tell = over.and_then(|message| Some((watched.on_over.take()?, message)));
            drop(state);
            if let Some((on_over, message)) = tell {
                on_over(message);
            }
        }
    }
}

/// Whether it may be over its limit by now, judged by what all together wrote since it was counted.
fn is_due(watched: &Watched) -> bool {
    if watched.on_over.is_none() {
        return false;
    }
    let Ok(free) = super::free_bytes(&watched.folder) else { return true };
    let fell = watched.free_then.saturating_sub(free);
    let room = watched.limit.saturating_sub(watched.counted);
    fell > room / 2 || watched.when.elapsed() > RECOUNT
}

/// What a folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Bytes on disk; counting ends when they are over the limit.
    pub(crate) bytes: u64,
    /// Files and folders.
    pub(crate) entries: u64,
    /// Folders that could not be looked into.
    pub(crate) closed: u64,
}

fn over(counted: &Counted, fell: u64, limit: u64) -> Option<String> {
    let mib = limit >> 20;
    if counted.bytes > limit {
        return Some(format!("more than the {mib} MiB that it may write to disk"));
    }
    if counted.entries > MOST {
        return Some(format!("more than {MOST} files, too many to look after"));
    }
    // What hides in folders that are closed to us shows in the disk's free space.
    (counted.closed > 0 && fell > limit)
        .then(|| format!("more than {mib} MiB were written, in folders closed to others"))
}

/// Counts a folder: follows no link, stays on its file system, ends when the limit is passed.
pub(crate) fn count(folder: &Path, limit: u64) -> Counted {
    let mut counted = Counted::default();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty());
    let found = opened.and_then(|top| Ok((rustix::fs::fstat(&top)?.st_dev, top)));
    match found {
        Ok((device, top)) => walk(&top, device, limit, DEPTH, &mut counted),
        Err(_) => counted.closed += 1,
    }
    counted
}

fn walk(folder: &OwnedFd, device: u64, limit: u64, depth: usize, counted: &mut Counted) {
    let Ok(entries) = Dir::read_from(folder) else {
        counted.closed += 1;
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Ok(found) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        counted.entries += 1;
        // A file with many names counts once for each of them, shared out.
        let names = u64::from(u32::try_from(found.st_nlink).unwrap_or(1)).max(1);
        let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        let bytes = u64::try_from(found.st_blocks).unwrap_or(0) * 512;
        counted.bytes += if is_folder { bytes } else { bytes / names };
        if counted.bytes > limit || counted.entries > MOST {
            return;
        }
        if is_folder && found.st_dev == device {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(folder.as_fd(), name, flags, Mode::empty()) {
                Ok(inner) if depth > 0 => walk(&inner, device, limit, depth - 1, counted),
                _ => counted.closed += 1,
            }
        }
    }
}
