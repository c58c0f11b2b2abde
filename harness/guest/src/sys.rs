//! Thin, checked wrappers of the system calls that std does not have. Each turns `-1` into the error it stands for.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Turns the result of a C call into a value or the error that it left in `errno`.
///
/// # Errors
/// When `result` is negative.
pub fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`check`], for raw system calls.
///
/// # Errors
/// When `result` is negative.
pub fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A path or name for the kernel.
///
/// # Errors
/// `InvalidInput` when there is a NUL in it.
pub fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL in a name"))
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check_long(fd)?;
    // SAFETY: the call just made returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `mount(2)`. An empty string means none.
///
/// # Errors
/// What the kernel says.
pub fn mount(source: &str, target: &CStr, kind: &str, flags: libc::c_ulong, data: &str) -> io::Result<()> {
    let source = c_string(source.as_bytes())?;
    let kind = c_string(kind.as_bytes())?;
    let options = c_string(data.as_bytes())?;
    let data = if data.is_empty() { std::ptr::null() } else { options.as_ptr().cast() };
    // SAFETY: all strings live across the call.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data) })?;
    Ok(())
}

/// Binds `source` onto `target`; `flags` beside `MS_BIND`.
///
/// # Errors
/// What the kernel says.
pub fn bind(source: &CStr, target: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: both strings live across the call.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND | flags,
            std::ptr::null(),
        )
    })?;
    Ok(())
}

/// Moves a mount to another place.
///
/// # Errors
/// What the kernel says.
pub fn move_whole(source: &CStr, target: &CStr) -> io::Result<()> {
    // SAFETY: both strings live across the call.
    check(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), std::ptr::null(), libc::MS_MOVE, std::ptr::null())
    })?;
    Ok(())
}

/// Changes the flags of a bind mount.
///
/// # Errors
/// What the kernel says.
pub fn remount(target: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the string lives across the call.
    check(unsafe {
        libc::mount(
            std::ptr::null(),
            target.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND | libc::MS_REMOUNT | flags,
            std::ptr::null(),
        )
    })?;
    Ok(())
}

/// Moves what is mounted at `source`, with all that is mounted below.
///
/// # Errors
/// What the kernel says.
pub fn mount_move(source: &CStr, target: &CStr) -> io::Result<()> {
    let none = std::ptr::null();
    // SAFETY: both strings live across the call.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), none, libc::MS_MOVE, none.cast()) })?;
    Ok(())
}

/// Changes how mounts spread.
///
/// # Errors
/// What the kernel says.
pub fn propagation(target: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the string lives across the call.
    check(unsafe {
        libc::mount(std::ptr::null(), target.as_ptr(), std::ptr::null(), flags, std::ptr::null())
    })?;
    Ok(())
}

/// Unmounts, lazily.
///
/// # Errors
/// What the kernel says.
pub fn unmount(target: &CStr) -> io::Result<()> {
    // SAFETY: the string lives across the call.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })?;
    Ok(())
}

/// Makes a folder.
///
/// # Errors
/// What the kernel says.
pub fn mkdir(path: &CStr, mode: libc::mode_t) -> io::Result<()> {
    // SAFETY: the string lives across the call.
    check(unsafe { libc::mkdir(path.as_ptr(), mode) })?;
    Ok(())
}

/// Makes the current folder the root and lets go of the old one with all that is mounted in it.
///
/// # Errors
/// What the kernel says.
pub fn pivot_to(new_root: &CStr) -> io::Result<()> {
    let dot = c".";
    // SAFETY: the strings live across the calls.
    unsafe {
        check(libc::chdir(new_root.as_ptr()))?;
        check_long(libc::syscall(libc::SYS_pivot_root, dot.as_ptr(), dot.as_ptr()))?;
        check(libc::umount2(dot.as_ptr(), libc::MNT_DETACH))?;
        check(libc::chdir(c"/".as_ptr()))?;
    }
    Ok(())
}

/// A detached copy of the mount at `path`, relative to `folder`; an empty path means `folder` itself.
///
/// # Errors
/// What the kernel says.
pub fn open_tree(folder: RawFd, path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint;
    // SAFETY: the string lives across the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, folder, path.as_ptr(), flags) })
}

