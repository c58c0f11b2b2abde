//! What is kept of each request: one line of a trial's `gateway.jsonl`. No body, no header, and no key is in it.

use harness_core::{NanoUsd, Usage};
use serde::{Deserialize, Serialize};

/// How a request ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Answered to the end.
    Answered,
    /// The answer broke off, by the provider's fault.
    Cut,
    /// The agent went away before the end.
    AgentLeft,
    /// Refused: a budget is spent.
    Refused,
    /// The provider answered with an error that trying again does not help.
    UpstreamError,
    /// The provider could not be had for as long as we wait.
    UpstreamDown,
    /// The request was wrong.
    BadRequest,
    /// The recording that is played has no answer to it.
    Missed,
    /// The gateway was stopped.
    #[default]
    Stopped,
}

/// One request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExchangeRecord {
    /// Whose it is.
    pub trial: String,
    /// Which of the trial's, counted from 0.
    pub request: u64,
    /// What the agent called it, in `x-harness-label`: a phase of its own, or a sub-agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it came, in milliseconds since 1970.
    pub at_ms: u64,
    /// On which wire.
    pub wire: String,
    /// Which upstream answered.
    pub upstream: String,
    /// Whether the upstream is a script: simulated, no money spent.
    pub simulated: bool,
    /// The model that was asked for.
    pub model: String,
    /// The model that answered, in the provider's word.
    pub answered_by: Option<String>,
    /// The provider's name of the answer.
    pub response_id: Option<String>,
    /// Whether the answer streamed.
    pub stream: bool,
    /// The class of service that was given, in the provider's word.
    pub tier: Option<String>,
    /// How it ended.
    pub ended: Ended,
    /// The status that the agent got.
    pub status: u16,
    /// Why each answer ended, in a word.
    pub finish: Vec<String>,
    /// What an error said, without any key.
    pub error: Option<String>,
    /// Tokens in exclusive buckets; its `source` says whether they are an estimate. `None` when nothing was forwarded.
    pub usage: Option<Usage>,
    /// Searches of the web that the provider made for it.
    #[serde(default)]
    pub web_searches: u64,
    /// The provider's own usage.
    pub raw_usage: Option<serde_json::Value>,
    /// Our estimate of the input before, to be held against what came out.
    pub estimated_input: u64,
    /// What the provider charges; `None` when unknown.
    pub cost: Option<NanoUsd>,
    /// What the ordinary service costs.
    pub list_cost: Option<NanoUsd>,
    /// The price table that was followed.
    pub prices: Option<String>,
    /// Why the cost is unknown or weaker than it looks.
    pub price_warnings: Vec<String>,
    /// The output cap that was set, when it was lowered.
    pub lowered_cap: Option<u64>,
    /// Whose budget lowered it, or refused the request.
    pub budget: Option<String>,
    /// Whether the answer was cut short by that cap: the budget's doing, not the model's.
    pub cut_by_budget: bool,
    /// How often it was forwarded; the agent asked once.
    pub attempts: u32,
    /// Set when the answer came from a recording: no money was spent, and `usage`, `cost` and `attempts` are the recorded ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Replayed>,
    /// Until the headers of the answer came, tries included.
    pub headers_ms: Option<u64>,
    /// Until the first byte of its body.
    pub first_byte_ms: Option<u64>,
    /// Until it was over.
    pub total_ms: u64,
    /// Bytes of the request as the agent sent it.
    pub request_bytes: u64,
    /// Bytes of the answer as the upstream sent it.
    pub answer_bytes: u64,
}

/// Where a replayed answer came from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// Which of the recorded trial's requests it answered.
    pub request: u64,
    /// What differed between the two requests, when they are not the same.
    pub drift: Option<String>,
}
