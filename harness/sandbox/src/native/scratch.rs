//! One folder of scratch space for each sandbox, with a file that says whose it is and is locked while its owner lives. Whatever
//! kills the owner, the lock goes with it, and the next one who looks removes what was left.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};

use super::remove::{Removed, remove};
use crate::{Labels, ReapFilter, Reaped};

/// Where scratch folders are made and thrown away; two folders of a backend's state, on one file system.
#[derive(Debug, Clone)]
pub(crate) struct ScratchStore {
    live: PathBuf,
    trash: PathBuf,
}

/// Who made a scratch folder, as its `owner.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The run.
    pub(crate) run: String,
    /// The trial.
    pub(crate) trial: String,
    /// Which of the trial's sandboxes.
    pub(crate) role: String,
    /// The process that made it.
    pub(crate) pid: u32,
    /// Which boot of this machine it ran under.
    pub(crate) boot: String,
    /// When that process began, in clock ticks since boot: tells it from a later one with its number.
    pub(crate) started: u64,
    /// The folders of its control group, for whoever cleans up after it.
    #[serde(default)]
    pub(crate) groups: Vec<PathBuf>,
}

/// The one file that is there from the beginning: on some disks each file costs more than all else that starting a sandbox takes.
const OWNER: &str = "owner.json";
/// A folder in the making that nobody locked counts as left behind after this time.
const MAKING: Duration = Duration::from_secs(60);
/// Most bytes of an owner file.
const OWNER_BYTES: u64 = 64 << 10;
/// Most folders looked at in one go.
const MOST: usize = 100_000;

/// Ends what is left of the sandbox with this id and these group folders, and says what resisted.
type Release<'a> = dyn Fn(&str, &[PathBuf]) -> Result<(), String> + 'a;

/// A scratch folder of ours. Dropping it removes it (blocking); [`Scratch::remove`] says how that went.
#[derive(Debug)]
pub(crate) struct Scratch {
    store: ScratchStore,
    id: String,
    // The lock lives as long as this.
    owner: fs::File,
    /// Bytes in it.
    length: AtomicUsize,
    groups: Vec<PathBuf>,
    gone: bool,
}

impl ScratchStore {
    /// Opens the store below a backend's state folder, making what is missing.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn open(state: &Path) -> io::Result<ScratchStore> {
        let store = ScratchStore { live: state.join("scratch"), trash: state.join("trash") };
        for folder in [&store.live, &store.trash] {
            // Closed to others: what a trial wrote may be anything. (A sandbox's root gets in by descriptor or as owner.)
            fs::DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
        }
        spread(&store.live);
        Ok(store)
    }

    /// Makes a folder with a new id, locked by us. Nobody sees it under that id before it is locked and labelled. `groups` says
    /// where the control group of an id will be: known before it is made, it is found whatever happens in between.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn make(&self, labels: &Labels, groups: impl Fn(&str) -> Vec<PathBuf>) -> io::Result<Scratch> {
        for _ in 0..16 {
            let id = new_id()?;
            let (pid, _, started) = this_process();
            let making = self.live.join(format!(".new-{id}-{pid}-{started}"));
            fs::DirBuilder::new().mode(0o711).create(&making)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let owner = match rustix::fs::open(making.join(OWNER), flags, Mode::RUSR | Mode::WUSR) {
                Err(rustix::io::Errno::NOENT) => continue,
                opened => fs::File::from(opened?),
            };
            // One who reaps may have been here between the two calls, and then the folder is gone or going: take another.
            if rustix::fs::flock(&owner, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let groups = groups(&id);
            let mut scratch =
                Scratch { store: self.clone(), id, owner, length: AtomicUsize::new(0), groups, gone: true };
            scratch.label(labels)?;
            let here = rustix::fs::CWD;
            match rustix::fs::renameat_with(here, &making, here, scratch.path(), RenameFlags::NOREPLACE) {
                Ok(()) => {
                    scratch.gone = false;
                    return Ok(scratch);
                }
                Err(rustix::io::Errno::EXIST) => drop(remove(&making)?),
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("no free name for a scratch folder was found"))
    }

    /// Removes what dead owners left. For each of them `release` is called first, with its id and the folders of its group: it
    /// ends the processes, removes the group, and says what resisted; then the folder stays for the next time.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub(crate) fn reap(&self, filter: &ReapFilter, release: &Release<'_>) -> io::Result<Reaped> {
        let mut reaped = Reaped::default();
        for entry in fs::read_dir(&self.live)?.take(MOST) {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            let Some(_lock) = self.dead(&name, filter) else { continue };
            let id = name.strip_prefix(".new-").and_then(|rest| rest.split('-').next()).unwrap_or(&name);
            let id = id.to_owned();
            if filter.dry_run {
                reaped.sandboxes.push(id);
                continue;
            }
            let groups = self.owner(&name).map(|owner| owner.groups).unwrap_or_default();
            if let Err(reason) = release(&id, &groups) {
                reaped.failed.push(format!("{id}: {reason}"));
                continue;
            }
            match self.discard(&name) {
                Ok(removed) => {
                    reaped.bytes += removed.bytes;
                    reaped.failed.extend(removed.failed.iter().map(|what| format!("{id}: {what}")));
                    reaped.sandboxes.push(id);
                }
                Err(error) => reaped.failed.push(format!("{id}: {error}")),
            }
        }
        if !filter.dry_run && filter.run.is_none() {
            self.empty_trash(&mut reaped)?;
        }
        reaped.sandboxes.sort();
        Ok(reaped)
    }

    /// The lock of a folder whose owner is dead and which the filter means; `None` when it is to be spared.
    fn dead(&self, name: &str, filter: &ReapFilter) -> Option<Option<rustix::fd::OwnedFd>> {
        let path = self.live.join(name);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let lock = match rustix::fs::open(path.join(OWNER), flags, Mode::empty()) {
            Ok(lock) => {
                rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
                Some(lock)
            }
            // Between its making and its locking lies no time worth mentioning; without a lock it is debris, unless its maker
            // lives.
            Err(_) if maker(name).is_some_and(|(pid, began)| started(pid) == Some(began)) => return None,
            Err(_) if maker(name).is_some() => None,
            Err(_) => {
                let changed = fs::symlink_metadata(&path).and_then(|found| found.modified()).ok()?;
                let age = SystemTime::now().duration_since(changed).unwrap_or_default();
                (age >= MAKING).then_some(())?;
                None
            }
        };
        // Gone or renamed while we looked: the lock is of something else now.
        fs::symlink_metadata(&path).ok()?;
        if let Some(run) = &filter.run {
            let owner = self.owner(name)?;
            (owner.run == *run).then_some(())?;
        }
        Some(lock)
    }

    /// What a folder's owner file says; `None` when it cannot be read.
    pub(crate) fn owner(&self, id: &str) -> Option<Owner> {
        let path = self.live.join(id).join(OWNER);
        let found = fs::symlink_metadata(&path).ok()?;
        if !found.is_file() || found.len() > OWNER_BYTES {
            return None;
        }
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Moves a folder out of sight, then removes it, so that half of one is never found.
    fn discard(&self, name: &str) -> io::Result<Removed> {
        match self.put_aside(name)? {
            Some(trash) => remove(&trash),
            None => Ok(Removed::default()),
        }
    }

    fn put_aside(&self, name: &str) -> io::Result<Option<PathBuf>> {
        let trash = self.trash.join(format!("{}-{}", name.trim_start_matches('.'), new_id()?));
        match fs::rename(self.live.join(name), &trash) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            renamed => renamed.map(|()| Some(trash)),
        }
    }

    fn empty_trash(&self, reaped: &mut Reaped) -> io::Result<()> {
        for entry in fs::read_dir(&self.trash)?.take(MOST) {
            let removed = remove(&entry?.path())?;
            reaped.bytes += removed.bytes;
            reaped.failed.extend(removed.failed);
        }
        Ok(())
    }
}

