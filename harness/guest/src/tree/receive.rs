//! Writing a tree. The stream may be anything: every name is one component below a folder that is held open, no link is ever
//! followed, and every limit is checked here again.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use super::{
    BREAKS_OFF, END, ERROR, Error, FILE, FOLDER, HARDLINK, MAX_DEPTH, MAX_PATH, MAX_TARGET, Meta, NO_MORE,
    PIECE, SYMLINK, array, byte, fill, read_bytes, remote_error, shown, tried,
};
use crate::sys;

/// Where a tree goes.
#[derive(Debug)]
pub struct Destination<'a> {
    /// The folder that holds it.
    pub folder: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a CStr,
}

/// What may be received, and how it is written.
#[derive(Debug, Clone)]
pub struct Receive {
    /// Most bytes of content.
    pub limit: u64,
    /// Most entries.
    pub max_entries: u64,
    /// Which permission bits are kept.
    pub mode_mask: u32,
    /// Who owns everything; `None` leaves it to whoever writes.
    pub owner: Option<(u32, u32)>,
    /// What to do where something stands already.
    pub replace: Replace,
}

/// What to do where something stands already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Nothing may stand there.
    Never,
    /// Folders are filled; everything else is taken away first, so that no link or pipe is written through.
    Always,
}

/// Writes the tree that [`super::send`] and [`super::finish`] sent.
///
/// # Errors
/// What either side refused; what was written so far stays.
pub fn receive(from: &mut impl Read, to: &Destination<'_>, how: &Receive) -> Result<(), Error> {
    let mut receiver =
        Receiver { how, from, bytes: 0, entries: 0, stack: Vec::new(), finish: Vec::new(), top: false };
    loop {
        match byte(receiver.from)? {
            END => break,
            ERROR => return Err(remote_error(receiver.from)?),
            kind => receiver.entry(kind, to)?,
        }
    }
    receiver.finish_folders()
}

struct Receiver<'a, R> {
    how: &'a Receive,
    from: &'a mut R,
    bytes: u64,
    entries: u64,
    /// Open folders from the top down, each with its name in the one before.
    stack: Vec<(Vec<u8>, OwnedFd)>,
    /// Folders get bits and times at the end: before, they have to be written into.
    finish: Vec<(OwnedFd, Meta)>,
    /// Whether the first entry was a folder.
    top: bool,
}

/// Folders held open for their bits and times; beyond that the earliest are finished at once.
const MOST_UNFINISHED: usize = 1024;

