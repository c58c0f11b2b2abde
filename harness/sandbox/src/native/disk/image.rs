//! File systems of a given size for sandboxes to write to. Each is a nameless sparse file on a loop device, mounted nowhere but
//! behind a descriptor: when the last one who holds it ends, however, file, device and mount are gone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::loops::Loop;

/// Makes file systems, and keeps some ready, because making one takes some 15 ms.
#[derive(Clone)]
pub(crate) struct DiskPool(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    mkfs: PathBuf,
    ready: Mutex<BTreeMap<u64, Vec<Disk>>>,
}

/// A file system of its own, empty, behind a descriptor.
#[derive(Debug)]
pub(crate) struct Disk {
    mount: OwnedFd,
    /// Blocks in use when it was new.
    empty_bytes: u64,
}

/// How many of the size asked for last are kept ready.
const READY: usize = 2;
/// Least limit that makes sense for a file system.
const LEAST: u64 = 1 << 20;
/// Free space on the host below which no new one is made: the host's own disk must never be the limit.
const RESERVE: u64 = 256 << 20;
/// How long `mkfs` may take.
const MKFS: Duration = Duration::from_secs(60);
/// Changes when templates are made otherwise.
const VERSION: u32 = 1;

impl DiskPool {
    /// Opens the pool below a backend's state folder, and makes one small file system to see that it works.
    ///
    /// # Errors
    /// A reason for people: no root, no `mkfs.ext4`, no loop devices.
    pub(crate) fn open(state: &Path) -> Result<DiskPool, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can attach loop devices".to_owned());
        }
        let mkfs = find_mkfs().ok_or("mkfs.ext4 is not installed (package e2fsprogs)")?;
        let folder = state.join("disks");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let pool = DiskPool(Arc::new(Inner { folder, mkfs, ready: Mutex::default() }));
        pool.0.make(LEAST).map_err(|error| format!("no file system on a loop device can be had: {error}"))?;
        Ok(pool)
    }

    /// An empty file system on which `limit` bytes can be written, and little more. Others of that size are then made ready
    /// in the background. Blocks for some 15 ms when none is ready, and longer for the first of a size.
    ///
    /// # Errors
    /// When the host's disk is nearly full, or the host refuses.
    pub(crate) fn take(&self, limit: u64) -> io::Result<Disk> {
        let limit = limit.max(LEAST);
        let ready = {
            let mut ready = self.0.ready.lock().unwrap_or_else(PoisonError::into_inner);
            // Sizes that nobody asks for any more are let go.
            ready.retain(|size, _| *size == limit);
            ready.get_mut(&limit).and_then(Vec::pop)
        };
        let disk = match ready {
            Some(disk) => disk,
            None => self.0.make(limit)?,
        };
        let inner = Arc::downgrade(&self.0);
        // One that cannot be made ready will be asked for again, and then says why.
        let _ = std::thread::Builder::new().name("disk-pool".into()).spawn(move || {
            while let Some(inner) = inner.upgrade() {
                if !inner.refill(limit) {
                    return;
                }
            }
        });
        Ok(disk)
    }
}

impl Inner {
    /// Makes one ready; false when there are enough, or it cannot be had.
    fn refill(&self, limit: u64) -> bool {
        let enough =
            |ready: &BTreeMap<u64, Vec<Disk>>| ready.get(&limit).is_some_and(|disks| disks.len() >= READY);
        if enough(&self.ready.lock().unwrap_or_else(PoisonError::into_inner)) {
            return false;
        }
        let Ok(disk) = self.make(limit) else { return false };
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !enough(&ready) {
            ready.entry(limit).or_default().push(disk);
        }
        true
    }

