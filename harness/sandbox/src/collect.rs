//! Waits for a process and keeps of its output what was asked for: head and tail in memory, everything up to a limit in a
//! file, the rest drained and counted. Memory does not depend on how much the process writes.

mod keep;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::keep::Keep;
use crate::{Captured, ExecResult, ExecSpec, Exit, Process, ProcessControl, SandboxError, Stdin};

/// How long after deadline and grace the guest program may still take to report, before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes read at once.
const CHUNK: usize = 32 << 10;

/// Bytes that are still taken after the drain time when they are there at once: more than a pipe or a socket holds, so that a
/// process that ended keeps all of its output however busy the machine is, while a child that goes on writing is cut.
const LAST_SWEEP: usize = 1 << 20;

/// Runs the process to its end. Resolves on its exit, not on end-of-stream; dropping the future kills its tree.
pub(crate) async fn collect(process: Process, spec: ExecSpec) -> Result<ExecResult, SandboxError> {
    let started = Instant::now();
    let Process { stdin, stdout, stderr, mut exit, control } = process;
    let mut tree = KillOnDrop { control, armed: true };
    let (cut, cut_seen) = watch::channel(false);
    let mut out = Keep::open(&spec.stdout).await?;
    let mut err = Keep::open(&spec.stderr).await?;

    // The outcome of the process, when it is known, and what went wrong on our side, which ends the process early.
    let mut ended: Option<Exit> = None;
    let mut failure: Option<SandboxError> = None;
    let held = {
        let mut pumps = pin!(async {
            tokio::try_join!(
                pump(stdout, &mut out, cut_seen.clone()),
                pump(stderr, &mut err, cut_seen.clone())
            )
        });
        let mut feed = pin!(feed(stdin, spec.stdin));
        let last_moment = spec.process.deadline.map(|deadline| deadline + spec.process.grace + PATIENCE);
        // Without a deadline this timer is never polled.
        let mut timer = pin!(sleep_until(started + last_moment.unwrap_or_default()));
        let mut timed = last_moment.is_some();
        let (mut fed, mut pumped) = (false, None);
        loop {
            tokio::select! {
                status = &mut exit, if ended.is_none() => {
                    ended = Some(status?);
                    tree.armed = false;
                    timer.as_mut().reset(Instant::now() + spec.drain);
                    timed = true;
                }
                result = &mut pumps, if pumped.is_none() => match result {
                    Ok(held) => pumped = Some(held),
                    Err(error) => { failure = Some(error); pumped = Some((false, false)); }
                },
                result = &mut feed, if !fed => { fed = true; failure = failure.or(result.err()); }
                () = &mut timer, if timed => {
                    timed = false;
                    match (ended, failure.take()) {
                        // The reader may be gone already; then there is nothing to cut.
                        (Some(_), error) => { failure = error; let _ = cut.send(true); }
                        (None, Some(error)) => return Err(error),
                        (None, None) => return Err(SandboxError::Lost {
                            cause: "a command was still running after its deadline, grace and five seconds".into(),
                        }),
                    }
                }
            }
            if failure.is_some() && ended.is_none() && tree.armed {
                tree.kill();
                timer.as_mut().reset(Instant::now() + PATIENCE);
                timed = true;
            }
            if let (Some(_), Some(held)) = (ended, pumped) {
                break held;
            }
        }
    };
    let duration = started.elapsed();
    let stdout = Captured { held_open: held.0, ..out.finish().await? };
    let stderr = Captured { held_open: held.1, ..err.finish().await? };
    match (failure, ended) {
        (None, Some(exit)) => Ok(ExecResult { exit, stdout, stderr, duration }),
        (Some(error), _) => Err(error),
        (None, None) => Err(SandboxError::Lost { cause: "a command ended without a status".into() }),
    }
}

/// Reads to end-of-file, or to the cut; says whether something still held the stream then.
async fn pump(
    mut stream: Box<dyn AsyncRead + Send + Unpin>,
    keep: &mut Keep,
    mut cut: watch::Receiver<bool>,
) -> Result<bool, SandboxError> {
    let mut chunk = vec![0; CHUNK];
    let mut sweep = LAST_SWEEP;
    loop {
        let read = tokio::select! {
            // What is there is read before the cut is looked at.
            biased;
            read = stream.read(&mut chunk) => read,
            _ = cut.wait_for(|cut| *cut) => return Ok(true),
        };
        match read {
            Ok(0) => return Ok(false),
            Ok(count) => keep.take(&chunk[..count]).await?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(SandboxError::Lost {
                    cause: format!("the output of a command broke off: {error}"),
                });
            }
        }
        if *cut.borrow() {
            let Some(left) = sweep.checked_sub(read.unwrap_or(0)) else { return Ok(true) };
            sweep = left;
        }
    }
}

/// Writes the input and closes it. A process that does not read it is no error.
async fn feed(stream: Option<Box<dyn AsyncWrite + Send + Unpin>>, stdin: Stdin) -> Result<(), SandboxError> {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    let Stdin::Bytes(bytes) = stdin else { return Ok(()) };
    let Some(mut stream) = stream else {
        let error = std::io::Error::other("the backend gave no stream for it");
        return Err(SandboxError::host("feed a command's input", error));
    };
    let written = async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    };
    match written.await {
        Err(error) if !matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected) => {
            Err(SandboxError::host("feed a command's input", error))
        }
        _ => Ok(()),
    }
}

/// Kills the tree unless its end is known.
struct KillOnDrop {
    control: Box<dyn ProcessControl>,
    armed: bool,
}

impl KillOnDrop {
    fn kill(&mut self) {
        self.armed = false;
        self.control.kill();
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.control.kill();
        }
    }
}
