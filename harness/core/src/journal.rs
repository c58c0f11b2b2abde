//! `journal.jsonl`, the truth of a run: one header line, then one event a line, only ever appended.
//!
//! This module is the format: how a line is made and how bytes are read back. Writing with fsync is the engine's.
//! A journal that is cut at any byte reads as a prefix: the torn last line is dropped, and a torn header is an empty
//! journal, because a writer that died there had told nobody anything.

use serde::{Deserialize, Serialize};

use crate::{Event, RunId};

/// Version of the journal's format.
///
/// - 1: the first.
pub const JOURNAL_FORMAT: u32 = 1;

/// Longest line that is read, in bytes. A record is some kilobytes; what is longer was not written by us.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always [`JOURNAL_FORMAT`] of the writer; says what follows.
    pub harness_journal: u32,
    /// Which run.
    pub run: RunId,
}

/// One line after the header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1, without gaps: a gap means that somebody edited the file.
    pub seq: u64,
    /// Milliseconds since the epoch, by the host's clock; it may jump, `seq` may not.
    pub at_ms: i64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// A journal read from bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Journal {
    /// `None` when the header is missing or torn.
    pub header: Option<Header>,
    /// All whole entries.
    pub entries: Vec<Entry>,
    /// Bytes that are whole lines; a writer that goes on truncates to here first.
    pub valid_bytes: u64,
}

/// Why bytes are not a journal of ours.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A whole line that does not read: damage in the middle, not a torn end.
    #[error("line {line} (byte {byte}) does not read")]
    Damaged {
        /// From 1.
        line: usize,
        /// Of the line's start.
        byte: u64,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// Written by a later version.
    #[error("the journal has format {found}, this program reads up to {JOURNAL_FORMAT}")]
    TooNew {
        /// What the header says.
        found: u32,
    },
    /// Lines were removed or added.
    #[error("line {line} has number {found} where {expected} must stand: the journal was edited")]
    Gap {
        /// From 1.
        line: usize,
        /// The number on the line.
        found: u64,
        /// The number that must stand there.
        expected: u64,
    },
    /// Longer than [`MAX_LINE_BYTES`].
    #[error("line {line} is longer than {MAX_LINE_BYTES} bytes")]
    LineTooLong {
        /// From 1.
        line: usize,
    },
}

impl Journal {
    /// Reads a journal, dropping a torn last line.
    ///
    /// # Errors
    /// [`JournalError`] when a *whole* line does not read: that is damage, and going on would lose results silently.
    pub fn parse(bytes: &[u8]) -> Result<Journal, JournalError> {
        let mut journal = Journal::default();
        let mut start = 0usize;
        let mut line = 0usize;
        while let Some(length) = bytes[start..].iter().position(|b| *b == b'\n') {
            line += 1;
            if length > MAX_LINE_BYTES {
                return Err(JournalError::LineTooLong { line });
            }
            let text = &bytes[start..start + length];
            let damaged = |source| JournalError::Damaged { line, byte: start as u64, source };
            if line == 1 {
                let header: Header = serde_json::from_slice(text).map_err(damaged)?;
                if header.harness_journal > JOURNAL_FORMAT {
                    return Err(JournalError::TooNew { found: header.harness_journal });
                }
                journal.header = Some(header);
            } else {
                let entry: Entry = serde_json::from_slice(text).map_err(damaged)?;
                let expected = journal.entries.len() as u64 + 1;
                if entry.seq != expected {
                    return Err(JournalError::Gap { line, found: entry.seq, expected });
                }
                journal.entries.push(entry);
            }
            start += length + 1;
        }
        journal.valid_bytes = start as u64;
        Ok(journal)
    }

    /// The finished trials, in the order in which they finished.
    pub fn finished(&self) -> impl Iterator<Item = &crate::TrialRecord> {
        self.entries.iter().filter_map(|entry| match &entry.event {
            Event::TrialFinished { record } => Some(&**record),
            _ => None,
        })
    }
}

/// One line, with its line break.
///
/// # Panics
/// Never for the types of this crate: all of them can be written as JSON.
pub fn line(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("journal values are plain data");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Phase, TaskId, TrialId, VariantName};

    fn sample() -> (Vec<u8>, usize) {
        let id = TrialId {
            task: TaskId::new("a b").unwrap(),
            variant: VariantName::new("noop").unwrap(),
            attempt: 1,
        };
        let mut bytes = line(&Header { harness_journal: 1, run: RunId::new("r").unwrap() });
        let header = bytes.len();
        let events = [
            Event::RunStarted { pid: 1, planned: 2, finished: 0 },
            Event::TrialStarted { id: id.clone(), number: 1 },
            Event::PhaseEntered { id, phase: Phase::Solve },
            Event::Warning { message: "disk\nnearly full \u{1b}[0m".into() },
            Event::RunEnded { complete: false, reason: Some("interrupted".into()) },
        ];
        for (at, event) in events.into_iter().enumerate() {
            bytes.extend(line(&Entry { seq: at as u64 + 1, at_ms: 5, event }));
        }
        (bytes, header)
    }

    #[test]
    fn journal_cut_at_any_byte_reads_as_a_prefix() {
        let (bytes, header) = sample();
        let whole = Journal::parse(&bytes).unwrap();
        assert_eq!(whole.entries.len(), 5);
        assert_eq!(whole.valid_bytes, bytes.len() as u64);
        for cut in 0..bytes.len() {
            let part = Journal::parse(&bytes[..cut]).unwrap();
            assert_eq!(part.header.is_some(), cut >= header, "cut at {cut}");
            assert_eq!(part.entries[..], whole.entries[..part.entries.len()]);
            assert!(part.valid_bytes <= cut as u64);
            assert_eq!(Journal::parse(&bytes[..part.valid_bytes as usize]).unwrap(), part);
        }
    }

    #[test]
    fn journal_damage_in_the_middle_is_an_error_that_names_the_line() {
        let (mut bytes, header) = sample();
        bytes[header] = b'!';
        let error = Journal::parse(&bytes).unwrap_err().to_string();
        assert!(error.starts_with("line 2 "), "{error}");
    }

    #[test]
    fn journal_with_a_line_taken_out_is_an_error() {
        let (bytes, header) = sample();
        let second = bytes[header..].iter().position(|b| *b == b'\n').unwrap() + header + 1;
        let edited = [&bytes[..header], &bytes[second..]].concat();
        assert!(matches!(Journal::parse(&edited), Err(JournalError::Gap { found: 2, expected: 1, .. })));
    }

    #[test]
    fn journal_of_a_later_format_is_refused() {
        assert!(matches!(
            Journal::parse(b"{\"harness_journal\":99,\"run\":\"r\"}\n"),
            Err(JournalError::TooNew { found: 99 })
        ));
    }
}
