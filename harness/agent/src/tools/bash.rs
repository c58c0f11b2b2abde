//! `bash`: a command in a shell that stays.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use harness_sandbox::{Exit, SandboxError};
use serde_json::{Map, Value, json};

use super::desk::MOST_SHELLS;
use super::{Desk, Input, Output, Private, Tool};
use crate::Settings;
use crate::shell::{Ran, Shell, Spool, seconds};
use crate::wires::ToolSpec;

/// The longest time that may be asked for.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

pub(super) struct Bash;

impl Tool for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn spec(&self, settings: &Settings) -> ToolSpec {
        ToolSpec {
            name: "bash",
            about: format!(
                "Runs a command in a shell that stays: folder, variables and background jobs are kept from call to call. \
                 Its input is closed, so nothing can be asked. After {} s (or `timeout` seconds) the command is killed and the \
                 shell starts anew. Of output longer than {} bytes the middle is left out and all of it put into a file. \
                 Start what is to go on running with `setsid … >file 2>&1 &`.",
                settings.command_timeout.as_secs_f64(),
                settings.output_cap
            ),
            schema: json!({"type": "object", "properties": {
                "cmd": {"type": "string", "description": "the command; several lines are fine"},
                "timeout": {"type": "number", "description": "seconds it may take"},
                "session": {"type": "string", "description": "name of another shell, for work side by side"}
            }, "required": ["cmd"]}),
        }
    }
}

#[async_trait]
impl Private for Bash {
    async fn run(&self, desk: &mut Desk<'_>, input: &Map<String, Value>) -> Result<Output, SandboxError> {
        let input = Input(input);
        let read = (|| {
            Ok((input.text("cmd")?, input.number("timeout")?, input.optional("session")?.unwrap_or("main")))
        })();
        let (command, timeout, session) = match read {
            Ok(read) => read,
            Err(output) => return Ok(output),
        };
        if command.contains('\0') {
            return Ok(Output::error("`cmd` holds a zero byte, which no shell takes"));
        }
        let asked = timeout.map_or(desk.spec.settings.command_timeout, |seconds| {
            Duration::from_secs_f64(seconds.clamp(0.1, LONGEST.as_secs_f64()))
        });
        let limit = desk.within(asked);
        let mut shell = match desk.shells.remove(session) {
            Some(shell) => shell,
            None if desk.shells.len() >= MOST_SHELLS => {
                let names: Vec<&str> = desk.shells.keys().map(String::as_str).collect();
                return Ok(Output::error(format!(
                    "there are {MOST_SHELLS} shells already: {}",
                    names.join(", ")
                )));
            }
            None => match Shell::start(desk.spec.sandbox, &desk.shell_spec(session)).await {
                Err(SandboxError::Inside { .. }) if desk.folders.remove(session).is_some() => {
                    // The folder that it was in is gone.
                    Shell::start(desk.spec.sandbox, &desk.shell_spec(session)).await?
                }
                started => started?,
            },
        };
        let mut spool = Spool::new(desk.spec.settings.output_cap);
        let began = Instant::now();
        let ran = shell.run(command, limit, &mut spool).await?;
        desk.folders.insert(session.to_owned(), shell.cwd.clone());
        let is_there = matches!(ran, Ran::Exited(_));
        if is_there {
            desk.shells.insert(session.to_owned(), shell);
        }
        let mut text = desk.told(&spool).await?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let failed = match ran {
            Ran::Exited(0) => {
                if spool.total == 0 {
                    text.push_str("[no output, exit status 0]");
                }
                false
            }
            Ran::Exited(status) => {
                text.push_str(&format!("[exit status {status}]"));
                true
            }
            Ran::TimedOut => {
                text.push_str(&format!(
                    "[not done after {}: killed, with the shell, its variables and its background jobs; the next command gets a \
                     new shell in the folder that this one began in. Ask for more by `timeout`, or run it in the background.]",
                    seconds(began)
                ));
                true
            }
            Ran::ShellGone(exit) => {
                let how = match exit {
                    Exit::Code(status) => format!("with status {status}"),
                    Exit::Signal(signal) => format!("by signal {signal}"),
                    Exit::TimedOut => "at its time's end".to_owned(),
                    Exit::OutOfMemory => "by the sandbox's memory limit".to_owned(),
                };
                text.push_str(&format!(
                    "[the shell itself ended {how}; the next command gets a new one in the folder that this one began in]"
                ));
                exit != Exit::Code(0)
            }
        };
        // A folder that was left for another is told, because the next command starts there.
        let failed_test = failed && command.contains("test");
        Ok(Output { text, is_error: failed && !is_there, failed_test, ..Output::default() })
    }
}
