//! Starting a command: fork, a session of its own, its user, its folder, its streams, no rights beyond those of the recipe.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use harness_guest::message::Exec;
use harness_guest::recipe::Basis;
use harness_guest::sys;

use crate::kill;
use crate::setup::exit;
use crate::users::{self, Account};

/// A command that was forked.
pub(crate) struct Started {
    pub(crate) pid: libc::pid_t,
    /// Says nothing and ends when the command runs; else says why it does not: `I` or `H`, then words.
    pub(crate) report: OwnedFd,
    /// Of its terminal.
    pub(crate) master: Option<OwnedFd>,
}

/// What PID 1 holds that starting needs.
pub(crate) struct Surroundings<'a> {
    pub(crate) basis: &'a Basis,
    /// Largest number of processes, where no cgroup counts them.
    pub(crate) nproc: Option<u64>,
    /// `/dev/null` as it was before anything ran.
    pub(crate) null: &'a OwnedFd,
    /// `/dev/pts` likewise.
    pub(crate) terminals: &'a OwnedFd,
    /// `tasks` of the groups that count commands but not PID 1.
    pub(crate) commands_groups: &'a [OwnedFd],
    /// Mount namespace of the view.
    pub(crate) view: Option<&'a OwnedFd>,
}

/// Forks and sets it going.
pub(crate) fn start(
    call: u32,
    exec: &Exec,
    fds: Vec<OwnedFd>,
    around: &Surroundings<'_>,
) -> io::Result<Started> {
    let (report, reporter) = sys::pipe()?;
    let terminal = exec.pty.map(|size| open_terminal(around.terminals, size)).transpose()?;
    let (master, slave) = match terminal {
        Some((master, slave)) => (Some(master), Some(slave)),
        None => (None, None),
    };
    // SAFETY: PID 1 has one thread.
    let pid = sys::check(unsafe { libc::fork() })?;
    if pid == 0 {
        let mut reporter = File::from(reporter);
        let null = around.null.as_raw_fd();
        let streams = match (&slave, fds.as_slice()) {
            (Some(slave), _) => [slave.as_raw_fd(); 3],
            (None, [stdin, stdout, stderr]) => [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()],
            (None, [stdout, stderr]) => [null, stdout.as_raw_fd(), stderr.as_raw_fd()],
            (None, _) => [null; 3],
        };
        let (tag, words) = become_command(call, exec, streams, around);
        let _ = reporter.write_all(&[&[tag][..], words.as_bytes()].concat());
        exit(127);
    }
    Ok(Started { pid, report, master })
}

fn open_terminal(terminals: &OwnedFd, size: (u16, u16)) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: plain calls with a string and structures that live across them; new descriptors get their owner at once.
    unsafe {
        let fd = sys::check(libc::openat(terminals.as_raw_fd(), c"ptmx".as_ptr(), flags))?;
        let master = OwnedFd::from_raw_fd(fd);
        let unlocked: libc::c_int = 0;
        sys::check(libc::ioctl(fd, libc::TIOCSPTLCK, &raw const unlocked))?;
        let slave = sys::check(libc::ioctl(fd, libc::TIOCGPTPEER, flags))?;
        let slave = OwnedFd::from_raw_fd(slave);
        resize(&master, size);
        Ok((master, slave))
    }
}

/// Sets a terminal's size in columns and rows.
pub(crate) fn resize(master: &OwnedFd, (columns, rows): (u16, u16)) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure lives across the call.
    unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
}

/// In the child. Comes back only with the reason why it could not be.
fn become_command(call: u32, exec: &Exec, streams: [RawFd; 3], around: &Surroundings<'_>) -> (u8, String) {
    match try_become(call, exec, streams, around) {
        Ok(never) => match never {},
        Err(Refused::Inside(words)) => (b'I', words),
        Err(Refused::Host(what, error)) => (b'H', format!("{what}: {error}")),
    }
}

