//! Small programs in the place of codex: what is said of agents that misbehave, without a registry.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::{harness, holds, run};

/// What is run, by name.
pub(super) type Test = fn() -> Result<(), Failed>;

pub(super) const ALL: &[(&str, Test)] = &[
    ("codex_that_does_nothing_is_recognised", does_nothing),
    ("codex_of_another_version_is_refused_before_it_works", another_version),
    ("codex_that_an_image_cannot_carry_is_refused_by_name", cannot_be_carried),
    ("codex_that_counts_otherwise_than_the_gateway_is_on_record", counts_otherwise),
    ("codex_is_not_asked_for_a_model_of_another_wire", another_wire),
];

const VERSION: &str = "0.169.0";

/// A tool folder with this program in it.
fn stand_in(state: &Path, program: &str) {
    let folder = state.join(format!("agents/codex-{VERSION}-{}-1", std::env::consts::ARCH));
    fs::create_dir_all(folder.join("bin")).unwrap();
    fs::write(folder.join("bin/codex"), program).unwrap();
    fs::set_permissions(folder.join("bin/codex"), fs::Permissions::from_mode(0o755)).unwrap();
    let note = json!({"layout": 1, "program": "codex", "version": VERSION, "digest": "0".repeat(64), "bytes": 1, "packages": {}});
    fs::write(folder.join("harness-tools.json"), note.to_string()).unwrap();
}

/// The trial of a run in which this program is codex.
fn trial(program: &str) -> Result<Value, Failed> {
    let dir = tempfile::tempdir()?;
    let state = dir.path().join("state");
    stand_in(&state, program);
    let model = ["--agent", "codex", "--model", "scripted/starter", "--sandbox", "native"];
    let (trial, said) = run(dir.path(), &state, "r", &model)?;
    holds(!said.contains("installing"), &said)?;
    Ok(trial)
}

fn saying_its_version(rest: &str) -> String {
    format!("#!/bin/sh\n[ \"$1\" = --version ] && {{ echo codex-cli {VERSION}; exit 0; }}\n{rest}\n")
}

fn has(trial: &Value, check: &str) -> bool {
    trial["integrity"].as_array().unwrap().iter().any(|finding| finding["check"] == check)
}

fn does_nothing() -> Result<(), Failed> {
    let trial = trial(&saying_its_version("echo '{\"type\":\"thread.started\"}'; exit 0"))?;
    holds(trial["agent_exit"] == "crashed" && has(&trial, "no_model_request"), &trial)?;
    holds(trial["outcome"] == "unresolved" && trial["usage"]["requests"] == 0, &trial)
}

fn another_version() -> Result<(), Failed> {
    let trial = trial("#!/bin/sh\necho codex-cli 9.9.9\n")?;
    let reason = trial["reason"].as_str().unwrap_or_default();
    holds(trial["outcome"] == "stopped" && trial["phase"] == "prepare", &trial)?;
    holds(trial["blame"] == "harness" && reason.contains("9.9.9") && reason.contains(VERSION), &trial)
}

fn cannot_be_carried() -> Result<(), Failed> {
    let trial = trial("#!/no/such/loader\n")?;
    let reason = trial["reason"].as_str().unwrap_or_default();
    holds(trial["outcome"] == "stopped" && trial["phase"] == "prepare" && trial["blame"] == "task", &trial)?;
    holds(reason.contains("cannot carry codex") && reason.contains("ini-escapes"), &trial)?;
    holds(trial["usage"]["requests"].as_u64().unwrap_or(0) == 0, &trial)
}

fn counts_otherwise() -> Result<(), Failed> {
    // One request as the real one would make it, by what every image of the suite's task has: node.
    let ask = r#"
for option in "$@"; do case $option in model_providers.gateway=*) base=${option#*base_url=\"}; base=${base%%\"*} ;; esac; done
BASE=$base node -e '
const body = {model: "starter", input: [{role: "user", content: "hello"}], tools: []};
fetch(process.env.BASE + "/responses", {method: "POST", headers: {"content-type": "application/json",
  authorization: "Bearer " + process.env.HARNESS_MODEL_KEY}, body: JSON.stringify(body)}).then(r => r.text()).then(() => {
  console.log(JSON.stringify({type: "turn.completed", usage: {input_tokens: 900000, output_tokens: 5}}));
});'"#;
    let trial = trial(&saying_its_version(ask))?;
    holds(trial["usage"]["requests"] == 1 && trial["agent_exit"] == "finished", &trial)?;
    holds(trial["reported"]["usage"]["total_tokens"] == 900_005 && has(&trial, "usage_differs"), &trial)
}

fn another_wire() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let arguments = ["run", "suite", "starter", "--limit", "1", "--agent", "codex", "--model", "anthropic/m"];
    let mut command = harness(dir.path(), &dir.path().join("state"), &arguments);
    let output = command.args(["--sandbox", "native"]).env("ANTHROPIC_API_KEY", "sk-none").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    holds(output.status.code() == Some(3), &said)?;
    holds(said.contains("codex cannot ask anthropic/m") && said.contains("it speaks openai"), &said)?;
    holds(!said.contains("installing") && !dir.path().join(".harness").exists(), &said)
}
