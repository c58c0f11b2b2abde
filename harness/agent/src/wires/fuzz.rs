//! Answers are a stranger's: whatever comes, nothing here may panic.

use serde_json::{Value, json};

use super::{DIALECTS, Unread};

/// A small generator of its own, so that a failure can be played again.
struct Luck(u64);

impl Luck {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}

const KEYS: &[&str] = &[
    "type",
    "message",
    "content",
    "content_block",
    "delta",
    "index",
    "usage",
    "error",
    "choices",
    "finish_reason",
    "tool_calls",
    "function",
    "arguments",
    "name",
    "id",
    "call_id",
    "response",
    "output",
    "item",
    "output_index",
    "status",
    "candidates",
    "parts",
    "functionCall",
    "args",
    "text",
    "thought",
    "finishReason",
    "promptFeedback",
    "blockReason",
    "stop_reason",
    "partial_json",
    "input",
    "incomplete_details",
    "reason",
    "refusal",
    "summary",
    "citation",
    "citations",
    "modelVersion",
    "usageMetadata",
];
const WORDS: &[&str] = &[
    "message_start",
    "message",
    "content_block_start",
    "content_block_delta",
    "message_delta",
    "message_stop",
    "error",
    "input_json_delta",
    "text_delta",
    "thinking_delta",
    "citations_delta",
    "tool_use",
    "server_tool_use",
    "text",
    "thinking",
    "response.output_item.done",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "function_call",
    "reasoning",
    "stop",
    "length",
    "tool_calls",
    "max_tokens",
    "refusal",
    "pause_turn",
    "STOP",
    "{\"a\":",
    "{}",
    "",
];

fn value(luck: &mut Luck, depth: usize) -> Value {
    match luck.below(if depth == 0 { 5 } else { 9 }) {
        0 => Value::Null,
        1 => json!(luck.below(3)),
        2 => json!(u64::MAX),
        3 | 4 => json!(WORDS[luck.below(WORDS.len())]),
        5 => (0..luck.below(4)).map(|_| value(luck, depth - 1)).collect(),
        _ => {
            let members = (0..luck.below(6)).map(|_| {
                let key = KEYS[luck.below(KEYS.len())].to_owned();
                (key, value(luck, depth - 1))
            });
            Value::Object(members.collect())
        }
    }
}

#[test]
fn no_answer_makes_a_dialect_panic() {
    let mut luck = Luck(0x9e37_79b9_7f4a_7c15);
    for _ in 0..4000 {
        let events: Vec<Value> = (0..luck.below(6)).map(|_| value(&mut luck, 5)).collect();
        for dialect in DIALECTS {
            let mut unread = Unread::default();
            for event in &events {
                dialect.fold(&mut unread, event.clone());
            }
            dialect.read(unread.document);
            events.iter().for_each(|event| drop(dialect.said(event)));
        }
    }
}
