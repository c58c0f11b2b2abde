//! Which system calls work inside: an allow-list with the reach of a container engine's default profile for a container
//! without extra capabilities, made into programs that the guest installs in order before it starts anything.

use libc::sock_filter;

/// Whether files inside can have owners other than root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// A range of ids is mapped: calls that change owners do what they say.
    Real,
    /// One id is mapped: calls that change owners or ids are answered with success and do nothing, because package managers
    /// and `tar` give up otherwise. `su` stays root, and owners read back as root.
    Pretended,
}

/// The programs, each the bytes of its `sock_filter`s in the byte order of this machine, for
/// `seccomp(SECCOMP_SET_MODE_FILTER)` after `no_new_privs`.
///
/// The kernel asks all of them and takes the strictest answer; among errors the one installed last wins. Installing one costs
/// its translation, some hundred microseconds for the long list: so PID 1 installs that one once and everything inherits it,
/// and each command only adds the short one that takes away what PID 1 alone needs.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// For PID 1, first to last.
    pub(crate) first: Vec<Vec<u8>>,
    /// For each command, over those.
    pub(crate) commands: Vec<Vec<u8>>,
}

/// See [`Programs`].
pub(crate) fn programs(ownership: Ownership) -> Programs {
    Programs { first: vec![bytes_of(&allow_list())], commands: vec![bytes_of(&commands(ownership))] }
}

/// Length of one instruction in [`programs`]' bytes.
pub(crate) const INSTRUCTION_BYTES: usize = 8;

fn bytes_of(program: &[sock_filter]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * INSTRUCTION_BYTES);
    for instruction in program {
        bytes.extend_from_slice(&instruction.code.to_ne_bytes());
        bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
        bytes.extend_from_slice(&instruction.k.to_ne_bytes());
    }
    bytes
}

/// Everything that is not named gets EPERM. Calls through another architecture's table (32-bit, for one) end the process;
/// x32 numbers are in no list, since they carry a bit of their own.
///
/// The plain calls are found by bisection. When a filter is installed the kernel tries it with every number that there is: a
/// list that is gone through from its beginning (1,600 instructions) took it 0.7 ms, for every sandbox.
fn allow_list() -> Vec<sock_filter> {
    let mut program = vec![
        step(LOAD, 0, 0, ARCHITECTURE),
        step(IF_EQUAL, 1, 0, NATIVE),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(LOAD, 0, 0, NUMBER),
        step(IF_EQUAL, 0, 4, libc::SYS_clone as u32),
        step(LOAD, 0, 0, FIRST_ARGUMENT),
        step(IF_ANY_BIT, 0, 1, NAMESPACE_FLAGS),
        step(RETURN, 0, 0, REFUSED),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    for (call, values) in [
        (libc::SYS_socket, SOCKET_FAMILIES),
        (libc::SYS_socketpair, SOCKET_FAMILIES),
        (libc::SYS_personality, PERSONALITIES),
    ] {
        program.push(step(IF_EQUAL, 0, values.len() as u8 * 2 + 2, call as u32));
        // The kernel takes these arguments as 32 bits.
        program.push(step(LOAD, 0, 0, FIRST_ARGUMENT));
        for value in values {
            program.push(step(IF_EQUAL, 0, 1, *value));
            program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
        }
        program.push(step(RETURN, 0, 0, REFUSED));
    }
    program.extend(bisection(&ranges()));
    program
}

/// The numbers of the plainly allowed calls as ranges, first and last included.
fn ranges() -> Vec<(u32, u32)> {
    let mut calls: Vec<u32> = [ALLOWED, ALLOWED_YOUNG, ALLOWED_ON_ARCH, FIRST_ONLY]
        .concat()
        .into_iter()
        .map(|call| u32::try_from(call).expect("the kernel's numbers are small"))
        .collect();
    calls.sort_unstable();
    calls.dedup();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for call in calls {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == call => *last = call,
            _ => ranges.push((call, call)),
        }
    }
    ranges
}

