//! What all agents that are programs of others have in common before they run: how they are listed and how their settings are
//! checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::settings::text;
use super::{Agent, AgentKind, SettingError, SettingSpec};

/// Providers whose wire is known from their name alone.
pub(crate) const WIRES: [&str; 4] = ["openai", "openai-chat", "anthropic", "google"];

/// A program of others as it is listed.
pub(super) struct ProgramKind {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Of what is installed where no other version is asked for.
    pub(super) version: &'static str,
    pub(super) settings: &'static [SettingSpec],
    /// A provider whose models suit it.
    pub(super) example: &'static str,
    /// The agent with these settings; a model is named.
    pub(super) make: fn(&Check<'_>) -> Result<Arc<dyn Agent>, SettingError>,
}

impl AgentKind for ProgramKind {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn version(&self) -> Option<&'static str> {
        Some(self.version)
    }

    fn uses_model(&self) -> bool {
        true
    }

    fn settings(&self) -> &'static [SettingSpec] {
        self.settings
    }

    fn configure(
        &self,
        model: Option<&str>,
        given: &BTreeMap<String, Value>,
    ) -> Result<Arc<dyn Agent>, SettingError> {
        let check = Check { agent: self.name, given };
        check.model(model, self.example)?;
        (self.make)(&check)
    }
}

/// Settings of one agent.
pub(super) struct Check<'a> {
    pub(super) agent: &'static str,
    pub(super) given: &'a BTreeMap<String, Value>,
}

impl<'a> Check<'a> {
    fn bad(&self, name: &str, message: String) -> SettingError {
        SettingError::Bad { agent: self.agent.into(), name: name.into(), message }
    }

    /// A model is named; its provider's wire is looked at when it is known.
    fn model(&self, model: Option<&str>, example: &str) -> Result<(), SettingError> {
        if model.is_some_and(|model| model.contains('/')) {
            return Ok(());
        }
        let what = format!("a model: --model PROVIDER/MODEL, for example {example}/MODEL");
        Err(SettingError::Missing { agent: self.agent.into(), what })
    }

    /// An exact version: a range or a name such as "latest" is another program tomorrow.
    pub(super) fn version(&self, default: &str) -> Result<String, SettingError> {
        let Some(version) = text(self.given, "version") else { return Ok(default.to_owned()) };
        let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-+".contains(letter);
        let exact = version.starts_with(|first: char| first.is_ascii_digit())
            && version.split('.').count() >= 3
            && version.len() <= 60
            && version.chars().all(plain);
        if exact {
            return Ok(version.to_owned());
        }
        Err(self.bad("version", format!("must be an exact version such as {default}, not {version:?}")))
    }

    /// A whole number above nothing.
    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, SettingError> {
        let Some(said) = text(self.given, name) else { return Ok(None) };
        let count = said.parse().ok().filter(|count| (1..=1_000_000_000_000).contains(count));
        count.map(Some).ok_or_else(|| self.bad(name, format!("must be a whole number from 1, not {said:?}")))
    }

    /// An amount above nothing.
    pub(super) fn amount(&self, name: &str) -> Result<Option<f64>, SettingError> {
        let Some(said) = text(self.given, name) else { return Ok(None) };
        let amount = said.parse::<f64>().ok().filter(|amount| amount.is_finite() && *amount > 0.0);
        amount.map(Some).ok_or_else(|| self.bad(name, format!("must be a number above 0, not {said:?}")))
    }

    /// One of a few words.
    pub(super) fn one_of(
        &self,
        name: &str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, SettingError> {
        let Some(said) = text(self.given, name) else { return Ok(None) };
        let found = words.iter().copied().find(|word| *word == said);
        found
            .map(Some)
            .ok_or_else(|| self.bad(name, format!("must be one of {}, not {said:?}", words.join(", "))))
    }
}

/// The processor, as npm's packages name it.
pub(super) fn npm_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}
