//! What a sandbox's file system is stacked from: attached folders, by mount point.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::layers::store::Layer;
use super::spawner::Attached;

/// The file system of an image.
pub(crate) struct Root {
    /// The root first.
    pub(crate) overlays: Vec<RootOverlay>,
    /// Shown read-only, with where.
    pub(crate) binds: Vec<(String, Arc<Attached>)>,
    /// Layers that must not be pruned as long as this lives.
    pub(crate) kept: Vec<Layer>,
}

/// One writable file system of it.
pub(crate) struct RootOverlay {
    /// Where, absolute inside.
    pub(crate) at: String,
    /// Uppermost first.
    pub(crate) lowers: Vec<Arc<Attached>>,
    /// Permission bits of its top folder, which an upper layer's own would otherwise replace.
    pub(crate) mode: u32,
}

impl RootOverlay {
    /// Of layers, uppermost first; the last one's top folder gives the bits.
    pub(crate) fn new(at: &str, lowers: Vec<Arc<Attached>>) -> RootOverlay {
        let mode = lowers.last().map_or(0o755, |lower| mode_of(&lower.path));
        RootOverlay { at: at.to_owned(), lowers, mode }
    }
}

fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0o755, |data| data.permissions().mode() & 0o7777)
}
