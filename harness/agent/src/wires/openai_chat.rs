//! OpenAI Chat Completions, and every server that is like it.

use serde_json::{Value, json};

use super::read::{Call, Heard, Stop, Unread, append, at, cut, cut_first, items, member, set};
use super::{Dialect, Prompt, Said, Turn, bare, flat, list, text};

/// The dialect.
#[derive(Debug)]
pub(super) struct OpenAiChat;

impl Dialect for OpenAiChat {
    fn name(&self) -> &'static str {
        "openai-chat"
    }

    fn path(&self, _model: &str) -> String {
        "/v1/chat/completions".to_owned()
    }

    fn key_header(&self) -> (&'static str, &'static str) {
        ("authorization", "Bearer ")
    }

    fn body(&self, prompt: &Prompt<'_>) -> Value {
        let mut body = json!({"model": prompt.model});
        if !prompt.tools.is_empty() {
            body["tools"] = prompt
                .tools
                .iter()
                .map(|tool| {
                    json!({"type": "function", "function":
                        {"name": tool.name, "description": tool.about, "parameters": tool.schema}})
                })
                .collect();
        }
        let mut messages = vec![json!({"role": "system", "content": prompt.system})];
        messages.extend(prompt.turns.iter().flat_map(self::messages));
        body["messages"] = Value::Array(messages);
        if let Some(effort) = prompt.effort {
            body["reasoning_effort"] = json!(effort);
        }
        if let Some(temperature) = prompt.temperature {
            body["temperature"] = json!(temperature);
        }
        if let Some(seed) = prompt.seed {
            body["seed"] = json!(seed);
        }
        body[cap_name(prompt.model)] = json!(prompt.max_output);
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
        body
    }

    fn said(&self, request: &Value) -> Vec<Said> {
        list(request, "messages")
            .map(|message| match text(message, "role") {
                "assistant" => Said::Model,
                "tool" | "function" => Said::Result {
                    id: text(message, "tool_call_id").to_owned(),
                    text: flat(&message["content"]),
                    is_error: false,
                },
                "user" => Said::User(flat(&message["content"])),
                _ => Said::System(flat(&message["content"])),
            })
            .collect()
    }

    fn fold(&self, unread: &mut Unread, mut event: Value) {
        if event.get("error").is_some_and(|error| !error.is_null()) {
            let error = &event["error"];
            let said =
                error.get("message").and_then(Value::as_str).map_or_else(|| error.to_string(), str::to_owned);
            unread.failed = Some(said);
            return;
        }
        if event["choices"][0].get("message").is_some() {
            unread.document = event;
            unread.complete = true;
            return;
        }
        let document = &mut unread.document;
        for key in ["model", "usage", "id"] {
            if event.get(key).is_some_and(|value| !value.is_null()) {
                set(document, key, cut(&mut event, key));
            }
        }
        let mut choice = cut_first(&mut event, "choices");
        let Some(kept) = at(document, "choices", 0) else { return };
        if choice.get("finish_reason").is_some_and(Value::is_string) {
            set(kept, "finish_reason", cut(&mut choice, "finish_reason"));
            unread.complete = true;
        }
        if let Value::Object(delta) = cut(&mut choice, "delta") {
            let message = member(kept, "message");
            for (key, piece) in delta {
                take(message, &key, piece);
            }
        }
    }

    fn read(&self, mut document: Value) -> Heard {
        let usage = document.get("usage").filter(|usage| usage.is_object()).cloned();
        let model = document.get("model").and_then(Value::as_str).map(str::to_owned);
        let mut choice = cut_first(&mut document, "choices");
        let finish = text(&choice, "finish_reason").to_owned();
        let mut message = cut(&mut choice, "message");
        let said = match &message["content"] {
            Value::String(said) => said.clone(),
            Value::Array(parts) => parts.iter().map(|part| text(part, "text")).collect(),
            _ => String::new(),
        };
        let thinking = ["reasoning_content", "reasoning"].iter().find_map(|key| message[*key].as_str());
        let thinking = thinking.unwrap_or_default().to_owned();
        let refusal = message.get("refusal").and_then(Value::as_str).filter(|words| !words.is_empty());
        let refusal = refusal.map(str::to_owned);
        let short = finish == "length";
        let mut calls = Vec::new();
        if let Some(list) = message.get_mut("tool_calls").and_then(Value::as_array_mut) {
            list.retain_mut(|item| {
                let function = &item["function"];
                let call =
                    Call::of_text(text(item, "id"), text(function, "name"), text(function, "arguments"));
                let keep = !(short && call.input.is_err());
                if keep && call.input.is_err() {
                    set(member(item, "function"), "arguments", json!(call.mended().to_string()));
                }
                if keep {
                    calls.push(call);
                }
                keep
            });
        }
        let stop = match finish.as_str() {
            "content_filter" => Stop::Filtered(finish),
            _ if refusal.is_some() => Stop::Refused(refusal.unwrap_or_default()),
            "length" => Stop::Length,
            // Some servers say `stop` though there are calls.
            _ if !calls.is_empty() => Stop::Tools,
            "stop" | "tool_calls" | "function_call" => Stop::Done,
            _ => Stop::Other(finish),
        };
        let mut raw = None;
        if let Value::Object(fields) = &mut message {
            fields.insert("role".to_owned(), json!("assistant"));
            fields.retain(|key, value| match key.as_str() {
                "content" => true,
                "tool_calls" => value.as_array().is_some_and(|calls| !calls.is_empty()),
                _ => !value.is_null(),
            });
            let says = !said.is_empty() || !calls.is_empty();
            if says {
                fields.entry("content").or_insert(Value::Null);
                raw = Some(message);
            }
        }
        Heard { raw, text: said, thinking, calls, stop, usage, model }
    }
}

