//! The folder that a build reads from: what `.dockerignore` leaves of it, a digest of that, and the archive that engines take.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use harness_core::{Digest, digest::DigestBuilder};

use super::ignore::{Ignore, Matched};

/// Most files, folders and links.
const MOST_ITEMS: usize = 200_000;
/// Most bytes of content altogether.
const MOST_BYTES: u64 = 16 << 30;
/// Largest `.dockerignore`.
const IGNORE_BYTES: u64 = 1 << 20;
const DEPTH: usize = 128;
/// Letters that all matching may look at: some seconds.
const MOST_WORK: u64 = 20_000_000_000;

/// What is left of a folder.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    root: PathBuf,
    items: Vec<Item>,
    /// The text that decided it; `None` where there is no such file.
    ignore: Option<String>,
    /// Bytes of its files.
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone)]
struct Item {
    /// Below the root.
    path: PathBuf,
    mode: u32,
    modified: u64,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Folder,
    Link(PathBuf),
    File(u64),
}

/// A Dockerfile that goes with a context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Its bytes, as they were read.
    pub(crate) bytes: &'a [u8],
    /// Where it lies below the context; `None` when it lies elsewhere or is made up.
    pub(crate) path: Option<&'a Path>,
}

impl Context {
    /// Looks through a folder. `FILE.dockerignore` beside the Dockerfile wins over the folder's own.
    ///
    /// # Errors
    /// In words for people.
    pub(crate) fn read(root: &Path, dockerfile: Option<&Path>) -> Result<Context, String> {
        let fail = |error: io::Error| format!("{}: {error}", root.display());
        let root = fs::canonicalize(root).map_err(fail)?;
        let own = dockerfile.map(|file| {
            let mut name = file.as_os_str().to_owned();
            name.push(".dockerignore");
            PathBuf::from(name)
        });
        let mut text = None;
        for file in own.into_iter().chain([root.join(".dockerignore")]) {
            if let Some(found) = read_ignore(&file)? {
                text = Some((file, found));
                break;
            }
        }
        let ignore = match &text {
            Some((file, text)) => Ignore::parse(text).map_err(|why| format!("{} {why}", file.display()))?,
            None => Ignore::default(),
        };
        let mut walk = Walk { root: &root, ignore: &ignore, items: Vec::new(), bytes: 0, work: MOST_WORK };
        walk.folder(Path::new(""), &Matched::default(), DEPTH)?;
        let Walk { items, bytes, .. } = walk;
        Ok(Context { root, items, ignore: text.map(|(_, text)| text), bytes })
    }

    /// A context of nothing.
    pub(crate) fn empty() -> Context {
        Context { root: PathBuf::new(), items: Vec::new(), ignore: None, bytes: 0 }
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Equal for equal names, modes and bytes; times and owners do not count, because engines are not told the owners and
    /// builders do not look at times.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn digest(&self) -> io::Result<Digest> {
        let mut digest = DigestBuilder::new();
        let mut piece = vec![0; 1 << 16];
        for item in &self.items {
            digest.part("path", item.path.as_os_str().as_bytes());
            match &item.what {
                What::Folder => digest.part("folder", &item.mode.to_le_bytes()),
                What::Link(target) => digest.part("link", target.as_os_str().as_bytes()),
                What::File(length) => {
                    digest.part("file", &item.mode.to_le_bytes());
                    let mut reader = open_regular(&self.root.join(&item.path))?.take(*length);
                    loop {
                        let got = reader.read(&mut piece)?;
                        digest.part("piece", &piece[..got]);
                        if got == 0 {
                            break &mut digest;
                        }
                    }
                }
            };
        }
        Ok(digest.finish())
    }

