//! The one writer of a run's journal: a thread that numbers events, writes them, syncs them, and only then lets anyone
//! watch.
//!
//! Everything that waits is written as one batch with one fsync, so a crash loses at most one batch, and a slow disk
//! makes batches larger instead of trials slower.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use harness_core::journal::{Entry, Header, JOURNAL_FORMAT, Journal, line};
use harness_core::{Event, RunId};
use harness_gateway::redact::Redactor;

/// Most events in one batch, and in the queue before it.
const BATCH: usize = 256;

/// Called with every event after it is safe on disk (events that the journal does not keep: at once, in order).
pub type Watcher = Box<dyn Fn(&Event) + Send>;

/// Why the journal could not be written. Losing the record stops the run.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot write {}: {message}", file.display())]
pub struct JournalWriteError {
    /// The journal.
    pub file: PathBuf,
    /// What the system said.
    pub message: String,
}

/// Handle to the writer. Cheap to clone; the writer ends when the last handle is gone.
#[derive(Clone)]
pub struct JournalWriter {
    queue: SyncSender<Event>,
    failed: Arc<Mutex<Option<JournalWriteError>>>,
}

/// The writer's thread.
pub struct JournalThread {
    thread: JoinHandle<()>,
    failed: Arc<Mutex<Option<JournalWriteError>>>,
}

impl JournalThread {
    /// Waits until everything is written. Every [`JournalWriter`] must be gone before.
    ///
    /// # Errors
    /// What ended the journal early.
    pub fn join(self) -> Result<(), JournalWriteError> {
        self.thread.join().expect("the writer catches what panics in a watcher");
        self.failed.lock().expect("no holder of this lock panics").take().map_or(Ok(()), Err)
    }
}

/// A journal that is to be written.
pub struct Opening<'a> {
    /// The file.
    pub file: PathBuf,
    /// Whose it is.
    pub run: &'a RunId,
    /// What is in it.
    pub read: &'a Journal,
    /// Who is told.
    pub watcher: Watcher,
    /// Keeps secrets out of what is written and told.
    pub redactor: Redactor,
}

impl JournalWriter {
    /// Opens the journal for going on after what was read (truncating a torn line) or starts it.
    ///
    /// `on_failure` is called once, from the writer's thread, when the disk refuses.
    ///
    /// # Errors
    /// When the file cannot be opened or its header cannot be written.
    pub fn start(
        opening: Opening<'_>,
        on_failure: impl Fn() + Send + 'static,
    ) -> Result<(JournalWriter, JournalThread), JournalWriteError> {
        let Opening { file, run, read, watcher, redactor } = opening;
        let error = |source: io::Error| JournalWriteError { file: file.clone(), message: source.to_string() };
        let mut open = File::options().create(true).truncate(false).write(true).open(&file).map_err(error)?;
        open.set_len(read.valid_bytes).map_err(error)?;
        open.seek(SeekFrom::End(0)).map_err(error)?;
        if read.header.is_none() {
            open.write_all(&line(&Header { harness_journal: JOURNAL_FORMAT, run: run.clone() }))
                .and_then(|()| open.sync_all())
                .map_err(error)?;
            // A new file is only safe once its folder is.
            if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                File::open(folder).and_then(|folder| folder.sync_all()).map_err(error)?;
            }
        }
        let (queue, events) = sync_channel(BATCH);
        let failed = Arc::new(Mutex::new(None));
        let writer =
            Writer { open, file, next: read.entries.len() as u64 + 1, watcher: Some(watcher), redactor };
        let report = failed.clone();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                if let Err(error) = writer.run(&events) {
                    *report.lock().expect("no holder of this lock panics") = Some(error);
                    on_failure();
                    // Senders must never block for ever on a queue that nobody empties.
                    while events.recv().is_ok() {}
                }
            })
            .expect("a thread can be started");
        let thread = JournalThread { thread, failed: failed.clone() };
        Ok((JournalWriter { queue, failed }, thread))
    }

    /// Hands an event to the writer; returns before it is written. Blocks only when the disk is a whole batch behind.
    pub fn write(&self, event: Event) {
        // The thread outlives all senders, and after a failure the event has nowhere to go: `failure` says so.
        let _sent = self.queue.send(event);
    }

    /// Tells watchers of something that the journal does not keep, unless the writer is behind: never waits.
    pub fn tell(&self, event: Event) {
        let _behind = self.queue.try_send(event);
    }

    /// Why the journal ended early, if it did.
    pub fn failure(&self) -> Option<JournalWriteError> {
        self.failed.lock().expect("no holder of this lock panics").clone()
    }
}

struct Writer {
    open: File,
    file: PathBuf,
    next: u64,
    watcher: Option<Watcher>,
    redactor: Redactor,
}

