//! Looks at the machine for `doctor`: what a sandbox needs, by trying it; what each finding means and how to mend it.

mod namespaces;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use self::namespaces::{Attempt, Stage};
use super::cgroup::find::Support;
use super::disk;
use crate::{Probe, ProbeStatus, SandboxError};

/// What the backend knows already.
pub(crate) struct Look<'a> {
    /// The backend's state folder; must exist.
    pub(crate) state: &'a Path,
    /// Which limits it found.
    pub(crate) limits: &'a Support,
    /// Why file systems of a given size cannot be had; `None` when they can.
    pub(crate) no_disks: Option<&'a str>,
}

/// Looks at everything, and really runs `/bin/true` in a sandbox with the closure, which gives the time that it took.
pub(crate) async fn probes<F, R>(look: Look<'_>, run_true: F) -> Vec<Probe>
where
    F: FnOnce() -> R,
    R: Future<Output = Result<Duration, SandboxError>>,
{
    let attempt = namespaces::attempt(look.state);
    let settings = Settings::here();
    let mut probes = vec![true_in_sandbox(run_true().await), kernel(&settings.release)];
    probes.extend(user_namespaces(&attempt, &settings));
    probes.push(overlay(&attempt));
    probes.push(owners(&settings, namespaces::idmapped(look.state)));
    probes.push(limits(look.limits));
    probes.push(disk_limit(look.no_disks));
    probes.push(space(look.state));
    probes
}

/// Settings of the machine that explain what was tried.
#[derive(Debug, Clone, Default)]
struct Settings {
    root: bool,
    release: String,
    /// `kernel.apparmor_restrict_unprivileged_userns`.
    apparmor: bool,
    /// `user.max_user_namespaces`.
    most_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone`, which Debian had.
    clone_forbidden: bool,
    newuidmap: bool,
    /// Whether `/etc/subuid` gives us a range.
    range: bool,
    program: String,
}

impl Settings {
    fn here() -> Settings {
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let user = rustix::process::getuid().as_raw();
        let accounts = read("/etc/passwd").unwrap_or_default();
        let name = accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == user.to_string()).then(|| name.to_owned())
        });
        let ranges = read("/etc/subuid").unwrap_or_default();
        let ours = |line: &str| {
            line.split(':').next().is_some_and(|who| Some(who) == name.as_deref() || who == user.to_string())
        };
        Settings {
            root: rustix::process::geteuid().is_root(),
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            apparmor: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1"),
            most_namespaces: read("/proc/sys/user/max_user_namespaces").and_then(|text| text.parse().ok()),
            clone_forbidden: read("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0"),
            newuidmap: std::env::split_paths(&path).any(|folder| folder.join("newuidmap").is_file()),
            range: ranges.lines().any(ours),
            program: std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default(),
        }
    }
}

fn probe(name: &str, status: ProbeStatus, detail: impl Into<String>, remedy: Option<String>) -> Probe {
    Probe { name: name.to_owned(), status, detail: detail.into(), remedy }
}

fn true_in_sandbox(ran: Result<Duration, SandboxError>) -> Probe {
    const NAME: &str = "/bin/true in a sandbox";
    match ran {
        Ok(took) => probe(
            NAME,
            ProbeStatus::Good,
            format!("ran and ended with status 0 within {:.1} ms", took.as_secs_f64() * 1e3),
            None,
        ),
        Err(error) => probe(
            NAME,
            ProbeStatus::Broken,
            format!("did not run: {}", chain(&error)),
            Some("mend what is broken below; else use a container engine".to_owned()),
        ),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn kernel(release: &str) -> Probe {
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let upgrade = || Some("use a kernel of 5.12 or later".to_owned());
    match version {
        (5.., 12..) | (6.., _) => {
            probe("kernel", ProbeStatus::Good, format!("{release} has all that is needed"), None)
        }
        (5, 6..) => probe(
            "kernel",
            ProbeStatus::Weak,
            format!("{release} lacks idmapped mounts, and before 5.11 overlays for ordinary users"),
            upgrade(),
        ),
        _ => probe("kernel", ProbeStatus::Broken, format!("{release} is too old"), upgrade()),
    }
}

/// The two shapes in which Ubuntu's restriction shows: the mapping of ids is denied, or the namespace is made but without
/// capabilities, so that the first mount fails.
fn user_namespaces(attempt: &Attempt, settings: &Settings) -> Vec<Probe> {
    const NAME: &str = "user namespaces";
    let Some((stage, error)) = &attempt.failed else {
        return vec![probe(
            NAME,
            ProbeStatus::Good,
            "can be made, with mounts and a network of their own",
            None,
        )];
    };
    let what = match stage {
        Stage::Overlay => {
            return vec![probe(NAME, ProbeStatus::Good, "can be made, with mounts of their own", None)];
        }
        Stage::User => "cannot be made",
        Stage::Map => "are made, but mapping ids is denied",
        Stage::Mount => "are made, but without the right to mount",
        Stage::Network => "are made, but without the right to a network of their own",
    };
    let detail = format!("{what}: {error}");
    let denied = matches!(stage, Stage::Map | Stage::Mount | Stage::Network);
    let remedy = if settings.most_namespaces == Some(0) {
        "the machine allows none (user.max_user_namespaces is 0): ask its administrator, or run as root"
            .to_owned()
    } else if settings.clone_forbidden && !settings.root {
        "the machine forbids them to ordinary users (kernel.unprivileged_userns_clone is 0): ask its administrator, or run as root"
            .to_owned()
    } else if !settings.root && (settings.apparmor || denied) {
        format!(
            "{}: run with sudo, use a container engine, or install an AppArmor profile for this program, for example in \
             /etc/apparmor.d/harness: abi <abi/4.0>, profile harness {} flags=(unconfined) {{ userns, }}",
            if settings.apparmor {
                "AppArmor restricts them to programs with a profile (Ubuntu since 23.10)"
            } else {
                "it looks like a security module's restriction"
            },
            settings.program
        )
    } else {
        "inside a container they are often forbidden: run on the host itself, or use a container engine"
            .to_owned()
    };
    vec![probe(NAME, ProbeStatus::Broken, detail, Some(remedy))]
}

fn overlay(attempt: &Attempt) -> Probe {
    const NAME: &str = "overlay";
    match &attempt.failed {
        None => probe(NAME, ProbeStatus::Good, "works in a user namespace, over the state folder", None),
        Some((Stage::Overlay, error)) => probe(
            NAME,
            ProbeStatus::Broken,
            format!("cannot be mounted over the state folder: {error}"),
            Some("put the state folder on a local file system (ext4, xfs, btrfs, tmpfs), not on NFS or another overlay; ordinary users need a kernel of 5.11".to_owned()),
        ),
        Some(_) => probe(NAME, ProbeStatus::Broken, "could not be tried without user namespaces", None),
    }
}

fn owners(settings: &Settings, idmapped: Result<(), String>) -> Probe {
    const NAME: &str = "owners of files";
    match (settings.root, idmapped) {
        (true, Ok(())) => probe(NAME, ProbeStatus::Good, "a range of ids with idmapped mounts", None),
        (true, Err(error)) => probe(
            NAME,
            ProbeStatus::Weak,
            format!("no idmapped mounts ({error}): files of the host's root show as nobody's"),
            Some("use a kernel of 5.19 and ext4, xfs or btrfs for the root file system".to_owned()),
        ),
        (false, _) => {
            let range = settings.newuidmap && settings.range;
            let unused = if range { " (this user's range of ids is not used yet)" } else { "" };
            probe(
                NAME,
                ProbeStatus::Weak,
                format!("one id only: changing owners and users is pretended, su stays root{unused}"),
                Some("run as root".to_owned()),
            )
        }
    }
}

fn limits(support: &Support) -> Probe {
    const NAME: &str = "limits";
    let named = [(support.cpu, "processors"), (support.memory, "memory"), (support.pids, "processes")];
    let there: Vec<&str> = named.iter().filter(|(there, _)| *there).map(|(_, name)| *name).collect();
    if there.len() == named.len() {
        return probe(NAME, ProbeStatus::Good, format!("control groups limit {}", there.join(", ")), None);
    }
    let remedy = "run as root, or in a group of your own: systemd-run --user --scope -p Delegate=yes COMMAND";
    probe(NAME, ProbeStatus::Weak, support.missing.join("; "), Some(remedy.to_owned()))
}

fn disk_limit(no_disks: Option<&str>) -> Probe {
    const NAME: &str = "limit on disk";
    match no_disks {
        None => {
            probe(NAME, ProbeStatus::Good, "each sandbox with a limit gets a file system of that size", None)
        }
        Some(reason) => probe(
            NAME,
            ProbeStatus::Weak,
            format!("{reason}; what a sandbox writes is counted, and it is killed when that is too much"),
            Some("run as root with e2fsprogs installed and loop devices".to_owned()),
        ),
    }
}

fn space(state: &Path) -> Probe {
    const NAME: &str = "disk space";
    let remedy = || Some(format!("make room in {}, or choose another state folder", state.display()));
    match disk::free_bytes(state) {
        Err(error) => probe(NAME, ProbeStatus::Broken, format!("{}: {error}", state.display()), remedy()),
        Ok(free) => {
            let status = match free >> 30 {
                0 => ProbeStatus::Broken,
                1..=4 => ProbeStatus::Weak,
                _ => ProbeStatus::Good,
            };
            let remedy = if status == ProbeStatus::Good { None } else { remedy() };
            probe(
                NAME,
                status,
                format!("{:.1} GiB are free for sandboxes", free as f64 / f64::from(1 << 30)),
                remedy,
            )
        }
    }
}
