//! Finding and ending all that a command started.
//!
//! Whatever a command starts inherits its *brand*: a value of `RLIMIT_RTTIME` that no process has otherwise, that means
//! nothing without real-time scheduling, that nobody inside may raise, and that one system call reads. So a child that left
//! the session and whose parent died is still found. What takes pains to lose the brand and leaves the session falls to
//! `kill_all`.

use std::io;

/// Limits are microseconds of real-time scheduling without a pause: 35 years and more.
const BRAND_BASE: u64 = 1 << 50;

/// Which command a process belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tree {
    /// The command's process, also its session.
    pub(crate) pid: libc::pid_t,
    /// Number of the command.
    pub(crate) call: u32,
}

/// The limit, soft and hard, that marks a process as the first of a tree.
pub(crate) fn brand(call: u32) -> u64 {
    BRAND_BASE + u64::from(call)
}

/// Sends a signal to every living process of the tree; returns how many there were.
pub(crate) fn signal_tree(tree: Tree, signal: libc::c_int) -> usize {
    let mut count = 0;
    each_process(|pid| {
        if belongs(pid, tree) && !is_zombie(pid) {
            count += 1;
            // SAFETY: plain kill of a process in our own namespace.
            unsafe {
                libc::kill(pid, signal);
                // A stopped process takes no other signal to heart than these two.
                if signal == libc::SIGTERM {
                    libc::kill(pid, libc::SIGCONT);
                }
            }
        }
    });
    count
}

/// Sends a signal to everything but PID 1. The kernel does this under a lock that no fork escapes.
pub(crate) fn signal_all(signal: libc::c_int) {
    // SAFETY: plain kill; -1 is everything in our namespace but ourselves.
    unsafe { libc::kill(-1, signal) };
}

fn belongs(pid: libc::pid_t, tree: Tree) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives across the call; plain getsid.
    unsafe {
        let read = libc::prlimit(pid, libc::RLIMIT_RTTIME, std::ptr::null(), &raw mut limit);
        (read == 0 && limit.rlim_max == brand(tree.call)) || libc::getsid(pid) == tree.pid
    }
}

fn is_zombie(pid: libc::pid_t) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { return true };
    // The name in parentheses may hold anything; the state follows the last one.
    let end = stat.iter().rposition(|byte| *byte == b')').unwrap_or(0);
    matches!(stat.get(end + 2), Some(b'Z' | b'X') | None)
}

fn each_process(mut each: impl FnMut(libc::pid_t)) {
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && pid > 1
        {
            each(pid);
        }
    }
}

/// A child that was waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reaped {
    /// Which, and its wait status.
    Child(libc::pid_t, libc::c_int),
    /// There are children, none of them dead.
    NoneYet,
    /// There are no children, hence nothing else in this namespace.
    NoneLeft,
}

/// Waits for one dead child without blocking.
pub(crate) fn reap() -> Reaped {
    let mut status = 0;
    loop {
        // SAFETY: the status is ours to fill.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) } {
            0 => return Reaped::NoneYet,
            pid if pid > 0 => return Reaped::Child(pid, status),
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return Reaped::NoneLeft,
        }
    }
}