enum Never {}

enum Refused {
    Inside(String),
    Host(&'static str, io::Error),
}

fn host(what: &'static str) -> impl FnOnce(io::Error) -> Refused {
    move |error| Refused::Host(what, error)
}

fn try_become(
    call: u32,
    exec: &Exec,
    streams: [RawFd; 3],
    around: &Surroundings<'_>,
) -> Result<Never, Refused> {
    default_signals();
    for file in around.commands_groups {
        sys::write_once(file.as_fd(), b"0").map_err(host("join a cgroup"))?;
    }
    // SAFETY: plain calls without pointers.
    unsafe {
        libc::setsid();
        if let Some(view) = around.view {
            sys::check(libc::setns(view.as_raw_fd(), libc::CLONE_NEWNS)).map_err(host("enter the view"))?;
        }
        if exec.pty.is_some() {
            sys::check(libc::ioctl(streams[0], libc::TIOCSCTTY, 0)).map_err(host("take the terminal"))?;
        }
        for (number, fd) in (0..).zip(streams) {
            sys::check(libc::dup2(fd, number)).map_err(host("put a stream in its place"))?;
        }
        // All of PID 1's are close-on-exec; this is for the one that somebody forgets.
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    kill::brand(call);
    let account = users::look_up(&exec.user).map_err(Refused::Inside)?;
    let cwd = c_string(&exec.cwd)?;
    // SAFETY: the string lives across the call.
    sys::check(unsafe { libc::chdir(cwd.as_ptr()) }).map_err(|error| {
        Refused::Inside(format!("cannot enter {}: {error}", String::from_utf8_lossy(&exec.cwd)))
    })?;
    if let Some(count) = around.nproc {
        let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
        // SAFETY: the structure lives across the call.
        unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) };
    }
    drop_rights(&account, around)?;
    for filter in &around.basis.filters {
        install(filter).map_err(host("install the system call filter"))?;
    }
    run(exec, &account)
}

fn c_string(bytes: &[u8]) -> Result<CString, Refused> {
    sys::c_string(bytes)
        .map_err(|_| Refused::Inside(format!("a NUL in {:?}", String::from_utf8_lossy(bytes))))
}

fn default_signals() {
    // SAFETY: plain calls; a zeroed set is made empty before it is used.
    unsafe {
        // std ignores SIGPIPE; nothing else is changed in PID 1 but the mask.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Takes from what is started later whatever no command may have, for all of them at once. (A bound holds at `execve`: PID 1
/// itself keeps what it has.)
pub(crate) fn bound(basis: &Basis) -> io::Result<()> {
    bound_by(!(basis.capabilities | basis.view_capabilities), basis)
}

fn bound_by(dropped: u64, basis: &Basis) -> io::Result<()> {
    for capability in (0..64).filter(|number| dropped & (1 << number) != 0) {
        // SAFETY: plain prctl.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } == 0 {
            continue;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // The kernel's list ends here.
            Some(libc::EINVAL) => break,
            // Who has nothing to give away gains nothing from it: an engine may have started us without rights.
            Some(libc::EPERM) if basis.capabilities == 0 => break,
            _ => return Err(error),
        }
    }
    Ok(())
}

fn drop_rights(account: &Account, around: &Surroundings<'_>) -> Result<(), Refused> {
    let basis = around.basis;
    let extra = if around.view.is_some() { basis.view_capabilities } else { 0 };
    let bounding = basis.capabilities | extra;
    // The others are gone since `bound`.
    let too_many = basis.view_capabilities & !bounding;
    bound_by(too_many, basis).map_err(host("drop a capability"))?;
    // SAFETY: plain calls; the list of groups lives across its call.
    unsafe {
        libc::prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(extra != 0), 0, 0, 0);
        if account.uid != 0 || account.gid != 0 || !account.groups.is_empty() {
            let missing = |error: io::Error| {
                Refused::Inside(format!(
                    "cannot become user {} and group {}: {error} (this sandbox may have no ids but root's)",
                    account.uid, account.gid
                ))
            };
            // Where `setgroups` is denied altogether, there is only one id, and changing to another fails just below.
            libc::setgroups(account.groups.len(), account.groups.as_ptr());
            sys::check(libc::setresgid(account.gid, account.gid, account.gid)).map_err(missing)?;
            sys::check(libc::setresuid(account.uid, account.uid, account.uid)).map_err(missing)?;
        }
    }
    let kept = if account.uid == 0 { bounding } else { extra };
    let inheritable = if account.uid == 0 { 0 } else { extra };
    set_capabilities(kept, inheritable).map_err(host("set capabilities"))?;
    if inheritable != 0 {
        let number = inheritable.trailing_zeros();
        // SAFETY: plain prctl.
        sys::check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0) })
            .map_err(host("keep the view's capability"))?;
    }
    Ok(())
}

