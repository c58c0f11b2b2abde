//! Gemini `generateContent` and `streamGenerateContent`, of Google's own service and of Vertex. The model and whether it
//! streams are in the path; usage may stand on every chunk, the last one counts. Cached input is a part of the prompt,
//! prompts of tools and thoughts stand beside it.

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
pub(super) struct Google;

// Its JSON may be written in either of two styles of names, so that both are looked for.
const CONFIGS: [usize; 2] = [request::PLACES, request::PLACES + 1];
const CAPS: std::ops::Range<usize> = request::PLACES + 2..request::PLACES + 6;
const COUNTS: std::ops::Range<usize> = request::PLACES + 6..request::PLACES + 10;
static REQUEST: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&[
        "model",
        "stream",
        "serviceTier",
        "tools.*",
        "generationConfig",
        "generation_config",
        "generationConfig.maxOutputTokens",
        "generationConfig.max_output_tokens",
        "generation_config.maxOutputTokens",
        "generation_config.max_output_tokens",
        "generationConfig.candidateCount",
        "generationConfig.candidate_count",
        "generation_config.candidateCount",
        "generation_config.candidate_count",
    ])
});
/// Tools that run at the provider.
const SERVER_TOOLS: &[&str] = &[
    "googleSearch",
    "google_search",
    "googleSearchRetrieval",
    "google_search_retrieval",
    "codeExecution",
    "code_execution",
    "urlContext",
    "url_context",
    "googleMaps",
    "google_maps",
];

static ANSWER: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&[
        "usageMetadata",
        "modelVersion",
        "responseId",
        "candidates.*.finishReason",
        "error",
        "promptFeedback.blockReason",
        "usageMetadata.trafficType",
        // Without `alt=sse` a stream is one list of the same objects.
        "*.usageMetadata",
        "*.modelVersion",
        "*.responseId",
        "*.candidates.*.finishReason",
        "*.error",
        "*.promptFeedback.blockReason",
        "*.usageMetadata.trafficType",
        // What the model wrote.
        "candidates.*.content.parts.*.text",
        "candidates.*.content.parts.*.functionCall",
        "*.candidates.*.content.parts.*.text",
        "*.candidates.*.content.parts.*.functionCall",
    ])
});
const FIELDS: usize = 7;

