//! The documented one-file agent, run as a user would run it, against a scripted Chat Completions server on loopback.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Serves the answers in order, one a request, and gives back what was asked.
fn serve(answers: Vec<(u16, Value)>) -> (u16, std::thread::JoinHandle<Vec<Value>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for (status, answer) in answers {
            let (stream, _) = listener.accept().unwrap();
            asked.push(exchange(stream, status, &answer));
        }
        asked
    });
    (port, handle)
}

fn exchange(mut stream: TcpStream, status: u16, answer: &Value) -> Value {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => key = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let text = answer.to_string();
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nRetry-After: 0\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len()).unwrap();
    let mut asked: Value = serde_json::from_slice(&body).unwrap();
    asked["key"] = json!(key);
    asked
}

fn says(content: Option<&str>, calls: &[(&str, Value)]) -> Value {
    let calls: Vec<_> = calls
        .iter()
        .enumerate()
        .map(|(at, (name, arguments))| json!({"id": format!("c{at}"), "type": "function", "function": {"name": name, "arguments": arguments.to_string()}}))
        .collect();
    json!({
        "choices": [{"finish_reason": if calls.is_empty() { "stop" } else { "tool_calls" }, "message": {"role": "assistant", "content": content, "tool_calls": calls}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 4}},
    })
}

fn task(folder: &Path) {
    let write = |path: &str, text: &str| {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write(
        "task.toml",
        "schema_version = \"1.4\"\n[metadata.harness]\nhost_root = true\n[environment]\nnetwork_mode = \"no-network\"\n[agent]\ntimeout_sec = 60.0\n",
    );
    write("instruction.md", "Write hello into /app/greeting.\n");
    write("environment/Dockerfile", "FROM debian:12\nWORKDIR /app\n");
    write(
        "tests/test.sh",
        "if grep -q hello /app/greeting; then echo 1 > /logs/verifier/reward.txt; else echo 0 > /logs/verifier/reward.txt; fi\n",
    );
}

#[test]
fn openai_agent_solves_a_task_through_a_scripted_server_and_reports_its_tokens() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped openai_agent: no python3 on this machine");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    task(&dir.path().join("greet"));
    let (port, server) = serve(vec![
        // The small call that is made before a run that costs money.
        (200, says(Some("ok"), &[])),
        (429, json!({"error": "slow down"})),
        (200, says(None, &[("bash", json!({"cmd": "echo hello > /app/greeting"})), ("nonsense", json!({}))])),
        (200, says(Some("done"), &[])),
    ]);
    let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/examples/openai_agent.py");
    let output = Command::new(env!("CARGO_BIN_EXE_harness"))
        .current_dir(dir.path())
        .args([
            "run",
            "task",
            "greet",
            "--sandbox",
            "memory",
            "--run-id",
            "r",
            "--agent",
            "command",
            "--model",
            "openai-chat/scripted",
        ])
        .args([
            "--agent-set",
            &format!("host=python3 '{}'", agent.display()),
            "--agent-set",
            "env=OPENAI_API_KEY,OPENAI_BASE_URL",
        ])
        .env("OPENAI_API_KEY", "sk-canary")
        .env("OPENAI_BASE_URL", format!("http://127.0.0.1:{port}/v1"))
        .env("HARNESS_STATE_DIR", dir.path().join("state"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let asked = server.join().unwrap();
    assert_eq!(asked[0]["model"], "scripted");
    assert_eq!(asked[0]["key"], "Bearer sk-canary");
    let tools: Vec<_> =
        asked[3]["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "tool").collect();
    assert!(tools[0]["content"].as_str().unwrap().contains("[exit code 0]"));
    assert!(tools[1]["content"].as_str().unwrap().contains("there is no tool"));

    let results: Value =
        serde_json::from_slice(&fs::read(dir.path().join(".harness/runs/r/results.json")).unwrap()).unwrap();
    let trial = &results["trials"][0];
    assert_eq!(trial["outcome"], "resolved", "{said}");
    // The gateway counted; what the agent says of itself stands beside it.
    assert_eq!(trial["usage"]["source"], "gateway");
    assert_eq!(trial["reported"]["usage"]["source"], "agent");
    assert_eq!(trial["reported"]["usage"]["output_tokens"], 20);
    assert_eq!(trial["usage"]["requests"], 2);
    assert_eq!(trial["usage"]["uncached_input_tokens"], 120);
    assert_eq!(trial["usage"]["cache_read_tokens"], 80);
    assert_eq!(trial["usage"]["output_tokens"], 20);
    assert_eq!(trial["cost_usd"], Value::Null);

    // The key is the host's alone: nothing that the run left holds it.
    let mut folders = vec![dir.path().join(".harness")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                assert!(!bytes.windows(9).any(|part| part == b"sk-canary"), "{}", path.display());
            }
        }
    }
}
