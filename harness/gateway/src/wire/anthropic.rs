//! Anthropic Messages: `POST /v1/messages`. Input leaves cached tokens out; a stream says input first and corrects all counts
//! in `message_delta`, whose numbers are totals and not differences.

use std::sync::LazyLock;

use harness_core::Usage;
use serde_json::{Value, json};

use super::answer::{Answer, Finish, short};
use super::error::{ErrorAnswer, ErrorKind};
use super::request::{self, Place, RequestFacts, Wish, capped, largest};
use super::route::{KeyHeader, Operation, Route, segments};
use super::{Wire, count};
use crate::stream::edit::{Found, Splice};
use crate::stream::skim::{Hit, Paths};

/// The wire.
#[derive(Debug)]
pub(super) struct Anthropic;

const CAP: usize = request::PLACES;
static REQUEST: LazyLock<Paths> =
    LazyLock::new(|| Paths::new(&["model", "stream", "service_tier", "tools.*.type", "max_tokens"]));
/// Kinds of tools that run at the provider, without the date at their end.
const SERVER_TOOLS: &[&str] = &["web_search", "web_fetch", "code_execution", "tool_search"];

static ANSWER: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&[
        "usage",
        "message.usage",
        "model",
        "message.model",
        "id",
        "message.id",
        "stop_reason",
        "delta.stop_reason",
        "error",
        "type",
        "usage.service_tier",
        "message.usage.service_tier",
        // What the model wrote.
        "delta.text",
        "delta.thinking",
        "delta.partial_json",
        "content.*.text",
        "content.*.thinking",
        "content.*.input",
    ])
});
const TIER: usize = 11;

impl Wire for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn route(&self, method: &str, path: &str) -> Option<Route> {
        match (method, segments(path).as_slice()) {
            ("POST", [.., "messages"]) => Some(Route::plain(Operation::Generate)),
            ("POST", [.., "messages", "count_tokens"]) => Some(Route::plain(Operation::CountTokens)),
            _ => None,
        }
    }

    fn request_paths(&self) -> &'static Paths {
        &REQUEST
    }

    fn request_facts(&self, found: &[Vec<Found>], facts: &mut RequestFacts) {
        facts.output_cap = largest(&[&found[CAP]]);
        facts.stream_usage = true;
        facts.server_tools = found[request::TOOLS]
            .iter()
            .filter_map(|tool| tool.value.as_ref()?.as_str())
            .filter(|kind| SERVER_TOOLS.iter().any(|server| kind.starts_with(server)))
            .map(str::to_owned)
            .collect();
    }

    fn edits(&self, body: &[u8], found: &[Vec<Found>], wish: &Wish) -> Vec<Splice> {
        let cap = wish.output_cap.map(|cap| capped(body, &[&found[CAP]], cap, Place::Root("max_tokens")));
        cap.unwrap_or_default()
    }

    fn smallest(&self, model: &str) -> (String, Value) {
        let messages = json!([{"role": "user", "content": "Say ok."}]);
        ("/v1/messages".to_owned(), json!({"model": model, "max_tokens": 16, "messages": messages}))
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader { name: "x-api-key", prefix: "" }
    }

    fn answer_paths(&self) -> &'static Paths {
        &ANSWER
    }

    fn observe(&self, hit: &Hit<'_>, answer: &mut Answer) {
        if hit.path > TIER {
            return answer.take_text(hit);
        }
        let Some(value) = hit.value() else { return };
        match hit.path {
            0 | 1 => answer.take_usage(value),
            2 | 3 => answer.model = short(&value).or(answer.model.take()),
            4 | 5 => answer.id = short(&value).or(answer.id.take()),
            6 | 7 => {
                let Some(word) = value.as_str() else { return };
                // A whole answer has no event that ends it.
                answer.complete |= hit.path == 6;
                answer.take_finish(match word {
                    "end_turn" | "stop_sequence" => Finish::Stop,
                    "tool_use" => Finish::Tools,
                    "max_tokens" | "model_context_window_exceeded" => Finish::Length,
                    "refusal" => Finish::Filtered,
                    other => Finish::Other(other.to_owned()),
                });
            }
            8 => answer.take_error(&value),
            9 => answer.complete |= value.as_str() == Some("message_stop"),
            _ => answer.tier = short(&value).or(answer.tier.take()),
        }
    }

    fn usage(&self, raw: &Value) -> Usage {
        let write = count(raw, &["cache_creation_input_tokens"]);
        let write_5m = count(raw, &["cache_creation", "ephemeral_5m_input_tokens"]);
        let write_1h = count(raw, &["cache_creation", "ephemeral_1h_input_tokens"]);
        Usage {
            uncached_input_tokens: count(raw, &["input_tokens"]),
            cache_read_tokens: count(raw, &["cache_read_input_tokens"]),
            cache_write_tokens: write.map(|all| all.saturating_sub(write_1h.unwrap_or(0))).or(write_5m),
            cache_write_1h_tokens: write_1h,
            output_tokens: count(raw, &["output_tokens"]),
            reasoning_tokens: count(raw, &["output_tokens_details", "thinking_tokens"]),
            ..Usage::default()
        }
    }

    fn error(&self, kind: ErrorKind, message: &str) -> ErrorAnswer {
        let (status, name) = match kind {
            // Found by trying: Claude Code stops after one of these.
            ErrorKind::BudgetExhausted => (402, "billing_error"),
            ErrorKind::BadRequest => (400, "invalid_request_error"),
            ErrorKind::Unauthorized => (401, "authentication_error"),
            ErrorKind::NotFound => (404, "not_found_error"),
            ErrorKind::TooLarge => (413, "request_too_large"),
            ErrorKind::UpstreamFailed | ErrorKind::UpstreamTimeout => (kind.status(), "api_error"),
        };
        ErrorAnswer::json(status, &json!({"type": "error", "error": {"type": name, "message": message}}))
    }
}
