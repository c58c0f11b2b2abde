//! Removes a tree that a stranger filled: any depth, any names, closed folders; follows no link and enters no other file
//! system. Works on descriptors, so that nothing in the tree can lead it elsewhere.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// What became of a removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Bytes on disk that were freed.
    pub(crate) bytes: u64,
    /// What resisted, and why; at most [`MOST_FAILURES`].
    pub(crate) failed: Vec<String>,
}

/// Folders open at once; what lies deeper is moved up to the top first.
const DEPTH: usize = 48;
/// Names read at a time.
const BATCH: usize = 1024;
const MOST_FAILURES: usize = 16;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes what is at a path, whatever it is. Nothing there is no failure. Blocks: 200 MB take some 40 ms.
///
/// # Errors
/// When the folder that holds it cannot be opened; the rest is in [`Removed::failed`].
pub(crate) fn remove(path: &Path) -> io::Result<Removed> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("a root cannot be removed"));
    };
    let parent = rustix::fs::open(parent, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())?;
    let name = CString::new(std::os::unix::ffi::OsStrExt::as_bytes(name))?;
    let device = match rustix::fs::statat(&parent, &*name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Removed::default()),
        found => found?.st_dev,
    };
    let mut walk =
        Walk { top: parent.as_fd(), device, moved: 0, queue: vec![name], removed: Removed::default() };
    while let Some(name) = walk.queue.pop() {
        walk.entry(parent.as_fd(), &name, DEPTH);
    }
    Ok(walk.removed)
}

struct Walk<'a> {
    /// Where too deep folders are moved to.
    top: BorrowedFd<'a>,
    device: u64,
    moved: u64,
    /// Names in `top` that are still to be removed.
    queue: Vec<CString>,
    removed: Removed,
}

impl Walk<'_> {
    fn fail(&mut self, name: &CStr, error: impl std::fmt::Display) {
        if self.removed.failed.len() < MOST_FAILURES {
            self.removed.failed.push(format!("{}: {error}", name.to_string_lossy()));
        }
    }

    /// Removes one name in a folder; true when it is gone.
    fn entry(&mut self, folder: BorrowedFd<'_>, name: &CStr, depth: usize) -> bool {
        let found = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return true,
            Err(error) => {
                self.fail(name, error);
                return false;
            }
        };
        if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            return match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {
                    if found.st_nlink == 1 {
                        self.removed.bytes += u64::try_from(found.st_blocks).unwrap_or(0) * 512;
                    }
                    true
                }
                Err(error) => {
                    self.fail(name, error);
                    false
                }
            };
        }
        if found.st_dev != self.device {
            self.fail(name, "another file system is mounted there");
            return false;
        }
        if depth == 0 {
            return self.move_up(folder, name);
        }
        let inner = match open_folder(folder, name, found.st_mode) {
            Ok(inner) => inner,
            Err(error) => {
                self.fail(name, error);
                return false;
            }
        };
        self.content(&inner, depth);
        match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => true,
            // What is in it was named already.
            Err(Errno::NOTEMPTY | Errno::EXIST) if !self.removed.failed.is_empty() => false,
            Err(error) => {
                self.fail(name, error);
                false
            }
        }
    }

    /// Removes everything in a folder. Reads it again until a round frees nothing: removing while reading may skip names.
    fn content(&mut self, folder: &OwnedFd, depth: usize) {
        loop {
            let names = match names(folder) {
                Ok(names) if names.is_empty() => return,
                Ok(names) => names,
                Err(error) => return self.fail(c"(a folder's names)", error),
            };
            let gone = names.iter().filter(|name| self.entry(folder.as_fd(), name, depth - 1)).count();
            // Names that resist would be read first again for ever.
            if gone < names.len() {
                return;
            }
        }
    }

    /// A folder too deep to hold all descriptors above it gets a new name at the top.
    fn move_up(&mut self, folder: BorrowedFd<'_>, name: &CStr) -> bool {
        // Moving a folder writes its `..`, for which it must be writable to us.
        if let Err(error) = unlock(folder, name) {
            self.fail(name, error);
            return false;
        }
        self.moved += 1;
        let new = format!(".deep-{}-{}", std::process::id(), self.moved);
        let new = CString::new(new).expect("a name without NUL");
        match rustix::fs::renameat_with(folder, name, self.top, &*new, RenameFlags::NOREPLACE) {
            Ok(()) => {
                self.queue.push(new);
                true
            }
            Err(error) => {
                self.fail(name, error);
                false
            }
        }
    }
}

