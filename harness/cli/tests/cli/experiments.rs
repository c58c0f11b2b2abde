//! Experiments: files and flags that span variants, what is said of those that are wrong, and what comes of them.

use insta::assert_snapshot;

use crate::models::SCRIPT;
use crate::native;
use crate::room::Room;

const FILE: &str = r#"
agents = ["core"]
models = ["scripted/small"]

[matrix]
effort = ["low", "high"]
plan = [false, true]

[[exclude]]
effort = "high"
plan = true

[[include]]
name = "nothing"
agents = ["noop"]

[names]
"core@scripted.small+effort=low+plan=false" = "cheap"
"#;

fn refused(room: &Room, file: &str) -> String {
    room.write("bad.toml", file);
    let done = room.harness("run suite tasks --sandbox memory --experiment bad.toml").exits(3);
    assert!(!room.path(".harness").exists(), "nothing was started");
    done.said()
}

#[test]
fn an_experiment_spans_its_variants_and_a_dry_run_lists_them_with_their_settings() {
    let room = Room::with(&["one"]);
    room.write("e.toml", FILE);
    let done = room.harness("run suite tasks --sandbox memory --experiment e.toml --dry-run").exits(0);
    assert_snapshot!(done.shown(), @r"
    one/cheap/1
    one/core@scripted.small+effort=low+plan=true/1
    one/core@scripted.small+effort=high+plan=false/1
    one/nothing/1
    ");
    assert_snapshot!(done.said(), @r"
    4 variants:
      cheap (agent core, model scripted/small)
        effort = low
        plan = false
      core@scripted.small+effort=low+plan=true (agent core, model scripted/small)
        effort = low
        plan = true
      core@scripted.small+effort=high+plan=false (agent core, model scripted/small)
        effort = high
        plan = false
      nothing (agent noop)
    4 trials would be run
    ");
    let json =
        room.harness("run suite tasks --sandbox memory --experiment e.toml --dry-run --format json").exits(0);
    let first = &json.json_lines()[0];
    assert_eq!(
        (first["variant"].as_str(), first["settings"]["effort"].as_str()),
        (Some("cheap"), Some("low"))
    );
}

#[test]
fn repeated_flags_span_the_same() {
    let room = Room::with(&["one"]);
    let line = "run suite tasks --sandbox memory --dry-run --model scripted/a --model scripted/b --agent core \
                --agent-set max_steps=5 --agent-set max_steps=9 --agent noop";
    assert_snapshot!(room.harness(line).exits(0).shown(), @r"
    one/core@scripted.a+max_steps=5/1
    one/core@scripted.a+max_steps=9/1
    one/core@scripted.b+max_steps=5/1
    one/core@scripted.b+max_steps=9/1
    one/noop/1
    ");
}

#[test]
fn what_is_wrong_with_an_experiment_is_said_with_its_place_before_anything_starts() {
    let room = Room::with(&["one"]);
    let said = refused(&room, "modles = ['scripted/a']\n");
    assert_snapshot!(said, @r#"error: bad.toml:1:1: unknown key "modles" (did you mean "models"?)"#);
    let said = refused(&room, "models = ['openai/gpt-5']\n[matrix]\ntemperature = [0.1, 0.9]\n");
    assert_snapshot!(said, @r#"
    error: bad.toml:3:16: the setting "temperature" of the agent core is not supported by the model gpt-5
    bad.toml:3:21: the setting "temperature" of the agent core is not supported by the model gpt-5
    "#);
    let said = refused(&room, "models = ['openai/gpt-5']\n[settings]\nefort = 'low'\n");
    assert!(said.starts_with("error: bad.toml:3:1: the agent core has no setting \"efort\""), "{said}");
    assert!(said.ends_with("hint: did you mean \"effort\"?"), "{said}");
    let said = refused(&room, "agents = ['noop']\n[settings]\nrun = 'x'\n");
    assert!(
        said.starts_with("error: bad.toml:3:1: the agent noop has no setting \"run\"; it takes none"),
        "{said}"
    );
    let said = refused(&room, "agents = ['cor']\n");
    assert!(said.starts_with("error: bad.toml:1:11: there is no agent \"cor\""), "{said}");
    let said = refused(&room, "agents = ['core']\nmodels = ['gpt-5']\n");
    assert!(said.starts_with("error: bad.toml:2:11: "), "{said}");
    let said = refused(&room, "agents = ['core']\n");
    assert!(said.starts_with("error: bad.toml:1:11: the agent core needs a model"), "{said}");
    let said = refused(&room, "agents = ['noop', 'noop']\n");
    assert!(said.starts_with("error: bad.toml:1:19: the variant noop is asked for twice"), "{said}");
    let twice = "[[include]]\nname = 'x'\nagents = ['noop']\n[[include]]\nname = 'x'\nagents = ['oracle']\n";
    assert!(refused(&room, twice).starts_with("error: bad.toml:5:8: two variants are called \"x\""));
    let said = refused(&room, "agents = ['noop']\n[names]\nnop = 'x'\n");
    assert!(said.starts_with("error: bad.toml:3:1: no variant is called \"nop\""), "{said}");
    let said = refused(&room, "agents = ['noop']\n[[exclude]]\nagent = 'n*'\n");
    assert!(said.starts_with("error: the experiment has no variants"), "{said}");
}

#[test]
fn defaults_of_agents_come_from_the_settings_file_and_from_the_suite() {
    let room = Room::with(&["one"]);
    room.write("harness.toml", "[agents.core]\nmax_steps = 7\n");
    room.write("s.toml", "sources = ['tasks']\n[defaults.agents.core]\nmax_steps = 9\nplan = true\n");
    let line = "run suite s.toml --sandbox memory --dry-run --model scripted/a";
    assert_snapshot!(room.harness(line).exits(0).shown(), @"one/core@scripted.a+max_steps=7+plan=true/1");
    room.write("harness.toml", "[agents.core]\nmax_stepz = 7\n");
    let said = room.harness(line).exits(3).said();
    assert!(said.starts_with("error: harness.toml: the agent core has no setting \"max_stepz\""), "{said}");
}

#[test]
fn variants_of_an_experiment_are_compared_side_by_side_and_never_merged() {
    let Some(room) = native::room() else { return };
    room.task("one");
    room.write(".harness/scripts/small.toml", SCRIPT);
    room.write("e.toml", FILE);
    room.harness("run suite tasks --rootfs host --experiment e.toml --run-id r -j 2").exits(0);
    let report = room.harness("report r --format json").exits(0).json();
    let names: Vec<_> =
        report["variants"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "cheap",
            "core@scripted.small+effort=low+plan=true",
            "core@scripted.small+effort=high+plan=false",
            "nothing"
        ]
    );
    assert!(report["variants"].as_array().unwrap().iter().all(|one| one["n"] == 1), "{report}");
    assert_eq!(report["variants"][0]["tiers"]["simple"]["n"], 1);
    let compared = room.harness("compare r --format json").exits(0).json();
    let differs: Vec<_> = compared["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["setting"].as_str().unwrap())
        .collect();
    assert_eq!(differs, ["agent", "agent.effort", "agent.plan", "model"]);
    let csv = room.harness("compare r:cheap r:nothing --format csv").exits(0);
    assert_eq!(csv.out.lines().count(), 3, "{}", csv.out);
}

/// A model that asks for commands without end: each answer costs 29 cents, so that two of them are more than 45.
const DEAR: &str = r#"
[price]
input = 1.0
output = 1000.0

[[turn]]
run = "echo again NUMBER >> /app/log"
usage = { input = 500, output = 290 }
"#;

#[test]
fn max_cost_of_a_trial_is_not_overshot_by_a_single_call() {
    let Some(room) = native::room() else { return };
    room.task("one");
    let (head, turn) = DEAR.split_once("[[turn]]").unwrap();
    let turns = (0..40).map(|number| format!("[[turn]]{}", turn.replace("NUMBER", &number.to_string())));
    room.write(".harness/scripts/dear.toml", &format!("{head}{}", turns.collect::<String>()));
    let line = "run suite tasks --rootfs host --model scripted/dear --agent core --agent-set max_output_tokens=300 \
                --agent-set max_cost=0.45 --run-id r";
    room.harness(line).exits(0);
    let trial = room.harness("report r --format json").exits(0).json()["trials"][0].clone();
    assert_eq!(trial["agent_exit"], "budget", "{trial}");
    let cost = trial["cost_usd"].as_f64().unwrap();
    assert!(cost > 0.0 && cost <= 0.45, "{cost}");
}

#[test]
fn what_a_real_model_may_cost_is_said_before_it_is_asked() {
    let room = Room::with(&["one"]);
    let mut command = room.command();
    let prices =
        "source = 'a test'\ndate = '2026-11-21'\n[[model]]\nprovider = '127.0.0.1:9'\nmodel = 'gpt-5'\n";
    room.write("prices.toml", &format!("{prices}input = 1.0\noutput = 10.0\n"));
    room.write("harness.toml", "prices = 'prices.toml'\noutage_sec = 1\n");
    command.env("OPENAI_API_KEY", "sk-none").env("OPENAI_BASE_URL", "http://127.0.0.1:9");
    command.args([
        "run",
        "suite",
        "tasks",
        "--sandbox",
        "memory",
        "--model",
        "openai/gpt-5",
        "--max-cost",
        "0.5",
    ]);
    command.args(["--attempts", "3", "--run-id", "r"]);
    let said = room.finish(command, "run").said();
    let told: Vec<&str> = said.lines().take(3).collect();
    assert_eq!(
        told,
        [
            "what this may cost, in real money:",
            "  core@openai.gpt-5: 3 trials, at most $1.50",
            "  in all: at most $1.50"
        ],
        "{said}"
    );
}

#[test]
fn an_agent_that_stalls_is_shown_and_ended_only_when_a_limit_says_so() {
    let Some(room) = native::room() else { return };
    room.task("one");
    let agent = "--agent command --agent-set run='sleep 60'";
    let line = format!("run suite tasks --rootfs host --stall-timeout 3 {agent} --run-id r");
    let done = room.harness(&line).exits(0);
    assert!(done.err.contains("stalled? one/command+run=sleep_60~"), "{}", done.err);
    let trial = room.harness("report r --format json").exits(0).json()["trials"][0].clone();
    assert_eq!(
        (&trial["agent_exit"], &trial["outcome"]),
        (&"timed_out".into(), &"unresolved".into()),
        "{trial}"
    );
    assert!(
        trial["integrity"].to_string().contains("stalled: no output and no model traffic for 3 s"),
        "{trial}"
    );
    assert!(trial["duration_ms"]["solve"].as_u64().unwrap() < 20_000);
    // One that says something now and then is left alone.
    let agent = "--agent command --agent-set run='for i in 1 2 3 4 5 6; do echo $i; sleep 1; done; echo done > /app/out'";
    room.harness(&format!("run suite tasks --rootfs host --stall-timeout 3 {agent} --run-id s")).exits(0);
    let trial = room.harness("report s --format json").exits(0).json()["trials"][0].clone();
    assert_eq!(trial["outcome"], "resolved", "{trial}");
}

#[test]
fn limits_by_tier_hold_for_tasks_of_the_tier() {
    let Some(room) = native::room() else { return };
    room.task("one");
    let agent = "--agent command --agent-set run='sleep 60'";
    let done =
        room.harness(&format!("run suite tasks --rootfs host --tier-timeout simple=2 {agent} --run-id r"));
    done.exits(0);
    let trial = room.harness("report r --format json").exits(0).json()["trials"][0].clone();
    assert_eq!(trial["agent_exit"], "timed_out", "{trial}");
    assert!(trial["duration_ms"]["solve"].as_u64().unwrap() < 20_000);
    let report = room.harness("report r --format json").exits(0).json();
    assert_eq!(report["variants"][0]["tiers"]["simple"]["resolved"], 0);
    let said = room.harness("run suite tasks --sandbox memory --tier-timeout huge=2").exits(2).said();
    assert!(said.starts_with("error: --tier-timeout huge=2: there is no tier \"huge\""), "{said}");
}

#[test]
fn a_trajectory_reads_in_a_narrow_terminal_and_is_rebuilt_of_any_agent_from_the_recording() {
    let Some(room) = native::room() else { return };
    room.task("one");
    room.write(
        ".harness/scripts/small.toml",
        &SCRIPT.replace("echo done > /app/out", r"printf 'a\\033[31mred\\007\\n'; echo done > /app/out"),
    );
    room.harness("run suite tasks --rootfs host --model scripted/small --run-id r").exits(0);
    let mut command = room.command();
    command.env("COLUMNS", "40").args(["show", "trial", "r", "one", "--trajectory"]);
    let told = room.finish(command, "show").exits(0);
    assert!(told.out.lines().all(|line| line.chars().count() <= 40), "{}", told.out);
    assert!(!told.out.contains('\u{1b}') && !told.out.contains('\u{7}'), "{:?}", told.out);
    assert!(told.out.contains("I write the word.") && told.out.contains("← bash"), "{}", told.out);
    let atif = room.harness("show trial r one --trajectory --format atif").exits(0).json();
    assert_eq!(atif["schema_version"], "ATIF-v1.8");
    assert_eq!(atif["session_id"], "one/core@scripted.small/1");
    let events = room.harness("show trial r one --trajectory --format json").exits(0).json();
    assert_eq!(
        (&events["source"], &events["conversations"][0]["events"][0]["event"]),
        (&"events".into(), &"started".into())
    );

    // An agent that keeps nothing: what it said went through the gateway.
    room.write("agent.py", crate::models::AGENT);
    let agent = "--agent command --agent-set tools=. --agent-set run='python3 /opt/agent/agent.py'";
    room.harness(&format!(
        "run suite tasks --rootfs host --record --model scripted/small {agent} --run-id w"
    ))
    .exits(0);
    let told = room.harness("show trial w one --trajectory").exits(0);
    assert!(
        told.out.contains("made from the requests and answers") && told.out.contains("→ bash"),
        "{}",
        told.out
    );
    let atif = room.harness("show trial w one --trajectory --format atif").exits(0).json();
    assert_eq!((&atif["schema_version"], &atif["agent"]["name"]), (&"ATIF-v1.8".into(), &"command".into()));
    // And one that asked nobody has none.
    room.harness("run suite tasks --rootfs host --agent noop --run-id n").exits(0);
    let said = room.harness("show trial n one --trajectory").exits(2).said();
    assert!(said.starts_with("error: no trajectory of one/noop/1 is kept"), "{said}");
}
