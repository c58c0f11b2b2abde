//! Finds where groups can be made: below the group of a process of ours, so that limits around us hold for sandboxes too.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Which limits and accounts can be had here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Support {
    /// A share of the processors.
    pub(crate) cpu: bool,
    /// Bytes of memory.
    pub(crate) memory: bool,
    /// Processes and threads.
    pub(crate) pids: bool,
    /// Stopping and continuing everything at once.
    pub(crate) freeze: bool,
    /// Processor time.
    pub(crate) cpu_time: bool,
    /// Largest memory, page cache included.
    pub(crate) peak: bool,
    /// What is missing and why, a sentence each.
    pub(crate) missing: Vec<String>,
}

/// Where groups are made.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    pub(super) layout: Layout,
    support: Support,
}

/// The two versions of the interface.
#[derive(Debug, Clone)]
pub(super) enum Layout {
    /// One parent folder for each hierarchy that is of use, with the controllers that it has.
    First(BTreeMap<PathBuf, Vec<String>>),
    /// One parent folder.
    Second(PathBuf),
    /// Nowhere.
    None,
}

/// Controllers of the first version that are of use. Not `devices`: every mount inside but the six devices of `/dev` themselves is
/// `nodev`, and a user namespace makes no nodes; with eleven rules to write for each sandbox the group said the same again.
const FIRST: &[&str] = &["cpu", "cpuacct", "memory", "pids", "freezer"];
/// Controllers of the second.
const SECOND: &[&str] = &["cpu", "memory", "pids"];
/// Where processes go that are in the way of groups beside them.
const ASIDE: &str = "harness-self";

impl Cgroups {
    /// Finds out by trying. `process` is the one whose children the sandboxes will be (`None`: this one); where the kernel
    /// asks for it, processes of its group are moved into a group `harness-self` beside the new ones.
    pub(crate) fn detect(process: Option<u32>) -> Cgroups {
        let of = process.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let own = fs::read_to_string(format!("/proc/{of}/cgroup")).unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Cgroups::from_tables(&own, &mounts)
    }

    /// As [`Cgroups::detect`], from the kernel's two tables.
    pub(super) fn from_tables(own: &str, mounts: &str) -> Cgroups {
        let mut missing = Vec::new();
        let mut layout = Layout::None;
        if let Some(parent) = second(own, mounts) {
            match prepare_second(&parent) {
                Ok(parent) => layout = Layout::Second(parent),
                // On hybrid machines it has no controllers, and the first version has them.
                Err(reason) => missing.push(reason),
            }
        }
        if matches!(layout, Layout::None) {
            let parents = first(own, mounts, &mut missing);
            if !parents.is_empty() {
                layout = Layout::First(parents);
            }
        }
        let support = support(&layout, missing);
        Cgroups { layout, support }
    }

    /// Which limits can be had.
    pub(crate) fn support(&self) -> &Support {
        &self.support
    }

    /// Below these folders groups are made.
    #[cfg(test)]
    pub(crate) fn parents(&self) -> Vec<PathBuf> {
        match &self.layout {
            Layout::First(parents) => parents.keys().cloned().collect(),
            Layout::Second(parent) => vec![parent.clone()],
            Layout::None => Vec::new(),
        }
    }
}

/// A line of `mountinfo`: root of the mount in its file system, mount point, type, options of the file system.
struct Mount<'a> {
    root: &'a str,
    at: PathBuf,
    kind: &'a str,
    options: Vec<&'a str>,
}

fn mounts(table: &str) -> Vec<Mount<'_>> {
    let parse = |line| {
        let (before, after): (&str, &str) = str::split_once(line, " - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, at) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, _source, options) = (after.next()?, after.next()?, after.next()?);
        let options = options.split(',').collect();
        Some(Mount { root, at: PathBuf::from(at.replace("\\040", " ")), kind, options })
    };
    table.lines().filter_map(parse).collect()
}

