//! What PID 1 does in a container that an engine made, before it serves its host and before anything else runs: it lets go of
//! the engine's and the host's folders, keeps the image's layers aside for views, and closes its own `/proc` folder.

use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use harness_guest::message::Arrival;
use harness_guest::recipe::Basis;
use harness_guest::sys;

use crate::setup::fd_path;
use crate::trouble::{Tried, Trouble};

/// Where the host shows us things, in a file system that is memory in every container. Nothing of it is left afterwards.
pub(crate) const OURS: &str = "/dev/.harness";
/// A folder that every container has, covered where the layers are kept.
const HIDING: &CStr = c"/dev/shm";
const HIDDEN: &CStr = c"/dev/shm/l";
/// Folders of a process that anybody may list whose id is the owner's.
const LISTED: [&str; 4] = ["fd", "fdinfo", "task/1/fd", "task/1/fdinfo"];
/// Largest file that is taken over from an engine.
const MOST_BYTES: u64 = 256 << 10;

/// The image's layers, in a mount namespace that nothing else runs in.
pub(crate) struct Held {
    /// The namespace.
    elsewhere: OwnedFd,
    /// The sandbox's own.
    own: OwnedFd,
}

impl Held {
    /// Descriptors that must be kept open.
    pub(crate) fn descriptors(&self) -> [i32; 2] {
        [self.elsewhere.as_raw_fd(), self.own.as_raw_fd()]
    }

    /// In a process that is done with the sandbox's mounts: goes to where the layers are, and opens their folder.
    pub(crate) fn enter(&self) -> Result<OwnedFd, Trouble> {
        // SAFETY: plain call on our own descriptor.
        sys::check(unsafe { libc::setns(self.elsewhere.as_raw_fd(), libc::CLONE_NEWNS) })
            .tried("enter the layers' namespace")?;
        sys::open(HIDDEN, libc::O_PATH | libc::O_DIRECTORY).tried("open the layers")
    }

    /// In a process that is about to make a view: a detached copy of the mount that holds the layers.
    pub(crate) fn lend(&self) -> Result<OwnedFd, Trouble> {
        // SAFETY: plain calls on our own descriptors.
        unsafe {
            sys::check(libc::setns(self.elsewhere.as_raw_fd(), libc::CLONE_NEWNS))
                .tried("enter the layers' namespace")?;
            let copy = sys::open_tree(libc::AT_FDCWD, HIDDEN).tried("copy the layers' mount");
            sys::check(libc::setns(self.own.as_raw_fd(), libc::CLONE_NEWNS)).tried("come back from it")?;
            copy
        }
    }
}

/// Does it. What commands may is what the host says, as far as we have it ourselves.
pub(crate) fn arrive(arrival: &Arrival) -> Result<(Basis, Option<Held>), Trouble> {
    let mut basis = arrival.basis.clone();
    basis.capabilities &= own_capabilities();
    basis.view_capabilities &= own_capabilities() & !basis.capabilities;
    if arrival.bare {
        return Ok((basis, None));
    }
    let held = leave(arrival)?;
    for path in &arrival.unmount {
        let path = sys::c_string(path).tried("name a mount")?;
        sys::unmount(&path).tried_with(|| format!("unmount {}", path.to_string_lossy()))?;
    }
    let mounted = mounted()?;
    let there = |files: &[Vec<u8>]| -> Vec<Vec<u8>> {
        files.iter().filter(|path| mounted.contains(path)).cloned().collect()
    };
    take_over(&there(&arrival.copied))?;
    for path in there(&arrival.dropped) {
        drop_file(&path).tried_with(|| format!("take {} away", String::from_utf8_lossy(&path)))?;
    }
    remove_ours();
    close_own_folder()?;
    Ok((basis, held))
}

/// Capabilities that we have and can give away.
fn own_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
    };
    set("CapBnd:") & set("CapPrm:")
}

