//! The scripted model on Responses.

use serde_json::{Value, json};

use super::{Private, Voice, named, pieces};
use crate::scripted::conversation::{Conversation, Tool, ToolKind, Turns, ends_by_command, list, text};
use crate::scripted::intents::Block;
use crate::scripted::{ScriptUsage, Speech};

/// The voice.
#[derive(Debug)]
pub(super) struct Responses;

/// What an answer is called; an agent may name it instead of sending the history again, and the turn is read back from it.
const ID: &str = "resp_scripted_";

impl Voice for Responses {
    fn wire(&self) -> &'static str {
        "openai"
    }
}

impl Private for Responses {
    fn read(&self, body: &Value) -> Conversation {
        let before = text(body, "previous_response_id")
            .strip_prefix(ID)
            .and_then(|turn| turn.parse::<usize>().ok())
            .map_or(0, |turn| turn.saturating_add(1));
        let mut turns = Turns::default();
        let mut tools: Vec<Tool> = list(body, "tools").flat_map(read_tool).collect();
        for item in list(body, "input") {
            match text(item, "type") {
                // Where codex puts its tools for the models that it knows.
                "additional_tools" => tools.extend(list(item, "tools").flat_map(read_tool)),
                kind if kind.ends_with("_output") => turns.message(false),
                kind if kind.ends_with("_call") || kind == "reasoning" => turns.message(true),
                _ => turns.message(text(item, "role") == "assistant"),
            }
        }
        Conversation {
            turns: before.saturating_add(turns.count),
            tools,
            ends_by_command: ends_by_command(body),
        }
    }

    fn whole(&self, speech: &Speech) -> Value {
        let status = if speech.cut_short { "incomplete" } else { "completed" };
        response(speech, status, items(speech))
    }

    fn stream(&self, speech: &Speech) -> Vec<Vec<u8>> {
        let mut events = vec![
            json!({"type": "response.created", "response": response(speech, "in_progress", Vec::new())}),
            json!({"type": "response.in_progress", "response": response(speech, "in_progress", Vec::new())}),
        ];
        for (at, item) in items(speech).into_iter().enumerate() {
            spoken(&mut events, at, &item);
        }
        let (kind, status) = if speech.cut_short {
            ("response.incomplete", "incomplete")
        } else {
            ("response.completed", "completed")
        };
        events.push(json!({"type": kind, "response": response(speech, status, items(speech))}));
        for (number, event) in events.iter_mut().enumerate() {
            event["sequence_number"] = json!(number);
        }
        events.iter().map(named).collect()
    }
}

/// A tool, or all of a namespace.
fn read_tool(tool: &Value) -> Vec<Tool> {
    let of = |kind, name: &str, schema: Value| vec![Tool { name: name.to_owned(), kind, schema }];
    match text(tool, "type") {
        "function" => of(ToolKind::Function, text(tool, "name"), tool["parameters"].clone()),
        "custom" => of(ToolKind::Text, text(tool, "name"), Value::Null),
        "local_shell" => of(ToolKind::LocalShell, "local_shell", Value::Null),
        "namespace" => list(tool, "tools").flat_map(read_tool).collect(),
        _ => Vec::new(),
    }
}

fn response(speech: &Speech, status: &str, output: Vec<Value>) -> Value {
    let over = status != "in_progress";
    json!({
        "id": format!("{ID}{}", speech.turn), "object": "response", "created_at": 1, "status": status,
        "error": null, "model": speech.model, "output": output, "parallel_tool_calls": true, "service_tier": "default",
        "incomplete_details": if status == "incomplete" { json!({"reason": "max_output_tokens"}) } else { Value::Null },
        "usage": if over { usage(&speech.usage) } else { Value::Null },
    })
}

/// What is said, as items of the output.
fn items(speech: &Speech) -> Vec<Value> {
    let turn = speech.turn;
    let status = if speech.cut_short { "incomplete" } else { "completed" };
    speech
        .blocks
        .iter()
        .enumerate()
        .map(|(at, block)| match block {
            Block::Text(text) => json!({
                "type": "message", "id": format!("msg_{turn}_{at}"), "status": status, "role": "assistant",
                "content": [{"type": "output_text", "text": text, "annotations": []}],
            }),
            Block::Call { name, kind: ToolKind::Function, input } => json!({
                "type": "function_call", "id": format!("fc_{turn}_{at}"), "call_id": format!("call_{turn}_{at}"),
                "name": name, "arguments": input.to_string(), "status": "completed",
            }),
            Block::Call { name, kind: ToolKind::Text, input } => json!({
                "type": "custom_tool_call", "id": format!("ctc_{turn}_{at}"), "call_id": format!("call_{turn}_{at}"),
                "name": name, "input": input, "status": "completed",
            }),
            Block::Call { kind: ToolKind::LocalShell, input, .. } => json!({
                "type": "local_shell_call", "id": format!("lsh_{turn}_{at}"), "call_id": format!("call_{turn}_{at}"),
                "action": {"type": "exec", "command": input, "env": {}}, "status": "completed",
            }),
        })
        .collect()
}

/// The events of one item.
fn spoken(events: &mut Vec<Value>, at: usize, item: &Value) {
    let id = &item["id"];
    let mut begun = item.clone();
    begun["status"] = json!("in_progress");
    // Which field comes in pieces, and how its events are called.
    let (field, kind) = match text(item, "type") {
        "function_call" => ("arguments", "response.function_call_arguments"),
        "custom_tool_call" => ("input", "response.custom_tool_call_input"),
        "message" => ("content", "response.output_text"),
        _ => ("", ""),
    };
    match field {
        "" => {}
        "content" => begun[field] = json!([]),
        _ => begun[field] = json!(""),
    }
    events.push(json!({"type": "response.output_item.added", "output_index": at, "item": begun}));
    if field == "content" {
        let part = &item["content"][0];
        let place = |kind: &str| json!({"type": kind, "item_id": id, "output_index": at, "content_index": 0});
        let with = |mut event: Value, key: &str, value: Value| {
            event[key] = value;
            event
        };
        let empty = json!({"type": "output_text", "text": "", "annotations": []});
        events.push(with(place("response.content_part.added"), "part", empty));
        for piece in pieces(text(part, "text")) {
            events.push(with(place("response.output_text.delta"), "delta", json!(piece)));
        }
        events.push(with(place("response.output_text.done"), "text", part["text"].clone()));
        events.push(with(place("response.content_part.done"), "part", part.clone()));
    } else if !field.is_empty() {
        for piece in pieces(text(item, field)) {
            events.push(
                json!({"type": format!("{kind}.delta"), "item_id": id, "output_index": at, "delta": piece}),
            );
        }
        let mut done = json!({"type": format!("{kind}.done"), "item_id": id, "output_index": at});
        done[field] = item[field].clone();
        events.push(done);
    }
    events.push(json!({"type": "response.output_item.done", "output_index": at, "item": item}));
}

fn usage(usage: &ScriptUsage) -> Value {
    let writes = usage.cache_write.saturating_add(usage.cache_write_1h);
    let input = usage.input.saturating_add(usage.cache_read).saturating_add(writes);
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": writes},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": input.saturating_add(usage.output),
    })
}
