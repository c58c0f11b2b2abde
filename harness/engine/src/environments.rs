//! Environments made ready ahead of the trials that need them, a few at a time and not too far ahead. A trial asks for its
//! environment in any case, and finds it there or waits for it; what is done ahead is never more than a head start.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use harness_core::task::VerifierMode;
use harness_core::{Digest, EnvironmentSource, EnvironmentSpec, Task};
use harness_sandbox::{Backend, EnvironmentRequest, Image, Progress, SandboxError};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

/// Dockerfiles that are built ahead at once.
const BUILDS: usize = 2;
/// Images that are pulled ahead at once.
const PULLS: usize = 4;
/// How many more environments than trials at once may lie ready before anybody wants them: they are large.
const SPARE: usize = 4;
/// How often an environment whose description is at fault is tried in one run. A second time, because a build may fetch
/// things; no third, because every trial of the task would wait for the same end.
const TRIES: u32 = 2;

/// The environments of one run.
pub(crate) struct Environments {
    backend: Arc<dyn Backend>,
    /// Where the logs of what is made ahead go.
    logs: PathBuf,
    /// How many may still be made before one of them is wanted.
    room: Semaphore,
    state: Mutex<State>,
    /// Told when one is ready that was not.
    made: Notify,
}

#[derive(Default)]
struct State {
    /// Made or being made, and not wanted yet. Holding an image keeps it from being removed.
    ahead: HashMap<Digest, Option<Arc<Image>>>,
    /// Wanted by a trial: no head start any more.
    wanted: HashSet<Digest>,
    failed: HashMap<Digest, Failure>,
    /// Made, and still held by somebody.
    ready: HashMap<Digest, Weak<Image>>,
}

/// A description that is at fault.
struct Failure {
    times: u32,
    message: String,
    log: String,
}

impl Environments {
    pub(crate) fn new(backend: Arc<dyn Backend>, run_dir: &Path, jobs: usize) -> Arc<Environments> {
        Arc::new(Environments {
            backend,
            logs: run_dir.join("environments"),
            room: Semaphore::new(jobs + SPARE),
            state: Mutex::default(),
            made: Notify::new(),
        })
    }

    /// Starts making the environments of these tasks, in this order. Dropping the result ends that.
    pub(crate) fn ahead(self: &Arc<Self>, tasks: impl Iterator<Item = Arc<Task>>) -> JoinSet<()> {
        let (mut builds, mut pulls) = (VecDeque::new(), VecDeque::new());
        let mut seen = HashSet::new();
        for task in tasks {
            for environment in environments(&task) {
                let digest = digest(&task, environment);
                if !seen.insert(digest.clone()) {
                    continue;
                }
                let lane = match environment.source {
                    EnvironmentSource::Dockerfile { .. } => &mut builds,
                    EnvironmentSource::Image { .. } => &mut pulls,
                };
                lane.push_back(EnvironmentRequest {
                    spec: environment.clone(),
                    log: Some(self.log_of(&digest)),
                    digest,
                });
            }
        }
        let mut workers = JoinSet::new();
        for (lane, most) in [(builds, BUILDS), (pulls, PULLS)] {
            let most = most.min(lane.len());
            let lane = Arc::new(Mutex::new(lane));
            for _ in 0..most {
                let (own, lane) = (Arc::clone(self), Arc::clone(&lane));
                workers.spawn(async move { own.work(&lane).await });
            }
        }
        workers
    }