    fn make(&self, limit: u64) -> io::Result<Disk> {
        let free = super::free_bytes(&self.folder)?;
        if free < RESERVE {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("only {} MiB are free in {}: make room there", free >> 20, self.folder.display()),
            ));
        }
        let template = self.template(limit)?;
        let image = self.nameless()?;
        copy_sparse(&template, &image)?;
        let device = Loop::attach(image.as_fd())?;
        let mount = mount(device.path())?;
        let found = rustix::fs::fstatvfs(&mount)?;
        let empty_bytes = (found.f_blocks - found.f_bfree) * found.f_frsize;
        Ok(Disk { mount, empty_bytes })
    }

    /// The file that others of the size are copied from, made by `mkfs` once.
    fn template(&self, limit: u64) -> io::Result<fs::File> {
        let path = self.folder.join(format!("template-{VERSION}-{limit}.ext4"));
        if let Ok(file) = fs::File::open(&path) {
            return Ok(file);
        }
        let making = tempfile::Builder::new().prefix(".template-").tempfile_in(&self.folder)?;
        // Room for the tables beside what may be written: an inode for each 16 KiB, a bitmap for each 128 MiB.
        let bytes = (limit + limit / 32 + (2 << 20)).next_multiple_of(1 << 20);
        making.as_file().set_len(bytes)?;
        let inodes = (limit / 16384).clamp(4096, u64::from(u32::MAX) / 2);
        run_mkfs(
            Command::new(&self.mkfs)
                .args(["-q", "-F", "-b", "4096", "-m", "0", "-I", "256"])
                .args(["-O", "^has_journal,^resize_inode,^metadata_csum"])
                .args(["-E", "lazy_itable_init=1,nodiscard"])
                .args(["-N", &inodes.to_string()])
                .arg(making.path()),
        )?;
        let file = making.reopen()?;
        file.sync_all()?;
        making.persist(&path)?;
        Ok(file)
    }

    fn nameless(&self) -> io::Result<fs::File> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::open(&self.folder, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(fs::File::from(file)),
            // Not every file system has files without a name.
            Err(_) => tempfile::tempfile_in(&self.folder),
        }
    }
}

impl Disk {
    /// The root of the file system. It is mounted nowhere: a process with a mount namespace of its own attaches it there with
    /// `move_mount` (and an overlay's upper and work folders must be reached through such a mount).
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    /// Makes the two folders of an overlay, owned by this user and group.
    #[cfg(test)]
    pub(crate) fn make_folders(&self, names: &[&str], owner: u32) -> io::Result<()> {
        for name in names {
            rustix::fs::mkdirat(&self.mount, *name, Mode::from_raw_mode(0o755))?;
            let (user, group) = (rustix::fs::Uid::from_raw(owner), rustix::fs::Gid::from_raw(owner));
            rustix::fs::chownat(
                &self.mount,
                *name,
                Some(user),
                Some(group),
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        Ok(())
    }

    /// Bytes written to it that are still there.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn used_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::fstatvfs(&self.mount)?;
        Ok(((found.f_blocks - found.f_bfree) * found.f_frsize).saturating_sub(self.empty_bytes))
    }
}

fn find_mkfs() -> Option<PathBuf> {
    // It is an administrator's program: often not on PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join("mkfs.ext4")).find(|file| file.is_file())
}

fn run_mkfs(command: &mut Command) -> io::Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if begun.elapsed() > MKFS => {
                child.kill()?;
                break child.wait()?;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        io::Read::read_to_string(&mut io::Read::take(stderr, 4096), &mut said)?;
    }
    Err(io::Error::other(format!("mkfs.ext4 ended with {status}: {}", said.trim())))
}

/// Copies what is not a hole; shares it where the file system can.
fn copy_sparse(from: &fs::File, to: &fs::File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut at = 0;
    let mut buffer = vec![0; 1 << 20];
    while at < length {
        let begin = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(begin))?;
        at = begin;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let got = std::os::unix::fs::FileExt::read_at(from, &mut buffer[..most], at)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            std::os::unix::fs::FileExt::write_all_at(to, &buffer[..got], at)?;
            at += got as u64;
        }
    }
    Ok(())
}

/// Mounts a device behind a descriptor, in no namespace.
fn mount(device: &Path) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "source", device)?;
    // A sandbox is thrown away; what it wrote needs no order on the disk.
    rustix::mount::fsconfig_set_flag(context.as_fd(), "nobarrier")?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}