/// Puts a piece of a message to the rest: texts grow, calls grow by their index, lists are joined.
fn take(message: &mut Value, key: &str, piece: Value) {
    match (key, piece) {
        (_, Value::Null) => {}
        ("role", role) => set(message, key, role),
        ("tool_calls", Value::Array(pieces)) => {
            for (position, mut piece) in pieces.into_iter().enumerate() {
                let index =
                    piece["index"].as_u64().map_or(position, |at| usize::try_from(at).unwrap_or(usize::MAX));
                let Some(call) = at(message, key, index) else { continue };
                if let Value::Object(function) = cut(&mut piece, "function") {
                    for (name, part) in function {
                        if let Some(part) = part.as_str() {
                            append(member(call, "function"), &name, part);
                        }
                    }
                }
                if let Value::Object(fields) = piece {
                    for (name, value) in fields {
                        if name != "index" && name != "function" && !value.is_null() {
                            set(call, &name, value);
                        }
                    }
                }
            }
        }
        (_, Value::String(part)) => append(message, key, &part),
        (_, Value::Array(parts)) => items(message, key).extend(parts),
        (_, other) => set(message, key, other),
    }
}

fn messages(turn: &Turn) -> Vec<Value> {
    let user = |said: &str| json!({"role": "user", "content": said});
    match turn {
        Turn::User(said) => vec![user(said)],
        Turn::Model(raw) => vec![raw.clone()],
        Turn::Results { results, note } => results
            .iter()
            .map(|result| json!({"role": "tool", "tool_call_id": result.id, "content": result.text}))
            .chain(note.as_deref().map(user))
            .collect(),
    }
}

/// OpenAI's own models that think know the new name alone; other servers often the old one alone.
fn cap_name(model: &str) -> &'static str {
    let bare = bare(model);
    let own = ["gpt-", "o1", "o3", "o4", "chatgpt-"].iter().any(|prefix| bare.starts_with(prefix));
    if own { "max_completion_tokens" } else { "max_tokens" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fold_puts_parallel_calls_together_by_their_index() {
        let mut unread = Unread::default();
        for delta in [
            json!({"role": "assistant", "content": "a"}),
            json!({"content": "b", "reasoning_content": "x"}),
            json!({"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "bash", "arguments": ""}}]}),
            json!({"tool_calls": [{"index": 1, "id": "2", "function": {"name": "read", "arguments": "{\"path\""}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
            json!({"tool_calls": [{"index": 1, "function": {"arguments": ":\"p\"}"}}]}),
            json!({"tool_calls": [{"index": 99999999, "function": {"arguments": "x"}}]}),
        ] {
            OpenAiChat.fold(&mut unread, json!({"choices": [{"delta": delta}]}));
        }
        assert!(!unread.complete);
        OpenAiChat.fold(&mut unread, json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}));
        OpenAiChat.fold(&mut unread, json!({"choices": [], "usage": {"prompt_tokens": 3}}));
        let heard = OpenAiChat.read(unread.document);
        assert_eq!((heard.text.as_str(), heard.thinking.as_str()), ("ab", "x"));
        assert_eq!(heard.calls.len(), 2);
        assert_eq!(heard.calls[1].input.as_ref().unwrap()["path"], "p");
        let raw = heard.raw.unwrap();
        assert_eq!(raw["reasoning_content"], "x");
        assert_eq!(raw["tool_calls"][0]["type"], "function");
        assert_eq!(list(&raw, "tool_calls").count(), 2);
    }
}
