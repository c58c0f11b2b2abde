//! The file tree of a memory sandbox: an image's nodes, what the sandbox changed on top, and what one view sees of both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::FileType;

/// Most links followed in one look-up, as in Linux.
const MOST_LINKS: u32 = 40;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
}

/// The kinds of nodes. Contents are shared, so that copying a tree costs no more than its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File(Arc<Vec<u8>>),
    Folder,
    Link(Vec<u8>),
}

impl Node {
    pub(super) fn file(content: impl Into<Vec<u8>>, mode: u32) -> Node {
        Node { kind: Kind::File(Arc::new(content.into())), mode, owner: (0, 0) }
    }

    pub(super) fn folder() -> Node {
        Node { kind: Kind::Folder, mode: 0o755, owner: (0, 0) }
    }

    pub(super) fn link(target: impl Into<Vec<u8>>) -> Node {
        Node { kind: Kind::Link(target.into()), mode: 0o777, owner: (0, 0) }
    }

    pub(super) fn file_type(&self) -> FileType {
        match self.kind {
            Kind::File(_) => FileType::File,
            Kind::Folder => FileType::Folder,
            Kind::Link(_) => FileType::Link,
        }
    }

    pub(super) fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(content) => content.len() as u64,
            _ => 0,
        }
    }
}

/// An image: absolute paths without a slash at the end; the root itself is the empty path and not in the map.
pub(super) type Base = BTreeMap<Vec<u8>, Node>;

/// Changes over an image; `None` is a deletion.
pub(super) type Upper = BTreeMap<Vec<u8>, Option<Node>>;

/// What one sandbox's processes share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) base: Arc<Base>,
    pub(super) upper: Mutex<Upper>,
}

/// The own mounts of a view.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Empty at first, then only the view's own.
    pub(super) private: Vec<Vec<u8>>,
    /// The image's again.
    pub(super) restored: Vec<Vec<u8>>,
    /// Not there.
    pub(super) hidden: Vec<Vec<u8>>,
    /// What lies in the above, and folders that had to be made to get there.
    pub(super) own: Mutex<Upper>,
}

/// What a process sees: the sandbox's files, through a view's mounts where there are any.
#[derive(Debug, Clone)]
pub(super) struct Space {
    pub(super) shared: Arc<Shared>,
    pub(super) mounts: Option<Arc<Mounts>>,
}

/// Why a path cannot be used, in the words of a shell.
pub(super) type Refusal = &'static str;
const MISSING: Refusal = "No such file or directory";
const NOT_A_FOLDER: Refusal = "Not a directory";
const A_FOLDER: Refusal = "Is a directory";
const LOOP: Refusal = "Too many levels of symbolic links";

