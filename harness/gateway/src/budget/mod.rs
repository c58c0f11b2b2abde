//! Budgets as a state machine without clock or files: the worst case is reserved before a request is forwarded, settled with
//! what it cost after, so that many trials together never spend more than they may.

mod ledger;
mod lines;

use harness_prices::Rates;
use serde::{Deserialize, Serialize};

pub use ledger::{Grant, Ledger, Refusal, Verdict};
pub use lines::{Line, Recovered};

/// An answer is never cut shorter than this by a budget: a shorter one helps nobody, so that the request is refused instead.
pub const LEAST_OUTPUT: u64 = 256;

/// What a budget is over. The order is that in which limits are looked at, and the first that is exhausted is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One request.
    Request,
    /// All tries of one trial.
    Trial(String),
    /// All trials of one variant.
    Variant(String),
    /// The run.
    Run,
    /// One day, `YYYY-MM-DD`, of all runs; empty for what is no day's spending, which is never limited.
    Day(String),
}

impl Scope {
    /// Its kind, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Scope::Request => "request",
            Scope::Trial(_) => "trial",
            Scope::Variant(_) => "variant",
            Scope::Run => "run",
            Scope::Day(_) => "day",
        }
    }
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// All tokens, in and out.
    Tokens,
    /// Nano-dollars.
    Money,
    /// Requests that the agent made.
    Requests,
    /// Milliseconds since the first request.
    Wall,
    /// Nothing: money is limited, and what the request costs is unknown.
    Price,
}

/// Limits of one scope; what is `None` is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// All tokens, in and out.
    pub tokens: Option<u64>,
    /// Nano-dollars.
    pub nano_usd: Option<u64>,
    /// Requests.
    pub requests: Option<u64>,
    /// Milliseconds from the first request on.
    pub wall_ms: Option<u64>,
}

impl Limits {
    /// No limit at all.
    const NONE: Limits = Limits { tokens: None, nano_usd: None, requests: None, wall_ms: None };

    /// Both: the lower limit of each resource.
    pub fn and(self, other: Limits) -> Limits {
        let lower = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Limits {
            tokens: lower(self.tokens, other.tokens),
            nano_usd: lower(self.nano_usd, other.nano_usd),
            requests: lower(self.requests, other.requests),
            wall_ms: lower(self.wall_ms, other.wall_ms),
        }
    }
}

/// The limits of every kind of scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    /// Of each request.
    pub request: Limits,
    /// Of each trial.
    pub trial: Limits,
    /// Of each variant.
    pub variant: Limits,
    /// Of the run.
    pub run: Limits,
    /// Of each day.
    pub day: Limits,
}

impl Budgets {
    /// The limits of a scope.
    pub fn of(&self, scope: &Scope) -> &Limits {
        match scope {
            Scope::Request => &self.request,
            Scope::Trial(_) => &self.trial,
            Scope::Variant(_) => &self.variant,
            Scope::Run => &self.run,
            Scope::Day(day) if day.is_empty() => &Limits::NONE,
            Scope::Day(_) => &self.day,
        }
    }

    /// Whether any of them is in money: then a model of unknown price cannot run.
    pub fn limit_money(&self) -> bool {
        [self.request, self.trial, self.variant, self.run, self.day]
            .iter()
            .any(|limits| limits.nano_usd.is_some())
    }
}

/// What was spent, or may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Tokens, in and out.
    pub tokens: u64,
    /// Nano-dollars.
    pub nano_usd: u64,
    /// Requests.
    pub requests: u64,
}

impl Amounts {
    /// Both together.
    pub fn plus(self, other: Amounts) -> Amounts {
        Amounts {
            tokens: self.tokens.saturating_add(other.tokens),
            nano_usd: self.nano_usd.saturating_add(other.nano_usd),
            requests: self.requests.saturating_add(other.requests),
        }
    }

