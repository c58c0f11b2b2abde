//! Small trees of files that we make ourselves: the base of a sandbox's root, and the masks that hide parts of a host folder.
//! Kept by content in the state folder, checked before they are used again.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use harness_core::{Digest, digest::DigestBuilder};

/// One thing in a [`Skeleton`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A folder with these permission bits.
    Folder(u32),
    /// A file with these permission bits and this content.
    File(u32, Vec<u8>),
    /// A symbolic link to this.
    Link(PathBuf),
    /// An overlay's whiteout: what lies below at this path is not there.
    Whiteout,
}

/// A tree of files by path relative to its root, parents before children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Skeleton {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Skeleton {
    /// Adds one thing and the folders above it (mode 0755) that are missing. What was there is replaced, except that a
    /// folder with something in it stays.
    pub(crate) fn add(&mut self, path: impl AsRef<Path>, entry: Entry) {
        let path = relative(path.as_ref());
        if path.as_os_str().is_empty() {
            return;
        }
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            // A link or file in the way would lead the path elsewhere: the caller put a folder below it, so it is one.
            match self.entries.get(above) {
                Some(Entry::Folder(_)) => {}
                _ => {
                    self.entries.insert(above.to_path_buf(), Entry::Folder(0o755));
                }
            }
        }
        let full = matches!(self.entries.get(&path), Some(Entry::Folder(_))) && self.has_children(&path);
        if !full || matches!(entry, Entry::Folder(_)) {
            self.entries.insert(path, entry);
        }
    }

    /// Makes sure that there is a folder to mount on; one that is there keeps its bits.
    pub(crate) fn mount_point(&mut self, path: impl AsRef<Path>) {
        let path = relative(path.as_ref());
        if !matches!(self.entries.get(&path), Some(Entry::Folder(_))) {
            self.add(path, Entry::Folder(0o755));
        }
    }

    /// What is at a path.
    #[cfg(test)]
    pub(crate) fn get(&self, path: impl AsRef<Path>) -> Option<&Entry> {
        self.entries.get(&relative(path.as_ref()))
    }

    /// How many things there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn has_children(&self, path: &Path) -> bool {
        let after = (std::ops::Bound::Excluded(path.to_path_buf()), std::ops::Bound::Unbounded);
        self.entries.range(after).next().is_some_and(|(next, _)| next.starts_with(path))
    }

    /// Equal for equal trees.
    pub(crate) fn digest(&self) -> Digest {
        let mut digest = DigestBuilder::new();
        for (path, entry) in &self.entries {
            digest.part("path", path.as_os_str().as_bytes());
            match entry {
                Entry::Folder(mode) => digest.part("folder", &mode.to_le_bytes()),
                Entry::File(mode, bytes) => digest.part("mode", &mode.to_le_bytes()).part("file", bytes),
                Entry::Link(target) => digest.part("link", target.as_os_str().as_bytes()),
                Entry::Whiteout => digest.part("whiteout", b""),
            };
        }
        digest.finish()
    }

    /// The tree as a folder below `store`, made when it is not there yet or no longer what it was; everything in it belongs
    /// to user and group `owner` (`None`: whoever runs this). Many may call at once, in several processes.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn make(&self, store: &Path, owner: Option<u32>) -> io::Result<PathBuf> {
        let name = match owner {
            Some(owner) => format!("{}-{owner}", self.digest().short()),
            None => self.digest().short().to_owned(),
        };
        let path = store.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(store)?;
        if self.is_at(&path, owner) {
            return Ok(path);
        }
        let temporary = tempfile::Builder::new().prefix(".making-").tempdir_in(store)?;
        let tree = temporary.path().join("tree");
        self.write(&tree, owner)?;
        // Someone may have been faster; then theirs is used. A damaged one makes way, and goes with the temporary folder.
        if fs::rename(&tree, &path).is_err() && !self.is_at(&path, owner) {
            fs::rename(&path, temporary.path().join("damaged"))?;
            fs::rename(&tree, &path)?;
        }
        Ok(path)
    }

    fn write(&self, root: &Path, owner: Option<u32>) -> io::Result<()> {
        make_folder(root, 0o755, owner)?;
        for (path, entry) in &self.entries {
            let path = root.join(path);
            match entry {
                Entry::Folder(mode) => make_folder(&path, *mode, owner)?,
                Entry::File(mode, bytes) => {
                    let mut file =
                        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                    file.write_all(bytes)?;
                    give(&path, owner)?;
                    file.set_permissions(fs::Permissions::from_mode(*mode))?;
                }
                Entry::Link(target) => {
                    std::os::unix::fs::symlink(target, &path)?;
                    give(&path, owner)?;
                }
                Entry::Whiteout => whiteout(&path)?,
            }
        }
        Ok(())
    }

    /// Whether exactly this tree stands at a path. (What was added beside it by hand is not looked for.)
    fn is_at(&self, root: &Path, owner: Option<u32>) -> bool {
        self.entries.iter().all(|(path, entry)| {
            let path = root.join(path);
            let Ok(found) = fs::symlink_metadata(&path) else { return false };
            if owner.is_some_and(|owner| found.uid() != owner && *entry != Entry::Whiteout) {
                return false;
            }
            match entry {
                Entry::Folder(mode) => found.is_dir() && found.mode() & 0o7777 == *mode,
                Entry::File(mode, bytes) => {
                    found.is_file()
                        && found.mode() & 0o7777 == *mode
                        && found.len() == bytes.len() as u64
                        && fs::read(&path).is_ok_and(|now| now == *bytes)
                }
                Entry::Link(target) => fs::read_link(&path).is_ok_and(|now| now == *target),
                Entry::Whiteout => found.file_type().is_char_device() && found.rdev() == 0,
            }
        })
    }
}

