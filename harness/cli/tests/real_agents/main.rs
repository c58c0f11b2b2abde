//! Agents that are programs of others, in whole runs. Small programs in the place of the real ones show what is said of those that
//! do nothing, are another version, cannot start or count otherwise than we. The real ones are installed from their registries and
//! run where `HARNESS_REAL_AGENTS` names them (`codex,mini-swe-agent`); elsewhere they are reported ignored, by name.
//! `HARNESS_REAL_AGENTS_DIR` is where they are installed; without it, in a folder that goes with the test.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod real;
mod stand_in;

use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

fn main() {
    let arguments = Arguments::from_args();
    let able = can_run();
    let stand_in = |(name, test): &(&'static str, stand_in::Test)| {
        let test = *test;
        Trial::test(*name, test).with_ignored_flag(!able)
    };
    let mut trials: Vec<Trial> = stand_in::ALL.iter().map(stand_in).collect();
    let named = std::env::var("HARNESS_REAL_AGENTS").unwrap_or_default();
    for agent in real::ALL {
        let is_named = named.split(',').any(|name| name.trim() == agent.name);
        trials.push(Trial::test(agent.name, move || agent.run()).with_ignored_flag(!is_named));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Whether there are a native sandbox and what the task wants of the host's root.
fn can_run() -> bool {
    let quiet = |command: &mut Command| {
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let Ok(dir) = tempfile::tempdir() else { return false };
    let state = dir.path().join("state");
    quiet(Command::new("node").arg("--version"))
        && quiet(&mut harness(dir.path(), &state, &["doctor", "--sandbox", "native"]))
}

/// The program in this folder, with this state.
fn harness(folder: &Path, state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command
        .current_dir(folder)
        .args(arguments)
        .env("HARNESS_STATE_DIR", state)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// Runs the one task of `starter` that these tests are about; gives the trial's row and what was said.
fn run(folder: &Path, state: &Path, id: &str, arguments: &[&str]) -> Result<(Value, String), Failed> {
    let task = ["run", "suite", "starter", "--filter", "name == \"ini-escapes\"", "--run-id", id];
    let output = harness(folder, state, &[&task[..], arguments].concat()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !matches!(output.status.code(), Some(0 | 5)) {
        return Err(format!("{:?}: {said}", output.status).into());
    }
    let results = std::fs::read(folder.join(format!(".harness/runs/{id}/results.json")))
        .map_err(|error| format!("{error}: {said}"))?;
    let results: Value = serde_json::from_slice(&results)?;
    Ok((results["trials"][0].clone(), said))
}

/// Fails with what was found unless it holds.
fn holds(it: bool, found: impl std::fmt::Display) -> Result<(), Failed> {
    if it { Ok(()) } else { Err(found.to_string().into()) }
}