/// The folder of a group, by the name that the kernel gives it and the mount that shows it.
fn folder(mount: &Mount<'_>, group: &str) -> PathBuf {
    // In a container without a namespace for groups the mount begins at the container's own group.
    let relative = match group.strip_prefix(mount.root) {
        Some(rest) if mount.root != "/" => rest,
        _ => group,
    };
    let folder = mount.at.join(relative.trim_start_matches('/'));
    if folder.is_dir() && !relative.contains("..") { folder } else { mount.at.clone() }
}

fn first(own: &str, table: &str, missing: &mut Vec<String>) -> BTreeMap<PathBuf, Vec<String>> {
    let mut parents: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mounts = mounts(table);
    for controller in FIRST {
        let mount = mounts.iter().find(|mount| mount.kind == "cgroup" && mount.options.contains(controller));
        let Some(mount) = mount else { continue };
        let group = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let names = fields.next()?;
            names.split(',').any(|name| name == *controller).then(|| fields.next()).flatten()
        });
        let parent = folder(mount, group.unwrap_or("/"));
        match parents.get_mut(&parent) {
            Some(controllers) => controllers.push((*controller).to_owned()),
            None => match try_group(&parent) {
                Ok(()) => drop(parents.insert(parent, vec![(*controller).to_owned()])),
                Err(error) => missing.push(format!("no group can be made in {}: {error}", parent.display())),
            },
        }
    }
    parents
}

fn second(own: &str, table: &str) -> Option<PathBuf> {
    let mount = mounts(table).into_iter().find(|mount| mount.kind == "cgroup2")?;
    let group = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(folder(&mount, group))
}

/// Makes a parent whose children have the controllers, and says which folder that is.
fn prepare_second(own: &Path) -> Result<PathBuf, String> {
    // Moved aside earlier, by us or by the harness that started us: groups are made beside, not ever deeper.
    let own = match own.parent() {
        Some(parent) if own.ends_with(ASIDE) && parent.join("cgroup.procs").exists() => parent,
        _ => own,
    };
    let top = top_of(own);
    let is_real_root = !top.join("cgroup.type").exists();
    let delegated = rustix::fs::getxattr(own, "user.delegate", &mut [0_u8; 1][..]).is_ok()
        || rustix::fs::getxattr(own, "trusted.delegate", &mut [0_u8; 1][..]).is_ok();
    let parent = if rustix::process::geteuid().is_root() && is_real_root && !delegated {
        // A session's own group belongs to the service manager; beside it we disturb nobody.
        let parent = top.join("harness");
        match fs::create_dir(&parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(format!("no group can be made in {}: {error}", top.display()));
            }
            _ => {}
        }
        offered(&top)
            .and_then(|offered| enable(&top, &offered))
            .map_err(|error| format!("controllers cannot be had in {}: {error}", top.display()))?;
        parent
    } else {
        own.to_path_buf()
    };
    let offered = offered(&parent)
        .map_err(|error| format!("controllers cannot be had in {}: {error}", parent.display()))?;
    // Before anything is moved or changed for nothing.
    try_group(&parent).map_err(|error| format!("no group can be made in {}: {error}", parent.display()))?;
    // A group with processes of its own gives its children no memory controller. It does give them the two others, and then
    // no process can enter any child: hence they move aside first, whatever the kernel would say.
    if parent.join("cgroup.type").exists() {
        move_aside(&parent)
            .map_err(|error| format!("{} has processes of its own: {error}", parent.display()))?;
    }
    enable(&parent, &offered)
        .map_err(|error| format!("controllers cannot be had in {}: {error}", parent.display()))?;
    try_group(&parent).map_err(|error| format!("no group can be made in {}: {error}", parent.display()))?;
    Ok(parent)
}

/// The highest folder above that is still a group.
fn top_of(own: &Path) -> PathBuf {
    let is_group = |folder: &&Path| folder.join("cgroup.procs").exists();
    own.ancestors().take_while(is_group).last().unwrap_or(own).to_path_buf()
}