impl Wire for Google {
    fn name(&self) -> &'static str {
        "google"
    }

    fn route(&self, method: &str, path: &str) -> Option<Route> {
        let segments = segments(path);
        if method == "GET" {
            return matches!(segments.as_slice(), ["v1beta", "models"])
                .then(|| Route::plain(Operation::Models));
        }
        let [.., "models", last] = segments.as_slice() else { return None };
        let (model, verb) = last.rsplit_once(':')?;
        let (operation, stream) = match verb {
            "generateContent" => (Operation::Generate, false),
            "streamGenerateContent" => (Operation::Generate, true),
            "countTokens" => (Operation::CountTokens, false),
            _ => return None,
        };
        (method == "POST" && !model.is_empty()).then(|| Route {
            operation,
            model: Some(model.to_owned()),
            stream: Some(stream),
        })
    }

    fn request_paths(&self) -> &'static Paths {
        &REQUEST
    }

    fn request_facts(&self, found: &[Vec<Found>], facts: &mut RequestFacts) {
        facts.output_cap = largest(&CAPS.map(|at| found[at].as_slice()).collect::<Vec<_>>());
        facts.answers =
            largest(&COUNTS.map(|at| found[at].as_slice()).collect::<Vec<_>>()).unwrap_or(1).max(1);
        facts.stream_usage = true;
        facts.server_tools = found[request::TOOLS]
            .iter()
            .filter_map(|tool| tool.value.as_ref()?.as_object())
            .flat_map(|tool| tool.keys())
            .filter(|key| SERVER_TOOLS.contains(&key.as_str()))
            .cloned()
            .collect();
    }

    fn edits(&self, body: &[u8], found: &[Vec<Found>], wish: &Wish) -> Vec<Splice> {
        let Some(cap) = wish.output_cap else { return Vec::new() };
        let caps = CAPS.map(|at| found[at].as_slice()).collect::<Vec<_>>();
        let config = CONFIGS.iter().flat_map(|at| &found[*at]).next_back();
        match config {
            Some(config) if body.get(config.start) == Some(&b'{') => {
                capped(body, &caps, cap, Place::Object(config, "maxOutputTokens"))
            }
            Some(config) => vec![Splice {
                start: config.start,
                end: config.end,
                text: format!(r#"{{"maxOutputTokens":{cap}}}"#),
            }],
            None => crate::stream::edit::opening(body)
                .map(|open| {
                    let value = format!(r#"{{"maxOutputTokens":{cap}}}"#);
                    Splice::member(body, open, "generationConfig", &value)
                })
                .into_iter()
                .collect(),
        }
    }

    fn smallest(&self, model: &str) -> (String, Value) {
        let body = json!({"contents": [{"role": "user", "parts": [{"text": "Say ok."}]}],
            "generationConfig": {"maxOutputTokens": 16}});
        (format!("/v1beta/models/{model}:generateContent"), body)
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader { name: "x-goog-api-key", prefix: "" }
    }

    fn answer_paths(&self) -> &'static Paths {
        &ANSWER
    }

    fn observe(&self, hit: &Hit<'_>, answer: &mut Answer) {
        if hit.path >= 2 * FIELDS {
            return answer.take_text(hit);
        }
        let Some(value) = hit.value() else { return };
        match hit.path % FIELDS {
            0 => answer.take_usage(value),
            1 => answer.model = short(&value).or(answer.model.take()),
            2 => answer.id = short(&value).or(answer.id.take()),
            3 => {
                let Some(word) = value.as_str() else { return };
                answer.complete = true;
                answer.take_finish(match word {
                    "STOP" => Finish::Stop,
                    "MAX_TOKENS" => Finish::Length,
                    "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" => Finish::Filtered,
                    other => Finish::Other(other.to_owned()),
                });
            }
            4 => answer.take_error(&value),
            5 => {
                answer.complete = true;
                answer.take_finish(Finish::Filtered);
            }
            _ => answer.tier = short(&value).or(answer.tier.take()),
        }
    }

    fn usage(&self, raw: &Value) -> Usage {
        let prompt = count(raw, &["promptTokenCount"]);
        let tools = count(raw, &["toolUsePromptTokenCount"]).unwrap_or(0);
        let cached = count(raw, &["cachedContentTokenCount"]);
        let thoughts = count(raw, &["thoughtsTokenCount"]);
        let total = count(raw, &["totalTokenCount"]);
        // Counts of nothing are left out here, so that a missing one is nothing as soon as a total stands there.
        let rest = total
            .zip(prompt)
            .map(|(total, prompt)| total.saturating_sub(prompt.saturating_add(tools)))
            .map(|rest| rest.saturating_sub(thoughts.unwrap_or(0)));
        let candidates = count(raw, &["candidatesTokenCount"]).or(rest);
        Usage {
            uncached_input_tokens: prompt
                .map(|prompt| prompt.saturating_add(tools).saturating_sub(cached.unwrap_or(0))),
            cache_read_tokens: cached,
            output_tokens: candidates.map(|output| output.saturating_add(thoughts.unwrap_or(0))),
            reasoning_tokens: thoughts,
            ..Usage::default()
        }
    }

    fn error(&self, kind: ErrorKind, message: &str) -> ErrorAnswer {
        let (status, name) = match kind {
            // Found by trying: gemini-cli stops after one of these.
            ErrorKind::BudgetExhausted => (403, "PERMISSION_DENIED"),
            ErrorKind::BadRequest | ErrorKind::TooLarge => (kind.status(), "INVALID_ARGUMENT"),
            ErrorKind::Unauthorized => (401, "UNAUTHENTICATED"),
            ErrorKind::NotFound => (404, "NOT_FOUND"),
            ErrorKind::UpstreamFailed => (502, "UNAVAILABLE"),
            ErrorKind::UpstreamTimeout => (504, "DEADLINE_EXCEEDED"),
        };
        ErrorAnswer::json(
            status,
            &json!({"error": {"code": status, "message": message, "status": name, "details": []}}),
        )
    }
}
