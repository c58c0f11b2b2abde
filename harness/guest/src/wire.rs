//! Bytes of a frame's body: fixed-width little-endian numbers and length-prefixed byte strings, every length checked.

use std::fmt;

/// Largest body of a frame. Argument lists and environments fit; file content never travels in frames.
pub const MAX_FRAME: usize = 4 << 20;
/// Most descriptors that come with one frame.
pub const MAX_FDS: usize = 250;
/// First byte of every body. Raised whenever a frame changes its meaning; the two sides are built together, so that a
/// difference means a mix-up and is refused.
/// 1: first version.
pub const VERSION: u8 = 1;

/// A body that does not say what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed frame: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Builds a body.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty body: version and kind.
    pub fn new(kind: u8) -> Encoder {
        Encoder { bytes: vec![VERSION, kind] }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).expect("byte strings in frames are far below 4 GiB"));
        self.bytes.extend_from_slice(value);
    }

    /// A list, each element written by `each`.
    pub fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Encoder, &T)) {
        self.u32(u32::try_from(items.len()).expect("lists in frames are far below 4 GiB"));
        for item in items {
            each(self, item);
        }
    }

    /// A value that may be missing.
    pub fn option<T>(&mut self, item: Option<&T>, each: impl FnOnce(&mut Encoder, &T)) {
        self.u8(u8::from(item.is_some()));
        if let Some(item) = item {
            each(self, item);
        }
    }

    /// The finished body.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes a body apart.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Checks the version; returns the kind and the decoder for what follows.
    ///
    /// # Errors
    /// When the body is too short or of another version.
    pub fn new(body: &'a [u8]) -> Result<(u8, Decoder<'a>), Malformed> {
        match body {
            [VERSION, kind, rest @ ..] => Ok((*kind, Decoder { rest })),
            [_, _, ..] => Err(Malformed("of another version")),
            _ => Err(Malformed("too short")),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed("too short"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end of the body, as for all the others.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// Four bytes.
    ///
    /// # Errors
    /// At the end of the body.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// At the end of the body.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    /// A byte string.
    ///
    /// # Errors
    /// When it is longer than the rest of the body.
    pub fn bytes(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = self.u32()? as usize;
        Ok(self.take(length)?.to_vec())
    }

    /// A list.
    ///
    /// # Errors
    /// When it claims more elements than the rest of the body has bytes, or an element is malformed.
    pub fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Decoder<'a>) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u32()? as usize;
        if count > self.rest.len() {
            return Err(Malformed("a list longer than its frame"));
        }
        (0..count).map(|_| each(self)).collect()
    }

    /// A value that may be missing.
    ///
    /// # Errors
    /// When the value is malformed.
    pub fn option<T>(
        &mut self,
        each: impl FnOnce(&mut Decoder<'a>) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.u8()? == 0 { Ok(None) } else { each(self).map(Some) }
    }

    /// Nothing may follow.
    ///
    /// # Errors
    /// When something does.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("longer than it should be")) }
    }
}
