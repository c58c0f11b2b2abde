//! `[agent]`, `[verifier]`, `[[steps]]` and artifacts: who does what for how long, and what is taken out.

use std::collections::BTreeMap;
use std::time::Duration;

use harness_core::task::{Artifact, Collect, MinReward};
use harness_core::{Healthcheck, NetworkMode, TaskId};

use super::place::{Least, WireEnvironment, healthcheck, inside_path, network, required_command, seconds};
use crate::strict::{At, Entry, Table};

/// `[agent]` of the task or of a step.
#[derive(Default)]
pub(super) struct WireAgent {
    pub(super) timeout: Option<Duration>,
    pub(super) user: Option<String>,
    pub(super) network: Option<NetworkMode>,
}

impl WireAgent {
    pub(super) fn read(table: Table<'_, '_>) -> WireAgent {
        let agent = WireAgent {
            timeout: seconds(&table, "timeout_sec", Least::Positive),
            user: user(&table),
            network: network(&table),
        };
        table.finish();
        agent
    }
}

/// Where a `[verifier]` table says that the tests run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WireMode {
    Shared,
    Separate,
}

/// `[verifier]` of the task or of a step.
#[derive(Default)]
pub(super) struct WireVerifier {
    pub(super) timeout: Option<Duration>,
    pub(super) env: BTreeMap<String, At<String>>,
    pub(super) user: Option<String>,
    pub(super) network: Option<NetworkMode>,
    /// As written, or what the presence of an environment means.
    pub(super) mode: Option<WireMode>,
    pub(super) environment: Option<WireEnvironment>,
    pub(super) collect: Vec<Collect>,
}

impl WireVerifier {
    pub(super) fn read(table: Table<'_, '_>) -> WireVerifier {
        let doc = table.doc();
        let written = table.string("environment_mode").and_then(|mode| match mode.value.as_str() {
            "shared" => Some(WireMode::Shared),
            "separate" => Some(WireMode::Separate),
            other => {
                let problem = doc.problem(mode.offset, format!("there is no environment_mode {other:?}"));
                doc.push_error(problem.hint("it can be \"shared\" or \"separate\""));
                None
            }
        });
        let environment = table.table("environment").map(|below| {
            if written == Some(WireMode::Shared) {
                let problem =
                    doc.problem(below.offset(), "a verifier in shared mode has no environment of its own");
                doc.push_error(problem.hint("remove the table, or environment_mode = \"shared\""));
            }
            WireEnvironment::read(below)
        });
        let verifier = WireVerifier {
            timeout: seconds(&table, "timeout_sec", Least::Positive),
            env: table.string_map("env"),
            user: user(&table),
            network: network(&table),
            mode: written.or(environment.is_some().then_some(WireMode::Separate)),
            environment,
            collect: table.tables("collect").into_iter().filter_map(collect).collect(),
        };
        table.finish();
        verifier
    }
}

/// One entry of `[[steps]]`.
pub(super) struct WireStep {
    pub(super) name: At<String>,
    pub(super) agent: WireAgent,
    pub(super) verifier: WireVerifier,
    pub(super) min_reward: Option<MinReward>,
    pub(super) healthcheck: Option<Healthcheck>,
    pub(super) artifacts: Vec<Artifact>,
}

impl WireStep {
    /// `None` when it has no usable name, which is then an error of the document.
    pub(super) fn read(table: Table<'_, '_>) -> Option<WireStep> {
        let doc = table.doc();
        let name = table.string("name");
        if name.is_none() && !table.has("name") {
            doc.error(table.offset(), "a step needs a name: that of its folder below steps/");
        }
        let step = WireStep {
            name: name.unwrap_or(At { value: String::new(), offset: table.offset() }),
            agent: table.table("agent").map(WireAgent::read).unwrap_or_default(),
            verifier: table.table("verifier").map(WireVerifier::read).unwrap_or_default(),
            min_reward: min_reward(&table),
            healthcheck: table.table("healthcheck").and_then(healthcheck),
            artifacts: artifacts(&table),
        };
        let checked = !step.name.value.is_empty();
        // A step's name is a folder's name and a part of result paths: the rules of ids are its rules.
        if checked && let Err(error) = TaskId::new(step.name.value.clone()) {
            doc.error(step.name.offset, format!("a step's name must be fit for a folder: {error}"));
        }
        table.finish();
        checked.then_some(step)
    }
}

fn min_reward(table: &Table<'_, '_>) -> Option<MinReward> {
    if table.is_table("min_reward") {
        return Some(MinReward::Named(table.number_map("min_reward")));
    }
    table.number("min_reward").map(|least| MinReward::One(least.value))
}

/// A user's name or number.
fn user(table: &Table<'_, '_>) -> Option<String> {
    let user = table.string_or_integer("user")?;
    let name = user.value.trim();
    if name.is_empty()
        || name.starts_with('-')
        || name.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        let message = format!("{} must be a user's name or number, not {:?}", table.name("user"), user.value);
        table.doc().error(user.offset, message);
        return None;
    }
    Some(name.to_owned())
}

fn collect(table: Table<'_, '_>) -> Option<Collect> {
    refuse_service(&table);
    let command = required_command(&table);
    let user = user(&table);
    let timeout = seconds(&table, "timeout_sec", Least::Positive).unwrap_or(Duration::from_secs(60));
    table.finish();
    Some(Collect { command: command?, user, timeout })
}

/// Refuses what needs a second container.
fn refuse_service(table: &Table<'_, '_>) {
    if let Some(service) = table.string("service")
        && service.value != "main"
    {
        let message = format!(
            "the service {:?} is asked for, and tasks of several services cannot run yet",
            service.value
        );
        table.doc().error(service.offset, message);
    }
}

/// `artifacts` of the task or of a step: strings or tables.
pub(super) fn artifacts(table: &Table<'_, '_>) -> Vec<Artifact> {
    let mut artifacts = Vec::new();
    for entry in table.strings_or_tables("artifacts") {
        match entry {
            Entry::String(source) => {
                if inside_path(table, "artifacts", &source, true) {
                    artifacts.push(Artifact { source: source.value, destination: None, exclude: Vec::new() });
                }
            }
            Entry::Table(entry) => artifacts.extend(artifact(entry)),
        }
    }
    artifacts
}

fn artifact(table: Table<'_, '_>) -> Option<Artifact> {
    refuse_service(&table);
    let source = table.string("source");
    if source.is_none() && !table.has("source") {
        table.doc().error(table.offset(), "an artifact needs a source: an absolute path inside the sandbox");
    }
    let source = source.filter(|source| inside_path(&table, "source", source, true));
    let destination = table
        .string("destination")
        .filter(|destination| inside_path(&table, "destination", destination, false))
        // Absolute destinations mean the same below the artifacts' folder.
        .map(|destination| destination.value.trim_start_matches('/').to_owned())
        .filter(|destination| !destination.is_empty());
    let exclude = table.strings("exclude").map(|list| list.value).unwrap_or_default();
    let exclude = exclude.into_iter().map(|pattern| pattern.value).collect();
    table.finish();
    Some(Artifact { source: source?.value, destination, exclude })
}
