//! Where the changes of one sandbox are kept: an upper and a work folder for each overlay, in its scratch folder or on a file
//! system of its own size. Shared by the sandbox and by what is stacked on it; gone with the last of them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use harness_guest::recipe::Source;
use rustix::fs::{AtFlags, Mode};

use super::disk::image::Disk;
use super::root::Root;
use super::scratch::Scratch;
use super::spawner::Attached;

/// See the module.
pub(crate) struct Store {
    attached: Arc<Attached>,
    /// Path of the folders below the attachment, with a `/` at its end when there is one.
    prefix: String,
    folder: File,
    /// Taken down after the attachment above.
    pub(crate) disk: Option<Disk>,
    pub(crate) scratch: Scratch,
}

impl Store {
    /// In the scratch folder itself; `uppers` is the folder of all scratch folders.
    pub(crate) fn in_scratch(scratch: Scratch, uppers: &Arc<Attached>) -> io::Result<Store> {
        let folder = File::open(scratch.path())?;
        let prefix = format!("{}/", scratch.id());
        Ok(Store { attached: Arc::clone(uppers), prefix, folder, disk: None, scratch })
    }

    /// On a file system that was attached.
    pub(crate) fn on_disk(scratch: Scratch, disk: Disk, attached: Attached) -> io::Result<Store> {
        let folder = File::from(rustix::fs::openat(
            disk.root(),
            ".",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            Mode::empty(),
        )?);
        Ok(Store { attached: Arc::new(attached), prefix: String::new(), folder, disk: Some(disk), scratch })
    }

    /// Makes the folders.
    pub(crate) fn make(&self, root: &Root) -> io::Result<()> {
        let bits = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&self.folder, "u", bits)?;
        rustix::fs::mkdirat(&self.folder, "w", bits)?;
        for (index, overlay) in root.overlays.iter().enumerate() {
            rustix::fs::mkdirat(&self.folder, format!("w/{index}"), bits)?;
            let upper = format!("u/{index}");
            rustix::fs::mkdirat(&self.folder, &*upper, bits)?;
            // What `mkdir` gives is cut by our own umask, which is not ours to set.
            let bits = Mode::from_raw_mode(overlay.mode);
            rustix::fs::chmodat(&self.folder, &*upper, bits, AtFlags::empty())?;
        }
        Ok(())
    }

    /// The upper folder of an overlay, for recipes.
    pub(crate) fn upper(&self, index: usize) -> Source {
        Source { slot: self.attached.slot, below: format!("{}u/{index}", self.prefix).into_bytes() }
    }

    /// Its work folder.
    pub(crate) fn work(&self, index: usize) -> Source {
        Source { slot: self.attached.slot, below: format!("{}w/{index}", self.prefix).into_bytes() }
    }

    /// The folder of all upper folders on the host, when they are in the scratch folder. (The kernel's work folders beside it are
    /// closed to ordinary users, and hold nothing that lasts.)
    pub(crate) fn uppers(&self) -> PathBuf {
        self.scratch.path().join("u")
    }

    /// The folder that holds them all, here.
    pub(crate) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}
