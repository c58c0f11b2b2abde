//! Moving files in and out, in a process of its own with PID 1's rights over the sandbox's files and nothing but the sandbox's
//! root to resolve paths in.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use harness_guest::changes::{self, Stack};
use harness_guest::message::{FileOp, Layers};
use harness_guest::sys::{self, OpenHow};
use harness_guest::tree::{self, Destination, Error, Receive, Replace, Send};

use crate::arrive::Held;
use crate::setup::{exit, folder_at};

/// Most entries that one `put` may have.
const MOST_ENTRIES: u64 = 4_000_000;

/// Where it is done.
pub(crate) struct Where<'a> {
    /// Mount namespace of the view.
    pub(crate) view: Option<&'a OwnedFd>,
    /// The image's layers, where PID 1 keeps them.
    pub(crate) held: Option<&'a Held>,
    /// Whether there is but one id.
    pub(crate) one_id: bool,
}

/// Forks; the child tells the outcome on the socket.
pub(crate) fn start(op: &FileOp, socket: &OwnedFd, place: &Where<'_>) -> io::Result<()> {
    // SAFETY: PID 1 has one thread.
    if sys::check(unsafe { libc::fork() })? != 0 {
        return Ok(());
    }
    if let Some(view) = place.view {
        // SAFETY: plain setns.
        if unsafe { libc::setns(view.as_raw_fd(), libc::CLONE_NEWNS) } != 0 {
            exit(1);
        }
    }
    // SAFETY: plain calls. SIGPIPE is ignored in PID 1: a host that went away is an error like others.
    unsafe { libc::umask(0o022) };
    let told = socket.try_clone().map(|copy| serve(op, File::from(copy), place));
    exit(i32::from(!matches!(told, Ok(Ok(())))))
}

fn serve(op: &FileOp, socket: File, place: &Where<'_>) -> io::Result<()> {
    let mut to = BufWriter::with_capacity(64 << 10, socket.try_clone()?);
    let outcome = match op {
        FileOp::Put { at, owner } => {
            // With a single id there is nobody else to give anything to.
            let owner = if place.one_id { None } else { Some(*owner) };
            put(at, owner, &mut BufReader::with_capacity(64 << 10, socket))
        }
        FileOp::Get { from, limit, max_entries, exclude } => {
            let what = Send { limit: *limit, max_entries: *max_entries, exclude, mode: None };
            get(from, &what, &mut to)
        }
        FileOp::Read { path, limit } => read(path, *limit, &mut to),
        FileOp::Changes { layers, limit } => changed(place.held, layers, *limit, &mut to),
    };
    tree::finish(&mut to, &outcome)?;
    to.flush()
}

fn changed(held: Option<&Held>, layers: &Layers, limit: u64, to: &mut impl Write) -> Result<(), Error> {
    let host = |error| Error::Host("open the layers".to_owned(), error);
    let held = held.ok_or_else(|| Error::Missing("no layers are kept here".to_owned()))?;
    let top = held.enter().map_err(|error| Error::Host(error.what, error.source))?;
    let open = |path: &Vec<u8>| {
        let path = sys::c_string(path)?;
        let how = OpenHow {
            flags: (libc::O_RDONLY | libc::O_DIRECTORY) as u64,
            mode: 0,
            // Engines use links of their own for layers' names; what was written lies below the folders that they lead to.
            resolve: libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS,
        };
        sys::openat2(top.as_fd(), &path, how)
    };
    let stack = Stack {
        at: b"",
        uppers: layers.uppers.iter().map(open).collect::<io::Result<_>>().map_err(host)?,
        lowers: layers.lowers.iter().map(open).collect::<io::Result<_>>().map_err(host)?,
    };
    let mut found = Vec::new();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    changes::list(&stack, &layers.mount_points, limit, &mut found)?;
    tree::send_bytes(&mut changes::encode(&found).as_slice(), to, u64::MAX)
}

fn root() -> Result<OwnedFd, Error> {
    sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)
        .map_err(|error| Error::Host("open the root inside".to_owned(), error))
}

