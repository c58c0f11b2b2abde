//! The scripted model played to its end on every wire, whole and streamed, and metered as an agent's traffic is: what the
//! script declares is what the meter reads, to the token and the nano-dollar.

#![allow(clippy::unwrap_used)]

use harness_core::{NanoUsd, UsageSource};
use harness_gateway::meter::{Framing, Meter, Metered};
use harness_gateway::scripted::{Ending, Reply, Request, Script, play};
use harness_gateway::stream::decode::Encoding;
use harness_gateway::wire::{Finish, WIRES, Wire};
use harness_prices::{Call, PriceTable, Served, ServiceTier};
use proptest::prelude::*;
use serde_json::{Value, json};

const SCRIPT: &str = r#"
model = "hello-1"

[price]
input = 1.0
cache_read = 0.1
output = 5.0

[[turn]]
say = "I look around first, and say so at some length."
run = "ls -la"
usage = { input = 594, cache_read = 509, output = 211, reasoning = 97 }

[[turn]]
fault = { status = 529, times = 2 }
edit = { path = "/srv/hello.txt", content = "hi\n" }
usage = { input = 700, cache_read = 1100, output = 40 }

[[turn]]
finish = "Done."
usage = { input = 10, cache_read = 1900, output = 5 }
"#;

/// An agent with a shell and an editor, in the least that each wire asks for.
struct Agent {
    wire: &'static dyn Wire,
    stream: bool,
    list: bool,
    history: Vec<Value>,
    cap: Option<u64>,
    tools: bool,
}

impl Agent {
    fn path(&self) -> &'static str {
        match (self.wire.name(), self.stream, self.list) {
            ("openai", ..) => "/v1/responses",
            ("openai-chat", ..) => "/v1/chat/completions",
            ("anthropic", ..) => "/v1/messages?beta=true",
            (_, false, _) => "/v1beta/models/asked:generateContent",
            (_, true, false) => "/v1beta/models/asked:streamGenerateContent?alt=sse",
            (_, true, true) => "/v1beta/models/asked:streamGenerateContent",
        }
    }

    fn body(&self) -> Value {
        let text = json!({"type": "string"});
        let shell = json!({"type": "object", "properties": {"command": text}, "required": ["command"]});
        let write = json!({"type": "object", "properties": {"file_path": text, "content": text}, "required": ["file_path", "content"]});
        let tools: Vec<(&str, Value)> =
            if self.tools { vec![("bash", shell), ("write", write)] } else { Vec::new() };
        let each = |make: &dyn Fn(&str, &Value) -> Value| -> Vec<Value> {
            tools.iter().map(|(name, schema)| make(name, schema)).collect()
        };
        let mut body = match self.wire.name() {
            "openai" => json!({"model": "asked", "stream": self.stream, "input": self.history,
                "tools": each(&|name, schema| json!({"type": "function", "name": name, "parameters": schema}))}),
            "openai-chat" => json!({"model": "asked", "stream": self.stream, "messages": self.history,
                "stream_options": {"include_usage": true},
                "tools": each(&|name, schema| json!({"type": "function", "function": {"name": name, "parameters": schema}}))}),
            "anthropic" => {
                json!({"model": "asked", "stream": self.stream, "messages": self.history, "max_tokens": 4000,
                "tools": each(&|name, schema| json!({"name": name, "input_schema": schema}))})
            }
            _ => json!({"contents": self.history,
                "tools": [{"functionDeclarations": each(&|name, schema| json!({"name": name, "parametersJsonSchema": schema}))}]}),
        };
        match (self.cap, self.wire.name()) {
            (None, _) => {}
            (Some(cap), "openai") => body["max_output_tokens"] = json!(cap),
            (Some(cap), "google") => body["generationConfig"] = json!({"maxOutputTokens": cap}),
            (Some(cap), _) => body["max_tokens"] = json!(cap),
        }
        body
    }

    fn ask(&self, script: &Script, faults_before: u32) -> Reply {
        let body = self.body().to_string();
        let request = Request { wire: self.wire, path: self.path(), body: body.as_bytes(), faults_before };
        let reply = play(script, &request);
        assert_eq!(reply, play(script, &request), "the same request gets the same bytes");
        reply
    }

    fn user(&mut self, text: &str) {
        self.history.push(match self.wire.name() {
            "google" => json!({"role": "user", "parts": [{"text": text}]}),
            "openai" => {
                json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
            }
            _ => json!({"role": "user", "content": text}),
        });
    }

    /// Puts the answer into the history, as an agent does, and gives the calls in it.
    fn take(&mut self, whole: &Value) -> Vec<(String, Value)> {
        let parsed = |text: &Value| serde_json::from_str(text.as_str().unwrap()).unwrap();
        let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
        match self.wire.name() {
            "openai" => {
                let items = whole["output"].as_array().unwrap();
                self.history.extend(items.iter().cloned());
                let calls: Vec<&Value> =
                    items.iter().filter(|item| item["type"] == "function_call").collect();
                for call in &calls {
                    self.history.push(
                        json!({"type": "function_call_output", "call_id": call["call_id"], "output": "ok"}),
                    );
                }
                calls.iter().map(|call| (name(call), parsed(&call["arguments"]))).collect()
            }
            "openai-chat" => {
                let message = &whole["choices"][0]["message"];
                self.history.push(message.clone());
                let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
                for call in &calls {
                    self.history.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "ok"}));
                }
                calls
                    .iter()
                    .map(|call| (name(&call["function"]), parsed(&call["function"]["arguments"])))
                    .collect()
            }
            "anthropic" => {
                self.history.push(json!({"role": "assistant", "content": whole["content"]}));
                let calls: Vec<Value> = whole["content"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|block| block["type"] == "tool_use")
                    .cloned()
                    .collect();
                let results: Vec<Value> = calls
                    .iter()
                    .map(|call| json!({"type": "tool_result", "tool_use_id": call["id"]}))
                    .collect();
                self.history.push(json!({"role": "user", "content": results}));
                calls.iter().map(|call| (name(call), call["input"].clone())).collect()
            }
            _ => {
                let content = &whole["candidates"][0]["content"];
                self.history.push(content.clone());
                let calls: Vec<Value> = content["parts"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(|part| part.get("functionCall").cloned())
                    .collect();
                let results: Vec<Value> = calls
                    .iter()
                    .map(|call| json!({"functionResponse": {"name": call["name"], "response": {}}}))
                    .collect();
                self.history.push(json!({"role": "user", "parts": results}));
                calls.iter().map(|call| (name(call), call["args"].clone())).collect()
            }
        }
    }
}

