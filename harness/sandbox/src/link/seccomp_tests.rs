//! Installs the programs in forked children and tries calls there.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

/// What became of a call in a child under the filter.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Answer {
    Value(i64),
    Errno(i32),
    Killed(i32),
}

/// What a command has installed in the end.
fn all(ownership: Ownership) -> Vec<Vec<u8>> {
    let programs = programs(ownership);
    [programs.first, programs.commands].concat()
}

/// Forks, installs the programs, makes one call and reports what it gave. Nothing in the child allocates.
fn attempt(ownership: Ownership, call: i64, args: [u64; 4]) -> Answer {
    let programs = all(ownership);
    let loaded: Vec<libc::sock_fprog> = programs
        .iter()
        .map(|bytes| libc::sock_fprog {
            len: (bytes.len() / INSTRUCTION_BYTES) as u16,
            filter: bytes.as_ptr() as *mut libc::sock_filter,
        })
        .collect();
    let (mut reader, writer) = std::io::pipe().unwrap();
    use std::os::fd::AsRawFd;
    let out = writer.as_raw_fd();
    // SAFETY: the child only makes system calls on memory that the parent prepared, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: as above; every pointer is into the parent's copied memory.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            for program in &loaded {
                if libc::prctl(libc::PR_SET_SECCOMP, 2, program as *const libc::sock_fprog) != 0 {
                    libc::_exit(99);
                }
            }
            let value = libc::syscall(call, args[0], args[1], args[2], args[3], 0_u64);
            let pair = [value, i64::from(*libc::__errno_location())];
            libc::write(out, pair.as_ptr().cast(), 16);
            libc::_exit(0);
        }
    }
    drop(writer);
    let mut pair = [0_u8; 16];
    let got = std::io::Read::read_exact(&mut reader, &mut pair);
    let mut status = 0;
    // SAFETY: our own child, once.
    unsafe { libc::waitpid(child, &mut status, 0) };
    if libc::WIFSIGNALED(status) {
        return Answer::Killed(libc::WTERMSIG(status));
    }
    assert_eq!(libc::WEXITSTATUS(status), 0, "the filter could not be installed");
    got.unwrap();
    let value = i64::from_ne_bytes(pair[..8].try_into().unwrap());
    let errno = i64::from_ne_bytes(pair[8..].try_into().unwrap());
    if value == -1 { Answer::Errno(errno as i32) } else { Answer::Value(value) }
}

fn real(call: i64, args: [u64; 4]) -> Answer {
    attempt(Ownership::Real, call, args)
}

#[test]
fn seccomp_allows_ordinary_calls() {
    assert!(matches!(real(libc::SYS_getpid, [0; 4]), Answer::Value(1..)));
    assert!(matches!(real(libc::SYS_socket, [1, 1, 0, 0]), Answer::Value(0..)));
    assert!(matches!(real(libc::SYS_socket, [2, 1, 0, 0]), Answer::Value(0..)));
    assert!(matches!(real(libc::SYS_memfd_create, [c"x".as_ptr() as u64, 0, 0, 0]), Answer::Value(0..)));
    assert_eq!(real(libc::SYS_ptrace, [libc::PTRACE_TRACEME as u64, 0, 0, 0]), Answer::Value(0));
    assert_eq!(real(libc::SYS_personality, [0xffff_ffff, 0, 0, 0]), Answer::Value(0));
    // A fork: the child of the child leaves by the same door, so the pipe gets either of two numbers.
    assert!(matches!(real(libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0]), Answer::Value(0..)));
}

#[test]
fn seccomp_refuses_namespaces_by_every_door() {
    for flag in [0x2_0000_u64, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        let answer = real(libc::SYS_clone, [flag | libc::SIGCHLD as u64, 0, 0, 0]);
        assert_eq!(answer, Answer::Errno(libc::EPERM), "clone with {flag:#x}");
        assert_eq!(real(libc::SYS_unshare, [flag, 0, 0, 0]), Answer::Errno(libc::EPERM), "{flag:#x}");
    }
    assert_eq!(real(libc::SYS_clone3, [0, 0, 0, 0]), Answer::Errno(libc::ENOSYS));
    assert_eq!(real(libc::SYS_setns, [0, 0, 0, 0]), Answer::Errno(libc::EPERM));
}

#[test]
fn seccomp_refuses_what_reaches_the_host() {
    for call in [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_fsconfig,
        libc::SYS_mount_setattr,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_open_by_handle_at,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_sethostname,
        libc::SYS_syslog,
        libc::SYS_quotactl,
        libc::SYS_acct,
        libc::SYS_fanotify_init,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
    ] {
        assert_eq!(real(call, [0; 4]), Answer::Errno(libc::EPERM), "call {call}");
    }
    assert_eq!(real(libc::SYS_socket, [40, 1, 0, 0]), Answer::Errno(libc::EPERM), "AF_VSOCK");
    assert_eq!(real(libc::SYS_socket, [38, 5, 0, 0]), Answer::Errno(libc::EPERM), "AF_ALG");
    // The kernel takes the family as `int`: high bits must not hide it, in neither direction.
    assert_eq!(real(libc::SYS_socket, [1 << 32 | 40, 1, 0, 0]), Answer::Errno(libc::EPERM));
    assert_eq!(real(libc::SYS_personality, [0x4_0000, 0, 0, 0]), Answer::Errno(libc::EPERM));
}

