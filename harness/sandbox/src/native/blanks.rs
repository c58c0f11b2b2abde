//! Blanks: processes with namespaces of their own, each in its stall, that wait to be told what to become. A clone is the
//! dearest step of starting a sandbox and depends on nothing that is asked of it: the next ones are made while sandboxes run.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use harness_core::Limits;
use harness_guest::sys;

use super::running::wait_for_death;
use super::spawner::Spawner;
use super::stalls::{Stall, Stalls};
use crate::{Labels, SandboxError};

/// Most that are kept ready.
const MOST: usize = 4;

/// A sandbox to be.
pub(crate) struct Blank {
    pub(crate) stall: Stall,
    /// Our end of its control socket.
    pub(crate) control: OwnedFd,
    /// Its number among the host's processes.
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

/// Makes them.
pub(crate) struct Blanks(Arc<Shared>);

struct Shared {
    spawner: Arc<Spawner>,
    stalls: Stalls,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready: Vec<Blank>,
    /// How many to keep ready: as many as were asked for, so that one sandbox alone costs little.
    wanted: usize,
    /// Overlays of the image asked for last.
    overlays: usize,
    /// Whether a task is making them.
    filling: bool,
    closed: bool,
}

/// What is asked of a blank.
pub(crate) struct Wanted<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) limits: &'a Limits,
    /// How many overlays its image has.
    pub(crate) overlays: usize,
}

impl Blanks {
    pub(crate) fn new(spawner: Arc<Spawner>, stalls: Stalls) -> Blanks {
        Blanks(Arc::new(Shared { spawner, stalls, state: Mutex::default() }))
    }

    /// One that is ready, or else a new one, labelled and limited.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) async fn take(&self, wanted: Wanted<'_>) -> Result<Blank, SandboxError> {
        let found = {
            let mut state = self.0.state();
            state.wanted = (state.wanted + 1).min(MOST);
            state.overlays = wanted.overlays;
            state.ready.pop()
        };
        let blank = match found {
            Some(blank) => blank,
            None => self.0.make(wanted.overlays).await?,
        };
        if !std::mem::replace(&mut self.0.state().filling, true) {
            let shared = Arc::clone(&self.0);
            tokio::spawn(async move { shared.fill().await });
        }
        let settled = self.0.stalls.settle(&blank.stall, wanted.labels, wanted.limits);
        settled.map_err(|error| SandboxError::host("set what a sandbox may use", error))?;
        Ok(blank)
    }
}

impl Drop for Blanks {
    fn drop(&mut self) {
        let ready = {
            let mut state = self.0.state();
            state.closed = true;
            std::mem::take(&mut state.ready)
        };
        ready.into_iter().for_each(Blank::discard);
    }
}

impl Blank {
    /// Ends one that nobody wanted. Blocks until it is gone.
    fn discard(self) {
        let _ = sys::signal_pidfd(self.pidfd.as_fd(), libc::SIGKILL);
        if let Ok(true) = wait_for_death(&self.pidfd) {
            self.stall.discard();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fill(&self) {
        loop {
            let overlays = {
                let mut state = self.state();
                if state.closed || state.ready.len() >= state.wanted {
                    state.filling = false;
                    return;
                }
                state.overlays
            };
            let made = self.make(overlays).await;
            let mut state = self.state();
            match made {
                Ok(blank) if state.closed => {
                    drop(state);
                    blank.discard();
                }
                Ok(blank) => state.ready.push(blank),
                // Whoever takes one will make his own, and be told why that fails.
                Err(_) => {
                    state.filling = false;
                    return;
                }
            }
        }
    }

    async fn make(&self, overlays: usize) -> Result<Blank, SandboxError> {
        let refused = |what: &'static str| move |error| SandboxError::host(what, error);
        let stall = self.stalls.take(overlays).map_err(refused("make room for a sandbox"))?;
        let cgroup = match &stall.group {
            Some(group) => group.get().to_clone_into().map_err(refused("open a group of processes"))?,
            None => None,
        };
        let (control, theirs) = sys::socket_pair().map_err(refused("make a pair of sockets"))?;
        let (pid, pidfd) = self.spawner.clone_init(theirs.as_fd(), cgroup.as_ref().map(AsFd::as_fd)).await?;
        Ok(Blank { stall, control, pid, pidfd })
    }
}
