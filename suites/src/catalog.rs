//! The bundled suites: inside the program, so that it finds them in an empty folder too.
//!
//! Each is a suite file and one compressed archive of its tasks. They are unpacked on demand into a private folder
//! and read from there as ordinary folders. The folder's name holds the digest of what was packed, so another version
//! of the program has another folder; whatever somebody changed in it is noticed and replaced.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use datasets::tree::{Kind, Tree, TreeLimits};
use harness_core::Digest;
use harness_core::digest::DigestBuilder;

/// A suite that comes with the program.
#[derive(Debug, Clone, Copy)]
pub struct Bundled {
    /// What `harness run suite` takes.
    pub name: &'static str,
    /// Its suite file, whose sources lie in the archive.
    pub toml: &'static str,
    /// A compressed tar of the folder of the same name.
    pub archive: &'static [u8],
    /// A compressed tar of what the scripted model says in its tasks. Never unpacked to a disk: no sandbox can come upon it.
    conversations: &'static [u8],
}

macro_rules! bundled {
    ($name:literal) => {
        Bundled {
            name: $name,
            toml: include_str!(concat!("../catalog/", $name, ".toml")),
            archive: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".tar.gz")),
            conversations: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".conversations.tar.gz")),
        }
    };
}

/// Every bundled suite: a file `catalog/NAME.toml`, a folder `catalog/NAME`, and one line here.
pub const CATALOG: &[Bundled] = &[bundled!("starter")];

/// The bundled suite of this name.
pub fn by_name(name: &str) -> Option<&'static Bundled> {
    CATALOG.iter().find(|bundled| bundled.name == name)
}

/// Why a bundled suite could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[error("the bundled suite cannot be unpacked: {path}: {source}")]
pub struct CatalogError {
    /// The file or folder.
    pub path: String,
    /// What the system said.
    pub source: io::Error,
}

/// How long another process may take to unpack before it counts as stuck.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// Drafts older than this were left by a process that was killed.
const STALE: Duration = Duration::from_secs(3600);
/// More than any bundle unpacks to.
const MAX_BYTES: u64 = 256 << 20;

impl Bundled {
    /// One line about it, from its suite file.
    pub fn description(&self) -> Option<String> {
        crate::file::parse(Path::new(self.name), self.toml).ok()?.0.description
    }

    /// Unpacks it below a folder of ours, or finds it there whole, and gives the path of its suite file.
    ///
    /// The folder is made private to this user. Several processes may do this at once.
    ///
    /// # Errors
    /// [`CatalogError`] with the path, for example when the folder is somebody else's.
    pub fn unpack(&self, cache: &Path) -> Result<PathBuf, CatalogError> {
        let fail = |path: &Path| {
            let path = path.display().to_string();
            move |source| CatalogError { path, source }
        };
        make_private(cache).map_err(fail(cache))?;
        let _lock = lock(cache).map_err(fail(cache))?;
        let packed = self.read().map_err(fail(cache))?;
        let folder = cache.join(format!("{}-{}", self.name, &self.digest().as_str()[..32]));
        if !packed.is_at(&folder) {
            remove_stale(cache);
            install(&packed, cache, &folder).map_err(fail(&folder))?;
        }
        Ok(folder.join(format!("{}.toml", self.name)))
    }

