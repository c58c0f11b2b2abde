//! What a sandbox shows of the host's own root file system, as an allow-list: the system's program folders below overlays,
//! a made-up `/etc`, the toolchains on PATH, and nothing of anyone's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use harness_core::{Digest, digest::DigestBuilder};

use super::etc;
use super::skeleton::{Entry, Skeleton};
use super::toolchains::{self, PREFIX_SETTINGS, Search};

/// The plan of a root made of the host's.
#[derive(Debug, Clone)]
pub(crate) struct HostRoot {
    /// Host folders that become the lowest layer of an overlay of their own, so that they can be written to inside.
    pub(crate) overlays: Vec<Shown>,
    /// Host folders that are shown read-only.
    pub(crate) binds: Vec<Shown>,
    /// Everything else: the lowest layer of the root itself. It has the links (`/bin`) and the mount points.
    pub(crate) skeleton: Skeleton,
    /// PATH inside.
    pub(crate) path: String,
    /// Equal while what is shown is the same, as far as can be seen without reading it all.
    pub(crate) digest: Digest,
    /// What was left out and why, a sentence each: for `doctor`.
    pub(crate) notes: Vec<String>,
}

/// One host folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// On the host; canonical.
    pub(crate) host: PathBuf,
    /// Inside; absolute.
    pub(crate) at: PathBuf,
    /// Paths relative to it that must not be seen: stack [`super::skeleton::mask`] of them above it.
    pub(crate) masked: Vec<PathBuf>,
}

/// What the plan is made from.
#[derive(Debug, Clone)]
pub(crate) struct HostView {
    /// `/`, but for tests.
    pub(crate) root: PathBuf,
    /// The host's PATH.
    pub(crate) path: Vec<PathBuf>,
    /// Folders that must not be shown: the backend's state, run directories, the project.
    pub(crate) hidden: Vec<PathBuf>,
    /// The host's variables, for version managers.
    pub(crate) env: BTreeMap<String, String>,
}

impl HostView {
    /// This machine, this process's environment.
    pub(crate) fn here(hidden: Vec<PathBuf>) -> HostView {
        let path = std::env::var_os("PATH").unwrap_or_default();
        HostView {
            root: PathBuf::from("/"),
            path: std::env::split_paths(&path).collect(),
            hidden,
            env: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        }
    }
}

/// Program folders of a root; on most systems all but the first are links into it.
const SYSTEM: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// The package manager's records and what it keeps programs in below `/var/lib`.
const RECORDS: &[&str] = &["var/lib/dpkg", "var/lib/rpm", "var/lib/pacman", "var/lib/gems", "lib/apk/db"];
/// Parts of what is shown that hold settings of this machine, sources of packages, or kernels; relative to the root.
const NEVER: &[&str] = &[
    "usr/local/etc",
    "usr/local/src",
    "usr/local/var",
    "usr/etc/ssh",
    "usr/lib/modules",
    "usr/lib/debug",
    "usr/lib/firmware",
    // Overrides for groups that only the host has: dpkg refuses to run with them.
    "var/lib/dpkg/statoverride",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
];
/// Empty folders with these permission bits.
const FOLDERS: &[(&str, u32)] = &[
    ("root", 0o755),
    ("home", 0o755),
    ("tmp", 0o1777),
    ("opt", 0o755),
    ("srv", 0o755),
    ("mnt", 0o755),
    ("media", 0o755),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
    ("boot", 0o755),
    ("var/tmp", 0o1777),
    ("var/log", 0o755),
    ("var/log/apt", 0o755),
    ("var/cache", 0o755),
    ("var/cache/debconf", 0o755),
    ("var/cache/ldconfig", 0o700),
    ("var/cache/man", 0o755),
    ("var/cache/apt/archives/partial", 0o755),
    ("var/lib/apt/lists/partial", 0o755),
    ("var/lib/misc", 0o755),
    ("var/lib/pam", 0o755),
    ("var/lib/python", 0o755),
    ("var/lib/systemd", 0o755),
    ("var/lib/ucf", 0o755),
    ("var/spool", 0o755),
    ("var/mail", 0o755),
    ("var/backups", 0o755),
    ("var/local", 0o755),
    ("var/opt", 0o755),
];

/// Most folders looked into for private parts, and most mounts considered.
const MOST_FOLDERS: usize = 20_000;
const MOST_MOUNTS: usize = 256;

