//! OpenAI Chat Completions, and every server like it: `POST /v1/chat/completions`. Usage in a stream must be asked for, and
//! comes in a last chunk without choices. Cached input is a part of the prompt; reasoning is a part of the completion,
//! except where the total says that it is not.

use std::sync::LazyLock;

use harness_core::Usage;
use serde_json::{Value, json};

use super::answer::{Answer, Finish, short};
use super::error::{ErrorAnswer, ErrorKind};
use super::openai_responses::{openai_body, openai_error};
use super::request::{self, Place, RequestFacts, Wish, capped, largest};
use super::route::{KeyHeader, Operation, Route, segments};
use super::{Wire, count};
use crate::stream::edit::{Found, Splice, opening};
use crate::stream::skim::{Hit, Paths};

/// The wire.
#[derive(Debug)]
pub(super) struct OpenAiChat;

const CAP_OLD: usize = request::PLACES;
const CAP_NEW: usize = request::PLACES + 1;
const OPTIONS: usize = request::PLACES + 2;
const INCLUDE: usize = request::PLACES + 3;
const ANSWERS: usize = request::PLACES + 4;
static REQUEST: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&[
        "model",
        "stream",
        "service_tier",
        "tools.*.type",
        "max_tokens",
        "max_completion_tokens",
        "stream_options",
        "stream_options.include_usage",
        "n",
    ])
});
static ANSWER: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&[
        "usage",
        "model",
        "id",
        "service_tier",
        "error",
        "choices.*.finish_reason",
        // What the model wrote.
        "choices.*.delta.content",
        "choices.*.delta.reasoning_content",
        "choices.*.delta.tool_calls.*.function.arguments",
        "choices.*.message.content",
        "choices.*.message.reasoning_content",
        "choices.*.message.tool_calls.*.function.arguments",
    ])
});
const FINISH: usize = 5;

