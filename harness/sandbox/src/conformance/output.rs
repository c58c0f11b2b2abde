//! Cases: what a command writes.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};

use super::context::{script, secs, sh};
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{ExecSpec, Exit, OutputSpec, ProcessSpec};

pub(super) const CASES: &[Case] = &[
    case!("output-separate", "stdout and stderr are two streams", separate),
    case!("output-bytes", "output is bytes: NUL, small first bytes, no newline at the end", bytes),
    case!("output-streamed", "output arrives while the command runs", streamed),
    case!("output-backpressure", "a reader that does not read holds the writer", backpressure),
    case!("output-drained", "200 MB are drained and counted, head and tail kept", drained),
    case!("output-file", "a file gets everything up to its limit while the command goes on", file),
    case!("output-held-open", "a command ends when it exits, though a child holds its streams", held_open),
    case!("output-closed-early", "closed streams are not the end of a command", closed_early),
];

async fn separate(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let result = sh(&*sandbox, "echo out; echo err >&2; printf more").await?;
    ensure_eq!((&*result.stdout.text(), &*result.stderr.text()), ("out\nmore", "err\n"), "the streams");
    Ok(())
}

async fn bytes(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    for (text, expected) in [
        (r"printf '\001\000\002ab\000'", &b"\x01\0\x02ab\0"[..]),
        (r"printf '\000'", b"\0"),
        (r"printf '\002'; printf '\377\376' ", b"\x02\xff\xfe"),
        (r"printf '\r\n\033[31m'", b"\r\n\x1b[31m"),
        ("true", b""),
    ] {
        ensure_eq!(sh(&*sandbox, text).await?.stdout.head, expected, "stdout of {text}");
        let result = sh(&*sandbox, &format!("{{ {text}; }} >&2")).await?;
        ensure_eq!(result.stderr.head, expected, "stderr of {text}");
    }
    Ok(())
}

async fn streamed(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let mut process = sandbox.spawn(ProcessSpec::shell("echo first; sleep 20; echo second")).await?;
    let mut first = [0; 6];
    let read = timeout(secs(8), process.stdout.read_exact(&mut first)).await;
    ensure!(matches!(read, Ok(Ok(_))), "nothing was read while the command ran: {read:?}");
    ensure_eq!(&first, b"first\n", "the first line");
    Ok(())
}

async fn backpressure(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let size = 30_000_000;
    let text = format!("yes | head -c {size}; echo > /tmp/done");
    let mut process = sandbox.spawn(ProcessSpec::shell(&text)).await?;
    sleep(Duration::from_millis(1500)).await;
    let done = sandbox.read("/tmp/done", 10).await?;
    ensure!(done.is_none(), "{size} bytes went somewhere though nobody read them");
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        match timeout(secs(20), process.stdout.read(&mut buffer)).await {
            Ok(count) => match count? {
                0 => break,
                count => total += count,
            },
            Err(_) => return Err(Failure(format!("no more output after {total} bytes"))),
        }
    }
    ensure_eq!(total, size, "bytes read late");
    ensure_eq!(process.exit.await?, Exit::Code(0), "its status");
    Ok(())
}

async fn drained(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let size: u64 = 200_000_000;
    let before = peak_memory()?;
    let mut spec =
        script(&format!("printf first; head -c {size} /dev/zero; printf last; echo err >&2; exit 4"));
    spec.stdout = OutputSpec { head: 8, tail: 6, ..OutputSpec::default() };
    let result = sandbox.exec(spec).await?;
    ensure_eq!((result.exit, result.stdout.total), (Exit::Code(4), size + 9), "status and size");
    ensure_eq!(result.stdout.head, b"first\0\0\0", "the head");
    ensure_eq!(result.stdout.tail, b"\0\0last", "the tail");
    ensure_eq!(result.stderr.head, b"err\n", "the other stream");
    let grown = peak_memory()?.saturating_sub(before);
    ensure!(grown < 150 << 20, "memory grew by {grown} bytes");
    Ok(())
}

/// The most that this process ever held, in bytes. Other cases may add to it meanwhile, so bounds are generous.
fn peak_memory() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes << 10).ok_or(Failure("no VmHWM".into()))
}

async fn file(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let (path, limit) = (ctx.dir.join("out"), 300_000);
    let mut spec = script("printf start; yes | head -c 3000000; exit 5");
    spec.stdout = OutputSpec { head: 5, tail: 2, file: Some(path.clone()), file_limit: limit };
    for round in 1..=2 {
        let result = sandbox.exec(spec.clone()).await?;
        ensure_eq!((result.exit, result.stdout.total), (Exit::Code(5), 3_000_005), "status and size");
        let written = std::fs::read(&path)?;
        ensure_eq!(written.len() as u64, round * limit, "size of the file after round {round}");
        ensure!(written.starts_with(b"starty\ny\n"), "the file begins with other bytes");
    }
    Ok(())
}

async fn held_open(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let started = Instant::now();
    let result = sh(&*sandbox, "sleep 20 & echo said; exit 6").await?;
    ensure_eq!(result.exit, Exit::Code(6), "its status");
    ensure!(started.elapsed() < secs(8), "it took {:?}", started.elapsed());
    ensure_eq!((&*result.stdout.text(), result.stdout.held_open), ("said\n", true), "what was read");
    let result = sh(&*sandbox, "echo said").await?;
    ensure_eq!(
        (&*result.stdout.text(), result.stdout.held_open),
        ("said\n", false),
        "a stream that nobody holds"
    );
    Ok(())
}

async fn closed_early(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let spec =
        ExecSpec { drain: Duration::from_millis(50), ..script("exec > /dev/null 2>&1; sleep 1; exit 7") };
    let result = sandbox.exec(spec).await?;
    ensure_eq!(result.exit, Exit::Code(7), "its status");
    ensure!(result.duration >= Duration::from_millis(900), "it took {:?}", result.duration);
    Ok(())
}