/// As [`open_tree`], with all that is mounted below.
///
/// # Errors
/// What the kernel says.
pub fn open_tree_all(folder: RawFd, path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
    // SAFETY: the string lives across the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, folder, path.as_ptr(), flags) })
}

/// Attaches a detached mount at `path`.
///
/// # Errors
/// What the kernel says.
pub fn move_mount(mount: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    // SAFETY: the strings live across the call.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    Ok(())
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Sets attributes of a detached mount, and its id mapping when a user namespace is given.
///
/// # Errors
/// What the kernel says; `EINVAL` where this file system knows no id mapping.
pub fn mount_attributes(mount: BorrowedFd<'_>, set: u64, mapping: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let attributes = MountAttr {
        set: set | if mapping.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 },
        clear: 0,
        propagation: 0,
        userns: mapping.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: the structure has the layout and the size that the call is told.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// What `clone3` returned, on either side.
#[derive(Debug)]
pub enum Cloned {
    /// In the new process.
    Child,
    /// In the old one.
    Parent {
        /// The new process, as the caller sees it.
        pid: libc::pid_t,
        /// Its pidfd.
        pidfd: OwnedFd,
    },
}

/// libc's own constant does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `clone3` in the manner of `fork`, with a pidfd, into a v2 cgroup when one is given.
///
/// # Safety
/// The caller is single-threaded: the child has a copy of this thread only.
///
/// # Errors
/// What the kernel says.
pub unsafe fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let into = if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 };
    let arguments = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64 | into,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    // SAFETY: the structure has the layout and the size that the call is told; without CLONE_VM the child has its own memory.
    let pid =
        check_long(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: CLONE_PIDFD made this descriptor for us.
    Ok(Cloned::Parent { pid: pid as libc::pid_t, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Closes every descriptor from `first` to `last`, both included.
pub fn close_range(first: RawFd, last: RawFd) {
    if first <= last {
        // SAFETY: the caller holds nothing in this range any more.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

/// Opens with `openat2` and its resolution rules (`RESOLVE_*`). Close-on-exec.
///
/// # Errors
/// What the kernel says; `EXDEV` or `ELOOP` when the rules forbid the path.
pub fn openat2(folder: BorrowedFd<'_>, path: &CStr, how: OpenHow) -> io::Result<OwnedFd> {
    let raw = [how.flags | libc::O_CLOEXEC as u64, how.mode, how.resolve];
    // SAFETY: three u64 are exactly `struct open_how`.
    owned(unsafe {
        libc::syscall(libc::SYS_openat2, folder.as_raw_fd(), path.as_ptr(), raw.as_ptr(), size_of_val(&raw))
    })
}

/// How [`openat2`] opens.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenHow {
    /// `O_*`.
    pub flags: u64,
    /// Permission bits of a new file.
    pub mode: u64,
    /// `RESOLVE_*`.
    pub resolve: u64,
}

/// Opens a path in the usual way, close-on-exec.
///
/// # Errors
/// What the kernel says.
pub fn open(path: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the string lives across the call.
    owned(libc::c_long::from(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) }))
}

/// Writes all of it with one `write`; for the files under `/proc` that want it so.
///
/// # Errors
/// What the kernel says; `WriteZero` when only a part was taken.
pub fn write_once(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length belong to one slice.
    let written = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    match usize::try_from(written) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Writes a small file such as `/proc/self/uid_map`.
///
/// # Errors
/// What the kernel says.
pub fn write_file(path: &CStr, bytes: &[u8]) -> io::Result<()> {
    write_once(open(path, libc::O_WRONLY)?.as_fd(), bytes)
}

/// A pipe, both ends close-on-exec: (read, write).
///
/// # Errors
/// When there are no descriptors left.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the array has room for both; the new descriptors belong to nobody else.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// A pair of connected stream sockets, close-on-exec.
///
/// # Errors
/// When there are no descriptors left.
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the array has room for both; the new descriptors belong to nobody else.
    unsafe {
        check(libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// Sends a signal through a pidfd.
///
/// # Errors
/// What the kernel says; `ESRCH` when the process is gone.
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no pointers beside a null siginfo.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })?;
    Ok(())
}

/// Milliseconds of the monotonic clock.
pub fn now_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is ours to fill; this clock exists everywhere.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}
