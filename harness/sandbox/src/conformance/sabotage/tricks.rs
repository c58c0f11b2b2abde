//! Ways to tamper with a process.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, duplex};
use tokio::sync::{oneshot, watch};

use crate::{Exit, Process, ProcessControl, PtySize, SandboxError};

type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// Nothing.
pub(super) fn as_it_is(process: Process) -> Process {
    process
}

/// Reports another end.
pub(super) fn exit(
    process: Process,
    change: fn(Result<Exit, SandboxError>) -> Result<Exit, SandboxError>,
) -> Process {
    let exit = process.exit;
    Process { exit: Box::pin(async move { change(exit.await) }), ..process }
}

/// Reports a time-out late.
pub(super) fn late(process: Process) -> Process {
    let exit = process.exit;
    let exit = Box::pin(async move {
        let ended = exit.await;
        if matches!(ended, Ok(Exit::TimedOut)) {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        ended
    });
    Process { exit, ..process }
}

/// Passes bytes on that satisfy a condition on their place and value.
struct Filter {
    inner: Reader,
    at: u64,
    passes: fn(u64, u8) -> bool,
}

impl AsyncRead for Filter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = vec![0; buffer.remaining().min(8192)];
        loop {
            let mut read = ReadBuf::new(&mut chunk);
            std::task::ready!(Pin::new(&mut self.inner).poll_read(context, &mut read))?;
            let (start, passes) = (self.at, self.passes);
            self.at += read.filled().len() as u64;
            let ended = read.filled().is_empty();
            let kept: Vec<u8> = (start..)
                .zip(read.filled())
                .filter(|(at, byte)| passes(*at, **byte))
                .map(|(_, byte)| *byte)
                .collect();
            if ended || !kept.is_empty() {
                buffer.put_slice(&kept);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Loses bytes of both streams.
pub(super) fn filter(process: Process, passes: fn(u64, u8) -> bool) -> Process {
    Process {
        stdout: Box::new(Filter { inner: process.stdout, at: 0, passes }),
        stderr: Box::new(Filter { inner: process.stderr, at: 0, passes }),
        ..process
    }
}

/// Gives stderr's bytes on stdout.
pub(super) fn merge(mut process: Process) -> Process {
    let (mut write, read) = duplex(64 << 10);
    tokio::spawn(async move {
        let mut stderr = process.stderr;
        // A reader that is gone ends it; that is no harm here.
        let _ = tokio::io::copy(&mut process.stdout, &mut write).await;
        let _ = tokio::io::copy(&mut stderr, &mut write).await;
    });
    Process { stdout: Box::new(read), stderr: Box::new(tokio::io::empty()), ..process }
}

/// Reads stdout as fast as it comes, whoever wants it; hands it on at once, or at its end.
pub(super) fn hoard(mut process: Process, until_end: bool) -> Process {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    let (mut write, read) = duplex(64 << 10);
    tokio::spawn(async move {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(count @ 1..) = process.stdout.read(&mut chunk).await {
            if sender.send(chunk[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let mut hoard = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            if until_end {
                hoard.extend(chunk);
            } else if write.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // A reader that is gone wants nothing.
        let _ = write.write_all(&hoard).await;
    });
    Process { stdout: Box::new(read), ..process }
}

/// Tells when a stream has ended.
struct Watched {
    inner: Reader,
    ended: watch::Sender<bool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if buffer.filled().len() == before {
            self.ended.send_replace(true);
        }
        Poll::Ready(Ok(()))
    }
}

/// Takes the end of stdout for a condition of the end, or for the end itself.
pub(super) fn end_of_stream(process: Process, is_success: bool) -> Process {
    let (ended, mut seen) = watch::channel(false);
    let exit = process.exit;
    let exit = Box::pin(async move {
        if is_success {
            tokio::select! {
                exit = exit => exit,
                _ = seen.wait_for(|ended| *ended) => Ok(Exit::Code(0)),
            }
        } else {
            let exit = exit.await;
            let _ = seen.wait_for(|ended| *ended).await;
            exit
        }
    });
    Process { stdout: Box::new(Watched { inner: process.stdout, ended }), exit, ..process }
}

/// Controls nothing of what it is asked.
struct Deaf {
    inner: Box<dyn ProcessControl>,
    kills: bool,
    resizes: bool,
}

impl ProcessControl for Deaf {
    fn kill(&self) {
        if self.kills {
            self.inner.kill();
        }
    }

    fn resize(&self, size: PtySize) {
        if self.resizes {
            self.inner.resize(size);
        }
    }
}

/// Does not hear the wish to kill.
pub(super) fn no_kill(process: Process) -> Process {
    Process { control: Box::new(Deaf { inner: process.control, kills: false, resizes: true }), ..process }
}

/// Does not hear the wish to resize.
pub(super) fn no_resize(process: Process) -> Process {
    Process { control: Box::new(Deaf { inner: process.control, kills: true, resizes: false }), ..process }
}

/// Lives on when its handle is dropped.
pub(super) fn no_drop(process: Process) -> Process {
    let (sender, receiver) = oneshot::channel();
    let (control, exit) = (process.control, process.exit);
    tokio::spawn(async move {
        let ended = exit.await;
        drop(control);
        // Nobody may wait for it any more.
        let _ = sender.send(ended);
    });
    let lost = || SandboxError::Lost { cause: "sabotage".into() };
    Process {
        exit: Box::pin(async move { receiver.await.map_err(|_| lost())? }),
        control: Box::new(Nothing),
        ..process
    }
}

struct Nothing;

impl ProcessControl for Nothing {
    fn kill(&self) {}
    fn resize(&self, _size: PtySize) {}
}

/// Keeps the input open for ever.
pub(super) fn endless_input(mut process: Process) -> Process {
    std::mem::forget(process.stdin.take());
    process
}
