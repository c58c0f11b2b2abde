//! What lies between a new process and its command, as a list of system calls: put together by PID 1 and gone through by a child
//! that shares PID 1's memory, which spares the copy of it that a fork makes. So nothing here that runs in the child allocates,
//! panics or touches `errno`.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};

use harness_guest::message::{Exec, Failure};
use harness_guest::sys;

use crate::exec::Surroundings;
use crate::kill;
use crate::users::Account;

/// The status of a process that never became its command; told to nobody.
const NEVER: usize = 127;

/// A command that is ready to go. Must live until its process became it or ended.
pub(crate) struct Launch {
    steps: Vec<Step>,
    /// What the steps point into.
    strings: Vec<CString>,
    tables: Vec<Box<[usize]>>,
    stack: Box<MaybeUninit<[u128; 1024]>>,
    /// Where the child says what failed.
    reporter: RawFd,
    cwd: String,
    program: String,
}

/// A system call.
struct Step {
    number: libc::c_long,
    arguments: [usize; 5],
    otherwise: Otherwise,
}

/// What to do when it fails.
#[derive(Clone, Copy)]
enum Otherwise {
    /// Nothing.
    GoOn,
    /// Give up: it is the host's failure.
    Host(&'static str),
    /// Give up: the sandbox has no such folder.
    Folder,
    /// Try the next one, unless this one is there.
    NextProgram,
}

/// Which step failed, and the kernel's number for why.
#[derive(Clone, Copy)]
pub(crate) struct Stumble {
    step: u8,
    errno: u8,
}

impl Launch {
    /// Everything that a process of ours does to become a command of this account.
    ///
    /// # Errors
    /// A reason for people, where a name cannot be a name.
    pub(crate) fn new(
        call: u32,
        exec: &Exec,
        streams: [RawFd; 3],
        account: &Account,
        around: &Surroundings<'_>,
    ) -> Result<Launch, String> {
        let mut launch = Launch {
            steps: Vec::new(),
            strings: Vec::new(),
            tables: Vec::new(),
            stack: Box::new_uninit(),
            reporter: -1,
            cwd: String::from_utf8_lossy(&exec.cwd).into_owned(),
            program: String::from_utf8_lossy(&exec.argv[0]).into_owned(),
        };
        launch.signals();
        launch.session(exec, streams, around);
        launch.brand(call);
        let cwd = launch.string(&exec.cwd)?;
        launch.step(libc::SYS_chdir, [cwd], Otherwise::Folder);
        if let Some(count) = around.nproc {
            let limit = launch.table([count as usize; 2]);
            let what = [0, libc::RLIMIT_NPROC as usize, limit, 0];
            launch.step(libc::SYS_prlimit64, what, Otherwise::GoOn);
        }
        launch.rights(account, around);
        for filter in &around.basis.filters {
            launch.filter(filter);
        }
        launch.program(exec, account)?;
        Ok(launch)
    }

    fn step<const COUNT: usize>(
        &mut self,
        number: libc::c_long,
        given: [usize; COUNT],
        otherwise: Otherwise,
    ) {
        let mut arguments = [0; 5];
        arguments[..COUNT].copy_from_slice(&given);
        self.steps.push(Step { number, arguments, otherwise });
    }

    /// Keeps some words; returns where they are.
    fn table(&mut self, words: impl Into<Vec<usize>>) -> usize {
        let table = words.into().into_boxed_slice();
        let at = table.as_ptr() as usize;
        self.tables.push(table);
        at
    }

    /// Keeps a string; returns where it is.
    fn string(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let string =
            sys::c_string(bytes).map_err(|_| format!("a NUL in {:?}", String::from_utf8_lossy(bytes)))?;
        let at = string.as_ptr() as usize;
        self.strings.push(string);
        Ok(at)
    }

    fn signals(&mut self) {
        // Handler, flags, restorer, mask: all of none. std ignores SIGPIPE; nothing else is changed in PID 1 but the mask.
        let default = self.table([0; 4]);
        let set_bytes = size_of::<u64>();
        let what = [libc::SIGPIPE as usize, default, 0, set_bytes];
        self.step(libc::SYS_rt_sigaction, what, Otherwise::GoOn);
        let what = [libc::SIG_SETMASK as usize, default, 0, set_bytes];
        self.step(libc::SYS_rt_sigprocmask, what, Otherwise::GoOn);
    }

    fn session(&mut self, exec: &Exec, streams: [RawFd; 3], around: &Surroundings<'_>) {
        for file in around.commands_groups {
            let what = [file.as_raw_fd() as usize, c"0".as_ptr() as usize, 1];
            self.step(libc::SYS_write, what, Otherwise::Host("join a cgroup"));
        }
        self.step(libc::SYS_setsid, [], Otherwise::GoOn);
        if exec.pty.is_some() {
            let what = [streams[0] as usize, libc::TIOCSCTTY as usize, 0];
            self.step(libc::SYS_ioctl, what, Otherwise::Host("take the terminal"));
        }
        for (number, fd) in streams.into_iter().enumerate() {
            // None of them has its number already: PID 1's own first three are taken.
            let what = [fd as usize, number, 0];
            self.step(libc::SYS_dup3, what, Otherwise::Host("put a stream in its place"));
        }
        // All of PID 1's are close-on-exec; this is for the one that somebody forgets.
        let what = [3, u32::MAX as usize, libc::CLOSE_RANGE_CLOEXEC as usize];
        self.step(libc::SYS_close_range, what, Otherwise::GoOn);
    }

