//! The agents through a whole trial: a command inside, and a program on the host.

use std::time::Duration;

use harness_core::{AgentExit, NanoUsd, Outcome, UsageSource};

use crate::support::{World, write};

#[tokio::test]
async fn command_gets_the_instruction_its_set_up_and_its_variables_and_its_account_is_its_own() {
    let mut world = World::new();
    world.plain("one");
    // The variable is one that cargo sets for every test.
    let run = "grep -q 'the right answer' $HARNESS_INSTRUCTION_FILE || exit 4; \
               [ \"$HARNESS_INSTRUCTION\" = 'write the right answer' ] || exit 5; \
               [ -n \"$CARGO_PKG_NAME\" ] || exit 6; [ -z \"$CARGO_PKG_VERSION\" ] || exit 7; \
               cat /tmp/made > /work/answer; \
               echo '{\"usage\":{\"output_tokens\":7,\"requests\":2},\"cost_usd\":0.5}' > $HARNESS_REPORT_FILE";
    let settings = [("run", run), ("setup", "echo right > /tmp/made"), ("env", "CARGO_PKG_NAME")];
    world.agent("mine", "command", &settings);
    world.run().await;
    let record = world.record("one/mine/1");
    assert_eq!(
        (&record.outcome, record.agent_exit),
        (&Outcome::Resolved, Some(AgentExit::Finished)),
        "{:?}",
        record.integrity
    );
    assert_eq!((record.usage.output_tokens, record.usage.requests), (Some(7), Some(2)));
    assert_eq!((record.usage.source, record.usage.uncached_input_tokens), (Some(UsageSource::Agent), None));
    assert_eq!(record.cost, Some(NanoUsd(500_000_000)));
}

