//! Cases: running a command.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::context::{bounded, is_inside, ok, put, refused, script, secs, sh};
use super::{Case, Ctx, Failure, case, ensure, ensure_eq};
use crate::{ExecSpec, Exit, OutputSpec, ProcessSpec, PutOptions, Source, Stdin};

pub(super) const CASES: &[Case] = &[
    case!("exec-status", "an exit status is reported as it is", status),
    case!("exec-signal", "death by a signal is told apart from a status", signal),
    case!("exec-argv", "arguments are bytes and arrive unchanged", argv),
    case!("exec-env", "the environment is the image's and the spec's, nothing else", env),
    case!("exec-user", "a user is a name, an id, or either with a group", user),
    case!("exec-user-unknown", "an unknown user is refused", user_unknown),
    case!("exec-workdir", "a command starts in the folder that was asked for", workdir),
    case!("exec-workdir-missing", "a missing folder is refused", workdir_missing),
    case!("exec-program-missing", "what cannot be run is refused", program_missing),
    case!("exec-stdin", "input arrives unchanged, and ends", stdin),
    case!("exec-stdin-empty", "without input a command reads end-of-file at once", stdin_empty),
    case!("exec-stdin-unread", "input that is not read is no error", stdin_unread),
    case!("exec-session", "every command leads a session of its own, without a terminal", session),
    case!("exec-descriptors", "a command has descriptors 0, 1 and 2 and no others", descriptors),
    case!("exec-signals-default", "a command starts with no signal ignored or blocked", signals_default),
    case!("exec-parallel", "commands of one sandbox run at the same time", parallel),
];

async fn status(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    for code in [0, 1, 3, 127, 137, 255] {
        let result = sh(&*sandbox, &format!("exit {code}")).await?;
        ensure_eq!(result.exit, Exit::Code(code), "exit {code}");
    }
    Ok(())
}

async fn signal(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
        let result = sh(&*sandbox, &format!("kill -{name} $$; sleep 5")).await?;
        ensure_eq!(result.exit, Exit::Signal(number), "kill -{name}");
    }
    Ok(())
}

async fn argv(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let words: [&[u8]; 8] =
        [b"", b"two words", b"new\nline", b"-n", b"\xff\xfe\x01", b"$HOME `id` * ~", b"'\"\\", &[b'x'; 9000]];
    let mut args: Vec<&[u8]> = vec![b"printf", b"%s\\000"];
    args.extend(words);
    let result = sandbox.exec(bounded(ProcessSpec::new(args))).await?;
    let expected: Vec<u8> = words.iter().flat_map(|word| [word, &b"\0"[..]].concat()).collect();
    ensure_eq!(result.stdout.head, expected, "arguments");
    Ok(())
}

async fn env(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let own = BTreeMap::from([
        ("CONFORMANCE".to_owned(), "a = 'b' \"c\" $d".to_owned()),
        ("EMPTY".to_owned(), String::new()),
        ("LANG".to_owned(), "wins".to_owned()),
    ]);
    let mut expected = ctx.image.env.clone();
    expected.extend(own.clone());
    let result = sandbox.exec(bounded(ProcessSpec { env: own, ..ProcessSpec::new(["env"]) })).await?;
    let text = result.stdout.text();
    // A backend may add the user's own folder where nothing says otherwise.
    let home = expected.contains_key("HOME");
    let found: BTreeSet<&str> = text.lines().filter(|line| home || !line.starts_with("HOME=/")).collect();
    let expected: Vec<String> = expected.iter().map(|(name, value)| format!("{name}={value}")).collect();
    ensure_eq!(found, expected.iter().map(String::as_str).collect::<BTreeSet<_>>(), "variables");
    Ok(())
}

async fn user(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    put(&*sandbox, "/etc/passwd", b"root:x:0:0::/root:/bin/sh\nsomeone:x:1234:1235::/:/bin/sh\n").await?;
    put(&*sandbox, "/etc/group", b"root:x:0:\nothers:x:1236:\n").await?;
    for (user, expected) in [
        ("root", "0 0"),
        ("someone", "1234 1235"),
        ("1234", "1234 1235"),
        ("4321:99", "4321 99"),
        ("someone:others", "1234 1236"),
    ] {
        let process = ProcessSpec { user: Some(user.into()), ..ProcessSpec::shell("echo $(id -u) $(id -g)") };
        let result = sandbox.exec(bounded(process)).await?;
        ensure_eq!(result.stdout.text().trim_end(), expected, "user {user}, {}", result.stderr.text());
    }
    Ok(())
}

async fn user_unknown(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    for user in ["no-such-user", "root:no-such-group", "-1", "", "99999999999"] {
        let process = ProcessSpec { user: Some(user.into()), ..ProcessSpec::new(["true"]) };
        refused(&format!("user {user:?}"), sandbox.exec(bounded(process)).await, is_inside)?;
    }
    Ok(())
}

