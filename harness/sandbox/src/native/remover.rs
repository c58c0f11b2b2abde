//! Removes what sandboxes leave, in a thread of its own: a journal that others keep busy made taking a sandbox apart wait for
//! 50 ms. What it does not get done the next reap finds, by the scratch folder or in the trash.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::cgroup::group::Group;
use super::scratch::Scratch;

/// What a sandbox leaves.
pub(crate) struct Leftover {
    /// Nothing lives in it any more.
    pub(crate) group: Option<Arc<Group>>,
    /// With its changes.
    pub(crate) scratch: Scratch,
}

/// How many wait to be removed. Who comes when there are more removes his own, so that removing keeps up with making.
const MOST: usize = 64;

/// The thread; ends, its work done, when the last handle is dropped.
pub(crate) struct Remover {
    queue: Option<SyncSender<Leftover>>,
    thread: Option<JoinHandle<()>>,
}

impl Remover {
    /// Starts it.
    ///
    /// # Errors
    /// When there are no threads to be had.
    pub(crate) fn start() -> std::io::Result<Remover> {
        let (queue, queued) = sync_channel::<Leftover>(MOST);
        let thread = std::thread::Builder::new().name("remover".to_owned()).spawn(move || {
            for leftover in queued {
                leftover.remove();
            }
        })?;
        Ok(Remover { queue: Some(queue), thread: Some(thread) })
    }

    /// Removes it before long.
    pub(crate) fn remove(&self, leftover: Leftover) {
        let refused = match &self.queue {
            Some(queue) => queue.try_send(leftover),
            None => Err(TrySendError::Disconnected(leftover)),
        };
        if let Err(TrySendError::Full(leftover) | TrySendError::Disconnected(leftover)) = refused {
            leftover.remove();
        }
    }
}

impl Leftover {
    /// Removes it. Blocks.
    pub(crate) fn remove(self) {
        // The scratch folder names the group: what resists is found by it.
        if self.group.is_none_or(|group| group.remove().is_ok()) {
            let _ = self.scratch.remove();
        } else {
            self.scratch.leave();
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
