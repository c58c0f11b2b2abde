//! Unpacks a root file system from a tar archive that a stranger made: every name is looked up below the new root by the
//! kernel, devices are left out, and everything has a limit.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use harness_core::{Digest, digest::DigestBuilder};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use tar::EntryType;

/// Who owns what is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// As the archive says, plus this: 0 keeps them. For root.
    Shifted(u32),
    /// Whoever runs this.
    Ours,
}

/// How much is unpacked at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnpackLimits {
    /// Bytes of content.
    pub(crate) bytes: u64,
    /// Files, folders and links.
    pub(crate) entries: u64,
}

impl Default for UnpackLimits {
    fn default() -> UnpackLimits {
        UnpackLimits { bytes: 64 << 30, entries: 4_000_000 }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Bytes of content.
    pub(crate) bytes: u64,
    /// Files, folders and links.
    pub(crate) entries: u64,
    /// What was left out or changed, a sentence each.
    pub(crate) notes: Vec<String>,
}

const MOST_NOTES: usize = 16;
/// Ids beyond what a shifted range has become this one.
const NOBODY: u64 = 65534;
const MOST_ID: u64 = 65535;

/// Digest of an archive's bytes.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn digest(archive: &Path) -> io::Result<Digest> {
    let mut file = fs::File::open(archive)?;
    let mut digest = DigestBuilder::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let mut got = 0;
        // Whole pieces, so that how much each read gives makes no difference.
        while got < piece.len() {
            match file.read(&mut piece[got..])? {
                0 => break,
                more => got += more,
            }
        }
        digest.part("piece", &piece[..got]);
        if got < piece.len() {
            return Ok(digest.finish());
        }
    }
}