impl<R: Read> Receiver<'_, R> {
    fn entry(&mut self, kind: u8, to: &Destination<'_>) -> Result<(), Error> {
        self.entries += 1;
        if self.entries > self.how.max_entries {
            return Err(Error::TooLarge("the number of files".to_owned(), self.how.max_entries));
        }
        let path = read_bytes(self.from, MAX_PATH)?;
        if path.is_empty() != (self.entries == 1) {
            return Err(Error::Broken("a stream of files that does not begin with its source".to_owned()));
        }
        if path.is_empty() {
            return match kind {
                FOLDER => {
                    // The source's own bits are not the destination's: the folder's *content* is copied.
                    self.read_meta()?;
                    let made = make_folder(to.folder, to.name, self.how.replace);
                    let folder = tried(made, || format!("make {}", shown(to.name.to_bytes())))?;
                    self.stack.push((Vec::new(), folder));
                    self.top = true;
                    Ok(())
                }
                FILE => self.file(to.folder, to.name, b""),
                _ => Err(Error::Broken("a stream of files without a source".to_owned())),
            };
        }
        if !self.top {
            return Err(Error::Broken("a second entry after a single file".to_owned()));
        }
        let (parent, name) = self.walk_to(&path)?;
        let parent = tried(parent.try_clone(), || format!("open {}", shown(&path)))?;
        match kind {
            FOLDER => {
                let meta = self.read_meta()?;
                let folder = tried(make_folder(parent.as_fd(), &name, self.how.replace), || {
                    format!("make {}", shown(&path))
                })?;
                self.own(folder.as_fd(), &path)?;
                let kept = tried(folder.try_clone(), || format!("make {}", shown(&path)))?;
                self.finish.push((kept, meta));
                if self.finish.len() > MOST_UNFINISHED {
                    let (folder, meta) = self.finish.remove(0);
                    self.apply(folder.as_fd(), &meta, b"a folder")?;
                }
                self.stack.push((name.into_bytes(), folder));
                Ok(())
            }
            FILE => self.file(parent.as_fd(), &name, &path),
            SYMLINK => {
                let target = read_bytes(self.from, MAX_TARGET)?;
                let target = c_name(&target)?;
                self.clear(parent.as_fd(), &name);
                // SAFETY: both strings live across the call.
                let made = sys::check(unsafe {
                    libc::symlinkat(target.as_ptr(), parent.as_raw_fd(), name.as_ptr())
                });
                tried(made, || format!("make the link {}", shown(&path)))?;
                self.own_name(parent.as_fd(), &name, &path)
            }
            HARDLINK => {
                let first = read_bytes(self.from, MAX_PATH)?;
                let top = &self.stack[0].1;
                let (folder, first_name) = open_parent(top.as_fd(), &first)?;
                self.clear(parent.as_fd(), &name);
                // SAFETY: both strings live across the call. Without AT_SYMLINK_FOLLOW no link is followed.
                let made = sys::check(unsafe {
                    libc::linkat(
                        folder.as_raw_fd(),
                        first_name.as_ptr(),
                        parent.as_raw_fd(),
                        name.as_ptr(),
                        0,
                    )
                });
                tried(made, || format!("link {}", shown(&path))).map(|_| ())
            }
            _ => Err(Error::Broken("an unknown kind of file".to_owned())),
        }
    }

    /// The open folder that holds `path`, and the last name. Parents come first in a stream, hence are on the stack or below
    /// it.
    fn walk_to(&mut self, path: &[u8]) -> Result<(&OwnedFd, CString), Error> {
        let names = components(path)?;
        let (last, parents) = names.split_last().ok_or_else(|| Error::Escape(path.to_vec()))?;
        if parents.len() > MAX_DEPTH {
            return Err(Error::TooLarge("the nesting of folders".to_owned(), MAX_DEPTH as u64));
        }
        let shared =
            self.stack[1..].iter().zip(parents).take_while(|((name, _), part)| name == *part).count();
        self.stack.truncate(shared + 1);
        for part in &parents[shared..] {
            let above = &self.stack.last().expect("the top folder is never taken off").1;
            let folder =
                tried(open_folder(above.as_fd(), &c_name(part)?), || format!("open {}", shown(path)))?;
            self.stack.push((part.to_vec(), folder));
        }
        let holder = &self.stack.last().expect("the top folder is never taken off").1;
        Ok((holder, c_name(last)?))
    }

    fn file(&mut self, folder: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), Error> {
        let meta = self.read_meta()?;
        let size = u64::from_le_bytes(array(self.from)?);
        self.clear(folder, name);
        let how = sys::OpenHow {
            flags: (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW) as u64,
            mode: 0o600,
            resolve: 0,
        };
        let what = || format!("write {}", if path.is_empty() { shown(name.to_bytes()) } else { shown(path) });
        let file = match sys::openat2(folder, name, how) {
            Ok(file) => File::from(file),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::EISDIR)) => {
                return Err(Error::Missing(format!("cannot {}: a folder stands there", what())));
            }
            Err(error) => return Err(Error::Host(what(), error)),
        };
        let mut buffer = vec![0; PIECE];
        loop {
            let offset = u64::from_le_bytes(array(self.from)?);
            if offset == NO_MORE {
                break;
            }
            if offset == BREAKS_OFF {
                return Err(match byte(self.from)? {
                    ERROR => remote_error(self.from)?,
                    _ => Error::Broken("a file that breaks off without a reason".to_owned()),
                });
            }
            let length = u32::from_le_bytes(array(self.from)?) as usize;
            let end = offset.checked_add(length as u64).filter(|end| *end <= size);
            if length > PIECE || end.is_none() {
                return Err(Error::Broken("a piece of a file that lies outside of it".to_owned()));
            }
            self.bytes += length as u64;
            if self.bytes > self.how.limit {
                return Err(Error::TooLarge("what is copied".to_owned(), self.how.limit));
            }
            fill(self.from, &mut buffer[..length])?;
            tried(file.write_all_at(&buffer[..length], offset), what)?;
        }
        tried(file.set_len(size), what)?;
        self.own(file.as_fd(), path)?;
        self.apply(file.as_fd(), &meta, path)
    }

    fn read_meta(&mut self) -> Result<Meta, Error> {
        Ok(Meta {
            mode: u32::from_le_bytes(array(self.from)?),
            seconds: i64::from_le_bytes(array(self.from)?),
            nanoseconds: u32::from_le_bytes(array(self.from)?).min(999_999_999),
        })
    }

    /// Takes away what stands in the way, when that is allowed; a folder stays, and the next step says so.
    fn clear(&self, folder: BorrowedFd<'_>, name: &CStr) {
        if self.how.replace == Replace::Always {
            // SAFETY: the string lives across the call.
            unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), 0) };
        }
    }

    fn own(&self, fd: BorrowedFd<'_>, path: &[u8]) -> Result<(), Error> {
        let Some((uid, gid)) = self.how.owner else { return Ok(()) };
        // SAFETY: plain fchown on an open descriptor.
        let owned = sys::check(unsafe { libc::fchown(fd.as_raw_fd(), uid, gid) });
        tried(owned, || format!("give {} to {uid}:{gid}", shown(path))).map(|_| ())
    }

    fn own_name(&self, folder: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), Error> {
        let Some((uid, gid)) = self.how.owner else { return Ok(()) };
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: the string lives across the call.
        let owned = sys::check(unsafe { libc::fchownat(folder.as_raw_fd(), name.as_ptr(), uid, gid, flags) });
        tried(owned, || format!("give {} to {uid}:{gid}", shown(path))).map(|_| ())
    }

    fn apply(&self, fd: BorrowedFd<'_>, meta: &Meta, path: &[u8]) -> Result<(), Error> {
        let mtime = libc::timespec { tv_sec: meta.seconds, tv_nsec: meta.nanoseconds.into() };
        let times = [libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT }, mtime];
        // SAFETY: plain calls on an open descriptor; the times live across theirs.
        unsafe {
            tried(sys::check(libc::fchmod(fd.as_raw_fd(), meta.mode & self.how.mode_mask)), || {
                format!("set the bits of {}", shown(path))
            })?;
            // A time that this file system cannot hold is no reason to fail.
            libc::futimens(fd.as_raw_fd(), times.as_ptr());
        }
        Ok(())
    }

    /// Innermost last in the stream, hence first here: a folder without its bits cannot be in the way.
    fn finish_folders(&mut self) -> Result<(), Error> {
        for (folder, meta) in std::mem::take(&mut self.finish).into_iter().rev() {
            self.apply(folder.as_fd(), &meta, b"a folder")?;
        }
        Ok(())
    }
}

