//! Google generateContent.

use serde_json::{Value, json};

use super::read::{Call, Heard, Stop, Unread, cut, cut_first, items, set};
use super::{Dialect, Prompt, Said, Turn, bare, flat, list, text};

/// The dialect.
#[derive(Debug)]
pub(super) struct Google;

impl Dialect for Google {
    fn name(&self) -> &'static str {
        "google"
    }

    fn path(&self, model: &str) -> String {
        format!("/v1beta/models/{model}:streamGenerateContent?alt=sse")
    }

    fn key_header(&self) -> (&'static str, &'static str) {
        ("x-goog-api-key", "")
    }

    fn body(&self, prompt: &Prompt<'_>) -> Value {
        let mut body = json!({"systemInstruction": {"parts": [{"text": prompt.system}]}});
        if !prompt.tools.is_empty() {
            let declared: Vec<Value> = prompt
                .tools
                .iter()
                .map(|tool| json!({"name": tool.name, "description": tool.about, "parameters": tool.schema}))
                .collect();
            body["tools"] = json!([{"functionDeclarations": declared}]);
        }
        body["contents"] = Value::Array(contents(prompt.turns));
        let mut config = json!({"maxOutputTokens": prompt.max_output});
        if let Some(temperature) = prompt.temperature {
            config["temperature"] = json!(temperature);
        }
        if let Some(seed) = prompt.seed {
            config["seed"] = json!(seed);
        }
        if let Some(effort) = prompt.effort {
            config["thinkingConfig"] = thinking(prompt.model, effort);
        }
        body["generationConfig"] = config;
        body
    }

    fn said(&self, request: &Value) -> Vec<Said> {
        let system = request.get("systemInstruction").or_else(|| request.get("system_instruction"));
        let mut all = vec![Said::System(system.map(|system| flat(&system["parts"])).unwrap_or_default())];
        for content in list(request, "contents") {
            if text(content, "role") == "model" {
                all.push(Said::Model);
                continue;
            }
            for part in list(content, "parts") {
                all.push(match part.get("functionResponse").or_else(|| part.get("function_response")) {
                    Some(result) => {
                        let response = &result["response"];
                        let given = ["output", "error"].iter().find_map(|key| response.get(*key));
                        let id = if text(result, "id").is_empty() {
                            text(result, "name")
                        } else {
                            text(result, "id")
                        };
                        Said::Result {
                            id: id.to_owned(),
                            text: flat(given.unwrap_or(response)),
                            is_error: response.get("error").is_some(),
                        }
                    }
                    None => Said::User(flat(&Value::Array(vec![part.clone()]))),
                });
            }
        }
        all
    }

    fn fold(&self, unread: &mut Unread, mut event: Value) {
        // Without `alt=sse` the answer is a list of what would be events.
        if let Value::Array(events) = event {
            for event in events {
                self.fold(unread, event);
            }
            return;
        }
        if event.get("error").is_some_and(|error| !error.is_null()) {
            let error = &event["error"];
            unread.failed = Some(format!("{}: {}", text(error, "status"), text(error, "message")));
            return;
        }
        let document = &mut unread.document;
        if !document.is_object() {
            *document = json!({"parts": []});
        }
        for key in ["modelVersion", "usageMetadata", "promptFeedback"] {
            if event.get(key).is_some_and(|value| !value.is_null()) {
                set(document, key, cut(&mut event, key));
            }
        }
        if document["promptFeedback"]["blockReason"].is_string() {
            unread.complete = true;
        }
        let mut candidate = cut_first(&mut event, "candidates");
        if candidate.get("finishReason").is_some_and(Value::is_string) {
            set(document, "finishReason", cut(&mut candidate, "finishReason"));
            unread.complete = true;
        }
        let Value::Array(parts) = cut(&mut cut(&mut candidate, "content"), "parts") else { return };
        let kept = items(document, "parts");
        for part in parts {
            // Pieces of plain text are one part; whatever carries a signature stays as it is.
            let plain = |part: &Value| {
                part.as_object()
                    .is_some_and(|fields| fields.keys().all(|key| key == "text" || key == "thought"))
            };
            match kept.last_mut() {
                Some(last) if plain(last) && plain(&part) && last.get("thought") == part.get("thought") => {
                    let joined = format!("{}{}", text(last, "text"), text(&part, "text"));
                    set(last, "text", json!(joined));
                }
                _ => kept.push(part),
            }
        }
    }

    fn read(&self, mut document: Value) -> Heard {
        let finish = text(&document, "finishReason").to_owned();
        let blocked = text(&document["promptFeedback"], "blockReason").to_owned();
        let (mut said, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
        let mut parts = match cut(&mut document, "parts") {
            Value::Array(parts) => parts,
            _ => Vec::new(),
        };
        for part in &mut parts {
            if part["thought"] == true {
                thoughts.push_str(text(part, "text"));
            } else {
                said.push_str(text(part, "text"));
            }
            if let Some(call) = part.get_mut("functionCall") {
                let given = text(call, "id").to_owned();
                let id = if given.is_empty() { format!("call-{}", calls.len()) } else { given };
                let read = Call::of_json(&id, text(call, "name"), &call["args"]);
                if read.input.is_err() {
                    set(call, "args", read.mended());
                }
                calls.push(read);
            }
        }
        let speaks = parts.iter().any(|part| part["thought"] != true && *part != json!({"text": ""}));
        let stop = match finish.as_str() {
            _ if !blocked.is_empty() => Stop::Filtered(blocked),
            "MAX_TOKENS" => Stop::Length,
            "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY"
            | "LANGUAGE" => Stop::Filtered(finish),
            _ if !calls.is_empty() => Stop::Tools,
            "STOP" => Stop::Done,
            // MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL and what comes.
            _ => Stop::Other(finish),
        };
        Heard {
            raw: speaks.then(|| json!({"role": "model", "parts": parts})),
            text: said,
            thinking: thoughts,
            calls,
            stop,
            usage: document.get("usageMetadata").filter(|usage| usage.is_object()).cloned(),
            model: document.get("modelVersion").and_then(Value::as_str).map(str::to_owned),
        }
    }
}

