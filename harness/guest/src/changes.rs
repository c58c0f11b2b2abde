//! Which paths of a sandbox differ from its image, read from the upper folders of its overlays, by the host or by PID 1. What
//! stands there was written by strangers: everything is opened below a folder that is held open, and no link is followed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::sys::{self, OpenHow};
use crate::tree::Error;
use crate::wire::{Decoder, Encoder, Malformed};

/// One overlay to look at.
pub struct Stack<'a> {
    /// Where it is inside, without a `/` at the end.
    pub at: &'a [u8],
    /// What was written, uppermost first.
    pub uppers: Vec<OwnedFd>,
    /// The image's layers, uppermost first.
    pub lowers: Vec<OwnedFd>,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Absolute, inside.
    pub path: Vec<u8>,
    /// In which way.
    pub kind: Kind,
    /// `st_mode` and `st_size` of what stands there now; `None` when deleted.
    pub now: Option<(u32, u64)>,
}

/// In which way a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not in the image.
    Added,
    /// In the image, otherwise.
    Modified,
    /// In the image only.
    Deleted,
}

/// Deepest path that is looked at: each level holds a descriptor for each layer and a part of a small stack.
const DEPTH: usize = 200;

/// Appends what differs in one overlay. `mount_points` are paths inside that sandboxes have because something is mounted there.
///
/// # Errors
/// [`Error::TooLarge`] above `limit` changes altogether, or what the kernel refused.
pub fn list(
    stack: &Stack<'_>,
    mount_points: &[Vec<u8>],
    limit: usize,
    into: &mut Vec<Changed>,
) -> Result<(), Error> {
    let uppers: Vec<BorrowedFd<'_>> = stack.uppers.iter().map(AsFd::as_fd).collect();
    let mut walk = Walk { stack, mount_points, limit, into };
    walk.folder(&uppers, &mut Vec::new(), 0)
}

/// As bytes, to travel.
pub fn encode(changed: &[Changed]) -> Vec<u8> {
    let mut to = Encoder::new(1);
    to.list(changed, |to, change| {
        to.bytes(&change.path);
        to.u8(match change.kind {
            Kind::Added => 1,
            Kind::Modified => 2,
            Kind::Deleted => 3,
        });
        to.option(change.now.as_ref(), |to, (mode, size)| {
            to.u32(*mode);
            to.u64(*size);
        });
    });
    to.finish()
}

/// From bytes.
///
/// # Errors
/// When they are malformed.
pub fn decode(bytes: &[u8]) -> Result<Vec<Changed>, Malformed> {
    let (_, mut from) = Decoder::new(bytes)?;
    let changed = from.list(|from| {
        let path = from.bytes()?;
        let kind = match from.u8()? {
            1 => Kind::Added,
            2 => Kind::Modified,
            3 => Kind::Deleted,
            _ => return Err(Malformed("an unknown kind of change")),
        };
        Ok(Changed { path, kind, now: from.option(|from| Ok((from.u32()?, from.u64()?)))? })
    })?;
    from.end()?;
    Ok(changed)
}

struct Walk<'a> {
    stack: &'a Stack<'a>,
    mount_points: &'a [Vec<u8>],
    limit: usize,
    into: &'a mut Vec<Changed>,
}