    /// What is left of this without the other.
    pub fn minus(self, other: Amounts) -> Amounts {
        Amounts {
            tokens: self.tokens.saturating_sub(other.tokens),
            nano_usd: self.nano_usd.saturating_sub(other.nano_usd),
            requests: self.requests.saturating_sub(other.requests),
        }
    }
}

/// A request that wants to be forwarded.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Whose it is.
    pub trial: String,
    /// Of which variant.
    pub variant: String,
    /// On which day, `YYYY-MM-DD`: the spending is that day's, whenever it ends.
    pub day: String,
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
    /// The estimate of its input, in tokens.
    pub input: u64,
    /// The output cap that it asks for.
    pub output_cap: Option<u64>,
    /// The longest answer of the model: what an unset cap is.
    pub max_output: u64,
    /// How many answers it asks for at once.
    pub answers: u64,
    /// What it is charged; `None` when the price is unknown.
    pub rates: Option<WorstRates>,
}

/// The dearest that a request can be: nobody knows before which bucket its tokens fall into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorstRates {
    /// Nano-dollars for a million input tokens.
    pub input: u64,
    /// Nano-dollars for a million output tokens.
    pub output: u64,
    /// Nano-dollars for the request itself.
    pub request: u64,
}

impl WorstRates {
    /// The dearest buckets of the rates. Writing to a cache for an hour counts only when the request asks for it.
    pub fn of(rates: &Rates, long_cache: bool) -> WorstRates {
        let input = rates.uncached.max(rates.cache_read).max(rates.cache_write);
        WorstRates {
            input: if long_cache { input.max(rates.cache_write_1h) } else { input },
            output: rates.output.max(rates.reasoning),
            request: rates.request,
        }
    }

    /// The dearer of both in every part: for a prompt whose length is near a context tier.
    pub fn or(self, other: WorstRates) -> WorstRates {
        WorstRates {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            request: self.request.max(other.request),
        }
    }
}

impl Ask {
    /// The most that it can cost with this output cap, rounded up.
    pub fn worst(&self, cap: u64) -> Amounts {
        let output = cap.saturating_mul(self.answers.max(1));
        let money = self.rates.map_or(0, |rates| {
            let parts = u128::from(self.input) * u128::from(rates.input);
            let parts = parts.saturating_add(u128::from(output) * u128::from(rates.output));
            parts.div_ceil(1_000_000).saturating_add(u128::from(rates.request))
        });
        Amounts {
            tokens: self.input.saturating_add(output),
            nano_usd: u64::try_from(money).unwrap_or(u64::MAX),
            requests: 1,
        }
    }

    /// The longest output that this much of a limit leaves room for; `None` when not even the input fits.
    fn room(&self, limits: &Limits, used: Amounts) -> Result<u64, Resource> {
        let answers = self.answers.max(1);
        let mut most = u64::MAX;
        let input = self.worst(0);
        if limits.requests.is_some_and(|limit| used.requests >= limit) {
            return Err(Resource::Requests);
        }
        if let Some(limit) = limits.tokens {
            let left = limit.checked_sub(used.tokens.saturating_add(input.tokens)).ok_or(Resource::Tokens)?;
            most = most.min(left / answers);
        }
        if let Some(limit) = limits.nano_usd {
            let rates = self.rates.ok_or(Resource::Price)?;
            let left =
                limit.checked_sub(used.nano_usd.saturating_add(input.nano_usd)).ok_or(Resource::Money)?;
            if rates.output > 0 {
                let tokens = u128::from(left) * 1_000_000 / u128::from(rates.output);
                most = most.min(u64::try_from(tokens).unwrap_or(u64::MAX) / answers);
            }
        }
        Ok(most)
    }

    fn scopes(&self) -> [Scope; 5] {
        [
            Scope::Request,
            Scope::Trial(self.trial.clone()),
            Scope::Variant(self.variant.clone()),
            Scope::Run,
            Scope::Day(self.day.clone()),
        ]
    }
}
