//! Settings that a suite proposes. A flag or a settings file wins; each value knows where it was written.

use std::collections::BTreeMap;
use std::time::Duration;

use datasets::strict::{At, Table};
use harness_core::NetworkMode;
use serde_json::Value;

/// A value and where it was written, as `FILE:LINE:COLUMN`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// For `show settings` and the manifest.
    pub source: String,
}

/// What a suite file says that a run takes where no flag says otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    /// Attempts per task and variant.
    pub attempts: Option<Sourced<u32>>,
    /// Trials at once.
    pub jobs: Option<Sourced<u32>>,
    /// Further tries after a fault of the harness.
    pub retries: Option<Sourced<u32>>,
    /// Every time limit of a task times this.
    pub timeout_multiplier: Option<Sourced<f64>>,
    /// No agent gets longer, whatever its task says.
    pub agent_timeout_max: Option<Sourced<Duration>>,
    /// No verifier gets longer.
    pub verifier_timeout_max: Option<Sourced<Duration>>,
    /// In place of what each task says.
    pub network: Option<Sourced<NetworkMode>>,
    /// Seed of every random choice.
    pub seed: Option<Sourced<u64>>,
    /// `[defaults.agents.NAME]`: settings of agents where an experiment says nothing.
    pub agents: AgentDefaults,
}

/// Settings of agents, by agent and name. Agents check them when they are asked for.
pub type AgentDefaults = BTreeMap<String, BTreeMap<String, Sourced<Value>>>;

/// Ten years: longer than any task, short enough to add to any clock.
const MAX_TIMEOUT_SEC: f64 = 315_360_000.0;
/// The largest factor on time limits that is no slip.
const MAX_MULTIPLIER: f64 = 1000.0;

impl Defaults {
    /// Reads the `[defaults]` of a suite file; what is wrong is recorded in its document.
    pub(crate) fn read(table: Table<'_, '_>) -> Defaults {
        let timeout =
            |key| number(&table, key, MAX_TIMEOUT_SEC).map(|found| found.map(Duration::from_secs_f64));
        let defaults = Defaults {
            attempts: whole(&table, "attempts", 1..=10_000).map(Sourced::small),
            jobs: whole(&table, "jobs", 1..=10_000).map(Sourced::small),
            retries: whole(&table, "retries", 0..=100).map(Sourced::small),
            timeout_multiplier: number(&table, "timeout_multiplier", MAX_MULTIPLIER),
            agent_timeout_max: timeout("agent_timeout_max_sec"),
            verifier_timeout_max: timeout("verifier_timeout_max_sec"),
            network: network(&table),
            seed: whole(&table, "seed", 0..=i64::MAX),
            agents: table.table("agents").map(agents).unwrap_or_default(),
        };
        table.finish();
        defaults
    }
}

impl<T> Sourced<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced { value: f(self.value), source: self.source }
    }
}

impl Sourced<u64> {
    fn small(self) -> Sourced<u32> {
        self.map(|value| u32::try_from(value).unwrap_or(u32::MAX))
    }
}

fn sourced<T>(table: &Table<'_, '_>, at: At<T>) -> Sourced<T> {
    Sourced { source: table.doc().problem(at.offset, "").place(), value: at.value }
}

/// A whole number within bounds that start at 0 or more.
pub(crate) fn whole(
    table: &Table<'_, '_>,
    key: &'static str,
    bounds: std::ops::RangeInclusive<i64>,
) -> Option<Sourced<u64>> {
    let found = table.integer(key)?;
    if !bounds.contains(&found.value) {
        let (least, most) = (bounds.start(), bounds.end());
        let message = format!("{} must be between {least} and {most}, not {}", table.name(key), found.value);
        table.doc().error(found.offset, message);
        return None;
    }
    Some(sourced(table, found.map(i64::unsigned_abs)))
}

fn number(table: &Table<'_, '_>, key: &'static str, most: f64) -> Option<Sourced<f64>> {
    let found = table.number(key)?;
    if found.value <= 0.0 || found.value > most {
        let message = format!("{} must be above 0 and at most {most}, not {}", table.name(key), found.value);
        table.doc().error(found.offset, message);
        return None;
    }
    Some(sourced(table, found))
}

fn agents(table: Table<'_, '_>) -> AgentDefaults {
    let mut found = AgentDefaults::new();
    for free in table.free() {
        let Value::Object(settings) = &free.value.value else {
            table.doc().error(
                free.value.offset,
                format!("{} must be a table of settings", table.name(&free.key.value)),
            );
            continue;
        };
        let source = table.doc().problem(free.key.offset, "").place();
        let told = |(name, value): (&String, &Value)| {
            (name.clone(), Sourced { value: value.clone(), source: source.clone() })
        };
        found.insert(free.key.value.clone(), settings.iter().map(told).collect());
    }
    found
}

fn network(table: &Table<'_, '_>) -> Option<Sourced<NetworkMode>> {
    let found = table.string("network")?;
    let mode = match found.value.as_str() {
        "none" => NetworkMode::None,
        "gateway" => NetworkMode::Gateway,
        "open" => NetworkMode::Open,
        other => {
            let problem = table.doc().problem(found.offset, format!("there is no network {other:?}"));
            table.doc().push_error(problem.hint("it can be \"none\", \"gateway\" or \"open\""));
            return None;
        }
    };
    Some(sourced(table, found.map(|_| mode)))
}
