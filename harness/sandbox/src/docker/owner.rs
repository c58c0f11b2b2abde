//! Who a container belongs to, as labels that anybody can read afterwards: this process, told apart from every other that had
//! its number, so that what a dead owner left is found and what a living one uses is spared.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Labels;

/// The run.
pub(crate) const RUN: &str = "harness.run";
/// The trial.
pub(crate) const TRIAL: &str = "harness.trial";
/// Which of the trial's containers, or what else it is.
pub(crate) const ROLE: &str = "harness.role";
/// `boot-id:pid:starttime`.
pub(crate) const OWNER: &str = "harness.owner";
/// Seconds since 1970 after which it is nobody's, whoever lives.
pub(crate) const EXPIRES: &str = "harness.expires";
/// The owner's process namespace: numbers of another one mean nothing here.
pub(crate) const NAMESPACE: &str = "harness.pid-namespace";

/// No run takes longer.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A process, once and for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    boot: String,
    pid: u32,
    start: u64,
}

impl Owner {
    /// This process.
    pub(crate) fn this() -> Owner {
        let pid = std::process::id();
        Owner { boot: boot_id(), pid, start: start_time(pid).unwrap_or(0) }
    }

    /// From a label.
    fn parse(text: &str) -> Option<Owner> {
        let mut fields = text.split(':');
        let owner = Owner {
            boot: fields.next()?.to_owned(),
            pid: fields.next()?.parse().ok()?,
            start: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(owner)
    }

    fn is_dead(&self) -> bool {
        start_time(self.pid) != Some(self.start)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.boot, self.pid, self.start)
    }
}

/// What everything that we make carries.
pub(crate) fn labels(of: &Labels) -> HashMap<String, String> {
    let expires = SystemTime::now().checked_add(LIFE).map_or(u64::MAX, seconds);
    HashMap::from([
        (RUN.to_owned(), of.run.clone()),
        (TRIAL.to_owned(), of.trial.clone()),
        (ROLE.to_owned(), of.role.clone()),
        (OWNER.to_owned(), Owner::this().to_string()),
        (EXPIRES.to_owned(), expires.to_string()),
        (NAMESPACE.to_owned(), pid_namespace()),
    ])
}

/// Whether nobody needs it any more. What has no readable label is never ours to remove.
pub(crate) fn is_abandoned(labels: &BTreeMap<String, String>, running: bool) -> bool {
    let Some(owner) = labels.get(OWNER).and_then(|text| Owner::parse(text)) else { return false };
    let expired = labels
        .get(EXPIRES)
        .and_then(|text| text.parse::<u64>().ok())
        .is_some_and(|expires| seconds(SystemTime::now()) > expires);
    if expired {
        return true;
    }
    if owner.boot != boot_id() {
        // Of an earlier boot of this machine it cannot run; what runs has an owner on another machine that shares the engine.
        return !running;
    }
    labels.get(NAMESPACE).is_none_or(|namespace| *namespace == pid_namespace()) && owner.is_dead()
}

/// Whether what runs may wait for a successor of its owner: one that does not wait ends with its owner.
pub(crate) fn may_wait(labels: &BTreeMap<String, String>, running: bool) -> bool {
    let expires = labels.get(EXPIRES).and_then(|text| text.parse::<u64>().ok());
    running && expires.is_none_or(|expires| seconds(SystemTime::now()) <= expires)
}

/// Whether it is known to be used by another process that lives. Run directories in different places may have one name: whoever
/// holds the one's lock knows nothing of the other.
pub(crate) fn is_anothers(labels: &BTreeMap<String, String>) -> bool {
    let Some(owner) = labels.get(OWNER).and_then(|text| Owner::parse(text)) else { return false };
    let seen = labels.get(NAMESPACE).is_some_and(|namespace| *namespace == pid_namespace());
    seen && owner.boot == boot_id() && owner != Owner::this() && !owner.is_dead()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn pid_namespace() -> String {
    std::fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default()
}

/// In clock ticks since the machine started; `None` when there is no such process, or only what is left of it.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn of_this_process() -> BTreeMap<String, String> {
        let of = Labels { run: "r".into(), trial: "t".into(), role: "agent".into() };
        labels(&of).into_iter().collect()
    }

    #[test]
    fn a_living_owner_is_spared_and_a_dead_one_is_not() {
        let mut labels = of_this_process();
        assert!(!is_abandoned(&labels, true));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner { pid: child.id(), start: start_time(child.id()).unwrap(), ..Owner::this() };
        labels.insert(OWNER.into(), owner.to_string());
        assert!(!is_abandoned(&labels, true));
        assert!(is_anothers(&labels) && !is_anothers(&of_this_process()));
        child.kill().unwrap();
        // A zombie is dead already.
        std::thread::sleep(Duration::from_millis(100));
        assert!(is_abandoned(&labels, true) && !is_anothers(&labels));
        child.wait().unwrap();
        assert!(is_abandoned(&labels, false));
    }

    #[test]
    fn another_process_with_the_same_number_is_no_owner() {
        let mut labels = of_this_process();
        let owner = Owner { start: Owner::this().start + 1, ..Owner::this() };
        labels.insert(OWNER.into(), owner.to_string());
        assert!(is_abandoned(&labels, true));
    }

    #[test]
    fn numbers_of_another_namespace_or_machine_say_nothing() {
        let mut labels = of_this_process();
        labels.insert(OWNER.into(), Owner { pid: u32::MAX, ..Owner::this() }.to_string());
        labels.insert(NAMESPACE.into(), "pid:[1]".into());
        assert!(!is_abandoned(&labels, true));
        labels.insert(OWNER.into(), Owner { boot: "another".into(), ..Owner::this() }.to_string());
        assert!(!is_abandoned(&labels, true));
        assert!(is_abandoned(&labels, false), "it was left by an earlier boot");
    }

    #[test]
    fn what_expired_is_nobodys_and_what_cannot_be_read_is_not_ours() {
        let mut labels = of_this_process();
        labels.insert(EXPIRES.into(), "1000".into());
        assert!(is_abandoned(&labels, true));
        labels.insert(OWNER.into(), "nonsense".into());
        assert!(!is_abandoned(&labels, false));
    }
}
