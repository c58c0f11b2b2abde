//! Reading values that come typed from a file, or as text from a command line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{SettingError, SettingSpec, bad};

/// Longest text of a setting.
const MAX_TEXT: usize = 256 << 10;

/// What was given.
pub(super) struct Values<'a>(&'a BTreeMap<String, Value>);

impl<'a> Values<'a> {
    pub(super) fn new(
        given: &'a BTreeMap<String, Value>,
        specs: &[SettingSpec],
    ) -> Result<Values<'a>, SettingError> {
        match given.keys().find(|name| !specs.iter().any(|spec| spec.name == name.as_str())) {
            Some(name) => {
                let known: Vec<_> = specs.iter().map(|spec| spec.name).collect();
                Err(bad(name, &format!("is none of the core's; it has {}", known.join(", "))))
            }
            None => Ok(Values(given)),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, SettingError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() && text.len() <= MAX_TEXT => {
                Ok(Some(text.clone()))
            }
            Some(_) => Err(bad(name, "must be a text that is not empty")),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<String>>, SettingError> {
        let parts: Vec<String> = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.split(',').map(|part| part.trim().to_owned()).collect(),
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(_) => return Err(bad(name, "must be a list of texts")),
        };
        Ok(Some(parts.into_iter().filter(|part| !part.is_empty()).collect()))
    }

    pub(super) fn switch(&self, name: &str) -> Result<Option<bool>, SettingError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(*on)),
            Some(Value::String(text)) if text == "on" || text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "off" || text == "false" => Ok(Some(false)),
            Some(_) => Err(bad(name, "must be on or off")),
        }
    }

    pub(super) fn number(&self, name: &str, from: f64, to: f64) -> Result<Option<f64>, SettingError> {
        let number = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        match number {
            Some(number) if number >= from && number <= to => Ok(Some(number)),
            Some(_) => Err(bad(name, &format!("must be at least {from} and at most {to}"))),
            None => Err(bad(name, "must be a number")),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, SettingError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => {
                number.as_i64().map(Some).ok_or_else(|| bad(name, "must be a whole number"))
            }
            Some(Value::String(text)) => {
                text.trim().parse().map(Some).map_err(|_| bad(name, "must be a whole number"))
            }
            Some(_) => Err(bad(name, "must be a whole number")),
        }
    }

    pub(super) fn count(&self, name: &str, from: u64, to: u64) -> Result<Option<u64>, SettingError> {
        let number = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.trim().replace('_', "").parse().ok(),
            Some(_) => None,
        };
        match number {
            Some(number) if number < from => Err(bad(name, &format!("must be at least {from}"))),
            Some(number) if number > to => Err(bad(name, &format!("must be at most {to}"))),
            Some(number) => Ok(Some(number)),
            None => Err(bad(name, "must be a whole number that is not negative")),
        }
    }

    pub(super) fn seconds(&self, name: &str) -> Result<Option<Duration>, SettingError> {
        let seconds = self.number(name, 0.001, 1e8)?;
        Ok(seconds.map(Duration::from_secs_f64))
    }

    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, SettingError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                Err(bad(name, &format!("must be one of {}", words.join(", "))))
            }
        }
    }
}