/// The controllers of use that a folder's children could have; an error when there is none.
fn offered(parent: &Path) -> io::Result<Vec<String>> {
    let there = fs::read_to_string(parent.join("cgroup.controllers"))?;
    let there: Vec<String> =
        there.split_whitespace().filter(|name| SECOND.contains(name)).map(str::to_owned).collect();
    if there.is_empty() {
        return Err(io::Error::other("it has none of cpu, memory and pids"));
    }
    Ok(there)
}

/// Gives a folder's children these controllers, or those of them that can be had; an error when that is none.
fn enable(parent: &Path, offered: &[String]) -> io::Result<()> {
    let enabled = fs::read_to_string(parent.join("cgroup.subtree_control"))?;
    // One by one: a controller that resists must not keep the others away.
    let mut last = Ok(());
    let mut any = false;
    for name in offered {
        let done = enabled.split_whitespace().any(|other| other == name);
        match if done { Ok(()) } else { fs::write(parent.join("cgroup.subtree_control"), format!("+{name}")) }
        {
            Ok(()) => any = true,
            Err(error) => last = Err(error),
        }
    }
    if any { Ok(()) } else { last }
}

fn move_aside(parent: &Path) -> io::Result<()> {
    let mut processes = fs::read_to_string(parent.join("cgroup.procs"))?;
    if processes.trim().is_empty() {
        return Ok(());
    }
    let aside = parent.join(ASIDE);
    match fs::create_dir(&aside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // New ones may be born while we move them.
    for _ in 0..16 {
        for pid in processes.lines() {
            match fs::write(aside.join("cgroup.procs"), pid) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
                _ => {}
            }
        }
        processes = fs::read_to_string(parent.join("cgroup.procs"))?;
        if processes.trim().is_empty() {
            return Ok(());
        }
    }
    Err(io::Error::other("new processes appear faster than they can be moved"))
}

/// Makes a group that processes may enter, and removes it.
fn try_group(parent: &Path) -> io::Result<()> {
    let group = parent.join(format!("harness-try-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::create_dir(&group)?;
    let writable = fs::OpenOptions::new().write(true).open(group.join("cgroup.procs"));
    // Only on the second version. Below a group that shares out threads it is "domain invalid", and stays empty for ever.
    let kind = fs::read_to_string(group.join("cgroup.type")).unwrap_or_default();
    fs::remove_dir(&group)?;
    if kind.trim() == "domain invalid" {
        return Err(io::Error::other("processes cannot enter it, only threads"));
    }
    writable.map(drop)
}

fn support(layout: &Layout, mut missing: Vec<String>) -> Support {
    let mut support = Support::default();
    match layout {
        Layout::First(parents) => {
            let has = |name: &str| parents.values().any(|names| names.iter().any(|other| other == name));
            support.cpu = has("cpu");
            support.memory = has("memory");
            support.peak = support.memory;
            support.pids = has("pids");
            support.freeze = has("freezer");
            support.cpu_time = has("cpuacct");
        }
        Layout::Second(parent) => {
            let enabled = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
            let has = |name: &str| enabled.split_whitespace().any(|other| other == name);
            support.cpu = has("cpu");
            support.memory = has("memory");
            support.pids = has("pids");
            support.peak = support.memory;
            support.freeze = true;
            support.cpu_time = true;
        }
        Layout::None => {}
    }
    let named = [(support.cpu, "processors"), (support.memory, "memory"), (support.pids, "processes")];
    for (_, what) in named.iter().filter(|(there, _)| !there) {
        missing.push(format!("no limit on {what} can be set here"));
    }
    // Reasons for a way that was not needed in the end only confuse.
    if named.iter().all(|(there, _)| *there) {
        missing.clear();
    }
    support.missing = missing;
    support
}
