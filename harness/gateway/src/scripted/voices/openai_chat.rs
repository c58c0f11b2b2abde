//! The scripted model on Chat Completions.

use serde_json::{Value, json};

use super::{Private, Voice, pieces, unnamed};
use crate::scripted::conversation::{Conversation, Tool, ToolKind, Turns, ends_by_command, list, text};
use crate::scripted::intents::Block;
use crate::scripted::{ScriptUsage, Speech};

/// The voice.
#[derive(Debug)]
pub(super) struct Chat;

impl Voice for Chat {
    fn wire(&self) -> &'static str {
        "openai-chat"
    }
}

impl Private for Chat {
    fn read(&self, body: &Value) -> Conversation {
        let mut turns = Turns::default();
        for message in list(body, "messages") {
            turns.message(text(message, "role") == "assistant");
        }
        let tools = list(body, "tools")
            .map(|tool| match text(tool, "type") {
                "custom" => Tool {
                    name: text(&tool["custom"], "name").to_owned(),
                    kind: ToolKind::Text,
                    schema: Value::Null,
                },
                _ => Tool {
                    name: text(&tool["function"], "name").to_owned(),
                    kind: ToolKind::Function,
                    schema: tool["function"]["parameters"].clone(),
                },
            })
            .collect();
        Conversation { turns: turns.count, tools, ends_by_command: ends_by_command(body) }
    }

    fn whole(&self, speech: &Speech) -> Value {
        let said: String = said(speech).collect();
        let calls: Vec<Value> = calls(speech).collect();
        let mut message =
            json!({"role": "assistant", "content": if said.is_empty() { Value::Null } else { json!(said) }});
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
        }
        json!({
            "id": id(speech), "object": "chat.completion", "created": 1, "model": speech.model,
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish(speech)}],
            "usage": usage(&speech.usage), "service_tier": "default",
        })
    }

    fn stream(&self, speech: &Speech) -> Vec<Vec<u8>> {
        let chunk = |choices: Value, counts: Value| {
            let mut chunk = json!({
                "id": id(speech), "object": "chat.completion.chunk", "created": 1, "model": speech.model,
                "choices": choices,
            });
            if speech.stream_usage {
                chunk["usage"] = counts;
            }
            unnamed(&chunk)
        };
        let delta = |delta: Value, finish: Value| {
            chunk(
                json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]),
                Value::Null,
            )
        };
        let mut events = vec![delta(json!({"role": "assistant", "content": ""}), Value::Null)];
        for said in said(speech) {
            events.extend(pieces(said).iter().map(|piece| delta(json!({"content": piece}), Value::Null)));
        }
        for (at, mut call) in calls(speech).enumerate() {
            let field =
                if call["type"] == "custom" { ("custom", "input") } else { ("function", "arguments") };
            let input = call[field.0][field.1].take();
            call[field.0][field.1] = json!("");
            call["index"] = json!(at);
            events.push(delta(json!({"tool_calls": [call]}), Value::Null));
            for piece in pieces(input.as_str().unwrap_or_default()) {
                let mut part = json!({"index": at});
                part[field.0] = json!({});
                part[field.0][field.1] = json!(piece);
                events.push(delta(json!({"tool_calls": [part]}), Value::Null));
            }
        }
        events.push(delta(json!({}), json!(finish(speech))));
        if speech.stream_usage {
            events.push(chunk(json!([]), usage(&speech.usage)));
        }
        events.push(b"data: [DONE]\n\n".to_vec());
        events
    }
}

fn id(speech: &Speech) -> String {
    format!("chatcmpl-scripted-{}", speech.turn)
}

fn said(speech: &Speech) -> impl Iterator<Item = &str> {
    speech.blocks.iter().filter_map(|block| match block {
        Block::Text(text) => Some(text.as_str()),
        Block::Call { .. } => None,
    })
}

fn calls(speech: &Speech) -> impl Iterator<Item = Value> {
    let calls = speech.blocks.iter().filter_map(|block| match block {
        Block::Call { name, kind, input } => Some((name, kind, input)),
        Block::Text(_) => None,
    });
    calls.enumerate().map(|(at, (name, kind, input))| {
        let id = format!("call_{}_{at}", speech.turn);
        match kind {
            ToolKind::Text => json!({"id": id, "type": "custom", "custom": {"name": name, "input": input}}),
            _ => json!({"id": id, "type": "function", "function": {"name": name, "arguments": input.to_string()}}),
        }
    })
}

fn finish(speech: &Speech) -> &'static str {
    if speech.cut_short {
        "length"
    } else if speech.blocks.iter().any(|block| matches!(block, Block::Call { .. })) {
        "tool_calls"
    } else {
        "stop"
    }
}

fn usage(usage: &ScriptUsage) -> Value {
    let writes = usage.cache_write.saturating_add(usage.cache_write_1h);
    let prompt = usage.input.saturating_add(usage.cache_read).saturating_add(writes);
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt.saturating_add(usage.output),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": writes},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    })
}
