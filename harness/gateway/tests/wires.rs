//! All four wires, from the outside: the same call metered whole, streamed, packed and cut anywhere must give the same buckets,
//! and those are the ones of the worked examples and recorded answers beside the repository.

#![allow(clippy::unwrap_used)]
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

use std::path::{Path, PathBuf};

use harness_core::{NanoUsd, Usage, UsageSource};
use harness_gateway::meter::{Framing, Meter, Metered};
use harness_gateway::stream::decode::Encoding;
use harness_gateway::wire::{Finish, ReadRequest, UsageStripper, WIRES, Wish, by_name, recognise};
use harness_prices::{Call, PriceTable, Served, ServiceTier};
use proptest::prelude::*;
use serde_json::{Value, json};

/// 2026-11-21 12:00 UTC.
const NOON: u64 = 1_795_262_400_000;

fn shared(file: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data").join(file))
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: shared/data/{file} is not beside this repository");
    }
    found
}

fn meter(wire: &str, framing: Framing, pieces: &[&[u8]]) -> Metered {
    let mut meter = Meter::new(by_name(wire).unwrap(), framing, Encoding::Identity);
    for piece in pieces {
        meter.push(piece);
    }
    meter.finish()
}

fn usage(buckets: [Option<u64>; 6]) -> Usage {
    let [uncached, read, write, write_1h, output, reasoning] = buckets;
    let mut usage = Usage {
        requests: Some(1),
        uncached_input_tokens: uncached,
        cache_read_tokens: read,
        cache_write_tokens: write,
        cache_write_1h_tokens: write_1h,
        output_tokens: output,
        reasoning_tokens: reasoning,
        total_tokens: None,
        source: Some(UsageSource::Gateway),
    };
    usage.total_tokens = usage.total();
    usage
}

/// One call on each wire: the whole answer, the stream, and what both mean.
struct Sample {
    wire: &'static str,
    whole: String,
    stream: String,
    usage: Usage,
    model: &'static str,
    finish: Finish,
}

