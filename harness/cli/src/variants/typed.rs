//! Agents and their settings as they were typed.

use serde_json::Value;
use suites::Experiment;
use suites::experiment;

use crate::exit::{Exit, Failure};

/// One agent as it was typed, with the settings that followed it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentArg {
    /// Its name.
    pub name: String,
    /// `KEY=VALUE` or `@FILE`.
    pub set: Vec<String>,
}

/// The agent that settings are of when no agent is named.
const DEFAULT: &str = "core";

/// Which `--agent-set` belongs to which `--agent`: the one that was typed before it. Where no agent is named at all, the built-in one.
///
/// Clap's derive keeps no order between two options, so the arguments are looked at once more.
pub fn agent_args(args: impl Iterator<Item = String>) -> Result<Vec<AgentArg>, Failure> {
    let mut found: Vec<AgentArg> = Vec::new();
    let mut of_none: Vec<String> = Vec::new();
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        if arg == "--" {
            break;
        }
        let (name, inline) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
            _ => (arg, None),
        };
        if name != "--agent" && name != "--agent-set" {
            continue;
        }
        let Some(value) = inline.or_else(|| args.next()) else { break };
        if name == "--agent" {
            found.push(AgentArg { name: value, set: Vec::new() });
        } else {
            match found.last_mut() {
                Some(agent) => agent.set.push(value),
                None => of_none.push(value),
            }
        }
    }
    match of_none.first() {
        Some(value) if !found.is_empty() => {
            Err(Failure::new(Exit::Usage, format!("--agent-set {value} stands before any --agent"))
                .hint("put it behind the agent that it configures"))
        }
        Some(_) => Ok(vec![AgentArg { name: DEFAULT.to_owned(), set: of_none }]),
        None => Ok(found),
    }
}

/// The experiment that flags ask for.
pub fn experiment(agents: &[AgentArg], models: &[String]) -> Result<Experiment, Failure> {
    let one = |arg: &AgentArg| Ok((arg.name.clone(), settings(&arg.set)?));
    let agents = agents.iter().map(one).collect::<Result<Vec<_>, Failure>>()?;
    for model in models {
        crate::providers::split(model)?;
    }
    Ok(experiment::flags(agents, models))
}

/// Settings in their order; those of a file give way to those that are typed.
fn settings(set: &[String]) -> Result<Vec<(String, Value)>, Failure> {
    let mut of_files: Vec<(String, Value)> = Vec::new();
    let mut typed: Vec<(String, Value)> = Vec::new();
    for item in set {
        if let Some(file) = item.strip_prefix('@') {
            let invalid = |message: String| Failure::new(Exit::Invalid, format!("{file}: {message}"));
            let text = crate::providers::small_text(std::path::Path::new(file))?;
            let table: toml::Table = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
            for (key, value) in table {
                let value = serde_json::to_value(value).map_err(|error| invalid(error.to_string()))?;
                of_files.retain(|(other, _)| *other != key);
                of_files.push((key, value));
            }
            continue;
        }
        let Some((key, value)) = item.split_once('=') else {
            return Err(Failure::new(Exit::Usage, format!("--agent-set {item} has no value"))
                .hint("write --agent-set KEY=VALUE, or --agent-set @FILE for a TOML file"));
        };
        typed.push((key.to_owned(), Value::from(value)));
    }
    of_files.retain(|(key, _)| typed.iter().all(|(other, _)| other != key));
    of_files.extend(typed);
    Ok(of_files)
}
