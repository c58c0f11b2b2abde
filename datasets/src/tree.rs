//! A task's folder as it lies on the host: walked once, without following a link, within limits, and digested.
//!
//! Everything read from a task goes through here, so that no file outside its folder is ever opened for it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use harness_core::Digest;
use harness_core::digest::DigestBuilder;

use crate::problem::{Problem, printable};

/// How much a task's folder may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeLimits {
    /// Files, folders and links together.
    pub entries: usize,
    /// Bytes of all files together, holes counted.
    pub bytes: u64,
    /// Folders within folders.
    pub depth: usize,
}

impl Default for TreeLimits {
    fn default() -> TreeLimits {
        TreeLimits { entries: 100_000, bytes: 2 << 30, depth: 100 }
    }
}

/// What one name in a folder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A plain file.
    File {
        /// Its size when it was walked.
        bytes: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link, which ends inside the tree or nowhere.
    Link {
        /// As written in the link.
        target: PathBuf,
    },
}

/// Everything in one folder, by path relative to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    root: PathBuf,
    entries: BTreeMap<PathBuf, Kind>,
}

/// More problems of one folder than anybody reads.
const MAX_PROBLEMS: usize = 20;
/// Links through links before it counts as a loop, as in Linux.
const MAX_LINKS: usize = 40;

impl Tree {
    /// Walks a folder.
    ///
    /// # Errors
    /// Every pipe, socket, device, unreadable folder and link that leads out, and the first limit that is exceeded.
    pub fn walk(root: &Path, limits: TreeLimits) -> Result<Tree, Vec<Problem>> {
        let mut tree = Tree { root: root.to_owned(), entries: BTreeMap::new() };
        let mut problems = Vec::new();
        let mut bytes = 0u64;
        let mut waiting = vec![(PathBuf::new(), 0usize)];
        while let Some((folder, depth)) = waiting.pop() {
            if problems.len() >= MAX_PROBLEMS {
                break;
            }
            if depth > limits.depth {
                let message = format!("folders lie more than {} deep", limits.depth);
                problems.push(Problem::new(root.join(&folder), message));
                break;
            }
            let children = match list(&root.join(&folder)) {
                Ok(children) => children,
                Err(error) => {
                    problems.push(Problem::new(root.join(&folder), format!("cannot be read: {error}")));
                    continue;
                }
            };
            for name in children {
                let path = folder.join(name);
                match kind(&root.join(&path)) {
                    Ok(kind) => {
                        if let Kind::File { bytes: size, .. } = kind {
                            bytes = bytes.saturating_add(size);
                        }
                        if kind == Kind::Folder {
                            waiting.push((path.clone(), depth + 1));
                        }
                        tree.entries.insert(path, kind);
                    }
                    Err(message) => problems.push(Problem::new(root.join(&path), message)),
                }
                if tree.entries.len() > limits.entries || bytes > limits.bytes {
                    let message = format!(
                        "holds more than {} files or {} MiB of them",
                        limits.entries,
                        limits.bytes >> 20
                    );
                    let hint = "a task's folder is copied for every trial; fetch what is big in the image";
                    problems.push(Problem::new(root, message).hint(hint));
                    return Err(problems);
                }
            }
        }
        for (path, kind) in &tree.entries {
            if let Kind::Link { target } = kind
                && tree.resolve(path) == Err(Out)
            {
                let message =
                    format!("is a link that leads out of the task's folder, to {}", printable(target));
                let hint = "put the file itself in its place, or make the link in the Dockerfile";
                problems.push(Problem::new(root.join(path), message).hint(hint));
            }
        }
        problems.truncate(MAX_PROBLEMS);
        if problems.is_empty() { Ok(tree) } else { Err(problems) }
    }

