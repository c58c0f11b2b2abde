//! From a fresh clone to PID 1 of a sandbox: ids, cgroups, file systems, devices; then the host's world is let go.

use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use harness_guest::message::{Failure, Reply};
use harness_guest::recipe::{Basis, Bind, Overlay, Recipe, Source};
use harness_guest::{socket, sys};

use crate::trouble::{Tried, Trouble};
use crate::{exec, init};

/// Devices that every sandbox has.
pub(crate) const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What container engines hide of `/proc`, as files.
const MASKED_FILES: [&str; 7] =
    ["kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "sysrq-trigger"];
/// And as folders.
const MASKED_FOLDERS: [&str; 3] = ["acpi", "scsi", "asound"];
/// What they show read-only.
const READ_ONLY: [&str; 4] = ["bus", "fs", "irq", "sys"];

/// Where the spawner's world keeps the new root.
const NEW_ROOT: &CStr = c"/n";
/// And where `/proc` and `/dev` wait for it.
const NEW_PROC: &CStr = c"/p";
const NEW_DEV: &CStr = c"/v";

/// Never returns: does all that is the same for every sandbox, waits for its recipe, and becomes PID 1; or tells why not and ends.
pub(crate) fn become_init(basis: &Basis, control: OwnedFd, gate: OwnedFd) -> ! {
    let mut byte = [0];
    // When the gate closes unopened, the spawner tells what went wrong.
    if !matches!(std::fs::File::from(gate).read(&mut byte), Ok(1)) {
        exit(1);
    }
    let done = beforehand(basis).and_then(|()| {
        // Nobody wanted it.
        let received = socket::receive(control.as_fd()).tried("receive what it is made of")?;
        let mut frame = received.unwrap_or_else(|| exit(0));
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let recipe = Recipe::decode(&frame.body).map_err(malformed).tried("understand what it is made of")?;
        let commands = frame.fds.len().saturating_sub(recipe.commands_groups as usize);
        let commands_groups = frame.fds.split_off(commands);
        finish(&recipe, &frame.fds)?;
        Ok((recipe, commands_groups))
    });
    match done {
        Ok((recipe, commands_groups)) => init::run(basis, recipe.nproc, control, commands_groups),
        Err(trouble) => {
            let reply = Reply::Failed { call: 0, kind: Failure::Host, message: trouble.to_string() };
            let _ = socket::send(control.as_fd(), &reply.encode(), &[]);
            exit(1)
        }
    }
}

/// Ends this process at once, without anything of the spawner's being flushed or dropped.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(status) }
}

/// What needs no recipe. Some of it is done in the spawner's world, where nothing can be seen of it from without.
fn beforehand(basis: &Basis) -> Result<(), Trouble> {
    take_ids()?;
    // SAFETY: plain calls; the name's length is passed. The spawner has one thread, so that the signal comes when the process
    // dies and not earlier.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        sys::check(libc::sethostname(basis.hostname.as_ptr().cast(), basis.hostname.len()))
            .tried("set the host name")?;
        libc::umask(0);
    }
    loopback_up().tried("bring up the loopback")?;
    proc()?;
    dev(basis.shm_bytes)?;
    exec::bound(basis).tried("drop a capability")?;
    basis.first_filters.iter().try_for_each(|filter| exec::install(filter)).tried("install a filter")
}

fn finish(recipe: &Recipe, tasks: &[OwnedFd]) -> Result<(), Trouble> {
    // `0` in `tasks` moves the caller and waits for nothing; `cgroup.procs` would wait for a grace period of RCU.
    for file in tasks {
        sys::write_once(file.as_fd(), b"0").tried("join a cgroup")?;
    }
    // From now on mounts are its own: the spawner's next ones would come to lie upon them.
    sys::propagation(c"/", libc::MS_REC | libc::MS_PRIVATE).tried("keep mounts to itself")?;
    // SAFETY: plain unshare.
    sys::check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }).tried("make a cgroup namespace")?;
    file_systems(recipe)?;
    sys::pivot_to(NEW_ROOT).tried("change the root")?;
    // SAFETY: plain umask.
    unsafe { libc::umask(0o022) };
    Ok(())
}

