//! One group: made with its limits, joined by descriptor, read, frozen, killed and removed.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness_core::Limits;
use rustix::fs::{Mode, OFlags};

use super::find::{Cgroups, Layout};

/// The group of one sandbox. It is not removed by dropping it: [`Group::remove`] does that, or [`release`] after a crash.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its folders: one on the second version, one for each hierarchy on the first.
    pub(super) folders: Vec<PathBuf>,
    pub(super) second: bool,
}

/// How a process gets into a group. Everything it starts is in it too.
#[derive(Debug, Default)]
pub(crate) struct Join {
    /// First version: the process writes `0` to each, itself, before it starts anything. (Writing a number to `cgroup.procs`
    /// instead waits for a grace period of the whole machine, some 9 ms.)
    pub(crate) tasks: Vec<OwnedFd>,
    /// Second version: for `clone3` with `CLONE_INTO_CGROUP`.
    pub(crate) folder: Option<OwnedFd>,
}

/// What a group has used; unknown is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct GroupUsage {
    /// Processor time.
    pub(crate) cpu: Option<Duration>,
    /// Largest memory, page cache included.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// Processes that the kernel killed because of the memory limit.
    pub(crate) oom_kills: Option<u64>,
}

/// Every group of ours begins like this; nothing else is ever killed or removed.
const PREFIX: &str = "harness-";
/// One period of the processor limit, in microseconds.
const PERIOD: u64 = 100_000;
/// How long killing and removing may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Devices that may be used: null, zero, full, random, urandom, tty, ptmx and terminals. Any node may be *made* (archives
/// hold them), which gives no access.
const DEVICES: &[&str] = &[
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

impl Cgroups {
    /// Makes the group of the sandbox with this id. Limits that [`Cgroups::support`] does not have are left out.
    /// `None` when no groups can be had at all.
    ///
    /// # Errors
    /// When the kernel refuses the group or a limit; nothing is left then.
    pub(crate) fn make(&self, id: &str, limits: &Limits) -> io::Result<Option<Group>> {
        let name = format!("{PREFIX}{id}");
        let (folders, second) = match &self.layout {
            Layout::None => return Ok(None),
            Layout::Second(parent) => (vec![parent.join(&name)], true),
            Layout::First(parents) => (parents.keys().map(|parent| parent.join(&name)).collect(), false),
        };
        let group = Group { folders, second };
        let mut made = 0;
        let limited = group.folders.iter().try_for_each(|folder| {
            fs::create_dir(folder)?;
            made += 1;
            Ok(())
        });
        let limited = limited.and_then(|()| match &self.layout {
            Layout::First(parents) => parents
                .values()
                .zip(&group.folders)
                .try_for_each(|(controllers, folder)| limit_first(folder, controllers, limits)),
            _ => limit_second(&group.folders[0], self, limits),
        });
        if let Err(error) = limited {
            // Only what was made here: a group of this id may be someone's.
            for folder in group.folders.iter().take(made) {
                let _ = fs::remove_dir(folder);
            }
            return Err(error);
        }
        Ok(Some(group))
    }
}

/// Writes a value where the file exists.
fn set(folder: &Path, file: &str, value: impl std::fmt::Display) -> io::Result<()> {
    match fs::write(folder.join(file), value.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("{file} of {}: {error}", folder.display()))),
        written => written,
    }
}

/// Thousandths of a processor as microseconds of each period. The kernel takes no less than one millisecond.
fn quota(milli_cpus: u64) -> u64 {
    milli_cpus.saturating_mul(PERIOD / 1000).clamp(1_000, PERIOD * 100_000)
}

