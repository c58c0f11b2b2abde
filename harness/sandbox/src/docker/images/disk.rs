//! How much room the engine's disk has, where it is a disk of this machine.

use std::io;
use std::path::PathBuf;

use super::fault;
use crate::SandboxError;

/// The engine's disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    /// Where the engine keeps its data; `None` where that is not on this machine.
    pub(crate) folder: Option<PathBuf>,
    /// Bytes that must stay free.
    pub(crate) keep_free: u64,
}

impl Disk {
    /// Bytes that are free; `None` where nobody can tell.
    pub(crate) fn free(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(self.folder.as_ref()?).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Whether so many bytes more fit.
    ///
    /// # Errors
    /// [`SandboxError::Host`] with both numbers and the way out.
    pub(crate) fn check(&self, about: &str, needed: u64) -> Result<(), SandboxError> {
        let (Some(free), Some(folder)) = (self.free(), &self.folder) else { return Ok(()) };
        let wanted = needed.saturating_add(self.keep_free);
        if free >= wanted {
            return Ok(());
        }
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let text = format!(
            "the engine's disk at {} has {} MB free and {} MB are needed (`harness clean --images` frees what we made there)",
            folder.display(),
            megabytes(free),
            megabytes(wanted)
        );
        Err(fault::host(about, io::ErrorKind::StorageFull, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_says_what_is_missing_and_knows_what_it_cannot_know() {
        let here = Disk { folder: Some(std::env::temp_dir()), keep_free: 0 };
        assert!(here.check("x", 1).is_ok());
        let why = match here.check("x", u64::MAX / 2) {
            Err(SandboxError::Host { source, .. }) => source,
            other => panic!("{other:?}"),
        };
        assert_eq!(why.kind(), io::ErrorKind::StorageFull);
        assert!(why.to_string().contains("harness clean --images"), "{why}");
        assert!(Disk::default().check("x", u64::MAX).is_ok());
    }
}