fn bisection(ranges: &[(u32, u32)]) -> Vec<sock_filter> {
    if let [(first, last)] = ranges {
        return vec![
            step(IF_AT_LEAST, 0, 2, *first),
            step(IF_GREATER, 1, 0, *last),
            step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
            step(RETURN, 0, 0, REFUSED),
        ];
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (pivot, low, high) = (high[0].0, bisection(low), bisection(high));
    // Conditional jumps reach 255 instructions; the plain one reaches all.
    let mut program = vec![step(IF_AT_LEAST, 0, 1, pivot), step(GO, 0, 0, low.len() as u32)];
    program.extend(low);
    program.extend(high);
    program
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const IF_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const GO: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Offsets in `seccomp_data`; of the argument, the half that counts on a little-endian machine.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
/// `AUDIT_ARCH_*` of this processor.
const NATIVE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// What commands must not do although PID 1 may, and what is only pretended to them. `clone3`, whose flags lie behind a pointer
/// that a filter cannot follow, and every call younger than the list do not exist: C libraries try the older call after
/// ENOSYS, and give up after EPERM. The list before has seen to the processor's other tables. By hand, since it compares
/// ranges and has more than one answer.
fn commands(ownership: Ownership) -> Vec<sock_filter> {
    let mut program = vec![step(LOAD, 0, 0, 0)];
    let mut answer = |calls: &[i64], error: i32| {
        for call in calls {
            program.push(step(IF_EQUAL, 0, 1, *call as u32));
            program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | error as u32));
        }
    };
    answer(FIRST_ONLY, libc::EPERM);
    if ownership == Ownership::Pretended {
        answer(PRETENDED, 0);
        answer(PRETENDED_ON_ARCH, 0);
    }
    answer(&[libc::SYS_clone3], libc::ENOSYS);
    program.extend([
        step(IF_GREATER, 0, 1, YOUNGEST as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]);
    program
}

/// The youngest call that was considered for the list (`mseal`, Linux 6.10; the number is the same everywhere).
const YOUNGEST: i64 = 462;

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID`, `NEWNET`. (`NEWTIME` cannot be asked of `clone`.)
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;

/// `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`. Left out: what reaches the host past its network namespace (`AF_VSOCK`),
/// and the families whose only guests have been exploits (`AF_ALG`, `AF_RDS`, `AF_TIPC`, …).
const SOCKET_FAMILIES: &[u32] = &[1, 2, 10, 16];

/// `PER_LINUX`, `PER_LINUX32`, `UNAME26`, both, and "only ask". Not `ADDR_NO_RANDOMIZE`, which weakens what it runs.
const PERSONALITIES: &[u32] = &[0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// What PID 1 does for commands and to make views, and nothing else may.
const FIRST_ONLY: &[i64] =
    calls!(SYS_setns SYS_unshare SYS_mount SYS_umount2 SYS_pivot_root SYS_open_tree SYS_move_mount);

/// Plainly allowed on every processor. Left out on purpose: namespaces and mounts, other people's keys (`keyctl`), `bpf`,
/// `perf_event_open`, `userfaultfd`, `io_uring` (its work passes no filter), modules, clocks, swap, quotas, the kernel's
/// log, and opening by handle. `ptrace` is allowed: debuggers work, and it reaches no process outside.
const ALLOWED: &[i64] = calls!(
    SYS_accept SYS_accept4 SYS_adjtimex SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_chroot
    SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect
    SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2
    SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate
    SYS_fanotify_mark SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync
    SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate
    SYS_futex SYS_futex_waitv SYS_get_robust_list SYS_getcpu SYS_getcwd
    SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid
    SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_getrusage SYS_getsid
    SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr SYS_inotify_add_watch
    SYS_inotify_init1 SYS_inotify_rm_watch SYS_io_cancel SYS_io_destroy SYS_io_getevents SYS_io_setup
    SYS_io_submit SYS_ioctl SYS_ioprio_get SYS_ioprio_set SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset
    SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr SYS_llistxattr SYS_lremovexattr SYS_lseek
    SYS_lsetxattr SYS_madvise SYS_membarrier SYS_memfd_create SYS_memfd_secret SYS_mincore SYS_mkdirat SYS_mknodat
    SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open
    SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink SYS_mremap SYS_mseal SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd
    SYS_msync SYS_munlock SYS_munlockall SYS_munmap SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_openat
    SYS_openat2 SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_ppoll
    SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_process_mrelease SYS_process_vm_readv
    SYS_process_vm_writev SYS_pselect6 SYS_ptrace SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead
    SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages SYS_removexattr SYS_renameat
    SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo
    SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_get_priority_max
    SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam SYS_sched_getscheduler
    SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam SYS_sched_setscheduler
    SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget SYS_semop SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg
    SYS_sendto SYS_set_robust_list SYS_set_tid_address SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer
    SYS_setpgid SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_setrlimit SYS_setsid
    SYS_setsockopt SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown SYS_sigaltstack
    SYS_signalfd4 SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync SYS_sync_file_range SYS_syncfs SYS_sysinfo
    SYS_tee SYS_tgkill SYS_timer_create SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime
    SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_uname
    SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev
);

/// `cachestat`, `fchmodat2`, `map_shadow_stack`, `futex_wake`, `futex_wait`, `futex_requeue`: too young for the C library's table; since
/// 424 a number is the same on every processor.
const ALLOWED_YOUNG: &[i64] = &[451, 452, 453, 454, 455, 456];

/// The old spellings, which only x86_64 has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_ON_ARCH: &[i64] = calls!(
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_wait SYS_eventfd
    SYS_fork SYS_futimesat SYS_get_thread_area SYS_getdents SYS_getpgrp SYS_inotify_init SYS_lchown SYS_link SYS_lstat
    SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_rmdir SYS_select
    SYS_set_thread_area SYS_signalfd SYS_stat SYS_symlink SYS_time SYS_unlink SYS_utime SYS_utimes SYS_vfork

);
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_ON_ARCH: &[i64] = &[];

/// What does nothing and succeeds with [`Ownership::Pretended`].
const PRETENDED: &[i64] = calls!(
    SYS_fchown SYS_fchownat SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setregid SYS_setresgid SYS_setresuid
    SYS_setreuid SYS_setuid
);
#[cfg(target_arch = "x86_64")]
const PRETENDED_ON_ARCH: &[i64] = calls!(SYS_chown SYS_lchown);
#[cfg(not(target_arch = "x86_64"))]
const PRETENDED_ON_ARCH: &[i64] = &[];

#[cfg(test)]
#[path = "seccomp_tests.rs"]
mod tests;