    /// The folder on the host.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Everything in it, sorted by path.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, &Kind)> {
        self.entries.iter().map(|(path, kind)| (path.as_path(), kind))
    }

    /// The names directly below a folder, sorted; empty where there is no such folder.
    pub fn children(&self, folder: &str) -> impl Iterator<Item = &Path> {
        let folder = PathBuf::from(folder);
        self.entries.keys().filter(move |path| path.parent() == Some(folder.as_path())).map(PathBuf::as_path)
    }

    /// Whether a path is a plain file, at the end of links if need be.
    pub fn is_file(&self, path: &str) -> bool {
        matches!(self.end(path), Some((_, Some(Kind::File { .. }))))
    }

    /// Whether a path is a folder, at the end of links if need be.
    pub fn is_folder(&self, path: &str) -> bool {
        matches!(self.end(path), Some((_, Some(Kind::Folder))))
    }

    /// Where on the host a path ends after all links: inside the folder, always.
    pub fn host_path(&self, path: &str) -> Option<PathBuf> {
        self.end(path).filter(|(_, kind)| kind.is_some()).map(|(end, _)| self.root.join(end))
    }

    /// The text of a file.
    ///
    /// # Errors
    /// Missing, not a file, longer than `limit` bytes, or not text, each said.
    pub fn read_text(&self, path: &str, limit: u64) -> Result<String, Problem> {
        let problem = |message: String| Problem::new(self.root.join(path), message);
        let end = match self.end(path) {
            Some((end, Some(Kind::File { .. }))) => end,
            Some((_, Some(_))) => return Err(problem("is not a file".into())),
            _ => return Err(problem("is missing".into())),
        };
        let mut bytes = Vec::new();
        open(&self.root.join(end))
            .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
            .map_err(|error| problem(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > limit {
            return Err(problem(format!("is longer than {} KiB", limit >> 10)));
        }
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            return Err(problem(format!("is not text: byte {at} is zero")));
        }
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
            problem("is not UTF-8 text".into()).at(&text, valid)
        })
    }

    /// The digest of names, kinds, executable bits, links' targets and all bytes; nothing else of the file system
    /// enters it, so a copy has the same.
    ///
    /// # Errors
    /// A file that cannot be read or changed its size since it was walked.
    pub fn digest(&self) -> Result<Digest, Problem> {
        let mut digest = DigestBuilder::new();
        digest.part("harness task folder", b"1");
        for (path, kind) in &self.entries {
            digest.part("name", path.as_os_str().as_bytes());
            match kind {
                Kind::Folder => digest.part("folder", b""),
                Kind::Link { target } => digest.part("link", target.as_os_str().as_bytes()),
                Kind::File { bytes, executable } => {
                    let host = self.root.join(path);
                    let read = open(&host).and_then(|file| Digest::of_reader(file.take(bytes + 1)));
                    let content = match read {
                        Ok((content, read)) if read == *bytes => content,
                        Ok(_) => return Err(Problem::new(host, "changed while it was read")),
                        Err(error) => return Err(Problem::new(host, format!("cannot be read: {error}"))),
                    };
                    digest.part(if *executable { "program" } else { "file" }, content.as_str().as_bytes())
                }
            };
        }
        Ok(digest.finish())
    }

    fn end(&self, path: &str) -> Option<(PathBuf, Option<&Kind>)> {
        let end = self.resolve(Path::new(path)).ok()?;
        let kind = if end.as_os_str().is_empty() { Some(&Kind::Folder) } else { self.entries.get(&end) };
        Some((end, kind))
    }

    /// Follows every link on the way, as the kernel would, inside the tree only.
    fn resolve(&self, path: &Path) -> Result<PathBuf, Out> {
        let mut todo: Vec<PathBuf> = parts(path)?;
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == Path::new("..") {
                if !done.pop() {
                    return Err(Out);
                }
                continue;
            }
            done.push(&part);
            if let Some(Kind::Link { target }) = self.entries.get(&done) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Out);
                }
                done.pop();
                todo.extend(parts(target)?);
            }
        }
        Ok(done)
    }
}

/// A path ends outside of the tree, or in a loop.
#[derive(Debug, PartialEq, Eq)]
struct Out;

/// The components of a relative path, last first.
fn parts(path: &Path) -> Result<Vec<PathBuf>, Out> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(PathBuf::from(name)),
            Component::ParentDir => parts.push(PathBuf::from("..")),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err(Out),
        }
    }
    parts.reverse();
    Ok(parts)
}

fn list(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

fn kind(path: &Path) -> Result<Kind, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let meta = fs::symlink_metadata(path).map_err(unreadable)?;
    let kind = meta.file_type();
    if kind.is_dir() {
        Ok(Kind::Folder)
    } else if kind.is_file() {
        Ok(Kind::File { bytes: meta.len(), executable: meta.mode() & 0o100 != 0 })
    } else if kind.is_symlink() {
        Ok(Kind::Link { target: fs::read_link(path).map_err(unreadable)? })
    } else {
        Err("is a pipe, socket or device, which a task may not hold".into())
    }
}

