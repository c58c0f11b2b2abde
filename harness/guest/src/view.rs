//! Making a view: a mount namespace inside the sandbox in which some folders are private and some paths are the image's own
//! again. What is planned is in [`plan`]; this file carries it out, in a process of its own, in which nothing that runs in the
//! sandbox can take part: every path of the sandbox's is opened without following links.
//!
//! The new root is put together on a tmpfs of this namespace: `old` is a copy of the sandbox's mounts, `img…` are its image's
//! own file systems, `new` becomes the root. A folder in which something has to differ is overlaid, with the differences on
//! top and the sandbox's folder below, and its untouched subfolders are then bound back, so that all else stays shared.

mod plan;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use harness_guest::message::View;
use harness_guest::{socket, sys};

use crate::arrive::Held;
use crate::setup::{exit, fd_path};
use crate::trouble::{Tried, Trouble};
use plan::{Action, Found, Plan, Trees};

/// Where the work is done: a mount point that every sandbox has. Covered in this namespace only, and only until the end.
const WORK: &str = "/dev/shm";
/// Subfolders bound back in one overlaid folder; what is beyond is seen through the overlay.
const MOST_BINDS: usize = 512;
/// Largest file that is copied instead of bound. A bound file cannot be replaced in the view.
const COPY_LIMIT: u64 = 64 << 20;

/// Forks; the child answers on the returned socket with a frame: `ok` and the namespace, or the error.
pub(crate) fn start(spec: &View, lowers: Vec<OwnedFd>, held: Option<&Held>) -> io::Result<OwnedFd> {
    let (ours, theirs) = sys::socket_pair()?;
    // SAFETY: PID 1 has one thread.
    if sys::check(unsafe { libc::fork() })? != 0 {
        return Ok(ours);
    }
    let lent = match held {
        Some(held) if !spec.overlays.is_empty() => held.lend().map(|lower| vec![lower]),
        _ => Ok(lowers),
    };
    let made = lent.and_then(|lowers| build(spec, &lowers));
    let told = match &made {
        Ok(namespace) => socket::send(theirs.as_fd(), b"ok", &[namespace.as_raw_fd()]),
        Err(trouble) => socket::send(theirs.as_fd(), trouble.to_string().as_bytes(), &[]),
    };
    exit(i32::from(told.is_err() || made.is_err()))
}

/// What [`start`]'s child said.
pub(crate) fn answer(socket: &OwnedFd) -> Result<OwnedFd, String> {
    match socket::receive(socket.as_fd()) {
        Ok(Some(mut frame)) if frame.body == b"ok" => {
            frame.fds.pop().ok_or_else(|| "the view came without a namespace".to_owned())
        }
        Ok(Some(frame)) => Err(String::from_utf8_lossy(&frame.body).into_owned()),
        _ => Err("the process that made it was ended".to_owned()),
    }
}

fn path(name: &str) -> CString {
    CString::new(format!("{WORK}/{name}")).expect("our names have no NUL")
}

fn build(spec: &View, lowers: &[OwnedFd]) -> Result<OwnedFd, Trouble> {
    // SAFETY: plain calls.
    unsafe {
        sys::check(libc::unshare(libc::CLONE_NEWNS)).tried("make a mount namespace")?;
        libc::umask(0);
    }
    let old = sys::open_tree_all(libc::AT_FDCWD, c"/").tried("copy the sandbox's mounts")?;
    let options = format!("mode=755,size={}", spec.private_bytes.max(1 << 20));
    let work = CString::new(WORK).expect("no NUL");
    sys::mount("tmpfs", &work, "tmpfs", libc::MS_NOSUID, &options).tried("mount a tmpfs")?;
    for name in ["old", "new", "empty"] {
        sys::mkdir(&path(name), 0o755).tried("make a folder in a tmpfs")?;
    }
    sys::move_mount(old.as_fd(), &path("old")).tried("attach the sandbox's mounts")?;
    drop(old);
    let trees = Trees { old: folder(&path("old"))?, image: image(spec, lowers)? };
    let plan = Plan::make(spec, &trees);
    let mut maker = Maker { trees: &trees, overlays: 0 };
    if !plan.folders.contains_key(&Vec::new()) {
        sys::bind(&path("old"), &path("new"), libc::MS_REC).tried("bind the sandbox's root")?;
    }
    // In order of their paths, hence outer ones first.
    for (at, actions) in &plan.folders {
        let new = if at.is_empty() { None } else { Some(folder(&path("new"))?) };
        let target = match &new {
            None => folder(&path("new"))?,
            Some(new) => plan::open(new.as_fd(), at).tried("open a folder of the view")?,
        };
        maker.overlay(at, actions, &target)?;
    }
    let new = folder(&path("new"))?;
    for private in &plan.private {
        let at = plan::open(new.as_fd(), private).tried("open a private folder")?;
        sys::mount("tmpfs", &fd_path(&at), "tmpfs", libc::MS_NOSUID | libc::MS_NODEV, &options)
            .tried_with(|| format!("mount the private folder /{}", String::from_utf8_lossy(private)))?;
    }
    drop(new);
    sys::pivot_to(&path("new")).tried("change the root")?;
    sys::open(c"/proc/self/ns/mnt", libc::O_RDONLY).tried("open the mount namespace")
}

