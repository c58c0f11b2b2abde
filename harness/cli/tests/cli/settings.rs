//! Settings and where each comes from: default, the user's file, the project's, the environment, a flag.

use insta::assert_snapshot;

use crate::room::Room;

#[test]
fn each_layer_wins_over_the_one_before_and_is_named() {
    let room = Room::with(&["one"]);
    room.write("../home/.config/harness/harness.toml", "attempts = 2\nretries = 1\nseed = 7\n");
    room.write("harness.toml", "attempts = 3\nretries = 0\n");
    let rows = room.harness("show settings --format json --runs-dir elsewhere").exits(0).json();
    let of = |name: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        let source = row["source"].as_str().unwrap().replace(&room.root().display().to_string(), "ROOM");
        format!(
            "{name} = {} ({source})",
            row["value"].to_string().replace(&room.root().display().to_string(), "ROOM")
        )
    };
    let shown: Vec<_> = ["jobs", "seed", "attempts", "retries", "state_dir", "runs_dir"].map(of).into();
    assert_snapshot!(shown[1..].join("\n"), @r#"
    seed = 7 (ROOM/home/.config/harness/harness.toml)
    attempts = 3 (harness.toml)
    retries = 0 (harness.toml)
    state_dir = "ROOM/state" (HARNESS_STATE_DIR)
    runs_dir = "elsewhere" (flag)
    "#);
    assert!(shown[0].ends_with("(default)"), "{}", shown[0]);

    // What the run used is in its manifest, source and all; a flag wins over everything.
    room.harness("run suite tasks --agent noop --sandbox memory --attempts 1 --run-id r").exits(0);
    let manifest: serde_json::Value =
        serde_json::from_str(&room.read(".harness/runs/r/manifest.json")).unwrap();
    assert_eq!(manifest["settings"]["attempts"]["source"], "flag");
    assert_eq!(manifest["settings"]["retries"]["source"], "harness.toml");
    assert_eq!(manifest["attempts"], 1);
}

