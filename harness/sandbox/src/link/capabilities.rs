//! Which of Linux's capabilities commands in a sandbox have, and whether we have those of the machine's root.

/// A container engine's usual set without MKNOD: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
/// NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, AUDIT_WRITE, SETFCAP. They hold in the sandbox's own user namespace only.
pub(crate) const COMMANDS: u64 = 1 << 0
    | 1 << 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 10
    | 1 << 13
    | 1 << 18
    | 1 << 29
    | 1 << 31;

/// WAKE_ALARM, which commands in views hold besides. It allows nothing here, since the kernel asks for it in the first user
/// namespace only; but the kernel lets nobody look into a process that holds a capability he lacks.
pub(crate) const VIEWS: u64 = 1 << 35;

const SYS_ADMIN: u64 = 1 << 21;

/// What PID 1 needs beside those in a container that an engine made: SYS_ADMIN for mounts and namespaces, and that of views. What
/// it starts has neither.
pub(crate) const ENGINE_INIT: u64 = SYS_ADMIN | VIEWS;

/// The kernel's numbers, as far as we use them, and the names by which engines know them.
const NAMES: &[(u32, &str)] = &[
    (0, "CHOWN"),
    (1, "DAC_OVERRIDE"),
    (3, "FOWNER"),
    (4, "FSETID"),
    (5, "KILL"),
    (6, "SETGID"),
    (7, "SETUID"),
    (8, "SETPCAP"),
    (10, "NET_BIND_SERVICE"),
    (13, "NET_RAW"),
    (18, "SYS_CHROOT"),
    (21, "SYS_ADMIN"),
    (29, "AUDIT_WRITE"),
    (31, "SETFCAP"),
    (35, "WAKE_ALARM"),
];

/// The names of a set.
pub(crate) fn names(set: u64) -> Vec<String> {
    NAMES.iter().filter(|(number, _)| set & (1 << number) != 0).map(|(_, name)| (*name).to_owned()).collect()
}

/// Whether we are root with root's rights over mounts; root in a container often is not.
pub(crate) fn are_roots() -> bool {
    rustix::process::geteuid().is_root() && effective() & SYS_ADMIN != 0
}

fn effective() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_that_we_use_has_a_name() {
        assert_eq!(names(COMMANDS | ENGINE_INIT).len(), (COMMANDS | ENGINE_INIT).count_ones() as usize);
        assert_eq!(names(ENGINE_INIT), ["SYS_ADMIN", "WAKE_ALARM"]);
    }
}
