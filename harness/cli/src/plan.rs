//! From what was chosen to what will be run: the engine's settings, the tasks that can run here, and the manifest that says what
//! results depend on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use harness_core::manifest::{
    Manifest, RUN_FORMAT, Setting, SkippedTask, SuiteRef, TaskNote, ToolsNote, UpstreamNote,
};
use harness_core::record::SandboxNote;
use harness_core::task::VerifierMode;
use harness_core::{Digest, NetworkMode, RunId, Task, TaskId};
use harness_engine::journal_writer::now_ms;
use harness_engine::machine::Machine;
use harness_engine::{Cell, RunSettings};
use harness_sandbox::{Backend, EnvironmentRequest};
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::settings::Settings;

pub use crate::variants::cell;

/// The engine's settings.
pub fn run_settings(settings: &Settings) -> Result<RunSettings, Failure> {
    let network = match settings.text("network") {
        "task" => None,
        "none" => Some(harness_core::NetworkMode::None),
        "gateway" => Some(harness_core::NetworkMode::Gateway),
        "open" => Some(harness_core::NetworkMode::Open),
        _ => return Err(settings.bad("network", "must be none, gateway, open or task")),
    };
    Ok(RunSettings {
        jobs: settings.count("jobs")?.clamp(1, 4096) as usize,
        retries: settings.count("retries")?.min(100) as u32,
        fail_fast: settings.switch("fail_fast"),
        network,
        default_agent_timeout: std::time::Duration::from_secs_f64(
            settings.positive("agent_timeout_sec")?.min(3e7),
        ),
        timeout_multiplier: settings.positive("timeout_multiplier")?,
        agent_timeout_max: settings.limit("agent_timeout_max_sec")?,
        verifier_timeout_max: settings.limit("verifier_timeout_max_sec")?,
        seed: settings.count("seed")?,
        machine: Machine::here(),
        ..RunSettings::default()
    })
}

/// Which tasks can run here, and which are skipped for what reason.
pub fn admit(
    backend: &dyn Backend,
    network: Option<&NetworkMode>,
    tasks: Vec<Task>,
    cells: &[Cell],
) -> (Vec<Task>, Vec<SkippedTask>) {
    let mut skipped = Vec::new();
    let mut admitted = Vec::new();
    for task in tasks {
        match refusal(backend, network, &task, cells) {
            Some(reason) => skipped.push(SkippedTask { task: task.id.to_string(), reason }),
            None => admitted.push(task),
        }
    }
    (admitted, skipped)
}

/// Why a task cannot run here.
fn refusal(
    backend: &dyn Backend,
    network: Option<&NetworkMode>,
    task: &Task,
    cells: &[Cell],
) -> Option<String> {
    let modes = networks(network, task);
    let per_phase = backend.caps().network_per_phase;
    if let (several @ [_, _, ..], false) = (&modes[..], per_phase) {
        let modes: Vec<_> = several.iter().map(ToString::to_string).collect();
        return Some(format!(
            "its phases want different networks ({}), and a sandbox of {} has one: --network MODE gives all of them the same",
            modes.join(", "),
            backend.name()
        ));
    }
    // What holds while the sandbox is made ready; where networks cannot change, what comes next holds then too.
    let ready = network.unwrap_or(&task.environment.network);
    for mode in modes.into_iter().chain(per_phase.then(|| ready.clone())) {
        let spec = harness_core::EnvironmentSpec { network: mode, ..task.environment.clone() };
        let request = EnvironmentRequest { spec, digest: task.digest.clone(), log: None };
        if let Err(error) = backend.admit(&request) {
            return Some(error.to_string());
        }
    }
    for step in &task.steps {
        let VerifierMode::Separate(own) = &step.verifier.mode else { continue };
        let own = own.as_deref().unwrap_or(&task.environment);
        let tests = network.unwrap_or_else(|| task.verifier_network(step));
        let before = network.unwrap_or(&own.network);
        for mode in [before, tests].iter().skip(usize::from(!per_phase)) {
            let spec = harness_core::EnvironmentSpec { network: (*mode).clone(), ..own.clone() };
            let request = EnvironmentRequest { spec, digest: task.digest.clone(), log: None };
            if let Err(error) = backend.admit(&request) {
                return Some(format!("its verifier: {error}"));
            }
        }
    }
    if let Some(why) = backend.caps().single_user.as_ref().filter(|_| task.hints.users) {
        return Some(format!("needs several users: {why}"));
    }
    let unsuited =
        |cell: &Cell| cell.agent.suits(task).err().map(|why| format!("{}: {why}", cell.variant.name));
    cells.iter().find_map(unsuited)
}

/// The networks that the phases of a task's own sandbox want, each once.
fn networks(told: Option<&NetworkMode>, task: &Task) -> Vec<NetworkMode> {
    if let Some(told) = told {
        return vec![told.clone()];
    }
    let mut all: Vec<NetworkMode> = Vec::new();
    for step in &task.steps {
        all.push(task.agent_network(step).clone());
        if step.verifier.mode == VerifierMode::Shared {
            all.push(task.verifier_network(step).clone());
        }
    }
    all.sort();
    all.dedup();
    all
}