fn samples() -> Vec<Sample> {
    let all = [Some(594), Some(509), Some(0), None, Some(211), Some(97)];
    let events =
        |events: &[Value]| -> String { events.iter().map(|event| format!("data: {event}\n\n")).collect() };
    let named = |events: &[Value]| -> String {
        events
            .iter()
            .map(|event| format!("event: {}\r\ndata: {event}\r\n\r\n", event["type"].as_str().unwrap()))
            .collect()
    };
    let responses_usage = json!({"input_tokens": 1103, "input_tokens_details": {"cached_tokens": 509, "cache_write_tokens": 0},
        "output_tokens": 211, "output_tokens_details": {"reasoning_tokens": 97}, "total_tokens": 1314});
    let responses = |status: &str, usage: Value| {
        json!({"id": "resp_1", "object": "response", "status": status, "model": "gpt-5", "service_tier": "flex",
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "usage: \"none\""}]}], "usage": usage})
    };
    let chat_usage = json!({"prompt_tokens": 1103, "prompt_tokens_details": {"cached_tokens": 509, "cache_write_tokens": 0},
        "completion_tokens": 211, "completion_tokens_details": {"reasoning_tokens": 97}, "total_tokens": 1314});
    let chunk = |choices: Value, usage: Value| json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4.1", "choices": choices, "usage": usage});
    let messages_usage = json!({"input_tokens": 1103, "cache_creation_input_tokens": 307, "cache_read_input_tokens": 509,
        "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 107}, "output_tokens": 211,
        "service_tier": "standard"});
    let gemini = |candidate: Value, thoughts: u64, candidates: u64| {
        json!({"candidates": [candidate], "modelVersion": "gemini-2.5-pro", "responseId": "r1", "usageMetadata":
            {"promptTokenCount": 1103, "cachedContentTokenCount": 509, "candidatesTokenCount": candidates,
             "thoughtsTokenCount": thoughts, "totalTokenCount": 1103 + candidates + thoughts}})
    };
    vec![
        Sample {
            wire: "openai",
            whole: responses("completed", responses_usage.clone()).to_string(),
            stream: named(&[
                json!({"type": "response.created", "response": responses("in_progress", Value::Null)}),
                json!({"type": "response.output_text.delta", "delta": "usage", "item_id": "i"}),
                json!({"type": "response.output_item.done", "item": {"id": "x", "usage": 5}, "id": 3}),
                json!({"type": "response.completed", "response": responses("completed", responses_usage)}),
            ]),
            usage: usage(all),
            model: "gpt-5",
            finish: Finish::Stop,
        },
        Sample {
            wire: "openai-chat",
            whole: json!({"id": "chatcmpl-1", "model": "gpt-4.1", "choices": [{"index": 0, "finish_reason": "tool_calls",
                "message": {"role": "assistant", "content": null}}], "usage": chat_usage, "service_tier": null})
            .to_string(),
            stream: events(&[
                chunk(json!([{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": null}]), Value::Null),
                chunk(json!([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]), Value::Null),
                chunk(json!([]), chat_usage),
            ]) + "data: [DONE]\n\n",
            usage: usage(all),
            model: "gpt-4.1",
            finish: Finish::Tools,
        },
        Sample {
            wire: "anthropic",
            whole: json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
                "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "usage": messages_usage})
            .to_string(),
            stream: named(&[
                // What some servers say first: the whole prompt as uncached, and next to no output.
                json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude-sonnet-4-5", "stop_reason": null,
                    "usage": {"input_tokens": 1919, "cache_creation_input_tokens": null, "output_tokens": 3, "service_tier": "standard"}}}),
                json!({"type": "ping"}),
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}),
                json!({"type": "message_delta", "delta": {"stop_reason": null}, "usage": {"output_tokens": 100}}),
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": messages_usage}),
                json!({"type": "message_stop"}),
            ]),
            usage: usage([Some(1103), Some(509), Some(200), Some(107), Some(211), None]),
            model: "claude-sonnet-4-5",
            finish: Finish::Stop,
        },
        Sample {
            wire: "google",
            whole: gemini(json!({"finishReason": "STOP"}), 97, 114).to_string(),
            stream: events(&[
                gemini(json!({"content": {"parts": [{"text": "a"}]}}), 90, 0),
                gemini(json!({"content": {"parts": [{"text": "b"}]}}), 97, 60),
                gemini(json!({"finishReason": "STOP"}), 97, 114),
            ]),
            usage: usage([Some(594), Some(509), None, None, Some(211), Some(97)]),
            model: "gemini-2.5-pro",
            finish: Finish::Stop,
        },
    ]
}

#[test]
fn meter_reads_the_same_from_a_whole_answer_and_from_a_stream_cut_at_every_byte() {
    for sample in samples() {
        let check = |metered: &Metered, what: &str| {
            assert_eq!(metered.usage, Some(sample.usage), "{} {what}", sample.wire);
            assert_eq!(metered.answer.model.as_deref(), Some(sample.model), "{} {what}", sample.wire);
            assert_eq!(metered.answer.finish, std::slice::from_ref(&sample.finish), "{} {what}", sample.wire);
            assert!(
                metered.answer.complete && metered.readable && metered.answer.id.is_some(),
                "{} {what}",
                sample.wire
            );
            assert_eq!(metered.usage_or_estimate(5), sample.usage);
        };
        check(&meter(sample.wire, Framing::Whole, &[sample.whole.as_bytes()]), "whole");
        let stream = sample.stream.as_bytes();
        for cut in 0..=stream.len() {
            let metered = meter(sample.wire, Framing::Events, &[&stream[..cut], &stream[cut..]]);
            check(&metered, &format!("stream cut at {cut}"));
        }
        check(&meter(sample.wire, Framing::Events, &stream.chunks(1).collect::<Vec<_>>()), "byte by byte");
        // A list, as Gemini streams without `alt=sse`.
        if sample.wire == "google" {
            let list = sample.stream.replace("data: ", "").trim_end().replace("\n\n", ",\r\n");
            check(&meter("google", Framing::Whole, &[format!("[{list}]").as_bytes()]), "list");
        }
    }
}

