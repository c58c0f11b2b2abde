//! The providers' own client libraries, unchanged, through the gateway: what each understands is what was served, and what was
//! metered. Each is run where it is installed, for the Python of `CLIENTS_PYTHON` (else `python3`) and the folder of Node
//! packages `CLIENTS_NODE_MODULES`; elsewhere it is reported ignored by its name, unless `HARNESS_REQUIRE_CLIENTS` is set.

#![allow(clippy::unwrap_used)]

mod room;

use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use room::*;

const SAID: &str = "I look around first, and say so at some length, so that there is something to stream.";

/// A library: its name, what shows that it is there, and its program.
struct Client {
    name: &'static str,
    package: &'static str,
    program: &'static str,
    /// Calls of models that it makes.
    calls: usize,
}

const CLIENTS: &[Client] = &[
    Client { name: "openai for Python", package: "openai", program: "openai.py", calls: 5 },
    Client { name: "anthropic for Python", package: "anthropic", program: "anthropic.py", calls: 2 },
    Client { name: "google-genai for Python", package: "google.genai", program: "google.py", calls: 2 },
    Client { name: "openai for Node", package: "openai", program: "openai.mjs", calls: 4 },
    Client { name: "anthropic for Node", package: "@anthropic-ai/sdk", program: "anthropic.mjs", calls: 2 },
    Client { name: "google genai for Node", package: "@google/genai", program: "google.mjs", calls: 2 },
];

fn main() {
    let arguments = Arguments::from_args();
    let required = std::env::var_os("HARNESS_REQUIRE_CLIENTS").is_some();
    let trials = CLIENTS.iter().map(|client| {
        let missing = !required && !client.is_installed();
        Trial::test(client.name, || client.run()).with_ignored_flag(missing)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

impl Client {
    fn is_python(&self) -> bool {
        self.program.ends_with(".py")
    }

    fn command(&self) -> Command {
        if self.is_python() {
            // A folder's own files come first in Python's path, and one of them is called like the library.
            let python = std::env::var_os("CLIENTS_PYTHON").unwrap_or_else(|| "python3".into());
            let mut command = Command::new(python);
            command.args(["-I", "-B"]);
            command
        } else {
            let mut command = Command::new("node");
            command.env("NODE_PATH", std::env::var_os("CLIENTS_NODE_MODULES").unwrap_or_default());
            command
        }
    }

    fn is_installed(&self) -> bool {
        if !self.is_python() {
            let Some(modules) = std::env::var_os("CLIENTS_NODE_MODULES") else { return false };
            return Path::new(&modules).join(self.package).is_dir();
        }
        let looked = self
            .command()
            .args(["-c", &format!("import {}", self.package)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        looked.is_ok_and(|status| status.success())
    }

    fn run(&self) -> Result<(), Failed> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let room = Room::new(script(SCRIPT), Budgets::default());
            let address = room.listen("t").await;
            let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(self.program);
            let mut command = self.command();
            command.arg(program).env("BASE", address).env_remove("HTTP_PROXY").env_remove("http_proxy");
            let ran = tokio::task::spawn_blocking(move || command.output());
            let ran = tokio::time::timeout(Duration::from_secs(120), ran).await;
            let output = ran.map_err(|_| "the client does not end")???;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if !output.status.success() {
                return Err(format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)).into());
            }
            let records = room.kept.wait(self.calls).await;
            assert_eq!(text.lines().count(), self.calls, "{text}");
            for (line, record) in text.lines().zip(&records) {
                let said: Value = serde_json::from_str(line)?;
                assert_eq!((&said["text"], &said["command"]), (&json!(SAID), &json!("ls -la")), "{line}");
                let usage = record.usage.unwrap();
                let input = usage.uncached_input_tokens.unwrap() + usage.cache_read_tokens.unwrap();
                assert_eq!((record.ended, input, usage.output_tokens), (Ended::Answered, 1103, Some(211)));
                // A stream of Chat Completions tells its usage to who asks for it; the gateway always knows.
                if !said["input"].is_null() {
                    assert_eq!((&said["input"], &said["output"]), (&json!(1103), &json!(211)), "{line}");
                }
            }
            Ok(())
        })
    }
}
