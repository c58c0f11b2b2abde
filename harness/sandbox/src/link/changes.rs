//! Which paths of a sandbox differ from its image, read from the upper folders of its overlays. What stands there was written by
//! strangers: everything is opened below a folder that is held open, and no link is followed.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::{Change, ChangeKind, FileType, SandboxError};

/// One overlay to look at.
pub(crate) struct Stack<'a> {
    /// Where it is inside, without a `/` at the end.
    pub(crate) at: &'a [u8],
    /// What was written, uppermost first.
    pub(crate) uppers: Vec<OwnedFd>,
    /// The image's layers, uppermost first.
    pub(crate) lowers: Vec<OwnedFd>,
}

/// Paths inside that sandboxes have because something is mounted there.
pub(crate) type MountPoints<'a> = &'a [Vec<u8>];

/// Deepest path that is looked at: each level holds a descriptor for each layer and a part of a small stack.
const DEPTH: usize = 200;

/// Appends what differs in one overlay.
///
/// # Errors
/// [`SandboxError::TooLarge`] above `limit` changes altogether, or what the host refused.
pub(crate) fn list(
    stack: &Stack<'_>,
    mount_points: MountPoints<'_>,
    limit: usize,
    into: &mut Vec<Change>,
) -> Result<(), SandboxError> {
    let uppers: Vec<BorrowedFd<'_>> = stack.uppers.iter().map(AsFd::as_fd).collect();
    let mut walk = Walk { stack, mount_points, limit, into };
    walk.folder(&uppers, &mut Vec::new(), 0)
}

struct Walk<'a> {
    stack: &'a Stack<'a>,
    mount_points: MountPoints<'a>,
    limit: usize,
    into: &'a mut Vec<Change>,
}

impl Walk<'_> {
    /// `layers` are the same folder in every upper layer that still counts; `path` is relative to the overlay.
    fn folder(
        &mut self,
        layers: &[BorrowedFd<'_>],
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), SandboxError> {
        if depth > DEPTH {
            return Err(SandboxError::TooLarge {
                what: "the nesting of changed folders".to_owned(),
                limit: DEPTH as u64,
            });
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
    ) -> Result<(), SandboxError> {
        let Some(found) = look(layers[holders[0]], name)? else { return Ok(()) };
        let before = self.in_image(path)?;
        if whiteout(&found) {
            if before.is_some() {
                self.push(path, ChangeKind::Deleted, None)?;
            }
            return Ok(());
        }
        let kind = match &before {
            None => Some(ChangeKind::Added),
            Some(before) if !is_folder(&found) || !is_folder(before) => Some(ChangeKind::Modified),
            // A folder is copied up whenever something in it changes: that alone is no change of its own.
            Some(before)
                if (before.st_mode, before.st_uid, before.st_gid)
                    != (found.st_mode, found.st_uid, found.st_gid) =>
            {
                Some(ChangeKind::Modified)
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
    fn hidden_below(
        &mut self,
        names: &BTreeMap<Vec<u8>, Vec<usize>>,
        path: &[u8],
    ) -> Result<(), SandboxError> {
        let mut gone = std::collections::BTreeSet::new();
        for lower in &self.stack.lowers {
            if let Ok(folder) = open_path(lower.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY) {
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
                self.push(&below, ChangeKind::Deleted, None)?;
            }
        }
        Ok(())
    }

    /// What the image has at a path.
    fn in_image(&self, path: &[u8]) -> Result<Option<Stat>, SandboxError> {
        for lower in &self.stack.lowers {
            match open_path(lower.as_fd(), path, OFlags::PATH) {
                Ok(found) => {
                    let found = rustix::fs::fstat(&found).map_err(refused)?;
                    return Ok((!whiteout(&found)).then_some(found));
                }
                // Something that is no folder stands above the path, a whiteout perhaps: nothing below it counts.
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(_) if self.opaque_above(lower.as_fd(), path) => return Ok(None),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    fn opaque_above(&self, lower: BorrowedFd<'_>, path: &[u8]) -> bool {
        let cuts = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        cuts.into_iter().any(|cut| {
            open_path(lower, &path[..cut], OFlags::RDONLY | OFlags::DIRECTORY)
                .is_ok_and(|folder| opaque(folder.as_fd()))
        })
    }

    fn is_mount_point(&self, path: &[u8]) -> bool {
        let whole = [self.stack.at, b"/", path].concat();
        self.mount_points.iter().any(|point| {
            point.strip_prefix(&whole[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    }

    fn push(&mut self, path: &[u8], kind: ChangeKind, found: Option<&Stat>) -> Result<(), SandboxError> {
        if self.into.len() >= self.limit {
            return Err(SandboxError::TooLarge {
                what: "the list of changed paths".to_owned(),
                limit: self.limit as u64,
            });
        }
        let file_type = found.map(|found| match rustix::fs::FileType::from_raw_mode(found.st_mode) {
            rustix::fs::FileType::RegularFile => FileType::File,
            rustix::fs::FileType::Directory => FileType::Folder,
            rustix::fs::FileType::Symlink => FileType::Link,
            _ => FileType::Other,
        });
        let size = match (file_type, found) {
            (Some(FileType::File), Some(found)) => u64::try_from(found.st_size).unwrap_or(0),
            _ => 0,
        };
        self.into.push(Change { path: [self.stack.at, b"/", path].concat(), kind, file_type, size });
        Ok(())
    }
}

fn refused(error: Errno) -> SandboxError {
    SandboxError::host("look for what changed", error.into())
}

fn names_in(folder: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, SandboxError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn look(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>, SandboxError> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        // The sandbox runs while we look.
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(refused(error)),
    }
}

fn open_folder(folder: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

fn open_path(folder: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(folder, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

fn is_folder(found: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir()
}

fn whiteout(found: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(found.st_mode).is_char_device() && found.st_rdev == 0
}

fn opaque(folder: BorrowedFd<'_>) -> bool {
    // The second is an engine's that is root, and seen by root alone.
    ["user.overlay.opaque", "trusted.overlay.opaque"].into_iter().any(|name| {
        let mut value = [0_u8; 1];
        rustix::fs::fgetxattr(folder, name, &mut value[..])
            .is_ok_and(|length| length == 1 && value[0] == b'y')
    })
}