    /// Writes the archive, the Dockerfile in it; returns the name that it has there.
    ///
    /// # Errors
    /// When a file cannot be read or has changed, or nobody takes the bytes.
    pub(crate) fn archive(&self, dockerfile: Wanted<'_>, out: impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(out);
        let name = self.dockerfile_name(dockerfile);
        let mut written = false;
        for item in &self.items {
            let mut header = tar::Header::new_gnu();
            header.set_mode(item.mode);
            header.set_mtime(item.modified);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(0);
            match &item.what {
                What::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    archive.append_data(&mut header, &item.path, io::empty())?;
                }
                What::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    archive.append_link(&mut header, &item.path, target)?;
                }
                // The bytes that the digest has seen, whatever became of the file.
                What::File(_) if item.path == name => {
                    header.set_size(dockerfile.bytes.len() as u64);
                    archive.append_data(&mut header, &item.path, dockerfile.bytes)?;
                    written = true;
                }
                What::File(length) => {
                    header.set_size(*length);
                    let file = open_regular(&self.root.join(&item.path))?;
                    let exact = Exact { inner: file, left: *length };
                    archive.append_data(&mut header, &item.path, exact)?;
                }
            }
        }
        if !written {
            let own = |name: &Path, bytes: &[u8], archive: &mut tar::Builder<_>| {
                let mut header = tar::Header::new_gnu();
                header.set_mode(0o644);
                header.set_uid(0);
                header.set_gid(0);
                header.set_mtime(0);
                header.set_size(bytes.len() as u64);
                archive.append_data(&mut header, name, bytes)
            };
            own(&name, dockerfile.bytes, &mut archive)?;
            // A Dockerfile that does not belong to the context must not be copied by `COPY .`: engines leave out what this
            // list names, the list itself included.
            let list = format!(
                "{}\n{}\n.dockerignore\n",
                self.ignore.as_deref().unwrap_or_default(),
                name.display()
            );
            own(Path::new(".dockerignore"), list.as_bytes(), &mut archive)?;
        }
        archive.finish()
    }

    /// Where the Dockerfile lies in the archive: its own place if the context has it there, else one that nobody else uses.
    pub(crate) fn dockerfile_name(&self, dockerfile: Wanted<'_>) -> PathBuf {
        let there = |path: &&Path| {
            self.items.iter().any(|item| item.path == **path && matches!(item.what, What::File(_)))
        };
        match dockerfile.path.filter(there) {
            Some(path) => path.to_owned(),
            None => PathBuf::from(format!(".harness-{}.Dockerfile", Digest::of(dockerfile.bytes).short())),
        }
    }

    /// Names of what is left, for tests.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<String> {
        self.items.iter().map(|item| item.path.to_string_lossy().into_owned()).collect()
    }
}

