//! Reading a tree. Whatever stands in it is looked at without following links; devices, sockets and pipes are left out.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use super::{
    BREAKS_OFF, Error, FILE, FOLDER, HARDLINK, MAX_DEPTH, MAX_TARGET, Meta, NO_MORE, PIECE, SYMLINK, shown,
    tried, write_bytes,
};
use crate::{glob, sys};

/// What may be sent.
#[derive(Debug, Clone)]
pub struct Send<'a> {
    /// Most bytes of content; holes are none.
    pub limit: u64,
    /// Most entries.
    pub max_entries: u64,
    /// Globs of paths left out.
    pub exclude: &'a [Vec<u8>],
    /// Permission bits of the source itself when it is a file, instead of its own.
    pub mode: Option<u32>,
}

/// Sends the file or folder `name` in `folder`; the caller says how it ended with [`super::finish`].
///
/// # Errors
/// [`Error::Missing`] when there is none, [`Error::TooLarge`], or what this side's system refused.
pub fn send(folder: BorrowedFd<'_>, name: &CStr, what: &Send<'_>, to: &mut impl Write) -> Result<(), Error> {
    let mut sender = Sender { what, to, bytes: 0, entries: 0, linked: HashMap::new() };
    let found = status(folder, name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing(format!("there is nothing at {}", name.to_string_lossy())),
        _ => Error::Host(format!("look at {}", name.to_string_lossy()), error),
    })?;
    match found.st_mode & libc::S_IFMT {
        libc::S_IFDIR => sender.folder(folder, name, b"", &found, 0),
        libc::S_IFREG => sender.file(folder, name, b"", &found),
        _ => Err(Error::Missing(format!("{} is neither a file nor a folder", name.to_string_lossy()))),
    }
}

/// As [`send`], but refuses a source that is no regular file.
///
/// # Errors
/// As for [`send`]; [`Error::Host`] when it is none.
pub fn send_regular(
    folder: BorrowedFd<'_>,
    name: &CStr,
    what: &Send<'_>,
    to: &mut impl Write,
) -> Result<(), Error> {
    let name_shown = || format!("read {}", name.to_string_lossy());
    let found = status(folder, name).map_err(|error| Error::Host(name_shown(), error))?;
    if found.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Error::Host(name_shown(), io::Error::other("not a regular file")));
    }
    send(folder, name, what, to)
}

/// Sends a file that exists only in memory.
///
/// # Errors
/// When the other side is gone.
pub fn send_file(content: &[u8], mode: u32, to: &mut impl Write) -> Result<(), Error> {
    let what = Send { limit: u64::MAX, max_entries: 1, exclude: &[], mode: None };
    let mut sender = Sender { what: &what, to, bytes: 0, entries: 0, linked: HashMap::new() };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(0);
    sender.entry(FILE, b"")?;
    sender.meta(&Meta { mode, seconds, nanoseconds: now.subsec_nanos() })?;
    sender.write(|to| {
        to.write_all(&(content.len() as u64).to_le_bytes())?;
        for (index, piece) in content.chunks(PIECE).enumerate() {
            to.write_all(&((index * PIECE) as u64).to_le_bytes())?;
            write_bytes(to, piece)?;
        }
        to.write_all(&NO_MORE.to_le_bytes())
    })
}

