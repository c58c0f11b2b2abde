//! What a build says: all of it to a file up to a limit, and its end in memory for the message when it fails.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Most bytes of the file.
const FILE_BYTES: u64 = 64 << 20;
/// Bytes of the end that are kept.
const TAIL_BYTES: usize = 16 << 10;

/// A log that is being written.
pub(crate) struct Log {
    file: Option<File>,
    left: u64,
    tail: VecDeque<u8>,
    /// Everything that was said.
    total: u64,
}

impl Log {
    /// Appends to a file, if there is to be one. A file that cannot be written is no reason not to build.
    pub(crate) fn open(path: Option<&Path>) -> Log {
        let file = path.and_then(|path| OpenOptions::new().create(true).append(true).open(path).ok());
        let left = file
            .as_ref()
            .and_then(|file| file.metadata().ok())
            .map_or(FILE_BYTES, |found| FILE_BYTES.saturating_sub(found.len()));
        Log { file, left, tail: VecDeque::new(), total: 0 }
    }

    /// Keeps some more.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let end = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let over = (self.tail.len() + end.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..over.min(self.tail.len()));
        self.tail.extend(end);
        let Some(file) = &mut self.file else { return };
        let most = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let written = file.write_all(&bytes[..most]);
        self.left -= most as u64;
        if most < bytes.len() {
            let _noted =
                writeln!(file, "\n[… the rest is left out: the log has reached {FILE_BYTES} bytes …]");
        }
        if written.is_err() || most < bytes.len() {
            self.file = None;
        }
    }

    /// A line of ours or the engine's.
    pub(crate) fn line(&mut self, line: &str) {
        self.write(line.as_bytes());
        self.write(b"\n");
    }

    /// The end, as text.
    pub(crate) fn tail(&self) -> String {
        let (front, back) = self.tail.as_slices();
        let text = String::from_utf8_lossy(&[front, back].concat()).into_owned();
        let missing = self.total - self.tail.len() as u64;
        if missing == 0 { text } else { format!("[… {missing} bytes before this …]\n{text}") }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn log_keeps_its_end_and_no_more_than_its_limit() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("build.log");
        let mut log = Log::open(Some(&path));
        log.line("first");
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            log.write(&piece);
        }
        log.line("last");
        assert!(log.tail().ends_with("xlast\n"), "{}", &log.tail()[..100]);
        assert!(log.tail().len() < TAIL_BYTES + 100);
        let length = std::fs::metadata(&path).unwrap().len();
        assert!(length > FILE_BYTES && length < FILE_BYTES + 200, "{length}");
        // A second build of the same trial adds nothing to a log that is full.
        Log::open(Some(&path)).line("again");
        assert!(std::fs::metadata(&path).unwrap().len() < FILE_BYTES + 400);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("first\n"));
    }

    #[test]
    fn log_without_a_file_still_has_its_end() {
        let mut log = Log::open(Some(Path::new("/nowhere/at/all")));
        log.line("said");
        assert_eq!(log.tail(), "said\n");
    }
}
