//! Removes what was put aside, in a thread of its own: a journal that others keep busy made taking a sandbox apart wait for 50 ms.
//! What it does not get done is found in the trash by the next reap.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::remove::remove;

/// Folders that wait to be removed. Who comes when there are more removes his own, so that removing keeps up with making.
const MOST: usize = 64;

/// The thread; ends, its work done, when the last handle is dropped.
pub(crate) struct Remover {
    queue: Option<SyncSender<PathBuf>>,
    thread: Option<JoinHandle<()>>,
}

impl Remover {
    /// Starts it.
    ///
    /// # Errors
    /// When there are no threads to be had.
    pub(crate) fn start() -> std::io::Result<Remover> {
        let (queue, queued) = sync_channel::<PathBuf>(MOST);
        let thread = std::thread::Builder::new().name("remover".to_owned()).spawn(move || {
            for path in queued {
                let _ = remove(&path);
            }
        })?;
        Ok(Remover { queue: Some(queue), thread: Some(thread) })
    }

    /// Removes a path before long.
    pub(crate) fn remove(&self, path: PathBuf) {
        let refused = match &self.queue {
            Some(queue) => queue.try_send(path),
            None => Err(TrySendError::Disconnected(path)),
        };
        if let Err(TrySendError::Full(path) | TrySendError::Disconnected(path)) = refused {
            let _ = remove(&path);
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
