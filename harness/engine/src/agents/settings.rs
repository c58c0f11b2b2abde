//! Settings of agents: declared by each agent, checked before anything starts.

use std::collections::BTreeMap;

use serde_json::Value;

/// One setting that an agent takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingSpec {
    /// Its name in `--agent-set NAME=VALUE`.
    pub name: &'static str,
    /// What it means, in a sentence.
    pub about: &'static str,
    /// What it holds.
    pub kind: SettingKind,
}

impl SettingSpec {
    /// One that holds a text.
    pub const fn text(name: &'static str, about: &'static str) -> SettingSpec {
        SettingSpec { name, about, kind: SettingKind::Text }
    }
}

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// Text.
    Text,
    /// A list of texts; on the command line separated by commas.
    List,
    /// A path on the host.
    Path,
}

/// What is wrong with an agent's settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No such setting.
    #[error("the agent {agent} has no setting {name:?}{}", known(known_names))]
    Unknown {
        /// The agent.
        agent: String,
        /// The setting.
        name: String,
        /// What it has.
        known_names: Vec<&'static str>,
    },
    /// The wrong kind of value.
    #[error("the setting {name:?} of the agent {agent} {message}")]
    Bad {
        /// The agent.
        agent: String,
        /// The setting.
        name: String,
        /// What is wrong, after "the setting … ".
        message: String,
    },
    /// Something that it cannot do without.
    #[error("the agent {agent} needs {what}")]
    Missing {
        /// The agent.
        agent: String,
        /// What, and how to give it.
        what: String,
    },
}

fn known(names: &[&'static str]) -> String {
    if names.is_empty() { "; it takes none".into() } else { format!("; it takes {}", names.join(", ")) }
}

/// Checks names and kinds; a text for a list is split at commas.
///
/// # Errors
/// [`SettingError`] for the first setting that is wrong.
pub fn check(
    agent: &str,
    specs: &'static [SettingSpec],
    given: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, SettingError> {
    let mut checked = BTreeMap::new();
    for (name, value) in given {
        let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
            let known_names = specs.iter().map(|spec| spec.name).collect();
            return Err(SettingError::Unknown { agent: agent.into(), name: name.clone(), known_names });
        };
        let bad = |message: &str| SettingError::Bad {
            agent: agent.into(),
            name: name.clone(),
            message: message.into(),
        };
        let value = match (spec.kind, value) {
            (SettingKind::Text | SettingKind::Path, Value::String(text)) if !text.is_empty() => {
                Value::from(text.clone())
            }
            // From a file numbers and switches come as what they are; each setting is read in one way only.
            (SettingKind::Text, Value::Number(_) | Value::Bool(_)) => Value::from(value.to_string()),
            (SettingKind::Text | SettingKind::Path, _) => {
                return Err(bad("must be a text that is not empty"));
            }
            (SettingKind::List, Value::String(text)) => {
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from).collect()
            }
            (SettingKind::List, Value::Array(items)) if items.iter().all(Value::is_string) => value.clone(),
            (SettingKind::List, _) => return Err(bad("must be a list of texts")),
        };
        checked.insert(name.clone(), value);
    }
    Ok(checked)
}

/// The text of a checked setting.
pub fn text<'a>(settings: &'a BTreeMap<String, Value>, name: &str) -> Option<&'a str> {
    settings.get(name).and_then(Value::as_str)
}

/// The texts of a checked list setting; empty when it is not set.
pub fn list(settings: &BTreeMap<String, Value>, name: &str) -> Vec<String> {
    let items = settings.get(name).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
