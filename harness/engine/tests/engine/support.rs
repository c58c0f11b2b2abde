//! A small world to run plans in: a folder, tasks written to disk, agents, the memory backend, and what came of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness_core::journal::Journal;
use harness_core::manifest::{Manifest, RUN_FORMAT, SuiteRef};
use harness_core::plan::Planned;
use harness_core::record::SandboxNote;
use harness_core::task::{AgentPhase, Hints, RewardStrategy, Traits, VerifierMode, VerifierPhase};
use harness_core::{
    Digest, EnvironmentSource, EnvironmentSpec, Event, Limits, NetworkMode, RunId, Step, Task, TaskId,
    TrialId, TrialRecord, Variant, VariantName,
};
use harness_engine::agents::{Agent, by_name, settings};
use harness_engine::{Cancel, Cell, EngineError, RunDir, RunEnd, RunSettings, RunSpec, execute};
use harness_sandbox::Backend;
use harness_sandbox::memory::MemoryBackend;

/// The run's name in every world.
pub(crate) const RUN: &str = "r";

/// Judges `answer` in the working folder: 1 when it holds `right`, else 0.
pub(crate) const JUDGE: &str = "#!/bin/sh\nreward=0\nif grep -q '^right$' /work/answer; then reward=1; fi\necho $reward > /logs/verifier/reward.txt\n";

/// Writes the right answer.
pub(crate) const SOLVE: &str = "#!/bin/sh\necho right > /work/answer\n";

/// Everything that a run is made of, with short names.
pub(crate) struct World {
    folder: tempfile::TempDir,
    /// Where runs lie.
    pub(crate) runs: PathBuf,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) tasks: BTreeMap<TaskId, Arc<Task>>,
    pub(crate) cells: BTreeMap<VariantName, Cell>,
    pub(crate) attempts: u32,
    pub(crate) settings: RunSettings,
    pub(crate) cancel: Cancel,
    /// Called with every event, beside keeping it.
    pub(crate) on_event: Arc<dyn Fn(&Event) + Send + Sync>,
    pub(crate) seen: Arc<Mutex<Vec<Event>>>,
}

impl World {
    /// An empty world on the memory backend: no retries' waits worth waiting for, one job.
    pub(crate) fn new() -> World {
        // Thousands of small runs: in memory where there is such a folder, so that no real disk syncs for them.
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = made.or_else(|_| tempfile::tempdir()).unwrap();
        World {
            runs: folder.path().join("runs"),
            folder,
            backend: Arc::new(MemoryBackend::new()),
            tasks: BTreeMap::new(),
            cells: BTreeMap::new(),
            attempts: 1,
            settings: RunSettings { back_off: Duration::from_millis(1), ..RunSettings::default() },
            cancel: Cancel::default(),
            on_event: Arc::new(|_| {}),
            seen: Arc::default(),
        }
    }

    /// The folder that tasks lie in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A task of one step, with the judge and the solution of this module, changed by `change`.
    pub(crate) fn task(&mut self, name: &str, change: impl FnOnce(&mut Task, &Path)) {
        let origin = self.folder.path().join("tasks").join(name);
        write(&origin.join("tests/test.sh"), JUDGE);
        write(&origin.join("solution/solve.sh"), SOLVE);
        let mut task = task(name, &origin);
        change(&mut task, &origin);
        self.tasks.insert(task.id.clone(), Arc::new(task));
    }

    /// A task as it comes.
    pub(crate) fn plain(&mut self, name: &str) {
        self.task(name, |_, _| {});
    }

    /// A variant of a registered agent, with settings as on the command line.
    pub(crate) fn agent(&mut self, variant: &str, agent: &str, given: &[(&str, &str)]) {
        let kind = by_name(agent).unwrap();
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let given = settings::check(agent, kind.settings(), &given).unwrap();
        let made = kind.configure(None, &given).unwrap();
        self.custom(variant, agent, made);
    }

    /// A variant of an agent made for a test.
    pub(crate) fn custom(&mut self, variant: &str, agent: &str, made: Arc<dyn Agent>) {
        let name = VariantName::new(variant).unwrap();
        let variant =
            Variant { name: name.clone(), agent: agent.into(), model: None, settings: BTreeMap::new() };
        self.cells.insert(name, Cell { variant: Arc::new(variant), agent: made });
    }

    /// Every task × variant × attempt, attempts outermost.
    pub(crate) fn plan(&self) -> Vec<Planned> {
        let mut plan = Vec::new();
        for attempt in 1..=self.attempts {
            for (id, task) in &self.tasks {
                for variant in self.cells.keys() {
                    let id = TrialId { task: id.clone(), variant: variant.clone(), attempt };
                    plan.push(Planned { id, task_digest: task.digest.clone() });
                }
            }
        }
        plan
    }

    pub(crate) fn run_path(&self) -> PathBuf {
        self.runs.join(RUN)
    }

