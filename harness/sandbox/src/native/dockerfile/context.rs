//! The files that a Dockerfile may copy: a folder without what `.dockerignore` names. Links are copied as links; a source that
//! leads out of the folder is refused.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use harness_core::{Digest, digest::DigestBuilder};

use super::parse::Copy;

/// A build's folder.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    root: PathBuf,
    ignore: Vec<Pattern>,
}

/// One line of `.dockerignore`, or one wildcard source.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    parts: Vec<String>,
    /// It begins with `!`: what it matches is not ignored after all.
    exception: bool,
}

/// What one COPY copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    /// In order, parents first.
    pub(crate) items: Vec<Item>,
    /// Whether it is one single file, whose name at the destination is then the destination's own, unless that is a folder.
    pub(crate) single_file: bool,
}

/// One thing to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Relative to the destination folder.
    pub(crate) to: PathBuf,
    /// What it is.
    pub(crate) what: What,
}

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A file of the context.
    File(PathBuf),
    /// Text of the Dockerfile.
    Text(String),
    /// A folder with these permission bits.
    Folder(u32),
    /// A link to this.
    Link(PathBuf),
}

const MOST_ITEMS: usize = 200_000;
const MOST_BYTES: u64 = 8 << 30;
const MOST_PATTERNS: usize = 2000;
const IGNORE_BYTES: u64 = 1 << 20;
const DEPTH: usize = 128;

impl Context {
    /// Opens a folder with the Dockerfile of this name; `NAME.dockerignore` wins over `.dockerignore`.
    ///
    /// # Errors
    /// When it is no folder, or the list of what is ignored cannot be read.
    pub(crate) fn open(root: &Path, dockerfile: &str) -> io::Result<Context> {
        let root = fs::canonicalize(root)?;
        let mut ignore = Vec::new();
        for name in [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()] {
            match fs::symlink_metadata(root.join(&name)) {
                Ok(found) if found.is_file() && found.len() <= IGNORE_BYTES => {
                    ignore = patterns(&String::from_utf8_lossy(&fs::read(root.join(&name))?));
                    break;
                }
                Ok(_) => return Err(io::Error::other(format!("{name} is no file, or too large"))),
                Err(_) => {}
            }
        }
        Ok(Context { root, ignore })
    }

    /// What a COPY or ADD copies.
    ///
    /// # Errors
    /// In words for people: a source that is not there, leads out, or is an archive that ADD would unpack.
    pub(crate) fn select(&self, copy: &Copy) -> Result<Selection, String> {
        let mut selection = Selection { items: Vec::new(), single_file: false };
        for document in &copy.documents {
            let to = PathBuf::from(document.name.rsplit('/').next().unwrap_or(&document.name));
            selection.items.push(Item { to, what: What::Text(document.content.clone()) });
        }
        let mut sources = 0;
        let mut folders = 0;
        for source in &copy.sources {
            let found = self.sources(source)?;
            if found.is_empty() {
                return Err(format!(
                    "{source} is not in {} (or .dockerignore leaves it out)",
                    self.root.display()
                ));
            }
            for path in found {
                sources += 1;
                folders += usize::from(self.add(&path, copy.add, &mut selection.items)?);
            }
        }
        let wide = copy.sources.iter().any(|source| source.contains(['*', '?', '[']));
        selection.single_file =
            folders == 0 && sources + copy.documents.len() == 1 && (!wide || !copy.to.ends_with('/'));
        Ok(selection)
    }

    /// The paths in the context that a source names, relative to it.
    fn sources(&self, source: &str) -> Result<Vec<PathBuf>, String> {
        let mut found = vec![PathBuf::new()];
        for part in Path::new(source).components() {
            let part = match part {
                Component::Normal(part) => part.to_string_lossy().into_owned(),
                Component::ParentDir => return Err(format!("{source} leads out of the context")),
                _ => continue,
            };
            let mut next = Vec::new();
            for folder in found {
                if !part.contains(['*', '?', '[', '\\']) {
                    let path = folder.join(&part);
                    if fs::symlink_metadata(self.root.join(&path)).is_ok() {
                        next.push(path);
                    }
                    continue;
                }
                let entries = fs::read_dir(self.root.join(&folder)).into_iter().flatten().flatten();
                let mut names: Vec<OsString> =
                    entries.map(|entry| entry.file_name()).take(MOST_ITEMS).collect();
                names.sort();
                next.extend(
                    names
                        .into_iter()
                        .filter(|name| matches_name(&part, &name.to_string_lossy()))
                        .map(|name| folder.join(name)),
                );
            }
            found = next;
        }
        // A folder that is ignored may hold an exception.
        found.retain(|path| {
            !self.is_ignored(path) || (self.has_exceptions() && self.root.join(path).is_dir())
        });
        Ok(found)
    }