fn read_ignore(file: &Path) -> Result<Option<String>, String> {
    let fail = |error: io::Error| format!("{}: {error}", file.display());
    match fs::symlink_metadata(file) {
        Ok(found) if found.is_file() && found.len() <= IGNORE_BYTES => {
            let mut bytes = Vec::new();
            let opened = open_regular(file).map_err(fail)?;
            opened.take(IGNORE_BYTES).read_to_end(&mut bytes).map_err(fail)?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Ok(_) => Err(format!("{} is no file, or larger than {IGNORE_BYTES} bytes", file.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
    }
}

struct Walk<'a> {
    root: &'a Path,
    ignore: &'a Ignore,
    items: Vec<Item>,
    bytes: u64,
    work: u64,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, above: &Matched, depth: usize) -> Result<(), String> {
        let host = self.root.join(folder);
        let fail = |error: io::Error| format!("{}: {error}", host.display());
        if depth == 0 {
            return Err(format!("{} is nested too deeply", host.display()));
        }
        let entries: Result<Vec<_>, _> = fs::read_dir(&host).map_err(fail)?.take(MOST_ITEMS + 1).collect();
        let mut names: Vec<_> = entries.map_err(fail)?.into_iter().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let path = folder.join(&name);
            let shown = path.to_string_lossy();
            self.work = self
                .work
                .checked_sub(self.ignore.cost(&shown))
                .ok_or(".dockerignore has too many patterns for so many files")?;
            let (ignored, matched) = self.ignore.check(&shown, above);
            self.entry(path, ignored, &matched, depth)?;
            if self.items.len() > MOST_ITEMS {
                return Err(format!("{}: more than {MOST_ITEMS} files", self.root.display()));
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, ignored: bool, matched: &Matched, depth: usize) -> Result<(), String> {
        let host = self.root.join(&path);
        let fail = |error: io::Error| format!("{}: {error}", host.display());
        let found = match fs::symlink_metadata(&host) {
            Ok(found) => found,
            // Gone since the folder was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        let modified = u64::try_from(found.mtime()).unwrap_or(0);
        let mode = found.mode() & 0o7777;
        if found.is_dir() {
            if ignored && !self.ignore.has_exceptions() {
                return Ok(());
            }
            let before = self.items.len();
            self.items.push(Item { path: path.clone(), mode, modified, what: What::Folder });
            self.folder(&path, matched, depth - 1)?;
            // A folder that is left out is only there for what is in it.
            if ignored && self.items.len() == before + 1 {
                self.items.pop();
            }
            return Ok(());
        }
        if ignored {
            return Ok(());
        }
        let what = if found.is_symlink() {
            What::Link(fs::read_link(&host).map_err(fail)?)
        } else if found.is_file() {
            self.bytes += found.len();
            if self.bytes > MOST_BYTES {
                return Err(format!("{}: more than {MOST_BYTES} bytes", self.root.display()));
            }
            What::File(found.len())
        } else {
            use std::os::unix::fs::FileTypeExt;
            // Other clients leave sockets out, too.
            if found.file_type().is_socket() {
                return Ok(());
            }
            return Err(format!("{} is neither file, folder nor link", host.display()));
        };
        self.items.push(Item { path, mode, modified, what });
        Ok(())
    }
}

/// Gives exactly as many bytes as were promised, or an error: an archive must not be cut in the middle of a file.
struct Exact<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match self.inner.read(&mut buffer[..most])? {
            0 => Err(io::Error::other("a file of the context became shorter while it was read")),
            got => {
                self.left -= got as u64;
                Ok(got)
            }
        }
    }
}

fn open_regular(path: &Path) -> io::Result<fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
        io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", path.display()))
    })?;
    let file = fs::File::from(file);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other(format!("{} is no file", path.display())))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn folder(files: &[&str], ignore: Option<&str>) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for file in files {
            let path = place.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, *file).unwrap();
        }
        if let Some(ignore) = ignore {
            fs::write(place.path().join(".dockerignore"), ignore).unwrap();
        }
        place
    }

    fn archived(context: &Context, wanted: Wanted<'_>) -> BTreeMap<String, String> {
        let mut bytes = Vec::new();
        context.archive(wanted, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut files = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (0, 0));
            files.insert(name, text);
        }
        files
    }

    #[test]
    fn context_is_what_the_list_leaves() {
        let place = folder(
            &["a.py", "src/x.o", "src/deep/keep.o", "src/deep/y.o", "secret/key", "empty-after/only.o"],
            Some("**/*.o\n!src/deep/keep.o\nsecret\n"),
        );
        fs::create_dir(place.path().join("really-empty")).unwrap();
        let context = Context::read(place.path(), None).unwrap();
        assert_eq!(
            context.names(),
            [".dockerignore", "a.py", "empty-after", "really-empty", "src", "src/deep", "src/deep/keep.o"]
        );
        fs::write(place.path().join("Own.dockerignore"), "*\n!a.py").unwrap();
        let own = Context::read(place.path(), Some(&place.path().join("Own"))).unwrap();
        assert_eq!(own.names(), ["a.py"], "the Dockerfile's own list wins");
        fs::write(place.path().join(".dockerignore"), "[").unwrap();
        let why = Context::read(place.path(), None).unwrap_err();
        assert!(why.contains(".dockerignore line 1"), "{why}");
    }

    #[test]
    fn context_archive_holds_the_dockerfile_once_and_as_it_was_read() {
        let place = folder(&["Dockerfile", "a"], None);
        let context = Context::read(place.path(), None).unwrap();
        let wanted = Wanted { bytes: b"FROM x", path: Some(Path::new("Dockerfile")) };
        let files = archived(&context, wanted);
        assert_eq!(files["Dockerfile"], "FROM x");
        assert_eq!(files.keys().collect::<Vec<_>>(), ["Dockerfile", "a"]);
        // Elsewhere, or left out: it comes under a name of its own, which engines are told to leave out.
        let ignoring = folder(&["Dockerfile", "a"], Some("Dockerfile\n.dockerignore\n"));
        let context = Context::read(ignoring.path(), None).unwrap();
        let name = context.dockerfile_name(wanted).to_string_lossy().into_owned();
        let files = archived(&context, wanted);
        assert_eq!(files[&name], "FROM x");
        assert!(!files.contains_key("Dockerfile"));
        assert!(files[".dockerignore"].contains(&name));
    }

    #[test]
    fn context_digest_follows_names_modes_and_bytes_but_not_times() {
        let place = folder(&["d/a", "d/b"], None);
        symlink("a", place.path().join("d/link")).unwrap();
        let digest = || Context::read(place.path(), None).unwrap().digest().unwrap();
        let mut seen = vec![digest()];
        fs::File::open(place.path().join("d/a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(digest(), seen[0]);
        fs::write(place.path().join("d/a"), "other").unwrap();
        seen.push(digest());
        fs::set_permissions(place.path().join("d/a"), fs::Permissions::from_mode(0o700)).unwrap();
        seen.push(digest());
        fs::rename(place.path().join("d/a"), place.path().join("d/c")).unwrap();
        seen.push(digest());
        fs::remove_file(place.path().join("d/link")).unwrap();
        symlink("b", place.path().join("d/link")).unwrap();
        seen.push(digest());
        fs::create_dir(place.path().join("new")).unwrap();
        seen.push(digest());
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }

    #[test]
    fn context_never_follows_links_and_refuses_pipes() {
        let outside = folder(&["precious"], None);
        let place = folder(&["a"], None);
        symlink(outside.path(), place.path().join("out")).unwrap();
        let context = Context::read(place.path(), None).unwrap();
        assert_eq!(context.names(), ["a", "out"]);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        assert!(Context::read(place.path(), None).unwrap_err().contains("neither file"));
    }

    #[test]
    fn context_that_shrinks_while_it_is_sent_is_an_error_and_not_a_short_file() {
        let place = folder(&["a"], None);
        fs::write(place.path().join("a"), vec![b'x'; 100_000]).unwrap();
        let context = Context::read(place.path(), None).unwrap();
        fs::write(place.path().join("a"), "short").unwrap();
        let error = context.archive(Wanted { bytes: b"FROM x", path: None }, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("shorter"), "{error}");
    }
}
