//! Keeps layers by key. One that can be seen is whole: it is made under another name first. Who wants one that is being made,
//! in this process or another, waits for it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use harness_core::Digest;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::native::remove::{Removed, remove};

/// Layers of one backend, in its state folder.
#[derive(Debug, Clone)]
pub(crate) struct LayerStore {
    folder: PathBuf,
}

/// A layer, kept while this lives: pruning leaves it alone.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    path: Arc<PathBuf>,
    /// What its maker noted.
    pub(crate) note: Note,
    _in_use: Arc<OwnedFd>,
}

/// What is kept beside a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// Where it came from, for people.
    pub(crate) about: String,
    /// Bytes on disk when it was made.
    pub(crate) bytes: u64,
    /// What was lost in making it, a sentence each.
    pub(crate) weaknesses: Vec<String>,
}

/// A layer in the making; what is not committed is removed.
#[derive(Debug)]
pub(crate) struct Making {
    store: LayerStore,
    name: String,
    folder: PathBuf,
    // Others that want this layer wait for it.
    _lock: OwnedFd,
    done: bool,
}

/// Either the layer, or the right to make it.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is there.
    Ready(Layer),
    /// It is ours to make; everyone else waits.
    Ours(Making),
}

const TREE: &str = "tree";
const NOTE: &str = "note.json";
const NOTE_BYTES: u64 = 1 << 20;
const MOST: usize = 100_000;

impl LayerStore {
    /// Opens the store below a backend's state folder, making what is missing.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn open(state: &Path) -> io::Result<LayerStore> {
        let folder = state.join("layers");
        for folder in [folder.clone(), folder.join("locks")] {
            fs::DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
        }
        Ok(LayerStore { folder })
    }

    /// The name of a layer's folder: short, because an overlay's options must fit a page, and long enough not to meet another.
    fn name(key: &Digest) -> String {
        key.as_str().chars().take(20).collect()
    }

    fn lock_file(&self, name: &str, what: &str) -> io::Result<OwnedFd> {
        let path = self.folder.join("locks").join(format!("{name}.{what}"));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?)
    }

    /// A layer that is there; counts as its use.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn get(&self, key: &Digest) -> io::Result<Option<Layer>> {
        let name = LayerStore::name(key);
        // First the lock, then the look: so pruning cannot come between.
        let in_use = self.lock_file(&name, "use")?;
        match rustix::fs::flock(&in_use, FlockOperation::NonBlockingLockShared) {
            // It is being pruned at this moment: as good as gone.
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            locked => locked?,
        }
        let folder = self.folder.join(&name);
        let Ok(note) = fs::File::open(folder.join(NOTE)) else { return Ok(None) };
        let note = serde_json::from_reader(io::Read::take(&note, NOTE_BYTES)).unwrap_or_default();
        // Its time is the time of its last use.
        let _ = fs::File::open(folder.join(NOTE)).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(Layer { path: Arc::new(folder.join(TREE)), note, _in_use: Arc::new(in_use) }))
    }

    /// The layer, or the right to make it; waits while another makes it. May be dropped at any time.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) async fn begin(&self, key: &Digest) -> io::Result<Begun> {
        let name = LayerStore::name(key);
        let lock = self.lock_file(&name, "make")?;
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(layer) = self.get(key)? {
                return Ok(Begun::Ready(layer));
            }
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        // Its maker may have ended between our look and our lock.
        if let Some(layer) = self.get(key)? {
            return Ok(Begun::Ready(layer));
        }
        let folder = self.folder.join(format!(".making-{name}"));
        // What an interrupted maker left; we hold the lock, so it is nobody's.
        remove(&folder)?;
        fs::DirBuilder::new().mode(0o711).create(&folder)?;
        Ok(Begun::Ours(Making { store: self.clone(), name, folder, _lock: lock, done: false }))
    }

    /// Bytes of all layers, as noted when they were made.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(self.listed()?.iter().map(|(_, _, note)| note.bytes).sum())
    }

    /// Removes layers that nobody uses, longest unused first, until the rest is not larger than this; and those that nobody has
    /// used for so long.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub(crate) fn prune(&self, keep_bytes: u64, unused: Duration) -> io::Result<Removed> {
        let mut all = self.listed()?;
        all.sort_by_key(|(_, used, _)| *used);
        let mut sum: u64 = all.iter().map(|(_, _, note)| note.bytes).sum();
        let mut removed = Removed::default();
        for (name, used, note) in all {
            let old = used.elapsed().is_ok_and(|age| age >= unused);
            if sum <= keep_bytes && !old {
                break;
            }
            let in_use = self.lock_file(&name, "use")?;
            if rustix::fs::flock(&in_use, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            // Out of sight first, so that half of one is never found.
            let away = self.folder.join(format!(".gone-{name}-{}", std::process::id()));
            if fs::rename(self.folder.join(&name), &away).is_ok() {
                let one = remove(&away)?;
                removed.bytes += one.bytes;
                removed.failed.extend(one.failed);
            }
            sum = sum.saturating_sub(note.bytes);
        }
        Ok(removed)
    }

    /// Removes what interrupted makers and prunes left.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub(crate) fn reap(&self) -> io::Result<Removed> {
        let mut removed = Removed::default();
        for entry in fs::read_dir(&self.folder)?.take(MOST) {
            let Ok(file) = entry?.file_name().into_string() else { continue };
            let held = match file.strip_prefix(".making-") {
                Some(name) => {
                    let lock = self.lock_file(name, "make")?;
                    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                        continue;
                    }
                    Some(lock)
                }
                None if file.starts_with(".gone-") => None,
                None => continue,
            };
            let one = remove(&self.folder.join(&file))?;
            drop(held);
            removed.bytes += one.bytes;
            removed.failed.extend(one.failed);
        }
        Ok(removed)
    }

    fn listed(&self) -> io::Result<Vec<(String, SystemTime, Note)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.folder)?.take(MOST) {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if name.starts_with('.') || name == "locks" {
                continue;
            }
            let Ok(file) = fs::File::open(self.folder.join(&name).join(NOTE)) else { continue };
            let used = file.metadata()?.modified()?;
            let note = serde_json::from_reader(io::Read::take(&file, NOTE_BYTES)).unwrap_or_default();
            all.push((name, used, note));
        }
        Ok(all)
    }
}

impl Layer {
    /// Its folder, to stack.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Making {
    /// Where its content goes; does not exist yet. A folder made elsewhere on the same file system (an overlay's upper) may be
    /// renamed to here.
    pub(crate) fn tree(&self) -> PathBuf {
        self.folder.join(TREE)
    }

    /// Makes it visible, whole.
    ///
    /// # Errors
    /// What the host refused; then it is gone.
    pub(crate) fn commit(mut self, key: &Digest, note: &Note) -> io::Result<Layer> {
        fs::write(self.folder.join(NOTE), serde_json::to_vec(note)?)?;
        // After a power cut the name must not be there without the content.
        let tree = rustix::fs::open(
            self.tree(),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::fs::syncfs(tree)?;
        let at = self.store.folder.join(&self.name);
        if fs::symlink_metadata(&at).is_ok() {
            // Without a note it was not seen as a layer: debris of someone's hand.
            remove(&at)?;
        }
        fs::rename(&self.folder, &at)?;
        self.done = true;
        self.store.get(key)?.ok_or_else(|| io::Error::other("a layer vanished when it was made"))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.done {
            let _ = remove(&self.folder);
        }
    }
}