fn agents() -> Vec<Agent> {
    let mut agents = Vec::new();
    for wire in WIRES {
        for (stream, list) in [(false, false), (true, false), (true, true)] {
            if list && wire.name() != "google" {
                continue;
            }
            let mut agent = Agent { wire: *wire, stream, list, history: Vec::new(), cap: None, tools: true };
            agent.user("Make hello.txt");
            agents.push(agent);
        }
    }
    agents
}

fn metered(agent: &Agent, reply: &Reply) -> Metered {
    let framing = Framing::of(agent.stream, Some(reply.content_type));
    let mut meter = Meter::new(agent.wire, framing, Encoding::Identity);
    for frame in &reply.frames {
        meter.push(frame);
    }
    meter.finish()
}

/// The whole answer of a turn, whatever the agent streams.
fn whole(agent: &mut Agent, script: &Script, faults_before: u32) -> Value {
    let stream = std::mem::replace(&mut agent.stream, false);
    let list = std::mem::replace(&mut agent.list, false);
    let reply = agent.ask(script, faults_before);
    (agent.stream, agent.list) = (stream, list);
    serde_json::from_slice(&reply.body()).unwrap()
}

#[test]
fn conversation_played_on_every_wire_is_metered_and_priced_as_declared() {
    let script = Script::parse(SCRIPT, "hello.toml").unwrap();
    let prices = PriceTable::bundled().with_layer(script.price("scripted", "hello-1").unwrap().unwrap());
    for mut agent in agents() {
        let what = format!("{} stream {} list {}", agent.wire.name(), agent.stream, agent.list);
        let (mut spent, mut faults, mut done) = (0, 0, Vec::new());
        for _ in 0..10 {
            let reply = agent.ask(&script, faults);
            assert_eq!(reply.ending, Ending::Complete);
            if reply.fault {
                assert_eq!((reply.status, reply.turn), (529, Some(1)), "{what}");
                faults += 1;
                continue;
            }
            let metered = metered(&agent, &reply);
            assert!(metered.answer.complete && metered.readable, "{what} {metered:?}");
            assert_eq!(metered.answer.model.as_deref(), Some("hello-1"), "{what}");
            let usage = metered.usage.unwrap();
            assert_eq!(usage.source, Some(UsageSource::Gateway));
            let served = Served {
                provider: Some("scripted"),
                model: "hello-1",
                tier: ServiceTier::Standard,
                at_ms: 0,
            };
            spent += prices.price(&Call { served, usage, web_searches: 0 }).billed.unwrap().0;
            let whole = whole(&mut agent, &script, faults);
            let calls = agent.take(&whole);
            if calls.is_empty() {
                done.push(("finish".to_owned(), Value::Null));
                break;
            }
            done.extend(calls);
        }
        assert_eq!(faults, 2, "{what}");
        assert_eq!(
            done,
            [
                ("bash".to_owned(), json!({"command": "ls -la"})),
                ("write".to_owned(), json!({"file_path": "/srv/hello.txt", "content": "hi\n"})),
                ("finish".to_owned(), Value::Null),
            ],
            "{what}"
        );
        // (594 + 700 + 10) at $1, (509 + 1100 + 1900) at $0.1, (211 + 40 + 5) at $5 for a million.
        assert_eq!(NanoUsd(spent), NanoUsd(1_304_000 + 350_900 + 1_280_000), "{what}");
    }
}

