//! The group of a process that somebody else put there, a container engine for one: only read, never changed or removed.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::group::Group;

/// Controllers of the first version whose accounts are read.
const FIRST: &[&str] = &["cpuacct", "memory"];

impl Group {
    /// The group that this process is in, as far as it is shown here. `None` when it is that of the whole machine, whose
    /// accounts say nothing of the process, or when it is not shown.
    pub(crate) fn of_process(pid: u32) -> Option<Group> {
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let (found, second) = find(&own, &mounts);
        let found = found.into_iter().filter(|(folder, _)| folder.is_dir());
        let (folders, controllers): (Vec<PathBuf>, Vec<Vec<String>>) = found.unzip();
        (!folders.is_empty()).then_some(Group { folders, controllers, second, kills: OnceLock::new() })
    }
}

/// The folders with their controllers, and whether they are of the second version.
fn find(own: &str, mounts: &str) -> (Vec<(PathBuf, Vec<String>)>, bool) {
    let mut folders: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for controller in FIRST {
        let group = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let names = fields.next()?;
            names.split(',').any(|name| name == *controller).then(|| fields.next()).flatten()
        });
        let folder = group.and_then(|group| {
            mounts.lines().find_map(|line| {
                let (kind, options, at) = mount(line, group)?;
                (kind == "cgroup" && options.split(',').any(|option| option == *controller)).then_some(at)
            })
        });
        let Some(folder) = folder else { continue };
        match folders.iter_mut().find(|(known, _)| *known == folder) {
            Some((_, controllers)) => controllers.push((*controller).to_owned()),
            None => folders.push((folder, vec![(*controller).to_owned()])),
        }
    }
    if !folders.is_empty() {
        return (folders, false);
    }
    let group = own.lines().find_map(|line| line.strip_prefix("0::"));
    let folder = group.and_then(|group| {
        mounts.lines().find_map(|line| {
            let (kind, _, at) = mount(line, group)?;
            (kind == "cgroup2").then_some(at)
        })
    });
    (folder.map(|folder| (folder, Vec::new())).into_iter().collect(), true)
}

/// Kind and options of a mounted file system, and where it shows the group.
fn mount<'a>(line: &'a str, group: &str) -> Option<(&'a str, &'a str, PathBuf)> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, at) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, options) = (after.next()?, after.nth(1)?);
    let below = if root == "/" { group } else { group.strip_prefix(root)? };
    let below = below.trim_start_matches('/');
    if below.is_empty() || below.split('/').any(|part| part == "..") {
        return None;
    }
    Some((kind, options, PathBuf::from(at.replace("\\040", " ")).join(below)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
33 24 0:28 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
34 24 0:29 / /sys/fs/cgroup/cpuacct rw,nosuid - cgroup cgroup rw,cpuacct
35 24 0:30 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
36 24 0:31 / /sys/fs/cgroup/pids rw,nosuid - cgroup cgroup rw,pids";

    #[test]
    fn the_first_version_has_a_folder_for_each_account() {
        let own = "9:pids:/docker/abc\n4:memory:/docker/abc\n2:cpuacct:/docker/abc\n0::/\n";
        let expected = ["cpuacct", "memory"]
            .map(|name| (PathBuf::from(format!("/sys/fs/cgroup/{name}/docker/abc")), vec![name.to_owned()]));
        assert_eq!(find(own, MOUNTS), (expected.to_vec(), false));
    }

    #[test]
    fn the_second_version_has_one() {
        let expected = PathBuf::from("/sys/fs/cgroup/unified/system.slice/docker-abc.scope");
        assert_eq!(find("0::/system.slice/docker-abc.scope\n", MOUNTS), (vec![(expected, Vec::new())], true));
    }

    #[test]
    fn the_group_of_the_whole_machine_is_nobodys_account() {
        assert_eq!(find("4:memory:/\n2:cpuacct:/\n0::/\n", MOUNTS), (Vec::new(), true));
        assert_eq!(find("0::/../elsewhere\n", MOUNTS), (Vec::new(), true));
    }
}