/// The mask that hides these paths of a folder when it is stacked above it as one more lower directory.
pub(crate) fn mask(hidden: &[PathBuf]) -> Skeleton {
    let mut mask = Skeleton::default();
    for path in hidden {
        // Below something that is hidden already there is nothing to hide.
        if !hidden.iter().any(|other| other != path && path.starts_with(other)) {
            mask.add(path, Entry::Whiteout);
        }
    }
    mask
}

fn relative(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect()
}

fn make_folder(path: &Path, mode: u32, owner: Option<u32>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)?;
    give(path, owner)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn give(path: &Path, owner: Option<u32>) -> io::Result<()> {
    owner.map_or(Ok(()), |owner| std::os::unix::fs::lchown(path, Some(owner), Some(owner)))
}

/// A character device 0:0, which anyone may make since Linux 5.8.
fn whiteout(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string that outlives the call.
    let made = unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR, 0) };
    if made == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn sample() -> Skeleton {
        let mut tree = Skeleton::default();
        tree.add("/tmp", Entry::Folder(0o1777));
        tree.add("/etc/passwd", Entry::File(0o644, b"root".to_vec()));
        tree.add("/bin", Entry::Link("usr/bin".into()));
        tree.mount_point("/usr");
        tree
    }

    #[test]
    fn skeleton_is_made_once_and_mended_when_damaged() {
        let store = tempfile::tempdir().unwrap();
        let tree = sample();
        let path = tree.make(store.path(), None).unwrap();
        assert_eq!(fs::metadata(path.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::read_link(path.join("bin")).unwrap(), Path::new("usr/bin"));
        let inode = fs::metadata(&path).unwrap().ino();
        assert_eq!(tree.make(store.path(), None).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "made twice");
        for damage in ["etc/passwd", "bin"] {
            fs::remove_file(path.join(damage)).unwrap();
            assert_eq!(tree.make(store.path(), None).unwrap(), path);
            assert!(fs::symlink_metadata(path.join(damage)).is_ok(), "{damage} was not mended");
        }
        fs::write(path.join("etc/passwd"), "evil").unwrap();
        tree.make(store.path(), None).unwrap();
        assert_eq!(fs::read(path.join("etc/passwd")).unwrap(), b"root");
        let left: Vec<_> = fs::read_dir(store.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "temporary folders were left");
    }

    #[test]
    fn skeleton_is_made_by_many_at_once() {
        let store = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = std::thread::scope(|scope| {
            let makers: Vec<_> =
                (0..8).map(|_| scope.spawn(|| sample().make(store.path(), None).unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(paths.iter().all(|path| *path == paths[0]));
        assert!(sample().is_at(&paths[0], None));
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1);
    }

    #[test]
    fn skeleton_belongs_to_the_shifted_root() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let store = tempfile::tempdir().unwrap();
        let path = sample().make(store.path(), Some(100_000)).unwrap();
        for name in ["", "etc/passwd", "bin", "tmp"] {
            assert_eq!(fs::symlink_metadata(path.join(name)).unwrap().uid(), 100_000, "{name}");
        }
        assert_ne!(path, sample().make(store.path(), None).unwrap());
    }

    #[test]
    fn skeleton_mask_holds_whiteouts_of_the_outermost_only() {
        let mask = mask(&["local/etc".into(), "local/etc/x".into(), "share/secret".into()]);
        assert_eq!(mask.get("local/etc"), Some(&Entry::Whiteout));
        assert_eq!(mask.get("local/etc/x"), None);
        assert_eq!(mask.get("local"), Some(&Entry::Folder(0o755)));
        let store = tempfile::tempdir().unwrap();
        let made = mask.make(store.path(), None).unwrap();
        assert!(fs::symlink_metadata(made.join("share/secret")).unwrap().file_type().is_char_device());
    }

    #[test]
    fn skeleton_paths_never_leave_it() {
        let mut tree = Skeleton::default();
        tree.add("../../etc/x", Entry::Folder(0o755));
        assert!(tree.get("etc/x").is_some());
        tree.add("/", Entry::Whiteout);
        assert_eq!(tree.len(), 2);
    }

    #[test]
    fn skeleton_folder_with_content_is_not_replaced_by_a_file() {
        let mut tree = sample();
        tree.add("etc", Entry::Link("elsewhere".into()));
        assert!(matches!(tree.get("etc"), Some(Entry::Folder(_))));
        tree.add("bin/sh", Entry::File(0o755, Vec::new()));
        assert!(matches!(tree.get("bin"), Some(Entry::Folder(_))));
    }
}