impl Writer {
    fn run(mut self, events: &Receiver<Event>) -> Result<(), JournalWriteError> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut bytes = Vec::new();
        while let Ok(first) = events.recv() {
            batch.push(first);
            batch.extend(events.try_iter().take(BATCH - 1));
            bytes.clear();
            let at_ms = now_ms();
            for event in &mut batch {
                self.redact(event);
                if event.journaled() {
                    bytes.extend(line(&Entry { seq: self.next, at_ms, event: event.clone() }));
                    self.next += 1;
                }
            }
            if !bytes.is_empty() {
                self.open.write_all(&bytes).and_then(|()| self.open.sync_data()).map_err(|source| {
                    JournalWriteError { file: self.file.clone(), message: source.to_string() }
                })?;
            }
            for event in batch.drain(..) {
                // A watcher that panics has been reported by the panic hook; it is asked no more, and the record goes on.
                let watched = self.watcher.take().filter(|watcher| {
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| watcher(&event))).is_ok()
                });
                self.watcher = watched;
            }
        }
        Ok(())
    }
}

impl Writer {
    /// Takes every secret out of an event. Whatever is told or written passes here.
    fn redact(&self, event: &mut Event) {
        let text = line(event);
        if self.redactor.finds(&text) {
            let clean = self.redactor.redact(&text);
            *event = serde_json::from_slice(&clean).unwrap_or_else(|_| Event::Warning {
                message: "an event held a secret where none can be taken out, and was left out".into(),
            });
        }
    }
}

/// Milliseconds since the epoch by the host's clock. For people; durations are taken from the monotonic clock.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening<'a>(file: PathBuf, run: &'a RunId, read: &'a Journal) -> Opening<'a> {
        let redactor = Redactor::new([&b"sk-secret-key"[..]]);
        Opening { file, run, read, watcher: Box::new(|_| {}), redactor }
    }

    #[test]
    fn journal_writer_keeps_secrets_out_of_what_it_writes_and_tells() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("journal.jsonl");
        let run = RunId::new("r").unwrap();
        let (told, hears) = std::sync::mpsc::channel();
        let empty = Journal::default();
        let watcher: Watcher = Box::new(move |event: &Event| told.send(event.clone()).unwrap());
        let (writer, thread) =
            JournalWriter::start(Opening { watcher, ..opening(file.clone(), &run, &empty) }, || {}).unwrap();
        let warn = |text: &str| Event::Warning { message: text.into() };
        writer.write(warn("it said: sk-secret-key is wrong"));
        drop(writer);
        thread.join().unwrap();
        assert_eq!(read(&file).entries[0].event, warn("it said: [redacted] is wrong"));
        assert_eq!(hears.recv().unwrap(), warn("it said: [redacted] is wrong"));
    }

    fn read(file: &std::path::Path) -> Journal {
        Journal::parse(&std::fs::read(file).unwrap()).unwrap()
    }

    #[test]
    fn journal_writer_goes_on_after_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("journal.jsonl");
        let run = RunId::new("r").unwrap();
        let warn = |text: &str| Event::Warning { message: text.into() };
        let start =
            |journal: &Journal| JournalWriter::start(opening(file.clone(), &run, journal), || {}).unwrap();
        let (writer, thread) = start(&Journal::default());
        writer.write(warn("one"));
        writer.write(warn("two"));
        drop(writer);
        thread.join().unwrap();
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() - 3]).unwrap();
        let (writer, thread) = start(&read(&file));
        writer.write(warn("three"));
        drop(writer);
        thread.join().unwrap();
        let texts: Vec<_> = read(&file).entries.into_iter().map(|entry| entry.event).collect();
        assert_eq!(texts, [warn("one"), warn("three")]);
    }

    #[test]
    fn journal_writer_reports_a_full_disk_and_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunId::new("r").unwrap();
        // /dev/full takes an open and refuses every byte, so the header already fails.
        let result = JournalWriter::start(opening("/dev/full".into(), &run, &Journal::default()), || {});
        assert!(result.is_err());
        // With a header in place the failure comes later, in the thread.
        let file = dir.path().join("journal.jsonl");
        std::os::unix::fs::symlink("/dev/full", &file).unwrap();
        let header =
            Journal { header: Some(Header { harness_journal: 1, run: run.clone() }), ..Journal::default() };
        let (told, hears) = std::sync::mpsc::channel();
        let started = JournalWriter::start(opening(file, &run, &header), move || told.send(()).unwrap());
        // set_len is refused on a device on some kernels: then starting says so, which is as good.
        if let Ok((writer, thread)) = started {
            for _ in 0..BATCH * 3 {
                writer.write(Event::Warning { message: "x".into() });
            }
            hears.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
            assert!(writer.failure().is_some());
            drop(writer);
            assert!(thread.join().is_err());
        }
    }
}