/// Makes the plan. Takes some tens of milliseconds; keep the result.
///
/// # Errors
/// When there is no `/usr`, or a hidden folder holds it.
pub(crate) fn plan(view: &HostView) -> io::Result<HostRoot> {
    let hidden = with_canonical(&view.hidden);
    let mut plan = HostRoot {
        overlays: Vec::new(),
        binds: Vec::new(),
        skeleton: Skeleton::default(),
        path: String::new(),
        digest: Digest::of(b""),
        notes: Vec::new(),
    };
    for (folder, mode) in FOLDERS {
        plan.skeleton.add(folder, Entry::Folder(*mode));
    }
    for (link, target) in [("var/run", "/run"), ("var/lock", "/run/lock")] {
        plan.skeleton.add(link, Entry::Link(target.into()));
    }
    etc::fill(&mut plan.skeleton, &view.root);
    overlay(&mut plan, view, &hidden, Path::new("usr"))?;
    for name in SYSTEM {
        let path = view.root.join(name);
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if found.is_symlink() {
            plan.skeleton.add(name, Entry::Link(fs::read_link(&path)?));
        } else if found.is_dir() {
            overlay(&mut plan, view, &hidden, Path::new(name))?;
        }
    }
    for name in RECORDS {
        // Where `/lib` is a link, what is below it is below `/usr` already.
        let real = fs::canonicalize(view.root.join(name));
        let root = fs::canonicalize(&view.root)?;
        if real.is_ok_and(|real| real == root.join(name)) {
            overlay(&mut plan, view, &hidden, Path::new(name))?;
        }
    }
    mounted_below(&mut plan, view, &hidden);
    find_toolchains(&mut plan, view, &hidden);
    let points: Vec<PathBuf> =
        plan.overlays.iter().chain(&plan.binds).map(|shown| shown.at.clone()).collect();
    for at in points {
        plan.skeleton.mount_point(at);
    }
    plan.digest = digest(&plan, &view.root);
    Ok(plan)
}

/// Shows a folder of the root below an overlay, unless it is hidden or not for everyone.
fn overlay(plan: &mut HostRoot, view: &HostView, hidden: &[PathBuf], name: &Path) -> io::Result<()> {
    let host = fs::canonicalize(view.root.join(name))?;
    if let Some(hidden) = hidden.iter().find(|hidden| host.starts_with(hidden)) {
        return Err(io::Error::other(format!(
            "{} must be hidden, but holds {}, without which no program runs",
            hidden.display(),
            host.display()
        )));
    }
    if !is_public(&host) || plan.overlays.iter().any(|shown| host.starts_with(&shown.host)) {
        return Ok(());
    }
    let root = fs::canonicalize(&view.root)?;
    let never = NEVER.iter().map(|path| root.join(path));
    let mut masked: Vec<PathBuf> = never
        .chain(hidden.iter().cloned())
        .filter_map(|path| Some(path.strip_prefix(&host).ok()?.to_path_buf()))
        .filter(|path| fs::symlink_metadata(host.join(path)).is_ok())
        .collect();
    private_parts(&host, name, &mut masked, &mut plan.notes);
    masked.sort();
    masked.dedup();
    plan.overlays.push(Shown { host, at: Path::new("/").join(name), masked });
    Ok(())
}

