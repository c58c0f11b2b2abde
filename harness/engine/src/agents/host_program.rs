//! An agent that lives on the host: a program of the user's own that is served the sandbox over JSON lines.
//!
//! The harness writes one line with the task, the program writes one line a call and reads one line an answer, in any
//! language. Protocol 1:
//!
//! ```text
//! → {"type":"task","protocol":1,"task":…,"instruction":…,"workdir":…,"timeout_sec":…,"model":…}
//!   and where the task has them "skills_dir": folder inside, "prior_trajectory": an ATIF document
//! ← {"id":1,"call":"exec","command":"make test","timeout_sec":60}        ("argv":[…] in place of "command"; "cwd", "env", "stdin")
//! → {"id":1,"ok":{"exit_code":0,"signal":null,"timed_out":false,"stdout":"…","stderr":"…","stdout_bytes":12,"stderr_bytes":0}}
//! ← {"id":2,"call":"read","path":"src/main.c"}                           → {"id":2,"ok":{"text":"…"}} or {"base64":"…"}
//! ← {"id":3,"call":"write","path":"src/main.c","text":"…"}               ("base64" in place of "text"; "mode")  → {"id":3,"ok":{}}
//! ← {"call":"report","usage":{"output_tokens":5},"cost_usd":0.01}        what it used so far in all; may come often, the last counts
//! ← {"call":"log","text":"…"}
//! ← {"call":"done","status":"finished"}                                  or "gave_up", with "message"
//! ```
//!
//! A call that fails is answered `{"id":…,"error":"…"}`. Calls with an id are answered in order, one at a time. The
//! program is the user's and trusted; what it passes on from a model is not, so every line and answer has a limit.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use harness_core::AgentExit;
use harness_sandbox::{
    Captured, ExecSpec, Exit, OutputSpec, ProcessSpec, PutOptions, SandboxError, Source, Stdin,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::command::Account;
use super::{AgentReport, Session};

/// Longest line of the program, in bytes.
const MAX_LINE: u64 = 32 << 20;
/// Largest file that is read for it, in bytes.
const MAX_READ: u64 = 16 << 20;
/// Most bytes of each stream in an answer: half from the start, half from the end.
const MAX_OUTPUT: usize = 256 << 10;
/// Most bytes of its log that are kept.
const MAX_LOG: u64 = 64 << 20;

#[derive(Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
enum Call {
    Exec {
        command: Option<String>,
        argv: Option<Vec<String>>,
        timeout_sec: Option<f64>,
        cwd: Option<String>,
        #[serde(default)]
        env: BTreeMap<String, String>,
        stdin: Option<String>,
    },
    Read {
        path: String,
    },
    Write {
        path: String,
        text: Option<String>,
        base64: Option<String>,
        mode: Option<u32>,
    },
    Report(Account),
    Log {
        text: String,
    },
    Done {
        status: String,
        message: Option<String>,
    },
}

/// Starts the program and serves it until it is done or gone.
///
/// # Errors
/// Only what is not the program's doing: a lost sandbox, a log that cannot be written.
pub(super) async fn work(
    session: &Session<'_>,
    words: &[String],
    env: &BTreeMap<String, String>,
    model: Option<&str>,
) -> Result<AgentReport, SandboxError> {
    let crashed =
        |message: String| AgentReport { message: Some(message), ..AgentReport::ended(AgentExit::Crashed) };
    let keep = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR"].map(|name| (name, std::env::var_os(name)));
    let child = tokio::process::Command::new(&words[0])
        .args(&words[1..])
        .env_clear()
        .envs(keep.into_iter().filter_map(|(name, value)| Some((name, value?))))
        .envs(env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Ok(crashed(format!("cannot start {:?}: {error}", words[0]))),
    };
    let group = Group(child.id());
    let mut program = Program {
        input: child.stdin.take().expect("stdin was asked for"),
        lines: BufReader::new(child.stdout.take().expect("stdout was asked for")),
        errors: child.stderr.take().expect("stderr was asked for"),
        log: Log::open(session)?,
        report: AgentReport::ended(AgentExit::Crashed),
    };
    let mut greeting = json!({
        "type": "task", "protocol": 1, "task": session.task.id, "instruction": session.step.instruction,
        "workdir": session.workdir, "timeout_sec": session.timeout.as_secs_f64(), "model": model,
    });
    if let Some(folder) = session.skills_dir() {
        greeting["skills_dir"] = folder.into();
    }
    if let Some(prior) = &session.step.agent.trajectory {
        let refused = |error| SandboxError::host(format!("read {}", prior.display()), error);
        let text = std::fs::read(prior).map_err(refused)?;
        greeting["prior_trajectory"] =
            serde_json::from_slice(&text).map_err(|error| refused(std::io::Error::other(error)))?;
    }
    // Its time ends here and not by dropping this whole call, so that what it reported until then is kept.
    let served = tokio::time::timeout(session.timeout, program.serve(session, &greeting)).await;
    let Program { input, mut report, mut errors, mut log, .. } = program;
    drop(input);
    let done = match served {
        Ok(done) => done?,
        Err(_) => {
            drop(group);
            report.exit = AgentExit::TimedOut;
            return Ok(report);
        }
    };
    // What it said for people and we have not read yet; whoever keeps the stream open after it does not keep us.
    let mut complaint = [0u8; 8192];
    let rest = async {
        while let Ok(length @ 1..) = errors.read(&mut complaint).await {
            log.add(&complaint[..length])?;
        }
        Ok::<_, SandboxError>(())
    };
    if let Ok(kept) = tokio::time::timeout(Duration::from_secs(2), rest).await {
        kept?;
    }
    let status = tokio::time::timeout(Duration::from_secs(5), child.wait()).await;
    if !done && report.message.is_none() {
        report.message = Some(match status {
            Ok(Ok(status)) => format!("the program ended without saying that it was done ({status})"),
            Ok(Err(error)) => format!("the program's end is not known: {error}"),
            Err(_) => "the program closed its output and did not end".into(),
        });
    }
    Ok(report)
}

/// The program's streams, and what it has told so far.
struct Program {
    input: tokio::process::ChildStdin,
    lines: BufReader<tokio::process::ChildStdout>,
    errors: tokio::process::ChildStderr,
    log: Log,
    report: AgentReport,
}

impl Program {
    /// Answers calls until the program says that it is done (`true`), breaks the rules or is gone.
    async fn serve(&mut self, session: &Session<'_>, greeting: &Value) -> Result<bool, SandboxError> {
        if send(&mut self.input, greeting).await.is_err() {
            return Ok(false);
        }
        let mut line = Vec::new();
        let mut complaint = [0u8; 8192];
        let mut errors_open = true;
        loop {
            // A call that is read in part stays in `line` while its errors are read.
            let mut limited = (&mut self.lines).take(MAX_LINE - line.len() as u64);
            let read = tokio::select! {
                read = limited.read_until(b'\n', &mut line) => read,
                read = self.errors.read(&mut complaint), if errors_open => {
                    let length = read.unwrap_or(0);
                    errors_open = length > 0;
                    self.log.add(&complaint[..length])?;
                    continue;
                }
            };
            if line.len() as u64 >= MAX_LINE {
                self.report.message = Some(format!("the program wrote a line of more than {MAX_LINE} bytes"));
                return Ok(false);
            }
            if line.is_empty() || read.is_err() {
                return Ok(false);
            }
            let text = std::mem::take(&mut line);
            match step(session, &text, &mut self.report, &mut self.log).await? {
                Next::Answer(answer) => {
                    if send(&mut self.input, &answer).await.is_err() {
                        return Ok(false);
                    }
                }
                Next::Go => {}
                Next::Done => return Ok(true),
            }
        }
    }
}

enum Next {
    Answer(Value),
    Go,
    Done,
}

async fn step(
    session: &Session<'_>,
    line: &[u8],
    report: &mut AgentReport,
    log: &mut Log,
) -> Result<Next, SandboxError> {
    let value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => {
            return Ok(Next::Answer(json!({"id": null, "error": format!("not a line of JSON: {error}")})));
        }
    };
    let id = value.get("id").cloned().unwrap_or(Value::Null);
    let call: Call = match serde_json::from_value(value) {
        Ok(call) => call,
        Err(error) => return Ok(Next::Answer(json!({"id": id, "error": error.to_string()}))),
    };
    let answer = match call {
        Call::Report(account) => {
            (report.usage, report.cost) = account.accept();
            return Ok(Next::Go);
        }
        Call::Log { text } => {
            log.add(text.as_bytes())?;
            log.add(b"\n")?;
            return Ok(Next::Go);
        }
        Call::Done { status, message } => {
            report.exit = if status == "gave_up" { AgentExit::GaveUp } else { AgentExit::Finished };
            report.message = message;
            return Ok(Next::Done);
        }
        Call::Exec { command, argv, timeout_sec, cwd, env, stdin } => {
            let argv = match (command, argv) {
                (Some(command), None) => vec!["/bin/sh".to_owned(), "-c".into(), command],
                (None, Some(argv)) if !argv.is_empty() => argv,
                _ => {
                    return Ok(Next::Answer(
                        json!({"id": id, "error": "exec takes \"command\" or \"argv\""}),
                    ));
                }
            };
            log.add(format!("$ {}\n", argv.join(" ")).as_bytes())?;
            let seconds = timeout_sec.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(600.0).min(86_400.0);
            let mut variables = session.env.clone();
            variables.extend(env);
            let process = ProcessSpec {
                env: variables,
                cwd: Some(absolute(session, cwd.as_deref().unwrap_or("."))),
                user: session.user.map(str::to_owned),
                deadline: Some(Duration::from_secs_f64(seconds).min(session.timeout)),
                ..ProcessSpec::new(argv)
            };
            let half = OutputSpec { head: MAX_OUTPUT / 2, tail: MAX_OUTPUT / 2, ..OutputSpec::default() };
            let stdin = stdin.map_or(Stdin::Empty, |text| Stdin::Bytes(text.into_bytes()));
            let spec = ExecSpec { stdin, stdout: half.clone(), stderr: half, ..ExecSpec::new(process) };
            session.sandbox.exec(spec).await.map(|result| {
                let (code, signal) = match result.exit {
                    Exit::Code(code) => (Some(code), None),
                    Exit::Signal(signal) => (None, Some(signal)),
                    Exit::TimedOut | Exit::OutOfMemory => (None, None),
                };
                let text = |captured: &Captured| captured.text();
                json!({
                    "exit_code": code, "signal": signal,
                    "timed_out": result.exit == Exit::TimedOut, "out_of_memory": result.exit == Exit::OutOfMemory,
                    "stdout": text(&result.stdout), "stderr": text(&result.stderr),
                    "stdout_bytes": result.stdout.total, "stderr_bytes": result.stderr.total,
                })
            })
        }
        Call::Read { path } => {
            let path = absolute(session, &path);
            session.sandbox.read(&path, MAX_READ).await.and_then(|bytes| match bytes {
                None => Err(SandboxError::Inside { message: format!("{path} is no file") }),
                Some(bytes) => Ok(match String::from_utf8(bytes) {
                    Ok(text) => json!({ "text": text }),
                    Err(raw) => json!({ "base64": BASE64.encode(raw.into_bytes()) }),
                }),
            })
        }
        Call::Write { path, text, base64, mode } => {
            let bytes = match (text, base64.map(|text| BASE64.decode(text))) {
                (Some(text), None) => text.into_bytes(),
                (None, Some(Ok(bytes))) => bytes,
                _ => {
                    return Ok(Next::Answer(
                        json!({"id": id, "error": "write takes \"text\" or valid \"base64\""}),
                    ));
                }
            };
            let options = PutOptions { mode: mode.map(|m| m & 0o7777), ..PutOptions::default() };
            session
                .sandbox
                .put(&absolute(session, &path), Source::Bytes(bytes), options)
                .await
                .map(|()| json!({}))
        }
    };
    match answer {
        Ok(ok) => Ok(Next::Answer(json!({"id": id, "ok": ok}))),
        // What the program can do something about is its answer; a sandbox that is gone is ours.
        Err(
            error @ (SandboxError::Inside { .. }
            | SandboxError::TooLarge { .. }
            | SandboxError::Escape { .. }),
        ) => Ok(Next::Answer(json!({"id": id, "error": error.to_string()}))),
        Err(error) => Err(error),
    }
}

fn absolute(session: &Session<'_>, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", session.workdir) }
}

async fn send(input: &mut tokio::process::ChildStdin, value: &Value) -> std::io::Result<()> {
    input.write_all(&harness_core::journal::line(value)).await?;
    input.flush().await
}

/// The program's group: whatever it started ends with it.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|id| rustix::process::Pid::from_raw(id as i32));
        if let Some(pid) = pid {
            // The group may be gone already, which is what we want.
            let _gone = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// What the program says for people, up to a limit.
struct Log {
    file: std::fs::File,
    left: u64,
}

impl Log {
    fn open(session: &Session<'_>) -> Result<Log, SandboxError> {
        let file = std::fs::File::options().create(true).append(true).open(session.log);
        let file =
            file.map_err(|e| SandboxError::host(format!("cannot write {}", session.log.display()), e))?;
        Ok(Log { file, left: MAX_LOG })
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), SandboxError> {
        let take = bytes.len().min(self.left as usize);
        self.left -= take as u64;
        self.file.write_all(&bytes[..take]).map_err(|e| SandboxError::host("cannot write the agent's log", e))
    }
}
