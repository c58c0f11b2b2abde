//! Anthropic Messages. Breakpoints of the prompt cache stand after what never changes and after the last two turns of ours.

use serde_json::{Value, json};

use super::read::{Call, Heard, Stop, Unread, append, at, cut, items, member, set};
use super::{Caching, Dialect, Prompt, Said, Turn, bare, flat, list, text};

/// The dialect.
#[derive(Debug)]
pub(super) struct Anthropic;

/// Least that a model may think, in tokens.
const LEAST_THINKING: u64 = 1024;

impl Dialect for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn path(&self, _model: &str) -> String {
        "/v1/messages".to_owned()
    }

    fn key_header(&self) -> (&'static str, &'static str) {
        ("x-api-key", "")
    }

    fn body(&self, prompt: &Prompt<'_>) -> Value {
        let mark = match prompt.caching {
            Caching::Off => Value::Null,
            Caching::Short => json!({"type": "ephemeral"}),
            Caching::Hour => json!({"type": "ephemeral", "ttl": "1h"}),
        };
        let mut body = json!({"model": prompt.model});
        if !prompt.tools.is_empty() {
            body["tools"] = prompt
                .tools
                .iter()
                .map(
                    |tool| json!({"name": tool.name, "description": tool.about, "input_schema": tool.schema}),
                )
                .collect();
        }
        let mut system = json!([{"type": "text", "text": prompt.system}]);
        let mut messages = messages(prompt.turns);
        if !mark.is_null() {
            system[0]["cache_control"] = mark.clone();
            let ours = messages.iter_mut().rev().filter(|message| text(message, "role") == "user").take(2);
            for message in ours {
                let last = message["content"].as_array_mut().and_then(|blocks| blocks.last_mut());
                if let Some(block) = last {
                    block["cache_control"] = mark.clone();
                }
            }
        }
        body["system"] = system;
        body["messages"] = Value::Array(messages);
        body["max_tokens"] = json!(prompt.max_output);
        if let Some(effort) = prompt.effort {
            think(&mut body, prompt, effort);
        }
        if let Some(temperature) = prompt.temperature {
            body["temperature"] = json!(temperature);
        }
        body["stream"] = json!(true);
        body
    }

    fn said(&self, request: &Value) -> Vec<Said> {
        let mut all = vec![Said::System(flat(&request["system"]))];
        for message in list(request, "messages") {
            if text(message, "role") == "assistant" {
                all.push(Said::Model);
                continue;
            }
            let mut words = Vec::new();
            if let Value::String(said) = &message["content"] {
                words.push(said.clone());
            }
            for block in list(message, "content") {
                if text(block, "type") == "tool_result" {
                    all.push(Said::Result {
                        id: text(block, "tool_use_id").to_owned(),
                        text: flat(&block["content"]),
                        is_error: block["is_error"] == true,
                    });
                } else {
                    words.push(flat(&Value::Array(vec![block.clone()])));
                }
            }
            if !words.is_empty() {
                all.push(Said::User(words.join("\n")));
            }
        }
        all
    }

    fn fold(&self, unread: &mut Unread, mut event: Value) {
        let index = event["index"].as_u64().map_or(0, |index| usize::try_from(index).unwrap_or(usize::MAX));
        match text(&event, "type") {
            "message_start" => unread.document = cut(&mut event, "message"),
            "message" => {
                unread.document = event;
                unread.complete = true;
            }
            "content_block_start" => {
                let block = cut(&mut event, "content_block");
                if let Some(slot) = at(&mut unread.document, "content", index) {
                    *slot = block;
                }
            }
            "content_block_delta" => {
                let Some(block) = at(&mut unread.document, "content", index) else { return };
                let delta = member(&mut event, "delta");
                match text(delta, "type") {
                    // Kept as text beside the block until it ends.
                    "input_json_delta" => append(block, "partial_json", text(delta, "partial_json")),
                    "text_delta" => append(block, "text", text(delta, "text")),
                    "thinking_delta" => append(block, "thinking", text(delta, "thinking")),
                    "signature_delta" => append(block, "signature", text(delta, "signature")),
                    "citations_delta" => {
                        items(block, "citations").push(cut(delta, "citation"));
                    }
                    _ => {}
                }
            }
            "message_delta" => {
                if let Value::Object(delta) = cut(&mut event, "delta") {
                    for (key, value) in delta {
                        set(&mut unread.document, &key, value);
                    }
                }
                if let Value::Object(usage) = cut(&mut event, "usage") {
                    for (key, value) in usage.into_iter().filter(|(_, value)| !value.is_null()) {
                        set(member(&mut unread.document, "usage"), &key, value);
                    }
                }
            }
            "message_stop" => unread.complete = true,
            "error" => {
                let error = &event["error"];
                unread.failed = Some(format!("{}: {}", text(error, "type"), text(error, "message")));
            }
            _ => {}
        }
    }

    fn read(&self, mut document: Value) -> Heard {
        let stop_reason = text(&document, "stop_reason").to_owned();
        let short = stop_reason == "max_tokens" || stop_reason == "model_context_window_exceeded";
        let (mut said, mut thinking) = (String::new(), String::new());
        let (mut calls, mut raw) = (Vec::new(), Vec::new());
        let content = match cut(&mut document, "content") {
            Value::Array(blocks) => blocks,
            _ => Vec::new(),
        };
        for mut block in content {
            let partial = block.as_object_mut().and_then(|fields| fields.remove("partial_json"));
            match text(&block, "type") {
                "text" => {
                    // Empty texts are sent and never taken back.
                    if text(&block, "text").is_empty() {
                        continue;
                    }
                    said.push_str(text(&block, "text"));
                }
                "thinking" => thinking.push_str(text(&block, "thinking")),
                "tool_use" => {
                    let (id, name) = (text(&block, "id"), text(&block, "name"));
                    let call = match partial.as_ref().and_then(Value::as_str).filter(|part| !part.is_empty())
                    {
                        Some(partial) => Call::of_text(id, name, partial),
                        None => Call::of_json(id, name, &block["input"]),
                    };
                    if short && call.input.is_err() {
                        continue;
                    }
                    set(&mut block, "input", call.mended());
                    calls.push(call);
                }
                kind if kind.ends_with("tool_use") => {
                    if let Some(input) = partial.as_ref().and_then(Value::as_str) {
                        set(&mut block, "input", serde_json::from_str(input).unwrap_or(json!({})));
                    }
                }
                _ => {}
            }
            raw.push(block);
        }
        // A turn that ends in thoughts alone is refused when it comes back.
        let speaks = raw.iter().any(|block| !text(block, "type").ends_with("thinking"));
        let stop = match stop_reason.as_str() {
            "refusal" => Stop::Refused(said.clone()),
            "pause_turn" => Stop::Paused,
            _ if short => Stop::Length,
            _ if !calls.is_empty() => Stop::Tools,
            "end_turn" | "stop_sequence" | "tool_use" => Stop::Done,
            _ => Stop::Other(stop_reason),
        };
        Heard {
            raw: speaks.then_some(Value::Array(raw)),
            text: said,
            thinking,
            calls,
            stop,
            usage: document.get("usage").filter(|usage| usage.is_object()).cloned(),
            model: document.get("model").and_then(Value::as_str).map(str::to_owned),
        }
    }
}

