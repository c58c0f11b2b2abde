//! What there is of a running container on the host: its PID 1, its accounts, its door. Taking it apart happens once, whoever
//! asks first, and in the background when nobody asks.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use harness_guest::message::{Request, SECRET_BYTES};
use harness_guest::sys;

use super::door::Door;
use super::engine::Engine;
use super::layers::Layers;
use crate::link::Live;
use crate::link::guest::Guest;
use crate::native::cgroup::group::Group;
use crate::native::disk::watchdog::{Watch, count};
use crate::{SandboxError, SandboxUsage, Snapshot};

/// A container that runs, or ran.
pub(crate) struct Running {
    /// Its name, chosen before it was made.
    pub(crate) name: String,
    pub(crate) engine: Arc<Engine>,
    pub(crate) guest: Arc<Guest>,
    /// What its file system is stacked from, where that can be known.
    pub(crate) layers: Option<Layers>,
    /// Its PID 1 on the host, and the group that the engine put it in, where they can be seen.
    /// PID 1's number here, where it is known.
    pub(crate) pid: Option<u32>,
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) group: Option<Group>,
    /// What it was started from must stay.
    pub(crate) base: Option<Arc<Snapshot>>,
    /// What lets a successor in.
    pub(crate) secret: [u8; SECRET_BYTES],
    door: Mutex<Option<Door>>,
    watch: OnceLock<Watch>,
    end: tokio::sync::Mutex<End>,
}

#[derive(Default)]
struct End {
    last: Option<SandboxUsage>,
    removed: bool,
}

/// What a container is known by once its PID 1 has answered.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) engine: Arc<Engine>,
    pub(crate) guest: Arc<Guest>,
    pub(crate) layers: Option<Layers>,
    /// PID 1's number here, where it is known.
    pub(crate) pid: Option<u32>,
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) group: Option<Group>,
    pub(crate) base: Option<Arc<Snapshot>>,
    pub(crate) secret: [u8; SECRET_BYTES],
    pub(crate) door: Door,
}

impl Running {
    pub(crate) fn new(parts: Parts) -> Running {
        let Parts { name, engine, guest, layers, pid, pidfd, group, base, secret, door } = parts;
        Running {
            name,
            engine,
            guest,
            layers,
            pid,
            pidfd,
            group,
            base,
            secret,
            door: Mutex::new(Some(door)),
            watch: OnceLock::new(),
            end: tokio::sync::Mutex::default(),
        }
    }

    /// Keeps the watch over what it writes.
    pub(crate) fn keep(&self, watch: Watch) {
        let _ = self.watch.set(watch);
    }

    /// The folder of what it wrote, where we may look into it.
    pub(crate) fn upper(&self) -> Option<PathBuf> {
        self.layers
            .as_ref()
            .map(|layers| layers.upper.clone())
            .filter(|upper| std::fs::read_dir(upper).is_ok())
    }

    /// Says whether it is to be left alone when we die.
    pub(crate) fn wait(&self, waits: bool) -> std::io::Result<()> {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        door.as_ref().map_or(Ok(()), |door| door.wait(waits))
    }

    /// What it has used so far.
    pub(crate) async fn usage(&self) -> SandboxUsage {
        let group = self.group.as_ref().map(Group::usage).unwrap_or_default();
        let disk_bytes = match self.upper() {
            Some(upper) => tokio::task::spawn_blocking(move || count(&upper, u64::MAX).bytes).await.ok(),
            None => self.engine.written(&self.name).await,
        };
        SandboxUsage {
            cpu: group.cpu,
            peak_memory_bytes: group.peak_memory_bytes,
            oom_kills: group.oom_kills,
            disk_bytes,
        }
    }

    /// Ends it and removes every trace. A second call does nothing but wait for the first.
    pub(crate) async fn take_apart(&self) -> Result<SandboxUsage, SandboxError> {
        let mut end = self.end.lock().await;
        let last = match end.last {
            Some(last) => last,
            // Its accounts go with it.
            None => *end.last.insert(self.usage().await),
        };
        if !end.removed {
            self.guest.give_up("it was destroyed");
            // The engine ends it, and waits for that: Docker 20.10 lists a container for ever whose end it hears of while it
            // removes it.
            if let Err(error) = self.engine.remove(&self.name).await {
                self.kill();
                return Err(error);
            }
            end.removed = true;
            self.door.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        Ok(last)
    }

    /// Whether nothing of it is left to take apart.
    pub(crate) fn is_apart(&self) -> bool {
        self.end.try_lock().is_ok_and(|end| end.removed)
    }
}

impl Running {
    fn kill(&self) {
        // The first only where we may, the second only where PID 1 still listens.
        if let Some(pidfd) = &self.pidfd {
            let _ = sys::signal_pidfd(pidfd.as_fd(), libc::SIGKILL);
        }
        self.guest.tell(&Request::End);
    }
}

impl Live for Running {
    fn guest(&self) -> &Arc<Guest> {
        &self.guest
    }

    fn oom_kills(&self) -> u64 {
        self.group.as_ref().and_then(|group| group.usage().oom_kills).unwrap_or(0)
    }

    fn end(&self, cause: &str) {
        self.kill();
        self.guest.give_up(cause);
    }
}
