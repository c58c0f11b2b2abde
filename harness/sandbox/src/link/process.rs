//! A command in a sandbox, as the host holds it: pipes that the kernel connects directly, its exit, and its end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use harness_guest::message::{Ended, Exec, Request};
use harness_guest::sys;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::unix::pipe;

use super::Live;
use super::channel::{set_nonblocking, watch};
use super::guest::{Call, Guest};
use crate::exec::ProcessControl;
use crate::{Exit, Process, ProcessSpec, PtySize, SandboxError};

/// How much later than PID 1 we enforce a deadline ourselves. Whoever does not answer by then is lost.
const LATE: Duration = Duration::from_secs(5);

/// What a pipe of a kept command may hold.
const KEPT_BYTES: usize = 1 << 20;

/// Where and with which defaults a command runs.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// The image's variables.
    pub(crate) env: Vec<Vec<u8>>,
    /// Its working folder.
    pub(crate) workdir: String,
    /// Its user.
    pub(crate) user: Option<String>,
    /// View; 0 is the sandbox itself.
    pub(crate) view: u32,
}

/// Starts a command and waits until it runs.
pub(crate) async fn spawn(
    live: &Arc<dyn Live>,
    around: &Surroundings,
    spec: ProcessSpec,
) -> Result<Process, SandboxError> {
    let guest = live.guest();
    if spec.kept.is_some() && spec.pty.is_some() {
        return Err(SandboxError::Inside { message: "a kept command with a terminal".to_owned() });
    }
    let exec = exec(around, &spec)?;
    let oom_before = live.oom_kills();
    let streams = |error| SandboxError::host("make pipes for a command", error);
    let (mut call, mut ends) = if spec.pty.is_some() {
        (guest.ask(|call| Request::Exec { call, exec }, &[])?, None)
    } else {
        let stdin = if spec.stdin { Some(sys::pipe().map_err(streams)?) } else { None };
        let (stdout, their_stdout) = sys::pipe().map_err(streams)?;
        let (stderr, their_stderr) = sys::pipe().map_err(streams)?;
        let (their_stdin, stdin) = stdin.unzip();
        let mut fds: Vec<i32> =
            their_stdin.iter().chain([&their_stdout, &their_stderr]).map(AsRawFd::as_raw_fd).collect();
        if spec.kept.is_some() {
            // While nobody reads, as much as the kernel lets wait in a pipe does so before the command has to.
            for end in stdin.iter().chain([&stdout, &stderr]) {
                let _ = rustix::pipe::fcntl_setpipe_size(end, KEPT_BYTES);
            }
            fds.extend([stdout.as_raw_fd(), stderr.as_raw_fd()]);
        }
        (guest.ask(|call| Request::Exec { call, exec }, &fds)?, Some((stdin, stdout, stderr)))
    };
    // From here on the command may run: whoever drops this call wants it ended.
    let control =
        Arc::new(Control { guest: Arc::clone(guest), call: call.number, over: AtomicBool::new(false) });
    let killer = Killer(Arc::clone(&control));
    let mut came = match call.started().await {
        Ok(came) => came,
        Err(error) => {
            control.over.store(true, Ordering::Release);
            return Err(error);
        }
    };
    let exit = Box::pin(wait(call, Arc::clone(&control), Arc::clone(live), Bounds::of(&spec, oom_before)));
    if spec.kept.is_some() && came.len() == 2 {
        // It ran already: what it writes is read where the one before left off.
        ends = came.pop().zip(came.pop()).map(|(stderr, stdout)| (None, stdout, stderr));
    }
    let (stdin, stdout, stderr) = match (ends, came.pop()) {
        (Some((stdin, stdout, stderr)), _) => {
            let stdin = match stdin {
                Some(stdin) => Some(writer(stdin).map_err(streams)?),
                // What one that ran already was to read, it was given then.
                None if spec.stdin => Some(Box::new(tokio::io::sink()) as Box<_>),
                None => None,
            };
            (stdin, reader(stdout).map_err(streams)?, reader(stderr).map_err(streams)?)
        }
        (None, Some(master)) => {
            let terminal = Arc::new(Terminal::new(master).map_err(streams)?);
            let input: Box<dyn AsyncWrite + Send + Unpin> = Box::new(TerminalEnd(Arc::clone(&terminal)));
            let output: Box<dyn AsyncRead + Send + Unpin> = Box::new(TerminalEnd(terminal));
            let nothing: Box<dyn AsyncRead + Send + Unpin> = Box::new(tokio::io::empty());
            (spec.stdin.then_some(input), output, nothing)
        }
        (None, None) => {
            return Err(SandboxError::Lost { cause: "its PID 1 passed no terminal".to_owned() });
        }
    };
    Ok(Process { stdin, stdout, stderr, exit, control: Box::new(killer) })
}

