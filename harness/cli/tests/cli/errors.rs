//! What is refused, with which exit code, which words and which way out.

use insta::assert_snapshot;

use crate::room::Room;

/// Runs a line that must fail before anything starts, and gives what it said.
fn refused(room: &Room, code: i32, line: &str) -> String {
    let done = room.harness(line).exits(code);
    assert_eq!(done.out, "", "a refusal is talk, not data");
    assert!(!room.path(".harness/runs").exists(), "nothing is started");
    done.said()
}

#[test]
fn what_is_unknown_is_refused_by_name_with_a_way_out() {
    let room = Room::with(&["one"]);
    assert_snapshot!(refused(&room, 2, "run suite startre"), @r#"error: there is no suite, file or folder "startre" (did you mean "starter"?)"#);
    assert_snapshot!(refused(&room, 2, "run suite tasks --agent orcale"), @r#"
    error: there is no agent "orcale"
    hint: did you mean "oracle"? the agents are core, oracle, noop, command, codex, claude-code, mini-swe-agent
    "#);
    assert_snapshot!(refused(&room, 2, "run suite tasks --sandbox dokcer"), @r#"
    error: there is no sandbox "dokcer"
    hint: the sandboxes are native, docker, memory
    "#);
    assert_snapshot!(refused(&room, 3, "run suite tasks --agent command --agent-set rnu=x"), @r#"
    error: the agent command has no setting "rnu"; it takes run, host, tools, env, setup
    hint: did you mean "run"?
    "#);
    assert_snapshot!(refused(&room, 3, "run suite tasks --agent command"), @"error: the agent command needs a program: --agent-set run='COMMAND' (inside the sandbox) or --agent-set host='PROGRAM ARGS' (on the host)");
    assert_snapshot!(refused(&room, 2, "run suite tasks --agent-set run=x --agent command"), @"
    error: --agent-set run=x stands before any --agent
    hint: put it behind the agent that it configures
    ");
    assert_snapshot!(refused(&room, 2, "run suite tasks --agent noop --agent noop"), @"
    error: the variant noop is asked for twice, with the same settings
    hint: use --attempts to try a variant more than once
    ");
    assert_snapshot!(refused(&room, 3, "run suite tasks --agent core"), @"error: the agent core needs a model: --model PROVIDER/MODEL, for example scripted/starter, which needs no key");
    assert_snapshot!(refused(&room, 3, "run suite tasks --model openai/gpt-5 --agent core --agent-set temperature=1"), @r#"error: the setting "temperature" of the agent core is not supported by the model gpt-5"#);
    assert_snapshot!(refused(&room, 2, "run suite tasks --env-pass NOT_THERE"), @"error: --env-pass NOT_THERE: the host has no such variable");
    assert_snapshot!(refused(&room, 2, "run suite tasks --filter 'langauge == \"rust\"'"), @r#"
    error: filter, character 1: tasks have no field "langauge" (did you mean "language"?)
      langauge == "rust"
      ^
    "#);
    assert_snapshot!(refused(&room, 2, "run suite tasks --format yaml"), @r#"
    error: this command has no format "yaml"
    hint: use --format table or --format json
    "#);
    assert_snapshot!(refused(&room, 2, "run suite tasks --run-id ../x --sandbox memory"), @"error: --run-id ../x: an id may not hold '/'");
    assert_snapshot!(refused(&room, 2, "run suite tasks --rootfs nowhere --sandbox native"), @"
    error: the root file system nowhere cannot be read: No such file or directory (os error 2)
    hint: --rootfs takes host, a folder or a tar archive
    ");
    assert_snapshot!(refused(&room, 2, "show trial nowhere one"), @"
    error: .harness/runs/nowhere is not a run directory: it has no manifest.json
    hint: `harness list runs` shows what there is
    ");
    assert_snapshot!(refused(&room, 2, "resume nowhere"), @"
    error: there is no run nowhere in .harness/runs
    hint: `harness list runs` shows what there is
    ");
    assert_snapshot!(refused(&room, 2, "report"), @"
    error: there is no run yet
    hint: `harness run suite` makes one
    ");
    assert_snapshot!(refused(&room, 2, "report --format docx"), @"error: there is no format docx; there are: terminal, markdown, json, csv");
    assert_snapshot!(refused(&room, 2, "doctor --sandbox dokcer"), @r#"
    error: there is no sandbox "dokcer"
    hint: the sandboxes are native, docker, memory
    "#);
}

#[test]
fn what_the_arguments_themselves_forbid_is_refused_with_two() {
    let room = Room::new();
    for line in [
        "",
        "runn",
        "run suite --jobs many",
        "run task",
        "compare",
        "run suite --network loud",
        "new task x --repo y",
    ] {
        let done = room.harness(line).exits(2);
        assert!(done.out.is_empty() && !done.err.is_empty(), "{line}");
    }
}

#[test]
fn nothing_that_fits_the_filter_is_four() {
    let room = Room::with(&["one"]);
    assert_snapshot!(refused(&room, 4, "run suite tasks --sandbox memory --filter 'name == \"other\"'"), @"
    error: no task was selected
    hint: `harness list tasks` shows what there is
    ");
    assert_snapshot!(refused(&room, 4, "run suite tasks --sandbox memory --limit 0"), @"
    error: no task was selected
    hint: `harness list tasks` shows what there is
    ");
    std::fs::create_dir(room.path("empty")).unwrap();
    assert_snapshot!(refused(&room, 3, "run suite empty --sandbox memory"), @"error: empty: no task was found here (a task's folder holds task.toml, instruction.md, environment/ and tests/)");
}

#[test]
fn a_malformed_task_refuses_the_run_and_is_counted_with_keep_going() {
    let room = Room::with(&["good", "bad"]);
    room.write("tasks/bad/task.toml", "version = \"1.0\"\n[agent]\ntimeout_sec = \"long\"\n");
    assert_snapshot!(refused(&room, 3, "run suite tasks --sandbox memory"), @r#"
    error: tasks/bad/task.toml:3:15: "timeout_sec" in [agent] must be a number, not a string
    error: 1 task is invalid, so nothing was started
    hint: mend them, or run the others with --keep-going: invalid tasks are then counted and shown
    "#);
    let done =
        room.harness("run suite tasks --sandbox memory --agent oracle --keep-going -j 1 --run-id r").exits(0);
    assert_snapshot!(done.shown(), @r#"
    run r · tasks · DATE · harness 0.1.0
    tasks: 1 resolved / 1 run / 0 skipped / 1 invalid of 2 selected
    trials: 1 resolved / 0 unresolved / 0 stopped of 1 planned
    no model took part in this run

    variant  resolved  rate  95% interval  $/resolved  $ total  tokens  time  p95  lines  excluded
    oracle  1/1  100%  21%–100%  -  -  -  TIME  TIME  +1 -0  0
    95% interval: wilson, for tasks like these; tokens: mean; time, lines: median
    unknown for oracle: cost, tokens, tests (1 of 1 trial)

    task  variant  outcome  tests  time  tokens  cost  lines  why
    good  oracle  resolved  -  TIME  -  -  +1 -0

    invalid  why
    bad  tasks/bad/task.toml:3:15: "timeout_sec" in [agent] must be a number, not a string
    "#);
    let report = room.harness("report r --format json").exits(0).json();
    assert_snapshot!(report["invalid"], @r#"[{"task":"bad","file":"tasks/bad/task.toml:3:15","message":"\"timeout_sec\" in [agent] must be a number, not a string"}]"#);
}

#[test]
fn an_unknown_key_warns_with_the_nearest_known_one_and_the_run_goes_on() {
    let room = Room::with(&["one"]);
    let text = room.read("tasks/one/task.toml").replace("[agent]\n", "[agent]\ntimeuot_sec = 5\n");
    room.write("tasks/one/task.toml", &text);
    let done = room.harness("run suite tasks --sandbox memory --agent oracle -j 1 --run-id r").exits(0);
    assert_snapshot!(done.said(), @r#"
    warning: tasks/one/task.toml:14:1: unknown key "timeuot_sec" in [agent] (did you mean "timeout_sec"?)
    run r in .harness/runs/r
    [1/1] resolved  one/oracle/1 (TIME)
    completed (exit 0 means that all was tried, not that it was solved)
    "#);
}

#[test]
fn two_tasks_with_one_id_are_an_error() {
    let room = Room::with(&["one"]);
    room.write("more/one/x", "");
    std::fs::remove_dir_all(room.path("more/one")).unwrap();
    copy(&room.path("tasks/one"), &room.path("more/one"));
    assert_snapshot!(refused(&room, 3, "run task tasks/one more/one --sandbox memory"), @r#"
    error: more/one: two tasks have the id "one", the other is tasks/one (rename one of the folders)
    error: tasks/one: two tasks have the id "one", the other is more/one (rename one of the folders)
    error: 2 tasks are invalid, so nothing was started
    hint: mend them, or run the others with --keep-going: invalid tasks are then counted and shown
    "#);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_suite_all_of_whose_tasks_lack_their_tools_is_four_and_names_them() {
    let room = Room::with(&["one", "two"]);
    for task in ["one", "two"] {
        let file = format!("tasks/{task}/task.toml");
        let text = room.read(&file).replace("language =", "tools = [\"no-such-tool\"]\nlanguage =");
        room.write(&file, &text);
    }
    let done = room.harness("run suite tasks --sandbox memory -j 1 --run-id r").exits(4);
    assert_snapshot!(done.said(), @"
    run r in .harness/runs/r
    skipped one: no-such-tool not found in memory
    skipped two: no-such-tool not found in memory
    every selected task was skipped
    ");
    assert_snapshot!(done.shown(), @"
    run r · tasks · DATE · harness 0.1.0
    tasks: 0 resolved / 0 run / 2 skipped / 0 invalid of 2 selected
    trials: 0 resolved / 0 unresolved / 0 stopped of 0 planned
    no model took part in this run

    variant  resolved  rate  95% interval  $/resolved  $ total  tokens  time  p95  lines  excluded
    oracle  0/0  -  -  -  -  -  -  -  -  0
    noop  0/0  -  -  -  -  -  -  -  -  0

    skipped  why
    one  no-such-tool not found in memory
    two  no-such-tool not found in memory
    ");
    let report = room.harness("report r --format json").exits(0).json();
    assert_snapshot!(report["skipped"], @r#"[{"task":"one","reason":"no-such-tool not found in memory"},{"task":"two","reason":"no-such-tool not found in memory"}]"#);
}

#[test]
fn a_suite_that_the_sandbox_cannot_run_is_four_and_says_why() {
    let room = Room::with(&["one"]);
    let text = room.read("tasks/one/task.toml").replace("no-network", "public");
    room.write("tasks/one/task.toml", &text);
    assert_snapshot!(refused(&room, 4, "run suite tasks --sandbox memory"), @"
    skipped one: memory cannot do this here: networks; use --network none
    error: none of the selected tasks can run here
    hint: each line above says why; `harness doctor` says what works on this machine
    ");
}

#[test]
fn harness_faults_that_leave_trials_without_a_result_are_five() {
    let room = Room::with(&["one", "two"]);
    room.write("tasks/one/instruction.md", "");
    room.task("one");
    // The first trial's agent, a program on the host, puts a file where the second's folder belongs.
    let agent = "touch .harness/runs/r/trials/two";
    room.write("agent.sh", agent);
    let line = "run suite tasks --agent command --agent-set host='sh agent.sh' --sandbox memory -j 1 --retries 0 --run-id r";
    let done = room.harness(line).exits(5);
    assert_snapshot!(done.said(), @"
    run r in .harness/runs/r
    [1/2] unresolved one/command+host=sh_agent.sh~2fc3b3/1 (TIME): reward is 0, below 1
    [2/2] stopped  two/command+host=sh_agent.sh~2fc3b3/1 (TIME): cannot make .harness/runs/r/trials/two/command+host=sh_agent.sh~2fc3b3/1: Not a directory (os error 20)
    warning: 1 trial without a result by the harness's own fault; not counted for or against any agent
    ");
    let report = room.harness("report r --format json").exits(0).json();
    assert_eq!(report["trials"][1]["blame"], "harness");
}