/// Where a path's node is kept.
enum Keeper<'a> {
    Shared,
    Own(&'a Mounts),
    OwnOverImage(&'a Mounts),
}

impl Space {
    fn keeper(&self, path: &[u8]) -> Keeper<'_> {
        let Some(mounts) = self.mounts.as_deref() else { return Keeper::Shared };
        let within = |roots: &[Vec<u8>]| roots.iter().any(|root| is_within(path, root));
        if within(&mounts.private) || within(&mounts.hidden) {
            Keeper::Own(mounts)
        } else if within(&mounts.restored) {
            Keeper::OwnOverImage(mounts)
        } else {
            Keeper::Shared
        }
    }

    fn shared_node(&self, path: &[u8]) -> Option<Node> {
        match lock(&self.shared.upper).get(path) {
            Some(change) => change.clone(),
            None => self.shared.base.get(path).cloned(),
        }
    }

    /// What stands exactly there; links are not followed.
    pub(super) fn node(&self, path: &[u8]) -> Option<Node> {
        if path.is_empty() {
            return Some(Node::folder());
        }
        match self.keeper(path) {
            Keeper::Own(mounts) => lock(&mounts.own).get(path).cloned().flatten(),
            Keeper::OwnOverImage(mounts) => match lock(&mounts.own).get(path) {
                Some(own) => own.clone(),
                None => self.shared.base.get(path).cloned(),
            },
            Keeper::Shared => {
                let shared = self.shared_node(path);
                let pinned =
                    self.mounts.as_ref().and_then(|mounts| lock(&mounts.own).get(path).cloned().flatten());
                match (shared, pinned) {
                    (Some(node), Some(_)) if node.kind == Kind::Folder => Some(node),
                    (_, Some(pinned)) => Some(pinned),
                    (shared, None) => shared,
                }
            }
        }
    }

    /// Puts a node there, or removes the one that is there, with what is below it.
    pub(super) fn set(&self, path: &[u8], node: Option<Node>) {
        if node.as_ref().is_none_or(|node| node.kind != Kind::Folder) {
            for name in self.list(path) {
                self.set(&join(path, &name), None);
            }
        }
        match self.keeper(path) {
            Keeper::Own(mounts) | Keeper::OwnOverImage(mounts) => {
                lock(&mounts.own).insert(path.to_vec(), node);
            }
            Keeper::Shared => {
                let mut upper = lock(&self.shared.upper);
                if self.shared.base.get(path) == node.as_ref() {
                    upper.remove(path);
                } else {
                    upper.insert(path.to_vec(), node);
                }
            }
        }
    }

    /// Names in a folder.
    pub(super) fn list(&self, folder: &[u8]) -> BTreeSet<Vec<u8>> {
        let mut names = BTreeSet::new();
        let prefix = [folder, b"/"].concat();
        names_below(&self.shared.base, &prefix, &mut names);
        names_below(&lock(&self.shared.upper), &prefix, &mut names);
        if let Some(mounts) = &self.mounts {
            names_below(&lock(&mounts.own), &prefix, &mut names);
        }
        names.retain(|name| self.node(&join(folder, name)).is_some());
        names
    }

    /// The path that `path`, seen from `cwd`, leads to. Nothing has to stand at its end; every folder on the way must.
    pub(super) fn resolve(&self, cwd: &[u8], path: &[u8], follow_last: bool) -> Result<Vec<u8>, Refusal> {
        let mut links = 0;
        let mut done = if path.starts_with(b"/") { Vec::new() } else { cwd.to_vec() };
        let mut todo: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        while let Some(name) = todo.pop() {
            if name == b".." {
                let parent = done.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                done.truncate(parent);
                continue;
            }
            let next = join(&done, &name);
            match self.node(&next).map(|node| node.kind) {
                Some(Kind::Link(target)) if follow_last || !todo.is_empty() => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(LOOP);
                    }
                    if target.starts_with(b"/") {
                        done.clear();
                    }
                    todo.extend(components(&target).rev().map(<[u8]>::to_vec));
                }
                Some(Kind::Folder) => done = next,
                _ if todo.is_empty() => done = next,
                None => return Err(MISSING),
                Some(_) => return Err(NOT_A_FOLDER),
            }
        }
        Ok(done)
    }

    /// The node that a path leads to, links followed.
    pub(super) fn follow(&self, cwd: &[u8], path: &[u8]) -> Option<Node> {
        self.node(&self.resolve(cwd, path, true).ok()?)
    }

    /// The content of a file, links followed.
    pub(super) fn read(&self, cwd: &[u8], path: &[u8]) -> Result<Arc<Vec<u8>>, Refusal> {
        match self.node(&self.resolve(cwd, path, true)?).ok_or(MISSING)?.kind {
            Kind::File(content) => Ok(content),
            _ => Err(A_FOLDER),
        }
    }

    /// Writes or appends to a file, links followed; its folder must be there.
    pub(super) fn write(
        &self,
        cwd: &[u8],
        path: &[u8],
        bytes: &[u8],
        append: bool,
    ) -> Result<Vec<u8>, Refusal> {
        let at = self.resolve(cwd, path, true)?;
        let parent = &at[..at.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
        if self.node(parent).ok_or(MISSING)?.kind != Kind::Folder {
            return Err(NOT_A_FOLDER);
        }
        let node = match self.node(&at) {
            Some(Node { kind: Kind::File(mut content), mode, owner }) => {
                let bytes_of = Arc::make_mut(&mut content);
                if !append {
                    bytes_of.clear();
                }
                bytes_of.extend_from_slice(bytes);
                Node { kind: Kind::File(content), mode, owner }
            }
            Some(_) => return Err(A_FOLDER),
            None => Node::file(bytes, 0o644),
        };
        self.set(&at, Some(node));
        Ok(at)
    }

    /// Makes a folder and its parents; returns where it is.
    pub(super) fn make_folders(&self, cwd: &[u8], path: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut at = if path.starts_with(b"/") { Vec::new() } else { cwd.to_vec() };
        for name in components(path) {
            at = self.resolve(&at, name, true)?;
            match self.node(&at).map(|node| node.kind) {
                Some(Kind::Folder) => {}
                Some(_) => return Err(NOT_A_FOLDER),
                None => self.set(&at, Some(Node::folder())),
            }
        }
        Ok(at)
    }
}

/// A lock whose holder cannot have left anything half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child's path.
pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    [folder, b"/", name].concat()
}

/// The parts of a path between slashes, without empty ones and dots.
pub(super) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// A path as the maps have it: no dots, no double slashes. `..` goes up as written.
pub(super) fn normal(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in components(path) {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.iter().flat_map(|part| [b"/", *part].concat()).collect()
}

/// Whether a path is that one or below it.
pub(super) fn is_within(path: &[u8], root: &[u8]) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn names_below<V>(map: &BTreeMap<Vec<u8>, V>, prefix: &[u8], names: &mut BTreeSet<Vec<u8>>) {
    for (path, _) in map.range(prefix.to_vec()..).take_while(|(path, _)| path.starts_with(prefix)) {
        let rest = &path[prefix.len()..];
        names.insert(rest.split(|byte| *byte == b'/').next().unwrap_or(rest).to_vec());
    }
}