#[test]
fn meter_of_a_stream_that_breaks_off_gives_a_marked_estimate_and_never_panics() {
    for sample in samples() {
        let stream = sample.stream.as_bytes();
        for end in 0..stream.len() {
            let metered = meter(sample.wire, Framing::Events, &[&stream[..end]]);
            let charged = metered.usage_or_estimate(700);
            assert!(charged.uncached_input_tokens.is_some() && charged.output_tokens.is_some());
            assert_eq!(charged.requests, Some(1));
            if !metered.answer.complete {
                assert_eq!(charged.source, Some(UsageSource::Estimate), "{} ends at {end}", sample.wire);
            }
        }
        let nothing = meter(sample.wire, Framing::Events, &[]);
        assert_eq!((nothing.usage, nothing.usage_or_estimate(700).uncached_input_tokens), (None, Some(700)));
    }
}

#[test]
fn meter_keeps_the_providers_own_json() {
    for sample in samples() {
        let metered = meter(sample.wire, Framing::Whole, &[sample.whole.as_bytes()]);
        let whole: Value = serde_json::from_str(&sample.whole).unwrap();
        let own = whole.get("usage").or_else(|| whole.get("usageMetadata")).unwrap();
        assert_eq!(metered.answer.raw_usage.as_ref(), Some(own));
    }
}

#[test]
fn worked_examples_are_normalised_and_priced_from_the_providers_own_json() {
    let Some(file) = shared("agents/cost_vectors.json") else { return };
    let vectors: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for vector in vectors {
        let (wire, body) = match vector["wire"].as_str().unwrap() {
            "responses" => ("openai", json!({"status": "completed", "usage": vector["raw_usage"]})),
            "chat" => {
                ("openai-chat", json!({"choices": [{"finish_reason": "stop"}], "usage": vector["raw_usage"]}))
            }
            "messages" => ("anthropic", json!({"stop_reason": "end_turn", "usage": vector["raw_usage"]})),
            _ => (
                "google",
                json!({"candidates": [{"finishReason": "STOP"}], "usageMetadata": vector["raw_usage"]}),
            ),
        };
        let metered = meter(wire, Framing::Whole, &[body.to_string().as_bytes()]);
        let usage = metered.usage.unwrap();
        let canonical = |name: &str| vector["canonical"][name].as_u64().unwrap();
        let reasoning = usage.reasoning_tokens.unwrap_or(0);
        assert_eq!(
            [
                usage.uncached_input_tokens.unwrap(),
                usage.cache_read_tokens.unwrap_or(0),
                usage.cache_write_tokens.unwrap_or(0),
                usage.cache_write_1h_tokens.unwrap_or(0),
                usage.output_tokens.unwrap() - if canonical("reason") == 0 { 0 } else { reasoning },
                if canonical("reason") == 0 { 0 } else { reasoning },
            ],
            ["uncached", "read", "w5", "w1h", "out", "reason"].map(canonical),
            "{}",
            vector["name"]
        );
        let served = Served {
            provider: None,
            model: vector["model"].as_str().unwrap(),
            tier: ServiceTier::parse(vector["tier"].as_str().unwrap()),
            at_ms: NOON,
        };
        let priced = PriceTable::bundled().price(&Call { served, usage, web_searches: 0 });
        assert_eq!(
            priced.billed,
            NanoUsd::from_usd(vector["expected_usd"].as_f64().unwrap()),
            "{}",
            vector["name"]
        );
    }
}