#[test]
fn usage_of_a_turn_is_the_declared_one_in_every_bucket_that_the_wire_has() {
    let script = Script::parse(
        "[[turn]]\nsay = \"x\"\nusage = { input = 7, cache_read = 11, cache_write = 13, cache_write_1h = 17, output = 19, reasoning = 5 }",
        "s",
    )
    .unwrap();
    for agent in agents() {
        let usage = metered(&agent, &agent.ask(&script, 0)).usage.unwrap();
        let writes = (usage.cache_write_tokens, usage.cache_write_1h_tokens);
        match agent.wire.name() {
            "anthropic" => assert_eq!(writes, (Some(13), Some(17))),
            // No word for written input: it is uncached there.
            "google" => assert_eq!((writes, usage.uncached_input_tokens), ((None, None), Some(7 + 30))),
            _ => assert_eq!(writes, (Some(30), None)),
        }
        assert_eq!(
            (usage.cache_read_tokens, usage.output_tokens, usage.reasoning_tokens),
            (Some(11), Some(19), Some(5))
        );
        assert_eq!(usage.total_tokens, Some(7 + 11 + 13 + 17 + 19), "{}", agent.wire.name());
    }
}

#[test]
fn output_cap_cuts_the_answer_short_as_a_real_model_would() {
    let script = Script::parse(SCRIPT, "hello.toml").unwrap();
    for mut agent in agents() {
        agent.cap = Some(100);
        let metered = metered(&agent, &agent.ask(&script, 0));
        assert_eq!(metered.answer.finish, [Finish::Length], "{}", agent.wire.name());
        let usage = metered.usage.unwrap();
        assert_eq!((usage.output_tokens, usage.reasoning_tokens), (Some(100), Some(97)));
        let whole = whole(&mut agent, &script, 0);
        assert_eq!(agent.take(&whole), [], "no call of a tool that was not written to its end");
    }
}

#[test]
fn request_without_tools_is_a_side_one_and_moves_nothing_unless_the_script_is_textual() {
    let script = Script::parse(SCRIPT, "hello.toml").unwrap();
    let textual = Script::parse(&format!("textual = true\n{SCRIPT}"), "hello.toml").unwrap();
    for mut agent in agents() {
        agent.tools = false;
        let aside = agent.ask(&script, 0);
        assert_eq!((aside.status, aside.turn), (200, None));
        assert!(metered(&agent, &aside).usage.unwrap().output_tokens < Some(10));
        let spoken = agent.ask(&textual, 0);
        assert_eq!(spoken.turn, Some(0));
        let whole = whole(&mut agent, &textual, 0).to_string();
        assert!(whole.contains("```bash\\nls -la\\n```"), "{whole}");
    }
}