fn contents(turns: &[Turn]) -> Vec<Value> {
    let mut contents: Vec<Value> = Vec::new();
    for turn in turns {
        let (role, parts) = match turn {
            Turn::User(said) => ("user", vec![json!({"text": said})]),
            Turn::Model(raw) => {
                contents.push(raw.clone());
                continue;
            }
            Turn::Results { results, note } => {
                let results = results.iter().map(|result| {
                    let key = if result.is_error { "error" } else { "output" };
                    let mut response = json!({"name": result.name, "response": {key: result.text}});
                    // Ids that are ours are unknown there.
                    if !result.id.starts_with("call-") {
                        response["id"] = json!(result.id);
                    }
                    json!({"functionResponse": response})
                });
                ("user", results.chain(note.iter().map(|note| json!({"text": note}))).collect())
            }
        };
        match contents.last_mut() {
            Some(last) if text(last, "role") == role => {
                if let Some(kept) = last["parts"].as_array_mut() {
                    kept.extend(parts);
                }
            }
            _ => contents.push(json!({"role": role, "parts": parts})),
        }
    }
    contents.retain(|content| list(content, "parts").next().is_some());
    contents
}

/// Models up to 2.5 are told how many tokens to think, later ones how hard.
fn thinking(model: &str, effort: &str) -> Value {
    if !bare(model).starts_with("gemini-2") {
        return json!({"thinkingLevel": effort});
    }
    json!({"thinkingBudget": match effort {
        "none" => 0,
        "minimal" => 512,
        "low" => 2048,
        "medium" => 8192,
        _ => 24_576,
    }})
}
