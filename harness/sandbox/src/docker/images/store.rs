//! What we know of the images that we made, between runs and processes: a note and two locks for each, in the state folder.
//!
//! Locks are the system's own on open files, so they go with the process that held them, however it ends. A note is only a
//! memory of the last use: losing it loses nothing but an order.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness_core::Digest;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// Between two looks at a lock that another process holds.
const LOOK: Duration = Duration::from_millis(100);
/// Largest note.
const NOTE_BYTES: u64 = 64 << 10;

/// The folder of one engine's notes and locks.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// What is remembered of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The name that the engine knows it by.
    pub(crate) name: String,
    /// The engine's own id for it when we made it.
    pub(crate) id: String,
    /// How it came to be there.
    pub(crate) made: Made,
    /// Milliseconds since 1970.
    pub(crate) used_ms: u64,
}

/// How an image came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Made {
    /// Built by us.
    Built,
    /// Pulled by us, where it had not been before.
    Pulled,
}

/// Keeps an image from being removed for as long as it lives.
#[derive(Debug)]
pub struct UseLock {
    _file: File,
}

/// The right to make an image.
#[derive(Debug)]
pub(crate) struct MakeLock {
    _file: File,
}

impl Store {
    /// Opens the folder of an engine.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn open(state: &Path, engine: &str) -> io::Result<Store> {
        let folder = state.join("images").join(Digest::of(engine.as_bytes()).short());
        fs::create_dir_all(&folder)?;
        Ok(Store { folder })
    }

    /// What files of an image are called.
    pub(crate) fn key(name: &str) -> String {
        Digest::of(name.as_bytes()).as_str()[..40].to_owned()
    }

    /// Keeps an image from being removed. Waits while it is being removed right now.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub(crate) async fn using(&self, name: &str) -> io::Result<UseLock> {
        let file = self.lock_file(name, "use")?;
        while !locked(&file, FlockOperation::NonBlockingLockShared)? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(UseLock { _file: file })
    }

    /// The right to make an image, when nobody else has it; `waiting` is told once when somebody has.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub(crate) async fn making(&self, name: &str, waiting: impl FnOnce()) -> io::Result<MakeLock> {
        let file = self.lock_file(name, "make")?;
        let mut waiting = Some(waiting);
        while !locked(&file, FlockOperation::NonBlockingLockExclusive)? {
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(MakeLock { _file: file })
    }

    /// The right to remove an image; `None` while anybody uses it.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub(crate) fn removing(&self, name: &str) -> io::Result<Option<UseLock>> {
        let file = self.lock_file(name, "use")?;
        let free = locked(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(free.then_some(UseLock { _file: file }))
    }

    /// Whether anybody uses it.
    pub(crate) fn is_used(&self, name: &str) -> bool {
        !matches!(self.removing(name), Ok(Some(_)))
    }

    /// Remembers that it was used now. Best effort.
    pub(crate) fn remember(&self, name: &str, id: &str, made: Made) {
        let note = Note { name: name.to_owned(), id: id.to_owned(), made, used_ms: now_ms() };
        let _memory = self.write(&note);
    }

    /// Remembers that it was used now, if it is ours. Best effort.
    pub(crate) fn touch(&self, name: &str) {
        if let Some(note) = self.note(name) {
            self.remember(name, &note.id, note.made);
        }
    }

    fn write(&self, note: &Note) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".note").tempfile_in(&self.folder)?;
        file.write_all(&serde_json::to_vec(note)?)?;
        file.persist(self.path(&note.name, "json")).map_err(|error| error.error)?;
        Ok(())
    }

    /// What is remembered of one.
    pub(crate) fn note(&self, name: &str) -> Option<Note> {
        read(&self.path(name, "json")).filter(|note| note.name == name)
    }

    /// Everything that is remembered. What cannot be read is not.
    pub(crate) fn notes(&self) -> Vec<Note> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let mut notes: Vec<Note> = paths
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .filter_map(|path| read(&path))
            .collect();
        notes.sort_by(|one, other| one.name.cmp(&other.name));
        notes
    }

    /// Forgets one.
    pub(crate) fn forget(&self, name: &str) {
        let _gone = fs::remove_file(self.path(name, "json"));
    }

    fn path(&self, name: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{}.{end}", Store::key(name)))
    }

    /// Lock files stay where they are: removing one that somebody else is about to open would give two holders.
    fn lock_file(&self, name: &str, end: &str) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).open(self.path(name, end))
    }
}

fn read(path: &Path) -> Option<Note> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(NOTE_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn locked(file: &File, how: FlockOperation) -> io::Result<bool> {
    loop {
        match flock(file, how) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn store_spares_what_is_used_and_lets_one_make() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(place.path(), "engine").unwrap();
        let other = Store::open(place.path(), "engine").unwrap();
        let (one, two) = (store.using("x").await.unwrap(), other.using("x").await.unwrap());
        assert!(other.removing("x").unwrap().is_none());
        drop(one);
        assert!(store.is_used("x"));
        drop(two);
        assert!(!store.is_used("x"));
        let making = store.making("x", || {}).await.unwrap();
        let mut told = false;
        let second =
            tokio::time::timeout(Duration::from_millis(300), other.making("x", || told = true)).await;
        assert!(second.is_err() && told);
        drop(making);
        other.making("x", || {}).await.unwrap();
    }

    #[test]
    fn store_remembers_and_survives_rubbish() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(place.path(), "engine").unwrap();
        store.remember("b", "id", Made::Pulled);
        store.remember("a", "id", Made::Built);
        fs::write(store.folder.join("rubbish.json"), "{").unwrap();
        let names: Vec<String> = store.notes().into_iter().map(|note| note.name).collect();
        assert_eq!(names, ["a", "b"]);
        store.forget("a");
        assert_eq!(store.note("a"), None);
        assert!(store.note("b").is_some());
        assert!(Store::open(place.path(), "another engine").unwrap().notes().is_empty());
    }
}