fn take_ids() -> Result<(), Trouble> {
    // SAFETY: plain calls; an empty list of groups needs no pointer. Where only one id is mapped the kernel forbids
    // `setgroups`, and there is nothing to drop.
    unsafe {
        sys::check(libc::setresgid(0, 0, 0)).tried("take group 0")?;
        libc::setgroups(0, std::ptr::null());
        sys::check(libc::setresuid(0, 0, 0)).tried("take user 0")?;
    }
    Ok(())
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: a zeroed ifreq is valid; the name is shorter than its field.
    unsafe {
        let socket = sys::check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let result = sys::check(libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw const request));
        libc::close(socket);
        result.map(|_| ())
    }
}

fn file_systems(recipe: &Recipe) -> Result<(), Trouble> {
    let (root, rest) = recipe
        .overlays
        .split_first()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
        .tried("find the root of the recipe")?;
    overlay(root, NEW_ROOT)?;
    let new_root = sys::open(NEW_ROOT, libc::O_PATH | libc::O_DIRECTORY).tried("open the new root")?;
    let new_root = new_root.as_fd();
    for part in rest {
        let at = folder_at(new_root, &part.at)?;
        overlay(part, &fd_path(&at))?;
    }
    for part in &recipe.binds {
        bind_part(new_root, part)?;
    }
    for (from, at) in [(NEW_PROC, c"proc"), (NEW_DEV, c"dev")] {
        let at = top_folder(new_root, at)?;
        sys::mount_move(from, &fd_path(&at))
            .tried_with(|| format!("move {} inside", from.to_string_lossy()))?;
    }
    Ok(())
}

fn overlay(part: &Overlay, at: &CStr) -> Result<(), Trouble> {
    let lowers: Vec<String> = part.lowers.iter().map(world_path).collect::<Result<_, _>>()?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={},volatile,userxattr",
        lowers.join(":"),
        world_path(&part.upper)?,
        world_path(&part.work)?
    );
    if options.len() >= 4096 {
        return Err(io::Error::from_raw_os_error(libc::E2BIG)).tried("stack so many layers");
    }
    sys::mount("overlay", at, "overlay", libc::MS_NODEV | libc::MS_NOSUID, &options)
        .tried_with(|| format!("mount an overlay at {} ({options})", String::from_utf8_lossy(&part.at)))
}

/// Path in the spawner's world. Names are the harness's own: letters, digits, `.`, `-`, `_`, `/`.
fn world_path(source: &Source) -> Result<String, Trouble> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_/".contains(byte);
    if !source.below.iter().all(plain) || source.below.split(|byte| *byte == b'/').any(|part| part == b"..") {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).tried("use a layer's name");
    }
    let below = String::from_utf8_lossy(&source.below);
    Ok(if below.is_empty() { format!("l/{}", source.slot) } else { format!("l/{}/{below}", source.slot) })
}

fn bind_part(root: BorrowedFd<'_>, part: &Bind) -> Result<(), Trouble> {
    let mut from = format!("/l/{}", part.source.slot).into_bytes();
    if !part.source.below.is_empty() {
        from.push(b'/');
        from.extend_from_slice(&part.source.below);
    }
    let from = sys::c_string(&from).tried("name a source")?;
    let folder = sys::open(&from, libc::O_PATH | libc::O_DIRECTORY).is_ok();
    let at = if folder { folder_at(root, &part.at)? } else { file_at(root, &part.at)? };
    let name = || String::from_utf8_lossy(&part.at).into_owned();
    sys::bind(&from, &fd_path(&at), 0).tried_with(|| format!("show something at {}", name()))
}

/// The magic link to an open file, as a mount point.
pub(crate) fn fd_path(fd: &OwnedFd) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("a number has no NUL")
}

/// Opens a folder below `root`, making what is missing; links are followed but never lead out of `root`.
pub(crate) fn folder_at(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Trouble> {
    let name = || format!("open {} inside", String::from_utf8_lossy(path));
    let how = sys::OpenHow {
        flags: (libc::O_PATH | libc::O_DIRECTORY) as u64,
        mode: 0,
        resolve: libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS,
    };
    let mut so_far = Vec::new();
    let mut folder = sys::openat2(root, c".", how).tried_with(name)?;
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if !so_far.is_empty() {
            so_far.push(b'/');
        }
        so_far.extend_from_slice(part);
        let c_path = sys::c_string(&so_far).tried_with(name)?;
        folder = match sys::openat2(root, &c_path, how) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                let c_part = sys::c_string(part).tried_with(name)?;
                // SAFETY: the string lives across the call.
                sys::check(unsafe { libc::mkdirat(folder.as_raw_fd(), c_part.as_ptr(), 0o755) })
                    .tried_with(|| format!("make {} inside", String::from_utf8_lossy(path)))?;
                sys::openat2(root, &c_path, how)
            }
            other => other,
        }
        .tried_with(name)?;
    }
    Ok(folder)
}

