//! The scripted model on Messages.

use serde_json::{Value, json};

use super::{Private, Voice, named, pieces};
use crate::scripted::conversation::{Conversation, Tool, ToolKind, Turns, ends_by_command, list, text};
use crate::scripted::intents::Block;
use crate::scripted::{ScriptUsage, Speech};

/// The voice.
#[derive(Debug)]
pub(super) struct Messages;

impl Voice for Messages {
    fn wire(&self) -> &'static str {
        "anthropic"
    }
}

impl Private for Messages {
    fn read(&self, body: &Value) -> Conversation {
        let mut turns = Turns::default();
        for message in list(body, "messages") {
            turns.message(text(message, "role") == "assistant");
        }
        let tools = list(body, "tools")
            // Tools that run at the provider are none that an agent would carry out.
            .filter(|tool| {
                let kind = text(tool, "type");
                !kind.starts_with("web_")
                    && !kind.starts_with("code_execution")
                    && !kind.starts_with("tool_search")
            })
            .map(|tool| Tool {
                name: text(tool, "name").to_owned(),
                kind: ToolKind::Function,
                schema: tool["input_schema"].clone(),
            })
            .collect();
        Conversation { turns: turns.count, tools, ends_by_command: ends_by_command(body) }
    }

    fn whole(&self, speech: &Speech) -> Value {
        json!({
            "id": id(speech), "type": "message", "role": "assistant", "model": speech.model,
            "content": blocks(speech), "stop_reason": stop(speech), "stop_sequence": null,
            "usage": usage(&speech.usage, speech.usage.output),
        })
    }

    fn stream(&self, speech: &Speech) -> Vec<Vec<u8>> {
        let mut events = vec![
            json!({"type": "message_start", "message": {
                "id": id(speech), "type": "message", "role": "assistant", "model": speech.model, "content": [],
                "stop_reason": null, "stop_sequence": null,
                // As the real one does: the output so far, not the output.
                "usage": usage(&speech.usage, speech.usage.output.min(3)),
            }}),
            json!({"type": "ping"}),
        ];
        for (at, block) in blocks(speech).into_iter().enumerate() {
            let mut begun = block.clone();
            let deltas: Vec<Value> = if block["type"] == "text" {
                begun["text"] = json!("");
                pieces(text(&block, "text"))
                    .iter()
                    .map(|piece| json!({"type": "text_delta", "text": piece}))
                    .collect()
            } else {
                begun["input"] = json!({});
                pieces(&block["input"].to_string())
                    .iter()
                    .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}))
                    .collect()
            };
            events.push(json!({"type": "content_block_start", "index": at, "content_block": begun}));
            events.extend(
                deltas
                    .into_iter()
                    .map(|delta| json!({"type": "content_block_delta", "index": at, "delta": delta})),
            );
            events.push(json!({"type": "content_block_stop", "index": at}));
        }
        events.push(json!({
            "type": "message_delta", "delta": {"stop_reason": stop(speech), "stop_sequence": null},
            "usage": usage(&speech.usage, speech.usage.output),
        }));
        events.push(json!({"type": "message_stop"}));
        events.iter().map(named).collect()
    }
}

fn id(speech: &Speech) -> String {
    format!("msg_scripted_{}", speech.turn)
}

fn blocks(speech: &Speech) -> Vec<Value> {
    speech
        .blocks
        .iter()
        .enumerate()
        .map(|(at, block)| match block {
            Block::Text(text) => json!({"type": "text", "text": text}),
            Block::Call { name, input, .. } => {
                json!({"type": "tool_use", "id": format!("toolu_{}_{at}", speech.turn), "name": name, "input": input})
            }
        })
        .collect()
}

fn stop(speech: &Speech) -> &'static str {
    if speech.cut_short {
        "max_tokens"
    } else if speech.blocks.iter().any(|block| matches!(block, Block::Call { .. })) {
        "tool_use"
    } else {
        "end_turn"
    }
}

fn usage(usage: &ScriptUsage, output: u64) -> Value {
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write.saturating_add(usage.cache_write_1h),
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning.min(output)},
        "service_tier": "standard",
    })
}
