//! Models through the gateway, for real: agents inside closed sandboxes against an upstream of our own on the host, metered to
//! the token and priced to the nano-dollar of what that upstream says it served; and nothing that is left holds a key.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use harness_gateway::redact::Redactor;
use serde_json::{Value, json};

use crate::native;
use crate::room::Room;

/// What the upstream wants to be shown, with what base64 and URLs write otherwise.
pub const KEY: &str = "sk-real+key/0123456789=abcdef";

/// Plays one turn that does the task, and one that ends.
pub const SCRIPT: &str = r#"
[price]
input = 1.0
cache_read = 0.1
output = 5.0

[[turn]]
say = "I write the word."
run = "echo done > /app/out"
usage = { input = 594, cache_read = 509, output = 211, reasoning = 97 }

[[turn]]
finish = "Done."
usage = { input = 700, output = 20 }
"#;

/// The same prices for the user's own table.
pub const PRICES: &str = r#"
source = "a test"
date = "2026-11-21"
[[model]]
provider = "up"
model = "small"
input = 1.0
cache_read = 0.1
output = 5.0
"#;

/// Asks one conversation on each wire that the model has, whole and streamed, carrying out what is asked; says what it read.
pub const AGENT: &str = r#"
import json, os, socket, subprocess, sys, urllib.error, urllib.request
model, wires = os.environ["HARNESS_MODEL_NAME"], os.environ["HARNESS_MODEL_WIRES"].split(",")
props = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
tool = {"name": "bash", "description": "runs a command"}
base = os.environ["HARNESS_MODEL_URL"]
def post(url, body, headers):
    headers["content-type"] = "application/json"
    return urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=90).read().decode()
def ask(wire, stream):
    task = os.environ["HARNESS_INSTRUCTION"]
    if wire == "openai":
        return post(os.environ["OPENAI_BASE_URL"] + "/responses", {"model": model, "stream": stream, "input": task,
            "tools": [dict(tool, type="function", parameters=props)]}, {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})
    if wire == "openai-chat":
        return post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", {"model": model, "stream": stream,
            "messages": [{"role": "user", "content": task}], "tools": [{"type": "function", "function": dict(tool, parameters=props)}]},
            {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})
    if wire == "anthropic":
        return post(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", {"model": model, "stream": stream, "max_tokens": 4000,
            "messages": [{"role": "user", "content": task}], "tools": [dict(tool, input_schema=props)]},
            {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"})
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return post(os.environ["GOOGLE_GEMINI_BASE_URL"] + "/v1beta/models/" + model + ":" + verb,
        {"contents": [{"role": "user", "parts": [{"text": task}]}], "tools": [{"functionDeclarations": [dict(tool, parameters=props)]}]},
        {"x-goog-api-key": os.environ["GEMINI_API_KEY"]})
for wire in wires:
    for stream in (False, True):
        try:
            answer = ask(wire, stream)
        except urllib.error.HTTPError as error:
            print("refused", wire, error.code, error.read().decode())
            sys.exit(1)
        assert "echo done" in answer, answer
        print("answered", wire, stream, len(answer))
subprocess.run("echo done > /app/out", shell=True, check=True)
for host in ("api.openai.com", "1.1.1.1"):
    try:
        socket.create_connection((host, 443), timeout=5)
        print("REACHED", host)
    except OSError as error:
        print("not reached", host, error)
"#;

/// An upstream of our own on the host: the gateway alone, playing a script to whoever shows the key. Its stdout says what it
/// served.
pub struct Upstream {
    child: Child,
    pub address: String,
}

impl Upstream {
    pub fn start(room: &Room, script: &str, listen: &str) -> Upstream {
        room.write("upstream/script.toml", script);
        let mut command = room.command();
        command.args([
            "gateway",
            "--listen",
            listen,
            "--script",
            "upstream/script.toml",
            "--key-env",
            "UP_KEY",
        ]);
        command.env("UP_KEY", KEY);
        let served = std::fs::File::create(room.path("upstream/served.jsonl")).unwrap();
        let mut child = command.stdout(served).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(';').next());
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Upstream { child, address }
    }

    /// What it says that it served.
    pub fn served(room: &Room) -> Vec<Value> {
        let text = room.read("upstream/served.jsonl");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A room where agents of python can run in the native sandbox, with the agent and a task.
pub fn room(tasks: &[&str]) -> Option<Room> {
    let room = native::room()?;
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        println!("skipped models: no python3 on this machine");
        return None;
    }
    for task in tasks {
        room.task(task);
        let text = room.read(&format!("tasks/{task}/task.toml"));
        room.write(
            &format!("tasks/{task}/task.toml"),
            &text.replace("[metadata.harness]\n", "[metadata.harness]\nhost_root = true\n"),
        );
    }
    room.write("tools/agent.py", AGENT);
    room.write("prices.toml", PRICES);
    Some(room)
}

/// The settings of one provider for each wire, all at this address.
pub fn providers(address: &str) -> String {
    let table = |wire: &&str| {
        let path = if wire.starts_with("openai") { "/v1" } else { "" };
        format!(
            "[providers.up-{wire}]\nwire = \"{wire}\"\nbase_url = \"{address}{path}\"\nkey_env = \"UP_KEY\"\nprices = \"up\"\n"
        )
    };
    // What is asked beforehand has a test of its own; here every request is an agent's.
    let tables: String = ["openai", "openai-chat", "anthropic", "google"].iter().map(table).collect();
    format!("preflight = false\n{tables}")
}

/// `harness LINE` with the key in its environment, the agent of this module and the native sandbox.
pub fn run(room: &Room, line: &str) -> crate::room::Done {
    let line = format!(
        "run suite tasks --sandbox native --agent command --agent-set tools=tools --agent-set 'run=python3 /opt/agent/agent.py' --prices prices.toml --run-id r {line}"
    );
    with_key(room, &line)
}

pub fn with_key(room: &Room, line: &str) -> crate::room::Done {
    let mut command = room.command();
    command.args(crate::room::words(line)).env("UP_KEY", KEY);
    room.finish(command, line)
}

/// Every file below a folder.
fn files(folder: &std::path::Path, all: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&path, all),
            Ok(kind) if kind.is_file() => all.push(path),
            _ => {}
        }
    }
}