#[test]
fn seccomp_knows_no_younger_and_no_x32_calls() {
    assert_eq!(real(YOUNGEST + 1, [0; 4]), Answer::Errno(libc::ENOSYS));
    assert_eq!(real(0x4000_0000 | libc::SYS_getpid, [0; 4]), Answer::Errno(libc::ENOSYS));
    assert_eq!(real(0x4000_0000 | 520, [0; 4]), Answer::Errno(libc::ENOSYS));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn seccomp_ends_a_process_that_calls_through_the_32_bit_table() {
    let programs = all(Ownership::Real);
    // SAFETY: as in `attempt`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: as in `attempt`; `int 0x80` with getpid's 32-bit number touches only eax.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            for bytes in &programs {
                let program = libc::sock_fprog {
                    len: (bytes.len() / INSTRUCTION_BYTES) as u16,
                    filter: bytes.as_ptr() as *mut libc::sock_filter,
                };
                if libc::prctl(libc::PR_SET_SECCOMP, 2, &program as *const libc::sock_fprog) != 0 {
                    libc::_exit(99);
                }
            }
            let mut number: i32 = 20;
            std::arch::asm!("int 0x80", inout("eax") number);
            libc::_exit(if number == -libc::ENOSYS { 42 } else { 0 });
        }
    }
    let mut status = 0;
    // SAFETY: our own child, once.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS, "{status:#x}");
}

#[test]
fn seccomp_pretends_ownership_only_when_asked() {
    let path = c"/proc/self/definitely-not-here".as_ptr() as u64;
    let fchownat = [libc::AT_FDCWD as u64, path, 7, 7];
    assert_eq!(attempt(Ownership::Pretended, libc::SYS_fchownat, fchownat), Answer::Value(0));
    assert_eq!(real(libc::SYS_fchownat, fchownat), Answer::Errno(libc::ENOENT));
    for call in PRETENDED.iter().chain(PRETENDED_ON_ARCH) {
        assert_eq!(attempt(Ownership::Pretended, *call, [4711; 4]), Answer::Value(0), "call {call}");
    }
    // The other two programs still hold.
    assert_eq!(attempt(Ownership::Pretended, libc::SYS_mount, [0; 4]), Answer::Errno(libc::EPERM));
    assert_eq!(attempt(Ownership::Pretended, libc::SYS_clone3, [0; 4]), Answer::Errno(libc::ENOSYS));
    assert!(matches!(attempt(Ownership::Pretended, libc::SYS_getuid, [0; 4]), Answer::Value(_)));
}

#[test]
fn seccomp_programs_fit_the_kernel() {
    for ownership in [Ownership::Real, Ownership::Pretended] {
        let programs = all(ownership);
        assert_eq!(programs.len(), 2);
        for program in programs {
            assert_eq!(program.len() % INSTRUCTION_BYTES, 0);
            assert!(program.len() / INSTRUCTION_BYTES <= 4096);
        }
    }
}

/// What a program answers for a call, as the kernel would work it out.
fn interpret(program: &[libc::sock_filter], number: u32, argument: u32) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    for _ in 0..program.len() {
        let now = program[at];
        let holds = match now.code {
            LOAD => {
                accumulator = match now.k {
                    NUMBER => number,
                    ARCHITECTURE => NATIVE,
                    FIRST_ARGUMENT => argument,
                    other => panic!("offset {other}"),
                };
                at += 1;
                continue;
            }
            GO => {
                at += 1 + now.k as usize;
                continue;
            }
            RETURN => return now.k,
            IF_EQUAL => accumulator == now.k,
            IF_GREATER => accumulator > now.k,
            IF_AT_LEAST => accumulator >= now.k,
            IF_ANY_BIT => accumulator & now.k != 0,
            other => panic!("code {other}"),
        };
        at += 1 + usize::from(if holds { now.jt } else { now.jf });
    }
    panic!("no end");
}

#[test]
fn seccomp_list_allows_exactly_what_it_names() {
    let program = allow_list();
    let named = [ALLOWED, ALLOWED_YOUNG, ALLOWED_ON_ARCH, FIRST_ONLY].concat();
    let asked = [libc::SYS_clone, libc::SYS_socket, libc::SYS_socketpair, libc::SYS_personality];
    for number in (0..2000).chain(0x4000_0000..0x4000_0400).chain([u32::MAX]) {
        if asked.contains(&i64::from(number)) {
            continue;
        }
        let expected = if named.contains(&i64::from(number)) { libc::SECCOMP_RET_ALLOW } else { REFUSED };
        assert_eq!(interpret(&program, number, 0), expected, "call {number}");
    }
    let answer = |call: i64, argument| interpret(&program, call as u32, argument);
    assert_eq!(answer(libc::SYS_clone, libc::SIGCHLD as u32), libc::SECCOMP_RET_ALLOW);
    for bit in (0..32).filter(|bit| NAMESPACE_FLAGS & (1 << bit) != 0) {
        assert_eq!(answer(libc::SYS_clone, 1 << bit), REFUSED);
    }
    for family in 0..64 {
        let expected = if SOCKET_FAMILIES.contains(&family) { libc::SECCOMP_RET_ALLOW } else { REFUSED };
        assert_eq!(answer(libc::SYS_socket, family), expected, "family {family}");
        assert_eq!(answer(libc::SYS_socketpair, family), expected, "family {family}");
    }
    assert_eq!(answer(libc::SYS_personality, 0x0040_0000), REFUSED);
}
