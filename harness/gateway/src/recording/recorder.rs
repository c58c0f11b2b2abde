//! Writes exchanges down while they happen, on a thread of its own: those who serve agents hand over bytes and go on, and wait
//! only when the disk is so far behind that memory would be at stake.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::canonical::Key;
use super::chunks::LONGEST;
use super::exchange::{Cost, Ending, Exchange};
use super::index::{self, Entry};
use super::pack::{PackWriter, Place};
use super::{ANSWER_BYTES, FORMAT, FORMAT_FILE, PACK_FILE};
use crate::redact::{RedactStream, Redactor};
use crate::stream::decode::{Decoder, Encoding, Sink};
use crate::wire::Operation;

/// Bytes that wait for the disk.
const WAITING_BYTES: usize = 64 << 20;
/// Lists of trials kept open.
const OPEN_LISTS: usize = 64;
/// Longest wait for what is under way when a recording is closed.
const CLOSE_TIME: Duration = Duration::from_secs(60);
/// Headers of answers that are not kept: they belong to one connection, or change when a body is unpacked.
const DROPPED: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "date",
    "keep-alive",
    "set-cookie",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

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

enum Message {
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
        let writer = Writer {
            folder: folder.to_owned(),
            old_end: pack.end(),
            pack,
            lists: HashMap::new(),
            mended: HashSet::new(),
            open: HashMap::new(),
            redactor,
            room: Arc::clone(&room),
            fault: Arc::clone(&fault),
        };
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

struct Writer {
    folder: PathBuf,
    pack: PackWriter,
    lists: HashMap<String, File>,
    /// Trials whose lists were looked through for what an earlier crash tore.
    mended: HashSet<String>,
    /// How long the pack was when it was opened.
    old_end: u64,
    open: HashMap<u64, Open>,
    redactor: Redactor,
    room: Arc<Semaphore>,
    fault: Arc<Mutex<Option<String>>>,
}

/// An exchange under way.
struct Open {
    key: Key,
    exchange: Exchange,
    decoder: Decoder<Unpacked>,
    redact: RedactStream<'static>,
    body: Vec<u8>,
    pieces: Vec<u8>,
    /// Bytes of all pieces, and of them after redaction.
    said: usize,
    kept: usize,
}

#[derive(Default)]
struct Unpacked(Vec<u8>);

impl Sink for Unpacked {
    fn read(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Message>) {
        for message in inbox {
            let bytes = match &message {
                Message::Begin { body, .. } => body.len().min(WAITING_BYTES),
                Message::Piece { bytes, .. } => bytes.len().min(WAITING_BYTES),
                _ => 0,
            };
            if let Message::Flush(done) = message {
                // Nobody may be waiting any more.
                let _ = done.send(());
                continue;
            }
            let failed = {
                let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
                fault.is_some()
            };
            if !failed && let Err(error) = self.take(message) {
                let told = format!("the recording in {} ends here: {error}", self.folder.display());
                *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
                self.open.clear();
            }
            self.room.add_permits(bytes);
        }
    }

    fn take(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Begin { id, head, body } => {
                let open = self.begin(head, &body)?;
                self.open.insert(id, open);
            }
            Message::Answered { id, status, headers, attempts, headers_us } => {
                let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
                let encoding = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
                let encoding = Encoding::parse(encoding.map_or("", |(_, value)| value));
                open.decoder = Decoder::new(encoding.unwrap_or(Encoding::Identity), Unpacked::default());
                open.exchange.status = status;
                open.exchange.attempts = attempts;
                open.exchange.headers_us = headers_us;
                open.exchange.headers = headers
                    .into_iter()
                    .filter(|(name, _)| !DROPPED.iter().any(|dropped| name.eq_ignore_ascii_case(dropped)))
                    .map(|(name, value)| (name, self.redactor.redact_text(&value)))
                    .collect();
            }
            Message::Piece { id, after_us, bytes } => {
                let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
                open.decoder.push(&bytes);
                let plain = std::mem::take(&mut open.decoder.sink().0);
                open.pieces.extend_from_slice(&after_us.to_le_bytes());
                open.pieces.extend_from_slice(&u32::try_from(plain.len()).unwrap_or(u32::MAX).to_le_bytes());
                open.said += plain.len();
                open.keep(|redact| redact.push(&plain));
                if open.body.len() >= LONGEST {
                    self.pack.put_pieces(&mut open.body, false, &mut open.exchange.answered)?;
                }
                if open.pieces.len() >= LONGEST {
                    self.pack.put_pieces(&mut open.pieces, false, &mut open.exchange.pieces)?;
                }
            }
            Message::End { id, ending, cost } => {
                if let Some(open) = self.open.remove(&id) {
                    self.end(open, ending, *cost)?;
                }
            }
            Message::Forget { id } => {
                self.open.remove(&id);
            }
            Message::Flush(_) => {}
        }
        Ok(())
    }

