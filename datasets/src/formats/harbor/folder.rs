//! One task's folder → [`Task`]: task.toml joined with the files that it needs, and the rules by which a step takes
//! over what the task says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness_core::task::{AgentPhase, Step, Traits, VerifierMode, VerifierPhase};
use harness_core::{EnvironmentSource, EnvironmentSpec, Task, TaskId};

use super::discover::Candidate;
use super::phases::{WireMode, WireStep};
use super::place::WireEnvironment;
use super::template;
use super::text::without_canary;
use super::wire::WireTask;
use crate::load::LoadOptions;
use crate::problem::{InvalidTask, Problem, printable};
use crate::strict::{At, Document, Found};
use crate::tree::{Kind, Tree};

const MAX_TOML_BYTES: u64 = 1 << 20;
const MAX_INSTRUCTION_BYTES: u64 = 1 << 20;
const MAX_TRAJECTORY_BYTES: u64 = 16 << 20;
/// What the format means by an absent verifier timeout.
const VERIFIER_TIMEOUT: Duration = Duration::from_secs(600);

/// Reads one folder; the warnings come with either result.
pub(super) fn read(
    candidate: &Candidate,
    dataset: &str,
    options: &LoadOptions,
) -> (Result<Box<Task>, InvalidTask>, Vec<Problem>) {
    let folder = &candidate.folder;
    let name = folder.file_name().map(|name| printable(Path::new(name))).unwrap_or_default();
    let invalid = |problems: Vec<Problem>, traits: Option<Traits>| InvalidTask {
        id: name.clone(),
        origin: folder.clone(),
        dataset: dataset.to_owned(),
        traits,
        problems,
    };
    if let Some(problem) = &candidate.problem {
        return (Err(invalid(vec![problem.clone()], None)), Vec::new());
    }
    let read = || -> Result<_, Vec<Problem>> {
        let one = |problem: Problem| vec![problem];
        let id = task_id(folder).map_err(one)?;
        let tree = Tree::walk(folder, options.limits)?;
        let text = tree.read_text("task.toml", MAX_TOML_BYTES).map_err(one)?;
        let doc = Document::parse(&folder.join("task.toml"), &text).map_err(|problem| one(*problem))?;
        let wire = WireTask::read(&doc);
        let mut reader = Reader { doc: &doc, tree: &tree, wire: &wire, options, problems: Found::default() };
        let task = reader.task(id, dataset);
        let Found { errors: missing, warnings: odd } = reader.problems;
        let mut found = doc.into_found();
        found.errors.extend(missing);
        found.warnings.extend(odd);
        // What the task says is read anew for each of its steps.
        dedup(&mut found.errors);
        dedup(&mut found.warnings);
        Ok((task, found, tree))
    };
    match read() {
        Err(problems) => (Err(invalid(problems, None)), Vec::new()),
        Ok((task, found, _)) if !found.errors.is_empty() => {
            (Err(invalid(found.errors, Some(task.traits))), found.warnings)
        }
        Ok((mut task, found, tree)) => match tree.digest() {
            Ok(digest) => {
                task.digest = digest;
                (Ok(Box::new(task)), found.warnings)
            }
            Err(problem) => (Err(invalid(vec![problem], Some(task.traits))), found.warnings),
        },
    }
}

fn dedup(problems: &mut Vec<Problem>) {
    let mut kept: Vec<Problem> = Vec::with_capacity(problems.len());
    for problem in problems.drain(..) {
        if !kept.contains(&problem) {
            kept.push(problem);
        }
    }
    *problems = kept;
}

fn task_id(folder: &Path) -> Result<TaskId, Problem> {
    let name = folder.file_name().unwrap_or_default();
    let unfit = |why: String| Problem::new(folder, why).hint("rename the folder: its name is the task's id");
    let name = name.to_str().ok_or_else(|| unfit("the folder's name is not text".into()))?;
    TaskId::new(name).map_err(|error| unfit(error.to_string()))
}