    /// See [`kill`]. Where the host set a lower limit this fails and the session must do.
    fn brand(&mut self, call: u32) {
        let limit = self.table([kill::brand(call) as usize; 2]);
        let what = [0, libc::RLIMIT_RTTIME as usize, limit, 0];
        self.step(libc::SYS_prlimit64, what, Otherwise::GoOn);
    }

    fn rights(&mut self, account: &Account, around: &Surroundings<'_>) {
        let basis = around.basis;
        let extra = if around.view.is_some() { basis.view_capabilities } else { 0 };
        let bounding = basis.capabilities | extra;
        // Who has nothing to give away gains nothing from it: an engine may have started us without rights.
        let bound = match basis.capabilities {
            0 => Otherwise::GoOn,
            _ => Otherwise::Host("drop a capability"),
        };
        // The others are gone since PID 1 began.
        let too_many = basis.view_capabilities & !bounding;
        for capability in (0..64).filter(|number| too_many & (1 << number) != 0) {
            self.step(libc::SYS_prctl, [libc::PR_CAPBSET_DROP as usize, capability], bound);
        }
        let keep = usize::from(extra != 0);
        self.step(libc::SYS_prctl, [libc::PR_SET_KEEPCAPS as usize, keep], Otherwise::GoOn);
        let kept = if account.uid == 0 { bounding } else { extra };
        let inheritable = if account.uid == 0 { 0 } else { extra };
        if account.uid != 0 || account.gid != 0 || !account.groups.is_empty() {
            let halves: Vec<usize> = packed(&account.groups);
            let groups = self.table(halves);
            let (uid, gid) = (account.uid as usize, account.gid as usize);
            // Where `setgroups` is denied altogether, there is only one id, and changing to another fails just below.
            self.step(libc::SYS_setgroups, [account.groups.len(), groups], Otherwise::GoOn);
            self.step(libc::SYS_setresgid, [gid; 3], Otherwise::Host(NO_SUCH_ID));
            self.step(libc::SYS_setresuid, [uid; 3], Otherwise::Host(NO_SUCH_ID));
        }
        self.capabilities(kept, inheritable);
        if inheritable != 0 {
            let number = inheritable.trailing_zeros() as usize;
            let what = [libc::PR_CAP_AMBIENT as usize, libc::PR_CAP_AMBIENT_RAISE as usize, number, 0, 0];
            self.step(libc::SYS_prctl, what, Otherwise::Host("keep the view's capability"));
        }
    }

    fn capabilities(&mut self, kept: u64, inheritable: u64) {
        const VERSION_3: u32 = 0x2008_0522;
        let (low, high) = (kept as u32, (kept >> 32) as u32);
        // The layouts of `__user_cap_header_struct` and of two `__user_cap_data_struct`.
        let header = self.table(packed(&[VERSION_3, 0]));
        let sets = [low, low, inheritable as u32, high, high, (inheritable >> 32) as u32];
        let data = self.table(packed(&sets));
        self.step(libc::SYS_capset, [header, data], Otherwise::Host("set capabilities"));
    }

    fn filter(&mut self, filter: &[u8]) {
        let words = filter_words(filter);
        let length = words.len();
        let words = self.table(words);
        // `sock_fprog`: a short, and after its padding a pointer.
        let program = self.table([length, words]);
        let what = [libc::SECCOMP_SET_MODE_FILTER as usize, 0, program];
        self.step(libc::SYS_seccomp, what, Otherwise::Host("install the system call filter"));
    }

    fn program(&mut self, exec: &Exec, account: &Account) -> Result<(), String> {
        let argv = self.list(exec.argv.iter().map(Vec::as_slice))?;
        // For root the image says it; who else it is, only the sandbox's own accounts say.
        let home = (!exec.user.is_empty() && !exec.env.iter().any(|pair| pair.starts_with(b"HOME=")))
            .then(|| [b"HOME=", &account.home[..]].concat());
        let envp = self.list(exec.env.iter().chain(&home).map(Vec::as_slice))?;
        for candidate in candidates(exec) {
            let path = self.string(&candidate)?;
            self.step(libc::SYS_execve, [path, argv, envp], Otherwise::NextProgram);
        }
        Ok(())
    }

    fn list<'a>(&mut self, strings: impl Iterator<Item = &'a [u8]>) -> Result<usize, String> {
        let mut pointers = strings.map(|string| self.string(string)).collect::<Result<Vec<_>, _>>()?;
        pointers.push(0);
        Ok(self.table(pointers))
    }