impl Walk<'_> {
    /// `layers` are the same folder in every upper layer that still counts; `path` is relative to the overlay.
    fn folder(&mut self, layers: &[BorrowedFd<'_>], path: &mut Vec<u8>, depth: usize) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(Error::TooLarge("the nesting of changed folders".to_owned(), DEPTH as u64));
        }
        // For each name the layers that have it, uppermost first.
        let mut names: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        let mut count = layers.len();
        for (index, layer) in layers.iter().enumerate() {
            for name in names_in(*layer)? {
                names.entry(name).or_default().push(index);
            }
            // What is opaque hides the layers below, the image's too.
            if opaque(*layer) {
                count = index + 1;
                self.hidden_below(&names, path)?;
                break;
            }
        }
        let layers = &layers[..count];
        for (name, holders) in names {
            let length = path.len();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.entry(layers, &name, &holders, path, depth)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        layers: &[BorrowedFd<'_>],
        name: &[u8],
        holders: &[usize],
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Error> {
        let Some(found) = look(layers[holders[0]], name)? else { return Ok(()) };
        let before = self.in_image(path)?;
        if whiteout(&found) {
            if before.is_some() {
                self.push(path, Kind::Deleted, None)?;
            }
            return Ok(());
        }
        let kind = match &before {
            None => Some(Kind::Added),
            Some(before) if !is_folder(&found) || !is_folder(before) => Some(Kind::Modified),
            // A folder is copied up whenever something in it changes: that alone is no change of its own.
            Some(before)
                if (before.st_mode, before.st_uid, before.st_gid)
                    != (found.st_mode, found.st_uid, found.st_gid) =>
            {
                Some(Kind::Modified)
            }
            Some(_) => None,
        };
        let standing = !self.is_mount_point(path) || before.is_some();
        if let Some(kind) = kind
            && standing
        {
            self.push(path, kind, Some(&found))?;
        }
        if is_folder(&found) {
            let mut below = Vec::new();
            for holder in holders {
                match open_folder(layers[*holder], name) {
                    Ok(folder) => below.push(folder),
                    // A file or whiteout there hides what lies still lower.
                    Err(_) => break,
                }
            }
            let below: Vec<BorrowedFd<'_>> = below.iter().map(AsFd::as_fd).collect();
            self.folder(&below, path, depth + 1)?;
        }
        Ok(())
    }

    /// An opaque folder hides all that the image has there and that was not made anew.
    fn hidden_below(&mut self, names: &BTreeMap<Vec<u8>, Vec<usize>>, path: &[u8]) -> Result<(), Error> {
        let mut gone = BTreeSet::new();
        for lower in &self.stack.lowers {
            if let Ok(folder) = open_path(lower.as_fd(), path, libc::O_RDONLY | libc::O_DIRECTORY) {
                gone.extend(names_in(folder.as_fd())?);
            }
        }
        for name in gone.into_iter().filter(|name| !names.contains_key(name)) {
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(&name);
            if self.in_image(&below)?.is_some() {
                self.push(&below, Kind::Deleted, None)?;
            }
        }
        Ok(())
    }

    /// What the image has at a path.
    fn in_image(&self, path: &[u8]) -> Result<Option<libc::stat>, Error> {
        for lower in &self.stack.lowers {
            match open_path(lower.as_fd(), path, libc::O_PATH) {
                Ok(found) => {
                    let found = stat_of(found.as_fd(), c"", libc::AT_EMPTY_PATH).map_err(refused)?;
                    return Ok((!whiteout(&found)).then_some(found));
                }
                // Something that is no folder stands above the path, a whiteout perhaps: nothing below it counts.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
                    return Ok(None);
                }
                Err(_) if self.opaque_above(lower.as_fd(), path) => return Ok(None),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    fn opaque_above(&self, lower: BorrowedFd<'_>, path: &[u8]) -> bool {
        let cuts = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        cuts.into_iter().any(|cut| {
            open_path(lower, &path[..cut], libc::O_RDONLY | libc::O_DIRECTORY)
                .is_ok_and(|folder| opaque(folder.as_fd()))
        })
    }

    fn is_mount_point(&self, path: &[u8]) -> bool {
        let whole = [self.stack.at, b"/", path].concat();
        self.mount_points.iter().any(|point| {
            point.strip_prefix(&whole[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    }

    fn push(&mut self, path: &[u8], kind: Kind, found: Option<&libc::stat>) -> Result<(), Error> {
        if self.into.len() >= self.limit {
            return Err(Error::TooLarge("the list of changed paths".to_owned(), self.limit as u64));
        }
        let now = found.map(|found| (found.st_mode, u64::try_from(found.st_size).unwrap_or(0)));
        self.into.push(Changed { path: [self.stack.at, b"/", path].concat(), kind, now });
        Ok(())
    }
}

fn refused(error: io::Error) -> Error {
    Error::Host("look for what changed".to_owned(), error)
}

fn names_in(folder: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Error> {
    let entries = std::fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd())).map_err(refused)?;
    entries.map(|entry| Ok(entry.map_err(refused)?.file_name().into_encoded_bytes())).collect()
}

fn stat_of(folder: BorrowedFd<'_>, name: &CStr, flags: libc::c_int) -> io::Result<libc::stat> {
    // SAFETY: a zeroed structure is valid and ours to fill; the string lives across the call.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        sys::check(libc::fstatat(
            folder.as_raw_fd(),
            name.as_ptr(),
            &raw mut found,
            flags | libc::AT_SYMLINK_NOFOLLOW,
        ))?;
        Ok(found)
    }
}

fn look(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<libc::stat>, Error> {
    let name = sys::c_string(name).map_err(refused)?;
    match stat_of(folder, &name, 0) {
        Ok(found) => Ok(Some(found)),
        // The sandbox runs while we look.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(error)),
    }
}

fn open_folder(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    open_path(folder, name, libc::O_RDONLY | libc::O_DIRECTORY)
}

fn open_path(folder: BorrowedFd<'_>, path: &[u8], flags: libc::c_int) -> io::Result<OwnedFd> {
    let path = sys::c_string(if path.is_empty() { b"." } else { path })?;
    let how = OpenHow {
        flags: (flags | libc::O_NOFOLLOW) as u64,
        mode: 0,
        resolve: libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS,
    };
    sys::openat2(folder, &path, how)
}

fn is_folder(found: &libc::stat) -> bool {
    found.st_mode & libc::S_IFMT == libc::S_IFDIR
}

fn whiteout(found: &libc::stat) -> bool {
    found.st_mode & libc::S_IFMT == libc::S_IFCHR && found.st_rdev == 0
}

fn opaque(folder: BorrowedFd<'_>) -> bool {
    // The second is an engine's that is root, and seen by root alone.
    [c"user.overlay.opaque", c"trusted.overlay.opaque"].into_iter().any(|name| {
        let mut value = [0_u8; 1];
        // SAFETY: the string and the array live across the call, and the length is the array's.
        let length = unsafe {
            libc::fgetxattr(folder.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
        };
        length == 1 && value[0] == b'y'
    })
}