/// Adds what not everyone may read. The system's own folders are public by policy of every distribution, so that three levels
/// are looked at; below `local`, which administrators fill, all, and what is too large to look at is masked.
fn private_parts(host: &Path, name: &Path, masked: &mut Vec<PathBuf>, notes: &mut Vec<String>) {
    let mut folders = 0;
    let mut next = vec![PathBuf::new()];
    while let Some(folder) = next.pop() {
        if masked.iter().any(|path| !folder.as_os_str().is_empty() && folder.starts_with(path)) {
            continue;
        }
        let local = name == Path::new("usr") && folder.starts_with("local");
        if !local && folder.components().count() > 2 {
            continue;
        }
        folders += 1;
        if folders > MOST_FOLDERS {
            if local {
                notes
                    .push(format!("{} is not shown: too much to look through", host.join(&folder).display()));
                masked.push(folder);
            }
            continue;
        }
        // What cannot be listed by us cannot be shown by us either.
        for entry in fs::read_dir(host.join(&folder)).into_iter().flatten().flatten() {
            let path = folder.join(entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_symlink() {
                continue;
            }
            let Ok(found) = entry.metadata() else { continue };
            let needed = if kind.is_dir() { 0o005 } else { 0o004 };
            if found.mode() & needed != needed || !(kind.is_dir() || kind.is_file()) {
                masked.push(path);
            } else if kind.is_dir() {
                next.push(path);
            }
        }
    }
}

/// File systems that are mounted below a shown folder need an overlay of their own: a lower layer ends at its own file
/// system. Only ordinary ones are taken.
fn mounted_below(plan: &mut HostRoot, view: &HostView, hidden: &[PathBuf]) {
    const ORDINARY: &[&str] =
        &["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "overlay", "squashfs", "erofs"];
    if view.root != Path::new("/") {
        return;
    }
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in table.lines().take(MOST_MOUNTS) {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (Some(at), Some(kind)) = (before.split(' ').nth(4), after.split(' ').next()) else { continue };
        let at = PathBuf::from(at);
        let below = plan.overlays.iter().find(|shown| at != shown.host && at.starts_with(&shown.host));
        let Some(below) = below else { continue };
        let relative = at.strip_prefix(&below.host).unwrap_or(&at).to_path_buf();
        let is_masked = below.masked.iter().any(|path| relative.starts_with(path));
        let is_hidden = hidden.iter().any(|hidden| at.starts_with(hidden));
        if is_masked || is_hidden || !at.is_dir() || !ORDINARY.contains(&kind) {
            if !is_masked {
                plan.notes.push(format!("what is mounted at {} ({kind}) is not shown", at.display()));
            }
        } else if let Ok(name) = at.strip_prefix("/") {
            let name = name.to_path_buf();
            overlay_mounted(plan, hidden, &name, &at);
        }
    }
}

fn overlay_mounted(plan: &mut HostRoot, hidden: &[PathBuf], name: &Path, at: &Path) {
    let mut masked: Vec<PathBuf> = NEVER
        .iter()
        .map(|path| Path::new("/").join(path))
        .chain(hidden.iter().cloned())
        .filter_map(|path| Some(path.strip_prefix(at).ok()?.to_path_buf()))
        .filter(|path| !path.as_os_str().is_empty() && fs::symlink_metadata(at.join(path)).is_ok())
        .collect();
    private_parts(at, name, &mut masked, &mut plan.notes);
    let inside = Path::new("/").join(name);
    if is_public(at) && !plan.overlays.iter().any(|shown| shown.at == inside) {
        plan.overlays.push(Shown { host: at.to_path_buf(), at: inside, masked });
    }
}

fn find_toolchains(plan: &mut HostRoot, view: &HostView, hidden: &[PathBuf]) {
    let system = ["usr", "bin", "sbin"].map(|name| view.root.join(name));
    let found = toolchains::find(&Search {
        path: view.path.clone(),
        shown: system.to_vec(),
        hidden: hidden.to_vec(),
        homes: homes(&view.root, &view.env),
        env: view.env.clone(),
    });
    for prefix in found.prefixes {
        let masked =
            PREFIX_SETTINGS.iter().map(PathBuf::from).filter(|path| prefix.join(path).exists()).collect();
        plan.binds.push(Shown { host: prefix.clone(), at: prefix, masked });
    }
    for (path, reason) in found.refused {
        plan.notes.push(format!("{} on PATH is not shown: {reason}", path.display()));
    }
    let inside = found.path.iter().map(|path| match path.strip_prefix(&view.root) {
        Ok(relative) => Path::new("/").join(relative),
        Err(_) => path.clone(),
    });
    let mut path: Vec<String> = Vec::new();
    let standard = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    // A colon in a folder's name would cut it in two.
    for entry in inside.filter_map(|path| path.to_str().map(str::to_owned)).chain(standard.map(str::to_owned))
    {
        if !entry.contains(':') && !path.contains(&entry) {
            path.push(entry);
        }
    }
    plan.path = path.join(":");
}

/// Home folders by the account file and by this process's environment.
fn homes(root: &Path, env: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let accounts = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    let ids_and_homes = accounts.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        Some((fields.get(2)?.parse::<u32>().ok()?, PathBuf::from(*fields.get(5)?)))
    });
    // System accounts have homes like /usr/sbin and /var/lib/x, which say nothing.
    let people = ids_and_homes.filter(|(id, _)| *id == 0 || (1000..65534).contains(id)).map(|(_, home)| home);
    let mut homes: Vec<PathBuf> = people.chain(env.get("HOME").map(PathBuf::from)).collect();
    homes.push(PathBuf::from("/root"));
    with_canonical(&homes).into_iter().filter(|home| home != Path::new("/")).collect()
}

fn with_canonical(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut all = paths.to_vec();
    all.extend(paths.iter().filter_map(|path| fs::canonicalize(path).ok()));
    all.sort();
    all.dedup();
    all
}

fn is_public(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| found.is_dir() && found.mode() & 0o005 == 0o005)
}

/// Over the plan, and over the things that change when packages do.
fn digest(plan: &HostRoot, root: &Path) -> Digest {
    let mut digest = DigestBuilder::new();
    digest.part("skeleton", plan.skeleton.digest().as_str().as_bytes());
    for shown in plan.overlays.iter().chain(&plan.binds) {
        digest.part("host", shown.host.as_os_str().as_bytes());
        for masked in &shown.masked {
            digest.part("masked", masked.as_os_str().as_bytes());
        }
        for below in ["", "bin", "lib", "sbin", "local/bin", "local/lib"] {
            if let Ok(found) = fs::metadata(shown.host.join(below)) {
                digest.part(
                    "changed",
                    &[found.mtime().to_le_bytes(), found.mtime_nsec().to_le_bytes()].concat(),
                );
            }
        }
    }
    for records in [
        "var/lib/dpkg/status",
        "var/lib/rpm/rpmdb.sqlite",
        "usr/lib/sysimage/rpm/rpmdb.sqlite",
        "lib/apk/db/installed",
    ] {
        if let Ok(found) = fs::metadata(root.join(records)) {
            digest.part(
                "records",
                &[found.len() as i64, found.mtime(), found.mtime_nsec()].map(i64::to_le_bytes).concat(),
            );
        }
    }
    digest.part("path", plan.path.as_bytes());
    digest.finish()
}

#[cfg(test)]
#[path = "hostroot_tests.rs"]
mod tests;