/// Opens a folder; one that is closed to us, its owner, is opened up first.
fn open_folder(folder: BorrowedFd<'_>, name: &CStr, mode: u32) -> rustix::io::Result<OwnedFd> {
    if mode & 0o700 != 0o700 && !rustix::process::geteuid().is_root() {
        unlock(folder, name)?;
    }
    match rustix::fs::openat(folder, name, FOLDER, Mode::empty()) {
        Err(Errno::ACCESS) => {
            unlock(folder, name)?;
            rustix::fs::openat(folder, name, FOLDER, Mode::empty())
        }
        opened => opened,
    }
}

/// Gives ourselves all rights to a folder, and to nothing that a link leads to.
fn unlock(folder: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)
}

fn names(folder: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let entries = Dir::read_from(folder)?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
        if names.len() == BATCH {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn remove_follows_no_link() {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "x").unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("a")).unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        symlink("/", tree.join("root")).unwrap();
        fs::write(tree.join("big"), vec![1; 100_000]).unwrap();
        let removed = remove(&tree).unwrap();
        assert_eq!(removed.failed, Vec::<String>::new());
        assert!(removed.bytes >= 100_000);
        assert!(!tree.exists() && outside.join("precious").exists());
        symlink(&outside, &tree).unwrap();
        remove(&tree).unwrap();
        assert!(outside.join("precious").exists() && fs::symlink_metadata(&tree).is_err());
        assert_eq!(remove(&tree).unwrap(), Removed::default());
    }

    #[test]
    fn remove_takes_odd_names_and_many() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir(&tree).unwrap();
        for name in [&b"\xff\xfe"[..], b"new\nline", b"-rf", b"..x", b" ", b"*"] {
            fs::create_dir(tree.join(std::ffi::OsStr::from_bytes(name))).unwrap();
        }
        for number in 0..3 * BATCH {
            fs::write(tree.join(number.to_string()), "").unwrap();
        }
        let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
        assert_eq!(remove(&tree).unwrap().failed, Vec::<String>::new());
        assert!(!tree.exists());
    }

    /// Makes folders below each other past the length that a path may have.
    fn deep(top: &Path, levels: usize) {
        let mut folder = rustix::fs::open(top, FOLDER, Mode::empty()).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU).unwrap();
            folder = rustix::fs::openat(&folder, "d", FOLDER, Mode::empty()).unwrap();
        }
        rustix::fs::openat(&folder, "leaf", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    }

    #[test]
    fn remove_takes_trees_of_any_depth() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir(&tree).unwrap();
        deep(&tree, 5_000);
        assert_eq!(remove(&tree).unwrap().failed, Vec::<String>::new());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    /// Run again by the test below as an ordinary user.
    #[test]
    #[ignore = "run by remove_opens_closed_folders"]
    fn remove_helper_as_ordinary_user() {
        let Some(place) = std::env::var_os("HARNESS_TEST_REMOVE") else { return };
        let tree = Path::new(&place).join("tree");
        fs::create_dir_all(tree.join("closed/inner/deep")).unwrap();
        fs::write(tree.join("closed/inner/file"), "x").unwrap();
        deep(&tree.join("closed/inner/deep"), 2 * DEPTH);
        let lock = |name: &str, mode| {
            fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        lock("closed/inner/deep", 0o000);
        lock("closed/inner", 0o555);
        lock("closed", 0o000);
        let removed = remove(&tree).unwrap();
        assert_eq!(removed.failed, Vec::<String>::new());
        assert!(!tree.exists());
    }

    #[test]
    fn remove_opens_closed_folders() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["remove_helper_as_ordinary_user", "--ignored"]).env("HARNESS_TEST_REMOVE", place.path());
        if rustix::process::geteuid().is_root() {
            std::os::unix::process::CommandExt::uid(&mut again, 65534);
        }
        let output = again.current_dir(place.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
