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

/// Whether we are root with root's rights over mounts; root in a container often is not.
pub(crate) fn are_roots() -> bool {
    rustix::process::geteuid().is_root() && effective() & SYS_ADMIN != 0
}

fn effective() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}
