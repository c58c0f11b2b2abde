//! Whole runs on the memory sandbox: what the runner itself costs, its synced journal included.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use harness_core::manifest::{Manifest, RUN_FORMAT, SuiteRef};
use harness_core::plan::Planned;
use harness_core::record::SandboxNote;
use harness_core::task::{AgentPhase, Hints, RewardStrategy, Traits, VerifierMode, VerifierPhase};
use harness_core::{
    Digest, EnvironmentSource, EnvironmentSpec, Limits, NetworkMode, RunId, Step, Task, TaskId, TrialId,
    Variant, VariantName,
};
use harness_engine::agents::by_name;
use harness_engine::{Cancel, Cell, RunDir, RunEnd, RunSettings, RunSpec, execute};
use harness_sandbox::memory::MemoryBackend;

/// Tasks of every plan; attempts make up the rest.
const TASKS: usize = 50;

/// Tasks on disk, and the cells that try them.
pub struct Bench {
    folder: tempfile::TempDir,
    tasks: BTreeMap<TaskId, Arc<Task>>,
    cells: BTreeMap<VariantName, Cell>,
    runs: usize,
}

impl Bench {
    /// Tasks below the temporary folder, to be tried by this registered agent.
    ///
    /// # Panics
    /// When the temporary folder cannot be written or there is no such agent.
    pub fn new(agent: &str) -> Bench {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let tasks = (0..TASKS).map(|at| {
            let task = task(&format!("task-{at:03}"), &folder.path().join("tasks").join(at.to_string()));
            (task.id.clone(), Arc::new(task))
        });
        let made = by_name(agent).expect("a registered agent").configure(None, &BTreeMap::new());
        let name = VariantName::new(agent).expect("agents' names are ids");
        let variant =
            Variant { name: name.clone(), agent: agent.into(), model: None, settings: BTreeMap::new() };
        let cell = Cell { variant: Arc::new(variant), agent: made.expect("no settings are needed") };
        Bench { tasks: tasks.collect(), cells: BTreeMap::from([(name, cell)]), folder, runs: 0 }
    }

    /// A plan of so many trials.
    pub fn plan(&self, trials: usize) -> Vec<Planned> {
        let mut plan = Vec::with_capacity(trials);
        for attempt in 1.. {
            for task in self.tasks.values() {
                for variant in self.cells.keys() {
                    if plan.len() == trials {
                        return plan;
                    }
                    let id = TrialId { task: task.id.clone(), variant: variant.clone(), attempt };
                    plan.push(Planned { id, task_digest: task.digest.clone() });
                }
            }
        }
        plan
    }

    /// Runs so many trials in a new run directory, at most `jobs` at once; returns where the run lies.
    ///
    /// # Panics
    /// When a trial does not finish: a figure of a run that broke would mean nothing.
    pub async fn run(&mut self, trials: usize, jobs: usize) -> PathBuf {
        self.runs += 1;
        let run = RunId::new(format!("run-{}", self.runs)).expect("a valid id");
        let runs = self.folder.path().join("runs");
        let plan = self.plan(trials);
        let dir = RunDir::create(&runs, &manifest(&run), &plan).expect("a run directory can be made");
        let path = dir.path().to_owned();
        let spec = RunSpec {
            dir,
            run,
            plan,
            tasks: self.tasks.clone(),
            cells: self.cells.clone(),
            backend: Arc::new(MemoryBackend::new()),
            settings: RunSettings { jobs, ..RunSettings::default() },
            models: None,
            cancel: Cancel::default(),
            watcher: Box::new(|_| {}),
        };
        let end = execute(spec).await.expect("the run ends in order");
        let whole = RunEnd { planned: trials, finished: trials, ..RunEnd::default() };
        assert_eq!(end, whole);
        path
    }
}

fn task(name: &str, origin: &Path) -> Task {
    let write = |path: &str, text: &str| {
        let file = origin.join(path);
        std::fs::create_dir_all(file.parent().expect("a file in a folder")).expect("a folder can be made");
        std::fs::write(file, text).expect("a file can be written");
    };
    write("solution/solve.sh", "#!/bin/sh\necho right > /app/answer\n");
    write(
        "tests/test.sh",
        "#!/bin/sh\nif grep -q right /app/answer; then echo 1 > /logs/verifier/reward.txt; else echo 0 > /logs/verifier/reward.txt; fi\n",
    );
    Task {
        id: TaskId::new(name).expect("a valid id"),
        dataset: "bench".into(),
        origin: origin.to_owned(),
        digest: Digest::of(name.as_bytes()),
        description: None,
        traits: Traits::default(),
        environment: EnvironmentSpec {
            source: EnvironmentSource::Image { reference: "bench".into(), files: None },
            build_timeout: Duration::from_secs(60),
            limits: Limits::default(),
            env: BTreeMap::new(),
            workdir: Some("/app".into()),
            network: NetworkMode::None,
            healthcheck: None,
            host_root: true,
        },
        steps: vec![Step {
            name: None,
            instruction: "write the right answer".into(),
            agent: AgentPhase { timeout: Some(Duration::from_secs(60)), ..AgentPhase::default() },
            verifier: VerifierPhase {
                timeout: Duration::from_secs(60),
                env: BTreeMap::new(),
                user: None,
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
        }],
        reward_strategy: RewardStrategy::default(),
        artifacts: Vec::new(),
        solution_env: BTreeMap::new(),
        hints: Hints::default(),
    }
}

fn manifest(run: &RunId) -> Manifest {
    let suite = SuiteRef {
        name: "bench".into(),
        sources: Vec::new(),
        filter: None,
        limit: None,
        digest: Digest::of(b""),
    };
    Manifest {
        format: RUN_FORMAT,
        run: run.clone(),
        harness_version: "0".into(),
        created_ms: 0,
        suite,
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
