//! Processor time of an engine: of its daemons, their shims and runtimes, which a control group of our own counts while this runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What counts.
const GROUPS: [&str; 2] = ["/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"];
const DAEMONS: [&str; 2] = ["dockerd", "containerd"];

/// The group; everything in it goes back where the daemons were when this is dropped.
pub(crate) struct Daemon {
    group: PathBuf,
    before: PathBuf,
}

impl Daemon {
    /// `None` where groups cannot be had, or no daemon is seen.
    pub(crate) fn open() -> Option<Daemon> {
        let top = GROUPS.iter().map(Path::new).find(|top| top.join("cgroup.procs").exists())?;
        let daemons = processes(|name| DAEMONS.contains(&name));
        let place = fs::read_to_string(format!("/proc/{}/cgroup", daemons.first()?)).ok()?;
        let is_ours = |line: &&str| {
            let names = line.split(':').nth(1).unwrap_or("?");
            if top.ends_with("cpuacct") {
                names.split(',').any(|name| name == "cpuacct")
            } else {
                names.is_empty()
            }
        };
        let line = place.lines().find(is_ours)?;
        let before = top.join(line.rsplit(':').next()?.trim_start_matches('/'));
        let group = before.join(format!("harness-ratios-daemon-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let made = Daemon { group, before };
        for daemon in daemons {
            fs::write(made.group.join("cgroup.procs"), daemon.to_string()).ok()?;
        }
        Some(made)
    }

    /// What was spent so far.
    pub(crate) fn spent(&self) -> Option<Duration> {
        if let Ok(text) = fs::read_to_string(self.group.join("cpuacct.usage")) {
            return Some(Duration::from_nanos(text.trim().parse().ok()?));
        }
        let text = fs::read_to_string(self.group.join("cpu.stat")).ok()?;
        let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        Some(Duration::from_micros(micros.parse().ok()?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let members = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for member in members.lines() {
            let _ = fs::write(self.before.join("cgroup.procs"), member);
        }
        let _ = fs::remove_dir(&self.group);
    }
}

fn processes(wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_wanted = |number: &u32| {
        fs::read_to_string(format!("/proc/{number}/comm")).is_ok_and(|name| wanted(name.trim()))
    };
    numbers.filter(is_wanted).collect()
}
