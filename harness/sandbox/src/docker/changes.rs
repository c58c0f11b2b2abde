//! Which paths of a container differ from its image: read from the engine's own folders where we may, else by PID 1, who has them.

use std::path::Path;
use std::sync::Arc;

use super::NAME;
use super::running::Running;
use crate::link::changes;
use crate::{Change, SandboxError};

/// Folders and files that are there because an engine mounts something on them.
const MOUNT_POINTS: [&str; 12] = [
    "/proc",
    "/sys",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/mtab",
    "/run/.containerenv",
    "/run/secrets",
];

/// See [`crate::Sandbox::changes`].
pub(crate) async fn list(running: &Arc<Running>, limit: usize) -> Result<Vec<Change>, SandboxError> {
    let points: Vec<Vec<u8>> = MOUNT_POINTS.iter().map(|path| path.as_bytes().to_vec()).collect();
    let unknown = || SandboxError::Unsupported {
        backend: NAME,
        what: format!("listing what changed with the storage driver {}", running.engine.facts.storage),
    };
    let layers = running.layers.as_ref().ok_or_else(unknown)?;
    if let Ok(stack) = layers.stack() {
        let listed = tokio::task::spawn_blocking(move || changes::list([stack], &points, limit));
        return listed
            .await
            .unwrap_or_else(|_| Err(SandboxError::Lost { cause: "looking for changes failed".to_owned() }));
    }
    let folder = running.engine.facts.layers.as_deref().ok_or_else(unknown)?;
    let below = layers.below(Path::new(folder), points).ok_or_else(unknown)?;
    changes::ask(&running.guest, below, limit).await
}