/// Opens a plain file and nothing else: no link in its place, no pipe that would block.
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a plain file any more"))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails here should stop")]

    use std::ffi::OsStr;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/file"), "text").unwrap();
        dir
    }

    fn digest(dir: &Path) -> Digest {
        Tree::walk(dir, TreeLimits::default()).unwrap().digest().unwrap()
    }

    #[test]
    fn tree_digest_sees_every_byte_name_mode_link_and_folder_and_nothing_else() {
        let dir = folder();
        let at = |name: &str| dir.path().join(name);
        let first = digest(dir.path());
        let copy = folder();
        assert_eq!(digest(copy.path()), first, "a copy elsewhere is the same");
        fs::File::open(at("sub/file")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        fs::set_permissions(at("sub/file"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(digest(dir.path()), first, "times and others' rights do not count");

        let mut seen = vec![first];
        let mut change = |what: &str| {
            let now = digest(dir.path());
            assert!(!seen.contains(&now), "{what} is not seen");
            seen.push(now);
        };
        fs::set_permissions(at("sub/file"), fs::Permissions::from_mode(0o700)).unwrap();
        change("the executable bit");
        fs::write(at("sub/file"), "texu").unwrap();
        change("a byte");
        fs::rename(at("sub/file"), at("sub/file2")).unwrap();
        change("a name");
        fs::create_dir(at("empty")).unwrap();
        change("an empty folder");
        symlink("sub", at("link")).unwrap();
        change("a link");
        fs::remove_file(at("link")).unwrap();
        symlink("empty", at("link")).unwrap();
        change("a link's target");
        fs::write(at("sub").join(OsStr::from_bytes(b"\xff\xfe")), "").unwrap();
        change("a file whose name is not text");
    }

    #[test]
    fn tree_refuses_links_that_lead_out_and_takes_those_that_stay() {
        for (link, target, out) in [
            ("l", "/etc/passwd", true),
            ("l", "..", true),
            ("sub/l", "../../x", true),
            ("l", "sub/../../x", true),
            ("l", "l", true),
            ("l", "sub/file", false),
            ("sub/l", "../sub/file", false),
            ("sub/l", "..", false),
            ("l", "nowhere", false),
        ] {
            let dir = folder();
            symlink(target, dir.path().join(link)).unwrap();
            let walked = Tree::walk(dir.path(), TreeLimits::default());
            assert_eq!(walked.is_err(), out, "{link} -> {target}: {walked:?}");
        }
        // A link that leads out only through another link.
        let dir = folder();
        symlink("sub", dir.path().join("a")).unwrap();
        symlink("../a/../..", dir.path().join("sub/b")).unwrap();
        assert!(Tree::walk(dir.path(), TreeLimits::default()).is_err());
    }

    #[test]
    fn tree_refuses_pipes_and_sockets_without_opening_them() {
        let dir = folder();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let pipe = std::ffi::CString::new(dir.path().join("pipe").as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a valid string that ends in zero and lives through the call.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        let problems = Tree::walk(dir.path(), TreeLimits::default()).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().all(|problem| problem.message.contains("pipe, socket or device")));
    }

    #[test]
    fn tree_refuses_too_many_files_too_many_bytes_and_too_deep_folders() {
        let dir = folder();
        let limits = TreeLimits::default();
        for limits in [
            TreeLimits { entries: 1, ..limits },
            TreeLimits { bytes: 3, ..limits },
            TreeLimits { depth: 0, ..limits },
        ] {
            assert!(Tree::walk(dir.path(), limits).is_err(), "{limits:?}");
        }
        assert!(Tree::walk(dir.path(), TreeLimits { entries: 2, bytes: 4, depth: 1 }).is_ok());
    }

    #[test]
    fn tree_reads_text_within_its_limit_and_follows_links_inside() {
        let dir = folder();
        symlink("sub/file", dir.path().join("link")).unwrap();
        fs::write(dir.path().join("zero"), b"a\0b").unwrap();
        fs::write(dir.path().join("latin"), b"one\ntwo \xe9").unwrap();
        let tree = Tree::walk(dir.path(), TreeLimits::default()).unwrap();
        assert_eq!(tree.read_text("link", 4), Ok("text".into()));
        assert!(tree.read_text("link", 3).unwrap_err().message.contains("longer"));
        assert!(tree.read_text("zero", 9).unwrap_err().message.contains("byte 1 is zero"));
        assert_eq!(tree.read_text("latin", 9).unwrap_err().position, Some((2, 5)));
        for missing in ["nothing", "../x", "/etc/passwd", "sub/../../etc/passwd"] {
            assert!(tree.read_text(missing, 9).unwrap_err().message.contains("missing"), "{missing}");
        }
        assert!(tree.read_text("sub", 9).is_err());
        assert_eq!(tree.host_path("link"), Some(dir.path().join("sub/file")));
    }
}