/// What goes into a manifest beside what the settings say.
pub struct Selected<'a> {
    /// Name of the run.
    pub run: RunId,
    /// The suite as it was asked for, without its digest.
    pub suite: SuiteRef,
    /// The tasks that will run.
    pub tasks: &'a BTreeMap<TaskId, Arc<Task>>,
    /// The variants.
    pub cells: &'a [Cell],
    /// Tasks that could not be read.
    pub invalid: Vec<harness_core::manifest::InvalidTask>,
    /// Tasks that cannot run here.
    pub skipped: Vec<SkippedTask>,
    /// Host variables that tasks may read, by name.
    pub env_pass: Vec<String>,
    /// Upstreams of the models, and the digest of the prices.
    pub models: (BTreeMap<String, UpstreamNote>, Option<Digest>),
    /// What was installed for the variants' agents.
    pub tools: BTreeMap<String, ToolsNote>,
}

/// Installs what the agents need, unless it is there; before anything is on record or spent.
pub fn install(settings: &Settings, cells: &[Cell]) -> Result<BTreeMap<String, ToolsNote>, Failure> {
    let state = settings.path("state_dir");
    // What trials mount is named from the root.
    let state = std::path::absolute(&state).unwrap_or(state);
    let mut notes = BTreeMap::new();
    for cell in cells {
        let installed = cell.agent.install(&state, &|line| crate::printer::say(line));
        let note = installed.map_err(|error| {
            let failure = Failure::of(Exit::Invalid, &error);
            failure.hint("nothing was started; npm and pip are asked as they are set up on this machine")
        })?;
        notes.extend(note.map(|note| (cell.variant.name.to_string(), note)));
    }
    Ok(notes)
}

/// The manifest.
pub fn manifest(
    selected: Selected<'_>,
    settings: &Settings,
    backend: &dyn Backend,
) -> Result<Manifest, Failure> {
    let note = |task: &Arc<Task>| TaskNote {
        digest: task.digest.clone(),
        dataset: task.dataset.clone(),
        difficulty: task.traits.difficulty.clone(),
        language: task.traits.language.clone(),
        tags: task.traits.tags.clone(),
    };
    let setting = |layered: &crate::settings::Layered| Setting {
        value: layered.value.clone(),
        source: layered.source.clone(),
    };
    let mut set: BTreeMap<String, Setting> =
        settings.mattering().map(|(name, layered)| (name.to_owned(), setting(layered))).collect();
    if !selected.env_pass.is_empty() {
        // Names and digests: values may be secrets, and a changed one changes what tasks are.
        let digest =
            |name: &String| Digest::of(std::env::var(name).unwrap_or_default().as_bytes()).short().to_owned();
        let passed: BTreeMap<&String, String> =
            selected.env_pass.iter().map(|name| (name, digest(name))).collect();
        set.insert("env_pass".into(), Setting { value: json!(passed), source: "flag".into() });
    }
    Ok(Manifest {
        format: RUN_FORMAT,
        run: selected.run,
        harness_version: env!("CARGO_PKG_VERSION").to_owned(),
        created_ms: now_ms(),
        suite: SuiteRef { digest: selection_digest(selected.tasks), ..selected.suite },
        variants: selected.cells.iter().map(|cell| (*cell.variant).clone()).collect(),
        attempts: settings.count("attempts")?.clamp(1, 100_000) as u32,
        seed: settings.count("seed")?,
        settings: set,
        tasks: selected.tasks.iter().map(|(id, task)| (id.to_string(), note(task))).collect(),
        invalid: selected.invalid,
        skipped: selected.skipped,
        machine: machine(),
        sandbox: SandboxNote {
            backend: backend.name().to_owned(),
            rootfs: settings.text("rootfs").to_owned(),
            network: settings.text("network").to_owned(),
            verifier_network: None,
            weaknesses: backend.caps().weaknesses.clone(),
        },
        models: selected.models.0,
        prices: selected.models.1,
        tools: selected.tools,
    })
}

/// Digest of which tasks were selected, as they were.
pub fn selection_digest(tasks: &BTreeMap<TaskId, Arc<Task>>) -> Digest {
    let mut digest = harness_core::digest::DigestBuilder::new();
    for (id, task) in tasks {
        digest.part(id.as_str(), task.digest.as_str().as_bytes());
    }
    digest.finish()
}

fn machine() -> BTreeMap<String, String> {
    let uname = rustix::system::uname();
    let machine = Machine::here();
    BTreeMap::from([
        ("kernel".into(), uname.release().to_string_lossy().into_owned()),
        ("arch".into(), uname.machine().to_string_lossy().into_owned()),
        ("milli_cpus".into(), machine.milli_cpus.to_string()),
        ("memory_bytes".into(), machine.memory_bytes.to_string()),
        ("root".into(), rustix::process::geteuid().is_root().to_string()),
    ])
}

/// A name for a run: when, and what.
pub fn run_name(suite: &str) -> String {
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let name =
        Path::new(suite).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let safe: String = name.chars().filter(|c| c.is_alphanumeric() || "-_.".contains(*c)).take(40).collect();
    if safe.is_empty() { now } else { format!("{now}-{safe}") }
}