    /// Adds a source: a folder's content, or a file under its own name. True for a folder.
    fn add(&self, path: &Path, unpacks: bool, items: &mut Vec<Item>) -> Result<bool, String> {
        // A link named as a source is followed, as long as it stays inside.
        let real =
            fs::canonicalize(self.root.join(path)).map_err(|error| format!("{}: {error}", path.display()))?;
        if !real.starts_with(&self.root) {
            return Err(format!("{} leads out of the context", path.display()));
        }
        let found = fs::metadata(&real).map_err(|error| format!("{}: {error}", path.display()))?;
        if found.is_dir() {
            self.walk(&real, path, Path::new(""), DEPTH, items)?;
            return Ok(true);
        }
        if !found.is_file() {
            return Err(format!("{} is neither file nor folder", path.display()));
        }
        if unpacks && is_archive(&real) {
            return Err(format!("unpacking {} is not supported: COPY it, then RUN tar", path.display()));
        }
        let name = path.file_name().ok_or("a source has no name")?;
        items.push(Item { to: name.into(), what: What::File(real) });
        Ok(false)
    }

    fn walk(
        &self,
        host: &Path,
        path: &Path,
        to: &Path,
        depth: usize,
        items: &mut Vec<Item>,
    ) -> Result<(), String> {
        let fail = |error: io::Error| format!("{}: {error}", path.display());
        if depth == 0 {
            return Err(format!("{} is nested too deeply", path.display()));
        }
        let entries: Result<Vec<fs::DirEntry>, _> =
            fs::read_dir(host).map_err(fail)?.take(MOST_ITEMS + 1).collect();
        let mut entries = entries.map_err(fail)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (host, path, to) = (entry.path(), path.join(entry.file_name()), to.join(entry.file_name()));
            let ignored = self.is_ignored(&path);
            let found = fs::symlink_metadata(&host).map_err(fail)?;
            if found.is_dir() {
                let before = items.len();
                items.push(Item { to: to.clone(), what: What::Folder(found.mode() & 0o7777) });
                if !ignored || self.has_exceptions() {
                    self.walk(&host, &path, &to, depth - 1, items)?;
                }
                // An ignored folder is only there for what is in it.
                if ignored && items.len() == before + 1 {
                    items.pop();
                }
            } else if !ignored && found.is_symlink() {
                items.push(Item { to, what: What::Link(fs::read_link(&host).map_err(fail)?) });
            } else if !ignored && found.is_file() {
                items.push(Item { to, what: What::File(host) });
            } else if !ignored {
                return Err(format!("{} is neither file, folder nor link", path.display()));
            }
            if items.len() > MOST_ITEMS {
                return Err(format!("more than {MOST_ITEMS} files"));
            }
        }
        Ok(())
    }

    fn has_exceptions(&self) -> bool {
        self.ignore.iter().any(|pattern| pattern.exception)
    }

    /// The last pattern that matches the path, or a folder above it, decides.
    fn is_ignored(&self, path: &Path) -> bool {
        let parts: Vec<String> =
            path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        let mut ignored = false;
        for pattern in &self.ignore {
            if pattern.exception != ignored {
                continue;
            }
            if (1..=parts.len()).any(|length| matches_parts(&pattern.parts, &parts[..length])) {
                ignored = !pattern.exception;
            }
        }
        ignored
    }
}

impl Selection {
    /// Equal for equal names, modes and bytes; times do not count.
    ///
    /// # Errors
    /// When a file cannot be read, or all together are too large.
    pub(crate) fn digest(&self) -> io::Result<Digest> {
        let mut digest = DigestBuilder::new();
        let mut budget = MOST_BYTES;
        for item in &self.items {
            digest.part("to", item.to.as_os_str().as_bytes());
            match &item.what {
                What::Folder(mode) => digest.part("folder", &mode.to_le_bytes()),
                What::Link(target) => digest.part("link", target.as_os_str().as_bytes()),
                What::Text(text) => digest.part("text", text.as_bytes()),
                What::File(path) => {
                    let file = open_regular(path)?;
                    let found = file.metadata()?;
                    budget = budget
                        .checked_sub(found.len())
                        .ok_or_else(|| io::Error::other("the files are too large"))?;
                    // In pieces: a file may be large, and grow while it is read.
                    let mut reader = io::Read::take(file, found.len());
                    let mut piece = vec![0; 1 << 16];
                    digest.part("mode", &(found.mode() & 0o7777).to_le_bytes());
                    loop {
                        let got = io::Read::read(&mut reader, &mut piece)?;
                        digest.part("piece", &piece[..got]);
                        if got == 0 {
                            break &mut digest;
                        }
                    }
                }
            };
        }
        digest.part("single", &[u8::from(self.single_file)]);
        Ok(digest.finish())
    }

