//! Processor time of this process and of everything that it starts, however it is started: a control group counts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An account, or none where groups cannot be had.
#[derive(Debug)]
pub struct Account {
    file: Option<PathBuf>,
    /// A group made for us, and the one to go back to.
    own: Option<(PathBuf, PathBuf)>,
}

impl Account {
    /// On the first version of the interface in a group of our own; on the second, the group that we are in.
    pub fn open() -> Account {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let below = |line: &str, top: &str| {
            let path = line.rsplit(':').next().unwrap_or("/");
            Path::new(top).join(path.trim_start_matches('/'))
        };
        let is_counter = |line: &&str| {
            line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == "cpuacct"))
        };
        if let Some(line) = groups.lines().find(is_counter) {
            let parent = below(line, "/sys/fs/cgroup/cpuacct");
            let own = parent.join(format!("harness-ratios-{}", std::process::id()));
            if fs::create_dir(&own).and_then(|()| fs::write(own.join("cgroup.procs"), "0")).is_ok() {
                return Account { file: Some(own.join("cpuacct.usage")), own: Some((own, parent)) };
            }
            return Account { file: None, own: None };
        }
        let file = groups.lines().find(|line| line.starts_with("0::"));
        let file = file.map(|line| below(line, "/sys/fs/cgroup").join("cpu.stat"));
        Account { file: file.filter(|file| file.exists()), own: None }
    }

    /// What was spent so far.
    pub fn spent(&self) -> Option<Duration> {
        let text = fs::read_to_string(self.file.as_ref()?).ok()?;
        match text.trim().parse() {
            Ok(nanos) => Some(Duration::from_nanos(nanos)),
            Err(_) => {
                let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
                Some(Duration::from_micros(line.parse().ok()?))
            }
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some((own, parent)) = &self.own {
            let _ = fs::write(parent.join("cgroup.procs"), "0");
            let _ = fs::remove_dir(own);
        }
    }
}
