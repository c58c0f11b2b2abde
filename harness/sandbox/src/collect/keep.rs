//! What is kept of one stream: its first bytes, its last bytes in a ring, a file up to a limit, and a count.

use std::path::{Path, PathBuf};

use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

use crate::{Captured, OutputSpec, SandboxError};

/// Takes a stream chunk by chunk.
pub(super) struct Keep {
    head: Vec<u8>,
    head_limit: usize,
    tail: Ring,
    file: Option<Tee>,
    total: u64,
}

/// The file that gets everything up to a limit. Made with the first byte: most commands say nothing, and a new file is dear.
struct Tee {
    file: Option<File>,
    path: PathBuf,
    left: u64,
}

impl Keep {
    /// Looks at the file's folder, where one is asked for, before the first byte: a wrong path is told at once.
    pub(super) async fn open(spec: &OutputSpec) -> Result<Keep, SandboxError> {
        let file = match &spec.file {
            None => None,
            Some(path) => {
                // One look, not worth a trip to another thread.
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                // A path into the folder itself, so that anything else in its place is an error too.
                if let Some(error) = folder.and_then(|folder| std::fs::metadata(folder.join(".")).err()) {
                    return Err(refused(path, error));
                }
                Some(Tee { file: None, path: path.clone(), left: spec.file_limit })
            }
        };
        Ok(Keep { head: Vec::new(), head_limit: spec.head, tail: Ring::new(spec.tail), file, total: 0 })
    }

    /// Takes the next bytes.
    pub(super) async fn take(&mut self, bytes: &[u8]) -> Result<(), SandboxError> {
        self.total += bytes.len() as u64;
        let (head, rest) = bytes.split_at(bytes.len().min(self.head_limit - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.push(rest);
        if let Some(tee) = &mut self.file {
            tee.take(bytes).await?;
        }
        Ok(())
    }

    /// Hands out what was kept, after the file has everything (tokio's files write behind).
    pub(super) async fn finish(self) -> Result<Captured, SandboxError> {
        if let Some(mut tee) = self.file
            && let Some(file) = &mut tee.file
        {
            file.flush().await.map_err(|error| refused(&tee.path, error))?;
        }
        Ok(Captured { head: self.head, tail: self.tail.into_vec(), total: self.total, held_open: false })
    }
}

impl Tee {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), SandboxError> {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        if count == 0 {
            return Ok(());
        }
        if self.file.is_none() {
            let opened = OpenOptions::new().create(true).append(true).open(&self.path).await;
            self.file = Some(opened.map_err(|error| {
                SandboxError::host(format!("open {} for output", self.path.display()), error)
            })?);
        }
        let file = self.file.as_mut().expect("it was just opened");
        file.write_all(&bytes[..count]).await.map_err(|error| refused(&self.path, error))?;
        self.left -= count as u64;
        Ok(())
    }
}

fn refused(path: &Path, error: std::io::Error) -> SandboxError {
    SandboxError::host(format!("write output to {}", path.display()), error)
}

/// The last `limit` bytes of what was pushed. It grows as it is filled, then overwrites in place.
struct Ring {
    bytes: Vec<u8>,
    limit: usize,
    /// Where the oldest byte lies, once the ring is full.
    oldest: usize,
}

impl Ring {
    fn new(limit: usize) -> Ring {
        Ring { bytes: Vec::new(), limit, oldest: 0 }
    }

    fn push(&mut self, new: &[u8]) {
        let new = &new[new.len().saturating_sub(self.limit)..];
        let (grow, wrap) = new.split_at(new.len().min(self.limit - self.bytes.len()));
        self.bytes.extend_from_slice(grow);
        let (first, second) = wrap.split_at(wrap.len().min(self.limit - self.oldest));
        self.bytes[self.oldest..self.oldest + first.len()].copy_from_slice(first);
        self.bytes[..second.len()].copy_from_slice(second);
        self.oldest = match self.oldest + wrap.len() {
            end if end >= self.limit => end - self.limit,
            end => end,
        };
    }

    fn into_vec(mut self) -> Vec<u8> {
        self.bytes.rotate_left(self.oldest);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;

    #[test]
    fn ring_equals_the_end_of_what_was_pushed_for_all_small_sizes_and_chunks() {
        let all: Vec<u8> = (0..=255).collect();
        for limit in 0..12 {
            for chunk in 1..30 {
                let mut ring = Ring::new(limit);
                for part in all.chunks(chunk) {
                    ring.push(part);
                }
                assert_eq!(ring.into_vec(), all[all.len() - limit..], "limit {limit}, chunks of {chunk}");
                let mut ring = Ring::new(limit);
                ring.push(&all[..5]);
                assert_eq!(ring.into_vec(), all[5 - limit.min(5)..5]);
            }
        }
    }
}
