//! OpenAI Responses, without state at the provider: every request carries the whole conversation, encrypted reasoning included.

use serde_json::{Value, json};

use super::read::{Call, Heard, Stop, Unread, at, cut, set};
use super::{Caching, Dialect, Prompt, Said, Turn, bare, flat, list, text};

/// The dialect.
#[derive(Debug)]
pub(super) struct OpenAiResponses;

impl Dialect for OpenAiResponses {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn path(&self, _model: &str) -> String {
        "/v1/responses".to_owned()
    }

    fn key_header(&self) -> (&'static str, &'static str) {
        ("authorization", "Bearer ")
    }

    fn body(&self, prompt: &Prompt<'_>) -> Value {
        let mut body = json!({"model": prompt.model, "instructions": prompt.system});
        if !prompt.tools.is_empty() {
            body["tools"] = prompt
                .tools
                .iter()
                .map(|tool| {
                    json!({"type": "function", "name": tool.name, "description": tool.about,
                           "parameters": tool.schema, "strict": false})
                })
                .collect();
            body["parallel_tool_calls"] = json!(true);
        }
        body["input"] = Value::Array(prompt.turns.iter().flat_map(items).collect());
        body["store"] = json!(false);
        if reasons(prompt.model) {
            body["include"] = json!(["reasoning.encrypted_content"]);
        }
        if let Some(effort) = prompt.effort {
            body["reasoning"] = json!({"effort": effort});
        }
        if let Some(temperature) = prompt.temperature {
            body["temperature"] = json!(temperature);
        }
        body["max_output_tokens"] = json!(prompt.max_output);
        if prompt.caching != Caching::Off {
            body["prompt_cache_key"] = json!(prompt.cache_key);
        }
        body["stream"] = json!(true);
        body
    }

    fn said(&self, request: &Value) -> Vec<Said> {
        let mut all = vec![Said::System(flat(&request["instructions"]))];
        if let Value::String(said) = &request["input"] {
            all.push(Said::User(said.clone()));
        }
        all.extend(list(request, "input").map(|item| {
            let kind = text(item, "type");
            match text(item, "role") {
                "assistant" => Said::Model,
                "" if kind.ends_with("_output") => Said::Result {
                    id: text(item, "call_id").to_owned(),
                    text: flat(&item["output"]),
                    is_error: false,
                },
                "" => Said::Model,
                "user" => Said::User(flat(&item["content"])),
                _ => Said::System(flat(&item["content"])),
            }
        }));
        all
    }

    fn fold(&self, unread: &mut Unread, mut event: Value) {
        match text(&event, "type") {
            "response.output_item.done" => {
                // Some servers leave the list in the last event empty.
                let index = event["output_index"].as_u64().unwrap_or(0);
                let item = cut(&mut event, "item");
                if let Some(slot) =
                    at(&mut unread.document, "items", usize::try_from(index).unwrap_or(usize::MAX))
                {
                    *slot = item;
                }
            }
            "response.completed" | "response.incomplete" => {
                let items = cut(&mut unread.document, "items");
                unread.document = cut(&mut event, "response");
                if list(&unread.document, "output").next().is_none() && items.is_array() {
                    set(&mut unread.document, "output", items);
                }
                unread.complete = true;
            }
            "response.failed" => {
                let error = &event["response"]["error"];
                unread.failed = Some(format!("{}: {}", text(error, "code"), text(error, "message")));
            }
            "error" => {
                let error = if event["error"].is_object() { &event["error"] } else { &event };
                unread.failed = Some(format!("{}: {}", text(error, "code"), text(error, "message")));
            }
            "" if event.get("output").is_some() => {
                unread.document = event;
                unread.complete = true;
            }
            _ => {}
        }
    }

    fn read(&self, mut document: Value) -> Heard {
        let status = text(&document, "status").to_owned();
        let (mut said, mut thinking, mut refusal) = (String::new(), String::new(), None);
        let (mut calls, mut raw) = (Vec::new(), Vec::new());
        let Value::Array(output) = cut(&mut document, "output") else {
            return nothing(&document, Stop::Other(format!("an answer without output ({status})")));
        };
        for mut item in output {
            match text(&item, "type") {
                "message" => {
                    for part in list(&item, "content") {
                        said.push_str(text(part, "text"));
                        if let Some(words) = part.get("refusal").and_then(Value::as_str) {
                            refusal = Some(words.to_owned());
                        }
                    }
                }
                "reasoning" => {
                    list(&item, "summary").for_each(|part| thinking.push_str(text(part, "text")));
                }
                "function_call" => {
                    let call =
                        Call::of_text(text(&item, "call_id"), text(&item, "name"), text(&item, "arguments"));
                    // Half a call: neither run nor sent back.
                    if call.input.is_err() && status == "incomplete" {
                        continue;
                    }
                    if call.input.is_err() {
                        set(&mut item, "arguments", json!(call.mended().to_string()));
                    }
                    calls.push(call);
                }
                _ => {}
            }
            raw.push(item);
        }
        let why = text(&document["incomplete_details"], "reason").to_owned();
        let stop = match (status.as_str(), why.as_str()) {
            (_, "content_filter") => Stop::Filtered(why),
            ("incomplete", _) => Stop::Length,
            _ if refusal.is_some() => Stop::Refused(refusal.unwrap_or_default()),
            _ if !calls.is_empty() => Stop::Tools,
            _ => Stop::Done,
        };
        let raw = (!raw.is_empty()).then_some(Value::Array(raw));
        Heard { raw, text: said, thinking, calls, ..nothing(&document, stop) }
    }
}

fn nothing(document: &Value, stop: Stop) -> Heard {
    Heard {
        raw: None,
        text: String::new(),
        thinking: String::new(),
        calls: Vec::new(),
        stop,
        usage: document.get("usage").filter(|usage| usage.is_object()).cloned(),
        model: document.get("model").and_then(Value::as_str).map(str::to_owned),
    }
}

fn items(turn: &Turn) -> Vec<Value> {
    let user = |said: &str| json!({"role": "user", "content": [{"type": "input_text", "text": said}]});
    match turn {
        Turn::User(said) => vec![user(said)],
        Turn::Model(raw) => raw.as_array().cloned().unwrap_or_default(),
        Turn::Results { results, note } => results
            .iter()
            .map(
                |result| json!({"type": "function_call_output", "call_id": result.id, "output": result.text}),
            )
            .chain(note.as_deref().map(user))
            .collect(),
    }
}

/// Models that think, and whose thoughts must be asked for to be sent back; others refuse to be asked.
fn reasons(model: &str) -> bool {
    let model = bare(model);
    let digit = |prefix: &str| {
        model.strip_prefix(prefix).and_then(|rest| rest.chars().next()).and_then(|first| first.to_digit(10))
    };
    digit("o").is_some() || digit("gpt-").is_some_and(|version| version >= 5) || model.contains("codex")
}