async fn workdir(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let default = ok(&*sandbox, "pwd").await?;
    ensure_eq!(default.trim_end(), ctx.image.workdir, "the image's folder");
    ok(&*sandbox, "mkdir -p '/tmp/a folder'").await?;
    let process = ProcessSpec { cwd: Some("/tmp/a folder".into()), ..ProcessSpec::shell("pwd") };
    let result = sandbox.exec(bounded(process)).await?;
    ensure_eq!(result.stdout.text(), "/tmp/a folder\n", "the folder asked for");
    Ok(())
}

async fn workdir_missing(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    for cwd in ["/no/such/folder", "/etc/passwd"] {
        let process = ProcessSpec { cwd: Some(cwd.into()), ..ProcessSpec::new(["true"]) };
        refused(&format!("folder {cwd}"), sandbox.exec(bounded(process)).await, is_inside)?;
    }
    Ok(())
}

async fn program_missing(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    put(&*sandbox, "/tmp/plain", b"not a program").await?;
    for program in ["no-such-program", "/no/such/program", "/tmp/plain", "/tmp"] {
        let result = sandbox.exec(bounded(ProcessSpec::new([program]))).await;
        refused(&format!("program {program}"), result, is_inside)?;
    }
    Ok(())
}

async fn stdin(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    // More than pipes hold, both ways at once.
    let input: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let stdout = OutputSpec { head: 2 << 20, ..OutputSpec::default() };
    let spec = ExecSpec { stdin: Stdin::Bytes(input.clone()), stdout, ..bounded(ProcessSpec::new(["cat"])) };
    let result = sandbox.exec(spec).await?;
    ensure_eq!(result.exit, Exit::Code(0), "cat ends when its input does");
    ensure!(result.stdout.head == input, "{} bytes in, {} out", input.len(), result.stdout.total);
    Ok(())
}

async fn stdin_empty(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let process = ProcessSpec { deadline: Some(secs(10)), ..ProcessSpec::new(["cat"]) };
    let result = sandbox.exec(ExecSpec::new(process)).await?;
    ensure_eq!((result.exit, result.stdout.total), (Exit::Code(0), 0), "cat without input");
    Ok(())
}

async fn stdin_unread(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    for text in ["exit 0", "head -c 10 > /dev/null; exit 0", "exec 0<&-; sleep 0.3; exit 0"] {
        let result =
            sandbox.exec(ExecSpec { stdin: Stdin::Bytes(vec![b'x'; 4 << 20]), ..script(text) }).await?;
        ensure_eq!(result.exit, Exit::Code(0), "{text}");
    }
    Ok(())
}

async fn session(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let mut sessions = BTreeSet::new();
    for _ in 0..2 {
        let result = sandbox.exec(bounded(ProcessSpec::new(["cat", "/proc/self/stat"]))).await?;
        let text = result.stdout.text();
        // After the name in parentheses: state, parent, group, session, terminal.
        let rest = text.rsplit(')').next().unwrap_or_default();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let pid = text.split(' ').next().unwrap_or_default().to_owned();
        ensure!(fields.len() > 4, "/proc/self/stat: {text:?}");
        ensure_eq!((fields[2], fields[3]), (&*pid, &*pid), "group and session of the command");
        ensure_eq!(fields[4], "0", "its terminal");
        sessions.insert(pid);
    }
    ensure_eq!(sessions.len(), 2, "sessions of two commands");
    Ok(())
}

async fn descriptors(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    for input in [Stdin::Empty, Stdin::Bytes(vec![1])] {
        let spec = ExecSpec { stdin: input, ..bounded(ProcessSpec::new(["ls", "/proc/self/fd"])) };
        let result = sandbox.exec(spec).await?;
        // 3 is the folder that `ls` reads.
        let found: Vec<String> = result.stdout.text().split_whitespace().map(str::to_owned).collect();
        ensure_eq!(found, ["0", "1", "2", "3"], "open descriptors");
    }
    Ok(())
}

async fn signals_default(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let result = sandbox.exec(bounded(ProcessSpec::new(["cat", "/proc/self/status"]))).await?;
    let text = result.stdout.text();
    for name in ["SigBlk:", "SigIgn:"] {
        let mask = text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        ensure_eq!(mask, Some("0000000000000000"), "{name}");
    }
    Ok(())
}

async fn parallel(ctx: &Ctx) -> Result<(), Failure> {
    let sandbox = ctx.sandbox().await?;
    let started = Instant::now();
    let tasks: Vec<_> = (0..8)
        .map(|code| {
            let sandbox = sandbox.clone();
            tokio::spawn(async move { sandbox.exec(script(&format!("sleep 1; exit {code}"))).await })
        })
        .collect();
    for (code, task) in (0..).zip(tasks) {
        let result = task.await.map_err(|error| Failure(error.to_string()))??;
        ensure_eq!(result.exit, Exit::Code(code), "the status of command {code}");
    }
    ensure!(started.elapsed() < secs(6), "eight commands of a second took {:?}", started.elapsed());
    // A process that was started stays where it is when others come and go.
    sandbox.put("/tmp/done", Source::Bytes(Vec::new()), PutOptions::default()).await?;
    Ok(())
}
