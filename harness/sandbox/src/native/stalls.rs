//! Stalls: what a sandbox needs of the host before it can be cloned, made ahead of need. Making a folder for changes and a group
//! of processes takes as long as the clone itself, and on a busy disk several times that; a thread makes the next ones
//! while sandboxes run.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use harness_core::Limits;
use rustix::fs::{AtFlags, Mode};

use super::cgroup::find::Cgroups;
use super::cgroup::group::Group;
use super::remover::Leftover;
use super::scratch::{Scratch, ScratchStore};
use crate::Labels;

/// A scratch folder and a group without limits, for one sandbox.
pub(crate) struct Stall {
    pub(crate) scratch: Scratch,
    /// `None` where no groups can be had.
    pub(crate) group: Option<NewGroup>,
    /// For how many overlays there are folders in the scratch folder.
    pub(crate) overlays: usize,
}

/// Most that are kept ready.
const MOST: usize = 8;

/// Makes stalls. The thread begins with the first that is asked for, and ends with this.
pub(crate) struct Stalls {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    scratch: ScratchStore,
    cgroups: Cgroups,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: Vec<Stall>,
    /// How many to keep ready: as many as were asked for, so that one sandbox alone costs little.
    wanted: usize,
    /// Overlays of the image asked for last.
    overlays: usize,
    closing: bool,
}

impl Stalls {
    pub(crate) fn new(scratch: ScratchStore, cgroups: Cgroups) -> Stalls {
        let shared = Shared { scratch, cgroups, state: Mutex::default(), changed: Condvar::new() };
        Stalls { shared: Arc::new(shared), thread: Mutex::default() }
    }

    /// One that is ready, or else a new one, for a sandbox with so many overlays.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn take(&self, overlays: usize) -> io::Result<Stall> {
        let found = {
            let mut state = self.shared.state();
            state.wanted = (state.wanted + 1).min(MOST);
            state.overlays = overlays;
            state.ready.pop()
        };
        self.start();
        self.shared.changed.notify_one();
        found.map_or_else(|| self.shared.make(overlays), Ok)
    }

    /// Says whose a stall is, and what its processes may use.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn settle(&self, stall: &Stall, labels: &Labels, limits: &Limits) -> io::Result<()> {
        stall.scratch.label(labels)?;
        match &stall.group {
            Some(group) => group.get().limit(limits, self.shared.cgroups.support()),
            None => Ok(()),
        }
    }

    fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            // Without it each sandbox waits for its own.
            *thread =
                std::thread::Builder::new().name("stalls".to_owned()).spawn(move || shared.keep_ready()).ok();
        }
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
        let ready = std::mem::take(&mut self.shared.state().ready);
        ready.into_iter().for_each(Stall::discard);
    }
}

impl Stall {
    /// Removes one in which nothing lives.
    pub(crate) fn discard(self) {
        let group = self.group.map(|group| Arc::new(group.keep()));
        Leftover { group, scratch: self.scratch }.remove();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_ready(&self) {
        let mut state = self.state();
        while !state.closing {
            if state.ready.len() >= state.wanted {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let overlays = state.overlays;
            drop(state);
            let made = self.make(overlays);
            state = self.state();
            match made {
                Ok(stall) => state.ready.push(stall),
                // Whoever takes one will make his own, and be told why that fails.
                Err(_) => state.wanted = state.ready.len(),
            }
        }
    }

    fn make(&self, overlays: usize) -> io::Result<Stall> {
        let nobody = Labels { run: String::new(), trial: String::new(), role: String::new() };
        let scratch = self.scratch.make(&nobody, |id| self.cgroups.folders(id))?;
        let folder = scratch.folder()?;
        for name in ["u", "w"] {
            rustix::fs::mkdirat(&folder, name, BITS)?;
        }
        for index in 0..overlays {
            let upper = format!("u/{index}");
            rustix::fs::mkdirat(&folder, &*upper, BITS)?;
            // What `mkdir` gives is cut by our own umask, which is not ours to set.
            rustix::fs::chmodat(&folder, &*upper, BITS, AtFlags::empty())?;
            rustix::fs::mkdirat(&folder, format!("w/{index}"), BITS)?;
        }
        let group = self.cgroups.make(scratch.id())?.map(NewGroup::new);
        Ok(Stall { scratch, group, overlays })
    }
}

/// Of folders for changes; what an image says of its own is set when it is known.
pub(crate) const BITS: Mode = Mode::from_raw_mode(0o755);

/// A group that is removed again unless the sandbox comes to stand.
pub(crate) struct NewGroup(Option<Group>);

impl NewGroup {
    fn new(group: Group) -> NewGroup {
        NewGroup(Some(group))
    }

    pub(crate) fn get(&self) -> &Group {
        self.0.as_ref().expect("it is there until it is kept")
    }

    pub(crate) fn keep(mut self) -> Group {
        self.0.take().expect("it is there until it is kept")
    }
}

impl Drop for NewGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            // It empties once PID 1 finds its socket closed; nobody may wait for that here.
            std::thread::spawn(move || group.kill().and_then(|()| group.remove()));
        }
    }
}