/// Where overlays keep their notes: an engine that is root uses the names that only the machine's root may, and so must we to
/// read them; in a user namespace there are only the others.
fn attributes() -> &'static str {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_whitespace();
    let whole = (fields.next(), fields.next(), fields.next()) == (Some("0"), Some("0"), Some("4294967295"));
    if whole { "" } else { ",userxattr" }
}

fn folder(path: &std::ffi::CStr) -> Result<OwnedFd, Trouble> {
    sys::open(path, libc::O_PATH | libc::O_DIRECTORY).tried("open a folder of the view's")
}

/// The image's own file systems, without what the sandbox wrote.
fn image(spec: &View, lowers: &[OwnedFd]) -> Result<Vec<(Vec<u8>, OwnedFd)>, Trouble> {
    for (index, lower) in lowers.iter().enumerate() {
        let at = path(&format!("l{index}"));
        sys::mkdir(&at, 0o755).tried("make a folder in a tmpfs")?;
        sys::move_mount(lower.as_fd(), &at).tried("attach a layer of the image")?;
    }
    let mut image = Vec::new();
    for (index, overlay) in spec.overlays.iter().enumerate() {
        let mut layers: Vec<String> = overlay.lowers.iter().map(layer).collect::<Result<_, _>>()?;
        // An overlay without an upper layer must have two lower ones.
        layers.push(format!("{WORK}/empty"));
        let at = path(&format!("img{index}"));
        sys::mkdir(&at, 0o755).tried("make a folder in a tmpfs")?;
        let options = format!("lowerdir={}{}", layers.join(":"), attributes());
        let flags = libc::MS_RDONLY | libc::MS_NODEV | libc::MS_NOSUID;
        sys::mount("overlay", &at, "overlay", flags, &options).tried("mount the image")?;
        let inside = overlay.at.iter().skip_while(|byte| **byte == b'/').copied().collect();
        image.push((inside, folder(&at)?));
    }
    // The innermost mount point that holds a path is the right one.
    image.sort_by_key(|(at, _): &(Vec<u8>, OwnedFd)| std::cmp::Reverse(at.len()));
    Ok(image)
}

fn layer((number, below): &(u32, Vec<u8>)) -> Result<String, Trouble> {
    let below = std::str::from_utf8(below)
        .ok()
        .filter(|below| !below.contains([':', ',', '\\']))
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
        .tried("use a layer's name")?;
    Ok(format!("{WORK}/l{number}/{below}"))
}

struct Maker<'a> {
    trees: &'a Trees,
    overlays: usize,
}

