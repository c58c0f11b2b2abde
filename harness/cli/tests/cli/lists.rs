//! `harness list …`: tables for people, arrays for scripts.

use insta::assert_snapshot;

use crate::room::Room;

#[test]
fn everything_can_be_listed_for_people() {
    let room = Room::with(&["one", "two"]);
    assert_snapshot!(room.harness("list suites").exits(0).shown(), @"starter  real work in miniature: bug fixes, refactorings and terminal work in shell, C, Rust, Python and JavaScript");
    assert_snapshot!(room.harness("list tasks tasks").exits(0).shown(), @"
    one  easy  shell
    two  easy  shell
    ");
    assert_snapshot!(room.harness("list agents").exits(0).shown(), @"
    core  the built-in agent: a loop on the host, tools in the sandbox, nothing to install
                    wire  which API the model is asked by, where its provider speaks several: openai, openai-chat, anthropic or google
                    effort  how hard the model is to think: none, minimal, low, medium, high, xhigh, max, or dynamic (begins at low, raised on failing tests, loops and findings of the review); left out: the provider's own
                    temperature  0 to 2, where the model has it
                    seed  a whole number, where the model has it
                    prompt  which instructions the model gets: standard or brief; left out: standard
                    system_prompt  a text in place of those instructions
                    instructions  a text after those instructions
                    tools  the tools that the model is given, of bash, read, search, edit, write, submit; left out: all
                    edit_format  how files are changed: replace (a text by another), patch (several changes at once, as apply_patch takes them), whole (a file as a whole, no edit tool); left out: replace
                    plan  on: sub-goals are written down first; left out: off, or on where goal is require
                    review  on: what was done is looked at with fresh eyes before it is handed in; left out: off
                    review_rounds  how often the review may send work back; left out: 2
                    goal  off, advise (a failing test is said once when work is handed in) or require (no end before it passes); left out: off, or require with a test_command
                    test_command  the command that must pass; left out: found by what lies in the working folder
                    test_timeout  seconds for it; left out: 600
                    max_tokens_per_task  tokens of input and output together after which it stops
                    max_cost  dollars after which the gateway refuses
                    max_duration  seconds after which it stops
                    max_steps  answers of the model after which it stops; left out: 250
                    max_output_tokens  most tokens of one answer; left out: 16384
                    context_window  tokens that the model takes in; left out: by what is known of the model
                    context_policy  what goes when the window fills: none, mask (old output of tools), summarise (old turns), hybrid (first the one, then the other); left out: hybrid
                    context_at  percent of the window from which on that is done; left out: 80
                    output_cap  bytes of a tool's output that the model gets, half of them from its end; left out: 16000
                    command_timeout  seconds for a command that asks for no other time; left out: 120
                    allowed_paths  globs below the working folder, or from the root: only there may files change
                    excluded_paths  globs: taken out of sight while it works, and put back as they were
                    subtask_model  PROVIDER/MODEL for plan, review and summaries; left out: the same
                    prompt_caching  off, 5m or 1h, where the provider lets choose; left out: the provider's ordinary
    oracle  runs the task's own solution: what a sound task resolves
                    script  a script below the task's folder to run in place of solution/solve.sh
                    then  `visible`: run the task's visible test afterwards; where it fails the agent counts as crashed
    noop  does nothing: what a sound task does not resolve
    command  any program: a command inside the sandbox, or a host program speaking JSON lines
                    run  shell command run inside, in the working folder; $HARNESS_INSTRUCTION_FILE and $HARNESS_INSTRUCTION hold the instruction
                    host  program on the host and its arguments; it is served the sandbox as JSON lines on its stdin and stdout
                    tools  folder on the host that is shown read-only at /opt/agent, first in PATH by its bin
                    env  names of host variables that it gets; nothing else of the host's environment reaches it
                    setup  shell command run inside as root before it, not counted as its time
    codex  OpenAI's codex from npm, in the sandbox, for models of the Responses API (0.169.0)
                    version  which version of npm's package, exactly; the one that `list agents` shows by default
                    effort  none, minimal, low, medium, high or xhigh
                    max_cost  dollars: it has no such limit, the gateway keeps it before each request
                    max_tokens  tokens by its own count, which leaves cached input out; the run's budgets are kept by the gateway
    claude-code  Claude Code from npm, in the sandbox, for models of the Messages API (2.1.329)
                    version  which version of npm's package, exactly; the one that `list agents` shows by default
                    mode  `full` (by default) or `bare`: three tools and a short prompt, which is another agent
                    max_turns  at most so many turns of its own loop
                    max_cost  dollars: by its own bill, which it looks at after each answer, and by the gateway's before each request
                    effort  low, medium, high, xhigh or max
                    append_prompt  text after its own system prompt
                    tools  its built-in tools that it may use, by their names; all of them by default
    mini-swe-agent  mini-swe-agent from PyPI with its own Python, in the sandbox, for models of the Chat and Responses APIs (2.4.6)
                    version  which version of PyPI's package, exactly; the one that `list agents` shows by default
                    max_steps  at most so many answers of the model
                    max_cost  dollars: by its own bill, which knows few models, and by the gateway's before each request
                    command_timeout_sec  seconds that one command may take; 30 by default
                    wire  openai-chat or openai (Responses); where the provider has both, openai-chat by default
    ");
    assert_snapshot!(room.harness("list sandboxes").exits(0).shown(), @"
    native  Linux namespaces and overlays, no engine needed; starts in milliseconds
    docker  containers of Docker or Podman; builds and uses images
    memory  for tests; runs nothing real
    ");
    assert_snapshot!(room.harness("list formats").exits(0).shown(), @"
    harbor  tasks  task folders of Harbor and Terminal-Bench 2 (task.toml 1.0 to 1.4), and this program's own
    terminal  reports  tables for people, as wide as the terminal
    markdown  reports  tables for comments and notes
    json  reports  every field, for programs
    csv  reports  one row a trial, for spreadsheets and data frames
    ");
    assert_snapshot!(room.harness("list metrics").exits(0).shown(), @"
    resolved_rate  resolved of the trials that count, with a Wilson 95 % interval
    pass_at_k  chance that at least one of k attempts resolves, unbiased, mean over tasks
    tiers  resolved of the trials that count, by the tasks' tier: simple, medium, complex, major
    score  the verifier's reward, mean
    cost_usd  money in all, per trial, per resolved trial; unknown is not zero
    tokens  tokens by exclusive bucket
    diff  size of the change: files, hunks, lines added and removed
    duration_ms  wall time of each phase, median and 95th percentile
    cpu_ms  processor time of the sandbox
    peak_memory_bytes  largest memory of the sandbox
    ");
    assert_snapshot!(room.harness("list runs").exits(0).shown(), @"");
}

#[test]
fn every_list_is_an_array_of_named_things_for_scripts() {
    let room = Room::with(&["one", "two"]);
    room.harness("run suite tasks --sandbox memory --agent noop --run-id first").exits(0);
    for what in ["suites", "tasks tasks", "agents", "sandboxes", "formats", "metrics", "runs"] {
        let list = room.harness(&format!("list {what} --format json")).exits(0).json();
        let rows = list.as_array().unwrap_or_else(|| panic!("{what}: {list}"));
        assert!(!rows.is_empty(), "{what}");
        assert!(rows.iter().all(|row| row["name"].is_string()), "{what}: {list}");
    }
}

#[test]
fn runs_are_listed_newest_first() {
    let room = Room::with(&["one"]);
    for run in ["b", "a", "c"] {
        room.harness(&format!("run suite tasks --sandbox memory --agent noop --run-id {run}")).exits(0);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let list = room.harness("list runs --format json").exits(0).json();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["c", "a", "b"]);
    assert_snapshot!(room.harness("list runs").exits(0).shown(), @"
    c  DATE
    a  DATE
    b  DATE
    ");
}

#[test]
fn tasks_that_are_invalid_are_listed_as_such() {
    let room = Room::with(&["bad", "good"]);
    room.write("tasks/bad/task.toml", "version = 3");
    assert_snapshot!(room.harness("list tasks tasks").exits(0).shown(), @r#"
    good  easy  shell
    bad  invalid: "version" must be a string, not a whole number
    "#);
}

#[test]
fn the_doctor_says_what_works_within_eighty_columns() {
    let room = Room::new();
    let mut command = room.command();
    command.env("COLUMNS", "80").arg("doctor");
    // Zero or one: whether a sandbox works is the machine's business.
    let done = room.finish(command, "doctor");
    assert!(done.code <= 1 && done.out.contains("memory: works"), "{}", done.out);
    assert!(done.out.contains("not isolated or limited runs nothing real"), "{}", done.out);
    for line in done.out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let json = room.harness("doctor --sandbox memory --format json").exits(0).json();
    assert_eq!(json["sandboxes"][0]["works"], true);
}
