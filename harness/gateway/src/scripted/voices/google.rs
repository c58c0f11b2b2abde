//! The scripted model on generateContent.

use serde_json::{Value, json};

use super::{Private, Voice, pieces, unnamed};
use crate::scripted::conversation::{Conversation, Tool, ToolKind, Turns, ends_by_command, list, text};
use crate::scripted::intents::Block;
use crate::scripted::{ScriptUsage, Speech};

/// The voice.
#[derive(Debug)]
pub(super) struct Gemini;

impl Voice for Gemini {
    fn wire(&self) -> &'static str {
        "google"
    }
}

impl Private for Gemini {
    fn read(&self, body: &Value) -> Conversation {
        let mut turns = Turns::default();
        for content in list(body, "contents") {
            turns.message(text(content, "role") == "model");
        }
        let tools = list(body, "tools")
            .flat_map(|tool| list(tool, "functionDeclarations").chain(list(tool, "function_declarations")))
            .map(|tool| Tool {
                name: text(tool, "name").to_owned(),
                kind: ToolKind::Function,
                schema: ["parameters", "parametersJsonSchema", "parameters_json_schema"]
                    .iter()
                    .find_map(|key| tool.get(*key))
                    .cloned()
                    .unwrap_or_default(),
            })
            .collect();
        Conversation { turns: turns.count, tools, ends_by_command: ends_by_command(body) }
    }

    fn whole(&self, speech: &Speech) -> Value {
        chunk(speech, speech.blocks.iter().map(|block| part(speech, block)).collect(), true)
    }

    fn stream(&self, speech: &Speech) -> Vec<Vec<u8>> {
        let mut parts: Vec<Value> = Vec::new();
        for block in &speech.blocks {
            match block {
                Block::Text(text) => parts.extend(pieces(text).iter().map(|piece| json!({"text": piece}))),
                call @ Block::Call { .. } => parts.push(part(speech, call)),
            }
        }
        if parts.is_empty() {
            parts.push(json!({"text": ""}));
        }
        let last = parts.len() - 1;
        let chunks = parts.into_iter().enumerate().map(|(at, part)| chunk(speech, vec![part], at == last));
        chunks.map(|chunk| unnamed(&chunk)).collect()
    }
}

fn part(speech: &Speech, block: &Block) -> Value {
    match block {
        Block::Text(text) => json!({"text": text}),
        Block::Call { name, input, .. } => {
            json!({"functionCall": {"id": format!("call_{}_{name}", speech.turn), "name": name, "args": input}})
        }
    }
}

fn chunk(speech: &Speech, parts: Vec<Value>, last: bool) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if last {
        candidate["finishReason"] = json!(if speech.cut_short { "MAX_TOKENS" } else { "STOP" });
    }
    json!({
        "candidates": [candidate], "modelVersion": speech.model, "responseId": format!("scripted-{}", speech.turn),
        "usageMetadata": usage(&speech.usage, last),
    })
}

/// Every chunk has a usage; only the last one's counts are whole.
fn usage(usage: &ScriptUsage, last: bool) -> Value {
    let writes = usage.cache_write.saturating_add(usage.cache_write_1h);
    let prompt = usage.input.saturating_add(usage.cache_read).saturating_add(writes);
    let mut counts = json!({"promptTokenCount": prompt, "totalTokenCount": prompt});
    if usage.cache_read > 0 {
        counts["cachedContentTokenCount"] = json!(usage.cache_read);
    }
    if last {
        counts["candidatesTokenCount"] = json!(usage.output.saturating_sub(usage.reasoning));
        counts["thoughtsTokenCount"] = json!(usage.reasoning);
        counts["totalTokenCount"] = json!(prompt.saturating_add(usage.output));
    }
    counts
}