/// As [`folder_at`], for a file in it.
fn file_at(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Trouble> {
    let cut = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let parent = folder_at(root, &path[..cut])?;
    let name = sys::c_string(path[cut..].strip_prefix(b"/").unwrap_or(&path[cut..])).tried("name a file")?;
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: the string lives across the calls; what `openat` returns is given an owner at once.
    unsafe {
        let made = libc::openat(
            parent.as_raw_fd(),
            name.as_ptr(),
            flags | libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY,
            0o644,
        );
        if made >= 0 {
            libc::close(made);
        }
    }
    let how = sys::OpenHow { flags: (libc::O_PATH | libc::O_NOFOLLOW) as u64, ..sys::OpenHow::default() };
    sys::openat2(parent.as_fd(), &name, how).tried("open a mount point inside")
}

/// Opens a folder directly in the root that must be no link.
fn top_folder(root: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Trouble> {
    // SAFETY: the string lives across the call. It may well exist.
    unsafe { libc::mkdirat(root.as_raw_fd(), name.as_ptr(), 0o755) };
    let how = sys::OpenHow {
        flags: (libc::O_PATH | libc::O_DIRECTORY) as u64,
        mode: 0,
        resolve: libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS,
    };
    sys::openat2(root, name, how).tried_with(|| format!("open /{} inside", name.to_string_lossy()))
}

fn proc() -> Result<(), Trouble> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::mount("proc", NEW_PROC, "proc", flags, "").tried("mount /proc inside")?;
    // Only what exists on this kernel is masked.
    let path = |name: &str| CString::new(format!("/p/{name}")).expect("names have no NUL");
    for name in MASKED_FILES {
        present(sys::bind(c"/d/null", &path(name), 0)).tried_with(|| format!("mask /proc/{name}"))?;
    }
    for name in MASKED_FOLDERS {
        let target = path(name);
        if present(sys::bind(c"/e", &target, 0)).tried_with(|| format!("mask /proc/{name}"))? {
            sys::remount(&target, flags | libc::MS_RDONLY).tried_with(|| format!("mask /proc/{name}"))?;
        }
    }
    for name in READ_ONLY {
        let target = path(name);
        if present(sys::bind(&target, &target, 0)).tried_with(|| format!("bind /proc/{name}"))? {
            sys::remount(&target, flags | libc::MS_RDONLY)
                .tried_with(|| format!("make /proc/{name} read-only"))?;
        }
    }
    Ok(())
}

/// Whether the thing was there to be mounted on.
fn present(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn dev(shm_bytes: u64) -> Result<(), Trouble> {
    let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
    sys::mount("tmpfs", NEW_DEV, "tmpfs", flags, "mode=755,size=64k").tried("mount /dev inside")?;
    let path = |name: &str| CString::new(format!("/v/{name}")).expect("names have no NUL");
    for name in DEVICES {
        let from = CString::new(format!("/d/{name}")).expect("names have no NUL");
        sys::open(&path(name), libc::O_CREAT | libc::O_WRONLY).tried("make a device inside")?;
        sys::bind(&from, &path(name), 0).tried_with(|| format!("bind /dev/{name} inside"))?;
    }
    sys::mkdir(&path("pts"), 0o755).tried("make /dev/pts inside")?;
    sys::mkdir(&path("shm"), 0o1777).tried("make /dev/shm inside")?;
    let options = "newinstance,ptmxmode=0666,mode=0620";
    sys::mount("devpts", &path("pts"), "devpts", flags, options).tried("mount /dev/pts inside")?;
    let options = format!("mode=1777,size={shm_bytes}");
    sys::mount("tmpfs", &path("shm"), "tmpfs", flags | libc::MS_NODEV, &options)
        .tried("mount /dev/shm inside")?;
    let links = [
        (c"pts/ptmx", "ptmx"),
        (c"/proc/self/fd", "fd"),
        (c"/proc/self/fd/0", "stdin"),
        (c"/proc/self/fd/1", "stdout"),
        (c"/proc/self/fd/2", "stderr"),
    ];
    for (to, name) in links {
        // SAFETY: both strings live across the call.
        sys::check(unsafe { libc::symlink(to.as_ptr(), path(name).as_ptr()) })
            .tried("make a link in /dev inside")?;
    }
    Ok(())
}