fn exec(around: &Surroundings, spec: &ProcessSpec) -> Result<Box<Exec>, SandboxError> {
    let inside = |message: &str| SandboxError::Inside { message: message.to_owned() };
    if spec.argv.is_empty() {
        return Err(inside("a command without a program"));
    }
    if spec.user.as_deref() == Some("") {
        return Err(inside("a user without a name"));
    }
    if spec.env.keys().any(|name| name.is_empty() || name.contains('=')) {
        return Err(inside("a variable without a name, or with = in it"));
    }
    let user = spec.user.clone().or_else(|| around.user.clone());
    let mut env: Vec<Vec<u8>> = around
        .env
        .iter()
        .filter(|pair| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            // The image's home is root's; another user's is looked up inside.
            let of_root = name == b"HOME" && user.as_ref().is_some_and(|user| user != "root" && user != "0");
            !of_root && !spec.env.keys().any(|key| key.as_bytes() == name)
        })
        .cloned()
        .collect();
    env.extend(spec.env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()));
    let size = spec.argv.iter().chain(&env).map(|part| part.len() + 8).sum::<usize>();
    if size > harness_guest::wire::MAX_FRAME / 2 {
        return Err(SandboxError::TooLarge {
            what: "a command with its variables".to_owned(),
            limit: harness_guest::wire::MAX_FRAME as u64 / 2,
        });
    }
    Ok(Box::new(Exec {
        argv: spec.argv.clone(),
        env,
        cwd: spec.cwd.clone().unwrap_or_else(|| around.workdir.clone()).into_bytes(),
        user: user.unwrap_or_default().into_bytes(),
        view: around.view,
        pty: spec.pty.map(|size| (size.columns, size.rows)),
        deadline_ms: spec.deadline.map(milliseconds),
        grace_ms: milliseconds(spec.grace),
        kept: spec.kept,
    }))
}

fn milliseconds(time: Duration) -> u64 {
    // Rounded up, so that a deadline is never early.
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

struct Bounds {
    /// When PID 1 must have answered.
    outer: Option<Duration>,
    oom_before: u64,
}

impl Bounds {
    fn of(spec: &ProcessSpec, oom_before: u64) -> Bounds {
        let outer = spec.deadline.map(|deadline| deadline.saturating_add(spec.grace).saturating_add(LATE));
        Bounds { outer, oom_before }
    }
}

async fn wait(
    mut call: Call,
    control: Arc<Control>,
    live: Arc<dyn Live>,
    bounds: Bounds,
) -> Result<Exit, SandboxError> {
    let ended = match bounds.outer {
        None => call.exited().await,
        Some(limit) => match tokio::time::timeout(limit, call.exited()).await {
            Ok(ended) => ended,
            Err(_) => {
                let cause = "a command outlived its deadline and its PID 1 did not say why";
                live.end(cause);
                Err(SandboxError::Lost { cause: cause.to_owned() })
            }
        },
    }?;
    control.over.store(true, Ordering::Release);
    Ok(match ended {
        Ended::Code(code) => Exit::Code(code),
        Ended::TimedOut => Exit::TimedOut,
        Ended::Signal(libc::SIGKILL) if live.oom_kills() > bounds.oom_before => Exit::OutOfMemory,
        Ended::Signal(signal) => Exit::Signal(signal),
    })
}

struct Control {
    guest: Arc<Guest>,
    call: u32,
    /// Its exit is known, so that nothing of it is ours to end any more.
    over: AtomicBool,
}

struct Killer(Arc<Control>);

impl ProcessControl for Killer {
    fn kill(&self) {
        if !self.0.over.load(Ordering::Acquire) {
            self.0.guest.tell(&Request::Kill { call: self.0.call });
        }
    }

    fn resize(&self, size: PtySize) {
        self.0.guest.tell(&Request::Resize { call: self.0.call, columns: size.columns, rows: size.rows });
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn reader(fd: OwnedFd) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
    set_nonblocking(&fd)?;
    Ok(Box::new(pipe::Receiver::from_owned_fd_unchecked(fd)?))
}

fn writer(fd: OwnedFd) -> io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
    set_nonblocking(&fd)?;
    Ok(Box::new(pipe::Sender::from_owned_fd_unchecked(fd)?))
}

/// The master of a terminal.
struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    fn new(fd: OwnedFd) -> io::Result<Terminal> {
        Ok(Terminal(watch(fd, Interest::READABLE | Interest::WRITABLE)?))
    }
}

struct TerminalEnd(Arc<Terminal>);

impl AsyncRead for TerminalEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut closed = false;
        loop {
            let mut guard = ready!(self.0.0.poll_read_ready(context))?;
            let read = guard.try_io(|fd| {
                rustix::io::read(fd.get_ref().as_fd(), buffer.initialize_unfilled()).map_err(io::Error::from)
            });
            match read {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // Nobody holds the other end any more. The kernel looks for bytes first and for this second, so that what
                // was written in between is only found by asking again.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => match closed {
                    true => return Poll::Ready(Ok(())),
                    false => closed = true,
                },
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for TerminalEnd {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.0.poll_write_ready(context))?;
            let written =
                guard.try_io(|fd| rustix::io::write(fd.get_ref().as_fd(), bytes).map_err(io::Error::from));
            if let Ok(result) = written {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
