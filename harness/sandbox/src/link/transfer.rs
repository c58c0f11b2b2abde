//! Files between host and sandbox: a process inside packs or unpacks, we do the other half, over a socket of their own.

use std::io::{BufReader, BufWriter, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use harness_guest::message::{FileOp, Request};
use harness_guest::sys;
use harness_guest::tree::{self, Destination, Receive, Replace, Send};

use super::guest::Guest;
use crate::{GetOptions, PutOptions, SandboxError, Source};

/// See [`crate::Place::put`].
pub(crate) async fn put(
    guest: &Guest,
    view: u32,
    at: &str,
    source: Source,
    options: PutOptions,
) -> Result<(), SandboxError> {
    let op = FileOp::Put { at: absolute(at)?, owner: options.owner };
    let packed = with_socket(guest, view, op, move |socket| {
        let mut to = BufWriter::with_capacity(64 << 10, socket);
        let sent = pack(&source, &options, &mut to);
        // Whoever unpacks may have stopped before the end; then its own words are what counts.
        let told = tree::finish(&mut to, &sent.as_ref().copied().map_err(again));
        let heard = tree::outcome(&mut BufReader::new(to.get_ref()));
        sent.and(heard).map_err(Failed::from).and(told.map_err(|error| {
            Failed::Tree(tree::Error::Broken(format!("the sandbox takes no files: {error}")))
        }))
    });
    packed.await
}

/// An error to tell the other side, which needs no more than that there is one.
fn again(error: &tree::Error) -> tree::Error {
    tree::Error::Broken(error.to_string())
}

fn pack(source: &Source, options: &PutOptions, to: &mut impl Write) -> Result<(), tree::Error> {
    let exclude: Vec<Vec<u8>> = options.exclude.iter().map(|glob| glob.clone().into_bytes()).collect();
    let what = Send { limit: u64::MAX, max_entries: u64::MAX, exclude: &exclude, mode: options.mode };
    match source {
        Source::Bytes(bytes) => tree::send_file(bytes, options.mode.unwrap_or(0o644), to),
        Source::File(path) => {
            let (folder, name) = parent(path)?;
            tree::send_regular(folder.as_fd(), &name, &what, to)
        }
        Source::Folder(path) => {
            let host = |error| tree::Error::Host(format!("open {}", path.display()), error);
            let c_path = sys::c_string(path.as_os_str().as_bytes()).map_err(host)?;
            let folder = sys::open(&c_path, libc::O_RDONLY | libc::O_DIRECTORY).map_err(host)?;
            tree::send(folder.as_fd(), c".", &what, to)
        }
    }
}

/// See [`crate::Place::get`].
pub(crate) async fn get(
    guest: &Guest,
    view: u32,
    from: &str,
    to: &Path,
    options: GetOptions,
) -> Result<(), SandboxError> {
    let op = FileOp::Get {
        from: absolute(from)?,
        limit: options.limit,
        max_entries: options.max_entries,
        exclude: options.exclude.iter().map(|glob| glob.clone().into_bytes()).collect(),
    };
    let to = to.to_owned();
    with_socket(guest, view, op, move |socket| {
        let (folder, name) = parent(&to).map_err(Failed::Tree)?;
        let how = Receive {
            limit: options.limit,
            max_entries: options.max_entries,
            // Nothing that came out of a sandbox runs with another's rights on the host.
            mode_mask: 0o777,
            owner: None,
            replace: Replace::Never,
        };
        let destination = Destination { folder: folder.as_fd(), name: &name };
        Ok(tree::receive(&mut BufReader::with_capacity(64 << 10, socket), &destination, &how)?)
    })
    .await
}

/// See [`crate::Place::read`].
pub(crate) async fn read(
    guest: &Guest,
    view: u32,
    path: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>, SandboxError> {
    let op = FileOp::Read { path: absolute(path)?, limit };
    let content = with_socket(guest, view, op, move |socket| {
        match tree::receive_bytes(&mut BufReader::new(socket), limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(tree::Error::Missing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    });
    match content.await {
        Err(SandboxError::TooLarge { limit, .. }) => {
            Err(SandboxError::TooLarge { what: path.to_owned(), limit })
        }
        other => other,
    }
}

fn absolute(path: &str) -> Result<Vec<u8>, SandboxError> {
    if path.starts_with('/') && !path.contains('\0') {
        Ok(path.as_bytes().to_vec())
    } else {
        Err(SandboxError::Inside { message: format!("{path:?} is not an absolute path") })
    }
}

fn parent(path: &Path) -> Result<(OwnedFd, std::ffi::CString), tree::Error> {
    let host = |error| tree::Error::Host(format!("open {}", path.display()), error);
    let name = path.file_name().ok_or_else(|| host(std::io::ErrorKind::InvalidInput.into()))?;
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
        _ => PathBuf::from("."),
    };
    let above = sys::c_string(above.as_os_str().as_bytes()).map_err(host)?;
    let folder = sys::open(&above, libc::O_RDONLY | libc::O_DIRECTORY).map_err(host)?;
    Ok((folder, sys::c_string(name.as_bytes()).map_err(host)?))
}

/// What went wrong, before it is known whether the sandbox still lives.
pub(crate) enum Failed {
    Tree(tree::Error),
}

impl From<tree::Error> for Failed {
    fn from(error: tree::Error) -> Failed {
        Failed::Tree(error)
    }
}

/// Ends the other thread's waiting when nobody waits for it any more.
struct HangUp(UnixStream);

impl Drop for HangUp {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Starts an operation and does our half of it.
pub(crate) async fn with_socket<T: std::marker::Send + 'static>(
    guest: &Guest,
    view: u32,
    op: FileOp,
    work: impl FnOnce(UnixStream) -> Result<T, Failed> + std::marker::Send + 'static,
) -> Result<T, SandboxError> {
    let refused = |error| SandboxError::host("make a pair of sockets", error);
    let (ours, theirs) = sys::socket_pair().map_err(refused)?;
    let ours = UnixStream::from(ours);
    let hang_up = HangUp(ours.try_clone().map_err(refused)?);
    guest.ask(|call| Request::Files { call, view, op }, &[theirs.as_raw_fd()])?.done().await?;
    drop(theirs);
    let worked = tokio::task::spawn_blocking(move || work(ours)).await;
    drop(hang_up);
    match worked {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Failed::Tree(error))) => Err(match error {
            tree::Error::Host(what, source) => SandboxError::Host { what, source },
            tree::Error::Missing(message) => SandboxError::Inside { message },
            tree::Error::TooLarge(what, limit) => SandboxError::TooLarge { what, limit },
            tree::Error::Escape(path) => {
                SandboxError::Escape { path: PathBuf::from(std::ffi::OsString::from_vec(path)) }
            }
            // The process that moved the files is gone: with the whole sandbox, or ended by `kill_all`.
            tree::Error::Broken(what) => match guest.lost() {
                Some(cause) => SandboxError::Lost { cause },
                None => SandboxError::Host {
                    what: "move files".to_owned(),
                    source: std::io::Error::new(std::io::ErrorKind::UnexpectedEof, what),
                },
            },
        }),
        Err(_) => Err(SandboxError::Lost { cause: "moving files failed".to_owned() }),
    }
}
