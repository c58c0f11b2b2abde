//! What is made ahead of the trials that need it, how much of it at once, and what a failure of it means.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use harness_core::{AgentExit, Blame, EnvironmentSource, Outcome};
use harness_engine::agents::{Agent, AgentReport, Session};
use harness_sandbox::{
    Backend, Caps, EnvironmentRequest, Image, Probe, Progress, ReapFilter, Reaped, Sandbox, SandboxError,
    SandboxSpec,
};

use crate::support::World;

/// A backend that takes its time to make environments, and knows how many it made at once.
struct Slow {
    inner: Arc<dyn Backend>,
    /// Which environments it cannot make, by what their Dockerfile's path holds.
    broken: &'static str,
    now: AtomicUsize,
    most: AtomicUsize,
    /// Dockerfiles in the order in which their making began.
    begun: Mutex<Vec<String>>,
    ready: Mutex<Vec<String>>,
}

#[async_trait]
impl Backend for Slow {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn caps(&self) -> &Caps {
        self.inner.caps()
    }

    async fn doctor(&self) -> Vec<Probe> {
        self.inner.doctor().await
    }

    fn admit(&self, request: &EnvironmentRequest) -> Result<(), SandboxError> {
        self.inner.admit(request)
    }

    async fn prepare(
        &self,
        request: &EnvironmentRequest,
        progress: Progress,
    ) -> Result<Arc<Image>, SandboxError> {
        let name = format!("{:?}", request.spec.source);
        if !self.ready.lock().unwrap().contains(&name) {
            {
                let mut begun = self.begun.lock().unwrap();
                // Real ones let a second caller wait for the first.
                if !begun.contains(&name) || !self.broken.is_empty() {
                    begun.push(name.clone());
                }
            }
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            if !self.broken.is_empty() && name.contains(self.broken) {
                let log = "the last words".to_owned();
                return Err(SandboxError::Environment { message: "RUN x failed".to_owned(), log });
            }
            self.ready.lock().unwrap().push(name);
        }
        self.inner.prepare(request, progress).await
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, SandboxError> {
        self.inner.create(spec).await
    }

    async fn reap(&self, filter: ReapFilter) -> Result<Reaped, SandboxError> {
        self.inner.reap(filter).await
    }
}

fn slow(world: &mut World, broken: &'static str) -> Arc<Slow> {
    let slow = Arc::new(Slow {
        inner: world.backend.clone(),
        broken,
        now: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        begun: Mutex::default(),
        ready: Mutex::default(),
    });
    world.backend = slow.clone();
    slow
}

/// Notes how many environments were begun when it had its first word.
struct Watching(Arc<Slow>, Mutex<Vec<usize>>);

#[async_trait]
impl Agent for Watching {
    async fn work(&self, _session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        tokio::time::sleep(Duration::from_secs(10)).await;
        self.1.lock().unwrap().push(self.0.begun.lock().unwrap().len());
        Ok(AgentReport::ended(AgentExit::Finished))
    }
}

fn dockerfile(world: &mut World, name: &str) {
    world.task(name, |task, origin| {
        let context = origin.join("environment");
        let file = context.join("Dockerfile");
        crate::support::write(&file, &format!("FROM image\nENV NAME={}\n", task.id));
        task.environment.source = EnvironmentSource::Dockerfile { file, context };
    });
}

#[tokio::test(start_paused = true)]
async fn environments_are_made_ahead_few_at_once_and_not_too_far() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        dockerfile(&mut world, name);
    }
    let slow = slow(&mut world, "");
    let agent = Arc::new(Watching(slow.clone(), Mutex::default()));
    world.custom("watching", "watching", agent.clone());
    let began = tokio::time::Instant::now();
    let end = world.run().await;
    assert_eq!(end.finished, 10);
    let begun = agent.1.lock().unwrap().clone();
    // One job: the first trial's own, and five that nobody has wanted yet; each trial that begins makes room for one.
    assert_eq!(begun, [6, 7, 8, 9, 10, 10, 10, 10, 10, 10]);
    let most = slow.most.load(Ordering::SeqCst);
    assert!(most <= 3, "two ahead and one that is wanted: {most}");
    // Only the first trial has waited.
    assert!(began.elapsed() < Duration::from_secs(105), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn environments_that_fail_stop_their_own_trials_alone_and_are_not_tried_for_ever() {
    let mut world = World::new();
    world.attempts = 5;
    for name in ["bad", "good"] {
        dockerfile(&mut world, name);
    }
    let slow = slow(&mut world, "/bad/");
    world.agent("oracle", "oracle", &[]);
    let end = world.run().await;
    assert_eq!((end.finished, end.harness_faults), (10, 0));
    world.assert_each_once();
    for attempt in 1..=5 {
        assert_eq!(world.record(&format!("good/oracle/{attempt}")).outcome, Outcome::Resolved);
        let Outcome::Stopped { blame, reason, .. } = world.record(&format!("bad/oracle/{attempt}")).outcome
        else {
            panic!("a trial without an environment has no verdict");
        };
        assert_eq!(blame, Blame::Task);
        assert!(reason.contains("RUN x failed") && reason.contains("the last words"), "{reason}");
    }
    let begun = slow.begun.lock().unwrap().clone();
    let bad = begun.iter().filter(|name| name.contains("/bad/")).count();
    assert!((1..=3).contains(&bad), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn environments_that_nobody_wants_any_more_do_not_hold_a_run_up() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        dockerfile(&mut world, name);
    }
    let slow = slow(&mut world, "/a/");
    world.settings.fail_fast = true;
    world.agent("oracle", "oracle", &[]);
    let began = tokio::time::Instant::now();
    let end = world.run().await;
    assert!(end.failed_fast && end.finished == 1);
    assert!(began.elapsed() < Duration::from_secs(3));
    drop(slow);
}
