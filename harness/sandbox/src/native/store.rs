//! Where the changes of one sandbox are kept: an upper and a work folder for each overlay, in its scratch folder or on a file
//! system of its own size. Shared by the sandbox and by what is stacked on it; gone with the last of them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use harness_guest::recipe::Source;
use rustix::fs::{AtFlags, Mode};

use super::cgroup::group::Group;
use super::disk::image::Disk;
use super::remover::{Leftover, Remover};
use super::root::Root;
use super::scratch::Scratch;
use super::spawner::Attached;
use super::stalls::BITS;

/// See the module.
pub(crate) struct Store {
    attached: Arc<Attached>,
    /// Path of the folders below the attachment, with a `/` at its end when there is one.
    prefix: String,
    folder: File,
    /// Taken down after the attachment above.
    pub(crate) disk: Option<Disk>,
    scratch: Option<Scratch>,
    /// Of the processes that wrote them, once they are gone.
    group: OnceLock<Arc<Group>>,
    remover: Arc<Remover>,
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            self.remover.remove(Leftover { group: self.group.take(), scratch });
        }
    }
}

impl Store {
    /// In the scratch folder itself; `uppers` is the folder of all scratch folders.
    pub(crate) fn in_scratch(
        scratch: Scratch,
        uppers: &Arc<Attached>,
        remover: &Arc<Remover>,
    ) -> io::Result<Store> {
        let folder = scratch.folder()?;
        let prefix = format!("{}/", scratch.id());
        Ok(Store {
            attached: Arc::clone(uppers),
            prefix,
            folder,
            disk: None,
            scratch: Some(scratch),
            group: OnceLock::new(),
            remover: Arc::clone(remover),
        })
    }

    /// On a file system that was attached.
    pub(crate) fn on_disk(
        scratch: Scratch,
        disk: Disk,
        attached: Attached,
        remover: &Arc<Remover>,
    ) -> io::Result<Store> {
        let folder = File::from(rustix::fs::openat(
            disk.root(),
            ".",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            Mode::empty(),
        )?);
        Ok(Store {
            attached: Arc::new(attached),
            prefix: String::new(),
            folder,
            disk: Some(disk),
            scratch: Some(scratch),
            group: OnceLock::new(),
            remover: Arc::clone(remover),
        })
    }

    /// Makes the folders that `made` of the overlays have already.
    pub(crate) fn make(&self, root: &Root, made: usize) -> io::Result<()> {
        if made == 0 {
            for name in ["u", "w"] {
                match rustix::fs::mkdirat(&self.folder, name, BITS) {
                    Err(rustix::io::Errno::EXIST) => {}
                    other => other?,
                }
            }
        }
        for (index, overlay) in root.overlays.iter().enumerate() {
            let upper = format!("u/{index}");
            if index >= made {
                rustix::fs::mkdirat(&self.folder, format!("w/{index}"), BITS)?;
                rustix::fs::mkdirat(&self.folder, &*upper, BITS)?;
            }
            let bits = Mode::from_raw_mode(overlay.mode);
            if index >= made || bits != BITS {
                // What `mkdir` gives is cut by our own umask, which is not ours to set.
                rustix::fs::chmodat(&self.folder, &*upper, bits, AtFlags::empty())?;
            }
        }
        Ok(())
    }

    /// Hands over the group that goes with the folders.
    pub(crate) fn leave(&self, group: Arc<Group>) {
        let _ = self.group.set(group);
    }

    /// Whether nothing was written, as a look at the top of each folder says.
    pub(crate) fn is_untouched(&self) -> bool {
        let Ok(overlays) = std::fs::read_dir(self.uppers()) else { return false };
        overlays
            .flatten()
            .all(|upper| std::fs::read_dir(upper.path()).is_ok_and(|mut entries| entries.next().is_none()))
    }

    /// The upper folder of an overlay, for recipes.
    pub(crate) fn upper(&self, index: usize) -> Source {
        Source { slot: self.attached.slot, below: format!("{}u/{index}", self.prefix).into_bytes() }
    }

    /// Its work folder.
    pub(crate) fn work(&self, index: usize) -> Source {
        Source { slot: self.attached.slot, below: format!("{}w/{index}", self.prefix).into_bytes() }
    }

    /// The scratch folder.
    pub(crate) fn path(&self) -> PathBuf {
        self.scratch.as_ref().expect("it is there until this is dropped").path()
    }

    /// The folder of all upper folders on the host, when they are in the scratch folder. (The kernel's work folders beside it are
    /// closed to ordinary users, and hold nothing that lasts.)
    pub(crate) fn uppers(&self) -> PathBuf {
        self.path().join("u")
    }

    /// The folder that holds them all, here.
    pub(crate) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}