    async fn work(&self, lane: &Mutex<VecDeque<EnvironmentRequest>>) {
        loop {
            let Ok(room) = self.room.acquire().await else { return };
            let Some(request) = lane.lock().expect("nothing panics while it is held").pop_front() else {
                return;
            };
            {
                let mut state = self.state.lock().expect("nothing panics while it is held");
                if state.wanted.contains(&request.digest) {
                    continue;
                }
                state.ahead.insert(request.digest.clone(), None);
            }
            // Given back when somebody wants it.
            room.forget();
            // A log that cannot be kept is no reason not to build.
            let _made = std::fs::create_dir_all(&self.logs);
            let made = self.make(&request).await;
            let mut state = self.state.lock().expect("nothing panics while it is held");
            match made {
                Ok(image) => {
                    if let Some(place) = state.ahead.get_mut(&request.digest) {
                        *place = Some(image);
                    }
                }
                // The trial that wants it finds out for itself.
                Err(_) => {
                    if state.ahead.remove(&request.digest).is_some() {
                        self.room.add_permits(1);
                    }
                }
            }
        }
    }

    /// This environment, if it is ready at this moment. Does not count as wanting it.
    pub(crate) fn ready(&self, digest: &Digest) -> Option<Arc<Image>> {
        self.state.lock().expect("nothing panics while it is held").ready.get(digest)?.upgrade()
    }

    /// Returns when one more is ready.
    pub(crate) async fn one_more(&self) {
        self.made.notified().await;
    }

    /// The environment, made or waited for.
    ///
    /// # Errors
    /// The backend's; a description that was at fault before is not tried for ever.
    pub(crate) async fn get(&self, request: &EnvironmentRequest) -> Result<Arc<Image>, SandboxError> {
        let held = {
            let mut state = self.state.lock().expect("nothing panics while it is held");
            state.wanted.insert(request.digest.clone());
            let held = state.ahead.remove(&request.digest);
            if held.is_some() {
                self.room.add_permits(1);
            }
            held.flatten()
        };
        // Asked again even if it was made ahead: an image may have been removed since, and what is there costs nothing.
        let made = self.make(request).await;
        drop(held);
        // Its log is that of the trial that was first to want it.
        if let Some(log) = &request.log
            && !log.exists()
        {
            let _linked = std::fs::hard_link(self.log_of(&request.digest), log);
        }
        made
    }

    async fn make(&self, request: &EnvironmentRequest) -> Result<Arc<Image>, SandboxError> {
        if let Some(failure) =
            self.state.lock().expect("nothing panics while it is held").failed.get(&request.digest)
            && failure.times >= TRIES
        {
            let (message, log) = (failure.message.clone(), failure.log.clone());
            return Err(SandboxError::Environment { message, log });
        }
        let quiet: Progress = Arc::new(|_| {});
        let made = self.backend.prepare(request, quiet).await;
        if let Ok(image) = &made {
            let mut state = self.state.lock().expect("nothing panics while it is held");
            let before = state.ready.insert(request.digest.clone(), Arc::downgrade(image));
            if before.is_none_or(|before| before.strong_count() == 0) {
                self.made.notify_one();
            }
        }
        if let Err(SandboxError::Environment { message, log }) = &made {
            let mut state = self.state.lock().expect("nothing panics while it is held");
            let times = state.failed.get(&request.digest).map_or(0, |failure| failure.times) + 1;
            let failure = Failure { times, message: message.clone(), log: log.clone() };
            state.failed.insert(request.digest.clone(), failure);
        }
        made
    }

    fn log_of(&self, digest: &Digest) -> PathBuf {
        self.logs.join(format!("{digest}.log"))
    }
}

/// The environments that a task's trials will want, in the order in which they do.
fn environments(task: &Task) -> impl Iterator<Item = &EnvironmentSpec> {
    let own = task.steps.iter().filter_map(|step| match &step.verifier.mode {
        VerifierMode::Separate(Some(own)) => Some(&**own),
        VerifierMode::Separate(None) | VerifierMode::Shared => None,
    });
    std::iter::once(&task.environment).chain(own)
}

/// The task's digest stands for its own environment; a verifier's environment of the same task is another one.
pub(crate) fn digest(task: &Task, environment: &EnvironmentSpec) -> Digest {
    if *environment == task.environment {
        return task.digest.clone();
    }
    Digest::of(format!("{} {environment:?}", task.digest.as_str()).as_bytes())
}