/// Moves to a mount namespace of our own, in which the layers are not.
fn leave(arrival: &Arrival) -> Result<Option<Held>, Trouble> {
    let Some(layers) = &arrival.layers else { return Ok(None) };
    let at = sys::c_string(layers).tried("name the layers")?;
    sys::propagation(c"/", libc::MS_REC | libc::MS_PRIVATE).tried("make mounts private")?;
    // On a file system that the sandbox does not have: who removed a folder that is a mount point elsewhere would end the mount.
    sys::mount("tmpfs", HIDING, "tmpfs", libc::MS_NOSUID | libc::MS_NODEV, "mode=700,size=64k")
        .tried("mount memory for the layers")?;
    sys::mkdir(HIDDEN, 0o700).tried("make a folder for the layers")?;
    sys::move_whole(&at, HIDDEN).tried("put the layers away")?;
    let elsewhere = sys::open(c"/proc/self/ns/mnt", libc::O_RDONLY).tried("open the mount namespace")?;
    // SAFETY: plain call.
    sys::check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).tried("make a mount namespace")?;
    sys::propagation(c"/", libc::MS_REC | libc::MS_PRIVATE).tried("make mounts private")?;
    let own = sys::open(c"/proc/self/ns/mnt", libc::O_RDONLY).tried("open the mount namespace")?;
    sys::unmount(HIDING).tried("let go of the layers")?;
    Ok(Some(Held { elsewhere, own }))
}

/// Files that an engine binds from folders of its host's become files in memory: what is written there fills no host's disk.
fn take_over(files: &[Vec<u8>]) -> Result<(), Trouble> {
    if files.is_empty() {
        return Ok(());
    }
    let folder = CString::new(format!("{OURS}-etc")).expect("no NUL");
    sys::mkdir(&folder, 0o755).tried("make a folder for files")?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    sys::mount("tmpfs", &folder, "tmpfs", flags, "mode=755,size=1m").tried("mount memory for files")?;
    for (index, path) in files.iter().enumerate() {
        take_over_one(&folder, index, path)
            .tried_with(|| format!("take over {}", String::from_utf8_lossy(path)))?;
    }
    sys::unmount(&folder).tried("let go of the folder for files")?;
    let _ = std::fs::remove_dir(format!("{OURS}-etc"));
    Ok(())
}

fn take_over_one(folder: &CStr, index: usize, path: &[u8]) -> io::Result<()> {
    let at = sys::c_string(path)?;
    let mut content = Vec::new();
    std::fs::File::from(sys::open(&at, libc::O_RDONLY)?).take(MOST_BYTES).read_to_end(&mut content)?;
    sys::unmount(&at)?;
    let copy = CString::new(format!("{}/{index}", folder.to_string_lossy())).expect("no NUL");
    let how = sys::OpenHow { flags: (libc::O_WRONLY | libc::O_CREAT) as u64, mode: 0o644, resolve: 0 };
    let root = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    let mut file = std::fs::File::from(sys::openat2(std::os::fd::AsFd::as_fd(&root), &copy, how)?);
    file.write_all(&content)?;
    let target = sys::open(&at, libc::O_PATH)?;
    sys::bind(&copy, &fd_path(&target), 0)
}

fn drop_file(path: &[u8]) -> io::Result<()> {
    let at = sys::c_string(path)?;
    sys::unmount(&at)?;
    let below = std::fs::File::from(sys::open(&at, libc::O_RDONLY | libc::O_NONBLOCK)?).metadata()?;
    if below.is_file() && below.len() == 0 {
        // SAFETY: the string lives across the call.
        sys::check(unsafe { libc::unlink(at.as_ptr()) })?;
    }
    Ok(())
}

/// Where something is mounted.
fn mounted() -> Result<Vec<Vec<u8>>, Trouble> {
    let table = std::fs::read("/proc/self/mountinfo").tried("read the mounts")?;
    let lines = table.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(<[u8]>::to_vec).collect())
}

fn remove_ours() {
    let Ok(entries) = std::fs::read_dir("/dev") else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.as_os_str().to_string_lossy().starts_with(OURS) {
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
        }
    }
}

/// Root in a container may write to files of `/proc/1` that ask for no right over the process, and list its descriptors: nobody
/// shall. Nothing fails as surely as the folder of a process that is gone.
fn close_own_folder() -> Result<(), Trouble> {
    sys::bind(c"/proc/1", c"/proc/1", 0).tried("close /proc/1")?;
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::remount(c"/proc/1", flags).tried("close /proc/1")?;
    // SAFETY: PID 1 has one thread; the child does nothing but wait for its end.
    let child = unsafe { sys::check(libc::fork()).tried("fork")? };
    if child == 0 {
        loop {
            // SAFETY: plain pause.
            unsafe { libc::pause() };
        }
    }
    let covered = LISTED.iter().try_for_each(|name| {
        // A process's first thread has its number.
        let from =
            CString::new(format!("/proc/{child}/{}", name.replace("task/1", &format!("task/{child}"))));
        let at = CString::new(format!("/proc/1/{name}"));
        sys::bind(&from.expect("no NUL"), &at.expect("no NUL"), 0)
            .tried_with(|| format!("cover /proc/1/{name}"))
    });
    // SAFETY: plain calls for our own child.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    covered
}
