//! Content digests: how the program says "the same input" without keeping the input.

use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// A BLAKE3 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of one byte string.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(blake3::hash(bytes).to_hex().to_string())
    }

    /// The digest of everything that a reader gives, and how many bytes that were: for files too big to hold.
    ///
    /// # Errors
    /// What the reader reports.
    pub fn of_reader(mut reader: impl Read) -> io::Result<(Digest, u64)> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = [0u8; 16 * 1024];
        let mut total = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok((Digest(hasher.finalize().to_hex().to_string()), total)),
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    total += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The whole digest in hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: enough for people and for file names, not for proof.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// Builds a digest from named parts, so that moving a byte from one part to the next changes the result.
#[derive(Default)]
pub struct DigestBuilder(blake3::Hasher);

impl DigestBuilder {
    /// An empty builder.
    pub fn new() -> DigestBuilder {
        DigestBuilder::default()
    }

    /// Adds one part: its name and its content, each prefixed by its length.
    pub fn part(&mut self, name: &str, content: &[u8]) -> &mut DigestBuilder {
        for bytes in [name.as_bytes(), content] {
            self.0.update(&(bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        }
        self
    }

    /// The digest of all parts so far.
    pub fn finish(&self) -> Digest {
        Digest(self.0.finalize().to_hex().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_parts_do_not_run_into_each_other() {
        let one = DigestBuilder::new().part("a", b"bc").finish();
        let two = DigestBuilder::new().part("ab", b"c").finish();
        assert_ne!(one, two);
    }

    #[test]
    fn digest_of_reader_is_the_digest_of_its_bytes() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let read = Digest::of_reader(bytes.as_slice()).map_err(|error| error.to_string());
        assert_eq!(read, Ok((Digest::of(&bytes), 100_000)));
    }

    #[test]
    fn digest_of_nothing_is_blake3_of_nothing() {
        assert_eq!(Digest::of(b"").short(), "af1349b9f5f9");
    }
}
