//! What all agents that are programs of others check of their settings before anything starts.

use std::collections::BTreeMap;

use serde_json::Value;

use super::SettingError;
use super::settings::text;

/// Providers whose wire is known from their name alone.
pub(crate) const WIRES: [&str; 4] = ["openai", "openai-chat", "anthropic", "google"];

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
    pub(super) fn model(&self, model: Option<&str>, example: &str) -> Result<(), SettingError> {
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