#[test]
fn four_wires_from_inside_a_closed_sandbox_are_metered_and_priced_to_what_was_served() {
    let Some(room) = room(&["one"]) else { return };
    let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
    room.write("harness.toml", &providers(&upstream.address));
    let models: String = ["openai", "openai-chat", "anthropic", "google"]
        .map(|wire| format!("--model up-{wire}/small "))
        .concat();
    let done = run(&room, &models).exits(0);
    let results: Value = serde_json::from_str(&room.read(".harness/runs/r/results.json")).unwrap();
    let trials = results["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 4);
    for trial in trials {
        assert_eq!(trial["outcome"], "resolved", "{trial}\n{}", done.err);
        // Two answers of the first turn: 594 + 509 + 211 tokens, 594 × $1 + 509 × $0.1 + 211 × $5 for a million each.
        assert_eq!(trial["usage"]["source"], "gateway");
        assert_eq!(trial["usage"]["requests"], 2);
        assert_eq!(trial["usage"]["uncached_input_tokens"], 2 * 594);
        assert_eq!(trial["usage"]["cache_read_tokens"], 2 * 509);
        assert_eq!(trial["usage"]["output_tokens"], 2 * 211);
        assert_eq!(trial["usage"]["reasoning_tokens"], 2 * 97);
        assert_eq!(trial["usage"]["total_tokens"], 2 * 1314);
        assert_eq!(trial["cost_usd"], json!(0.003_399_8));
        assert_eq!(trial["sandbox"]["network"], "gateway");
        let folder = format!(".harness/runs/r/trials/one/{}/1", trial["variant"].as_str().unwrap());
        let log = room.read(&format!("{folder}/agent.log"));
        assert_eq!(log.matches("not reached").count(), 2, "{log}");
        assert!(!log.contains("REACHED"), "{log}");
        // The network refused, and the record says that somebody tried.
        let integrity = trial["integrity"].as_array().unwrap();
        let direct = integrity.iter().find(|finding| finding["check"] == "direct_calls");
        assert!(
            direct.is_some_and(|one| one["detail"].as_str().unwrap().contains("none arrived")),
            "{trial}"
        );
        let lines = room.read(&format!("{folder}/gateway.jsonl"));
        let kept: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(kept.iter().filter(|one| one["stream"] == true).count(), 1, "{lines}");
        assert!(kept.iter().all(|one| one["ended"] == "answered" && one["cost"] == 1_699_900), "{lines}");
    }
    // Both sides say the same, request by request: what was served is what was counted.
    let served = Upstream::served(&room);
    assert_eq!(served.len(), 8);
    let sum = |of: &dyn Fn(&Value) -> i64| served.iter().map(of).sum::<i64>();
    assert_eq!(sum(&|one| one["usage"]["total_tokens"].as_i64().unwrap()), 8 * 1314);
    assert_eq!(sum(&|one| one["cost"].as_i64().unwrap()), 8 * 1_699_900);
    assert_eq!(results["run"]["totals"]["cost_usd"], json!(0.013_599_2));

    // A report at other prices: the same tokens at twice the money.
    let dearer = PRICES.replace("1.0", "2.0").replace("0.1", "0.2").replace("5.0", "10.0");
    room.write("dearer.toml", &dearer);
    let repriced = room.harness("report r --format json --prices dearer.toml").exits(0).json();
    assert_eq!(repriced["run"]["totals"]["cost_usd"], json!(0.027_198_4));
    assert_eq!(repriced["trials"][0]["cost_usd"], json!(0.006_799_6));

    // The key is in nothing that the run left, in no form.
    let redactor = Redactor::new([KEY.as_bytes()]);
    let mut left = Vec::new();
    files(room.root(), &mut left);
    assert!(left.iter().any(|file| file.ends_with("journal.jsonl")));
    for file in left {
        assert!(!redactor.finds(&std::fs::read(&file).unwrap()), "{}", file.display());
    }
    assert!(!redactor.finds(done.out.as_bytes()) && !redactor.finds(done.err.as_bytes()));
}

#[test]
fn a_scripted_model_is_named_as_simulated_and_spends_no_money() {
    let Some(room) = room(&["one"]) else { return };
    room.write(".harness/scripts/small.toml", SCRIPT);
    // Two tries of each wire are more than this day may spend, were it money.
    room.write("harness.toml", "day_budget_usd = 0.001\n");
    let done = run(&room, "--model scripted/small").exits(0);
    assert!(done.out.contains("simulated, no money was spent"), "{}", done.out);
    let results = room.harness("report r --format json").exits(0).json();
    assert_eq!(results["trials"][0]["simulated"], true);
    assert_eq!(results["variants"][0]["simulated"], true);
    assert_eq!(results["trials"][0]["usage"]["total_tokens"], 8 * 1314);
    assert_eq!(results["run"]["totals"]["cost_usd"], Value::Null);
    assert_eq!(results["run"]["totals"]["simulated_cost_usd"], json!(0.013_599_2));
    let story = room.harness("show trial r one").exits(0);
    assert!(story.out.contains("simulated: nothing was spent"), "{}", story.out);
    let listed = room.harness("list models --provider scripted --format json").exits(0).json();
    assert_eq!(listed[0]["name"], "scripted/small");
    assert_eq!(listed[0]["usd_per_million_tokens"]["output"], 5.0);
}

#[test]
fn four_wires_from_inside_a_container_are_metered_and_priced_to_what_was_served() {
    let engine =
        std::env::var("HARNESS_TEST_DOCKER").unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
    let on_engine = |room: &Room, line: &str| {
        let mut command = room.command();
        command.args(crate::room::words(line)).env("UP_KEY", KEY).env("DOCKER_HOST", &engine);
        room.finish(command, line)
    };
    let room = Room::with(&["one"]);
    let doctor = on_engine(&room, "doctor --sandbox docker");
    if doctor.code != 0 {
        println!("skipped by name: models in containers: no engine works here:\n{}", doctor.out);
        assert!(
            std::env::var_os("HARNESS_REQUIRE_ENGINES").is_none_or(|value| value.is_empty() || value == "0")
        );
        return;
    }
    room.write("tasks/one/environment/Dockerfile", "FROM python:3.12\nWORKDIR /app\n");
    room.write("tools/agent.py", AGENT);
    room.write("prices.toml", PRICES);
    let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
    room.write("harness.toml", &providers(&upstream.address));
    let models: String = ["openai", "openai-chat", "anthropic", "google"]
        .map(|wire| format!("--model up-{wire}/small "))
        .concat();
    let line = format!(
        "run suite tasks --sandbox docker --agent command --agent-set tools=tools --agent-set 'run=python3 /opt/agent/agent.py' --prices prices.toml --run-id r {models}"
    );
    let done = on_engine(&room, &line).exits(0);
    let results = room.harness("report r --format json").exits(0).json();
    for trial in results["trials"].as_array().unwrap() {
        assert_eq!(trial["outcome"], "resolved", "{trial}\n{}", done.err);
        assert_eq!(trial["usage"]["total_tokens"], 2 * 1314);
        assert_eq!(trial["cost_usd"], json!(0.003_399_8));
        let log = format!(".harness/runs/r/trials/one/{}/1/agent.log", trial["variant"].as_str().unwrap());
        let log = room.read(&log);
        assert!(log.matches("not reached").count() == 2 && !log.contains("REACHED"), "{log}");
    }
    let served = Upstream::served(&room);
    assert_eq!(served.iter().map(|one| one["cost"].as_i64().unwrap()).sum::<i64>(), 8 * 1_699_900);
}

#[test]
fn what_is_wrong_with_a_model_is_said_before_anything_starts() {
    let room = Room::with(&["one"]);
    let refused = |line: &str, code: i32, says: &str| {
        let line = format!("run suite tasks --sandbox memory --agent command --agent-set host=true {line}");
        let done = room.harness(&line).exits(code);
        assert!(done.err.contains(says), "{line}: {}", done.err);
        assert!(!room.path(".harness/runs").exists(), "{line}");
    };
    refused("--model gpt-5", 2, "is not PROVIDER/MODEL");
    refused("--agent-set env=PATH --model nobody/gpt-5", 2, "there is no provider \"nobody\"");
    refused("--model openai/gpt-5", 3, "OPENAI_API_KEY is not set");
    refused("--model scripted/none", 3, "there is no script \"none\" for the task one");
    room.write(
        "harness.toml",
        "[providers.mine]\nwire = \"openai-chat\"\nbase_url = \"http://127.0.0.1:9\"\n",
    );
    refused("--model mine/big --budget-usd 1", 3, "a budget in money cannot be kept");
    room.write("harness.toml", "[providers.mine]\nwire = \"chat\"\nbase_url = \"http://127.0.0.1:9\"\n");
    refused("--model mine/big", 3, "wire \"chat\" is none of");
}