fn limit_first(folder: &Path, controllers: &[String], limits: &Limits) -> io::Result<()> {
    for controller in controllers {
        match controller.as_str() {
            "cpu" => {
                if let Some(milli) = limits.milli_cpus {
                    set(folder, "cpu.cfs_period_us", PERIOD)?;
                    set(folder, "cpu.cfs_quota_us", quota(milli))?;
                }
            }
            "memory" => {
                if let Some(bytes) = limits.memory_bytes {
                    // In this order: the sum with swap may not be below the first.
                    set(folder, "memory.limit_in_bytes", bytes)?;
                    set(folder, "memory.memsw.limit_in_bytes", bytes)?;
                    set(folder, "memory.swappiness", 0).or_else(not_supported)?;
                }
            }
            "pids" => {
                if let Some(pids) = limits.pids {
                    set(folder, "pids.max", pids)?;
                }
            }
            "devices" => {
                set(folder, "devices.deny", "a")?;
                for rule in DEVICES {
                    set(folder, "devices.allow", rule)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn limit_second(folder: &Path, cgroups: &Cgroups, limits: &Limits) -> io::Result<()> {
    let support = cgroups.support();
    if let (true, Some(milli)) = (support.cpu, limits.milli_cpus) {
        set(folder, "cpu.max", format!("{} {PERIOD}", quota(milli)))?;
    }
    if let (true, Some(bytes)) = (support.memory, limits.memory_bytes) {
        set(folder, "memory.max", bytes)?;
        set(folder, "memory.swap.max", 0)?;
    }
    if let (true, Some(pids)) = (support.pids, limits.pids) {
        set(folder, "pids.max", pids)?;
    }
    Ok(())
}

fn not_supported(error: io::Error) -> io::Result<()> {
    if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) {
        Ok(())
    } else {
        Err(error)
    }
}

impl Group {
    /// Its folders: to be kept where a successor finds them, for [`release`].
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Descriptors to join by.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(crate) fn join(&self) -> io::Result<Join> {
        if self.second {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::open(&self.folders[0], flags, Mode::empty())?;
            return Ok(Join { tasks: Vec::new(), folder: Some(folder) });
        }
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let open = |folder: &PathBuf| rustix::fs::open(folder.join("tasks"), flags, Mode::empty());
        Ok(Join { tasks: self.folders.iter().map(open).collect::<Result<_, _>>()?, folder: None })
    }

    /// What it has used so far: a few reads of some microseconds.
    pub(crate) fn usage(&self) -> GroupUsage {
        let read =
            |file: &str| self.folders.iter().find_map(|folder| fs::read_to_string(folder.join(file)).ok());
        let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
        let field = |file: &str, name: &str| {
            read(file)?.lines().find_map(|line| {
                let (key, value) = line.split_once(' ')?;
                (key == name).then(|| value.trim().parse::<u64>().ok()).flatten()
            })
        };
        if self.second {
            return GroupUsage {
                cpu: field("cpu.stat", "usage_usec").map(Duration::from_micros),
                peak_memory_bytes: number("memory.peak"),
                oom_kills: field("memory.events", "oom_kill"),
            };
        }
        GroupUsage {
            cpu: number("cpuacct.usage").map(Duration::from_nanos),
            peak_memory_bytes: number("memory.max_usage_in_bytes"),
            oom_kills: field("memory.oom_control", "oom_kill"),
        }
    }

    /// Stops everything in it, or lets it go on; returns when that is so. Blocks for some tenths of a millisecond.
    ///
    /// # Errors
    /// Where it cannot be had, or when a process does not stop within ten seconds.
    pub(crate) fn freeze(&self, on: bool) -> io::Result<()> {
        let (file, value) = match (self.second, on) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        let folder = self.folders.iter().find(|folder| folder.join(file).exists());
        let folder = folder
            .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "no group here can be frozen"))?;
        fs::write(folder.join(file), value)?;
        wait("freezing", || {
            if self.second {
                let events = fs::read_to_string(folder.join("cgroup.events"))?;
                return Ok(events.lines().any(|line| line == if on { "frozen 1" } else { "frozen 0" }));
            }
            let state = fs::read_to_string(folder.join(file))?;
            if on && state.trim() == "FREEZING" {
                // A process that was busy is asked again.
                fs::write(folder.join(file), value)?;
            }
            Ok(state.trim() == value)
        })
    }

    /// Kills everything in it, PID 1 of the sandbox included; returns when it is empty.
    ///
    /// # Errors
    /// When something is still there after ten seconds.
    pub(crate) fn kill(&self) -> io::Result<()> {
        kill(&self.folders)
    }

    /// Removes it; it must be empty, or become so at once.
    ///
    /// # Errors
    /// When something is still in it after ten seconds.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove(&self.folders)
    }
}

/// Kills and removes the group with these folders that a dead owner left. What is not a group of ours is refused.
///
/// # Errors
/// What resisted.
pub(crate) fn release(folders: &[PathBuf]) -> io::Result<()> {
    let there: Vec<PathBuf> = folders.iter().filter(|folder| folder.exists()).cloned().collect();
    for folder in &there {
        let ours = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        let is_group = rustix::fs::statfs(folder)
            .is_ok_and(|found| [0x27e0eb, 0x6367_7270].contains(&(found.f_type as u64)));
        if !ours || !is_group || folder.components().any(|part| part.as_os_str() == "..") {
            return Err(io::Error::other(format!("{} is not a group of ours", folder.display())));
        }
    }
    kill(&there)?;
    remove(&there)
}

fn kill(folders: &[PathBuf]) -> io::Result<()> {
    let at_once = folders.iter().find(|folder| folder.join("cgroup.kill").exists());
    let freezer = folders.iter().map(|folder| folder.join("freezer.state")).find(|file| file.exists());
    let freeze_second = folders.iter().map(|folder| folder.join("cgroup.freeze")).find(|file| file.exists());
    wait("killing", || {
        if let Some(folder) = at_once {
            fs::write(folder.join("cgroup.kill"), "1")?;
            return is_empty(folders);
        }
        // Frozen, nothing is born and no number is given to another while we go through the list.
        if let Some(file) = &freezer {
            fs::write(file, "FROZEN")?;
        } else if let Some(file) = &freeze_second {
            fs::write(file, "1")?;
        }
        for pid in processes(folders)? {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if let Some(file) = &freezer {
            fs::write(file, "THAWED")?;
        } else if let Some(file) = &freeze_second {
            fs::write(file, "0")?;
        }
        is_empty(folders)
    })
}

fn processes(folders: &[PathBuf]) -> io::Result<Vec<i32>> {
    let mut all = Vec::new();
    for folder in folders {
        match fs::read_to_string(folder.join("cgroup.procs")) {
            // 0 stands for a process that our namespace does not show.
            Ok(list) => {
                all.extend(list.lines().filter_map(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 1))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn is_empty(folders: &[PathBuf]) -> io::Result<bool> {
    Ok(processes(folders)?.is_empty())
}

fn remove(folders: &[PathBuf]) -> io::Result<()> {
    let mut last = None;
    let gone = wait("removing", || {
        for folder in folders {
            match fs::remove_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    last = Some(error);
                    return Ok(false);
                }
                removed => removed?,
            }
        }
        Ok(true)
    });
    gone.map_err(|error| last.unwrap_or(error))
}

/// Asks until it is so, at first quickly, then every few milliseconds: processes that were killed are gone within one or two.
fn wait(what: &str, mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(50);
    while !done()? {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what} a group took too long")));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(8));
    }
    Ok(())
}
