//! `collect` against processes made of in-memory streams, on a paused clock.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::collect;
use crate::{ExecSpec, Exit, OutputSpec, Process, ProcessControl, ProcessSpec, PtySize, SandboxError, Stdin};

/// The inside of a process: the test plays the command.
struct Inside {
    stdin: DuplexStream,
    stdout: DuplexStream,
    stderr: DuplexStream,
    exit: oneshot::Sender<Result<Exit, SandboxError>>,
    kills: Arc<AtomicUsize>,
}

struct Control(Arc<AtomicUsize>);

impl ProcessControl for Control {
    fn kill(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn resize(&self, _size: PtySize) {}
}

fn process() -> (Process, Inside) {
    let (stdin, in_inside) = duplex(4096);
    let (stdout, out_inside) = duplex(4096);
    let (stderr, err_inside) = duplex(4096);
    let (exit, exit_seen) = oneshot::channel();
    let kills = Arc::new(AtomicUsize::new(0));
    let process = Process {
        stdin: Some(Box::new(stdin)),
        stdout: Box::new(stdout),
        stderr: Box::new(stderr),
        exit: Box::pin(async { exit_seen.await.expect("the test sends a status") }),
        control: Box::new(Control(kills.clone())),
    };
    (process, Inside { stdin: in_inside, stdout: out_inside, stderr: err_inside, exit, kills })
}

fn spec() -> ExecSpec {
    ExecSpec::new(ProcessSpec::new(["true"]))
}

#[tokio::test(start_paused = true)]
async fn keeps_head_and_tail_counts_all_and_closes_both_streams_apart() {
    let (process, mut inside) = process();
    let output = OutputSpec { head: 3, tail: 4, ..OutputSpec::default() };
    let task = tokio::spawn(collect(process, ExecSpec { stdout: output, ..spec() }));
    for _ in 0..1000 {
        inside.stdout.write_all(b"0123456789").await.unwrap();
    }
    inside.stderr.write_all(b"\x00\x01\x02e").await.unwrap();
    drop((inside.stdout, inside.stderr));
    inside.exit.send(Ok(Exit::Code(3))).ok().unwrap();
    let result = task.await.unwrap().unwrap();
    assert_eq!(result.exit, Exit::Code(3));
    assert_eq!((&result.stdout.head[..], &result.stdout.tail[..]), (&b"012"[..], &b"6789"[..]));
    assert_eq!((result.stdout.total, result.stdout.held_open), (10_000, false));
    assert_eq!(result.stderr.head, b"\x00\x01\x02e");
    assert_eq!(inside.kills.load(Ordering::SeqCst), 0, "a process that ended is not killed");
}

#[tokio::test(start_paused = true)]
async fn early_end_of_both_streams_is_not_an_exit() {
    let (process, inside) = process();
    let started = Instant::now();
    let task = tokio::spawn(collect(process, spec()));
    drop((inside.stdout, inside.stderr));
    sleep(Duration::from_secs(7)).await;
    assert!(!task.is_finished());
    inside.exit.send(Ok(Exit::Code(0))).ok().unwrap();
    let result = task.await.unwrap().unwrap();
    assert_eq!(result.exit, Exit::Code(0));
    assert_eq!(result.duration, started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lost_sandbox_is_an_error_though_the_streams_ended_well() {
    let (process, inside) = process();
    let task = tokio::spawn(collect(process, spec()));
    drop((inside.stdout, inside.stderr));
    inside.exit.send(Err(SandboxError::Lost { cause: "test".into() })).ok().unwrap();
    assert!(matches!(task.await.unwrap(), Err(SandboxError::Lost { .. })));
}

#[tokio::test(start_paused = true)]
async fn output_is_read_for_the_drain_time_after_the_exit_and_then_cut() {
    let (process, mut inside) = process();
    let task = tokio::spawn(collect(process, spec()));
    let ended = Instant::now();
    inside.exit.send(Ok(Exit::Code(0))).ok().unwrap();
    sleep(Duration::from_millis(200)).await;
    inside.stdout.write_all(b"late").await.unwrap();
    let writer = tokio::spawn(async move {
        sleep(Duration::from_millis(100)).await;
        inside.stdout.write_all(b"too late").await.is_err()
    });
    drop(inside.stderr);
    let result = task.await.unwrap().unwrap();
    assert_eq!(result.stdout.head, b"late");
    assert!(result.stdout.held_open && !result.stderr.held_open);
    assert_eq!(ended.elapsed(), Duration::from_millis(250));
    assert!(writer.await.unwrap(), "the stream is closed after the cut");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_never_stops_writing_is_cut_after_the_drain_time() {
    let (process, mut inside) = process();
    let task = tokio::spawn(collect(process, spec()));
    inside.exit.send(Ok(Exit::Code(0))).ok().unwrap();
    drop(inside.stderr);
    let flood = tokio::spawn(async move {
        while inside.stdout.write_all(&[b'y'; 1024]).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    let result = task.await.unwrap().unwrap();
    assert!(result.stdout.held_open);
    assert!(result.stdout.total < 2 << 20);
    flood.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn input_is_fed_while_output_is_read_and_unread_input_is_no_error() {
    let input: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let (process, mut inside) = process();
    let output = OutputSpec { head: 1 << 20, ..OutputSpec::default() };
    let spec = ExecSpec { stdin: Stdin::Bytes(input.clone()), stdout: output, ..spec() };
    let task = tokio::spawn(collect(process, spec.clone()));
    // `cat`: both directions are larger than the pipes, so feeding and reading have to go on together.
    tokio::io::copy(&mut inside.stdin, &mut inside.stdout).await.unwrap();
    drop((inside.stdout, inside.stderr));
    inside.exit.send(Ok(Exit::Code(0))).ok().unwrap();
    assert_eq!(task.await.unwrap().unwrap().stdout.head, input);

    let (process, inside) = self::process();
    let task = tokio::spawn(collect(process, spec));
    sleep(Duration::from_millis(10)).await;
    drop((inside.stdin, inside.stdout, inside.stderr));
    sleep(Duration::from_millis(10)).await;
    inside.exit.send(Ok(Exit::Code(1))).ok().unwrap();
    assert_eq!(task.await.unwrap().unwrap().exit, Exit::Code(1));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_misses_the_deadline_is_lost_after_five_seconds_and_the_tree_killed() {
    let (process, inside) = process();
    let mut spec = spec();
    spec.process.deadline = Some(Duration::from_secs(60));
    spec.process.grace = Duration::from_secs(2);
    let started = Instant::now();
    let error = collect(process, spec).await.unwrap_err();
    assert!(matches!(error, SandboxError::Lost { .. }), "{error:?}");
    assert_eq!(started.elapsed(), Duration::from_secs(67));
    assert_eq!(inside.kills.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_kills_the_tree() {
    let (process, inside) = process();
    let task = tokio::spawn(collect(process, spec()));
    sleep(Duration::from_secs(1)).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(inside.kills.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_file_gets_everything_up_to_its_limit_and_is_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    std::fs::write(&path, "before\n").unwrap();
    let (process, mut inside) = process();
    let output = OutputSpec { head: 0, tail: 2, file: Some(path.clone()), file_limit: 100_000 };
    let task = tokio::spawn(collect(process, ExecSpec { stdout: output, ..spec() }));
    inside.stdout.write_all(&[b'x'; 150_000]).await.unwrap();
    drop((inside.stdout, inside.stderr));
    inside.exit.send(Ok(Exit::Code(0))).ok().unwrap();
    let result = task.await.unwrap().unwrap();
    assert_eq!((result.stdout.total, &result.stdout.tail[..]), (150_000, &b"xx"[..]));
    let written = std::fs::read(&path).unwrap();
    assert_eq!(written.len(), 7 + 100_000);
    assert!(written.starts_with(b"before\nxxx"));
}

#[tokio::test]
async fn a_full_disk_on_the_host_ends_the_process_and_is_the_hosts_error() {
    let (process, mut inside) = process();
    let output = OutputSpec { file: Some("/dev/full".into()), ..OutputSpec::default() };
    let task = tokio::spawn(collect(process, ExecSpec { stdout: output, ..spec() }));
    // tokio's files write behind, so the error arrives with a later chunk.
    while inside.stdout.write_all(&[b'x'; 1000]).await.is_ok() {}
    while inside.kills.load(Ordering::SeqCst) == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!task.is_finished(), "the end of the process is awaited");
    inside.exit.send(Ok(Exit::Signal(9))).ok().unwrap();
    let error = task.await.unwrap().unwrap_err();
    assert!(matches!(error, SandboxError::Host { .. }), "{error:?}");
    let mut rest = Vec::new();
    inside.stderr.write_all(b"x").await.unwrap_err();
    inside.stdin.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn an_output_path_that_cannot_be_opened_kills_the_process() {
    let (process, inside) = process();
    let output = OutputSpec { file: Some("/dev/null/log".into()), ..OutputSpec::default() };
    let error = collect(process, ExecSpec { stderr: output, ..spec() }).await.unwrap_err();
    assert!(matches!(error, SandboxError::Host { .. }), "{error:?}");
    assert_eq!(inside.kills.load(Ordering::SeqCst), 1);
}
