//! The files of a run's model traffic: its ledger, written before anything is forwarded, and a thread that writes the rest.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use harness_gateway::budget::{Line, Recovered};

/// Largest ledger that is read, in bytes.
const MAX_LEDGER: u64 = 4 << 30;
/// Most files that are kept open.
const OPEN_FILES: usize = 64;

/// `ledger.jsonl`: what was reserved and settled. Not synced: a reservation must survive this process, not the machine.
pub(super) struct LedgerFile {
    file: File,
}

impl LedgerFile {
    /// Opens it, and reads what earlier processes wrote; what they left in flight is settled at its reservation.
    pub(super) fn open(path: &Path) -> io::Result<(LedgerFile, Recovered)> {
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut text = Vec::new();
        (&mut file).take(MAX_LEDGER + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_LEDGER {
            return Err(io::Error::other(format!("{} is larger than {MAX_LEDGER} bytes", path.display())));
        }
        // A torn last line was never forwarded: the line is whole before the request goes out.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut lines: Vec<Line> = Vec::new();
        for (number, line) in text[..whole].split(|byte| *byte == b'\n').enumerate() {
            if !line.is_empty() {
                lines.push(serde_json::from_slice(line).map_err(|error| {
                    io::Error::other(format!("{} line {}: {error}", path.display(), number + 1))
                })?);
            }
        }
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        let mut ledger = LedgerFile { file };
        let recovered = Recovered::read(lines);
        for line in &recovered.settled {
            ledger.write(line)?;
        }
        Ok((ledger, recovered))
    }

    /// Writes a line. When it returns the line outlives this process.
    pub(super) fn write(&mut self, line: &Line) -> io::Result<()> {
        self.file.write_all(&harness_core::journal::line(line))
    }
}

enum Message {
    Line { file: PathBuf, bytes: Vec<u8> },
    Flush(Sender<()>),
}

/// Appends lines to many files from a thread of its own: whoever hands one over does not wait for the disk.
pub(super) struct Lines {
    queue: Sender<Message>,
}

impl Lines {
    /// Starts the thread; `failed` is told of the first line that could not be written.
    pub(super) fn start(failed: impl Fn(String) + Send + 'static) -> io::Result<Lines> {
        let (queue, messages) = channel();
        std::thread::Builder::new().name("gateway-lines".into()).spawn(move || write(&messages, &failed))?;
        Ok(Lines { queue })
    }

    /// Appends to a file.
    pub(super) fn append(&self, file: PathBuf, bytes: Vec<u8>) {
        // The thread lives as long as this end of the queue.
        let _sent = self.queue.send(Message::Line { file, bytes });
    }

    /// Waits until everything that was handed over is in its file, and lets go of the files: they may be moved then.
    pub(super) fn flush(&self) {
        let (done, wait) = channel();
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ended = wait.recv();
        }
    }
}

fn write(messages: &Receiver<Message>, failed: &dyn Fn(String)) {
    let mut open: HashMap<PathBuf, File> = HashMap::new();
    while let Ok(message) = messages.recv() {
        match message {
            Message::Line { file, bytes } => {
                if !open.contains_key(&file) {
                    if open.len() >= OPEN_FILES {
                        open.clear();
                    }
                    match File::options().create(true).append(true).open(&file) {
                        Ok(made) => {
                            open.insert(file.clone(), made);
                        }
                        Err(error) => {
                            failed(format!("cannot open {}: {error}", file.display()));
                            continue;
                        }
                    }
                }
                let written = open.get_mut(&file).map(|open| open.write_all(&bytes));
                if let Some(Err(error)) = written {
                    failed(format!("cannot write {}: {error}", file.display()));
                }
            }
            Message::Flush(done) => {
                open.clear();
                let _gone = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use harness_gateway::budget::{Amounts, Scope};

    use super::*;

    #[test]
    fn ledger_cut_at_any_byte_counts_every_whole_reservation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let amounts = Amounts { tokens: 100, nano_usd: 5, requests: 1 };
        let reserved = |id| Line::Reserved {
            id,
            trial: "t".into(),
            variant: "v".into(),
            day: "2026-11-21".into(),
            amounts,
        };
        let cost = Amounts { tokens: 40, ..amounts };
        let lines = [reserved(0), Line::Settled { id: 0, amounts: cost, estimated: false }, reserved(1)];
        let text: Vec<u8> = lines.iter().flat_map(harness_core::journal::line).collect();
        for cut in 0..=text.len() {
            std::fs::write(&path, &text[..cut]).unwrap();
            let (_, recovered) = LedgerFile::open(&path).unwrap();
            let whole = text[..cut].iter().filter(|byte| **byte == b'\n').count();
            let spent = recovered.spent.get(&Scope::Run).map_or(0, |spent| spent.tokens);
            assert_eq!(spent, [0, 100, 40, 140][whole], "cut at {cut}");
            // Opened once more it says the same, and settles nothing again.
            let (_, again) = LedgerFile::open(&path).unwrap();
            assert_eq!((again.spent, again.settled.len()), (recovered.spent, 0), "cut at {cut}");
        }
    }
}
