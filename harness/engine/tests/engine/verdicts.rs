//! What a trial's record says, for every way in which a trial can end.

use std::collections::BTreeMap;
use std::time::Duration;

use harness_core::task::{Artifact, Collect, MinReward, VerifierMode};
use harness_core::{
    AgentExit, Blame, Digest, EnvironmentSource, Event, Healthcheck, Outcome, Phase, Severity, Task,
};

use crate::support::{World, step, write};

fn unresolved(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Unresolved { reason } => reason,
        other => panic!("{other:?}"),
    }
}

fn stopped(outcome: &Outcome) -> (Phase, Blame, &str) {
    match outcome {
        Outcome::Stopped { phase, blame, reason } => (*phase, *blame, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn oracle_resolves_noop_does_not_and_both_records_are_whole() {
    let mut world = World::new();
    world.plain("one");
    world.agent("oracle", "oracle", &[]);
    world.agent("noop", "noop", &[]);
    let end = world.run().await;
    assert!(end.complete() && !end.interrupted && !end.failed_fast);
    assert_eq!((end.planned, end.finished, end.skipped, end.harness_faults), (2, 2, 0, 0));

    let solved = world.record("one/oracle/1");
    assert_eq!(solved.outcome, Outcome::Resolved);
    assert_eq!((solved.score, solved.agent_exit), (Some(1.0), Some(AgentExit::Finished)));
    assert_eq!(solved.rewards, Some(BTreeMap::from([("reward".to_owned(), 1.0)])));
    assert_eq!((&*solved.agent, solved.model, solved.steps), ("oracle", None, None));
    // Nobody counted: unknown, not zero.
    assert_eq!((solved.usage, solved.cost), (Default::default(), None));
    assert_eq!((solved.cpu_ms, solved.peak_memory_bytes), (None, None));
    let diff = solved.diff.unwrap();
    assert_eq!((diff.files, diff.hunks, diff.added, diff.removed), (1, 1, 1, 0));
    assert!(world.file("one/oracle/1", "patch.diff").contains("+right"));
    assert_eq!((&*solved.sandbox.backend, &*solved.sandbox.network), ("memory", "none"));
    assert_eq!(solved.tries.len(), 1);
    assert!(solved.started_ms > 0 && solved.finished_ms >= solved.started_ms);
    let phases = solved.durations;
    let sum = phases.prepare + phases.solve + phases.capture + phases.verify + phases.teardown;
    assert!(sum <= phases.total + 5, "{phases:?}");
    assert_eq!(world.file("one/oracle/1", "verifier/reward.txt"), "1\n");

    let idle = world.record("one/noop/1");
    assert!(!unresolved(&idle.outcome).is_empty());
    assert_eq!((idle.score, idle.agent_exit), (Some(0.0), Some(AgentExit::Finished)));

    let phases: Vec<_> = world
        .seen
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            Event::PhaseEntered { id, phase } if id.path() == "one/oracle/1" => Some(*phase),
            _ => None,
        })
        .collect();
    assert_eq!(phases, Phase::ALL);
}

#[tokio::test(start_paused = true)]
async fn timed_out_agent_is_judged_on_what_it_had_and_nothing_of_it_lives_on() {
    let mut world = World::new();
    world.task("late", |task, origin| {
        // Right at the deadline; anything that lived on would make it wrong again within the hook's time.
        let script = "#!/bin/sh\necho right > /work/answer\ntrap '' TERM\n(while true; do sleep 1; done; echo wrong > /work/answer) &\n(sleep 6; echo wrong > /work/answer) &\nsetsid sh -c 'sleep 6; echo wrong > /work/answer' &\nsleep 1000\n";
        write(&origin.join("solution/solve.sh"), script);
        task.steps[0].agent.timeout = Some(Duration::from_secs(3));
        let hook = Collect { command: "sleep 5".into(), user: None, timeout: Duration::from_secs(9) };
        task.steps[0].verifier.collect.push(hook);
    });
    world.agent("oracle", "oracle", &[]);
    world.run().await;
    let record = world.record("late/oracle/1");
    assert_eq!((record.outcome, record.agent_exit), (Outcome::Resolved, Some(AgentExit::TimedOut)));
}

#[tokio::test(start_paused = true)]
async fn service_of_an_agent_that_ended_by_itself_lives_through_the_tests() {
    let mut world = World::new();
    world.task("service", |_, origin| {
        let script = "#!/bin/sh\nsetsid sh -c 'while true; do sleep 1; echo right > /work/answer; done' &\n";
        write(&origin.join("solution/solve.sh"), script);
        let test = "#!/bin/sh\nrm -f /work/answer\nsleep 3\ngrep -q right /work/answer && echo 1 > /logs/verifier/reward.txt || echo 0 > /logs/verifier/reward.txt\n";
        write(&origin.join("tests/test.sh"), test);
    });
    world.agent("oracle", "oracle", &[]);
    world.run().await;
    assert_eq!(world.record("service/oracle/1").outcome, Outcome::Resolved);
}

#[tokio::test]
async fn crashed_agent_is_judged_too() {
    let mut world = World::new();
    world.task("crash", |_, origin| {
        write(&origin.join("solution/solve.sh"), "#!/bin/sh\necho right > /work/answer\nexit 3\n");
    });
    world.agent("oracle", "oracle", &[]);
    world.run().await;
    let record = world.record("crash/oracle/1");
    assert_eq!((record.outcome, record.agent_exit), (Outcome::Resolved, Some(AgentExit::Crashed)));
    assert!(record.integrity.iter().any(|note| note.check == "agent_said"), "{:?}", record.integrity);
}

/// Gives no verdict when the agent left `/work/poison`.
const POISONED: &str =
    "#!/bin/sh\nif [ -e /work/poison ]; then exit 1; fi\necho 1 > /logs/verifier/reward.txt\n";

#[tokio::test]
async fn agent_that_disables_the_verifier_is_unresolved_and_never_paid() {
    let mut world = World::new();
    world.task("poison", |_, origin| {
        write(&origin.join("tests/test.sh"), POISONED);
        write(&origin.join("solution/solve.sh"), "#!/bin/sh\necho > /work/poison\n");
    });
    world.agent("oracle", "oracle", &[]);
    let end = world.run().await;
    assert_eq!(end.harness_faults, 0);
    let record = world.record("poison/oracle/1");
    assert!(unresolved(&record.outcome).contains("in the untouched environment"), "{:?}", record.outcome);
    assert_eq!(record.score, Some(0.0));
    let finding = record.integrity.iter().find(|finding| finding.check == "verifier_disabled").unwrap();
    assert_eq!(finding.severity, Severity::Tampered);
}

#[tokio::test]
async fn task_whose_tests_never_give_a_verdict_is_to_blame_itself() {
    for script in ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho nan > /logs/verifier/reward.txt\n", "#!/bin/sh\n"]
    {
        let mut world = World::new();
        world.task("mute", |_, origin| write(&origin.join("tests/test.sh"), script));
        world.agent("oracle", "oracle", &[]);
        let end = world.run().await;
        assert_eq!((end.finished, end.harness_faults), (1, 0));
        let record = world.record("mute/oracle/1");
        let (phase, blame, reason) = stopped(&record.outcome);
        assert_eq!((phase, blame, record.score), (Phase::Verify, Blame::Task, None), "{reason}");
        assert_eq!(record.tries.len(), 1, "what the task broke is not tried again");
    }
}

#[tokio::test]
async fn missing_test_script_is_the_tasks_fault() {
    let mut world = World::new();
    world.task("bare", |_, origin| std::fs::remove_file(origin.join("tests/test.sh")).unwrap());
    world.agent("noop", "noop", &[]);
    world.run().await;
    let record = world.record("bare/noop/1");
    assert_eq!(stopped(&record.outcome).1, Blame::Task);
}

#[tokio::test(start_paused = true)]
async fn tests_that_never_end_on_what_the_agent_left_are_the_agents_doing() {
    let mut world = World::new();
    world.task("hang", |task, origin| {
        let test =
            "#!/bin/sh\nwhile [ -e /work/poison ]; do sleep 1; done\necho 1 > /logs/verifier/reward.txt\n";
        write(&origin.join("tests/test.sh"), test);
        write(&origin.join("solution/solve.sh"), "#!/bin/sh\necho > /work/poison\n");
        task.steps[0].verifier.timeout = Duration::from_secs(5);
    });
    world.agent("oracle", "oracle", &[]);
    world.run().await;
    let record = world.record("hang/oracle/1");
    assert!(unresolved(&record.outcome).contains("did not end within their 5 s"), "{:?}", record.outcome);
}

#[tokio::test]
async fn tests_and_solution_are_nowhere_while_the_agent_works_nor_what_it_pre_writes_in_the_verdict() {
    let mut world = World::new();
    world.plain("peek");
    let look = "ls /tests /solution; mkdir -p /logs/verifier /tests; echo 1 > /logs/verifier/reward.txt; echo 'echo 1 > /logs/verifier/reward.txt' > /tests/test.sh";
    world.agent("cheat", "command", &[("run", look)]);
    world.run().await;
    let record = world.record("peek/cheat/1");
    assert_eq!(record.score, Some(0.0), "{:?}", record.outcome);
    let log = world.file("peek/cheat/1", "agent.log");
    assert!(!log.contains("test.sh") && !log.contains("solve.sh"), "{log}");
}

/// Three steps with a solution of its own each; `least` is the second's.
fn three_steps(task: &mut Task, origin: &std::path::Path, least: f64, second: &str) {
    task.steps.clear();
    for (at, answer) in [(1, "a"), (2, second), (3, "c")] {
        let folder = origin.join(format!("steps/{at}"));
        write(&folder.join("solution/solve.sh"), &format!("#!/bin/sh\necho {answer} > /work/{at}\n"));
        let wanted = ["a", "b", "c"][at - 1];
        let test = format!(
            "#!/bin/sh\nreward=0\nif grep -q '^{wanted}$' /work/{at}; then reward=1; fi\necho $reward > /logs/verifier/reward.txt\n"
        );
        write(&folder.join("tests/test.sh"), &test);
        let mut one = step(&folder);
        one.name = Some(format!("part-{at}"));
        one.min_reward = (at == 2).then_some(MinReward::One(least));
        task.steps.push(one);
    }
}

#[tokio::test]
async fn steps_share_a_sandbox_and_a_reward_below_the_least_ends_the_task() {
    let mut world = World::new();
    world.task("good", |task, origin| three_steps(task, origin, 1.0, "b"));
    world.task("low", |task, origin| three_steps(task, origin, 1.0, "x"));
    world.task("lax", |task, origin| three_steps(task, origin, 0.0, "x"));
    world.agent("oracle", "oracle", &[]);
    world.run().await;

    let good = world.record("good/oracle/1");
    assert_eq!((&good.outcome, good.score), (&Outcome::Resolved, Some(1.0)));
    let steps = good.steps.unwrap();
    assert_eq!(steps.iter().map(|step| &*step.name).collect::<Vec<_>>(), ["part-1", "part-2", "part-3"]);
    assert!(steps.iter().all(|step| step.rewards.is_some()));

    let low = world.record("low/oracle/1");
    assert!(matches!(low.outcome, Outcome::Unresolved { .. }));
    let steps = low.steps.unwrap();
    assert_eq!(steps[2].rewards, None);
    assert!(steps[2].reason.is_some(), "a step that was not tried says so");

    let lax = world.record("lax/oracle/1");
    assert!(matches!(lax.outcome, Outcome::Unresolved { .. }));
    assert!(lax.steps.unwrap()[2].rewards.is_some());
}

#[tokio::test]
async fn agent_that_disables_the_verifier_of_a_step_with_files_is_not_excused() {
    // The tests need the step's own files: without them they give no verdict, which must not look like a broken task.
    let mut world = World::new();
    world.task("files", |task, origin| {
        write(&origin.join("workdir/input"), "in\n");
        write(&origin.join("workdir/setup.sh"), "#!/bin/sh\necho made > /work/made\n");
        task.steps[0].workdir_files = Some(origin.join("workdir"));
        let test = "#!/bin/sh\ngrep -q in /work/input || exit 1\ngrep -q made /work/made || exit 1\nif [ -e /work/poison ]; then exit 1; fi\necho 1 > /logs/verifier/reward.txt\n";
        write(&origin.join("tests/test.sh"), test);
        write(&origin.join("solution/solve.sh"), "#!/bin/sh\necho > /work/poison\n");
    });
    world.agent("oracle", "oracle", &[]);
    world.agent("noop", "noop", &[]);
    world.run().await;
    assert_eq!(world.record("files/noop/1").outcome, Outcome::Resolved);
    let record = world.record("files/oracle/1");
    unresolved(&record.outcome);
}

#[tokio::test]
async fn separate_verifier_gets_artifacts_and_nothing_else() {
    let mut world = World::new();
    world.task("apart", |task, origin| {
        // The verifier's own environment has a file that the agent's lacks, so a mix-up shows.
        write(&origin.join("verifier/Dockerfile"), "FROM x\nWORKDIR /work\nRUN echo own > /etc/verifier\n");
        let mut own = task.environment.clone();
        own.source = EnvironmentSource::Dockerfile {
            file: origin.join("verifier/Dockerfile"),
            context: origin.join("verifier"),
        };
        task.steps[0].verifier.mode = VerifierMode::Separate(Some(Box::new(own)));
        let take = |source: &str| Artifact { source: source.into(), destination: None, exclude: Vec::new() };
        task.artifacts = vec![take("/work/answer"), take("/work/never-made")];
        let solve = "#!/bin/sh\nls /etc/verifier && exit 9\necho right > /work/answer\necho secret > /work/other\nmkdir -p /logs/artifacts\necho more > /logs/artifacts/more\n";
        write(&origin.join("solution/solve.sh"), solve);
        let test = "#!/bin/sh\nreward=1\ngrep -q own /etc/verifier || reward=0.1\ngrep -q right /work/answer || reward=0.2\ngrep -q more /logs/artifacts/more || reward=0.3\nif [ -e /work/other ]; then reward=0.4; fi\necho $reward > /logs/verifier/reward.txt\n";
        write(&origin.join("tests/test.sh"), test);
    });
    world.agent("oracle", "oracle", &[]);
    world.agent("noop", "noop", &[]);
    world.run().await;
    let record = world.record("apart/oracle/1");
    assert_eq!(
        (record.score, record.agent_exit),
        (Some(1.0), Some(AgentExit::Finished)),
        "{:?}",
        record.outcome
    );
    assert_eq!(record.outcome, Outcome::Resolved);
    let manifest = world.file("apart/oracle/1", "artifacts/manifest.json");
    assert!(manifest.contains("missing") && manifest.contains("/work/never-made"), "{manifest}");
    assert_eq!(world.record("apart/noop/1").score, Some(0.3));
}

#[tokio::test(start_paused = true)]
async fn environment_that_never_becomes_healthy_is_the_tasks_fault() {
    let check = |command: &str, retries| Healthcheck {
        command: command.into(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        start_period: Duration::ZERO,
        start_interval: Duration::from_secs(1),
        retries,
    };
    let mut world = World::new();
    world.task("ill", |task, _| task.environment.healthcheck = Some(check("echo no pulse >&2; exit 1", 3)));
    world.task("hangs", |task, _| task.environment.healthcheck = Some(check("sleep 100", 2)));
    world.task("slow", |task, _| {
        task.environment.healthcheck = Some(check("echo x >> /tmp/n; [ $(wc -l < /tmp/n) -ge 3 ]", 5));
    });
    world.agent("oracle", "oracle", &[]);
    world.run().await;
    for task in ["ill", "hangs"] {
        let record = world.record(&format!("{task}/oracle/1"));
        let (phase, blame, reason) = stopped(&record.outcome);
        assert_eq!((phase, blame, record.agent_exit), (Phase::Prepare, Blame::Task, None), "{reason}");
        assert!(task != "ill" || reason.contains("no pulse"), "{reason}");
    }
    assert_eq!(world.record("slow/oracle/1").outcome, Outcome::Resolved);
}

#[tokio::test]
async fn environment_that_does_not_build_is_the_tasks_fault_and_names_the_line() {
    let mut world = World::new();
    world.task("broken", |task, origin| {
        write(&origin.join("environment/Dockerfile"), "FROM x\nRUN echo about to fail; exit 4\n");
        task.environment.source = EnvironmentSource::Dockerfile {
            file: origin.join("environment/Dockerfile"),
            context: origin.join("environment"),
        };
    });
    world.plain("sound");
    world.agent("oracle", "oracle", &[]);
    world.run().await;
    let record = world.record("broken/oracle/1");
    let (phase, blame, reason) = stopped(&record.outcome);
    assert_eq!((phase, blame), (Phase::Prepare, Blame::Task));
    assert!(reason.contains("about to fail"), "{reason}");
    assert_eq!(world.record("sound/oracle/1").outcome, Outcome::Resolved);
}

#[tokio::test]
async fn task_whose_tools_are_missing_is_skipped_by_name_and_not_counted() {
    let mut world = World::new();
    world.attempts = 3;
    world.task("needy", |task, _| task.hints.tools = vec!["sh".into(), "no-such-tool".into()]);
    world.task("served", |task, _| task.hints.tools = vec!["sh".into(), "cat".into()]);
    world.agent("oracle", "oracle", &[]);
    world.agent("noop", "noop", &[]);
    let end = world.run().await;
    assert_eq!((end.planned, end.finished, end.skipped, end.harness_faults), (12, 6, 6, 0));
    assert!(end.complete());
    let journal = world.journal();
    let skips: Vec<_> = journal
        .entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::TaskSkipped { task, reason } => Some((task.as_str(), reason.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(skips.len(), 1);
    assert_eq!(skips[0].0, "needy");
    assert!(skips[0].1.starts_with("no-such-tool not found"), "{}", skips[0].1);
    assert!(journal.finished().all(|record| record.id.task.as_str() == "served"));
    // Resuming what is complete does nothing and counts the same.
    let again = world.run().await;
    assert_eq!((again.finished, again.skipped, again.complete()), (6, 6, true));
}

#[tokio::test]
async fn reports_of_the_tests_are_counted_beside_the_reward() {
    let mut world = World::new();
    world.task("counted", |task, origin| {
        let report = r#"{"results":{"tool":{"name":"t"},"summary":{"tests":3,"passed":2,"failed":1,"pending":0,"skipped":0,"other":0,"start":0,"stop":1},"tests":[{"name":"a","status":"passed","duration":1},{"name":"b","status":"passed","duration":1},{"name":"c","status":"failed","duration":1}]}}"#;
        write(&origin.join("tests/ctrf.json"), report);
        write(
            &origin.join("tests/test.sh"),
            "#!/bin/sh\ncp /tests/ctrf.json /logs/verifier/ctrf.json\necho 0.5 > /logs/verifier/reward.txt\n",
        );
        task.hints.fail_to_pass = vec!["a".into(), "c".into()];
        task.hints.pass_to_pass = vec!["b".into()];
    });
    world.agent("noop", "noop", &[]);
    world.run().await;
    let record = world.record("counted/noop/1");
    let tests = record.tests.unwrap();
    assert_eq!((tests.passed, tests.failed, record.score), (2, 1, Some(0.5)));
    assert_eq!((tests.fail_to_pass.passed, tests.fail_to_pass.total), (1, 2));
    assert_eq!((tests.pass_to_pass.passed, tests.pass_to_pass.total), (1, 1));
    unresolved(&record.outcome);
    // Nothing of the digest of a task is looked at here; it only has to be there.
    assert_ne!(world.plan()[0].task_digest, Digest::of(b""));
}
