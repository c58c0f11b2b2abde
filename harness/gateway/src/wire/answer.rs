//! What has been learned of an answer so far, whole or in events: for each field the last word that was not null.

use harness_core::{Usage, UsageSource};
use serde_json::Value;

use super::Wire;
use crate::stream::skim::Hit;
use crate::tokens;

/// Most finish reasons kept; a request may ask for several answers at once.
const MOST_REASONS: usize = 16;
/// Longest text kept of a name or an error.
const TEXT_CHARS: usize = 500;
/// How much of what a model wrote is kept; the rest is taken to be like it.
const TEXT_KEPT: usize = 16 << 10;
/// Most keys that a provider's usage may grow to by corrections.
const MOST_KEYS: usize = 256;

/// How an answer ended, on any wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// The model was done.
    Stop,
    /// The model wants tools run.
    Tools,
    /// The output cap, or the context window, was reached.
    Length,
    /// Withheld by a filter or refused.
    Filtered,
    /// An error, in the provider's word.
    Failed(String),
    /// Anything else, in the provider's word.
    Other(String),
}

/// What an answer said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The provider's own usage, each field with its last value that was not null; `None` when none was seen.
    pub raw_usage: Option<Value>,
    /// The model that really answered.
    pub model: Option<String>,
    /// The provider's name of the answer.
    pub id: Option<String>,
    /// Why each answer ended, in order.
    pub finish: Vec<Finish>,
    /// The class of service that was given, in the provider's word.
    pub tier: Option<String>,
    /// What an error said.
    pub error: Option<String>,
    /// Whether the answer came to its end; false when a stream was cut.
    pub complete: bool,
    /// The beginning of what the model wrote, for an estimate where no usage is reported.
    text: Vec<u8>,
    /// How much it wrote in all.
    text_bytes: u64,
}

impl Answer {
    /// The usage in exclusive buckets, as one request; `None` when the provider reported none.
    pub fn usage(&self, wire: &dyn Wire) -> Option<Usage> {
        let mut usage = wire.usage(self.raw_usage.as_ref()?);
        usage.requests = Some(1);
        usage.source = Some(UsageSource::Gateway);
        // What is reported as a total mixes buckets in some APIs; ours is the sum of them.
        usage.total_tokens = None;
        usage.total_tokens = usage.total();
        Some(usage)
    }

    /// Searches of the web that the provider made and charges for.
    pub fn web_searches(&self) -> u64 {
        let Some(raw) = &self.raw_usage else { return 0 };
        super::count(raw, &["server_tool_use", "web_search_requests"]).unwrap_or(0)
    }

    /// How many tokens the model wrote, by our own count: for answers whose provider reports none, and marked as such.
    pub fn estimated_output(&self) -> u64 {
        if self.text.is_empty() {
            return self.text_bytes.div_ceil(tokens::BYTES_PER_TOKEN);
        }
        let kept = tokens::count(&String::from_utf8_lossy(&self.text));
        let all = u128::from(kept) * u128::from(self.text_bytes) / self.text.len() as u128;
        u64::try_from(all).unwrap_or(u64::MAX).max(kept)
    }

    /// Takes up what the model wrote, as JSON has it.
    pub(super) fn take_text(&mut self, hit: &Hit<'_>) {
        // A null is two bytes too many at most.
        let quotes = usize::from(hit.raw.first() == Some(&b'"'));
        self.text_bytes =
            self.text_bytes.saturating_add((hit.end - hit.start).saturating_sub(2 * quotes) as u64);
        let text = hit.raw.get(quotes..hit.raw.len() - quotes).unwrap_or_default();
        let room = TEXT_KEPT - self.text.len();
        self.text.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// Takes up a usage: per field the last value that is not null wins, nothing is added up.
    pub(super) fn take_usage(&mut self, raw: Value) {
        if raw.is_object() {
            merge(self.raw_usage.get_or_insert(Value::Object(serde_json::Map::new())), raw);
        }
    }

    pub(super) fn take_finish(&mut self, finish: Finish) {
        if self.finish.len() < MOST_REASONS {
            self.finish.push(finish);
        }
    }

    pub(super) fn take_error(&mut self, error: &Value) {
        let text = match error {
            Value::Null => return,
            Value::String(text) => text.clone(),
            other => match (other.get("message"), other.get("code").or_else(|| other.get("type"))) {
                (Some(Value::String(message)), Some(Value::String(code))) => format!("{code}: {message}"),
                (Some(Value::String(message)), _) => message.clone(),
                _ => other.to_string(),
            },
        };
        self.error = Some(shortened(&text));
    }
}

/// The text of a value, not longer than anybody needs.
pub(super) fn short(value: &Value) -> Option<String> {
    value.as_str().map(shortened)
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARS).collect()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                let is_full = into.len() >= MOST_KEYS;
                match into.get_mut(&key) {
                    Some(old) => merge(old, value),
                    None if is_full => {}
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn take_usage_keeps_the_last_word_per_field_and_adds_nothing_up() {
        let mut answer = Answer::default();
        answer.take_usage(json!({"input_tokens": 900, "output_tokens": 3, "cache": {"a": 1, "b": 2}}));
        answer.take_usage(json!({"input_tokens": 100, "output_tokens": null, "cache": {"b": 5}}));
        answer.take_usage(json!({"output_tokens": 7, "cache": null}));
        answer.take_usage(json!([1]));
        assert_eq!(
            answer.raw_usage,
            Some(json!({"input_tokens": 100, "output_tokens": 7, "cache": {"a": 1, "b": 5}}))
        );
    }

    #[test]
    fn take_error_reads_every_form_and_keeps_it_short() {
        let mut answer = Answer::default();
        answer.take_error(&json!({"message": "m", "code": "c"}));
        assert_eq!(answer.error.as_deref(), Some("c: m"));
        answer.take_error(&Value::Null);
        assert_eq!(answer.error.as_deref(), Some("c: m"));
        answer.take_error(&json!("x".repeat(10_000)));
        assert_eq!(answer.error.unwrap().len(), TEXT_CHARS);
    }
}
