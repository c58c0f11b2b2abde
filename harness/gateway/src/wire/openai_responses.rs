//! OpenAI Responses: `POST /v1/responses`. Usage comes once, in the event that ends a stream; cached and written input are
//! parts of the input, reasoning is a part of the output.

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
pub(super) struct OpenAiResponses;

const CAP: usize = request::PLACES;
const BACKGROUND: usize = request::PLACES + 1;
static REQUEST: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&["model", "stream", "service_tier", "tools.*.type", "max_output_tokens", "background"])
});
/// Tools that run in the client; every other kind runs at the provider.
const CLIENT_TOOLS: &[&str] =
    &["function", "custom", "local_shell", "shell", "apply_patch", "computer_use_preview", "namespace"];

static ANSWER: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&[
        "usage",
        "model",
        "id",
        "status",
        "service_tier",
        "error",
        "incomplete_details.reason",
        "response.usage",
        "response.model",
        "response.id",
        "response.status",
        "response.service_tier",
        "response.error",
        "response.incomplete_details.reason",
        "type",
        // What the model wrote.
        "delta",
        "output.*.content.*.text",
        "output.*.arguments",
        "output.*.input",
    ])
});
/// Paths of a whole answer; the same under `response` in an event.
const FIELDS: usize = 7;
const EVENT_TYPE: usize = 2 * FIELDS;

impl Wire for OpenAiResponses {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn route(&self, method: &str, path: &str) -> Option<Route> {
        match (method, segments(path).as_slice()) {
            ("POST", [.., "responses"]) => Some(Route::plain(Operation::Generate)),
            ("GET", ["v1", "models"] | ["models"]) => Some(Route::plain(Operation::Models)),
            _ => None,
        }
    }

    fn request_paths(&self) -> &'static Paths {
        &REQUEST
    }

    fn request_facts(&self, found: &[Vec<Found>], facts: &mut RequestFacts) {
        facts.output_cap = largest(&[&found[CAP]]);
        facts.stream_usage = true;
        facts.background = request::last(&found[BACKGROUND]).and_then(Value::as_bool).unwrap_or(false);
        facts.server_tools = found[request::TOOLS]
            .iter()
            .filter_map(|tool| tool.value.as_ref()?.as_str())
            .filter(|kind| !CLIENT_TOOLS.contains(kind))
            .map(str::to_owned)
            .collect();
    }

    fn edits(&self, body: &[u8], found: &[Vec<Found>], wish: &Wish) -> Vec<Splice> {
        let cap =
            wish.output_cap.map(|cap| capped(body, &[&found[CAP]], cap, Place::Root("max_output_tokens")));
        cap.unwrap_or_default()
    }

    fn smallest(&self, model: &str) -> (String, Value) {
        ("/v1/responses".to_owned(), json!({"model": model, "max_output_tokens": 16, "input": "Say ok."}))
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader { name: "authorization", prefix: "Bearer " }
    }

    fn answer_paths(&self) -> &'static Paths {
        &ANSWER
    }

    fn observe(&self, hit: &Hit<'_>, answer: &mut Answer) {
        if hit.path > EVENT_TYPE {
            return answer.take_text(hit);
        }
        let Some(value) = hit.value() else { return };
        if hit.path == EVENT_TYPE {
            // The events that end a stream; the names of all others end otherwise.
            if matches!(
                value.as_str(),
                Some("response.completed" | "response.incomplete" | "response.failed")
            ) {
                answer.complete = true;
            }
            return;
        }
        let in_event = hit.path >= FIELDS;
        match hit.path % FIELDS {
            0 => answer.take_usage(value),
            1 => answer.model = short(&value).or(answer.model.take()),
            // Other events have an `id` of their own at the top.
            2 => answer.id = short(&value).or(answer.id.take()),
            3 => match value.as_str() {
                Some("completed") => {
                    answer.take_finish(Finish::Stop);
                    answer.complete |= !in_event;
                }
                Some("failed" | "cancelled") => {
                    answer.take_finish(Finish::Failed(short(&value).unwrap_or_default()));
                    answer.complete |= !in_event;
                }
                Some("incomplete") => answer.complete |= !in_event,
                _ => {}
            },
            4 => answer.tier = short(&value).or(answer.tier.take()),
            5 => answer.take_error(&value),
            _ => match value.as_str() {
                Some("max_output_tokens") => answer.take_finish(Finish::Length),
                Some("content_filter") => answer.take_finish(Finish::Filtered),
                Some(other) => answer.take_finish(Finish::Other(other.to_owned())),
                None => {}
            },
        }
    }

    fn usage(&self, raw: &Value) -> Usage {
        let read = count(raw, &["input_tokens_details", "cached_tokens"]);
        let write = count(raw, &["input_tokens_details", "cache_write_tokens"]);
        let cached = read.unwrap_or(0).saturating_add(write.unwrap_or(0));
        Usage {
            uncached_input_tokens: count(raw, &["input_tokens"]).map(|input| input.saturating_sub(cached)),
            cache_read_tokens: read,
            cache_write_tokens: write,
            output_tokens: count(raw, &["output_tokens"]),
            reasoning_tokens: count(raw, &["output_tokens_details", "reasoning_tokens"]),
            ..Usage::default()
        }
    }

    fn error(&self, kind: ErrorKind, message: &str) -> ErrorAnswer {
        let (status, name, code) = match kind {
            // Found by trying: codex stops after one of these, and retries most others.
            ErrorKind::BudgetExhausted => (429, "insufficient_quota", Some("insufficient_quota")),
            other => openai_error(other),
        };
        openai_body(status, name, code, message)
    }
}

/// Status, type and code of an error in OpenAI's form.
pub(super) fn openai_error(kind: ErrorKind) -> (u16, &'static str, Option<&'static str>) {
    let (name, code) = match kind {
        ErrorKind::Unauthorized => ("authentication_error", Some("invalid_api_key")),
        ErrorKind::NotFound => ("invalid_request_error", Some("not_found")),
        ErrorKind::UpstreamFailed | ErrorKind::UpstreamTimeout => ("server_error", None),
        _ => ("invalid_request_error", None),
    };
    (kind.status(), name, code)
}

/// An error in OpenAI's form.
pub(super) fn openai_body(status: u16, name: &str, code: Option<&str>, message: &str) -> ErrorAnswer {
    ErrorAnswer::json(
        status,
        &json!({"error": {"message": message, "type": name, "param": null, "code": code}}),
    )
}
