//! Cases: commands that get a terminal.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::context::secs;
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{ExecSpec, Exit, OutputSpec, Process, ProcessSpec, PtySize};

pub(super) const CASES: &[Case] = &[
    case!("pty", "a command that asked for one has a terminal of its size, and one stream", terminal),
    case!("pty-bytes", "a terminal passes bytes on unchanged, small first bytes too", bytes),
    case!("pty-resize", "a terminal can change its size", resize),
    case!("pty-input", "what is typed arrives", input),
];

fn with_terminal(text: &str) -> ProcessSpec {
    ProcessSpec {
        pty: Some(PtySize { columns: 97, rows: 31 }),
        deadline: Some(secs(20)),
        ..ProcessSpec::shell(text)
    }
}

async fn terminal(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let text = "test -t 0 && test -t 1 && test -t 2 && stty size && echo err >&2; \
                cat /proc/self/stat > /dev/null; : < /dev/tty && echo controlling; exit 3";
    let result = sandbox.exec(ExecSpec::new(with_terminal(text))).await?;
    let text = result.stdout.text().replace('\r', "");
    ensure_eq!((result.exit, &*text), (Exit::Code(3), "31 97\nerr\ncontrolling\n"), "on the terminal");
    ensure_eq!(result.stderr.total, 0, "bytes on stderr");
    Ok(())
}

async fn bytes(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    // The first bytes that the terminal ever carries are small ones.
    let text = r"stty -opost; printf '\001\002\000abc\377\n'; head -c 100000 /dev/zero; printf '\002'";
    let stdout = OutputSpec { head: 200_000, ..OutputSpec::default() };
    let result = sandbox.exec(ExecSpec { stdout, ..ExecSpec::new(with_terminal(text)) }).await?;
    let expected = [&b"\x01\x02\0abc\xff\n"[..], &[0; 100_000], b"\x02"].concat();
    ensure!(
        result.stdout.head == expected,
        "{} bytes of {} came, beginning {:?}",
        result.stdout.total,
        expected.len(),
        &result.stdout.head[..result.stdout.head.len().min(10)]
    );
    Ok(())
}

async fn resize(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let text = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.1; done";
    let mut process = sandbox.spawn(with_terminal(text)).await?;
    until(&mut process, "ready").await?;
    process.control.resize(PtySize { columns: 120, rows: 50 });
    until(&mut process, "50 120").await
}

async fn input(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let spec =
        ProcessSpec { stdin: true, ..with_terminal("stty -echo; echo ready; read line; echo \"got $line\"") };
    let mut process = sandbox.spawn(spec).await?;
    until(&mut process, "ready").await?;
    let Some(stdin) = &mut process.stdin else { return Err(Failure("no way to type".into())) };
    stdin.write_all(b"hello\n").await?;
    stdin.flush().await?;
    until(&mut process, "got hello").await
}

/// Reads the terminal until a text appears.
async fn until(process: &mut Process, text: &str) -> Result<(), Failure> {
    let mut seen = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let read = timeout(secs(10), process.stdout.read(&mut chunk)).await;
        let count = match read {
            Ok(Ok(count)) if count > 0 => count,
            other => {
                let exit = timeout(secs(2), &mut process.exit).await;
                let seen = String::from_utf8_lossy(&seen);
                return Err(Failure(format!(
                    "{text:?} did not appear on the terminal after {seen:?}: {other:?}; its end: {exit:?}"
                )));
            }
        };
        seen.extend_from_slice(&chunk[..count]);
        if String::from_utf8_lossy(&seen).contains(text) {
            return Ok(());
        }
    }
}