    /// Starts the process that becomes the command. It reports with one [`Stumble`] if it does not, and closes `reporter` either
    /// way.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn start(&mut self, reporter: RawFd) -> io::Result<libc::pid_t> {
        self.reporter = reporter;
        let top = self.stack.as_mut_ptr().wrapping_add(1);
        // SAFETY: the stack is the launch's own, aligned to 16 bytes, and lives like the launch, which the caller keeps until the
        // child let go of this memory. The child only reads what it is given.
        sys::check(unsafe {
            libc::clone(
                child,
                top.cast(),
                libc::CLONE_VM | libc::SIGCHLD,
                (&raw const *self).cast_mut().cast(),
            )
        })
    }

    /// Goes through the steps. Comes back only with what stopped it.
    pub(crate) fn go(&self) -> Stumble {
        let mut denied = false;
        let mut last = 0;
        for step in &self.steps {
            // SAFETY: each step's arguments are numbers, or point into what `self` keeps.
            let errno = match unsafe { call(step.number, step.arguments) } {
                result if result >= 0 => 0,
                result => -result,
            };
            let there = errno != libc::ENOENT as isize && errno != libc::ENOTDIR as isize;
            match step.otherwise {
                Otherwise::Host(_) | Otherwise::Folder if errno != 0 => return Stumble::at(last, errno),
                Otherwise::NextProgram if errno == libc::EACCES as isize => denied = true,
                Otherwise::NextProgram if there => return Stumble::at(last, errno),
                _ => {}
            }
            last += 1;
        }
        Stumble::at(last, if denied { libc::EACCES } else { libc::ENOENT } as isize)
    }

    /// Whose failure it was, in words.
    pub(crate) fn explain(&self, stumble: Stumble) -> (Failure, String) {
        let error = io::Error::from_raw_os_error(i32::from(stumble.errno));
        let program = &self.program;
        match self.steps.get(usize::from(stumble.step)).map(|step| step.otherwise) {
            Some(Otherwise::Host(NO_SUCH_ID)) => (Failure::Inside, format!("{NO_SUCH_ID}: {error}")),
            Some(Otherwise::Host(what)) => (Failure::Host, format!("{what}: {error}")),
            Some(Otherwise::Folder) => (Failure::Inside, format!("cannot enter {}: {error}", self.cwd)),
            None if i32::from(stumble.errno) == libc::ENOENT => {
                (Failure::Inside, format!("command not found: {program}"))
            }
            _ => (Failure::Inside, format!("cannot run {program}: {error}")),
        }
    }
}

const NO_SUCH_ID: &str = "cannot become that user (this sandbox may have no ids but root's)";

impl Stumble {
    fn at(step: u8, errno: isize) -> Stumble {
        Stumble { step, errno: errno as u8 }
    }

    /// As it is reported.
    pub(crate) fn from_report(report: &[u8]) -> Option<Stumble> {
        match report {
            [b'S', step, errno] => Some(Stumble { step: *step, errno: *errno }),
            _ => None,
        }
    }
}

extern "C" fn child(launch: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `start` passes a launch that outlives this process, or at least its use of this memory.
    let launch = unsafe { &*launch.cast::<Launch>() };
    let Stumble { step, errno } = launch.go();
    let report = [b'S', step, errno];
    // SAFETY: pointer and length belong to one array; the second call never returns.
    unsafe {
        call(libc::SYS_write, [launch.reporter as usize, report.as_ptr() as usize, report.len(), 0, 0]);
        call(libc::SYS_exit_group, [NEVER, 0, 0, 0, 0]);
    }
    0
}

/// Numbers of 32 bits, side by side as C has them.
fn packed(numbers: &[u32]) -> Vec<usize> {
    const { assert!(size_of::<usize>() == 8 && cfg!(target_endian = "little")) };
    let pair = |pair: &[u32]| pair[0] as usize | (*pair.get(1).unwrap_or(&0) as usize) << 32;
    numbers.chunks(2).map(pair).collect()
}

/// A filter's records of eight bytes, aligned as the kernel wants to read them.
pub(crate) fn filter_words(filter: &[u8]) -> Vec<usize> {
    filter
        .chunks_exact(8)
        .map(|record| usize::from_ne_bytes(record.try_into().expect("chunks are of eight bytes")))
        .collect()
}

fn candidates(exec: &Exec) -> Vec<Vec<u8>> {
    let program = &exec.argv[0];
    if program.contains(&b'/') {
        return vec![program.clone()];
    }
    if program.is_empty() {
        return Vec::new();
    }
    let path = exec.env.iter().rev().find_map(|pair| pair.strip_prefix(b"PATH=")).unwrap_or(b"/usr/bin:/bin");
    path.split(|byte| *byte == b':')
        // A step's number is told in one byte.
        .take(128)
        .map(|folder| {
            let folder = if folder.is_empty() { &b"."[..] } else { folder };
            [folder, b"/", program].concat()
        })
        .collect()
}

/// A system call that leaves `errno` alone: the child shares it with PID 1.
///
/// # Safety
/// As for the call itself.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    let result;
    // SAFETY: the kernel's convention; what the call does to memory is the caller's affair.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// As above.
///
/// # Safety
/// As for the call itself.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    let result;
    // SAFETY: the kernel's convention; what the call does to memory is the caller's affair.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack)
        );
    }
    result
}
