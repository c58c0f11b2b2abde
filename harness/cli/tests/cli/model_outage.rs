//! A provider that goes away for a while: what is under way waits for it, and nothing else is begun to fail on it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::models::{AGENT, KEY, SCRIPT, Upstream, providers, room};
use crate::room::{Room, until, wait, words};

fn events(room: &Room) -> Vec<Value> {
    let text = std::fs::read_to_string(room.path(".harness/runs/r/journal.jsonl")).unwrap_or_default();
    // The last line may be under way.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn has(room: &Room, event: &str, task: &str) -> bool {
    let of = |one: &Value| one["task"] == task || one["record"]["task"] == task;
    events(room).iter().any(|one| one["event"] == event && of(one))
}

#[test]
fn while_a_provider_is_away_no_trial_is_begun_and_none_is_lost() {
    let Some(room) = room(&["a", "b", "c", "d"]) else { return };
    // The first asks, is done with its model, and takes a while to end; the second asks again when nobody is there.
    let agent = AGENT
        .replace("for stream in (False, True):", "for stream in (False,):")
        .replace("subprocess.run(\"echo done", "import time\nif \"slow end\" in os.environ[\"HARNESS_INSTRUCTION\"]:\n    time.sleep(9)\nif \"second question\" in os.environ[\"HARNESS_INSTRUCTION\"]:\n    time.sleep(2)\n    ask(wires[0], True)\nsubprocess.run(\"echo done");
    room.write("tools/agent.py", &agent);
    room.write("tasks/a/instruction.md", "Write the word done to /app/out. It has a slow end.\n");
    room.write("tasks/b/instruction.md", "Write the word done to /app/out. There is a second question.\n");
    let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
    let address = upstream.address.clone();
    room.write("harness.toml", &format!("outage_sec = 60\n{}", providers(&address)));
    let line = "run suite tasks --sandbox native --agent command --agent-set tools=tools --agent-set 'run=python3 /opt/agent/agent.py' --prices prices.toml --run-id r --jobs 2 --model up-anthropic/small";
    let mut command = room.command();
    command.args(words(line)).env("UP_KEY", KEY);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("both have asked", || Upstream::served(&room).len() == 2);
    drop(upstream);
    // The first is over: there is a place for the third, and nobody who would answer it.
    until("the first is over", || has(&room, "trial_finished", "a"));
    std::thread::sleep(Duration::from_secs(3));
    assert!(!has(&room, "trial_started", "c"), "{:#?}", events(&room));
    assert!(child.try_wait().unwrap().is_none(), "the run waits");
    let back = Instant::now();
    let _upstream = Upstream::start(&room, SCRIPT, address.strip_prefix("http://").unwrap());
    let status = wait(&mut child, Duration::from_secs(90)).unwrap();
    assert_eq!(status.code(), Some(0), "{:#?}", events(&room));
    assert!(back.elapsed() < Duration::from_secs(60));
    let results = room.harness("report r --format json").exits(0).json();
    for trial in results["trials"].as_array().unwrap() {
        assert_eq!(trial["outcome"], "resolved", "{trial}");
        assert_eq!(trial["tries"].as_array().map_or(1, Vec::len), 1, "none was burned: {trial}");
        let asked = if trial["task"] == "b" { 2 } else { 1 };
        assert_eq!(trial["usage"]["requests"], asked, "what was tried again was asked once: {trial}");
    }
    assert_eq!(results["run"]["totals"]["resolved"], 4);
}
