//! The spawner: a process of a few hundred kilobytes that clones sandboxes, so that their start costs the same however much
//! memory the harness holds. It lives in a mount namespace of its own with nothing in it but what sandboxes are made of,
//! and ends when the harness's end of its socket closes.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use harness_guest::message::{SpawnerReply, SpawnerRequest};
use harness_guest::recipe::{Basis, IdRange};
use harness_guest::socket::{self, Frame};
use harness_guest::sys::{self, Cloned};

use crate::setup;
use crate::trouble::{Tried, Trouble};

/// How many ids a sandbox has when ids are shifted.
const RANGE: u32 = 65536;

const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

struct Spawner {
    socket: OwnedFd,
    /// What all sandboxes have in common.
    basis: Basis,
    /// The mount namespace in which host paths mean what the host says.
    host: OwnedFd,
    /// The one that sandboxes are cloned from.
    world: OwnedFd,
    /// The user namespace whose mapping lower mounts get.
    mapping: Option<OwnedFd>,
    next_slot: u32,
    slots: BTreeSet<u32>,
}

/// Serves the socket that came as descriptor 0 until it closes.
pub(crate) fn run() -> Result<(), Trouble> {
    // SAFETY: the harness starts us with our socket as descriptor 0; nothing else here owns it. Copied away from 0 so that
    // nothing takes it for standard input.
    let inherited = unsafe { OwnedFd::from_raw_fd(0) };
    let socket = inherited.try_clone().tried("keep the socket")?;
    drop(inherited);
    let Some(hello) = socket::receive(socket.as_fd()).tried("receive the greeting")? else {
        return Ok(());
    };
    let Ok(SpawnerRequest::Hello { privileged, base, basis }) = SpawnerRequest::decode(&hello.body) else {
        return Err(io::Error::from(io::ErrorKind::InvalidData)).tried("understand the greeting");
    };
    forget_signals();
    // Dead sandboxes need no waiting for: the harness watches them through their pidfds.
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let mut spawner = match build(socket.as_fd(), privileged) {
        Ok((host, world)) => {
            let basis = *basis;
            Spawner { socket, basis, host, world, mapping: None, next_slot: 0, slots: BTreeSet::new() }
        }
        Err(trouble) => {
            let _ = reply(socket.as_fd(), &failed(0, &trouble), &[]);
            return Err(trouble);
        }
    };
    let mut trouble = String::new();
    if privileged {
        match mapping(base) {
            Ok(fd) => spawner.mapping = Some(fd),
            Err(error) => trouble = error.to_string(),
        }
    }
    if privileged {
        // An ordinary user could not write the maps of a child that nobody may look into; each PID 1 sees to that itself,
        // and from within a sandbox we are not to be found at all.
        // SAFETY: plain prctl.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    }
    reply(spawner.socket.as_fd(), &SpawnerReply::Hello { trouble }, &[])?;
    while let Some(frame) = socket::receive(spawner.socket.as_fd()).tried("receive a request")? {
        spawner.serve(frame)?;
    }
    Ok(())
}

/// Whatever the harness's parents ignored or blocked, sandboxes do not. By the kernel's own call, because the C library hides
/// two signals of its own. SIGPIPE stays ignored here: a peer that went away is an error like others.
fn forget_signals() {
    let default = [0_u64; 4];
    let none = 0_u64;
    for signal in (1..=64).filter(|signal| *signal != libc::SIGPIPE) {
        // SAFETY: four zero words are the kernel's `sigaction` for "default", of which it reads at most that much.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), 8)
        };
    }
    // SAFETY: one word is the kernel's signal set.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u64>(),
            8,
        )
    };
}

fn failed(call: u32, trouble: &Trouble) -> SpawnerReply {
    SpawnerReply::Failed { call, what: trouble.what.clone(), errno: trouble.errno() }
}

fn reply(socket: BorrowedFd<'_>, reply: &SpawnerReply, fds: &[i32]) -> Result<(), Trouble> {
    socket::send(socket, &reply.encode(), fds).tried("answer the harness")
}