    /// What the scripted model says and does in each task, by the task's id: scripts of the gateway's own format, for runs that
    /// need no key. They are told apart from what a model would do by whoever shows them.
    ///
    /// # Errors
    /// The archive in the program is broken.
    pub fn conversations(&self) -> io::Result<BTreeMap<String, String>> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(self.conversations).take(MAX_BYTES));
        let mut conversations = BTreeMap::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let mut script = String::new();
            entry.read_to_string(&mut script)?;
            if let Some(task) = path.file_stem().and_then(|stem| stem.to_str()) {
                conversations.insert(task.to_owned(), script);
            }
        }
        Ok(conversations)
    }

    fn digest(&self) -> Digest {
        DigestBuilder::new().part("toml", self.toml.as_bytes()).part("archive", self.archive).finish()
    }

    fn read(&self) -> io::Result<Packed> {
        let mut files = BTreeMap::new();
        let toml = Content::File { bytes: self.toml.as_bytes().to_vec(), executable: false };
        files.insert(PathBuf::from(format!("{}.toml", self.name)), toml);
        // All of it first: only at its end is the sum of the bytes checked.
        let mut tar = Vec::new();
        let read = flate2::read::GzDecoder::new(self.archive).take(MAX_BYTES).read_to_end(&mut tar)?;
        if read as u64 == MAX_BYTES {
            return Err(io::Error::other("it is too big"));
        }
        let mut archive = tar::Archive::new(tar.as_slice());
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            if !path.components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(io::Error::other(format!("{} leads out of the archive", path.display())));
            }
            let content = match entry.header().entry_type() {
                tar::EntryType::Regular => {
                    let executable = entry.header().mode()? & 0o100 != 0;
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    Content::File { bytes, executable }
                }
                tar::EntryType::Symlink => {
                    Content::Link(entry.link_name()?.map(|target| target.into_owned()).unwrap_or_default())
                }
                kind => return Err(io::Error::other(format!("{} is a {kind:?}", path.display()))),
            };
            files.insert(path, content);
        }
        Ok(Packed { files })
    }
}

/// What an archive holds.
struct Packed {
    files: BTreeMap<PathBuf, Content>,
}

#[derive(PartialEq)]
enum Content {
    File { bytes: Vec<u8>, executable: bool },
    Link(PathBuf),
}

impl Packed {
    /// Whether exactly these files lie in a folder.
    fn is_at(&self, folder: &Path) -> bool {
        let Ok(tree) = Tree::walk(folder, TreeLimits::default()) else { return false };
        let there = tree.entries().filter(|(_, kind)| **kind != Kind::Folder).count();
        there == self.files.len()
            && tree.entries().all(|(path, kind)| match (kind, self.files.get(path)) {
                (Kind::Folder, None) => true,
                (Kind::Link { target }, Some(Content::Link(packed))) => target == packed,
                (
                    Kind::File { bytes, executable },
                    Some(Content::File { bytes: packed, executable: bit }),
                ) => {
                    // The tree has seen that it is a plain file; the size is compared before it is read.
                    *bytes == packed.len() as u64
                        && executable == bit
                        && fs::read(folder.join(path)).is_ok_and(|bytes| bytes == *packed)
                }
                _ => false,
            })
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        for (path, content) in &self.files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            match content {
                Content::Link(target) => symlink(target, path)?,
                Content::File { bytes, executable } => {
                    fs::write(&path, bytes)?;
                    fs::set_permissions(
                        &path,
                        Permissions::from_mode(if *executable { 0o755 } else { 0o644 }),
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// Puts the files in place whole or not at all; what was there and was wrong is gone.
fn install(packed: &Packed, cache: &Path, folder: &Path) -> io::Result<()> {
    let draft = tempfile::Builder::new().prefix(".draft-").tempdir_in(cache)?;
    let new = draft.path().join("new");
    fs::create_dir(&new)?;
    packed.write(&new)?;
    match fs::rename(folder, draft.path().join("old")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(&new, folder)
}

/// Makes the folder ours alone.
fn make_private(cache: &Path) -> io::Result<()> {
    if let Some(parent) = cache.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(cache) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let meta = fs::symlink_metadata(cache)?;
    if !meta.is_dir() {
        return Err(io::Error::other("it is not a folder"));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(cache, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// One process at a time; given back when the file is closed, by a crash too.
fn lock(cache: &Path) -> io::Result<File> {
    let path = cache.join(".lock");
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(io::Error::other("another process has held its lock for a minute"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes what killed processes left; a failure leaves it for the next time.
fn remove_stale(cache: &Path) {
    let now = SystemTime::now();
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > STALE));
        if old && entry.file_name().as_encoded_bytes().starts_with(b".draft-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
