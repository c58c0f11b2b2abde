//! Which sandboxes the backend is told of before they are asked for, so that one that starts slowly is there when it is needed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use harness_core::AgentExit;
use harness_engine::Stage;
use harness_engine::agents::{Agent, AgentReport, Session};
use harness_sandbox::{
    Backend, Caps, EnvironmentRequest, Image, Probe, Progress, ReadOnlyMount, ReapFilter, Reaped, Sandbox,
    SandboxError, SandboxSpec,
};

use crate::fault::{Fault, Faults, Faulty};
use crate::support::{RUN, World};

/// A backend that remembers what it was told to expect.
struct Told {
    inner: Arc<dyn Backend>,
    /// Expected and not yet created, by trial.
    waiting: Mutex<BTreeMap<String, String>>,
    /// Most at once.
    most: Mutex<usize>,
    /// Trials whose first sandbox was there before it was asked for.
    met: Mutex<Vec<String>>,
    forgotten: Mutex<Vec<String>>,
}

/// What has to be equal.
fn shape(spec: &SandboxSpec) -> String {
    format!("{:?} {:?} {:?} {:?} {}", spec.labels, spec.limits, spec.mounts, spec.network, spec.image.digest)
}

#[async_trait]
impl Backend for Told {
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
        self.inner.prepare(request, progress).await
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>, SandboxError> {
        if let Some(expected) = self.waiting.lock().unwrap().remove(&spec.labels.trial) {
            assert_eq!(expected, shape(&spec));
            self.met.lock().unwrap().push(spec.labels.trial.clone());
        }
        self.inner.create(spec).await
    }

    fn expect(&self, spec: &SandboxSpec) {
        let mut waiting = self.waiting.lock().unwrap();
        assert!(!self.met.lock().unwrap().contains(&spec.labels.trial), "told too late");
        let before = waiting.insert(spec.labels.trial.clone(), shape(spec));
        assert_eq!(before, None, "told twice");
        let mut most = self.most.lock().unwrap();
        *most = (*most).max(waiting.len());
    }

    async fn forget(&self, run: &str) {
        self.waiting.lock().unwrap().clear();
        self.forgotten.lock().unwrap().push(run.to_owned());
    }

    async fn reap(&self, filter: ReapFilter) -> Result<Reaped, SandboxError> {
        self.inner.reap(filter).await
    }
}

fn told(world: &mut World) -> Arc<Told> {
    let told = Arc::new(Told {
        inner: world.backend.clone(),
        waiting: Mutex::default(),
        most: Mutex::default(),
        met: Mutex::default(),
        forgotten: Mutex::default(),
    });
    world.backend = told.clone();
    told
}

/// Works for a second, with a folder of its own.
struct Worker(PathBuf);

fn worker(world: &mut World) {
    let tools = world.folder().join("tools");
    std::fs::create_dir(&tools).unwrap();
    world.custom("worker", "worker", Arc::new(Worker(tools)));
}

#[async_trait]
impl Agent for Worker {
    fn mounts(&self) -> Vec<ReadOnlyMount> {
        vec![ReadOnlyMount { host: self.0.clone(), at: "/opt/agent".into() }]
    }

    async fn work(&self, _session: &Session<'_>) -> Result<AgentReport, SandboxError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(AgentReport::ended(AgentExit::Finished))
    }
}

#[tokio::test(start_paused = true)]
async fn every_trial_but_the_first_ones_is_expected_as_it_then_comes() {
    for jobs in [1, 3] {
        let mut world = World::new();
        world.settings.jobs = jobs;
        world.attempts = 6;
        world.task("a", |task, _| task.environment.limits.pids = Some(64));
        world.plain("b");
        worker(&mut world);
        let told = told(&mut world);
        world.run().await;
        world.assert_each_once();
        // With what runs at first nothing can be done ahead.
        assert!(told.met.lock().unwrap().len() >= 12 - jobs, "{:?}", told.met.lock().unwrap());
        // Those that a trial which was just started is about to take are still among them.
        let most = *told.most.lock().unwrap();
        assert!((jobs..=2 * jobs).contains(&most), "{most} waited with {jobs} jobs");
        assert!(told.waiting.lock().unwrap().is_empty());
        assert_eq!(*told.forgotten.lock().unwrap(), [RUN]);
    }
}

#[tokio::test(start_paused = true)]
async fn run_that_is_told_to_stop_expects_no_more_and_leaves_nothing_waiting() {
    for stage in [Stage::Drain, Stage::Kill] {
        let mut world = World::new();
        world.attempts = 6;
        world.plain("a");
        worker(&mut world);
        let told = told(&mut world);
        let cancel = world.cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            cancel.raise(stage);
        });
        world.run().await;
        assert!(told.met.lock().unwrap().len() <= 2);
        assert!(told.waiting.lock().unwrap().is_empty(), "{stage:?}");
        assert_eq!(*told.forgotten.lock().unwrap(), [RUN]);
    }
}

#[tokio::test(start_paused = true)]
async fn backend_that_refuses_what_it_was_told_to_expect_is_tried_again_as_ever() {
    let mut world = World::new();
    world.attempts = 3;
    world.plain("a");
    worker(&mut world);
    let told = told(&mut world);
    let creates = AtomicUsize::new(0);
    let faults = Faults::new(move |name, _| {
        (name == "create" && creates.fetch_add(1, Ordering::SeqCst) == 1).then_some(Fault::Fail)
    });
    world.backend = Arc::new(Faulty { inner: world.backend.clone(), faults });
    world.run().await;
    world.assert_each_once();
    assert_eq!(world.record("a/worker/2").tries.len(), 2);
    assert!(!told.met.lock().unwrap().is_empty(), "faults let through what is told");
}