/// The answers that mini-swe-agent recorded are the provider's own; those that the others print are their accounts of the same
/// scripted endpoint, whose every answer was 1103 input, 509 cached, 211 output, 97 reasoning.
#[test]
fn recorded_answers_reconcile_with_what_the_agents_were_served() {
    let Some(file) = shared("agents/mini.traj.json") else { return };
    let trajectory: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut answers = 0;
    for message in trajectory["messages"].as_array().unwrap() {
        let Some(response) = message["extra"].get("response") else { continue };
        let metered = meter("openai-chat", Framing::Whole, &[response.to_string().as_bytes()]);
        let expected = usage([Some(1103 - 509 - 307), Some(509), Some(307), None, Some(211), Some(97)]);
        assert_eq!(metered.usage, Some(expected));
        assert_eq!(
            (metered.answer.model.as_deref(), metered.answer.finish),
            (Some("gpt-5"), vec![Finish::Tools])
        );
        answers += 1;
    }
    assert_eq!(answers, 2);

    let lines = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(shared(name).unwrap()).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    // Claude Code's own total of two calls, each of which our reading of its wire gives.
    let total =
        lines("agents/claude.stream-json.jsonl").into_iter().find(|line| line["type"] == "result").unwrap();
    let one = usage([Some(1103), Some(509), Some(200), Some(107), Some(211), None]);
    let claude = by_name("anthropic").unwrap().usage(&total["usage"]);
    let two = one.plus(&one);
    assert_eq!(claude.uncached_input_tokens, two.uncached_input_tokens);
    assert_eq!(claude.cache_read_tokens, two.cache_read_tokens);
    assert_eq!(claude.cache_write_tokens, two.cache_write_tokens);
    assert_eq!(claude.cache_write_1h_tokens, two.cache_write_1h_tokens);
    assert_eq!(claude.output_tokens, two.output_tokens);
    let cost: i64 = [one, one]
        .into_iter()
        .map(|usage| {
            let served = Served {
                provider: Some("anthropic"),
                model: "claude-sonnet-4-5",
                tier: ServiceTier::Standard,
                at_ms: NOON,
            };
            PriceTable::bundled().price(&Call { served, usage, web_searches: 0 }).billed.unwrap().0
        })
        .sum();
    assert_eq!(Some(NanoUsd(cost)), NanoUsd::from_usd(total["total_cost_usd"].as_f64().unwrap()));
    // What Claude Code streams per message is the count at its beginning: the difference that the gateway is there for.
    let early = lines("agents/claude.stream-json.jsonl")
        .into_iter()
        .find(|line| line["type"] == "assistant")
        .unwrap();
    assert_eq!(by_name("anthropic").unwrap().usage(&early["message"]["usage"]).output_tokens, Some(3));

    // codex counts cached input into its input, as its wire does.
    let codex = lines("agents/codex.exec.events.jsonl")
        .into_iter()
        .find(|line| line["type"] == "turn.completed")
        .unwrap();
    let call = json!({"input_tokens": 1103, "input_tokens_details": {"cached_tokens": 509, "cache_write_tokens": 307},
        "output_tokens": 211, "output_tokens_details": {"reasoning_tokens": 97}});
    let of_two = |field: &str| codex["usage"][field].as_u64().unwrap();
    let call = by_name("openai").unwrap().usage(&call);
    assert_eq!(of_two("output_tokens"), 2 * call.output_tokens.unwrap());
    assert_eq!(of_two("reasoning_output_tokens"), 2 * call.reasoning_tokens.unwrap());
    assert!(
        of_two("input_tokens") >= 2 * call.uncached_input_tokens.unwrap() + of_two("cached_input_tokens")
    );
}