impl Spawner {
    /// An error from here ends the spawner; what can be told is told.
    fn serve(&mut self, frame: Frame) -> Result<(), Trouble> {
        let request = SpawnerRequest::decode(&frame.body)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            .tried("understand a request")?;
        match request {
            SpawnerRequest::Hello { .. } => Ok(()),
            SpawnerRequest::Attach { call, path, read_only, plain_ids } => {
                let given = frame.fds.into_iter().next();
                let answer = match self.attach(&path, given, read_only, plain_ids) {
                    Ok(slot) => SpawnerReply::Attached { call, slot },
                    Err(trouble) => failed(call, &trouble),
                };
                reply(self.socket.as_fd(), &answer, &[])
            }
            SpawnerRequest::Detach { slot } => {
                if self.slots.remove(&slot) {
                    let path = slot_path(slot);
                    // What is still in use lives on in the sandboxes that use it.
                    let _ = sys::unmount(&path);
                    // SAFETY: the string lives across the calls.
                    unsafe {
                        libc::rmdir(path.as_ptr());
                        libc::unlink(path.as_ptr());
                    }
                }
                Ok(())
            }
            SpawnerRequest::Lend { call, slots } => {
                let lent: Result<Vec<OwnedFd>, Trouble> = slots.iter().map(|slot| self.lend(*slot)).collect();
                match lent {
                    Ok(fds) => {
                        let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
                        reply(self.socket.as_fd(), &SpawnerReply::Lent { call }, &raw)
                    }
                    Err(trouble) => reply(self.socket.as_fd(), &failed(call, &trouble), &[]),
                }
            }
            SpawnerRequest::Clone { call, into_cgroup } => match self.clone_init(frame.fds, into_cgroup) {
                Ok((pid, pidfd)) => reply(
                    self.socket.as_fd(),
                    &SpawnerReply::Cloned { call, pid: pid as u32 },
                    &[pidfd.as_raw_fd()],
                ),
                Err(trouble) => reply(self.socket.as_fd(), &failed(call, &trouble), &[]),
            },
        }
    }

    /// Makes a host path a mount in our own world, read-only and idmapped as asked.
    fn attach(
        &mut self,
        path: &[u8],
        given: Option<OwnedFd>,
        read_only: bool,
        plain_ids: bool,
    ) -> Result<u32, Trouble> {
        let name = || String::from_utf8_lossy(path).into_owned();
        let (mount, folder) = match given {
            Some(mount) => (copy_of(&mount)?, true),
            None => {
                let c_path = sys::c_string(path).tried_with(name)?;
                self.enter(self.host.as_fd())?;
                let opened =
                    sys::open_tree(libc::AT_FDCWD, &c_path).tried_with(|| format!("open {}", name()));
                let folder = is_folder(&c_path);
                // Whatever became of it, we must be back in our own world before anything is cloned.
                self.enter(self.world.as_fd())?;
                (opened?, folder)
            }
        };
        let mut set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        if read_only {
            set |= libc::MOUNT_ATTR_RDONLY;
        }
        let mapping = if plain_ids { None } else { self.mapping.as_ref().map(AsFd::as_fd) };
        sys::mount_attributes(mount.as_fd(), set, mapping)
            .tried_with(|| format!("map the ids of {}", name()))?;
        let slot = self.next_slot;
        let at = slot_path(slot);
        if folder {
            sys::mkdir(&at, 0o755).tried("make a mount point")?;
        } else {
            sys::open(&at, libc::O_CREAT | libc::O_WRONLY).tried("make a mount point")?;
        }
        sys::move_mount(mount.as_fd(), &at).tried_with(|| format!("attach {}", name()))?;
        self.next_slot += 1;
        self.slots.insert(slot);
        Ok(slot)
    }

    fn lend(&self, slot: u32) -> Result<OwnedFd, Trouble> {
        sys::open_tree(libc::AT_FDCWD, &slot_path(slot)).tried("copy an attached mount")
    }

    fn enter(&self, namespace: BorrowedFd<'_>) -> Result<(), Trouble> {
        // SAFETY: plain setns; we are single-threaded.
        sys::check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) })
            .tried("change the mount namespace")?;
        Ok(())
    }

    /// Clones PID 1 of a sandbox. Returns as soon as it has its ids; what it is made of it learns on its control socket, and
    /// reports the rest there itself.
    fn clone_init(
        &self,
        mut fds: Vec<OwnedFd>,
        into_cgroup: bool,
    ) -> Result<(libc::pid_t, OwnedFd), Trouble> {
        if fds.len() < 1 + usize::from(into_cgroup) {
            return Err(io::Error::from(io::ErrorKind::InvalidData)).tried("find the control socket");
        }
        let control = fds.remove(0);
        let cgroup = into_cgroup.then(|| fds.remove(0));
        let (gate, opener) = sys::pipe().tried("make a pipe")?;
        // SAFETY: the spawner has one thread.
        let cloned = unsafe { sys::clone3(NAMESPACES as u64, cgroup.as_ref().map(AsFd::as_fd)) }
            .tried("clone a process with namespaces of its own")?;
        match cloned {
            Cloned::Child => {
                drop((opener, cgroup));
                setup::become_init(&self.basis, control, gate)
            }
            Cloned::Parent { pid, pidfd } => {
                // On an error the gate closes unopened, and the child ends.
                write_maps(pid, &self.basis.uids, &self.basis.gids)?;
                sys::write_once(opener.as_fd(), b"g").tried("start the sandbox")?;
                Ok((pid, pidfd))
            }
        }
    }
}

/// A copy of a detached mount, whose own ids then stay what they are for the host. Older kernels copy only what is attached.
fn copy_of(mount: &OwnedFd) -> Result<OwnedFd, Trouble> {
    let at = c"/n";
    sys::move_mount(mount.as_fd(), at).tried("attach a mount of the host's")?;
    let copy = sys::open_tree(libc::AT_FDCWD, at).tried("copy a mount of the host's");
    sys::unmount(at).tried("detach a mount of the host's")?;
    copy
}

