//! Being PID 1 where another program made the sandbox: a socket in a folder that the host shows us, instead of one handed down.
//!
//! The first who connects, before anything else runs, is the host, and brings a secret. After that nobody gets in but a
//! successor with the same secret. Whatever else connects (the sandbox's own processes may find the socket) gets nothing
//! and costs nothing: a few candidates at a time, each for a short time, none of them waited for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use harness_guest::message::{Failure, Reply, Request, SECRET_BYTES};
use harness_guest::{socket, sys};

use crate::arrive::{Held, arrive};
use crate::{exec, init};

/// Candidates at a time; the next one waits in the kernel's queue.
const MOST: usize = 4;
/// How long one may take to show its secret.
const PATIENCE_MS: u64 = 2000;
/// The kernel's queue.
const BACKLOG: libc::c_int = 8;

/// The socket, and who stands before it.
pub(crate) struct Door {
    listener: OwnedFd,
    secret: [u8; SECRET_BYTES],
    candidates: Vec<(OwnedFd, u64)>,
    /// How long to wait for a successor.
    pub(crate) linger_ms: u64,
}

/// What a PID 1 has that somebody else's sandbox was made around.
pub(crate) struct Behind {
    pub(crate) door: Door,
    pub(crate) held: Option<Held>,
}

/// Waits for the host at `path`, then serves it as PID 1. Comes back only with an error.
pub(crate) fn run(path: &Path) -> io::Result<()> {
    // SAFETY: plain getpid.
    if unsafe { libc::getpid() } != 1 {
        return Err(io::Error::other("not PID 1 of a process namespace"));
    }
    // Not where the image says: what is mounted there could not be let go of.
    std::env::set_current_dir("/")?;
    let listener = OwnedFd::from(UnixListener::bind(path)?);
    // Who may reach the folder may knock: the host need not be root.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    // SAFETY: plain calls on our own descriptor; `listen` again only shortens the queue.
    unsafe {
        sys::check(libc::listen(listener.as_raw_fd(), BACKLOG))?;
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    let (control, secret, arrival) = loop {
        let control = accept(&listener, 0)?;
        if let Some(frame) = socket::receive(control.as_fd())?
            && let Ok(Request::Arrive { secret, arrival }) = Request::decode(&frame.body)
        {
            break (control, secret, arrival);
        }
    };
    let (basis, held) = match arrive(&arrival) {
        Ok(arrived) => arrived,
        Err(trouble) => {
            let reply = Reply::Failed { call: 0, kind: Failure::Host, message: trouble.to_string() };
            socket::send(control.as_fd(), &reply.encode(), &[])?;
            return Err(trouble.source);
        }
    };
    // SAFETY: plain fcntl on our own descriptor.
    sys::check(unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
    exec::bound(&basis)?;
    basis.first_filters.iter().try_for_each(|filter| exec::install(filter))?;
    let door = Door { listener, secret, candidates: Vec::new(), linger_ms: arrival.linger_ms };
    init::run_behind(&basis, control, Behind { door, held })
}

fn accept(listener: &OwnedFd, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no address is asked for; the new descriptor gets its owner at once.
    unsafe {
        let fd = sys::check(libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC | flags,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

impl Door {
    /// What to poll: the socket while there is room, and the candidates.
    pub(crate) fn descriptors(&self) -> Vec<i32> {
        let listener = if self.candidates.len() < MOST { self.listener.as_raw_fd() } else { -1 };
        [listener].into_iter().chain(self.candidates.iter().map(|(fd, _)| fd.as_raw_fd())).collect()
    }

    /// Descriptors that must be kept open.
    pub(crate) fn listener(&self) -> i32 {
        self.listener.as_raw_fd()
    }

    /// When a candidate's time is over.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.candidates.iter().map(|(_, deadline)| *deadline).min()
    }

    /// Looks at those that are `ready`, as [`Door::descriptors`] listed them; the successor when one has shown the secret.
    pub(crate) fn look(&mut self, ready: &[bool]) -> Option<OwnedFd> {
        let now = sys::now_ms();
        let mut successor = None;
        let mut index = 0;
        self.candidates.retain_mut(|(candidate, deadline)| {
            index += 1;
            if !ready.get(index).copied().unwrap_or(false) {
                return *deadline > now;
            }
            // All at once or not at all: nobody is waited for.
            let mut bytes = [0; SECRET_BYTES + 64];
            let mut fds = Vec::new();
            let shown = match socket::receive_some(candidate.as_fd(), &mut bytes, &mut fds) {
                Ok(count) if count > 4 => Request::decode(&bytes[4..count]).ok(),
                _ => None,
            };
            if let Some(Request::Secret { secret }) = shown
                && equal(&secret, &self.secret)
            {
                successor = candidate.try_clone().ok();
            }
            false
        });
        if ready.first().copied().unwrap_or(false)
            && let Ok(candidate) = accept(&self.listener, libc::SOCK_NONBLOCK)
        {
            self.candidates.push((candidate, now + PATIENCE_MS));
        }
        // From here on frames are read whole.
        successor.filter(|fd| {
            // SAFETY: plain fcntl on our own descriptor.
            unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, 0) >= 0 }
        })
    }
}

/// Takes the same time wherever the two differ.
fn equal(one: &[u8; SECRET_BYTES], other: &[u8; SECRET_BYTES]) -> bool {
    let difference = one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other));
    std::hint::black_box(difference) == 0
}