/// The same call on three more wires, as gemini-cli, opencode and qwen-code account for it: each in buckets of its own.
#[test]
fn agents_own_accounts_follow_from_our_buckets() {
    let Some(file) = shared("agents/gemini.json") else { return };
    let read = |name: &str| std::fs::read_to_string(shared(name).unwrap()).unwrap();
    let find = |name: &str, kind: &str| -> Value {
        let text = read(name);
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["type"] == kind).unwrap()
    };
    // What the endpoint said each time.
    let wire = json!({"promptTokenCount": 1103, "cachedContentTokenCount": 509, "candidatesTokenCount": 114,
        "thoughtsTokenCount": 97, "totalTokenCount": 1314});
    let ours = by_name("google").unwrap().usage(&wire);
    let [uncached, cached, output, thoughts] =
        [ours.uncached_input_tokens, ours.cache_read_tokens, ours.output_tokens, ours.reasoning_tokens]
            .map(Option::unwrap);

    let gemini: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let theirs = &gemini["stats"]["models"]["mock"]["tokens"];
    assert_eq!(theirs["input"], 2 * uncached);
    assert_eq!(theirs["cached"], 2 * cached);
    assert_eq!(theirs["thoughts"], 2 * thoughts);
    assert_eq!(theirs["candidates"], 2 * (output - thoughts), "it leaves thoughts out");
    // Its stream leaves them out of the output altogether: the finding that the gateway is there for.
    assert_eq!(
        find("agents/gemini.stream-json.jsonl", "result")["stats"]["output_tokens"],
        2 * (output - thoughts)
    );

    let opencode = &find("agents/opencode.events.jsonl", "step_finish")["part"];
    assert_eq!(opencode["tokens"]["input"], uncached);
    assert_eq!(opencode["tokens"]["cache"]["read"], cached);
    assert_eq!(opencode["tokens"]["output"], output - thoughts);
    assert_eq!(opencode["tokens"]["reasoning"], thoughts);

    let qwen = &find("agents/qwen.stream-json.jsonl", "result")["usage"];
    assert_eq!(
        qwen["input_tokens"],
        2 * (uncached + cached),
        "the same name as Claude's, with the cached ones in it"
    );
    assert_eq!(qwen["cache_read_input_tokens"], 2 * cached);
    assert_eq!(qwen["output_tokens"], 2 * output);
}

