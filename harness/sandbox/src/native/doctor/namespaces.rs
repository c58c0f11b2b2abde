//! Tries namespaces and overlays in a child process that only makes system calls, and says how far it came.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How far making a small sandbox came.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Where it failed, and what the kernel said.
    pub(super) failed: Option<(Stage, io::Error)>,
}

/// What was tried, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A user namespace.
    User,
    /// Mapping our ids to root's.
    Map,
    /// A mount namespace, and a mount in it.
    Mount,
    /// A network namespace.
    Network,
    /// An overlay over the state folder.
    Overlay,
}

const STAGES: [Stage; 5] = [Stage::User, Stage::Map, Stage::Mount, Stage::Network, Stage::Overlay];

/// What the child needs, made before it is: it may not allocate.
struct Prepared {
    uid_map: Vec<u8>,
    gid_map: Vec<u8>,
    target: CString,
    options: CString,
}

/// Tries it all.
pub(super) fn attempt(state: &Path) -> Attempt {
    let tried = || -> io::Result<Option<(Stage, io::Error)>> {
        let place = tempfile::Builder::new().prefix("doctor-").tempdir_in(state)?;
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(place.path().join(name))?;
        }
        let at = place.path().display();
        let prepared = Prepared {
            uid_map: format!("0 {} 1", rustix::process::geteuid().as_raw()).into_bytes(),
            gid_map: format!("0 {} 1", rustix::process::getegid().as_raw()).into_bytes(),
            target: CString::new(place.path().join("merged").as_os_str().as_bytes())?,
            options: CString::new(format!(
                "lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work,userxattr"
            ))?,
        };
        let result = in_child(&prepared)?;
        super::super::remove::remove(&place.keep())?;
        Ok(result)
    };
    Attempt { failed: tried().unwrap_or_else(|error| Some((Stage::Overlay, error))) }
}

fn in_child(prepared: &Prepared) -> io::Result<Option<(Stage, io::Error)>> {
    let (mut reader, writer) = io::pipe()?;
    let out = writer.as_raw_fd();
    // SAFETY: the child makes system calls on memory that was prepared before, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        // SAFETY: as above.
        unsafe {
            let (stage, errno) = stages(prepared);
            let answer = [stage, errno.to_ne_bytes()[0]];
            libc::write(out, answer.as_ptr().cast(), 2);
            libc::_exit(0);
        }
    }
    drop(writer);
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer)?;
    let mut status = 0;
    // SAFETY: our own child, once.
    unsafe { libc::waitpid(child, &mut status, 0) };
    match answer.as_slice() {
        [_, 0] => Ok(None),
        [stage, errno] => {
            let stage = STAGES.get(usize::from(*stage)).copied().unwrap_or(Stage::User);
            Ok(Some((stage, io::Error::from_raw_os_error(i32::from(*errno)))))
        }
        // A filter may end a process that asks.
        _ => Ok(Some((Stage::User, io::Error::other("the process that tried was killed")))),
    }
}

/// Runs in the child: the number of the stage that failed and its error, or an error of 0.
///
/// # Safety
/// Only after a fork, in the child; never returns to code that allocates.
unsafe fn stages(prepared: &Prepared) -> (u8, i32) {
    // SAFETY: plain system calls on C strings and buffers of the caller.
    unsafe {
        let errno = || *libc::__errno_location();
        if libc::unshare(libc::CLONE_NEWUSER) != 0 {
            return (0, errno());
        }
        let write = |path: &std::ffi::CStr, text: &[u8]| {
            let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            file >= 0 && libc::write(file, text.as_ptr().cast(), text.len()) == text.len() as isize
        };
        if !write(c"/proc/self/setgroups", b"deny")
            || !write(c"/proc/self/uid_map", &prepared.uid_map)
            || !write(c"/proc/self/gid_map", &prepared.gid_map)
        {
            return (1, errno());
        }
        let target = prepared.target.as_ptr();
        if libc::unshare(libc::CLONE_NEWNS) != 0
            || libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) != 0
            || libc::mount(c"tmpfs".as_ptr(), target, c"tmpfs".as_ptr(), 0, std::ptr::null()) != 0
        {
            return (2, errno());
        }
        libc::umount2(target, libc::MNT_DETACH);
        if libc::unshare(libc::CLONE_NEWNET) != 0 {
            return (3, errno());
        }
        if libc::mount(c"overlay".as_ptr(), target, c"overlay".as_ptr(), 0, prepared.options.as_ptr().cast())
            != 0
        {
            return (4, errno());
        }
        (0, 0)
    }
}

/// Whether a folder's file system can be shown with other owners. For root.
pub(super) fn idmapped(folder: &Path) -> Result<(), String> {
    let namespace = shifted_namespace().map_err(|error| error.to_string())?;
    let folder = CString::new(folder.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // `struct mount_attr`: set, clear, propagation, namespace.
    let attributes: [u64; 4] = [0x10_0000, 0, 0, namespace.as_raw_fd() as u64];
    // SAFETY: plain system calls on a C string and a structure of the size that is given; the descriptor is ours.
    let done = unsafe {
        let tree = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, folder.as_ptr(), 1 | libc::O_CLOEXEC);
        if tree < 0 {
            return Err(io::Error::last_os_error().to_string());
        }
        let done = libc::syscall(
            libc::SYS_mount_setattr,
            tree,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes.as_ptr(),
            32_usize,
        );
        let error = io::Error::last_os_error();
        libc::close(tree as i32);
        if done == 0 { Ok(()) } else { Err(error) }
    };
    done.map_err(|error| error.to_string())
}

/// A user namespace with a shifted range, which lives as long as the descriptor.
fn shifted_namespace() -> io::Result<OwnedFd> {
    let (reader, writer) = io::pipe()?;
    let (mut ready, tell) = io::pipe()?;
    let (wait, told, keep) = (reader.as_raw_fd(), tell.as_raw_fd(), writer.as_raw_fd());
    // SAFETY: as in `in_child`.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        // SAFETY: as in `in_child`.
        unsafe {
            libc::close(keep);
            let done = u8::from(libc::unshare(libc::CLONE_NEWUSER) == 0);
            libc::write(told, (&raw const done).cast(), 1);
            let mut byte = 0_u8;
            // Until the parent lets go.
            libc::read(wait, (&raw mut byte).cast(), 1);
            libc::_exit(0);
        }
    }
    drop(tell);
    let mut done = [0];
    let made = ready.read_exact(&mut done);
    let opened = (|| {
        made?;
        if done[0] == 0 {
            return Err(io::Error::other("no user namespace can be made"));
        }
        for file in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{child}/{file}"), "0 100000 65536")?;
        }
        Ok(OwnedFd::from(fs::File::open(format!("/proc/{child}/ns/user"))?))
    })();
    drop(writer);
    let mut status = 0;
    // SAFETY: our own child, once; it ends when the pipe does.
    unsafe { libc::waitpid(child, &mut status, 0) };
    opened
}
