//! What there is of a running sandbox on the host: its PID 1, its group, its changes. Taking it apart happens once, whoever asks
//! first, and in the background when nobody asks.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use harness_guest::sys;
use tokio::io::Interest;

use super::cgroup::group::Group;
use super::disk::watchdog::{Watch, count};
use super::store::Store;
use crate::link::Live;
use crate::link::channel::watch;
use crate::link::guest::Guest;
use crate::{SandboxError, SandboxUsage};

/// How long PID 1 may take to die. It and everything below it got KILL: only the kernel itself can be in the way.
const DEATH_MS: libc::c_int = 10_000;

/// A sandbox that runs, or ran.
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) guest: Arc<Guest>,
    pidfd: OwnedFd,
    group: Option<Arc<Group>>,
    /// Looks after what it writes, where its file system has no size of its own.
    watch: OnceLock<Watch>,
    parts: Mutex<Parts>,
}

/// What is taken apart at the end.
struct Parts {
    store: Option<Arc<Store>>,
    /// What it had used when its processes were gone.
    last: Option<SandboxUsage>,
}

impl Running {
    pub(crate) fn new(
        id: String,
        guest: Guest,
        pidfd: OwnedFd,
        group: Option<Group>,
        store: Arc<Store>,
    ) -> Running {
        let parts = Mutex::new(Parts { store: Some(store), last: None });
        Running {
            id,
            guest: Arc::new(guest),
            pidfd,
            group: group.map(Arc::new),
            watch: OnceLock::new(),
            parts,
        }
    }

    /// Keeps the watch over what it writes.
    pub(crate) fn keep(&self, watch: Watch) {
        let _ = self.watch.set(watch);
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> SandboxUsage {
        let parts = self.parts();
        parts.last.unwrap_or_else(|| self.measure(parts.store.as_deref()))
    }

    fn measure(&self, store: Option<&Store>) -> SandboxUsage {
        let group = self.group.as_ref().map(|group| group.usage()).unwrap_or_default();
        SandboxUsage {
            cpu: group.cpu,
            peak_memory_bytes: group.peak_memory_bytes,
            oom_kills: group.oom_kills,
            disk_bytes: store.and_then(disk_bytes),
        }
    }

    /// Where its changes are; `None` once it is destroyed.
    pub(crate) fn store(&self) -> Option<Arc<Store>> {
        self.parts().store.clone()
    }

    /// Whether nothing of it is left to take apart.
    pub(crate) fn is_apart(&self) -> bool {
        self.parts().store.is_none()
    }

    /// Ends all its processes and frees its group, but keeps its changes. Blocks.
    pub(crate) fn stop(&self, cause: &str) -> Result<Arc<Store>, SandboxError> {
        let mut parts = self.parts();
        let store =
            parts.store.clone().ok_or_else(|| SandboxError::Lost { cause: "it was destroyed".into() })?;
        self.stop_processes(&mut parts, cause)?;
        if let Some(group) = &self.group {
            group.remove().map_err(|error| SandboxError::host("remove a group of processes", error))?;
        }
        Ok(store)
    }

    /// Ends all its processes, waits until they are gone, and takes it apart, in the background where that takes time. A second
    /// call does nothing but wait for the first.
    pub(crate) async fn destroy(self: &Arc<Self>) -> Result<SandboxUsage, SandboxError> {
        self.end("it was destroyed");
        self.died().await?;
        let quick = self.store().is_none_or(|store| store.disk.is_some() || store.is_untouched());
        if quick {
            return self.take_apart();
        }
        let running = Arc::clone(self);
        tokio::task::spawn_blocking(move || running.take_apart())
            .await
            .unwrap_or_else(|_| Err(SandboxError::Lost { cause: "taking it apart failed".to_owned() }))
    }

    /// Ends it and leaves no trace but what is being removed already. Blocks until its processes are gone. A second call does
    /// nothing but wait for the first.
    pub(crate) fn take_apart(&self) -> Result<SandboxUsage, SandboxError> {
        let mut parts = self.parts();
        self.stop_processes(&mut parts, "it was destroyed")?;
        // With the last handle its folders are removed.
        if let Some(store) = parts.store.take() {
            self.group.iter().for_each(|group| store.leave(Arc::clone(group)));
        }
        Ok(parts.last.unwrap_or_default())
    }

    fn stop_processes(&self, parts: &mut Parts, cause: &str) -> Result<(), SandboxError> {
        if parts.last.is_some() {
            return Ok(());
        }
        self.end(cause);
        match wait_for_death(&self.pidfd) {
            Ok(true) => {}
            Ok(false) => return Err(self.undying()),
            Err(error) => return Err(SandboxError::host("wait for a sandbox to end", error)),
        }
        parts.last = Some(self.measure(parts.store.as_deref()));
        Ok(())
    }

    async fn died(&self) -> Result<(), SandboxError> {
        let watched = |error| SandboxError::host("wait for a sandbox to end", error);
        let pidfd = self.pidfd.try_clone().and_then(|fd| watch(fd, Interest::READABLE)).map_err(watched)?;
        match tokio::time::timeout(Duration::from_millis(DEATH_MS as u64), pidfd.readable()).await {
            Ok(ready) => ready.map(drop).map_err(watched),
            Err(_) => Err(self.undying()),
        }
    }

    fn undying(&self) -> SandboxError {
        SandboxError::host(format!("end sandbox {}", self.id), std::io::ErrorKind::TimedOut.into())
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blocks until the process is gone; false when it does not go, which only the kernel itself can be in the way of.
pub(crate) fn wait_for_death(pidfd: &OwnedFd) -> std::io::Result<bool> {
    let mut polled = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: one structure, and the count says so.
        match unsafe { libc::poll(&raw mut polled, 1, DEATH_MS) } {
            1 => return Ok(true),
            0 => return Ok(false),
            _ => {
                let error = std::io::Error::last_os_error();
                if error.kind() != std::io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

impl Live for Running {
    fn guest(&self) -> &Arc<Guest> {
        &self.guest
    }

    fn oom_kills(&self) -> u64 {
        self.group.as_ref().and_then(|group| group.oom_kills()).unwrap_or(0)
    }

    fn end(&self, cause: &str) {
        let _ = sys::signal_pidfd(self.pidfd.as_fd(), libc::SIGKILL);
        self.guest.give_up(cause);
    }
}

/// Counted by looking, where no file system of its own knows.
fn disk_bytes(store: &Store) -> Option<u64> {
    match &store.disk {
        Some(disk) => disk.used_bytes().ok(),
        None => Some(count(&store.uppers(), u64::MAX).bytes),
    }
}