#[test]
fn settings_are_shown_for_people() {
    let room = Room::new();
    room.write("harness.toml", "jobs = 3\n");
    assert_snapshot!(room.harness("show settings").exits(0).shown(), @r#"
    agent_timeout_max_sec = 0  (default)
        no agent gets longer, seconds; 0 means no such limit
    agent_timeout_sec = 3600  (default)
        the agent's time where a task sets none, seconds
    attempts = 1  (default)
        independent attempts of each task by each variant
    budget_requests = 0  (default)
        most requests of the run; 0 means no such limit
    budget_sec = 0  (default)
        longest time from the first request to a model to the last, seconds; 0 means no such limit
    budget_tokens = 0  (default)
        most tokens of the run; 0 means no such limit
    budget_usd = 0  (default)
        most that the run may spend on models, dollars; 0 means no such limit
    complex_timeout_sec = 0  (default)
        the agent's time in tasks of the tier complex, in place of what they say, seconds; 0 means as they say
    day_budget_tokens = 0  (default)
        most tokens of all runs of the runs folder on a day (UTC); 0 means no such limit
    day_budget_usd = 0  (default)
        most that all runs of the runs folder may spend on a day (UTC), dollars; 0 means no such limit
    fail_fast = false  (default)
        start nothing new after the first trial that is not resolved
    image_quota_gb = 100  (default)
        images that were built or pulled on an engine, least recently used beyond this go; 0 means no limit
    jobs = 3  (harness.toml)
        most trials at once
    major_timeout_sec = 0  (default)
        the agent's time in tasks of the tier major, in place of what they say, seconds; 0 means as they say
    max_cost = 0  (default)
        most that each trial may spend, dollars; 0 means no such limit
    max_model_sec_per_task = 0  (default)
        longest time from a trial's first request to its last, seconds; 0 means no such limit
    max_requests_per_task = 0  (default)
        most requests of each trial; 0 means no such limit
    max_tokens_per_task = 0  (default)
        most tokens of each trial; 0 means no such limit
    medium_timeout_sec = 0  (default)
        the agent's time in tasks of the tier medium, in place of what they say, seconds; 0 means as they say
    model_timeout_sec = 300  (default)
        how long a provider may take to begin an answer, seconds
    network = "task"  (default)
        network for every task: none, gateway, open; task means what each task says
    outage_sec = 90  (default)
        how long the outage of a provider is waited for in all, seconds
    preflight = true  (default)
        ask each model that costs money for a few tokens before the first trial
    prices = ""  (default)
        price file of your own (TOML with source and date), over the bundled prices
    record = false  (default)
        record what models are asked and answer, for replays
    replay = ""  (default)
        play the recording of this run instead of asking models: RUN, or RUN:MODE with strict, exact, lenient or passthrough
    replay_pace = "at-once"  (default)
        how fast a recording is played: at-once, or recorded, with the times that were recorded
    request_max_cost = 0  (default)
        most that one request may cost, dollars; 0 means no such limit
    request_max_tokens = 0  (default)
        most tokens of one request; 0 means no such limit
    retries = 2  (default)
        how often a trial that the harness broke is tried again
    rootfs = "task"  (default)
        root file system for every task: host, a folder or a tar; task means what each task says
    runs_dir = ".harness/runs"  (default)
        folder that holds the runs
    sandbox = "auto"  (default)
        sandbox to use; auto chooses and says which
    scripts_dir = ".harness/scripts"  (default)
        folder with scripts of the scripted model
    seed = 0  (default)
        seed of every random choice
    simple_timeout_sec = 0  (default)
        the agent's time in tasks of the tier simple, in place of what they say, seconds; 0 means as they say
    stall_timeout_sec = 0  (default)
        an agent without output and model traffic for so long is ended, seconds; 0 only shows that it looks stalled
    state_dir = "ROOM/state"  (HARNESS_STATE_DIR)
        folder for layers, scratch space and unpacked suites
    timeout_multiplier = 1.0  (default)
        multiplies every time limit of agents and tests
    variant_budget_tokens = 0  (default)
        most tokens of each variant; 0 means no such limit
    variant_budget_usd = 0  (default)
        most that each variant may spend, dollars; 0 means no such limit
    verifier_timeout_max_sec = 0  (default)
        no verification gets longer, seconds; 0 means no such limit
    "#);
}

#[test]
fn a_wrong_setting_is_refused_with_the_file_and_what_there_is() {
    let room = Room::with(&["one"]);
    let said = |text: &str| {
        room.write("harness.toml", text);
        let sandbox = if text.contains("sandbox") { "" } else { "--sandbox memory" };
        room.harness(&format!("run suite tasks {sandbox}")).exits(3).said()
    };
    assert_snapshot!(said("atempts = 2\n"), @r#"
    error: harness.toml: there is no setting "atempts"
    hint: the settings are runs_dir, state_dir, jobs, attempts, retries, seed, timeout_multiplier, agent_timeout_sec, simple_timeout_sec, medium_timeout_sec, complex_timeout_sec, major_timeout_sec, stall_timeout_sec, agent_timeout_max_sec, verifier_timeout_max_sec, sandbox, rootfs, network, image_quota_gb, fail_fast, prices, scripts_dir, budget_usd, budget_tokens, budget_requests, budget_sec, variant_budget_usd, variant_budget_tokens, max_cost, max_tokens_per_task, max_requests_per_task, max_model_sec_per_task, request_max_cost, request_max_tokens, day_budget_usd, day_budget_tokens, outage_sec, model_timeout_sec, record, replay, replay_pace, preflight
    "#);
    assert_snapshot!(said("attempts = \"many\"\n"), @r#"error: harness.toml: attempts must be a number, not "many""#);
    assert_snapshot!(said("attempts = -1\n"), @"error: attempts must be a whole number that is not negative, not -1 (from harness.toml)");
    assert_snapshot!(said("attempts = \n"), @"
    error: harness.toml: TOML parse error at line 1, column 12
      |
    1 | attempts =
      |  ^
    string values must be quoted, expected literal string
    ");
    assert_snapshot!(said("network = \"loud\"\n"), @r#"error: network must be none, gateway, open or task, not "loud" (from harness.toml)"#);
    assert_snapshot!(said("sandbox = \"dokcer\"\n"), @r#"
    error: there is no sandbox "dokcer" (from harness.toml)
    hint: the sandboxes are native, docker, memory
    "#);
    assert_snapshot!(said("timeout_multiplier = 0\n"), @"error: timeout_multiplier must be a number above 0, not 0 (from harness.toml)");
    assert!(!room.path(".harness/runs").exists());
}

#[test]
fn the_runs_folder_can_be_named_by_flag_variable_and_file() {
    let room = Room::with(&["one"]);
    let run = "run suite tasks --agent noop --sandbox memory --run-id r";
    room.harness(&format!("{run} --runs-dir flagged")).exits(0);
    assert!(room.path("flagged/r/manifest.json").is_file());
    room.write("harness.toml", "runs_dir = \"filed\"\n");
    room.harness(run).exits(0);
    assert!(room.path("filed/r/manifest.json").is_file());
    let mut command = room.command();
    command.env("HARNESS_RUNS_DIR", room.path("named")).args(run.split(' '));
    room.finish(command, run).exits(0);
    assert!(room.path("named/r/manifest.json").is_file());
}