fn components(path: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    if names.iter().any(|name| name.is_empty() || *name == b"." || *name == b"..") {
        return Err(Error::Escape(path.to_vec()));
    }
    Ok(names)
}

fn c_name(name: &[u8]) -> Result<CString, Error> {
    sys::c_string(name).map_err(|_| Error::Escape(name.to_vec()))
}

fn open_folder(above: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let how = sys::OpenHow {
        flags: (libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW) as u64,
        ..sys::OpenHow::default()
    };
    sys::openat2(above, name, how)
}

fn open_parent(top: BorrowedFd<'_>, path: &[u8]) -> Result<(OwnedFd, CString), Error> {
    let names = components(path)?;
    let (last, parents) = names.split_last().ok_or_else(|| Error::Escape(path.to_vec()))?;
    let what = || format!("open {}", shown(path));
    let mut folder = tried(top.try_clone_to_owned(), what)?;
    for part in parents {
        folder = tried(open_folder(folder.as_fd(), &c_name(part)?), what)?;
    }
    Ok((folder, c_name(last)?))
}

fn make_folder(above: BorrowedFd<'_>, name: &CStr, replace: Replace) -> io::Result<OwnedFd> {
    // SAFETY: the string lives across the calls.
    let mkdir = || sys::check(unsafe { libc::mkdirat(above.as_raw_fd(), name.as_ptr(), 0o755) });
    match mkdir() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && replace == Replace::Always => {
            match open_folder(above, name) {
                Ok(folder) => return Ok(folder),
                Err(_) => {
                    // SAFETY: as above. A link or file in a folder's place.
                    sys::check(unsafe { libc::unlinkat(above.as_raw_fd(), name.as_ptr(), 0) })?;
                    mkdir()?;
                }
            }
        }
        made => drop(made?),
    }
    open_folder(above, name)
}