#[test]
fn faults_cut_break_delay_and_hang_on_every_wire() {
    let script = |fault: &str| {
        Script::parse(&format!("[[turn]]\nsay = \"{}\"\nfault = {{ {fault} }}", "word ".repeat(40)), "s")
            .unwrap()
    };
    for agent in agents() {
        let cut = agent.ask(&script("cut_after = 1"), 0);
        assert_eq!((cut.ending, cut.frames.len(), cut.fault), (Ending::Cut, 1, true));
        if agent.stream {
            assert!(!metered(&agent, &cut).answer.complete, "{}", agent.wire.name());
        }
        let malformed = agent.ask(&script("malformed = true"), 0);
        assert!(serde_json::from_slice::<Value>(&malformed.body()).is_err());
        if !agent.stream {
            assert!(!metered(&agent, &malformed).readable || !metered(&agent, &malformed).answer.complete);
        }
        let hang = agent.ask(&script("hang = true"), 0);
        assert_eq!((hang.ending, hang.frames.len()), (Ending::Hang, 0));
        let slow = agent.ask(&script("delay_ms = 1500"), 0);
        assert_eq!(
            (slow.delay_ms, slow.ending, metered(&agent, &slow).answer.complete),
            (1500, Ending::Complete, true)
        );
        // The next one for the same turn is answered.
        let after = agent.ask(&script("hang = true"), 1);
        assert_eq!((after.ending, after.fault), (Ending::Complete, false));
    }
}

#[test]
fn responses_by_previous_id_and_codex_tools_are_understood() {
    let script = Script::parse(SCRIPT, "hello.toml").unwrap();
    let wire = WIRES[0];
    let ask = |body: Value| {
        let body = body.to_string();
        play(&script, &Request { wire, path: "/v1/responses", body: body.as_bytes(), faults_before: 9 })
    };
    let tools = json!([{"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "exec"}]}]);
    let reply = ask(
        json!({"model": "m", "input": [{"type": "additional_tools", "tools": tools}, {"role": "user", "content": "x"}]}),
    );
    let whole: Value = serde_json::from_slice(&reply.body()).unwrap();
    assert_eq!(whole["output"][1]["type"], "custom_tool_call");
    let next = ask(json!({"model": "m", "tools": tools, "previous_response_id": whole["id"],
        "input": [{"type": "custom_tool_call_output", "call_id": "c", "output": "ok"}]}));
    assert_eq!(next.turn, Some(1));
    let over =
        ask(json!({"model": "m", "tools": tools, "previous_response_id": "resp_scripted_900", "input": "x"}));
    assert!(String::from_utf8(over.body()).unwrap().contains("The script is over."));
}

#[test]
fn bad_requests_get_the_wires_own_error() {
    let script = Script::parse(SCRIPT, "hello.toml").unwrap();
    for agent in agents() {
        for body in ["", "[]", "{\"messages\": {\"a\": 1}", "nonsense"] {
            let request =
                Request { wire: agent.wire, path: agent.path(), body: body.as_bytes(), faults_before: 0 };
            let reply = play(&script, &request);
            assert_eq!(reply.status, 400, "{body}");
            assert!(serde_json::from_slice::<Value>(&reply.body()).unwrap().get("error").is_some());
        }
        let request = Request { wire: agent.wire, path: "/elsewhere", body: b"{}", faults_before: 0 };
        assert_eq!(play(&script, &request).status, 404);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z_]{0,12}".prop_map(Value::from),
        Just(json!("assistant")),
        Just(json!("function")),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = proptest::sample::select(vec![
            "role",
            "type",
            "tools",
            "messages",
            "input",
            "contents",
            "function",
            "name",
            "parameters",
            "properties",
            "required",
            "command",
            "content",
            "functionDeclarations",
            "path",
            "enum",
            "max_tokens",
            "stream",
            "model",
        ]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..6).prop_map(|members| members
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn play_never_panics_whatever_is_asked(
        mut body in any_json(), noise in any::<Vec<u8>>(), which in 0..9_usize, turn in 0..5_u64,
    ) {
        let script = Script::parse(SCRIPT, "hello.toml").unwrap();
        let agent = agents().swap_remove(which);
        if let Some(map) = body.as_object_mut() {
            map.insert("model".to_owned(), json!("m"));
            map.insert("previous_response_id".to_owned(), json!(format!("resp_scripted_{turn}")));
        }
        for body in [body.to_string().into_bytes(), noise] {
            play(&script, &Request { wire: agent.wire, path: agent.path(), body: &body, faults_before: 0 });
        }
    }
}
