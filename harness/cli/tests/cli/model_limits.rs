//! What ends model traffic: budgets of trials, runs and days, providers that refuse or are away, and the harness's own death.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::models::{AGENT, KEY, SCRIPT, Upstream, providers, room, run, with_key};
use crate::room::{Room, until, wait};

fn report(room: &Room) -> Value {
    room.harness("report r --format json").exits(0).json()
}

fn requests(room: &Room, task: &str, variant: &Value) -> Vec<Value> {
    let file = format!(".harness/runs/r/trials/{task}/{}/1/gateway.jsonl", variant.as_str().unwrap());
    room.read(&file).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn over_its_budget_a_trial_is_refused_once_and_judged() {
    for wire in ["openai", "openai-chat", "anthropic", "google"] {
        let Some(room) = room(&["one"]) else { return };
        let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
        room.write("harness.toml", &providers(&upstream.address));
        // Room for one answer of 1314 tokens, and not for another.
        run(&room, &format!("--model up-{wire}/small --max-tokens-per-task 1400")).exits(0);
        let results = report(&room);
        let trial = &results["trials"][0];
        assert_eq!((&trial["agent_exit"], &trial["outcome"]), (&"budget".into(), &"unresolved".into()));
        assert_eq!(trial["usage"]["total_tokens"], 1314);
        let asked = requests(&room, "one", &trial["variant"]);
        let refused: Vec<&Value> = asked.iter().filter(|one| one["ended"] == "refused").collect();
        assert_eq!((asked.len(), refused.len()), (2, 1), "{wire}: {asked:?}");
        let status = [("openai", 429), ("openai-chat", 401), ("anthropic", 402), ("google", 403)];
        assert_eq!(refused[0]["status"], status.iter().find(|(name, _)| *name == wire).unwrap().1);
        assert_eq!(Upstream::served(&room).len(), 1, "what is refused is not forwarded");
    }
}

#[test]
fn over_the_runs_budget_the_rest_is_listed_and_resume_goes_on() {
    let Some(room) = room(&["one", "three", "two"]) else { return };
    let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
    room.write("harness.toml", &providers(&upstream.address));
    // A trial costs $0.0034; the agent's answers are cut at what is left.
    let done = run(&room, "--model up-anthropic/small --budget-usd 0.006 --jobs 1").exits(9);
    assert!(done.err.contains("--budget-usd MORE"), "{}", done.err);
    let results = report(&room);
    let (finished, left) =
        (results["trials"].as_array().unwrap(), results["run"]["unfinished"].as_array().unwrap());
    assert_eq!(finished.len() + left.len(), 3);
    assert!(!left.is_empty() && results["variants"][0]["n"] == finished.len(), "{results}");
    let cut: Vec<&Value> = left.iter().filter(|one| one["started"] == true).collect();
    assert_eq!(cut[0]["tries"][0]["cut_by"], "run", "{left:?}");
    let spent = results["run"]["totals"]["cost_usd"].as_f64().unwrap();
    assert!(spent <= 0.006, "{spent}");
    // Without more money it ends at once in the same way, and spends nothing.
    let before = Upstream::served(&room).len();
    with_key(&room, "resume r").exits(9);
    assert_eq!(Upstream::served(&room).len(), before);
    with_key(&room, "resume r --budget-usd 1").exits(0);
    let results = report(&room);
    assert_eq!(results["run"]["totals"]["resolved"], 3);
    // What the cut tries cost is part of what their trials cost.
    let served: i64 = Upstream::served(&room).iter().map(|one| one["cost"].as_i64().unwrap()).sum();
    let counted = results["run"]["totals"]["cost_usd"].as_f64().unwrap();
    assert_eq!((counted * 1e9).round() as i64, served);
}

#[test]
fn an_answer_that_breaks_off_is_tried_again_and_never_the_agents_fault() {
    let Some(room) = room(&["one"]) else { return };
    // The first request of each try breaks off in the middle; this agent does not ask again.
    let cut = SCRIPT.replace("[[turn]]\nsay", "[[turn]]\nfault = { cut_after = 1 }\nsay");
    room.write(".harness/scripts/cut.toml", &cut);
    room.write("tools/agent.py", &AGENT.replace("(False, True)", "(True,)"));
    let done = run(&room, "--model scripted/cut --retries 1").exits(5);
    let trial = &report(&room)["trials"][0];
    assert_eq!((&trial["outcome"], &trial["blame"]), (&"stopped".into(), &"harness".into()), "{}", done.err);
    assert_eq!(trial["tries"].as_array().unwrap().len(), 2);
    assert!(trial["reason"].as_str().unwrap().contains("provider failed"), "{trial}");
    // What a broken answer cost is unknown to nobody: it is estimated, and counted in every try.
    assert_eq!(trial["usage"]["requests"], 2);
    assert_eq!(trial["usage"]["source"], "estimate");
}

#[test]
fn a_days_budget_holds_across_runs() {
    let Some(room) = room(&["one"]) else { return };
    let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
    room.write("harness.toml", &format!("day_budget_tokens = 4000\n{}", providers(&upstream.address)));
    run(&room, "--model up-google/small").exits(0);
    let again = "run suite tasks --sandbox native --agent command --agent-set tools=tools --agent-set 'run=python3 /opt/agent/agent.py' --prices prices.toml --run-id s --model up-google/small";
    let done = with_key(&room, again).exits(9);
    assert!(done.err.contains("the day's budget of 4000 tokens"), "{}", done.err);
    let served: u64 =
        Upstream::served(&room).iter().map(|one| one["usage"]["total_tokens"].as_u64().unwrap()).sum();
    assert!(served <= 4000, "{served}");
}

#[test]
fn a_provider_that_refuses_the_key_ends_the_run_at_once_and_names_the_variable() {
    let Some(room) = room(&["one", "two"]) else { return };
    let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
    let settings = providers(&upstream.address).replace("UP_KEY", "WRONG_KEY");
    room.write("harness.toml", &settings);
    let line = "run suite tasks --sandbox native --agent command --agent-set tools=tools --agent-set 'run=python3 /opt/agent/agent.py' --prices prices.toml --run-id r --jobs 1 --model up-openai/small";
    let mut command = room.command();
    command.args(crate::room::words(line)).env("WRONG_KEY", "sk-wrong-wrong-wrong");
    let done = room.finish(command, line).exits(5);
    assert!(done.err.contains("does not take the key of WRONG_KEY"), "{}", done.err);
    let results = report(&room);
    assert_eq!(results["run"]["totals"]["finished"], 0);
    assert_eq!(results["run"]["unfinished"].as_array().unwrap().len(), 2);
    // With the right key it goes on.
    let mut command = room.command();
    command.args(["resume", "r"]).env("WRONG_KEY", KEY);
    room.finish(command, "resume r").exits(0);
    assert_eq!(report(&room)["run"]["totals"]["resolved"], 2);
}

#[test]
fn an_outage_is_waited_for_in_all_and_then_the_run_can_be_resumed() {
    let Some(room) = room(&["one", "two"]) else { return };
    let upstream = Upstream::start(&room, SCRIPT, "127.0.0.1:0");
    let address = upstream.address.clone();
    drop(upstream);
    room.write("harness.toml", &format!("outage_sec = 2\n{}", providers(&address)));
    let began = std::time::Instant::now();
    let done = run(&room, "--model up-openai-chat/small --jobs 2").exits(5);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(done.err.contains("was down for longer than is waited"), "{}", done.err);
    assert_eq!(report(&room)["run"]["totals"]["finished"], 0);
    let _upstream = Upstream::start(&room, SCRIPT, address.strip_prefix("http://").unwrap());
    with_key(&room, "resume r").exits(0);
    assert_eq!(report(&room)["run"]["totals"]["resolved"], 2);
}

#[test]
fn what_was_in_flight_when_the_harness_was_killed_is_spent() {
    let Some(room) = room(&["one"]) else { return };
    let slow = SCRIPT.replace("[[turn]]\nsay", "[[turn]]\nfault = { delay_ms = 3000, times = 1 }\nsay");
    let _upstream = Upstream::start(&room, &slow, "127.0.0.1:0");
    room.write("harness.toml", &providers(&_upstream.address));
    let line = "run suite tasks --sandbox native --agent command --agent-set tools=tools --agent-set 'run=python3 /opt/agent/agent.py' --prices prices.toml --run-id r --model up-openai/small";
    let mut command = room.command();
    command.args(crate::room::words(line)).env("UP_KEY", KEY);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ledger = room.path(".harness/runs/r/ledger.jsonl");
    until("a request is in flight", || {
        std::fs::read_to_string(&ledger).is_ok_and(|text| text.contains("reserved"))
    });
    child.kill().unwrap();
    wait(&mut child, Duration::from_secs(10)).unwrap();
    with_key(&room, "resume r").exits(0);
    let results = report(&room);
    let trial = &results["trials"][0];
    assert_eq!(trial["outcome"], "resolved");
    let tries = trial["tries"].as_array().unwrap();
    assert_eq!((tries.len(), &tries[0]["usage"]["source"]), (2, &"estimate".into()));
    // Charged as it was reserved: at least the input, and the longest answer.
    let reserved = tries[0]["usage"]["total_tokens"].as_u64().unwrap();
    assert!(reserved > 1000, "{trial}");
    assert_eq!(trial["usage"]["total_tokens"].as_u64().unwrap(), reserved + 2 * 1314);
    let cost = |one: &Value| (one["cost_usd"].as_f64().unwrap() * 1e9).round() as i64;
    assert_eq!(cost(trial), cost(&tries[0]) + 2 * 1_699_900);
    assert!(cost(&tries[0]) > 0);
}
