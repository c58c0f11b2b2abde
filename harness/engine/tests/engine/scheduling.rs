//! Which trials run, in which order, how many at once, and how a run is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use harness_core::{AgentExit, Event, Outcome};
use harness_engine::agents::{Agent, AgentReport, Session};
use harness_engine::machine::Machine;
use harness_engine::{RunDirError, Stage};
use harness_sandbox::SandboxError;

use crate::support::{RUN, World};

/// Works for a while, and knows how many did at once.
#[derive(Default)]
struct Worker {
    now: AtomicUsize,
    most: AtomicUsize,
    began: AtomicUsize,
}

#[async_trait]
impl Agent for Worker {
    async fn work(&self, _session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        self.began.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok(AgentReport::ended(AgentExit::Finished))
    }
}

fn started(world: &World) -> Vec<String> {
    let seen = world.seen.lock().unwrap();
    let started = seen.iter().filter_map(|event| match event {
        Event::TrialStarted { id, .. } => Some(id.path()),
        _ => None,
    });
    started.collect()
}

#[tokio::test(start_paused = true)]
async fn attempts_are_outermost_and_every_cell_is_tried() {
    let mut world = World::new();
    world.attempts = 3;
    for name in ["a", "b"] {
        world.plain(name);
    }
    world.agent("oracle", "oracle", &[]);
    world.agent("noop", "noop", &[]);
    let end = world.run().await;
    assert_eq!((end.finished, end.planned), (12, 12));
    world.assert_each_once();
    let attempts: Vec<_> = started(&world).iter().map(|path| path.chars().last().unwrap()).collect();
    assert!(attempts.is_sorted(), "{attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn jobs_bound_how_many_run_at_once() {
    for jobs in [1, 3] {
        let mut world = World::new();
        world.settings.jobs = jobs;
        world.attempts = 8;
        world.plain("a");
        let worker = Arc::new(Worker::default());
        world.custom("worker", "worker", worker.clone());
        world.run().await;
        assert_eq!(worker.most.load(Ordering::SeqCst), jobs);
        world.assert_each_once();
    }
}

/// `harbor.md` §5.14.
#[tokio::test(start_paused = true)]
async fn processors_and_memory_are_reservations() {
    let mut world = World::new();
    world.settings.jobs = 100;
    world.settings.machine = Machine { milli_cpus: 4000, memory_bytes: 1 << 30 };
    world.task("two-cpus", |task, _| task.environment.limits.milli_cpus = Some(2000));
    world.task("larger-than-the-machine", |task, _| task.environment.limits.memory_bytes = Some(1 << 40));
    world.attempts = 6;
    let worker = Arc::new(Worker::default());
    world.custom("worker", "worker", worker.clone());
    world.run().await;
    assert_eq!(worker.most.load(Ordering::SeqCst), 2);
    world.assert_each_once();
}

#[tokio::test(start_paused = true)]
async fn fail_fast_starts_nothing_after_the_first_failure_and_can_be_resumed() {
    let mut world = World::new();
    world.settings.fail_fast = true;
    world.attempts = 5;
    world.plain("a");
    world.agent("noop", "noop", &[]);
    let end = world.run().await;
    assert_eq!((end.finished, end.failed_fast, end.complete(), end.interrupted), (1, true, false, false));
    world.settings.fail_fast = false;
    let end = world.run().await;
    assert_eq!((end.finished, end.failed_fast, end.complete()), (5, false, true));
    world.assert_each_once();
}

#[tokio::test(start_paused = true)]
async fn drain_lets_what_runs_finish_and_kill_drops_it() {
    for (stage, finished) in [(Stage::Drain, 2), (Stage::Kill, 0)] {
        let mut world = World::new();
        world.settings.jobs = 2;
        world.attempts = 6;
        world.plain("a");
        let worker = Arc::new(Worker::default());
        world.custom("worker", "worker", worker.clone());
        let cancel = world.cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cancel.raise(stage);
        });
        let end = world.run().await;
        assert_eq!((end.finished, end.interrupted, end.complete()), (finished, true, false), "{stage:?}");
        assert_eq!(worker.began.load(Ordering::SeqCst), 2);
        let last = world.journal().entries.pop().unwrap().event;
        assert_eq!(last, Event::RunEnded { complete: false, reason: Some("interrupted".into()) });

        world.cancel = harness_engine::Cancel::default();
        let end = world.run().await;
        assert!(end.complete() && !end.interrupted);
        world.assert_each_once();
        // A try that was dropped is on record as a try of unknown cost.
        let tries = world.record("a/worker/1").tries;
        assert_eq!(tries.len(), if stage == Stage::Kill { 2 } else { 1 });
        assert!(tries.iter().all(|one| one.usage == Default::default()));
    }
}

#[tokio::test(start_paused = true)]
async fn drain_before_the_start_runs_nothing() {
    let mut world = World::new();
    world.plain("a");
    world.agent("noop", "noop", &[]);
    world.cancel.raise(Stage::Drain);
    let end = world.run().await;
    assert_eq!((end.finished, end.interrupted), (0, true));
    assert_eq!(started(&world), [""; 0]);
}

#[tokio::test]
async fn second_process_on_a_run_directory_is_refused_by_name() {
    let mut world = World::new();
    world.plain("a");
    world.agent("oracle", "oracle", &[]);
    let held = world.take().unwrap();
    match world.take() {
        Err(RunDirError::Held { dir, holder }) => {
            assert_eq!((dir, holder), (world.run_path(), std::process::id().to_string()));
        }
        other => panic!("{other:?}"),
    }
    let other = harness_engine::RunDir::create(&world.runs, &crate::support::manifest(), &[]);
    assert!(matches!(other, Err(RunDirError::Exists(_))), "{other:?}");
    // The refusal did no harm to the one that holds it.
    harness_engine::execute(world.spec(held)).await.unwrap();
    world.assert_each_once();
    assert!(matches!(harness_engine::RunDir::open(&world.runs, "other"), Err(RunDirError::Missing { .. })));
    assert!(matches!(harness_engine::RunDir::open(&world.runs, "../r"), Err(RunDirError::Missing { .. })));
    assert_eq!(RUN, "r");
}

#[tokio::test]
async fn plan_that_names_an_unknown_task_starts_nothing() {
    let mut world = World::new();
    world.plain("a");
    world.agent("oracle", "oracle", &[]);
    let dir = world.take().unwrap();
    let mut spec = world.spec(dir);
    spec.tasks.clear();
    let error = harness_engine::execute(spec).await.unwrap_err().to_string();
    assert!(error.contains("the task a"), "{error}");
    assert!(!world.run_path().join("journal.jsonl").exists());
    assert!(world.run().await.complete());
    assert_eq!(world.record("a/oracle/1").outcome, Outcome::Resolved);
}
