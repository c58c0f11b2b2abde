//! Limits on what a sandbox writes: a file system of that size where loop devices can be had, a watchdog where not.

pub(crate) mod image;
pub(crate) mod loops;
pub(crate) mod watchdog;

use std::path::Path;

/// The limit of a sandbox whose task names none: 16 GiB, or half of what is free if that is less.
pub(crate) fn default_limit(state: &Path) -> std::io::Result<u64> {
    Ok((free_bytes(state)? / 2).min(16 << 30))
}

/// Bytes that we may still write to the file system that holds a path.
pub(crate) fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests;
