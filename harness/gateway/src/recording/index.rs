//! The list of one trial's exchanges: entries of one size, so that any of them is found without reading the others.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::canonical::Key;
use super::pack::Place;

/// Bytes of an entry.
pub(super) const ENTRY: usize = 64;
/// Entries read at once.
const BLOCK: usize = 256;

/// One exchange in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// What it is found by.
    pub(super) key: Key,
    /// Where it is described.
    pub(super) place: Place,
    /// How long the pack must be for all of it to be there.
    pub(super) pack_end: u64,
}

/// The list's file, by the trial's name: names may hold anything, and be longer than a file's may be.
pub(super) fn path(folder: &Path, trial: &str) -> PathBuf {
    let digest = blake3::hash(trial.as_bytes()).to_hex();
    folder.join("trials").join(&digest[..2]).join(format!("{}.idx", &digest[2..34]))
}

impl Entry {
    pub(super) fn to_bytes(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..16].copy_from_slice(&self.key.form);
        bytes[16..24].copy_from_slice(&self.key.thread.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.key.kind.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.place.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.pack_end.to_le_bytes());
        let sum = blake3::hash(&bytes[..48]);
        bytes[48..].copy_from_slice(&sum.as_bytes()[..16]);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Entry> {
        let (said, sum) = bytes.split_at_checked(48)?;
        if sum != &blake3::hash(said).as_bytes()[..16] {
            return None;
        }
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&said[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let mut form = [0; 16];
        form.copy_from_slice(&said[..16]);
        let key = Key { form, thread: number(16), kind: number(24) };
        Some(Entry { key, place: number(32), pack_end: number(40) })
    }
}

/// Reads a list from its beginning, a block at a time.
#[derive(Debug)]
pub(super) struct IndexReader {
    file: File,
    pack_end: u64,
    at: u64,
}

impl IndexReader {
    /// `None` when the trial was not recorded. Of a list that goes further than the pack, the part is read that has one.
    pub(super) fn open(path: &Path, pack_end: u64) -> io::Result<Option<IndexReader>> {
        match File::open(path) {
            Ok(file) => Ok(Some(IndexReader { file, pack_end, at: 0 })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next entries; none at the end, and where the list is torn.
    pub(super) fn next(&mut self) -> io::Result<Vec<Entry>> {
        let mut bytes = vec![0; BLOCK * ENTRY];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], self.at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let whole = bytes[..filled].chunks_exact(ENTRY);
        let entries: Vec<Entry> =
            whole.map_while(Entry::from_bytes).take_while(|entry| entry.pack_end <= self.pack_end).collect();
        self.at += (entries.len() * ENTRY) as u64;
        Ok(entries)
    }
}

/// Opens a list to write on at its end; with `mend`, after taking off what is torn there, or goes beyond so much of the pack.
pub(super) fn open_to_append(path: &Path, mend: Option<u64>) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    if let Some(pack_end) = mend
        && let Some(mut reader) = IndexReader::open(path, pack_end)?
    {
        while !reader.next()?.is_empty() {}
        if file.metadata()?.len() > reader.at {
            file.set_len(reader.at)?;
        }
    }
    Ok(file)
}

/// Adds an entry.
pub(super) fn append(mut file: &File, entry: Entry) -> io::Result<()> {
    file.write_all(&entry.to_bytes())
}