#[test]
fn usage_of_servers_with_their_own_ways_is_read_right() {
    let chat = |raw: Value| by_name("openai-chat").unwrap().usage(&raw);
    // xAI: reasoning beside the completion.
    let xai = chat(
        json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22, "completion_tokens_details": {"reasoning_tokens": 7}}),
    );
    assert_eq!((xai.output_tokens, xai.reasoning_tokens), (Some(12), Some(7)));
    // DeepSeek: hits beside misses, and no details.
    let deepseek = chat(
        json!({"prompt_tokens": 10, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6, "completion_tokens": 1}),
    );
    assert_eq!((deepseek.uncached_input_tokens, deepseek.cache_read_tokens), (Some(6), Some(4)));
    // More cached than there is: never below nothing.
    assert_eq!(
        chat(json!({"prompt_tokens": 1, "cached_tokens": 9, "completion_tokens": 1})).uncached_input_tokens,
        Some(0)
    );
    // What is not there is unknown.
    assert_eq!(chat(json!({})), Usage::default());
    assert_eq!(chat(json!({"prompt_tokens": "many", "completion_tokens": -1})), Usage::default());
    // Gemini leaves out counts of nothing; prompts of tools stand beside the prompt.
    let gemini = by_name("google").unwrap().usage(&json!({"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 18}));
    assert_eq!((gemini.uncached_input_tokens, gemini.output_tokens), (Some(15), Some(3)));
    let gemini = by_name("google").unwrap().usage(&json!({"promptTokenCount": 10}));
    assert_eq!(gemini.output_tokens, None);
}

fn request(
    path: &str,
    body: &str,
) -> (harness_gateway::wire::RequestFacts, impl Fn(&Wish) -> String + use<>) {
    let (wire, route) = recognise("POST", path).unwrap();
    let facts = ReadRequest::read(wire, &route, body.as_bytes()).unwrap().facts;
    let (path, body) = (path.to_owned(), body.to_owned());
    (facts, move |wish: &Wish| {
        let (wire, route) = recognise("POST", &path).unwrap();
        String::from_utf8(ReadRequest::read(wire, &route, body.as_bytes()).unwrap().edited(wish)).unwrap()
    })
}

fn capped(cap: u64) -> Wish {
    Wish { output_cap: Some(cap), ..Wish::default() }
}

#[test]
fn request_facts_and_edits_on_every_wire() {
    let (facts, edit) = request(
        "/v1/responses",
        r#"{ "model":"gpt-5", "stream":true,"max_output_tokens": 9000 ,"tools":[{"type":"function"},{"type":"web_search"}],"background":true}"#,
    );
    assert_eq!(
        (facts.model.as_str(), facts.stream, facts.output_cap, facts.background),
        ("gpt-5", true, Some(9000), true)
    );
    assert_eq!(facts.server_tools, ["web_search"]);
    assert_eq!(
        edit(&capped(300)),
        r#"{ "model":"gpt-5", "stream":true,"max_output_tokens": 300 ,"tools":[{"type":"function"},{"type":"web_search"}],"background":true}"#
    );
    assert!(edit(&capped(9001)).contains("9000"));

    let (facts, edit) = request(
        "/v1/chat/completions",
        r#"{"model":"m","stream":true,"n":3,"messages":[{"content":"\"max_tokens\":5"}]}"#,
    );
    assert_eq!((facts.output_cap, facts.answers, facts.stream_usage), (None, 3, false));
    let both = edit(&Wish { output_cap: Some(300), stream_usage: true, old_cap_name: false });
    let parsed: Value = serde_json::from_str(&both).unwrap();
    assert_eq!(
        (&parsed["max_completion_tokens"], &parsed["stream_options"]["include_usage"]),
        (&json!(300), &json!(true))
    );
    assert!(
        both.ends_with(r#""model":"m","stream":true,"n":3,"messages":[{"content":"\"max_tokens\":5"}]}"#),
        "{both}"
    );
    assert!(edit(&Wish { old_cap_name: true, ..capped(300) }).starts_with(r#"{"max_tokens":300,"#));
    for (options, changed) in [
        (r#"{"include_usage":false}"#, r#"{"include_usage":true}"#),
        (r#"{"include_usage":true}"#, r#"{"include_usage":true}"#),
        ("{}", r#"{"include_usage":true}"#),
        (r#"{"x":1}"#, r#"{"include_usage":true,"x":1}"#),
        ("null", r#"{"include_usage":true}"#),
    ] {
        let (_, edit) =
            request("/chat/completions", &format!(r#"{{"model":"m","stream_options":{options}}}"#));
        let wish = Wish { stream_usage: true, ..Wish::default() };
        assert_eq!(edit(&wish), format!(r#"{{"model":"m","stream_options":{changed}}}"#));
    }

    let (facts, edit) = request(
        "/v1/messages?beta=true",
        r#"{"model":"claude","max_tokens":32000,"cache_control":{"type":"ephemeral","ttl":"1h"},"tools":[{"type":"web_search_20250305","name":"web_search"},{"name":"Bash"}]}"#,
    );
    assert_eq!((facts.output_cap, facts.stream, facts.long_cache), (Some(32000), false, true));
    assert_eq!(facts.server_tools, ["web_search_20250305"]);
    assert!(edit(&capped(256)).contains(r#""max_tokens":256"#));

    let path = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse";
    let (facts, edit) = request(
        path,
        r#"{"contents":[],"generation_config":{"max_output_tokens":100,"maxOutputTokens":900},"tools":[{"google_search":{}},{"functionDeclarations":[]}]}"#,
    );
    assert_eq!((facts.model.as_str(), facts.stream, facts.output_cap), ("gemini-2.5-pro", true, Some(900)));
    assert_eq!(facts.server_tools, ["google_search"]);
    assert!(edit(&capped(300)).contains(r#"{"max_output_tokens":100,"maxOutputTokens":300}"#));
    let (_, edit) = request(path, r#"{"contents":[],"generationConfig":{"temperature":0}}"#);
    assert_eq!(
        edit(&capped(300)),
        r#"{"contents":[],"generationConfig":{"maxOutputTokens":300,"temperature":0}}"#
    );
    let (_, edit) = request(path, r#"{"contents":[]}"#);
    assert_eq!(edit(&capped(300)), r#"{"generationConfig":{"maxOutputTokens":300},"contents":[]}"#);
    assert_eq!(edit(&Wish::default()), r#"{"contents":[]}"#);
}

#[test]
fn output_cap_cannot_be_smuggled_past_the_limit() {
    for body in [
        r#"{"model":"m","max_tokens":1,"max_tokens":99999}"#,
        r#"{"model":"m","max_\u0074okens":99999}"#,
        r#"{"model":"m","max_tokens":99999,"max_completion_tokens":1}"#,
        r#"{"model":"m","max_tokens":"99999"}"#,
        r#"{"model":"m","max_tokens":1e9}"#,
        r#"{"model":"m","max_tokens":null}"#,
        r#"{"model":"m"}"#,
    ] {
        let (_, edit) = request("/v1/chat/completions", body);
        let parsed: Value = serde_json::from_str(&edit(&capped(300))).unwrap();
        let caps = ["max_tokens", "max_completion_tokens"].map(|key| parsed.get(key).and_then(Value::as_u64));
        assert!(
            caps.iter().flatten().count() >= 1 && caps.iter().flatten().all(|cap| *cap <= 300),
            "{body} -> {parsed}"
        );
    }
}

#[test]
fn request_that_is_no_json_object_or_names_no_model_is_refused() {
    let (wire, route) = recognise("POST", "/v1/messages").unwrap();
    for body in ["", "[]", "null", "{", "{\"model\":\"m\"} x", "{\"model\":7}", "{}", "\u{feff}{}"] {
        assert!(ReadRequest::read(wire, &route, body.as_bytes()).is_err(), "{body}");
    }
}

proptest! {
    #[test]
    fn meter_never_panics_and_does_not_depend_on_the_cuts(
        noise in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..8), cut in any::<usize>(), which in 0..4_usize, framing in any::<bool>(),
    ) {
        let sample = samples().swap_remove(which);
        let framing = if framing { Framing::Events } else { Framing::Whole };
        let mut bytes = sample.stream.into_bytes();
        for (at, byte) in noise {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let cut = cut % bytes.len();
        prop_assert_eq!(meter(sample.wire, framing, &[&bytes]), meter(sample.wire, framing, &[&bytes[..cut], &bytes[cut..]]));
    }

    /// Whole parts are put in, left out, repeated or blown up, in any packing and in pieces of any size.
    #[test]
    fn meter_and_stripper_live_with_any_stream_however_it_comes(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..9_usize, any::<u8>()), 0..6),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12), which in 0..4_usize, framing in any::<bool>(),
        whole in any::<bool>(), packing in 0..3_usize,
    ) {
        let sample = samples().swap_remove(which);
        let mut bytes = if whole { sample.whole } else { sample.stream }.into_bytes();
        for (at, change, byte) in changes {
            let at = at.index(bytes.len());
            let end = (at + usize::from(byte)).min(bytes.len());
            match change {
                0 => bytes.insert(at, byte),
                1 => drop(bytes.drain(at..end)),
                2 => { let part = bytes[at..end].to_vec(); bytes.splice(at..at, part); }
                3 => { bytes.splice(at..at, b"[{\"a\":".repeat(usize::from(byte) * 20)); }
                4 => { bytes.splice(at..at, vec![byte; 100_000]); }
                5 => { bytes.splice(at..at, b"\n\ndata: ".repeat(usize::from(byte))); }
                6 => { bytes.splice(at..at, format!("\"usage\":{{\"x\":\"{}\"}},", "y".repeat(90_000)).into_bytes()); }
                7 => { bytes.splice(at..at, b"\"usage\":{\"input_tokens\":1e999,\"output_tokens\":-5,\"prompt_tokens\":18446744073709551615},".to_vec()); }
                _ => bytes.truncate(at.max(1)),
            }
            if bytes.is_empty() { bytes.push(byte); }
        }
        let encoding = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd][packing];
        let packed = match encoding {
            Encoding::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut gzip, &bytes).unwrap();
                gzip.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(bytes.as_slice(), 1).unwrap(),
            _ => bytes.clone(),
        };
        let framing = if framing { Framing::Events } else { Framing::Whole };
        let read = |bytes: &[u8], encoding, cuts: &[prop::sample::Index]| {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.sort_unstable();
            let (mut meter, mut stripper) = (Meter::new(by_name(sample.wire).unwrap(), framing, encoding), UsageStripper::default());
            let (mut at, mut passed) = (0, Vec::new());
            for cut in cuts.into_iter().chain([bytes.len()]) {
                meter.push(&bytes[at..cut]);
                passed.extend(stripper.push(&bytes[at..cut]));
                at = cut;
            }
            passed.extend(stripper.finish());
            (meter.finish(), passed)
        };
        let (metered, passed) = read(&packed, encoding, &cuts);
        let (at_once, passed_at_once) = read(&bytes, Encoding::Identity, &[]);
        prop_assert_eq!(&metered, &at_once);
        // What is never held for its length is the same too; a stripper takes off usage alone.
        if encoding == Encoding::Identity {
            prop_assert_eq!(&passed, &passed_at_once);
        }
        prop_assert!(passed.len() <= packed.len());
        // Limits hold: nothing that was learned is longer than what a reader keeps.
        let learned = [&metered.answer.model, &metered.answer.id, &metered.answer.tier, &metered.answer.error];
        prop_assert!(learned.into_iter().flatten().all(|text| text.len() <= 64 << 10));
        prop_assert!(metered.answer.finish.len() <= 1000);
    }

    #[test]
    fn request_reader_never_panics(body in any::<Vec<u8>>(), text in "[{}\\[\\]\",:a-z\\\\0-9 ]{0,80}", cap in any::<u64>()) {
        for path in ["/v1/responses", "/v1/chat/completions", "/v1/messages", "/v1beta/models/m:generateContent"] {
            let (wire, route) = recognise("POST", path).unwrap();
            for body in [&body, text.as_bytes()] {
                if let Ok(read) = ReadRequest::read(wire, &route, body) {
                    read.edited(&Wish { output_cap: Some(cap), stream_usage: true, old_cap_name: false });
                }
            }
        }
    }

    #[test]
    fn path_reader_never_panics(method in "[A-Z]{0,5}", path in "\\PC{0,60}") {
        recognise(&method, &path);
        harness_gateway::wire::without_key(&path);
        harness_gateway::wire::presented_key(&hyper::HeaderMap::new(), &path);
    }

    #[test]
    fn usage_reader_never_panics(text in "\\PC{0,60}", number in any::<u64>()) {
        for wire in WIRES {
            wire.usage(&json!({"prompt_tokens": number, "completion_tokens": number, "input_tokens": number,
                "promptTokenCount": number, "thoughtsTokenCount": number, "candidatesTokenCount": number,
                "toolUsePromptTokenCount": number, "completion_tokens_details": {"reasoning_tokens": number},
                "cache_creation_input_tokens": number, "cache_creation": {"ephemeral_1h_input_tokens": text}}));
        }
    }
}