#[tokio::test]
async fn command_shows_its_tools_inside() {
    let mut world = World::new();
    world.plain("one");
    let tools = world.folder().join("tools");
    write(&tools.join("bin/answer"), "#!/bin/sh\necho right\n");
    std::fs::set_permissions(tools.join("bin/answer"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let tools = tools.to_str().unwrap().to_owned();
    world.agent("mine", "command", &[("run", "answer > /work/answer"), ("tools", &tools)]);
    world.run().await;
    assert_eq!(world.record("one/mine/1").outcome, Outcome::Resolved);
}

#[tokio::test(start_paused = true)]
async fn command_that_is_out_of_time_is_judged_and_keeps_its_account() {
    let mut world = World::new();
    world.task("one", |task, _| task.steps[0].agent.timeout = Some(Duration::from_secs(5)));
    let run = "echo right > /work/answer; echo '{\"cost_usd\":1}' > $HARNESS_REPORT_FILE; sleep 100";
    world.agent("mine", "command", &[("run", run), ("setup", "sleep 4")]);
    world.run().await;
    let record = world.record("one/mine/1");
    assert_eq!((record.outcome, record.agent_exit), (Outcome::Resolved, Some(AgentExit::TimedOut)));
    assert_eq!(record.cost, Some(NanoUsd(1_000_000_000)));
}

#[tokio::test(start_paused = true)]
async fn command_set_up_is_not_counted_as_its_time() {
    let mut world = World::new();
    world.task("one", |task, _| {
        task.steps[0].agent.timeout = Some(Duration::from_secs(30));
        task.environment.build_timeout = Duration::from_secs(30);
    });
    world.agent("mine", "command", &[("setup", "sleep 25"), ("run", "sleep 25; echo right > /work/answer")]);
    world.run().await;
    let record = world.record("one/mine/1");
    assert_eq!((record.outcome, record.agent_exit), (Outcome::Resolved, Some(AgentExit::Finished)));
}

/// A host program in Python; `None` where there is none.
fn python(world: &World, body: &str) -> Option<String> {
    let found = std::process::Command::new("python3").arg("--version").output();
    if found.is_err() {
        return None;
    }
    let file = world.folder().join("agent.py");
    let prelude = "import sys, json, time, os\n\
        task = json.loads(sys.stdin.readline())\n\
        def send(**line): print(json.dumps(line), flush=True)\n\
        def call(**line):\n    send(id=1, **line)\n    return json.loads(sys.stdin.readline())\n";
    write(&file, &format!("{prelude}{body}"));
    Some(format!("python3 '{}'", file.display()))
}

/// Runs a host program on one task and returns its record; `None` where there is no Python.
async fn host(body: &str, change: impl FnOnce(&mut World)) -> Option<(World, harness_core::TrialRecord)> {
    let mut world = World::new();
    world.plain("one");
    change(&mut world);
    let program = python(&world, body)?;
    world.agent("mine", "command", &[("host", &program)]);
    world.run().await;
    let record = world.record("one/mine/1");
    Some((world, record))
}

macro_rules! need_python {
    ($found:expr) => {
        match $found {
            Some(found) => found,
            None => {
                // The test's name in the output of `--nocapture` says what was left out.
                eprintln!("skipped: there is no python3 on this machine");
                return;
            }
        }
    };
}

#[tokio::test]
async fn host_program_is_served_the_sandbox_over_json_lines() {
    let body = r#"
assert task["type"] == "task" and task["protocol"] == 1 and task["instruction"] == "write the right answer", task
ran = call(call="exec", command="echo out; echo err >&2; exit 3")["ok"]
assert (ran["exit_code"], ran["stdout"], ran["stderr"], ran["timed_out"]) == (3, "out\n", "err\n", False), ran
ran = call(call="exec", argv=["cat"], stdin="given")["ok"]
assert ran["stdout"] == "given", ran
ran = call(call="exec", command="sleep 100", timeout_sec=0.2)["ok"]
assert ran["timed_out"] is True, ran
assert "error" in call(call="exec", argv=["no-such-program"])
assert "error" in call(call="nonsense")
assert "error" in call(call="write", path="x")
assert call(call="write", path="answer", text="right\n") == {"id": 1, "ok": {}}
assert call(call="read", path="/work/answer")["ok"] == {"text": "right\n"}
assert "error" in call(call="read", path="/work/nothing")
send(call="log", text="hello log")
print("hello stderr", file=sys.stderr, flush=True)
send(call="report", usage={"output_tokens": 1}, cost_usd=0.01)
send(call="report", usage={"output_tokens": 3, "uncached_input_tokens": 4}, cost_usd=0.02)
send(call="done", status="finished")
"#;
    let (world, record) = need_python!(host(body, |_| {}).await);
    let log = world.file("one/mine/1", "agent.log");
    assert_eq!(record.agent_exit, Some(AgentExit::Finished), "{log}");
    assert_eq!(record.outcome, Outcome::Resolved);
    assert_eq!((record.usage.total(), record.usage.source), (Some(7), Some(UsageSource::Agent)));
    assert_eq!(record.cost, Some(NanoUsd(20_000_000)));
    assert!(log.contains("hello log") && log.contains("hello stderr"), "{log}");
}

#[tokio::test]
async fn host_program_that_dies_has_crashed_and_is_judged() {
    let body = "call(call='write', path='answer', text='right\\n')\nos._exit(7)\n";
    let (_, record) = need_python!(host(body, |_| {}).await);
    assert_eq!((record.outcome, record.agent_exit), (Outcome::Resolved, Some(AgentExit::Crashed)));
    assert!(
        record.integrity.iter().any(|note| note.detail.contains("exit status: 7")),
        "{:?}",
        record.integrity
    );
}

#[tokio::test]
async fn host_program_that_cannot_start_has_crashed() {
    let mut world = World::new();
    world.plain("one");
    world.agent("mine", "command", &[("host", "/no/such/program --flag")]);
    world.run().await;
    let record = world.record("one/mine/1");
    assert_eq!(record.agent_exit, Some(AgentExit::Crashed));
    assert!(matches!(record.outcome, Outcome::Unresolved { .. }));
}

#[tokio::test]
async fn host_program_out_of_time_ends_with_all_it_started_and_keeps_what_it_reported() {
    let body = r#"
import subprocess
child = subprocess.Popen(["sleep", "1000"])
send(call="report", usage={"output_tokens": 5}, cost_usd=0.25)
call(call="write", path="answer", text="right\n")
call(call="write", path="pid", text=str(child.pid))
time.sleep(1000)
"#;
    let short = |world: &mut World| {
        world.task("one", |task, _| task.steps[0].agent.timeout = Some(Duration::from_secs(2)));
    };
    let began = std::time::Instant::now();
    let (world, record) = need_python!(host(body, short).await);
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "its own deadline ends it, not the engine's last resort"
    );
    assert_eq!((record.outcome, record.agent_exit), (Outcome::Resolved, Some(AgentExit::TimedOut)));
    assert_eq!((record.usage.output_tokens, record.cost), (Some(5), Some(NanoUsd(250_000_000))));
    let patch = world.file("one/mine/1", "patch.diff");
    let pid = patch.lines().find_map(|line| line.strip_prefix('+')?.parse::<u32>().ok()).unwrap();
    let gone = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        status.is_empty() || status.contains(") Z ")
    };
    let limit = std::time::Instant::now() + Duration::from_secs(5);
    while !gone() {
        assert!(std::time::Instant::now() < limit, "the program's child lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn host_program_sees_no_variable_that_was_not_named() {
    let body = r#"
extra = sorted(name for name in os.environ if name.startswith("CARGO") or name.startswith("RUST"))
call(call="write", path="answer", text="right\n" if not extra else "\n".join(extra))
send(call="done", status="gave_up", message="bye")
"#;
    let (_, record) = need_python!(host(body, |_| {}).await);
    assert_eq!((record.outcome, record.agent_exit), (Outcome::Resolved, Some(AgentExit::GaveUp)));
}

#[tokio::test]
async fn host_program_with_a_line_without_end_is_cut_off() {
    let body = "sys.stdout.write('x' * (33 << 20))\nsys.stdout.flush()\ntime.sleep(1000)\n";
    let (_, record) = need_python!(host(body, |_| {}).await);
    assert_eq!(record.agent_exit, Some(AgentExit::Crashed));
    assert!(
        record.integrity.iter().any(|note| note.detail.contains("a line of more than")),
        "{:?}",
        record.integrity
    );
}