    /// Copies everything into a folder that exists, as it is to be at the destination; `mode` overrides files' bits.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn stage(&self, into: &Path, mode: Option<u32>) -> io::Result<()> {
        let mut folders = Vec::new();
        for item in &self.items {
            let to = into.join(&item.to);
            // Two sources may bring the same name: the later one wins, folders are merged.
            let there = fs::symlink_metadata(&to).ok();
            if there.as_ref().is_some_and(|there| !there.is_dir()) {
                fs::remove_file(&to)?;
            }
            match &item.what {
                What::Folder(bits) => {
                    if !there.is_some_and(|there| there.is_dir()) {
                        fs::create_dir(&to)?;
                    }
                    folders.push((to, mode.unwrap_or(*bits)));
                }
                What::Link(target) => std::os::unix::fs::symlink(target, &to)?,
                What::Text(text) => {
                    fs::write(&to, text)?;
                    fs::set_permissions(&to, fs::Permissions::from_mode(mode.unwrap_or(0o644)))?;
                }
                What::File(path) => {
                    let mut from = open_regular(path)?;
                    let bits = from.metadata()?.mode() & 0o7777;
                    io::copy(&mut from, &mut fs::File::create_new(&to)?)?;
                    fs::set_permissions(&to, fs::Permissions::from_mode(mode.unwrap_or(bits)))?;
                }
            }
        }
        // Last, and from the inside out: a folder may be closed to writing.
        for (folder, bits) in folders.into_iter().rev() {
            fs::set_permissions(&folder, fs::Permissions::from_mode(bits))?;
        }
        Ok(())
    }
}

fn open_regular(path: &Path) -> io::Result<fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other(format!("{} is no file", path.display())))
    }
}

/// Archives by their first bytes, as ADD of other builders knows them: gzip, bzip2, xz, tar.
fn is_archive(path: &Path) -> bool {
    let mut first = [0; 265];
    let Ok(mut file) = open_regular(path) else { return false };
    let mut got = 0;
    while let Ok(more @ 1..) = io::Read::read(&mut file, &mut first[got..]) {
        got += more;
    }
    let first = &first[..got];
    first.starts_with(&[0x1f, 0x8b])
        || first.starts_with(b"BZh")
        || first.starts_with(b"\xfd7zXZ\0")
        || first.get(257..262) == Some(b"ustar")
}

fn patterns(text: &str) -> Vec<Pattern> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parse = |line: &str| {
        let (exception, line) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let mut parts: Vec<String> = Vec::new();
        for part in line.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part.to_owned()),
            }
        }
        Pattern { parts, exception }
    };
    lines.map(parse).filter(|pattern| !pattern.parts.is_empty()).take(MOST_PATTERNS).collect()
}

/// Whether a pattern with `**` for any number of folders matches a whole path. A table instead of recursion: hostile patterns
/// take no longer than others.
fn matches_parts(pattern: &[String], path: &[String]) -> bool {
    let mut row: Vec<bool> = vec![false; path.len() + 1];
    row[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        if part == "**" {
            let mut any = false;
            for (at, cell) in next.iter_mut().enumerate() {
                any |= row[at];
                *cell = any;
            }
        } else {
            for at in 1..=path.len() {
                next[at] = row[at - 1] && matches_name(part, &path[at - 1]);
            }
        }
        row = next;
    }
    row[path.len()]
}

/// `*`, `?`, `[a-z]`, `[^a]` and `\x` against one name.
pub(crate) fn matches_name(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where to go on when a star has to take one more.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
            continue;
        }
        match one(&pattern, p, name[n]) {
            Some(length) => {
                p += length;
                n += 1;
            }
            None => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

/// How long the part of the pattern is that matches this letter.
fn one(pattern: &[char], at: usize, letter: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => Some(1),
        '\\' => (pattern.get(at + 1) == Some(&letter)).then_some(2),
        '[' => {
            let end = at + 2 + pattern.get(at + 2..)?.iter().position(|letter| *letter == ']')?;
            let set = &pattern[at + 1..end];
            let (not, set) = match set {
                ['^' | '!', set @ ..] => (true, set),
                set => (false, set),
            };
            let mut inside = false;
            let mut i = 0;
            while i < set.len() {
                if set.get(i + 1) == Some(&'-') && i + 2 < set.len() {
                    inside |= (set[i]..=set[i + 2]).contains(&letter);
                    i += 3;
                } else {
                    inside |= set[i] == letter;
                    i += 1;
                }
            }
            (inside != not).then(|| end - at + 1)
        }
        other => (*other == letter).then_some(1),
    }
}