/// Whether a model decides itself how much it thinks, and is told how hard in a word.
fn adapts(model: &str) -> bool {
    let bare = bare(model);
    let mut numbers = bare.split('-').filter_map(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), _) if (5..100).contains(&major) => true,
        (Some(4), Some(minor)) => (6..100).contains(&minor),
        _ => false,
    }
}

fn think(body: &mut Value, prompt: &Prompt<'_>, effort: &str) {
    if effort == "none" {
        return;
    }
    if adapts(prompt.model) {
        body["thinking"] = json!({"type": "adaptive"});
        body["output_config"] = json!({"effort": effort});
        return;
    }
    let budget = match effort {
        "minimal" => LEAST_THINKING,
        "low" => 2048,
        "medium" => 8192,
        "high" => 16_384,
        _ => 32_768,
    };
    // Thoughts are a part of the answer's cap, and some of it must be left to speak.
    let budget = budget.min(prompt.max_output.saturating_sub(1024)).max(LEAST_THINKING);
    body["thinking"] = json!({"type": "enabled", "budget_tokens": budget});
}

/// The conversation with what one side says in a row made into one message.
fn messages(turns: &[Turn]) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    for turn in turns {
        let (role, blocks) = match turn {
            Turn::User(said) => ("user", vec![json!({"type": "text", "text": said})]),
            Turn::Model(raw) => ("assistant", raw.as_array().cloned().unwrap_or_default()),
            Turn::Results { results, note } => {
                let results = results.iter().map(|result| {
                    let mut block =
                        json!({"type": "tool_result", "tool_use_id": result.id, "content": result.text});
                    if result.is_error {
                        block["is_error"] = json!(true);
                    }
                    block
                });
                let note = note.iter().map(|note| json!({"type": "text", "text": note}));
                ("user", results.chain(note).collect())
            }
        };
        match messages.last_mut() {
            Some(last) if text(last, "role") == role => {
                if let Some(content) = last["content"].as_array_mut() {
                    content.extend(blocks);
                }
            }
            _ => messages.push(json!({"role": role, "content": blocks})),
        }
    }
    messages.retain(|message| list(message, "content").next().is_some());
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapts_knows_generations() {
        for (model, expected) in [
            ("claude-sonnet-4-5", false),
            ("claude-opus-4-20250514", false),
            ("claude-3-7-sonnet-20250219", false),
            ("claude-opus-4-6", true),
            ("claude-haiku-5-5", true),
            ("claude-sonnet-5", true),
        ] {
            assert_eq!(adapts(model), expected, "{model}");
        }
    }

    #[test]
    fn fold_keeps_thoughts_and_signatures_verbatim() {
        let mut unread = Unread::default();
        for event in [
            json!({"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 9, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "SIG=="}}),
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "OPAQUE"}}),
            json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t", "name": "bash", "input": {}}}),
            json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"cmd\":"}}),
            json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "\"ls\"}"}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}}),
            json!({"type": "message_stop"}),
        ] {
            Anthropic.fold(&mut unread, event);
        }
        let heard = Anthropic.read(unread.document);
        assert_eq!(
            heard.raw.unwrap(),
            json!([{"type": "thinking", "thinking": "hm", "signature": "SIG=="}, {"type": "redacted_thinking", "data": "OPAQUE"},
                   {"type": "tool_use", "id": "t", "name": "bash", "input": {"cmd": "ls"}}])
        );
        assert_eq!(heard.usage.unwrap(), json!({"input_tokens": 9, "output_tokens": 7}));
    }
}