/// The folder that holds the path, and the last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let mut path = path;
    while let Some(shorter) = path.strip_suffix(b"/") {
        path = shorter;
    }
    let cut = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    (&path[..cut], &path[cut..])
}

fn put(at: &[u8], owner: Option<(u32, u32)>, from: &mut impl io::Read) -> Result<(), Error> {
    let how = Receive {
        limit: u64::MAX,
        max_entries: MOST_ENTRIES,
        mode_mask: 0o7777,
        owner,
        replace: Replace::Always,
    };
    let root = root()?;
    let made = |error: crate::trouble::Trouble| match error.errno() {
        libc::ENOTDIR | libc::ELOOP | libc::EEXIST | libc::ENAMETOOLONG => Error::Missing(error.to_string()),
        _ => Error::Host(error.what, error.source),
    };
    let (above, name) = split(at);
    // What is put where a folder stands, or a link to one, is put into that folder; the stream says whether it may be.
    let existing = sys::c_string(at).ok().and_then(|path| {
        let how = OpenHow {
            flags: (libc::O_PATH | libc::O_DIRECTORY) as u64,
            mode: 0,
            resolve: libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS,
        };
        sys::openat2(root.as_fd(), &path, how).ok()
    });
    if let Some(folder) = existing {
        return tree::receive(from, &Destination { folder: folder.as_fd(), name: c"." }, &how);
    }
    if name.is_empty() || name == b"." || name == b".." {
        return Err(Error::Missing(format!("there is no folder {}", String::from_utf8_lossy(at))));
    }
    let above = folder_at(root.as_fd(), above).map_err(made)?;
    let name = sys::c_string(name).map_err(|_| Error::Missing("a NUL in a path".to_owned()))?;
    tree::receive(from, &Destination { folder: above.as_fd(), name: &name }, &how)
}

fn get(from: &[u8], what: &Send<'_>, to: &mut impl Write) -> Result<(), Error> {
    let root = root()?;
    let missing = |error: io::Error| Error::Missing(format!("{}: {error}", String::from_utf8_lossy(from)));
    let path = sys::c_string(from).map_err(missing)?;
    let mut how = OpenHow {
        flags: libc::O_PATH as u64,
        mode: 0,
        resolve: libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS,
    };
    // A folder, or a link to one, is sent from within.
    how.flags |= libc::O_DIRECTORY as u64;
    match sys::openat2(root.as_fd(), &path, how) {
        Ok(folder) => tree::send(folder.as_fd(), c".", what, to),
        Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {
            let (above, name) = split(from);
            let above = sys::c_string(if above.is_empty() { b"/" } else { above }).map_err(missing)?;
            let above = sys::openat2(root.as_fd(), &above, how).map_err(missing)?;
            let name = sys::c_string(name).map_err(missing)?;
            tree::send(above.as_fd(), &name, what, to)
        }
        Err(error) => Err(missing(error)),
    }
}

/// Sends nothing, not even an empty file, unless there is a regular one.
fn read(path: &[u8], limit: u64, to: &mut impl Write) -> Result<(), Error> {
    let nothing = || Error::Missing("no regular file".to_owned());
    let host = |error| Error::Host(format!("read {}", String::from_utf8_lossy(path)), error);
    let root = root()?;
    let path = sys::c_string(path).map_err(|_| nothing())?;
    let look = OpenHow {
        flags: (libc::O_PATH | libc::O_NOFOLLOW) as u64,
        mode: 0,
        resolve: libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS,
    };
    let found = match sys::openat2(root.as_fd(), &path, look) {
        Ok(found) => File::from(found),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG)
            ) =>
        {
            return Err(nothing());
        }
        Err(error) => return Err(host(error)),
    };
    // Looked at before it is opened: opening a pipe or a device does things.
    if !found.metadata().map_err(host)?.is_file() {
        return Err(nothing());
    }
    let mut file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd())).map_err(host)?;
    tree::send_bytes(&mut file, to, limit)
}
