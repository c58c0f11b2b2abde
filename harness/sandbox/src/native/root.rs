//! What a sandbox's file system is stacked from: folders of the host's, by mount point.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use harness_guest::recipe::Source;

use super::layers::store::Layer;
use super::spawner::Attached;

/// The file system of an image.
pub(crate) struct Root {
    /// The root first.
    pub(crate) overlays: Vec<RootOverlay>,
    /// Shown read-only, with where.
    pub(crate) binds: Vec<(String, Arc<Attached>)>,
    /// Held so that nobody removes them.
    pub(crate) layers: Vec<Layer>,
}

/// One writable file system of it.
#[derive(Clone)]
pub(crate) struct RootOverlay {
    /// Where, absolute inside.
    pub(crate) at: String,
    /// Uppermost first.
    pub(crate) lowers: Vec<Lower>,
    /// Permission bits of its top folder, which an upper layer's own would otherwise replace.
    pub(crate) mode: u32,
}

/// A read-only layer: a folder at or below something attached.
#[derive(Clone)]
pub(crate) struct Lower {
    pub(crate) attached: Arc<Attached>,
    /// Without a `/` at either end.
    pub(crate) below: String,
}

impl Lower {
    /// A whole attachment.
    pub(crate) fn whole(attached: Arc<Attached>) -> Lower {
        Lower { attached, below: String::new() }
    }

    /// For recipes.
    pub(crate) fn source(&self) -> Source {
        Source { slot: self.attached.slot, below: self.below.clone().into_bytes() }
    }

    /// On the host.
    pub(crate) fn path(&self) -> PathBuf {
        if self.below.is_empty() { self.attached.path.clone() } else { self.attached.path.join(&self.below) }
    }
}

impl RootOverlay {
    /// Of layers, uppermost first, which gives the bits.
    pub(crate) fn new(at: &str, lowers: Vec<Lower>) -> RootOverlay {
        let mode = lowers.last().map_or(0o755, |lower| mode_of(&lower.path()));
        RootOverlay { at: at.to_owned(), lowers, mode }
    }

    /// With one more layer on top; an empty one that changes nothing is left out.
    pub(crate) fn push(&mut self, lower: Lower) {
        let path = lower.path();
        let empty = std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
        let mode = mode_of(&path);
        if !empty || mode != self.mode {
            self.mode = mode;
            self.lowers.insert(0, lower);
        }
    }
}

fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0o755, |data| data.permissions().mode() & 0o7777)
}