/// What every trajectory has; agents read the rest.
#[derive(serde::Deserialize)]
struct WireTrajectory {
    schema_version: String,
    #[serde(rename = "steps")]
    _steps: Vec<serde::de::IgnoredAny>,
}

struct Reader<'a> {
    doc: &'a Document<'a>,
    tree: &'a Tree,
    wire: &'a WireTask,
    options: &'a LoadOptions,
    /// Of the folder; those of task.toml are kept by the document.
    problems: Found,
}

impl Reader<'_> {
    /// The task without its digest. Where something is wrong it is recorded, and the value is of no use.
    fn task(&mut self, id: TaskId, dataset: &str) -> Task {
        let wire = self.wire;
        let source = self.environment_source();
        let env = self.resolve(&wire.environment.env);
        let environment = wire.environment.spec(source, env, wire.host_root);
        let steps = if wire.steps.is_empty() {
            vec![self.step(None, &environment)]
        } else {
            self.check_step_names();
            wire.steps.iter().map(|step| self.step(Some(step), &environment)).collect()
        };
        Task {
            id,
            dataset: dataset.to_owned(),
            origin: self.tree.root().to_owned(),
            digest: harness_core::Digest::of(b""),
            description: wire.description.clone(),
            traits: wire.traits.clone(),
            environment,
            steps,
            reward_strategy: wire.reward_strategy,
            artifacts: wire.artifacts.clone(),
            solution_env: self.resolve(&wire.solution_env),
            hints: wire.hints.clone(),
        }
    }

    fn environment_source(&mut self) -> EnvironmentSource {
        let tree = self.tree;
        for name in ["docker-compose.yaml", "docker-compose.yml", "compose.yaml", "compose.yml"] {
            let path = format!("environment/{name}");
            if tree.is_file(&path) {
                let problem =
                    Problem::new(tree.root().join(path), "tasks of several services cannot run yet");
                self.problems.errors.push(problem.hint("one service can be said with a Dockerfile alone"));
            }
        }
        if let Some(reference) = &self.wire.environment.docker_image {
            let files = tree.children("environment").next().and_then(|_| tree.host_path("environment"));
            return EnvironmentSource::Image { reference: reference.clone(), files };
        }
        match (tree.host_path("environment"), tree.host_path("environment/Dockerfile")) {
            (Some(context), Some(file)) if tree.is_file("environment/Dockerfile") => {
                return EnvironmentSource::Dockerfile { file, context };
            }
            (Some(_), _) => self.missing("environment/Dockerfile", "or name a docker_image in [environment]"),
            (None, _) => self.missing("environment", "the folder holds the Dockerfile and what it copies"),
        }
        EnvironmentSource::Image { reference: String::new(), files: None }
    }

    fn check_step_names(&mut self) {
        let names: Vec<&str> = self.wire.steps.iter().map(|step| step.name.value.as_str()).collect();
        for (at, step) in self.wire.steps.iter().enumerate() {
            if names[..at].contains(&step.name.value.as_str()) {
                self.doc.error(step.name.offset, format!("two steps have the name {:?}", step.name.value));
            }
        }
        let strangers: Vec<PathBuf> = self
            .tree
            .children("steps")
            .filter(|path| {
                path.file_name().and_then(|name| name.to_str()).is_none_or(|name| !names.contains(&name))
            })
            .map(Path::to_owned)
            .collect();
        for path in strangers {
            let problem =
                Problem::new(self.tree.root().join(path), "is no step: no [[steps]] of task.toml names it");
            self.problems.warnings.push(problem);
        }
    }

    /// One step, or the whole of a task that has none.
    fn step(&mut self, step: Option<&WireStep>, environment: &EnvironmentSpec) -> Step {
        let (tree, wire) = (self.tree, self.wire);
        let base = step.map(|step| format!("steps/{}/", step.name.value));
        let of_step = |name: &str| base.as_ref().map(|base| format!("{base}{name}"));
        let instruction_path = of_step("instruction.md").unwrap_or_else(|| "instruction.md".to_owned());
        // The task's own folders lie under the step's.
        let folders = |name: &str| -> Vec<String> {
            let both = [Some(name.to_owned()), of_step(name)];
            both.into_iter().flatten().filter(|path| tree.is_folder(path)).collect()
        };
        let (tests, solution) = (folders("tests"), folders("solution"));
        let mode = self.mode(step, &tests, environment);
        self.require_test(&tests, &mode, of_step("tests"));
        let solvable = solution.iter().any(|folder| tree.is_file(&format!("{folder}/solve.sh")));
        if !solvable && !solution.is_empty() {
            let why = "holds no solve.sh, so the oracle cannot solve this task";
            self.warn(solution.last().map_or("solution", String::as_str), why);
        }
        let host = |folders: Vec<String>| folders.iter().filter_map(|path| tree.host_path(path)).collect();
        Step {
            name: step.map(|step| step.name.value.clone()),
            instruction: self.instruction(&instruction_path),
            agent: AgentPhase {
                timeout: step.and_then(|step| step.agent.timeout).or(wire.agent.timeout),
                user: step.and_then(|step| step.agent.user.clone()).or_else(|| wire.agent.user.clone()),
                network: step
                    .and_then(|step| step.agent.network.clone())
                    .or_else(|| wire.agent.network.clone()),
                skills_dir: wire.environment.skills_dir.clone(),
                trajectory: self.trajectory(step),
            },
            verifier: self.verifier(step, mode),
            tests: host(tests),
            solution: if solvable { host(solution) } else { Vec::new() },
            workdir_files: of_step("workdir")
                .filter(|path| tree.is_folder(path))
                .and_then(|path| tree.host_path(&path)),
            min_reward: step.and_then(|step| step.min_reward.clone()),
            healthcheck: step.and_then(|step| step.healthcheck.clone()),
            artifacts: step.map(|step| step.artifacts.clone()).unwrap_or_default(),
        }
    }

    /// The conversation that came before: the task's, or its first step's.
    fn trajectory(&mut self, step: Option<&WireStep>) -> Option<PathBuf> {
        let path = match (step, self.wire.steps.first()) {
            (None, _) => "trajectory.json".to_owned(),
            (Some(step), Some(first)) if step.name.value == first.name.value => {
                format!("steps/{}/trajectory.json", step.name.value)
            }
            _ => return None,
        };
        if !self.tree.is_file(&path) {
            return None;
        }
        let text = match self.tree.read_text(&path, MAX_TRAJECTORY_BYTES) {
            Ok(text) => text,
            Err(problem) => {
                self.problems.errors.push(problem);
                return None;
            }
        };
        let wrong = match serde_json::from_str::<WireTrajectory>(&text) {
            Ok(found) if found.schema_version.starts_with("ATIF-v1.") => return self.tree.host_path(&path),
            Ok(found) => format!("has schema_version {:?}, not ATIF-v1", found.schema_version),
            Err(error) => format!("is no ATIF trajectory: {error}"),
        };
        self.problems.errors.push(Problem::new(self.tree.root().join(path), wrong));
        None
    }

    fn verifier(&mut self, step: Option<&WireStep>, mode: VerifierMode) -> VerifierPhase {
        let task = &self.wire.verifier;
        let step = step.map(|step| &step.verifier);
        let mut env = task.env.clone();
        env.extend(step.map(|step| step.env.clone()).unwrap_or_default());
        VerifierPhase {
            timeout: step.and_then(|step| step.timeout).or(task.timeout).unwrap_or(VERIFIER_TIMEOUT),
            env: self.resolve(&env),
            user: step.and_then(|step| step.user.clone()).or_else(|| task.user.clone()),
            network: step.and_then(|step| step.network.clone()).or_else(|| task.network.clone()),
            mode,
            collect: task
                .collect
                .iter()
                .chain(step.map(|step| &step.collect).into_iter().flatten())
                .cloned()
                .collect(),
        }
    }

    /// Where the tests run: what the step says, else what the task says, else what a Dockerfile among the tests says.
    fn mode(
        &mut self,
        step: Option<&WireStep>,
        tests: &[String],
        environment: &EnvironmentSpec,
    ) -> VerifierMode {
        let (tree, task) = (self.tree, &self.wire.verifier);
        let step = step.map(|step| &step.verifier);
        let context = tests.iter().rev().find(|folder| tree.is_file(&format!("{folder}/Dockerfile")));
        let said = step.and_then(|step| step.mode).or(task.mode);
        match said.unwrap_or(if context.is_some() { WireMode::Separate } else { WireMode::Shared }) {
            WireMode::Shared => VerifierMode::Shared,
            WireMode::Separate => {
                let own = step.and_then(|step| step.environment.as_ref()).or(task.environment.as_ref());
                self.separate(own, context, environment)
            }
        }
    }

    /// A verifier's own environment: its image, else the Dockerfile among the tests, else the task's own once more.
    fn separate(
        &mut self,
        own: Option<&WireEnvironment>,
        context: Option<&String>,
        environment: &EnvironmentSpec,
    ) -> VerifierMode {
        let dockerfile = context.and_then(|folder| {
            Some(EnvironmentSource::Dockerfile {
                file: self.tree.host_path(&format!("{folder}/Dockerfile"))?,
                context: self.tree.host_path(folder)?,
            })
        });
        let image = own.and_then(|own| own.docker_image.as_ref());
        let source = match (image, dockerfile) {
            (Some(reference), _) => {
                Some(EnvironmentSource::Image { reference: reference.clone(), files: None })
            }
            (None, dockerfile) => dockerfile,
        };
        let spec = match (own, source) {
            (None, None) => return VerifierMode::Separate(None),
            (None, Some(source)) => EnvironmentSpec { source, ..environment.clone() },
            (Some(own), source) => {
                let env = self.resolve(&own.env);
                own.spec(source.unwrap_or_else(|| environment.source.clone()), env, environment.host_root)
            }
        };
        VerifierMode::Separate(Some(Box::new(spec)))
    }

    fn require_test(&mut self, tests: &[String], mode: &VerifierMode, of_step: Option<String>) {
        let tree = self.tree;
        let any = |name: &str| tests.iter().any(|folder| tree.is_file(&format!("{folder}/{name}")));
        let made_by_image = matches!(mode, VerifierMode::Separate(Some(_)));
        if any("test.sh") || made_by_image {
            return;
        }
        let hint = if any("test.bat") {
            "test.bat is for Windows, which this program cannot give a task"
        } else {
            "the script that judges and writes /logs/verifier/reward.txt"
        };
        self.missing(&format!("{}/test.sh", of_step.unwrap_or_else(|| "tests".to_owned())), hint);
    }

    fn instruction(&mut self, path: &str) -> String {
        match self.tree.read_text(path, MAX_INSTRUCTION_BYTES) {
            Ok(text) => {
                let told = without_canary(&text);
                if told.trim().is_empty() {
                    self.problems
                        .errors
                        .push(Problem::new(self.tree.root().join(path), "tells the agent nothing"));
                }
                told.to_owned()
            }
            Err(problem) => {
                self.problems.errors.push(problem.hint("it is what the agent is told"));
                String::new()
            }
        }
    }

    fn resolve(&self, table: &BTreeMap<String, At<String>>) -> BTreeMap<String, String> {
        template::resolve(self.doc, table, &self.options.host_vars)
    }

    fn missing(&mut self, path: &str, hint: &str) {
        let there = self.tree.entries().any(|(entry, _)| entry == Path::new(path));
        let what = match self.tree.entries().find(|(entry, _)| *entry == Path::new(path)) {
            Some((_, Kind::Link { .. })) => "is a link to nothing",
            _ if there => "is not of the right kind",
            _ => "is missing",
        };
        self.problems.errors.push(Problem::new(self.tree.root().join(path), what).hint(hint));
    }

    fn warn(&mut self, path: &str, what: &str) {
        self.problems.warnings.push(Problem::new(self.tree.root().join(path), what));
    }
}
