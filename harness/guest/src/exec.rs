//! Starting a command: a process in a session of its own, its user, its folder, its streams, no rights beyond those of the recipe.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use harness_guest::message::{Exec, Failure};
use harness_guest::recipe::Basis;
use harness_guest::sys;

use crate::launch::{Launch, filter_words};
use crate::setup::exit;
use crate::users::{self, Account};

/// A command whose process was made.
pub(crate) struct Started {
    pub(crate) pid: libc::pid_t,
    /// Says nothing and ends when the command runs; else says why it does not: a stumble, or `I` or `H`, then words.
    pub(crate) report: OwnedFd,
    /// What its process goes through, which must be kept until the report ends.
    pub(crate) launch: Option<Box<Launch>>,
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

/// Makes its process and sets it going.
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
    let null = around.null.as_raw_fd();
    let streams = match (&slave, fds.as_slice()) {
        (Some(slave), _) => [slave.as_raw_fd(); 3],
        (None, [stdin, stdout, stderr]) => [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()],
        (None, [stdout, stderr]) => [null, stdout.as_raw_fd(), stderr.as_raw_fd()],
        (None, _) => [null; 3],
    };
    if exec.user.is_empty() && around.view.is_none() {
        let (pid, launch) = match Launch::new(call, exec, streams, &Account::root(), around) {
            Ok(launch) => {
                let mut launch = Box::new(launch);
                (launch.start(reporter.as_raw_fd())?, Some(launch))
            }
            Err(words) => (forked(reporter, || ('I', words))?, None),
        };
        return Ok(Started { pid, report, launch, master });
    }
    // Who somebody is, only the view can say, and what it says is read where it cannot hold up PID 1.
    let pid = forked(reporter, || looked_up(call, exec, streams, around))?;
    Ok(Started { pid, report, launch: None, master })
}

/// A child that does something, and ends with the words that come of it.
fn forked(reporter: OwnedFd, what: impl FnOnce() -> (char, String)) -> io::Result<libc::pid_t> {
    // SAFETY: PID 1 has one thread.
    let pid = sys::check(unsafe { libc::fork() })?;
    if pid == 0 {
        let (tag, words) = what();
        let _ = File::from(reporter).write_all(format!("{tag}{words}").as_bytes());
        exit(127);
    }
    Ok(pid)
}

/// In a child of its own. Comes back only with the reason why it did not become the command.
fn looked_up(call: u32, exec: &Exec, streams: [RawFd; 3], around: &Surroundings<'_>) -> (char, String) {
    if let Some(view) = around.view {
        // SAFETY: plain setns.
        if let Err(error) = sys::check(unsafe { libc::setns(view.as_raw_fd(), libc::CLONE_NEWNS) }) {
            return ('H', format!("enter the view: {error}"));
        }
    }
    let launch =
        users::look_up(&exec.user).and_then(|account| Launch::new(call, exec, streams, &account, around));
    match launch.map(|launch| launch.explain(launch.go())) {
        Ok((Failure::Host, words)) => ('H', words),
        Ok((Failure::Inside, words)) | Err(words) => ('I', words),
    }
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

/// Takes from what is started later whatever no command may have, for all of them at once. (A bound holds at `execve`: PID 1
/// itself keeps what it has.)
pub(crate) fn bound(basis: &Basis) -> io::Result<()> {
    let dropped = !(basis.capabilities | basis.view_capabilities);
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

/// Installs a filter for this process and all that it starts.
pub(crate) fn install(filter: &[u8]) -> io::Result<()> {
    let words = filter_words(filter);
    let program =
        libc::sock_fprog { len: words.len() as libc::c_ushort, filter: words.as_ptr().cast_mut().cast() };
    // SAFETY: the program and its records live across the call.
    sys::check_long(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    })?;
    Ok(())
}
