//! The stream in which files travel between host and sandbox: folders, files with their holes, links; names as bytes.
//!
//! A stream is a list of entries, parents first, and an end; or it breaks off with an error in words. The first entry is the
//! source itself and has an empty path. Numbers are little-endian:
//! kind (1 byte), path, then for a folder its [`Meta`]; for a file its meta, size, and pieces (offset, length, bytes) up to
//! an offset of all ones; for a symbolic link its target; for a hard link the path of the file it equals.

mod receive;
mod send;

use std::fmt;
use std::io::{self, Read, Write};

pub use receive::{Destination, Receive, Replace, receive};
pub use send::{Send, send, send_file, send_regular};

const END: u8 = 0;
const FOLDER: u8 = 1;
const FILE: u8 = 2;
const SYMLINK: u8 = 3;
const HARDLINK: u8 = 4;
const ERROR: u8 = 255;

/// Longest path of an entry.
const MAX_PATH: usize = 256 << 10;
/// Longest target of a symbolic link that the kernel makes.
const MAX_TARGET: usize = 4096;
/// Longest error in words.
const MAX_WORDS: usize = 4096;
/// Deepest nesting of folders: each level holds a descriptor.
const MAX_DEPTH: usize = 512;
/// Most bytes of one piece of a file.
const PIECE: usize = 256 << 10;
/// Offset that ends a file's pieces.
const NO_MORE: u64 = u64::MAX;
/// Offset that says that an error follows instead of the rest of the file.
const BREAKS_OFF: u64 = u64::MAX - 1;

/// What is kept of a file or folder beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits.
    pub mode: u32,
    /// Modification time in seconds since 1970 …
    pub seconds: i64,
    /// … and nanoseconds.
    pub nanoseconds: u32,
}

/// Why a tree could not be moved.
#[derive(Debug)]
pub enum Error {
    /// The system refused something on this side.
    Host(String, io::Error),
    /// Not there, or not what it has to be.
    Missing(String),
    /// More than allowed: what, and the limit.
    TooLarge(String, u64),
    /// The path would lead elsewhere.
    Escape(Vec<u8>),
    /// The stream itself broke off or makes no sense.
    Broken(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Host(what, source) => write!(f, "{what}: {source}"),
            Error::Missing(what) | Error::Broken(what) => f.write_str(what),
            Error::TooLarge(what, limit) => write!(f, "{what} exceeds the limit of {limit}"),
            Error::Escape(path) => write!(f, "{:?} leads outside", String::from_utf8_lossy(path)),
        }
    }
}

impl std::error::Error for Error {}

/// Adds what was tried to an error of the system's.
fn tried<T>(result: io::Result<T>, what: impl FnOnce() -> String) -> Result<T, Error> {
    result.map_err(|error| Error::Host(what(), error))
}

fn shown(path: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(path))
}

/// Tells the other side how it ended: the end of a stream, or the error instead.
///
/// # Errors
/// When the other side is gone.
pub fn finish(to: &mut impl Write, outcome: &Result<(), Error>) -> io::Result<()> {
    match outcome {
        Ok(()) => to.write_all(&[END])?,
        Err(error) => {
            let (tag, words, number) = match error {
                Error::Host(..) => (1, error.to_string().into_bytes(), 0),
                Error::Missing(what) => (2, what.clone().into_bytes(), 0),
                Error::TooLarge(what, limit) => (3, what.clone().into_bytes(), *limit),
                Error::Escape(path) => (4, path.clone(), 0),
                Error::Broken(what) => (5, what.clone().into_bytes(), 0),
            };
            to.write_all(&[ERROR, tag])?;
            to.write_all(&number.to_le_bytes())?;
            write_bytes(to, &words[..words.len().min(MAX_WORDS)])?;
        }
    }
    to.flush()
}

/// Waits for what [`finish`] sent on the other side.
///
/// # Errors
/// What the other side reported; [`Error::Broken`] when it is gone.
pub fn outcome(from: &mut impl Read) -> Result<(), Error> {
    match byte(from)? {
        END => Ok(()),
        ERROR => Err(remote_error(from)?),
        _ => Err(Error::Broken("an unknown answer".to_owned())),
    }
}

fn remote_error(from: &mut impl Read) -> Result<Error, Error> {
    let tag = byte(from)?;
    let number = u64::from_le_bytes(array(from)?);
    let bytes = read_bytes(from, MAX_WORDS)?;
    let words = String::from_utf8_lossy(&bytes).into_owned();
    Ok(match tag {
        1 => Error::Host(words, io::Error::other("refused inside the sandbox")),
        2 => Error::Missing(words),
        3 => Error::TooLarge(words, number),
        4 => Error::Escape(bytes),
        _ => Error::Broken(words),
    })
}

fn write_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes())?;
    to.write_all(bytes)
}

fn read_bytes(from: &mut impl Read, limit: usize) -> Result<Vec<u8>, Error> {
    let length = u32::from_le_bytes(array(from)?) as usize;
    if length > limit {
        return Err(Error::Broken("a name that is too long".to_owned()));
    }
    let mut bytes = vec![0; length];
    fill(from, &mut bytes)?;
    Ok(bytes)
}

fn fill(from: &mut impl Read, bytes: &mut [u8]) -> Result<(), Error> {
    from.read_exact(bytes).map_err(|error| Error::Broken(format!("the stream of files broke off: {error}")))
}

fn array<const N: usize>(from: &mut impl Read) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    fill(from, &mut bytes)?;
    Ok(bytes)
}

fn byte(from: &mut impl Read) -> Result<u8, Error> {
    Ok(array::<1>(from)?[0])
}

/// Sends a file's bytes as they come, without knowing its size before, up to a limit.
///
/// # Errors
/// [`Error::TooLarge`], or when either side refuses.
pub fn send_bytes(from: &mut impl Read, to: &mut impl Write, limit: u64) -> Result<(), Error> {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Host("read a file".to_owned(), error)),
        };
        total += count as u64;
        if total > limit {
            return Err(Error::TooLarge("a file".to_owned(), limit));
        }
        if count == 0 {
            return Ok(());
        }
        let sent = to.write_all(&[FILE]).and_then(|()| write_bytes(to, &buffer[..count]));
        tried(sent, || "send a file".to_owned())?;
    }
}

/// Receives what [`send_bytes`] and [`finish`] sent.
///
/// # Errors
/// What the other side reported; [`Error::TooLarge`].
pub fn receive_bytes(from: &mut impl Read, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    loop {
        match byte(from)? {
            FILE => bytes.extend(read_bytes(from, 64 << 10)?),
            END => return Ok(bytes),
            ERROR => return Err(remote_error(from)?),
            _ => return Err(Error::Broken("an unknown answer".to_owned())),
        }
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge("a file".to_owned(), limit));
        }
    }
}

#[cfg(test)]
mod tests;