fn slot_path(slot: u32) -> CString {
    CString::new(format!("/l/{slot}")).expect("a number has no NUL")
}

fn is_folder(path: &std::ffi::CStr) -> bool {
    sys::open(path, libc::O_PATH | libc::O_DIRECTORY).is_ok()
}

fn write_maps(pid: libc::pid_t, uids: &[IdRange], gids: &[IdRange]) -> Result<(), Trouble> {
    for (file, ranges) in [("uid_map", uids), ("gid_map", gids)] {
        let lines: Vec<String> =
            ranges.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect();
        let path = sys::c_string(format!("/proc/{pid}/{file}").as_bytes()).tried("name a file")?;
        sys::write_file(&path, lines.concat().as_bytes()).tried_with(|| format!("write {file}"))?;
    }
    Ok(())
}

/// Moves into a mount namespace whose root holds `proc`, `d` (devices), `l` (attachments), `e` (empty), `n` (where new
/// roots are put together), `p` and `v` (where their `/proc` and `/dev` are), and nothing of the host's. Returns the host's namespace and this one.
fn build(_socket: BorrowedFd<'_>, privileged: bool) -> Result<(OwnedFd, OwnedFd), Trouble> {
    let namespace = || sys::open(c"/proc/self/ns/mnt", libc::O_RDONLY).tried("open the mount namespace");
    let host = if privileged {
        namespace()?
    } else {
        own_user_namespace()?;
        sys::propagation(c"/", libc::MS_REC | libc::MS_SLAVE).tried("keep mounts to ourselves")?;
        namespace()?
    };
    // SAFETY: plain unshare.
    sys::check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).tried("make a mount namespace")?;
    sys::propagation(c"/", libc::MS_REC | libc::MS_PRIVATE).tried("keep mounts to ourselves")?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    sys::mount("tmpfs", c"/tmp", "tmpfs", flags, "mode=755,size=4m").tried("mount a tmpfs")?;
    for folder in [c"/tmp/proc", c"/tmp/d", c"/tmp/l", c"/tmp/e", c"/tmp/n", c"/tmp/p", c"/tmp/v"] {
        sys::mkdir(folder, 0o755).tried("make a folder in a tmpfs")?;
    }
    if privileged {
        let flags = flags | libc::MS_NOEXEC;
        sys::mount("proc", c"/tmp/proc", "proc", flags, "").tried("mount /proc")?;
    } else {
        // A new instance would need a process namespace of our own.
        sys::bind(c"/proc", c"/tmp/proc", libc::MS_REC).tried("bind /proc")?;
    }
    for device in setup::DEVICES {
        let from = sys::c_string(format!("/dev/{device}").as_bytes()).tried("name a device")?;
        let to = sys::c_string(format!("/tmp/d/{device}").as_bytes()).tried("name a device")?;
        sys::open(&to, libc::O_CREAT | libc::O_WRONLY).tried("make a mount point")?;
        sys::bind(&from, &to, 0).tried_with(|| format!("bind /dev/{device}"))?;
    }
    sys::pivot_to(c"/tmp").tried("leave the host's root")?;
    // What is attached later is seen by those that were cloned before, too.
    sys::propagation(c"/", libc::MS_SHARED).tried("share mounts with sandboxes to come")?;
    Ok((host, namespace()?))
}

fn own_user_namespace() -> Result<(), Trouble> {
    // SAFETY: plain calls without pointers.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: plain unshare.
    sys::check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) })
        .tried("make a user namespace")?;
    sys::write_file(c"/proc/self/setgroups", b"deny").tried("write /proc/self/setgroups")?;
    let map = |id: u32| format!("0 {id} 1\n");
    sys::write_file(c"/proc/self/uid_map", map(uid).as_bytes()).tried("write /proc/self/uid_map")?;
    sys::write_file(c"/proc/self/gid_map", map(gid).as_bytes()).tried("write /proc/self/gid_map")?;
    // SAFETY: plain calls without pointers.
    unsafe {
        sys::check(libc::setresgid(0, 0, 0)).tried("take group 0")?;
        sys::check(libc::setresuid(0, 0, 0)).tried("take user 0")?;
    }
    Ok(())
}

/// A user namespace that exists only for its mapping.
fn mapping(base: u32) -> Result<OwnedFd, Trouble> {
    // SAFETY: the spawner has one thread; the child only waits to be killed.
    match unsafe { sys::clone3(libc::CLONE_NEWUSER as u64, None) }.tried("clone into a user namespace")? {
        Cloned::Child => loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        },
        Cloned::Parent { pid, pidfd } => {
            let range = [(0, base, RANGE)];
            let made = write_maps(pid, &range, &range).and_then(|()| {
                let path = sys::c_string(format!("/proc/{pid}/ns/user").as_bytes()).tried("name a file")?;
                sys::open(&path, libc::O_RDONLY).tried("open a user namespace")
            });
            let _ = sys::signal_pidfd(pidfd.as_fd(), libc::SIGKILL);
            made
        }
    }
}
