//! What breaks outside is ours: it is retried, kept on record, never scored, and never spreads to other trials.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use harness_core::task::{Artifact, Collect, VerifierMode};
use harness_core::{AgentExit, Blame, EnvironmentSource, Event, NanoUsd, Outcome, Usage, UsageSource};
use harness_engine::agents::{Agent, AgentReport, Session};
use harness_engine::{Cancel, Stage};
use harness_sandbox::memory::MemoryBackend;
use harness_sandbox::{Backend, ReapFilter, SandboxError};

use crate::fault::{Fault, Faults, Faulty};
use crate::support::{RUN, World, write};

/// Puts broken calls between a world and its backend.
fn break_calls(
    world: &mut World,
    choose: impl Fn(&'static str, usize) -> Option<Fault> + Send + Sync + 'static,
) -> Arc<Faults> {
    let faults = Faults::new(choose);
    world.backend = Arc::new(Faulty { inner: Arc::new(MemoryBackend::new()), faults: faults.clone() });
    faults
}

/// Fails when a sandbox of the run is still there.
async fn assert_nothing_left(backend: &dyn Backend) {
    // What a trial that was dropped held goes in the background.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let filter = ReapFilter { run: Some(RUN.into()), dry_run: true, ..ReapFilter::default() };
    assert_eq!(backend.reap(filter).await.unwrap().sandboxes, [""; 0]);
}

/// Tasks that together make every kind of call: changed files of the image, artifacts, a hook, a separate verifier.
fn everything() -> World {
    let mut world = World::new();
    world.task("shared", |task, origin| {
        write(
            &origin.join("environment/Dockerfile"),
            "FROM x\nWORKDIR /work\nRUN echo wrong > /work/answer\n",
        );
        task.environment.source = EnvironmentSource::Dockerfile {
            file: origin.join("environment/Dockerfile"),
            context: origin.join("environment"),
        };
        task.hints.tools = vec!["cat".into()];
        let hook = Collect { command: "true".into(), user: None, timeout: Duration::from_secs(5) };
        task.steps[0].verifier.collect.push(hook);
    });
    world.task("late", |task, origin| {
        write(&origin.join("solution/solve.sh"), "#!/bin/sh\necho right > /work/answer\nsleep 1000\n");
        task.steps[0].agent.timeout = Some(Duration::from_secs(30));
    });
    world.task("separate", |task, _| {
        task.steps[0].verifier.mode = VerifierMode::Separate(None);
        task.artifacts =
            vec![Artifact { source: "/work/answer".into(), destination: None, exclude: Vec::new() }];
    });
    world.agent("oracle", "oracle", &[]);
    world.agent("noop", "noop", &[]);
    world
}

/// Runs `everything` with the n-th call broken, for every n, until none is left to break.
async fn fail_each_call_in_turn(fault: Fault, retries: u32) {
    for number in 1.. {
        assert!(number < 2000, "there is no end to the calls");
        let mut world = everything();
        world.settings.retries = retries;
        let faults = break_calls(&mut world, move |_, now| (now == number).then_some(fault));
        let end = world.run().await;
        if faults.fired() == 0 {
            assert!(number > 50, "only {number} calls");
            return;
        }
        let call = faults.names()[number - 1];
        let about = format!("{fault:?} at call {number}, {call}");
        assert!(end.complete() && !end.interrupted, "{about}: {end:?}");
        world.assert_each_once();
        let mut ours = 0;
        for record in world.journal().finished() {
            let solved = record.id.variant.as_str() == "oracle";
            match &record.outcome {
                Outcome::Resolved => assert!(solved, "{about}: {record:?}"),
                Outcome::Unresolved { reason } => assert!(!solved, "{about}: {reason}"),
                Outcome::Stopped { blame, reason, .. } => {
                    if (fault, call) == (Fault::Hang, "prepare") {
                        // An environment has a time to be built in, and nobody can tell who is slow.
                        assert_eq!(*blame, Blame::Task, "{about}: {reason}");
                        continue;
                    }
                    ours += 1;
                    assert_eq!(*blame, Blame::Harness, "{about}: {reason}");
                    assert_eq!((record.score, &record.rewards), (None, &None), "{about}");
                    assert_eq!(retries, 0, "{about}: one fault is mended by one retry: {reason}");
                }
            }
            let failed = record.tries.iter().filter(|one| one.outcome.retryable()).count();
            assert!(failed <= 1, "{about}: {:?}", record.tries);
        }
        assert!(ours <= 1, "{about}: one fault reached {ours} trials");
        assert_eq!(end.harness_faults, ours, "{about}");
        assert_nothing_left(&*world.backend).await;
        // What is complete stays as it is.
        let again = world.run().await;
        assert!(again.complete(), "{about}");
        world.assert_each_once();
    }
}

#[tokio::test(start_paused = true)]
async fn each_outside_call_failed_in_turn_is_our_fault_alone() {
    fail_each_call_in_turn(Fault::Fail, 0).await;
}

#[tokio::test(start_paused = true)]
async fn each_outside_call_failed_in_turn_is_mended_by_a_retry() {
    fail_each_call_in_turn(Fault::Fail, 1).await;
}

#[tokio::test(start_paused = true)]
async fn sandbox_lost_at_each_outside_call_in_turn_is_our_fault_alone() {
    fail_each_call_in_turn(Fault::Lose, 0).await;
    fail_each_call_in_turn(Fault::LoseAfter, 0).await;
}

#[tokio::test(start_paused = true)]
async fn sandbox_lost_at_each_outside_call_in_turn_is_mended_by_a_retry() {
    fail_each_call_in_turn(Fault::Lose, 1).await;
    fail_each_call_in_turn(Fault::LoseAfter, 1).await;
}

#[tokio::test(start_paused = true)]
async fn each_outside_call_delayed_in_turn_changes_nothing() {
    fail_each_call_in_turn(Fault::Delay, 0).await;
}

#[tokio::test(start_paused = true)]
async fn each_outside_call_that_never_answers_is_given_up_and_retried() {
    fail_each_call_in_turn(Fault::Hang, 1).await;
}

/// `harbor.md` §5.5.
#[tokio::test(start_paused = true)]
async fn backend_that_dies_for_good_leaves_harness_faults_and_no_scores() {
    for from in [1, 7, 20, 60] {
        let mut world = everything();
        world.settings.retries = 1;
        break_calls(&mut world, move |_, now| (now >= from).then_some(Fault::Fail));
        let end = world.run().await;
        assert!(end.complete());
        assert!(end.harness_faults >= 1);
        world.assert_each_once();
        for record in world.journal().finished().filter(|record| record.outcome.retryable()) {
            assert_eq!((record.score, record.tries.len()), (None, 2), "{record:?}");
        }
        assert_nothing_left(&*world.backend).await;
    }
}

#[tokio::test(start_paused = true)]
async fn run_drained_after_each_outside_call_failed_is_finished_by_resume() {
    for number in (1..200).step_by(7) {
        let mut world = everything();
        let cancel = world.cancel.clone();
        let faults = break_calls(&mut world, move |_, now| {
            (now == number).then(|| {
                cancel.raise(Stage::Drain);
                Fault::Fail
            })
        });
        let end = world.run().await;
        if faults.fired() == 0 {
            return;
        }
        // The trial that we broke is not written off only because the run was being ended.
        assert_eq!(end.harness_faults, 0, "call {number}");
        world.cancel = Cancel::default();
        let end = world.run().await;
        assert!(end.complete());
        assert_eq!(end.harness_faults, 0, "call {number}");
        world.assert_each_once();
    }
}

/// Reports tokens and money, and loses its sandbox in its first tries.
struct Unlucky {
    worked: AtomicUsize,
    lost: usize,
}

#[async_trait]
impl Agent for Unlucky {
    async fn work(&self, session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        std::fs::write(session.log, "worked\n").unwrap();
        if self.worked.fetch_add(1, Ordering::SeqCst) < self.lost {
            session.sandbox.destroy().await?;
        }
        let usage = Usage { output_tokens: Some(10), source: Some(UsageSource::Agent), ..Usage::default() };
        let cost = NanoUsd::from_usd(0.5);
        Ok(AgentReport { usage, cost, ..AgentReport::ended(AgentExit::Finished) })
    }
}

/// `harbor.md` §5.13 and §5.15: a retry neither removes evidence nor forgets money.
#[tokio::test(start_paused = true)]
async fn every_try_is_kept_with_its_logs_and_its_tokens_and_money_are_counted() {
    let mut world = World::new();
    world.plain("one");
    world.custom("unlucky", "unlucky", Arc::new(Unlucky { worked: AtomicUsize::new(0), lost: 2 }));
    let end = world.run().await;
    assert_eq!((end.finished, end.harness_faults), (1, 0));
    let record = world.record("one/unlucky/1");
    assert!(matches!(record.outcome, Outcome::Unresolved { .. }), "{:?}", record.outcome);
    assert_eq!(record.tries.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((record.usage.output_tokens, record.cost), (Some(30), NanoUsd::from_usd(1.5)));
    assert!(record.tries.iter().all(|one| one.usage.output_tokens == Some(10)));
    for log in ["try-1/agent.log", "try-2/agent.log", "agent.log"] {
        assert_eq!(world.file("one/unlucky/1", log), "worked\n");
    }
    let failed =
        world.journal().entries.into_iter().filter(|entry| matches!(entry.event, Event::TryFailed { .. }));
    assert_eq!(failed.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn sandbox_that_is_lost_under_the_agents_hands_every_time_is_the_agents_doing() {
    for (retries, faults, tokens) in [(0, 1, 10), (2, 0, 30)] {
        let mut world = World::new();
        world.settings.retries = retries;
        world.plain("one");
        world.custom("unlucky", "unlucky", Arc::new(Unlucky { worked: AtomicUsize::new(0), lost: 9 }));
        let end = world.run().await;
        // One loss is ours; a loss in each of several fresh sandboxes would otherwise be a way out of the rate.
        assert_eq!((end.finished, end.harness_faults, end.complete()), (1, faults, true));
        let record = world.record("one/unlucky/1");
        assert_eq!(record.outcome.retryable(), faults == 1);
        assert_eq!(record.outcome.counts(), faults == 0);
        assert_eq!((record.tries.len(), record.usage.output_tokens), (retries as usize + 1, Some(tokens)));
    }
}

/// Counts how often it worked; its work is right.
#[derive(Default)]
struct Counting(AtomicUsize);

#[async_trait]
impl Agent for Counting {
    async fn work(&self, session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let right = harness_sandbox::Source::Bytes(b"right\n".to_vec());
        session.sandbox.put("/work/answer", right, Default::default()).await?;
        Ok(AgentReport::ended(AgentExit::Finished))
    }
}

#[tokio::test(start_paused = true)]
async fn verification_that_we_broke_is_repeated_without_the_agent() {
    for call in ["view", "view.put", "view.spawn", "view.read", "view.get"] {
        let mut world = World::new();
        world.plain("one");
        let agent = Arc::new(Counting::default());
        world.custom("counting", "counting", agent.clone());
        let broken = AtomicUsize::new(0);
        let faults = break_calls(&mut world, move |name, _| {
            (name == call && broken.fetch_add(1, Ordering::SeqCst) < 2).then_some(Fault::Fail)
        });
        world.run().await;
        assert_eq!(faults.fired(), 2, "{call}");
        let record = world.record("one/counting/1");
        assert_eq!((&record.outcome, record.tries.len()), (&Outcome::Resolved, 1), "{call}");
        assert_eq!(agent.0.load(Ordering::SeqCst), 1, "{call}");
        let noted = record.integrity.iter().filter(|note| note.check == "verify_again").count();
        assert_eq!(noted, 2, "{call}");
    }
}

/// Panics on one task.
struct Panicking;

#[async_trait]
impl Agent for Panicking {
    async fn work(&self, session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        assert!(session.task.id.as_str() != "bad", "an injected panic");
        Ok(AgentReport::ended(AgentExit::Finished))
    }
}

/// `harbor.md` §5.4.
#[tokio::test(start_paused = true)]
async fn panic_in_an_agent_is_a_harness_fault_of_that_trial_alone() {
    let mut world = World::new();
    world.settings.jobs = 3;
    for name in ["bad", "good", "other"] {
        world.plain(name);
    }
    world.custom("panicking", "panicking", Arc::new(Panicking));
    break_calls(&mut world, |_, _| None);
    let end = world.run().await;
    assert_eq!((end.finished, end.harness_faults), (3, 1));
    let record = world.record("bad/panicking/1");
    assert!(record.outcome.retryable() && record.score.is_none());
    assert!(record.outcome.reason().unwrap().contains("an injected panic"), "{:?}", record.outcome);
    for name in ["good", "other"] {
        assert!(matches!(world.record(&format!("{name}/panicking/1")).outcome, Outcome::Unresolved { .. }));
    }
    assert_nothing_left(&*world.backend).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_watcher_loses_nothing_of_the_record() {
    let mut world = World::new();
    world.attempts = 5;
    world.plain("one");
    world.agent("noop", "noop", &[]);
    let told = AtomicUsize::new(0);
    world.on_event =
        Arc::new(move |_| assert!(told.fetch_add(1, Ordering::SeqCst) != 3, "an injected panic"));
    assert!(world.run().await.complete());
    world.assert_each_once();
    assert!(matches!(world.journal().entries.last().unwrap().event, Event::RunEnded { complete: true, .. }));
}

/// Says that it works for ever, whatever it is asked.
struct Deaf;

#[async_trait]
impl Agent for Deaf {
    async fn work(&self, _session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn agent_that_ignores_its_deadline_is_ended_by_the_engine_and_judged() {
    let mut world = World::new();
    world.plain("one");
    world.custom("deaf", "deaf", Arc::new(Deaf));
    world.run().await;
    let record = world.record("one/deaf/1");
    assert_eq!((record.agent_exit, record.score), (Some(AgentExit::TimedOut), Some(0.0)));
}

/// `harbor.md` §5.12: each wait is about twice the one before, spread, and never more than a minute.
#[tokio::test(start_paused = true)]
async fn retries_wait_longer_each_time_and_not_all_at_once() {
    let mut world = World::new();
    world.settings.back_off = Duration::from_secs(10);
    world.settings.retries = 5;
    world.settings.jobs = 2;
    world.plain("a");
    world.plain("b");
    world.agent("oracle", "oracle", &[]);
    let times: Arc<Mutex<Vec<tokio::time::Instant>>> = Arc::default();
    let seen = times.clone();
    let faults = Faults::new(move |name, _| {
        (name == "create").then(|| {
            seen.lock().unwrap().push(tokio::time::Instant::now());
            Fault::Fail
        })
    });
    world.backend = Arc::new(Faulty { inner: world.backend.clone(), faults });
    world.run().await;
    for task in ["a", "b"] {
        let record = world.record(&format!("{task}/oracle/1"));
        assert_eq!(record.tries.len(), 6);
        assert!(record.outcome.retryable(), "{:?}", record.outcome);
    }
    let times = times.lock().unwrap().clone();
    let total = times[times.len() - 1] - times[0];
    // At least the halves and at most the wholes of 10, 20, 40, 60 and 60 s.
    assert!((Duration::from_secs(95)..Duration::from_secs(200)).contains(&total), "{total:?}");
    let together = times[2..].windows(2).filter(|pair| pair[1] - pair[0] < Duration::from_millis(1)).count();
    assert!(together <= 1, "they come back together: {times:?}");
}
