//! What a view has to do where, found by comparing the sandbox's tree with its image's, component by component: whatever the
//! sandbox made of a path's parents (links, files, nothing) is dealt with where it deviates.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use harness_guest::message::View;
use harness_guest::sys::{self, OpenHow};

/// Links followed in one path before it is given up.
const MOST_LINKS: usize = 40;

/// What has to become of one name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// A new folder, with these folders below it.
    Folders(Vec<Vec<u8>>),
    /// What the image has there.
    Image,
    /// Nothing.
    Absent,
}

/// By folder, then by name. Paths have no `/` at either end; the root is the empty one.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) folders: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Action>>,
    /// Private folders as they are to be found in the view.
    pub(super) private: Vec<Vec<u8>>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Folder,
    File,
    Link(Vec<u8>),
    Nothing,
}

/// The two trees that are compared.
pub(super) struct Trees {
    pub(super) old: OwnedFd,
    /// By mount point, innermost first.
    pub(super) image: Vec<(Vec<u8>, OwnedFd)>,
}

impl Trees {
    fn old_at(&self, path: &[u8]) -> Found {
        found(self.old.as_fd(), path)
    }

    pub(super) fn image_at(&self, path: &[u8]) -> Found {
        let (tree, below) = self.image_tree(path);
        found(tree, below)
    }

    pub(super) fn open_image(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let (tree, below) = self.image_tree(path);
        open_any(tree, below)
    }

    fn image_tree<'a>(&self, path: &'a [u8]) -> (BorrowedFd<'_>, &'a [u8]) {
        let within = |at: &[u8]| match path.strip_prefix(at) {
            Some(rest) if at.is_empty() || rest.is_empty() => Some(rest),
            Some(rest) => rest.strip_prefix(b"/"),
            None => None,
        };
        self.image
            .iter()
            .find_map(|(at, tree)| Some((tree.as_fd(), within(at)?)))
            .expect("the first overlay of every sandbox is its root")
    }
}

pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// Opens a folder without following any link.
pub(super) fn open(tree: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    open_with(tree, path, libc::O_DIRECTORY)
}

/// Opens whatever is there without following any link.
pub(super) fn open_any(tree: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    open_with(tree, path, 0)
}

fn open_with(tree: BorrowedFd<'_>, path: &[u8], flags: libc::c_int) -> io::Result<OwnedFd> {
    let how = OpenHow {
        flags: (libc::O_PATH | libc::O_NOFOLLOW | flags) as u64,
        mode: 0,
        resolve: libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS,
    };
    sys::openat2(tree, &sys::c_string(if path.is_empty() { b"." } else { path })?, how)
}

fn found(tree: BorrowedFd<'_>, path: &[u8]) -> Found {
    let Ok(fd) = open_any(tree, path) else { return Found::Nothing };
    // SAFETY: a zeroed stat is valid, and ours to fill.
    let mode = unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        if libc::fstat(fd.as_raw_fd(), &raw mut found) != 0 {
            return Found::Nothing;
        }
        found.st_mode
    };
    match mode & libc::S_IFMT {
        libc::S_IFDIR => Found::Folder,
        libc::S_IFLNK => {
            let mut target = vec![0_u8; 4096];
            // SAFETY: an empty path reads the link that the descriptor is; the buffer's length is passed.
            let length = unsafe {
                libc::readlinkat(fd.as_raw_fd(), c"".as_ptr(), target.as_mut_ptr().cast(), target.len())
            };
            target.truncate(usize::try_from(length).unwrap_or(0));
            Found::Link(target)
        }
        _ => Found::File,
    }
}

/// Names of an absolute path, `.` and `..` resolved as text.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            _ => names.push(name.to_vec()),
        }
    }
    names
}

/// Where a link in `folder` leads, followed by the rest of the path.
fn redirect(folder: &[u8], target: &[u8], rest: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut whole = if target.first() == Some(&b'/') { Vec::new() } else { folder.to_vec() };
    whole.push(b'/');
    whole.extend_from_slice(target);
    let mut names = names(&whole);
    names.extend_from_slice(rest);
    names
}

impl Plan {
    pub(super) fn make(spec: &View, trees: &Trees) -> Plan {
        let mut plan = Plan::default();
        for path in &spec.restore {
            plan.restore(trees, names(path), MOST_LINKS);
        }
        for path in &spec.hide {
            plan.hide(trees, names(path), MOST_LINKS);
        }
        for path in &spec.private {
            plan.make_private(trees, names(path), MOST_LINKS);
        }
        plan.drop_shadowed();
        plan
    }

    fn act(&mut self, folder: &[u8], name: &[u8], action: Action) {
        let actions = self.folders.entry(folder.to_vec()).or_default();
        match (actions.get_mut(name), action) {
            (Some(Action::Folders(known)), Action::Folders(more)) => known.extend(more),
            (_, action) => {
                actions.insert(name.to_vec(), action);
            }
        }
    }

    fn restore(&mut self, trees: &Trees, names: Vec<Vec<u8>>, links: usize) {
        let mut at = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let path = join(&at, name);
            let (image, old) = (trees.image_at(&path), trees.old_at(&path));
            let rest = &names[index + 1..];
            match (image, old) {
                (Found::Folder, Found::Folder) if !rest.is_empty() => at = path,
                (Found::Link(image), old) => {
                    if old != Found::Link(image.clone()) {
                        self.act(&at, name, Action::Image);
                    }
                    if links > 0 {
                        self.restore(trees, redirect(&at, &image, rest), links - 1);
                    }
                    return;
                }
                (Found::Nothing, Found::Nothing) => return,
                (Found::Nothing, _) => return self.act(&at, name, Action::Absent),
                _ => return self.act(&at, name, Action::Image),
            }
        }
    }

    fn hide(&mut self, trees: &Trees, names: Vec<Vec<u8>>, links: usize) {
        let mut at = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let path = join(&at, name);
            let rest = &names[index + 1..];
            match trees.old_at(&path) {
                Found::Nothing => return,
                _ if rest.is_empty() => return self.act(&at, name, Action::Absent),
                Found::Folder => at = path,
                Found::Link(target) if links > 0 => {
                    return self.hide(trees, redirect(&at, &target, rest), links - 1);
                }
                _ => return,
            }
        }
    }

    fn make_private(&mut self, trees: &Trees, names: Vec<Vec<u8>>, links: usize) {
        let mut at = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let path = join(&at, name);
            let rest = &names[index + 1..];
            match trees.old_at(&path) {
                Found::Folder => at = path,
                // Only a link that the image itself has is followed: any other may lead where the sandbox's processes wait.
                Found::Link(target) if links > 0 && trees.image_at(&path) == Found::Link(target.clone()) => {
                    return self.make_private(trees, redirect(&at, &target, rest), links - 1);
                }
                _ => {
                    let below = rest.join(&b'/');
                    let whole = if below.is_empty() { path } else { join(&path, &below) };
                    let below = if below.is_empty() { Vec::new() } else { vec![below] };
                    self.act(&at, name, Action::Folders(below));
                    self.private.push(whole);
                    return;
                }
            }
        }
        if !at.is_empty() {
            self.private.push(at);
        }
    }

    /// Below a path that is replaced as a whole, the sandbox's own folders must not come up again.
    fn drop_shadowed(&mut self) {
        let replaced: Vec<Vec<u8>> = self
            .folders
            .iter()
            .flat_map(|(folder, actions)| actions.keys().map(|name| join(folder, name)))
            .collect();
        self.folders.retain(|folder, _| {
            !replaced.iter().any(|path| {
                folder.strip_prefix(&path[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
            })
        });
    }
}
