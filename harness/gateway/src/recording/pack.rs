//! The file of all bytes of a recording, each distinct piece once, compressed, found by its place and checked by its digest.
//! It only grows at its end, so that whatever cuts it short leaves a whole beginning.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::chunks;

/// What the file begins with.
const MAGIC: &[u8; 8] = b"hrecpk1\n";
/// Before each piece: its length here and unpacked, and its digest.
const HEAD: usize = 4 + 4 + 16;
/// In the length: the piece is not compressed, because that would not make it smaller.
const PLAIN: u32 = 1 << 31;
/// The longest piece, unpacked. A longer one is no piece of ours.
const MOST_BYTES: usize = 8 << 20;
/// Digests kept to find a piece again: 32 MB of them. Beyond that they are forgotten, and pieces may be kept twice.
const MOST_KNOWN: usize = 1 << 20;
/// Text compresses well at the least effort, and a record is written while agents work.
const LEVEL: i32 = 1;

/// Where a piece stands.
pub(super) type Place = u64;

/// The end that writes.
pub(super) struct PackWriter {
    file: File,
    end: u64,
    known: HashMap<[u8; 16], Place>,
    packer: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
}

impl PackWriter {
    /// A new file, or an old one that is written on at its end.
    pub(super) fn open(path: &Path) -> io::Result<PackWriter> {
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let mut end = file.metadata()?.len();
        if end < MAGIC.len() as u64 {
            file.set_len(0)?;
            file.write_all(MAGIC)?;
            end = MAGIC.len() as u64;
        }
        let packer = zstd::bulk::Compressor::new(LEVEL)?;
        Ok(PackWriter { file, end, known: HashMap::new(), packer, buffer: Vec::new() })
    }

    /// Where the file ends: what stands before is written.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Keeps a piece.
    pub(super) fn put(&mut self, piece: &[u8]) -> io::Result<Place> {
        let digest = digest(piece);
        if let Some(place) = self.known.get(&digest) {
            return Ok(*place);
        }
        if piece.len() > MOST_BYTES {
            return Err(io::Error::other("a piece of a recording is too long"));
        }
        let packed = self.packer.compress(piece)?;
        let (length, bytes) = if packed.len() < piece.len() {
            (packed.len() as u32, packed.as_slice())
        } else {
            (piece.len() as u32 | PLAIN, piece)
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(&(piece.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&digest);
        self.buffer.extend_from_slice(bytes);
        self.file.write_all(&self.buffer)?;
        let place = self.end;
        self.end += self.buffer.len() as u64;
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(digest, place);
        Ok(place)
    }

    /// Keeps bytes in pieces: all that is sure, or with `rest` all there is. What was kept is taken off.
    pub(super) fn put_pieces(
        &mut self,
        bytes: &mut Vec<u8>,
        rest: bool,
        places: &mut Vec<Place>,
    ) -> io::Result<()> {
        let mut at = 0;
        while let Some(end) = chunks::cut(&bytes[at..]) {
            places.push(self.put(&bytes[at..at + end])?);
            at += end;
        }
        bytes.drain(..at);
        if rest && !bytes.is_empty() {
            places.push(self.put(bytes)?);
            bytes.clear();
        }
        Ok(())
    }
}

/// The end that reads.
#[derive(Debug)]
pub(super) struct PackReader(File);

impl PackReader {
    /// Opens; nothing but the beginning is read.
    pub(super) fn open(path: &Path) -> io::Result<PackReader> {
        let file = File::open(path)?;
        let mut magic = [0; MAGIC.len()];
        // A recording that was cut before anything stood in it is an empty one.
        let length = file.metadata()?.len();
        if length >= MAGIC.len() as u64 {
            file.read_exact_at(&mut magic, 0)?;
            if &magic != MAGIC {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "this is no recording of ours, or of a newer version",
                ));
            }
        }
        Ok(PackReader(file))
    }

    pub(super) fn end(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    /// One piece.
    pub(super) fn get(&self, place: Place) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a piece of the recording is damaged");
        let mut head = [0; HEAD];
        self.0.read_exact_at(&mut head, place)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, unpacked) = ((number(0) & !PLAIN) as usize, number(4) as usize);
        if length > MOST_BYTES || unpacked > MOST_BYTES {
            return Err(damaged());
        }
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, place + HEAD as u64)?;
        if number(0) & PLAIN == 0 {
            bytes = zstd::bulk::decompress(&bytes, unpacked).map_err(|_| damaged())?;
        }
        if digest(&bytes) != head[8..] { Err(damaged()) } else { Ok(bytes) }
    }

    /// Several, one after the other; more than `most` bytes are refused.
    pub(super) fn get_all(&self, places: &[Place], most: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        for place in places {
            all.extend(self.get(*place)?);
            if all.len() > most {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a recorded body is longer than any we record",
                ));
            }
        }
        Ok(all)
    }
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    short
}
