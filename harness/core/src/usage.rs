//! Tokens in exclusive buckets. Every count is optional: what nobody reported is unknown, not zero.

use serde::{Deserialize, Serialize};

/// Who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// Our own gateway, from the provider's answers.
    Gateway,
    /// The agent's own report.
    Agent,
    /// A tokenizer's guess.
    Estimate,
}

/// Tokens of one trial, or one try of it.
///
/// The buckets exclude each other: all input is `uncached + cache_read + cache_write (+ cache_write_1h)`;
/// `reasoning` alone is a part of `output`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    /// Requests that the agent made.
    pub requests: Option<u64>,
    /// Input tokens that came from no cache.
    pub uncached_input_tokens: Option<u64>,
    /// Input tokens read from the provider's cache.
    pub cache_read_tokens: Option<u64>,
    /// Input tokens written to the cache with its ordinary lifetime.
    pub cache_write_tokens: Option<u64>,
    /// Input tokens written to the cache for an hour.
    pub cache_write_1h_tokens: Option<u64>,
    /// Output tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// The part of the output that was reasoning.
    pub reasoning_tokens: Option<u64>,
    /// All input and all output.
    pub total_tokens: Option<u64>,
    /// Who counted; `None` when nobody did.
    pub source: Option<UsageSource>,
}

impl Usage {
    /// Both together. A bucket is known when it is known on either side, because an agent that stays silent about a
    /// bucket in one try and names it in the next has told us at least that much; the source is the weaker one.
    pub fn plus(&self, other: &Usage) -> Usage {
        fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
            match (a, b) {
                (None, None) => None,
                (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
            }
        }
        Usage {
            requests: add(self.requests, other.requests),
            uncached_input_tokens: add(self.uncached_input_tokens, other.uncached_input_tokens),
            cache_read_tokens: add(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: add(self.cache_write_tokens, other.cache_write_tokens),
            cache_write_1h_tokens: add(self.cache_write_1h_tokens, other.cache_write_1h_tokens),
            output_tokens: add(self.output_tokens, other.output_tokens),
            reasoning_tokens: add(self.reasoning_tokens, other.reasoning_tokens),
            total_tokens: add(self.total_tokens, other.total_tokens),
            source: self.source.max(other.source),
        }
    }

    /// The total, as reported or as the sum of the buckets when input and output are both known.
    pub fn total(&self) -> Option<u64> {
        self.total_tokens.or_else(|| {
            let input = self.uncached_input_tokens?;
            let cached = [self.cache_read_tokens, self.cache_write_tokens, self.cache_write_1h_tokens];
            let cached = cached.into_iter().flatten().fold(0, u64::saturating_add);
            Some(input.saturating_add(cached).saturating_add(self.output_tokens?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_unknown_plus_unknown_stays_unknown() {
        assert_eq!(Usage::default().plus(&Usage::default()), Usage::default());
        assert_eq!(Usage::default().total(), None);
    }

    #[test]
    fn usage_total_of_an_agent_that_reports_absurd_numbers_does_not_overflow() {
        let absurd = Some(u64::MAX);
        let usage = Usage {
            uncached_input_tokens: absurd,
            cache_read_tokens: absurd,
            output_tokens: absurd,
            ..Usage::default()
        };
        assert_eq!(usage.total(), Some(u64::MAX));
    }

    #[test]
    fn usage_total_is_not_guessed_without_output() {
        let input_only = Usage { uncached_input_tokens: Some(5), ..Usage::default() };
        assert_eq!(input_only.total(), None);
        assert_eq!(
            Usage { output_tokens: Some(2), reasoning_tokens: Some(1), ..input_only }.total(),
            Some(7)
        );
    }
}
