//! What the native sandbox can do on this machine, and what it does not isolate or limit, in sentences.

use super::cgroup::find::Support;
use crate::{Caps, Unsupported};

/// What was found when the backend was opened.
pub(super) struct Here<'a> {
    /// Whether the machine's root rights are ours.
    pub(super) privileged: bool,
    /// Which limits groups of processes give.
    pub(super) support: &'a Support,
    /// Why file systems of a given size cannot be had; `None` when they can.
    pub(super) no_disks: Option<&'a str>,
}

/// Says it.
pub(super) fn caps(here: &Here<'_>) -> Caps {
    let mut caps = Caps { open_network: true, ..Caps::default() };
    caps.weaknesses.push("it shares the kernel with the host, as containers do".to_owned());
    let mut declare = |case: &'static str, reason: &str| {
        caps.declared.push(Unsupported { case, reason: reason.to_owned() });
    };
    if !here.privileged {
        let reason = "without root rights all users inside are one user, and changes of owner only pretend to succeed";
        caps.single_user = Some(reason.to_owned());
        caps.weaknesses.push(reason.to_owned());
        for case in ["exec_user", "put_owner"] {
            declare(case, reason);
        }
    }
    if !here.support.memory {
        let reason = "memory is not limited: no memory controller is ours to use";
        declare("limit_memory", reason);
        caps.weaknesses.push(reason.to_owned());
    }
    if !here.support.cpu {
        let reason = "processors are not limited: no cpu controller is ours to use";
        declare("limit_cpus", reason);
        caps.weaknesses.push(reason.to_owned());
    }
    if !here.support.pids {
        caps.weaknesses.push("processes are counted by the kernel for each sandbox's user, not by a controller".to_owned());
    }
    if !here.support.cpu_time || !here.support.peak {
        declare("usage", "processor time and memory are not accounted for: no controller is ours to use");
        caps.weaknesses.push("processor time and largest memory are unknown".to_owned());
    }
    if let Some(why) = here.no_disks {
        caps.weaknesses.push(format!("a sandbox that writes more than it may is ended some moments later, instead of its writes failing: {why}"));
    }
    caps.weaknesses.extend(here.support.missing.iter().cloned());
    caps
}
