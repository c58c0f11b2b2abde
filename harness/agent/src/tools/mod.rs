//! The tools that the model is given. One file per tool and one list; their order never changes, because it is a part of every
//! request's stable beginning.

mod bash;
mod desk;
mod edit;
mod files;
mod nearest;
mod patch;
mod read;
mod search;
mod submit;
mod write;

use async_trait::async_trait;
use harness_sandbox::SandboxError;
use serde_json::{Map, Value};

pub(crate) use desk::{Desk, DeskSpec};
pub(crate) use files::Found;

use crate::Settings;
use crate::wires::ToolSpec;

/// All tools, in the order in which they are offered.
pub const TOOLS: &[&dyn Tool] =
    &[&bash::Bash, &read::Read, &search::Search, &edit::Edit, &write::Write, &submit::Submit];

/// The tool of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Tool> {
    TOOLS.iter().copied().find(|tool| tool.name() == name)
}

/// What the model can do. An implementation never fails for what the model did wrong: it says what was wrong and how to do it
/// right, in the output.
#[async_trait]
pub trait Tool: Sync + Private {
    /// Its name.
    fn name(&self) -> &'static str;
    /// How it is offered.
    fn spec(&self, settings: &Settings) -> ToolSpec;
}

/// What only this crate may ask of a tool.
#[async_trait]
pub trait Private {
    /// Runs it.
    #[expect(private_interfaces, reason = "tools are listed for outsiders and run from here alone")]
    async fn run(&self, desk: &mut Desk<'_>, input: &Map<String, Value>) -> Result<Output, SandboxError>;
}

/// What a tool gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// What the model gets to read.
    pub(crate) text: String,
    /// Whether the call failed.
    pub(crate) is_error: bool,
    /// The work is handed in, or given up.
    pub(crate) submitted: Option<Submission>,
    /// A command that looks like a test failed.
    pub(crate) failed_test: bool,
}

/// What the model says at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submission {
    /// Whether it says that it is done; else that it cannot go on.
    pub(crate) done: bool,
    /// In its words.
    pub(crate) message: String,
}

impl Output {
    pub(crate) fn ok(text: impl Into<String>) -> Output {
        Output { text: text.into(), ..Output::default() }
    }

    pub(crate) fn error(text: impl Into<String>) -> Output {
        Output { text: text.into(), is_error: true, ..Output::default() }
    }
}

/// Reads members of an input, and says what is wrong with it in words that help.
pub(crate) struct Input<'a>(pub(crate) &'a Map<String, Value>);

impl Input<'_> {
    /// A text that must be there.
    pub(crate) fn text(&self, name: &str) -> Result<&str, Output> {
        match self.0.get(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Output::error(format!("`{name}` must be a string"))),
            None => {
                let given: Vec<&str> = self.0.keys().map(String::as_str).collect();
                Err(Output::error(format!("`{name}` is missing; the input has {}", shown(&given))))
            }
        }
    }

    /// A text that may be there.
    pub(crate) fn optional(&self, name: &str) -> Result<Option<&str>, Output> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.text(name).map(Some),
        }
    }

    /// A number that may be there; models write them as texts too.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, Output> {
        let number = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        match number.filter(|number| number.is_finite() && *number >= 0.0) {
            Some(number) => Ok(Some(number)),
            None => Err(Output::error(format!("`{name}` must be a number that is not negative"))),
        }
    }

    /// A switch that may be there.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, Output> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(_) => Err(Output::error(format!("`{name}` must be true or false"))),
        }
    }
}

fn shown(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ").chars().take(200).collect() }
}

/// What a model is told that calls a tool which is not there.
pub(crate) fn unknown(name: &str, offered: &[&'static str]) -> Output {
    let name: String = name.chars().take(80).collect();
    Output::error(format!("there is no tool {name:?}; there are {}", offered.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_listed_once_and_its_schema_says_what_it_requires() {
        let settings =
            Settings::check(&crate::settings::support("openai-chat", "x", false), "x", &Default::default())
                .unwrap();
        for tool in TOOLS {
            assert_eq!(TOOLS.iter().filter(|other| other.name() == tool.name()).count(), 1);
            let spec = tool.spec(&settings);
            assert_eq!(spec.name, tool.name());
            let properties = spec.schema["properties"].as_object().unwrap();
            for required in spec.schema["required"].as_array().unwrap() {
                assert!(properties.contains_key(required.as_str().unwrap()), "{}", tool.name());
            }
        }
        let helpers = ["mod.rs", "desk.rs", "files.rs", "nearest.rs", "patch"];
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/tools")).unwrap();
        let files =
            folder.filter(|file| !helpers.contains(&file.as_ref().unwrap().file_name().to_str().unwrap()));
        assert_eq!(files.count(), TOOLS.len());
    }
}
