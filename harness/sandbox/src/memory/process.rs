//! The processes of a memory sandbox: tasks that belong to the tree of the exec that started them, and their descriptors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::AbortHandle;

use super::tree::{Space, lock};
use crate::{Exit, SandboxError};

/// Everything that one exec started.
pub(super) struct Tree {
    tasks: Mutex<Vec<Task>>,
    /// What is reported when the first process did not end by itself.
    verdict: Mutex<Option<Verdict>>,
    first_ended: AtomicBool,
    /// How many processes it may have; what is beyond does not start.
    most: usize,
    /// When it was started, among all of its sandbox.
    born: u64,
    /// Trees born until then are frozen; 0 for none.
    frozen: watch::Receiver<u64>,
}

/// Why a tree was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Killed,
    TimedOut,
    Lost,
}

struct Task {
    handle: AbortHandle,
    ignores_term: Arc<AtomicBool>,
}

impl Tree {
    pub(super) fn new(born: u64, frozen: watch::Receiver<u64>, most: usize) -> Tree {
        Tree {
            tasks: Mutex::default(),
            verdict: Mutex::default(),
            first_ended: AtomicBool::new(false),
            most,
            born,
            frozen,
        }
    }

    /// Waits while it is frozen.
    pub(super) async fn thawed(&self) {
        if *self.frozen.borrow() >= self.born {
            // The sender lives as long as the sandbox; without it the task is about to be ended anyway.
            let _ = self.frozen.clone().wait_for(|until| *until < self.born).await;
        }
    }

    /// Starts a process of this tree.
    pub(super) fn spawn(
        &self,
        ignores_term: Arc<AtomicBool>,
        process: impl Future<Output = ()> + Send + 'static,
    ) {
        // Under the lock, so that nothing starts behind the back of `end`.
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.handle.is_finished());
        if lock(&self.verdict).is_none() && tasks.len() < self.most {
            let handle = tokio::spawn(process).abort_handle();
            tasks.push(Task { handle, ignores_term });
        }
    }

    /// KILL for everything, with the reason that the exec reports; returns what may still be about to end.
    pub(super) fn end(&self, why: Verdict) -> Vec<AbortHandle> {
        // Under the lock, as in `spawn`.
        let mut tasks = lock(&self.tasks);
        lock(&self.verdict).get_or_insert(why);
        let handles: Vec<_> = tasks.drain(..).map(|task| task.handle).collect();
        handles.iter().for_each(AbortHandle::abort);
        handles
    }

    /// The first process has a status now; what it left may go on.
    pub(super) fn has_ended(&self) {
        self.first_ended.store(true, Ordering::Release);
    }

    /// Whether the first process still runs.
    pub(super) fn first_runs(&self) -> bool {
        !self.first_ended.load(Ordering::Acquire)
    }

    /// TERM for everything but the first process, whose own task asks.
    pub(super) fn terminate_children(&self) {
        lock(&self.verdict).get_or_insert(Verdict::TimedOut);
        for task in lock(&self.tasks).iter().skip(1) {
            if !task.ignores_term.load(Ordering::Relaxed) {
                task.handle.abort();
            }
        }
    }

    /// Whether something of it still runs.
    pub(super) fn alive(&self) -> bool {
        lock(&self.tasks).iter().any(|task| !task.handle.is_finished())
    }

    /// What is known about a first process that gave no status.
    pub(super) fn without_status(&self) -> Result<Exit, SandboxError> {
        match *lock(&self.verdict) {
            Some(Verdict::Killed) => Ok(Exit::Signal(9)),
            Some(Verdict::TimedOut) => Ok(Exit::TimedOut),
            Some(Verdict::Lost) | None => Err(SandboxError::Lost { cause: "it was destroyed".into() }),
        }
    }
}

/// What a descriptor leads to. Clones share it, as after `fork`.
#[derive(Clone)]
pub(super) enum Descriptor {
    Null,
    Stream(Arc<AsyncMutex<DuplexStream>>),
    /// A file that is written to, by path: a file that is removed meanwhile comes back.
    File(Vec<u8>),
    /// What is left to read.
    Content(Arc<Mutex<Vec<u8>>>),
    /// Collects output for `$( )`.
    Capture(Arc<Mutex<Vec<u8>>>),
}

impl Descriptor {
    pub(super) fn stream(stream: DuplexStream) -> Descriptor {
        Descriptor::Stream(Arc::new(AsyncMutex::new(stream)))
    }

    /// Writes; an error says why not, in the words of a shell.
    pub(super) async fn write(&self, space: &Space, bytes: &[u8]) -> Result<(), &'static str> {
        match self {
            Descriptor::Null => Ok(()),
            Descriptor::Content(_) => Err("Bad file descriptor"),
            Descriptor::Stream(stream) => {
                stream.lock().await.write_all(bytes).await.map_err(|_| "Broken pipe")
            }
            Descriptor::File(path) => space.write(b"", path, bytes, true).map(drop),
            Descriptor::Capture(buffer) => {
                lock(buffer).extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Reads the next bytes; none at the end.
    pub(super) async fn read(&self) -> Vec<u8> {
        match self {
            Descriptor::Stream(stream) => {
                let mut chunk = vec![0; 4096];
                let count = stream.lock().await.read(&mut chunk).await.unwrap_or(0);
                chunk.truncate(count);
                chunk
            }
            Descriptor::Content(content) => std::mem::take(&mut *lock(content)),
            _ => Vec::new(),
        }
    }

    /// Reads up to a line's end, which is taken and given too.
    pub(super) async fn read_line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        match self {
            Descriptor::Stream(stream) => {
                let mut stream = stream.lock().await;
                while let Ok(byte) = stream.read_u8().await {
                    line.push(byte);
                    if byte == b'\n' {
                        break;
                    }
                }
            }
            Descriptor::Content(content) => {
                let mut content = lock(content);
                let end = content.iter().position(|byte| *byte == b'\n').map_or(content.len(), |end| end + 1);
                line.extend(content.drain(..end));
            }
            _ => {}
        }
        line
    }
}
