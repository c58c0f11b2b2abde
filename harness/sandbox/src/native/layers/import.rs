//! Copies an unpacked root file system into a layer, owners shifted: for machines that cannot show a folder with other owners
//! than it has. Where they can, the folder is used as it is.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};

use super::unpack::{Owners, UnpackLimits, Unpacked};

const DEPTH: usize = 200;
const MOST_NOTES: usize = 16;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies `from` to `into`, which does not exist. Follows no link, stays on the file system of `from`, leaves out devices and
/// sockets, and keeps no hard links.
///
/// # Errors
/// What the host refused, and too much. A part may then be there.
pub(crate) fn import(from: &Path, into: &Path, owners: Owners, limits: UnpackLimits) -> io::Result<Unpacked> {
    let source = rustix::fs::open(from, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())?;
    fs::create_dir(into)?;
    let target = rustix::fs::open(into, FOLDER, Mode::empty())?;
    let found = rustix::fs::fstat(&source)?;
    let mut import = Import { owners, limits, device: found.st_dev, done: Unpacked::default() };
    import.content(&source, &target, DEPTH)?;
    import.finish(&target, &found)?;
    Ok(import.done)
}

struct Import {
    owners: Owners,
    limits: UnpackLimits,
    device: u64,
    done: Unpacked,
}

impl Import {
    fn note(&mut self, note: &str) {
        if self.done.notes.len() < MOST_NOTES && !self.done.notes.iter().any(|other| other == note) {
            self.done.notes.push(note.to_owned());
        }
    }

    fn content(&mut self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> io::Result<()> {
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = CString::from(entry.file_name());
            if name.as_c_str() == c"." || name.as_c_str() == c".." {
                continue;
            }
            let wrong = |error: io::Error| {
                io::Error::new(
                    error.kind(),
                    format!("{}: {error}", OsStr::from_bytes(name.as_bytes()).display()),
                )
            };
            self.entry(from, to, &name, depth).map_err(wrong)?;
        }
        Ok(())
    }

    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CString, depth: usize) -> io::Result<()> {
        self.done.entries += 1;
        if self.done.entries > self.limits.entries {
            return Err(io::Error::other("too many files"));
        }
        let found = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let inner_to = rustix::fs::openat(to, name, FOLDER, Mode::empty())?;
                if found.st_dev == self.device {
                    if depth == 0 {
                        return Err(io::Error::other("nested too deeply"));
                    }
                    let inner_from = rustix::fs::openat(from, name, FOLDER, Mode::empty())?;
                    self.content(&inner_from, &inner_to, depth - 1)?;
                } else {
                    self.note("what is mounted below it was left out");
                }
                self.finish(&inner_to, &found)
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let source = fs::File::from(rustix::fs::openat(from, name, flags, Mode::empty())?);
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let target = fs::File::from(rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
                let left = self.limits.bytes - self.done.bytes;
                let copied = io::copy(&mut io::Read::take(&source, left.saturating_add(1)), &mut &target)?;
                if copied > left {
                    return Err(io::Error::other("too much"));
                }
                self.done.bytes += copied;
                self.finish(&OwnedFd::from(target), &found)
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, name)?;
                self.own(to, name, &found, AtFlags::SYMLINK_NOFOLLOW)
            }
            FileType::Fifo => {
                rustix::fs::mknodat(
                    to,
                    name,
                    FileType::Fifo,
                    Mode::from_raw_mode(found.st_mode & 0o7777),
                    0,
                )?;
                self.own(to, name, &found, AtFlags::SYMLINK_NOFOLLOW)
            }
            _ => {
                self.note("devices and sockets were left out");
                Ok(())
            }
        }
    }

    /// Owner, then bits (changing the owner takes set-id away), then time.
    fn finish(&self, file: &OwnedFd, found: &Stat) -> io::Result<()> {
        self.own(file, c"", found, AtFlags::EMPTY_PATH)?;
        let is_folder = FileType::from_raw_mode(found.st_mode).is_dir();
        // As an ordinary user we must be able to look into a folder ourselves.
        let mine = if is_folder && self.owners == Owners::Ours { 0o700 } else { 0 };
        rustix::fs::fchmod(file, Mode::from_raw_mode(found.st_mode & 0o7777 | mine))?;
        let time = Timespec { tv_sec: found.st_mtime, tv_nsec: found.st_mtime_nsec as _ };
        Ok(rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })?)
    }

    fn own<P: rustix::path::Arg>(
        &self,
        file: &OwnedFd,
        name: P,
        found: &Stat,
        flags: AtFlags,
    ) -> io::Result<()> {
        let Owners::Shifted(shift) = self.owners else { return Ok(()) };
        // Ids beyond the range belong to nobody inside.
        let shifted = |id: u32| shift.saturating_add(if id < 65536 || shift == 0 { id } else { 65534 });
        let (user, group) = (Uid::from_raw(shifted(found.st_uid)), Gid::from_raw(shifted(found.st_gid)));
        Ok(rustix::fs::chownat(file.as_fd(), name, Some(user), Some(group), flags)?)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn limits() -> UnpackLimits {
        UnpackLimits { bytes: 1 << 20, entries: 50 }
    }

    fn owners() -> Owners {
        if rustix::process::geteuid().is_root() { Owners::Shifted(100_000) } else { Owners::Ours }
    }

    #[test]
    fn layers_import_copies_a_root_with_its_bits() {
        let place = tempfile::tempdir().unwrap();
        let from = place.path().join("from");
        fs::create_dir_all(from.join("bin")).unwrap();
        fs::write(from.join("bin/su"), "program").unwrap();
        fs::set_permissions(from.join("bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        symlink("bin", from.join("sbin")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        fs::create_dir(from.join("closed")).unwrap();
        fs::write(from.join("closed/x"), "x").unwrap();
        fs::set_permissions(from.join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
        let into = place.path().join("into");
        let done = import(&from, &into, owners(), limits()).unwrap();
        assert_eq!(done.notes, ["devices and sockets were left out"]);
        let su = fs::metadata(into.join("bin/su")).unwrap();
        assert_eq!(
            (su.mode() & 0o7777, su.mtime()),
            (0o4755, fs::metadata(from.join("bin/su")).unwrap().mtime())
        );
        if owners() == Owners::Shifted(100_000) {
            for name in ["", "bin", "bin/su", "link", "closed/x"] {
                assert_eq!(fs::symlink_metadata(into.join(name)).unwrap().uid(), 100_000, "{name}");
            }
            assert_eq!(fs::metadata(into.join("closed")).unwrap().mode() & 0o7777, 0o555);
        }
        assert_eq!(fs::read_link(into.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert!(fs::symlink_metadata(into.join("socket")).is_err());
        fs::set_permissions(from.join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
        crate::native::remove::remove(&into).unwrap();
    }

    #[test]
    fn layers_import_has_limits() {
        let place = tempfile::tempdir().unwrap();
        let from = place.path().join("from");
        fs::create_dir(&from).unwrap();
        fs::File::create(from.join("big")).unwrap().set_len(2 << 20).unwrap();
        assert!(import(&from, &place.path().join("a"), Owners::Ours, limits()).is_err());
        fs::remove_file(from.join("big")).unwrap();
        for number in 0..51 {
            fs::write(from.join(number.to_string()), "").unwrap();
        }
        assert!(import(&from, &place.path().join("b"), Owners::Ours, limits()).is_err());
        assert!(import(&place.path().join("none"), &place.path().join("c"), Owners::Ours, limits()).is_err());
    }
}