impl Maker<'_> {
    /// Lays the differences over the sandbox's folder `at`.
    fn overlay(
        &mut self,
        at: &[u8],
        actions: &std::collections::BTreeMap<Vec<u8>, Action>,
        target: &OwnedFd,
    ) -> Result<(), Trouble> {
        let number = self.overlays;
        self.overlays += 1;
        let below = plan::open(self.trees.old.as_fd(), at).tried("open a folder of the sandbox's")?;
        let [fix, upper, work] = ["fix", "up", "work"].map(|kind| format!("{kind}{number}"));
        for name in [&fix, &upper, &work] {
            sys::mkdir(&path(name), 0o755).tried("make a folder in a tmpfs")?;
        }
        like(&below, &path(&upper))?;
        let fixes = folder(&path(&fix))?;
        let mut bound = Vec::new();
        for (name, action) in actions {
            if let Some(source) = self.place(at, name, action, &fixes)? {
                bound.push((name.clone(), source));
            }
        }
        let options = format!(
            "lowerdir={WORK}/{fix}:{},upperdir={WORK}/{upper},workdir={WORK}/{work}{}",
            fd_path(&below).to_string_lossy(),
            attributes()
        );
        sys::mount("overlay", &fd_path(target), "overlay", libc::MS_NODEV | libc::MS_NOSUID, &options)
            .tried_with(|| format!("lay the view's differences over /{}", String::from_utf8_lossy(at)))?;
        // Opened anew: what was open before is below the overlay now.
        let new = folder(&path("new"))?;
        let target = if at.is_empty() {
            new
        } else {
            plan::open(new.as_fd(), at).tried("open a folder of the view")?
        };
        for (name, source) in bound {
            let place = plan::open_any(target.as_fd(), &name).tried("open a restored path")?;
            sys::bind(&fd_path(&source), &fd_path(&place), libc::MS_REC).tried("bind a restored path")?;
        }
        self.bind_back(&below, &target, actions)
    }

    /// The untouched subfolders are the sandbox's own.
    fn bind_back(
        &self,
        below: &OwnedFd,
        target: &OwnedFd,
        actions: &std::collections::BTreeMap<Vec<u8>, Action>,
    ) -> Result<(), Trouble> {
        let entries = std::fs::read_dir(format!("/proc/self/fd/{}", below.as_raw_fd()))
            .tried("list a folder of the sandbox's")?;
        let folders = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.file_name().into_encoded_bytes())
            .filter(|name| !actions.contains_key(name));
        for name in folders.take(MOST_BINDS) {
            // The sandbox goes on meanwhile: what is gone, or no folder any more, needs nothing.
            let (Ok(source), Ok(place)) =
                (plan::open(below.as_fd(), &name), plan::open(target.as_fd(), &name))
            else {
                continue;
            };
            sys::bind(&fd_path(&source), &fd_path(&place), libc::MS_REC)
                .tried_with(|| format!("bind {} into the view", String::from_utf8_lossy(&name)))?;
        }
        Ok(())
    }

    /// Makes one difference in the layer on top; what must be bound over it instead of copied is returned.
    fn place(
        &self,
        at: &[u8],
        name: &[u8],
        action: &Action,
        fixes: &OwnedFd,
    ) -> Result<Option<OwnedFd>, Trouble> {
        let c_name = sys::c_string(name).tried("name a path of the view")?;
        let shown = || format!("put {} in its place in the view", String::from_utf8_lossy(name));
        let fd = fixes.as_raw_fd();
        match action {
            Action::Absent => {
                // SAFETY: the string lives across the call. Device 0:0 is an overlay's whiteout.
                sys::check(unsafe { libc::mknodat(fd, c_name.as_ptr(), libc::S_IFCHR, 0) })
                    .tried_with(shown)?;
                Ok(None)
            }
            Action::Folders(below) => {
                crate::setup::folder_at(fixes.as_fd(), name)?;
                for path in below {
                    let whole = [name, b"/", path].concat();
                    crate::setup::folder_at(fixes.as_fd(), &whole)?;
                }
                Ok(None)
            }
            Action::Image => {
                let whole = plan::join(at, name);
                match self.trees.image_at(&whole) {
                    Found::Link(target) => {
                        let target = sys::c_string(&target).tried("read a link of the image's")?;
                        // SAFETY: both strings live across the call.
                        sys::check(unsafe { libc::symlinkat(target.as_ptr(), fd, c_name.as_ptr()) })
                            .tried_with(shown)?;
                        Ok(None)
                    }
                    Found::Folder => {
                        // SAFETY: the string lives across the call.
                        sys::check(unsafe { libc::mkdirat(fd, c_name.as_ptr(), 0o755) }).tried_with(shown)?;
                        self.trees.open_image(&whole).tried_with(shown).map(Some)
                    }
                    Found::File => {
                        let source = self.trees.open_image(&whole).tried_with(shown)?;
                        copy(&source, fixes.as_fd(), &c_name).tried_with(shown)
                    }
                    Found::Nothing => Ok(None),
                }
            }
        }
    }
}

/// Copies a file of the image's, or makes an empty one to bind it over when it is large; then it is returned.
fn copy(source: &OwnedFd, folder: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<Option<OwnedFd>> {
    let mut from = File::open(format!("/proc/self/fd/{}", source.as_raw_fd()))?;
    let data = from.metadata()?;
    let how = sys::OpenHow {
        flags: (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL) as u64,
        mode: 0o600,
        resolve: 0,
    };
    let mut to = File::from(sys::openat2(folder, name, how)?);
    let large = data.len() > COPY_LIMIT;
    if !large {
        io::copy(&mut from, &mut to)?;
    }
    set_like(&data, &to)?;
    if large { source.try_clone().map(Some) } else { Ok(None) }
}

fn set_like(data: &std::fs::Metadata, to: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    // SAFETY: plain calls on our own descriptor. The owner first: changing it clears bits.
    unsafe {
        sys::check(libc::fchown(to.as_raw_fd(), data.uid(), data.gid()))?;
        sys::check(libc::fchmod(to.as_raw_fd(), data.mode() & 0o7777))?;
    }
    to.set_modified(data.modified()?)
}

/// Gives our folder the bits and the owner of the sandbox's.
fn like(model: &OwnedFd, path: &std::ffi::CStr) -> Result<(), Trouble> {
    use std::os::unix::fs::MetadataExt;
    let copy = model.try_clone().tried("look at a folder of the sandbox's")?;
    let data = File::from(copy).metadata().tried("look at a folder of the sandbox's")?;
    // SAFETY: the string lives across the calls.
    unsafe {
        // An owner that is not mapped cannot be given.
        libc::chown(path.as_ptr(), data.uid(), data.gid());
        sys::check(libc::chmod(path.as_ptr(), data.mode() & 0o7777)).tried("set a folder's bits")?;
    }
    Ok(())
}