    fn begin(&mut self, head: Head, body: &[u8]) -> io::Result<Open> {
        let mut body = self.redactor.redact(body);
        let mut exchange = Exchange {
            trial: head.trial,
            request: head.request,
            at_ms: head.at_ms,
            wire: head.wire,
            operation: format!("{:?}", head.operation),
            model: head.model,
            stream: head.stream,
            asked: Vec::new(),
            status: 0,
            headers: Vec::new(),
            attempts: 0,
            headers_us: 0,
            answered: Vec::new(),
            pieces: Vec::new(),
            ending: Ending::Complete,
            cost: Cost::default(),
        };
        let key = exchange.asked(&body).key();
        self.pack.put_pieces(&mut body, true, &mut exchange.asked)?;
        Ok(Open {
            key,
            exchange,
            decoder: Decoder::new(Encoding::Identity, Unpacked::default()),
            redact: self.redactor.clone().into_stream(),
            body: Vec::new(),
            pieces: Vec::new(),
            said: 0,
            kept: 0,
        })
    }

    fn end(&mut self, mut open: Open, ending: Ending, cost: Cost) -> io::Result<()> {
        open.keep(RedactStream::finish);
        // Where a secret was taken out, the border of two pieces moved; the last piece takes up what that makes.
        if open.kept > open.said {
            open.pieces.extend_from_slice(&0_u32.to_le_bytes());
            let more = u32::try_from(open.kept - open.said).unwrap_or(u32::MAX);
            open.pieces.extend_from_slice(&more.to_le_bytes());
        }
        let exchange = &mut open.exchange;
        self.pack.put_pieces(&mut open.body, true, &mut exchange.answered)?;
        self.pack.put_pieces(&mut open.pieces, true, &mut exchange.pieces)?;
        exchange.ending = ending;
        exchange.cost = cost;
        let place = self.pack.put(&serde_json::to_vec(exchange)?)?;
        let entry = Entry { key: open.key, place, pack_end: self.pack.end() };
        self.append(&open.exchange.trial, entry)
    }

    fn append(&mut self, trial: &str, entry: Entry) -> io::Result<()> {
        if let Some(list) = self.lists.get(trial) {
            return index::append(list, entry);
        }
        if self.lists.len() >= OPEN_LISTS {
            self.lists.clear();
        }
        // What the list said before about a part of the pack that is lost must not come to mean something else.
        let mend = self.mended.insert(trial.to_owned()).then_some(self.old_end);
        let list = index::open_to_append(&index::path(&self.folder, trial), mend)?;
        index::append(&list, entry)?;
        self.lists.insert(trial.to_owned(), list);
        Ok(())
    }
}

impl Open {
    fn keep(&mut self, take: impl FnOnce(&mut RedactStream<'static>) -> Vec<u8>) {
        let clean = take(&mut self.redact);
        self.kept += clean.len();
        self.body.extend(clean);
    }
}

/// The recorded places of an answer's pieces as numbers.
pub(super) fn pieces(bytes: &[u8]) -> impl Iterator<Item = (u32, usize)> + '_ {
    bytes.chunks_exact(8).map(|pair| {
        let number = |at: usize| u32::from_le_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
        (number(0), number(4) as usize)
    })
}

/// Places are a part of the format.
const _: () = assert!(size_of::<Place>() == 8);
