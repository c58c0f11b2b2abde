//! Which paths of a container differ from its image: read from the engine's own folders where we may, else asked of the engine.

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
    let stack = running.layers.as_ref().map(super::layers::Layers::stack);
    let Some(Ok(stack)) = stack else {
        return Err(SandboxError::Unsupported { backend: NAME, what: "listing what changed".to_owned() });
    };
    let listed = tokio::task::spawn_blocking(move || {
        let points: Vec<Vec<u8>> = MOUNT_POINTS.iter().map(|path| path.as_bytes().to_vec()).collect();
        let mut found = Vec::new();
        changes::list(&stack, &points, limit, &mut found)?;
        found.sort();
        Ok(found)
    });
    listed.await.unwrap_or_else(|_| Err(SandboxError::Lost { cause: "looking for changes failed".into() }))
}