impl Wire for OpenAiChat {
    fn name(&self) -> &'static str {
        "openai-chat"
    }

    fn route(&self, method: &str, path: &str) -> Option<Route> {
        match (method, segments(path).as_slice()) {
            ("POST", [.., "chat", "completions"]) => Some(Route::plain(Operation::Generate)),
            _ => None,
        }
    }

    fn request_paths(&self) -> &'static Paths {
        &REQUEST
    }

    fn request_facts(&self, found: &[Vec<Found>], facts: &mut RequestFacts) {
        facts.output_cap = largest(&[&found[CAP_OLD], &found[CAP_NEW]]);
        facts.stream_usage = request::last(&found[INCLUDE]).and_then(Value::as_bool).unwrap_or(false);
        facts.answers = largest(&[&found[ANSWERS]]).unwrap_or(1).max(1);
        facts.server_tools = found[request::TOOLS]
            .iter()
            .filter_map(|tool| tool.value.as_ref()?.as_str())
            .filter(|kind| !matches!(*kind, "function" | "custom"))
            .map(str::to_owned)
            .collect();
    }

    fn edits(&self, body: &[u8], found: &[Vec<Found>], wish: &Wish) -> Vec<Splice> {
        let mut edits = Vec::new();
        if let Some(cap) = wish.output_cap {
            let key = if wish.old_cap_name { "max_tokens" } else { "max_completion_tokens" };
            edits.extend(capped(body, &[&found[CAP_OLD], &found[CAP_NEW]], cap, Place::Root(key)));
        }
        if wish.stream_usage && !found[INCLUDE].is_empty() {
            let not_true = found[INCLUDE].iter().filter(|found| found.value != Some(Value::Bool(true)));
            edits.extend(not_true.map(|found| Splice {
                start: found.start,
                end: found.end,
                text: "true".to_owned(),
            }));
        } else if wish.stream_usage {
            match found[OPTIONS].last() {
                Some(options) if body.get(options.start) == Some(&b'{') => {
                    edits.push(Splice::member(body, options.start, "include_usage", "true"));
                }
                Some(options) => edits.push(Splice {
                    start: options.start,
                    end: options.end,
                    text: r#"{"include_usage":true}"#.to_owned(),
                }),
                None => {
                    edits.extend(opening(body).map(|open| {
                        Splice::member(body, open, "stream_options", r#"{"include_usage":true}"#)
                    }))
                }
            }
        }
        joined(edits)
    }

    fn smallest(&self, model: &str) -> (String, Value) {
        let messages = json!([{"role": "user", "content": "Say ok."}]);
        (
            "/v1/chat/completions".to_owned(),
            json!({"model": model, "max_completion_tokens": 16, "messages": messages}),
        )
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader { name: "authorization", prefix: "Bearer " }
    }

    fn answer_paths(&self) -> &'static Paths {
        &ANSWER
    }

    fn observe(&self, hit: &Hit<'_>, answer: &mut Answer) {
        if hit.path > FINISH {
            return answer.take_text(hit);
        }
        let Some(value) = hit.value() else { return };
        match hit.path {
            0 => answer.take_usage(value),
            1 => answer.model = short(&value).filter(|model| !model.is_empty()).or(answer.model.take()),
            2 => answer.id = short(&value).filter(|id| !id.is_empty()).or(answer.id.take()),
            3 => answer.tier = short(&value).or(answer.tier.take()),
            4 => answer.take_error(&value),
            _ => {
                let Some(word) = value.as_str().filter(|word| !word.is_empty()) else { return };
                answer.complete = true;
                answer.take_finish(match word {
                    "stop" => Finish::Stop,
                    "length" => Finish::Length,
                    "tool_calls" | "function_call" => Finish::Tools,
                    "content_filter" => Finish::Filtered,
                    other => Finish::Other(other.to_owned()),
                });
            }
        }
    }

    fn usage(&self, raw: &Value) -> Usage {
        let read = count(raw, &["prompt_tokens_details", "cached_tokens"])
            .or_else(|| count(raw, &["prompt_cache_hit_tokens"]))
            .or_else(|| count(raw, &["cached_tokens"]));
        let write = count(raw, &["prompt_tokens_details", "cache_write_tokens"]);
        let cached = read.unwrap_or(0).saturating_add(write.unwrap_or(0));
        let prompt = count(raw, &["prompt_tokens"]);
        let completion = count(raw, &["completion_tokens"]);
        let reasoning = count(raw, &["completion_tokens_details", "reasoning_tokens"]);
        // xAI and others report reasoning beside the completion; the total gives it away.
        let outside = match (prompt, completion, reasoning, count(raw, &["total_tokens"])) {
            (Some(p), Some(c), Some(r), Some(total)) if r > 0 => {
                total == p.saturating_add(c).saturating_add(r)
            }
            _ => false,
        };
        Usage {
            uncached_input_tokens: prompt.map(|prompt| prompt.saturating_sub(cached)),
            cache_read_tokens: read,
            cache_write_tokens: write,
            output_tokens: completion
                .map(|output| output.saturating_add(if outside { reasoning.unwrap_or(0) } else { 0 })),
            reasoning_tokens: reasoning,
            ..Usage::default()
        }
    }

    fn error(&self, kind: ErrorKind, message: &str) -> ErrorAnswer {
        let (status, name, code) = match kind {
            // Found by trying: litellm, the ai-sdk and qwen stop after one of these; with `invalid_request_error` litellm
            // tries seven times more.
            ErrorKind::BudgetExhausted => (401, "authentication_error", Some("trial_budget_exhausted")),
            other => openai_error(other),
        };
        openai_body(status, name, code, message)
    }
}

/// Two insertions at one place made into one: splices must not overlap.
fn joined(edits: Vec<Splice>) -> Vec<Splice> {
    let mut out: Vec<Splice> = Vec::new();
    for edit in edits {
        match out
            .iter_mut()
            .find(|other| other.start == edit.start && other.end == edit.end && edit.start == edit.end)
        {
            Some(other) => {
                // Each ends in a comma unless the object was empty.
                if !other.text.ends_with(',') {
                    other.text.push(',');
                }
                other.text.push_str(&edit.text);
            }
            None => out.push(edit),
        }
    }
    out
}
