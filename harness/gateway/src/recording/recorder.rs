//! Writes exchanges down while they happen, on a thread of its own: those who serve agents hand over bytes and go on, and wait
//! only when the disk is so far behind that memory would be at stake.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::exchange::{Cost, Ending};
use super::pack::PackWriter;
use super::writer::Writer;
use super::{ANSWER_BYTES, FORMAT, FORMAT_FILE, PACK_FILE};
use crate::redact::Redactor;
use crate::wire::Operation;

/// Bytes that wait for the disk.
pub(super) const WAITING_BYTES: usize = 64 << 20;
/// Longest wait for what is under way when a recording is closed.
const CLOSE_TIME: Duration = Duration::from_secs(60);

/// Whose request it is, and what it asks.
#[derive(Debug, Clone)]
pub struct Head {
    /// The trial.
    pub trial: String,
    /// Which of its requests, counted from 0.
    pub request: u64,
    /// When it came, in milliseconds since 1970.
    pub at_ms: u64,
    /// The wire's name.
    pub wire: String,
    /// What is asked.
    pub operation: Operation,
    /// The model.
    pub model: String,
    /// Whether the answer streams.
    pub stream: bool,
}

/// Records exchanges into a folder. Clones write into the same one; when the last is gone, what is under way is finished.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    messages: Mutex<Sender<Message>>,
    room: Arc<Semaphore>,
    fault: Arc<Mutex<Option<String>>>,
    next: AtomicU64,
}

/// What the thread is told.
pub(super) enum Message {
    Begin { id: u64, head: Head, body: Bytes },
    Answered { id: u64, status: u16, headers: Vec<(String, String)>, attempts: u32, headers_us: u64 },
    Piece { id: u64, after_us: u32, bytes: Bytes },
    End { id: u64, ending: Ending, cost: Box<Cost> },
    Forget { id: u64 },
    Flush(Sender<()>),
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("fault", &self.fault()).finish_non_exhaustive()
    }
}

impl Recorder {
    /// A recorder into this folder, which is made when it is missing and written on when it holds a recording. Whatever the
    /// redactor knows is not written.
    ///
    /// # Errors
    /// The folder cannot be made or written, or holds something else.
    pub fn open(folder: &Path, redactor: Redactor) -> io::Result<Recorder> {
        std::fs::create_dir_all(folder.join("trials"))?;
        let format = folder.join(FORMAT_FILE);
        match std::fs::read_to_string(&format) {
            Ok(text) if text == FORMAT => {}
            Ok(text) if FORMAT.starts_with(&text) => std::fs::write(&format, FORMAT)?,
            Ok(_) => {
                let told = format!("{} is a recording of another version", folder.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, told));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::write(&format, FORMAT)?,
            Err(error) => return Err(error),
        }
        let pack = PackWriter::open(&folder.join(PACK_FILE))?;
        let (messages, inbox) = mpsc::channel();
        let room = Arc::new(Semaphore::new(WAITING_BYTES));
        let fault = Arc::new(Mutex::new(None));
        let writer = Writer::new(folder, pack, redactor, Arc::clone(&room), Arc::clone(&fault));
        std::thread::Builder::new().name("recorder".to_owned()).spawn(move || writer.run(&inbox))?;
        let shared = Shared { messages: Mutex::new(messages), room, fault, next: AtomicU64::new(0) };
        Ok(Recorder { shared: Arc::new(shared) })
    }

    /// Why nothing is recorded any more, such as a full disk; `None` while all is well. What was recorded before can be played.
    pub fn fault(&self) -> Option<String> {
        self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins to record an exchange, by its request.
    pub async fn begin(&self, head: Head, body: Bytes) -> Tape {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.wait_for_room(body.len()).await;
        self.shared.send(Message::Begin { id, head, body });
        let now = Instant::now();
        Tape { shared: Arc::clone(&self.shared), id, begun: now, last: now, bytes: 0, over: false }
    }

    /// Waits until everything that was handed over is written, or a minute has passed. Exchanges under way go on.
    ///
    /// # Errors
    /// What is the matter with the recording.
    pub fn flush(&self) -> Result<(), String> {
        let (done, wait) = mpsc::channel();
        self.shared.send(Message::Flush(done));
        let waited = wait.recv_timeout(CLOSE_TIME);
        match (self.fault(), waited) {
            (Some(fault), _) => Err(fault),
            (None, Err(_)) => Err("the recording could not be written in a minute".to_owned()),
            (None, Ok(())) => Ok(()),
        }
    }
}

impl Shared {
    fn send(&self, message: Message) {
        // The writer lives as long as there are senders; should it have died, its fault is told already.
        let _ = self.messages.lock().unwrap_or_else(PoisonError::into_inner).send(message);
    }

    async fn wait_for_room(&self, bytes: usize) {
        let bytes = u32::try_from(bytes.min(WAITING_BYTES)).unwrap_or(u32::MAX);
        if let Ok(permit) = self.room.acquire_many(bytes).await {
            // Given back by the writer.
            permit.forget();
        }
    }
}

/// One exchange that is being recorded. Dropped before [`Tape::end`], it is forgotten.
pub struct Tape {
    shared: Arc<Shared>,
    id: u64,
    begun: Instant,
    last: Instant,
    bytes: usize,
    over: bool,
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Tape {
    /// The headers of the answer came.
    pub fn answered(&mut self, status: u16, headers: &[(String, String)], attempts: u32) {
        let headers_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last = Instant::now();
        self.shared.send(Message::Answered {
            id: self.id,
            status,
            headers: headers.to_vec(),
            attempts,
            headers_us,
        });
    }

    /// A piece of the answer's body came. Of a body that is longer than any answer only the beginning is kept.
    pub async fn piece(&mut self, bytes: &Bytes) {
        if bytes.is_empty() || self.bytes > ANSWER_BYTES {
            return;
        }
        self.bytes += bytes.len();
        let after_us = u32::try_from(self.last.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.last = Instant::now();
        self.shared.wait_for_room(bytes.len()).await;
        self.shared.send(Message::Piece { id: self.id, after_us, bytes: bytes.clone() });
    }

    /// The exchange is over.
    pub fn end(mut self, ending: Ending, cost: Cost) {
        self.over = true;
        self.shared.send(Message::End { id: self.id, ending, cost: Box::new(cost) });
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        if !self.over {
            self.shared.send(Message::Forget { id: self.id });
        }
    }
}
