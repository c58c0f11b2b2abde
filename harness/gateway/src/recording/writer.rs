//! The recorder's thread: takes what is handed over, redacts, cuts and packs it, and gives memory back.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::canonical::Key;
use super::chunks::LONGEST;
use super::exchange::{Cost, Ending, Exchange};
use super::index::{self, Entry};
use super::pack::{PackWriter, Place};
use super::recorder::{Head, Message, WAITING_BYTES};
use crate::redact::{RedactStream, Redactor};
use crate::stream::decode::{Decoder, Encoding, Sink};

/// Lists of trials kept open.
const OPEN_LISTS: usize = 64;
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

/// The thread's own.
pub(super) struct Writer {
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
    pub(super) fn new(
        folder: &Path,
        pack: PackWriter,
        redactor: Redactor,
        room: Arc<Semaphore>,
        fault: Arc<Mutex<Option<String>>>,
    ) -> Writer {
        Writer {
            folder: folder.to_owned(),
            old_end: pack.end(),
            pack,
            lists: HashMap::new(),
            mended: HashSet::new(),
            open: HashMap::new(),
            redactor,
            room,
            fault,
        }
    }

    /// Writes until nobody can send any more.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
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