impl Scratch {
    /// Says whose it is. Whoever dies half-way leaves the old owner, or the new one.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn label(&self, labels: &Labels) -> io::Result<()> {
        let mut owner = serde_json::to_vec(&Owner::here(labels, &self.groups))?;
        // In place, never shorter and at once: a new file would cost more than all the rest of starting a sandbox on some disks.
        let length = self.length.fetch_max(owner.len(), Ordering::Relaxed);
        owner.resize(owner.len().max(length), b' ');
        self.owner.write_all_at(&owner, 0)
    }

    /// It, opened.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn folder(&self) -> io::Result<fs::File> {
        fs::File::open(self.path())
    }

    /// Its id: short, safe in names of files and cgroups, unique in its store.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The folder. What is made in it must not be named `owner.json`.
    pub(crate) fn path(&self) -> PathBuf {
        self.store.live.join(&self.id)
    }

    /// Leaves it for the next reap.
    pub(crate) fn leave(mut self) {
        self.gone = true;
    }

    /// Removes it; blocks as long as that takes. What is mounted in it must be gone.
    ///
    /// # Errors
    /// When it could not even be moved away; the rest is in [`Removed::failed`].
    pub(crate) fn remove(mut self) -> io::Result<Removed> {
        self.gone = true;
        self.store.discard(&self.id)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.gone {
            // What resists is found by the next reap: the lock goes now.
            let _ = self.store.discard(&self.id);
        }
    }
}

impl Owner {
    fn here(labels: &Labels, groups: &[PathBuf]) -> Owner {
        let (pid, boot, started) = this_process();
        Owner {
            run: labels.run.clone(),
            trial: labels.trial.clone(),
            role: labels.role.clone(),
            pid,
            boot,
            started,
            groups: groups.to_vec(),
        }
    }
}

/// Who makes a folder that is not locked yet, as its name says: number and beginning of a process.
fn maker(name: &str) -> Option<(u32, u64)> {
    let mut parts = name.strip_prefix(".new-")?.split('-').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Asks ext4 to put each folder made in this one somewhere else on the disk, as it does with those at its very top: beside each
/// other, making a file took ten times longer after some thousand were removed there, because without a journal the kernel
/// passes over their numbers one by one for minutes. Whoever cannot do that is as fast as he is.
fn spread(folder: &Path) {
    let Ok(folder) = fs::File::open(folder) else { return };
    if let Ok(flags) = rustix::fs::ioctl_getflags(&folder) {
        let _ = rustix::fs::ioctl_setflags(&folder, flags | rustix::fs::IFlags::TOPDIR);
    }
}

/// This process's number, boot and beginning; asked of the kernel once.
fn this_process() -> (u32, String, u64) {
    static ASKED: OnceLock<(u32, String, u64)> = OnceLock::new();
    let ask = || {
        let pid = std::process::id();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        (pid, boot.trim().to_owned(), started(pid).unwrap_or(0))
    };
    ASKED.get_or_init(ask).clone()
}

/// When a process began, in clock ticks since boot: the 22nd field of its `stat`, counted after the name, which may hold anything.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Twelve letters and digits, 60 random bits.
fn new_id() -> io::Result<String> {
    let mut bytes = [0_u8; 12];
    // SAFETY: the buffer is as long as said.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != bytes.len() as isize {
        return Err(io::Error::last_os_error());
    }
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect())
}

#[cfg(test)]
#[path = "scratch_tests.rs"]
mod tests;