/// Unpacks an archive, plain or compressed by gzip, into a folder that is made for it.
///
/// # Errors
/// For a broken or hostile archive: names that lead out, links to what is not there, too much. The folder then holds a part.
pub(crate) fn unpack(
    archive: &Path,
    into: &Path,
    owners: Owners,
    limits: UnpackLimits,
) -> io::Result<Unpacked> {
    let mut file = fs::File::open(archive)?;
    let mut first = [0; 6];
    let got = file.read(&mut first)?;
    file.rewind()?;
    let reader: Box<dyn Read> = match &first[..got] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(compressed("zstd", archive)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => return Err(compressed("xz", archive)),
        [b'B', b'Z', b'h', ..] => return Err(compressed("bzip2", archive)),
        _ => Box::new(io::BufReader::with_capacity(1 << 16, file)),
    };
    fs::create_dir(into)?;
    fs::set_permissions(into, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let root = rustix::fs::open(into, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut unpacker = Unpacker { root, owners, limits, done: Unpacked::default(), folders: Vec::new() };
    unpacker.own(&unpacker.root, c"", 0, 0, AtFlags::EMPTY_PATH)?;
    // A hole costs nothing here, but all names, with the crate's own notes of them, must end somewhere: so must what is read.
    let mut archive =
        tar::Archive::new(reader.take(limits.bytes.saturating_add(limits.entries.saturating_mul(4096))));
    for entry in archive.entries()? {
        let mut entry = entry?;
        unpacker.entry(&mut entry)?;
    }
    if unpacker.done.entries == 0 {
        return Err(io::Error::other("the archive holds nothing"));
    }
    unpacker.close_folders()?;
    Ok(unpacker.done)
}

fn compressed(by: &str, archive: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{} is compressed by {by}: give it plain or compressed by gzip", archive.display()),
    )
}

struct Unpacker {
    root: OwnedFd,
    owners: Owners,
    limits: UnpackLimits,
    done: Unpacked,
    /// Bits and times of folders, set at the end: a folder may be closed to writing, and filling it changes its time.
    folders: Vec<(PathBuf, u32, i64)>,
}

impl Unpacker {
    fn note(&mut self, note: String) {
        if self.done.notes.len() < MOST_NOTES && !self.done.notes.contains(&note) {
            self.done.notes.push(note);
        }
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let path = PathBuf::from(OsString::from_vec(entry.path_bytes().into_owned()));
        let wrong = |what: &str| io::Error::other(format!("{}: {what}", path.display()));
        self.done.entries += 1;
        if self.done.entries > self.limits.entries {
            return Err(wrong("the archive holds too many files"));
        }
        let (parent, name) = self.parent(&path)?;
        let mode = entry.header().mode()? & 0o7777;
        let time = i64::try_from(entry.header().mtime()?).unwrap_or(0);
        let (user, group) = (self.id(entry.header().uid()?), self.id(entry.header().gid()?));
        let Some(name) = name else {
            // The root itself.
            self.folders.push((PathBuf::new(), mode, time));
            return self.own(&self.root, c"", user, group, AtFlags::EMPTY_PATH);
        };
        let name = name.as_os_str();
        if kind == EntryType::Directory {
            self.folder(&parent, name, &path)?;
            self.folders.push((path, mode, time));
            return self.own(&parent, name, user, group, AtFlags::SYMLINK_NOFOLLOW);
        }
        // A later entry wins over an earlier one of the name; over a folder only if that is empty.
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(_) => rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?,
        }
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)?;
                let mut file = fs::File::from(file);
                let left = self.limits.bytes - self.done.bytes;
                if entry.size() > left {
                    return Err(wrong("the archive holds too much"));
                }
                let written = io::copy(&mut entry.take(left), &mut file)?;
                self.done.bytes += written;
                self.own(&parent, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
                // After the owner: changing that takes set-id bits away.
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
                rustix::fs::futimens(&file, &times(time))?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| wrong("a link leads nowhere"))?;
                rustix::fs::symlinkat(&*target, &parent, name).map_err(|error| wrong(&error.to_string()))?;
                self.own(&parent, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().ok_or_else(|| wrong("a link leads nowhere"))?;
                let target = PathBuf::from(OsString::from_vec(target.into_owned()));
                let (from, last) = self.parent(&target)?;
                let last = last.ok_or_else(|| wrong("a hard link to the root"))?;
                // Without following: else a hard link to a symbolic link could name a file of the host.
                rustix::fs::linkat(&from, &last, &parent, name, AtFlags::empty())
                    .map_err(|error| wrong(&format!("hard link to {}: {error}", target.display())))?;
            }
            EntryType::Fifo => {
                rustix::fs::mknodat(&parent, name, rustix::fs::FileType::Fifo, Mode::from_raw_mode(mode), 0)?;
                self.own(&parent, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            EntryType::Char | EntryType::Block => self.note("device nodes were left out".to_owned()),
            other => self.note(format!("entries of type {other:?} were left out")),
        }
        Ok(())
    }

    /// The folder that holds a path, made where it is missing, and the path's last name; `None` for the root. The kernel
    /// resolves links as if the new root were `/`, so that none leads out.
    fn parent(&self, path: &Path) -> io::Result<(OwnedFd, Option<OsString>)> {
        let mut names = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => names.push(name.to_owned()),
                Component::ParentDir => {
                    return Err(io::Error::other(format!(
                        "{}: the name leads out of the archive",
                        path.display()
                    )));
                }
                _ => {}
            }
        }
        let last = names.pop();
        let folder: PathBuf = names.iter().collect();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let open = |path: &Path| {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
        };
        let mut opened = open(&folder);
        if matches!(opened, Err(rustix::io::Errno::NOENT)) {
            let mut made = PathBuf::new();
            for name in &names {
                let above = open(&made)?;
                made.push(name);
                if matches!(open(&made), Err(rustix::io::Errno::NOENT)) {
                    rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
                    self.own(&above, name.as_os_str(), 0, 0, AtFlags::SYMLINK_NOFOLLOW)?;
                }
            }
            opened = open(&folder);
        }
        opened
            .map(|folder| (folder, last))
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
    }

    fn folder(&self, parent: &OwnedFd, name: &std::ffi::OsStr, path: &Path) -> io::Result<()> {
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Err(rustix::io::Errno::EXIST) => {
                let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir() {
                    return Ok(());
                }
                rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
                rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
                Ok(())
            }
            Err(error) => Err(io::Error::other(format!("{}: {error}", path.display()))),
            Ok(()) => Ok(()),
        }
    }

    fn id(&mut self, id: u64) -> u32 {
        let fits = id <= MOST_ID || self.owners == Owners::Shifted(0);
        if !fits {
            self.note(format!("owners beyond {MOST_ID} became {NOBODY}"));
        }
        u32::try_from(if fits { id } else { NOBODY }).unwrap_or(NOBODY as u32)
    }

    fn own<P: rustix::path::Arg>(
        &self,
        folder: &OwnedFd,
        name: P,
        user: u32,
        group: u32,
        flags: AtFlags,
    ) -> io::Result<()> {
        let Owners::Shifted(shift) = self.owners else { return Ok(()) };
        let shifted =
            |id: u32| id.checked_add(shift).filter(|id| *id != u32::MAX).ok_or(io::ErrorKind::InvalidData);
        let (user, group) = (Uid::from_raw(shifted(user)?), Gid::from_raw(shifted(group)?));
        Ok(rustix::fs::chownat(folder.as_fd(), name, Some(user), Some(group), flags)?)
    }

    fn close_folders(&mut self) -> io::Result<()> {
        for (path, mode, time) in std::mem::take(&mut self.folders).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            let inside: PathBuf =
                path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
            let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { &inside };
            // A later entry may have put something else in its place.
            let Ok(folder) = rustix::fs::openat2(&self.root, inside, flags, Mode::empty(), resolve) else {
                continue;
            };
            // As an ordinary user we must be able to look into it ourselves: its owner inside is root, who always may.
            let mode = if self.owners == Owners::Ours { mode | 0o700 } else { mode };
            rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode))?;
            rustix::fs::futimens(&folder, &times(time))?;
        }
        Ok(())
    }
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