struct Sender<'a, W> {
    what: &'a Send<'a>,
    to: &'a mut W,
    bytes: u64,
    entries: u64,
    /// Files with more than one name, by device and inode, and the path under which each was sent.
    linked: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Sender<'_, W> {
    fn folder(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        found: &libc::stat,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooLarge("the nesting of folders".to_owned(), MAX_DEPTH as u64));
        }
        self.entry(FOLDER, path)?;
        self.meta(&meta(found))?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let opened = tried(open(parent, name, flags), || format!("open {}", shown(path)))?;
        for child in tried(names(&opened), || format!("list {}", shown(path)))? {
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(child.as_bytes());
            if glob::excluded(self.what.exclude, &below) {
                continue;
            }
            // Gone while we read: then it is not there.
            let Ok(found) = status(opened.as_fd(), &child) else { continue };
            match found.st_mode & libc::S_IFMT {
                libc::S_IFDIR => self.folder(opened.as_fd(), &child, &below, &found, depth + 1)?,
                libc::S_IFREG => self.file(opened.as_fd(), &child, &below, &found)?,
                libc::S_IFLNK => self.symlink(opened.as_fd(), &child, &below)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        found: &libc::stat,
    ) -> Result<(), Error> {
        if found.st_nlink > 1 && !path.is_empty() {
            let key = (found.st_dev, found.st_ino);
            if let Some(first) = self.linked.get(&key).cloned() {
                self.entry(HARDLINK, path)?;
                return self.write(|to| write_bytes(to, &first));
            }
            self.linked.insert(key, path.to_vec());
        }
        // Not waiting, should a pipe have taken the file's place since we looked.
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut file = File::from(tried(open(parent, name, flags), || format!("open {}", shown(path)))?);
        let data = tried(file.metadata(), || format!("look at {}", shown(path)))?;
        if !data.is_file() {
            return Err(Error::Missing(format!("{} was replaced while it was read", shown(path))));
        }
        self.entry(FILE, path)?;
        let mut meta = meta(found);
        if path.is_empty() {
            meta.mode = self.what.mode.unwrap_or(meta.mode);
        }
        self.meta(&meta)?;
        let size = data.size();
        self.write(|to| to.write_all(&size.to_le_bytes()))?;
        let sent = self.pieces(&mut file, size, path);
        // An error within a file has to be announced where an offset is expected.
        self.write(|to| to.write_all(&if sent.is_ok() { NO_MORE } else { BREAKS_OFF }.to_le_bytes()))?;
        sent
    }

    fn pieces(&mut self, file: &mut File, size: u64, path: &[u8]) -> Result<(), Error> {
        let mut buffer = vec![0; PIECE];
        let mut offset = 0;
        while offset < size {
            let Some((start, end)) = next_data(file, offset, size) else { break };
            offset = start;
            tried(file.seek(SeekFrom::Start(start)), || format!("read {}", shown(path)))?;
            while offset < end {
                let wanted = usize::try_from(end - offset).unwrap_or(PIECE).min(PIECE);
                let count = match file.read(&mut buffer[..wanted]) {
                    // Shorter than it was: the rest reads as zeros, as a hole does.
                    Ok(0) => return Ok(()),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(Error::Host(format!("read {}", shown(path)), error)),
                };
                self.bytes += count as u64;
                if self.bytes > self.what.limit {
                    return Err(Error::TooLarge("what is copied".to_owned(), self.what.limit));
                }
                self.write(|to| {
                    to.write_all(&offset.to_le_bytes())?;
                    write_bytes(to, &buffer[..count])
                })?;
                offset += count as u64;
            }
        }
        Ok(())
    }

    fn symlink(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), Error> {
        let mut target = vec![0_u8; MAX_TARGET];
        // SAFETY: the string and the buffer live across the call, which is told the buffer's length.
        let length = unsafe {
            libc::readlinkat(parent.as_raw_fd(), name.as_ptr(), target.as_mut_ptr().cast(), target.len())
        };
        let Ok(length) = usize::try_from(length) else { return Ok(()) };
        self.entry(SYMLINK, path)?;
        self.write(|to| write_bytes(to, &target[..length]))
    }

    fn entry(&mut self, kind: u8, path: &[u8]) -> Result<(), Error> {
        self.entries += 1;
        if self.entries > self.what.max_entries {
            return Err(Error::TooLarge("the number of files".to_owned(), self.what.max_entries));
        }
        self.write(|to| {
            to.write_all(&[kind])?;
            write_bytes(to, path)
        })
    }

    fn meta(&mut self, meta: &Meta) -> Result<(), Error> {
        self.write(|to| {
            to.write_all(&meta.mode.to_le_bytes())?;
            to.write_all(&meta.seconds.to_le_bytes())?;
            to.write_all(&meta.nanoseconds.to_le_bytes())
        })
    }

    fn write(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) -> Result<(), Error> {
        write(self.to).map_err(|error| Error::Broken(format!("the other side takes no more files: {error}")))
    }
}

fn meta(found: &libc::stat) -> Meta {
    Meta {
        mode: found.st_mode & 0o7777,
        seconds: found.st_mtime,
        nanoseconds: u32::try_from(found.st_mtime_nsec).unwrap_or(0),
    }
}

fn status(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<libc::stat> {
    // SAFETY: a zeroed stat is valid, and ours to fill; the string lives across the call.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        sys::check(libc::fstatat(
            folder.as_raw_fd(),
            name.as_ptr(),
            &raw mut found,
            libc::AT_SYMLINK_NOFOLLOW,
        ))?;
        Ok(found)
    }
}

fn open(folder: BorrowedFd<'_>, name: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    let how = sys::OpenHow { flags: flags as u64, ..sys::OpenHow::default() };
    sys::openat2(folder, name, how)
}

/// Names in a folder, sorted so that equal trees give equal streams.
fn names(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        names.push(sys::c_string(entry?.file_name().as_encoded_bytes())?);
    }
    names.sort();
    Ok(names)
}

/// The next stretch of a file that is no hole.
fn next_data(file: &File, from: u64, size: u64) -> Option<(u64, u64)> {
    let seek = |offset: u64, whence| {
        // SAFETY: plain lseek on our own descriptor.
        let found = unsafe { libc::lseek(file.as_raw_fd(), offset as libc::off_t, whence) };
        u64::try_from(found).map_err(|_| io::Error::last_os_error())
    };
    match seek(from, libc::SEEK_DATA) {
        Ok(start) if start < size => {
            let end = seek(start, libc::SEEK_HOLE).unwrap_or(size).min(size);
            Some((start, end))
        }
        Err(error) if error.raw_os_error() != Some(libc::ENXIO) => Some((from, size)),
        _ => None,
    }
}