fn set_capabilities(kept: u64, inheritable: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    let data = [low, low, inheritable as u32, high, high, (inheritable >> 32) as u32];
    // SAFETY: the two arrays have the layout of `__user_cap_header_struct` and of two `__user_cap_data_struct`.
    sys::check_long(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) })?;
    Ok(())
}

/// Installs a filter for this process and all that it starts.
pub(crate) fn install(filter: &[u8]) -> io::Result<()> {
    // The kernel reads 8-byte aligned records; a byte vector promises no alignment.
    let words: Vec<u64> = filter
        .chunks_exact(8)
        .map(|chunk| u64::from_ne_bytes(chunk.try_into().expect("chunks are of eight bytes")))
        .collect();
    let program =
        libc::sock_fprog { len: words.len() as libc::c_ushort, filter: words.as_ptr().cast_mut().cast() };
    // SAFETY: the program and its records live across the call.
    sys::check_long(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    })?;
    Ok(())
}

fn run(exec: &Exec, account: &Account) -> Result<Never, Refused> {
    let arguments: Vec<CString> = exec.argv.iter().map(|arg| c_string(arg)).collect::<Result<_, _>>()?;
    let mut env: Vec<CString> = exec.env.iter().map(|pair| c_string(pair)).collect::<Result<_, _>>()?;
    // For root the image says it; who else it is, only the sandbox's own accounts say.
    if !exec.user.is_empty() && !exec.env.iter().any(|pair| pair.starts_with(b"HOME=")) {
        env.push(c_string(&[b"HOME=", &account.home[..]].concat())?);
    }
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argument_pointers, env_pointers) = (pointers(&arguments), pointers(&env));
    let program = &exec.argv[0];
    let shown = String::from_utf8_lossy(program);
    let mut denied = None;
    for candidate in candidates(exec) {
        let path = c_string(&candidate)?;
        // SAFETY: both lists end with a null pointer and, like their strings, live across the call.
        unsafe { libc::execve(path.as_ptr(), argument_pointers.as_ptr(), env_pointers.as_ptr()) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => denied = Some(error),
            _ => return Err(Refused::Inside(format!("cannot run {shown}: {error}"))),
        }
    }
    Err(Refused::Inside(match denied {
        Some(error) => format!("cannot run {shown}: {error}"),
        None => format!("command not found: {shown}"),
    }))
}

fn candidates(exec: &Exec) -> Vec<Vec<u8>> {
    let program = &exec.argv[0];
    if program.contains(&b'/') {
        return vec![program.clone()];
    }
    if program.is_empty() {
        return Vec::new();
    }
    let path = exec.env.iter().rev().find_map(|pair| pair.strip_prefix(b"PATH=")).unwrap_or(b"/usr/bin:/bin");
    path.split(|byte| *byte == b':')
        .map(|folder| {
            let folder = if folder.is_empty() { &b"."[..] } else { folder };
            [folder, b"/", program].concat()
        })
        .collect()
}