    /// Takes the run directory, made at the first call.
    pub(crate) fn take(&self) -> Result<RunDir, harness_engine::RunDirError> {
        if self.run_path().join("manifest.json").exists() {
            RunDir::open(&self.runs, RUN)
        } else {
            RunDir::create(&self.runs, &manifest(), &self.plan())
        }
    }

    /// Runs what is not finished, whatever comes of it.
    pub(crate) async fn try_run(&self) -> Result<RunEnd, EngineError> {
        let dir = self.take()?;
        execute(self.spec(dir)).await
    }

    /// Runs what is not finished.
    pub(crate) async fn run(&self) -> RunEnd {
        self.try_run().await.unwrap()
    }

    pub(crate) fn spec(&self, dir: RunDir) -> RunSpec {
        let (seen, on_event) = (self.seen.clone(), self.on_event.clone());
        RunSpec {
            plan: dir.plan().unwrap(),
            dir,
            run: RunId::new(RUN).unwrap(),
            tasks: self.tasks.clone(),
            cells: self.cells.clone(),
            backend: self.backend.clone(),
            settings: self.settings.clone(),
            models: None,
            cancel: self.cancel.clone(),
            watcher: Box::new(move |event| {
                seen.lock().unwrap().push(event.clone());
                on_event(event);
            }),
        }
    }

    /// What the journal on disk says.
    pub(crate) fn journal(&self) -> Journal {
        Journal::parse(&std::fs::read(self.run_path().join("journal.jsonl")).unwrap()).unwrap()
    }

    /// The only record of this trial.
    pub(crate) fn record(&self, trial: &str) -> TrialRecord {
        let journal = self.journal();
        let mut found = journal.finished().filter(|record| record.id.path() == trial);
        let record = found.next().unwrap_or_else(|| panic!("no record of {trial}")).clone();
        assert!(found.next().is_none(), "{trial} has several records");
        record
    }

    /// A file of a trial's folder, as text.
    pub(crate) fn file(&self, trial: &str, name: &str) -> String {
        let file = self.run_path().join("trials").join(trial).join(name);
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// Fails unless every planned trial has exactly one record.
    pub(crate) fn assert_each_once(&self) {
        let mut found: Vec<_> = self.journal().finished().map(|record| record.id.clone()).collect();
        found.sort();
        let mut planned: Vec<_> = self.plan().into_iter().map(|planned| planned.id).collect();
        planned.sort();
        assert_eq!(found, planned);
    }
}

/// A task of one step in a memory image with `/work`.
pub(crate) fn task(name: &str, origin: &Path) -> Task {
    Task {
        id: TaskId::new(name).unwrap(),
        dataset: "test".into(),
        origin: origin.to_owned(),
        digest: Digest::of(origin.as_os_str().as_encoded_bytes()),
        description: None,
        traits: Traits::default(),
        environment: environment(),
        steps: vec![step(origin)],
        reward_strategy: RewardStrategy::default(),
        artifacts: Vec::new(),
        solution_env: BTreeMap::new(),
        hints: Hints::default(),
    }
}

pub(crate) fn environment() -> EnvironmentSpec {
    EnvironmentSpec {
        source: EnvironmentSource::Image { reference: "test".into(), files: None },
        build_timeout: Duration::from_secs(10),
        limits: Limits::default(),
        env: BTreeMap::new(),
        workdir: Some("/work".into()),
        network: NetworkMode::None,
        healthcheck: None,
        host_root: true,
    }
}

/// A step with the tests and the solution below `origin`.
pub(crate) fn step(origin: &Path) -> Step {
    Step {
        name: None,
        instruction: "write the right answer".into(),
        agent: AgentPhase { timeout: Some(Duration::from_secs(20)), ..AgentPhase::default() },
        verifier: VerifierPhase {
            timeout: Duration::from_secs(20),
            user: None,
            env: BTreeMap::new(),
            network: None,
            mode: VerifierMode::Shared,
            collect: Vec::new(),
        },
        tests: vec![origin.join("tests")],
        solution: vec![origin.join("solution")],
        workdir_files: None,
        min_reward: None,
        healthcheck: None,
        artifacts: Vec::new(),
    }
}

pub(crate) fn manifest() -> Manifest {
    Manifest {
        format: RUN_FORMAT,
        run: RunId::new(RUN).unwrap(),
        harness_version: "0".into(),
        created_ms: 0,
        suite: SuiteRef {
            name: "test".into(),
            sources: Vec::new(),
            filter: None,
            limit: None,
            digest: Digest::of(b""),
        },
        variants: Vec::new(),
        attempts: 1,
        seed: 0,
        settings: BTreeMap::new(),
        tasks: BTreeMap::new(),
        invalid: Vec::new(),
        skipped: Vec::new(),
        machine: BTreeMap::new(),
        sandbox: SandboxNote::default(),
        models: BTreeMap::new(),
        prices: None,
        tools: BTreeMap::new(),
    }
}

/// Writes a file and its folders.
pub(crate) fn write(file: &Path, text: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}
