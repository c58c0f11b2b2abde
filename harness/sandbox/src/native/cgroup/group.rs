//! One group: made with its limits, joined by descriptor, read, frozen, killed and removed.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use harness_core::Limits;
use rustix::fs::{Mode, OFlags};

use super::find::{Cgroups, Layout, Support};

/// The group of one sandbox. It is not removed by dropping it: [`Group::remove`] does that, or [`release`] after a crash.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its folders: one on the second version, one for each hierarchy on the first.
    pub(super) folders: Vec<PathBuf>,
    /// The controllers of each folder, on the first version.
    pub(super) controllers: Vec<Vec<String>>,
    pub(super) second: bool,
    /// Counts what the memory limit killed; opened once, because it is read before each command.
    pub(super) kills: OnceLock<Option<fs::File>>,
}

/// How a process gets into a group of the first version: it writes `0` to each, itself, before it starts anything. (Writing a
/// number to `cgroup.procs` instead waits for a grace period of the whole machine, some 9 ms.) Everything it starts is in it too.
#[derive(Debug, Default)]
pub(crate) struct Join {
    /// For PID 1.
    pub(crate) tasks: Vec<OwnedFd>,
    /// For commands only: what counts processes and memory, so that using them up never hits what must end them.
    pub(crate) commands: Vec<OwnedFd>,
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
/// One period of the processor limit, in microseconds: the one that groups are born with.
const PERIOD: u64 = 100_000;
/// How long killing and removing may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroups {
    /// Where the group of the sandbox with this id will be. Written down before anything is made, it is found after a crash.
    pub(crate) fn folders(&self, id: &str) -> Vec<PathBuf> {
        let name = format!("{PREFIX}{id}");
        match &self.layout {
            Layout::None => Vec::new(),
            Layout::Second(parent) => vec![parent.join(&name)],
            Layout::First(parents) => parents.keys().map(|parent| parent.join(&name)).collect(),
        }
    }

    /// Makes the group of the sandbox with this id, without limits. `None` when no groups can be had at all.
    ///
    /// # Errors
    /// When the kernel refuses the group; nothing is left then.
    pub(crate) fn make(&self, id: &str) -> io::Result<Option<Group>> {
        let (controllers, second) = match &self.layout {
            Layout::None => return Ok(None),
            Layout::Second(_) => (vec![Vec::new()], true),
            Layout::First(parents) => (parents.values().cloned().collect(), false),
        };
        let group = Group { folders: self.folders(id), controllers, second, kills: OnceLock::new() };
        let mut made = 0;
        let done = group.folders.iter().try_for_each(|folder| {
            fs::create_dir(folder)?;
            made += 1;
            Ok(())
        });
        if let Err(error) = done {
            // Only what was made here: a group of this id may be someone's.
            for folder in group.folders.iter().take(made) {
                let _ = fs::remove_dir(folder);
            }
            return Err(error);
        }
        Ok(Some(group))
    }
}

/// A number by its name, of lines that each hold both.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok()).flatten()
    })
}

/// Writes a value where the file exists.
fn set(folder: &Path, file: &str, value: impl std::fmt::Display) -> io::Result<()> {
    set_if_there(folder, file, value).map(drop)
}

/// As [`set`]; says whether the file exists.
fn set_if_there(folder: &Path, file: &str, value: impl std::fmt::Display) -> io::Result<bool> {
    match fs::write(folder.join(file), value.to_string()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io::Error::new(error.kind(), format!("{file} of {}: {error}", folder.display()))),
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
                    // The period is the kernel's own in a new group.
                    set(folder, "cpu.cfs_quota_us", quota(milli))?;
                }
            }
            "memory" => {
                if let Some(bytes) = limits.memory_bytes {
                    // In this order: the sum with swap may not be below the first.
                    set(folder, "memory.limit_in_bytes", bytes)?;
                    if !set_if_there(folder, "memory.memsw.limit_in_bytes", bytes)? {
                        set(folder, "memory.swappiness", 0).or_else(not_supported)?;
                    }
                }
            }
            "pids" => {
                if let Some(pids) = limits.pids {
                    set(folder, "pids.max", pids)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn limit_second(folder: &Path, support: &Support, limits: &Limits) -> io::Result<()> {
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
    #[cfg(test)]
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Sets its limits. Those that this machine does not have are left out.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub(crate) fn limit(&self, limits: &Limits, support: &Support) -> io::Result<()> {
        if self.second {
            return limit_second(&self.folders[0], support, limits);
        }
        self.folders
            .iter()
            .zip(&self.controllers)
            .try_for_each(|(folder, controllers)| limit_first(folder, controllers, limits))
    }

    /// What to clone a process into; on the first version it joins by itself, see [`Group::join`].
    ///
    /// # Errors
    /// What the kernel refused.
    pub(crate) fn to_clone_into(&self) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |folder: &PathBuf| Ok(rustix::fs::open(folder, flags, Mode::empty())?);
        self.second.then(|| open(&self.folders[0])).transpose()
    }

    /// Descriptors to join by, where these limits were set.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(crate) fn join(&self, limits: &Limits) -> io::Result<Join> {
        let mut join = Join::default();
        let first = if self.second { &[][..] } else { &self.folders };
        for (folder, controllers) in first.iter().zip(&self.controllers) {
            let has = |name: &str| controllers.iter().any(|other| other == name);
            let tasks =
                rustix::fs::open(folder.join("tasks"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            let limited =
                limits.pids.is_some() && has("pids") || limits.memory_bytes.is_some() && has("memory");
            if limited { &mut join.commands } else { &mut join.tasks }.push(tasks);
        }
        Ok(join)
    }

    /// What it has used so far: a few reads of some microseconds.
    pub(crate) fn usage(&self) -> GroupUsage {
        let (cpu, peak_memory_bytes) = if self.second {
            let cpu = self.read("", "cpu.stat").and_then(|text| field(&text, "usage_usec"));
            (cpu.map(Duration::from_micros), self.read("", "memory.peak"))
        } else {
            let cpu = self.read("cpuacct", "cpuacct.usage").and_then(|text| text.trim().parse().ok());
            (cpu.map(Duration::from_nanos), self.read("memory", "memory.max_usage_in_bytes"))
        };
        GroupUsage {
            cpu,
            peak_memory_bytes: peak_memory_bytes.and_then(|text| text.trim().parse().ok()),
            oom_kills: self.oom_kills(),
        }
    }

    /// Processes that the kernel killed because of the memory limit.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        let file = self.kills.get_or_init(|| {
            let name = if self.second { "memory.events" } else { "memory.oom_control" };
            fs::File::open(self.folder_of("memory")?.join(name)).ok()
        });
        let mut buffer = [0; 512];
        let length = file.as_ref()?.read_at(&mut buffer, 0).ok()?;
        field(std::str::from_utf8(&buffer[..length]).ok()?, "oom_kill")
    }

    /// The folder that has a controller.
    fn folder_of(&self, controller: &str) -> Option<&PathBuf> {
        let has = |names: &&Vec<String>| names.iter().any(|name| name == controller);
        let index = if self.second { 0 } else { self.controllers.iter().position(|names| has(&names))? };
        self.folders.get(index)
    }

    fn read(&self, controller: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.folder_of(controller)?.join(file)).ok()
    }

    /// Stops everything in it, or lets it go on; returns when that is so: what is stopped can be killed, too.
    #[cfg(test)]
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
