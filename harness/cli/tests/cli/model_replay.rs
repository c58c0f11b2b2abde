//! Recordings that are played again without key, network and cost; and the small question before a run that costs money.

use serde_json::Value;

use crate::models::{AGENT, SCRIPT, Upstream, providers, room, run, with_key};
use crate::room::Room;

const LINE: &str = "run suite tasks --sandbox native --agent command --agent-set tools=tools --agent-set 'run=python3 /opt/agent/agent.py' --prices prices.toml";

fn report(room: &Room, run: &str) -> Value {
    room.harness(&format!("report {run} --format json")).exits(0).json()
}

#[test]
fn a_recorded_run_replays_to_the_same_outcome_usage_and_cost_with_the_upstream_gone() {
    let Some(room) = room(&["one"]) else { return };
    let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
    room.write("harness.toml", &providers(&upstream.address));
    let models = "--model up-openai/small --model up-openai-chat/small --model up-anthropic/small --model up-google/small";
    run(&room, &format!("--record {models}")).exits(0);
    drop(upstream);
    let first = report(&room, "r");
    // No key is set, and nobody listens.
    let done = room.harness(&format!("{LINE} --run-id again --replay r {models}")).exits(0);
    assert!(done.out.contains("no money was spent"), "{}", done.out);
    let again = report(&room, "again");
    for (then, now) in first["trials"].as_array().unwrap().iter().zip(again["trials"].as_array().unwrap()) {
        for field in ["task", "variant", "outcome", "usage", "cost_usd"] {
            assert_eq!(then[field], now[field], "{field}");
        }
        assert_eq!(now["replayed"], true);
    }
    assert_eq!(again["run"]["totals"]["cost_usd"], Value::Null);

    // An agent that asks something else is told so, and the record says what differs.
    room.write("tools/agent.py", &AGENT.replace("runs a command", "runs one command"));
    room.harness(&format!("{LINE} --run-id changed --replay r --model up-openai-chat/small")).exits(0);
    let changed = report(&room, "changed");
    let trial = &changed["trials"][0];
    assert_eq!(trial["outcome"], "unresolved");
    let missed = trial["integrity"].as_array().unwrap().iter().find(|one| one["check"] == "replay_missed");
    let missed = missed.unwrap_or_else(|| panic!("{trial}"))["detail"].as_str().unwrap();
    assert!(missed.contains("runs one command"), "{missed}");
    // To the letter, the same recording says the same.
    room.harness(&format!("{LINE} --run-id exact --replay r:exact --model up-openai-chat/small")).exits(0);
    assert_eq!(report(&room, "exact")["trials"][0]["outcome"], "unresolved");
    room.harness(&format!("{LINE} --run-id lenient --replay r:lenient --model up-openai-chat/small"))
        .exits(0);
    assert_eq!(report(&room, "lenient")["trials"][0]["outcome"], "resolved");
    // What cannot be played is said before anything starts.
    let none = room.harness(&format!("{LINE} --run-id none --replay again --model up-openai/small")).exits(2);
    assert!(none.err.contains("has no recording"), "{}", none.err);
}

/// `harness LINE` to its end, however long whole suites take beside other tests.
fn whole(room: &Room, line: &str) -> String {
    let mut command = room.command();
    command.args(crate::room::words(line));
    let said = room.path("said");
    let err = std::fs::File::create(&said).unwrap();
    let mut child = command.stdout(std::process::Stdio::null()).stderr(err).spawn().unwrap();
    let status = crate::room::wait(&mut child, std::time::Duration::from_secs(900)).unwrap();
    let said = std::fs::read_to_string(said).unwrap();
    assert_eq!(status.code(), Some(0), "{line}\n{said}");
    said
}

#[test]
fn the_whole_starter_suite_replays_by_default_to_the_same_outcomes_usage_and_cost() {
    let Some(room) = crate::native::room() else { return };
    whole(&room, "run suite --timeout-multiplier 4 --record --run-id r");
    whole(&room, "run suite --timeout-multiplier 4 --replay r --run-id again");
    let (first, again) = (report(&room, "r"), report(&room, "again"));
    // In the order of their ends, which is another one each time.
    let trials = |report: &Value| {
        let mut trials = report["trials"].as_array().unwrap().clone();
        trials.sort_by_key(|trial| trial["task"].as_str().unwrap().to_owned());
        trials
    };
    let (first, again) = (trials(&first), trials(&again));
    assert!(first.len() > 15 && first.len() == again.len());
    let mut drifted = 0;
    for (then, now) in first.iter().zip(&again) {
        for field in ["task", "variant", "outcome", "agent_exit", "rewards", "usage", "cost_usd"] {
            assert_eq!(then[field], now[field], "{} {field}: {:#}", then["task"], now["integrity"]);
        }
        assert_eq!(now["replayed"], true);
        let folder = format!("{}/{}/1", now["task"].as_str().unwrap(), now["variant"].as_str().unwrap());
        let lines = room.read(&format!(".harness/runs/again/trials/{folder}/gateway.jsonl"));
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(line["replayed"]["request"].is_u64(), "{line}");
            drifted += usize::from(line["replayed"]["drift"].is_string());
        }
    }
    println!("{drifted} requests differed in what commands had printed");
}

#[test]
fn before_a_run_that_costs_money_each_model_is_asked_once() {
    let Some(room) = room(&["one", "two"]) else { return };
    let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
    let settings = providers(&upstream.address).replace("preflight = false\n", "");
    room.write("harness.toml", &settings.replace("UP_KEY", "WRONG_KEY"));
    let mut command = room.command();
    command.args(crate::room::words(&format!("{LINE} --run-id wrong --model up-anthropic/small")));
    command.env("WRONG_KEY", "sk-wrong-wrong-wrong");
    let done = room.finish(command, "wrong").exits(5);
    assert!(done.err.contains("does not take the key of WRONG_KEY"), "{}", done.err);
    let unfinished = report(&room, "wrong")["run"]["unfinished"].as_array().unwrap().clone();
    assert!(unfinished.len() == 2 && unfinished.iter().all(|one| one["started"] == false), "{unfinished:?}");

    room.write("harness.toml", &settings);
    with_key(&room, &format!("{LINE} --run-id right --model up-anthropic/small --model up-google/small"))
        .exits(0);
    let journal = room.read(".harness/runs/right/journal.jsonl");
    let entries: Vec<Value> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let checked: Vec<&Value> = entries.iter().filter(|entry| entry["event"] == "model_checked").collect();
    assert_eq!(checked.len(), 2, "{journal}");
    // It is paid for like everything else.
    let served: i64 = Upstream::served(&room).iter().map(|one| one["cost"].as_i64().unwrap()).sum();
    let counted = report(&room, "right")["run"]["totals"]["cost_usd"].as_f64().unwrap();
    assert_eq!((counted * 1e9).round() as i64, served);
}
