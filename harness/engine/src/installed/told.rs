//! What a program told of itself, in the words of the built-in agent's events, whatever its own form was.

use harness_agent::events::{CallRecord, EVENTS_VERSION, Event, Purpose};
use harness_core::{AgentExit, Finding, NanoUsd, Severity, Usage};
use serde_json::{Value, json};

/// Most events of one account.
const MAX_EVENTS: usize = 100_000;
/// Longest text of an event, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// What a program told.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// What it did, without its beginning and its end.
    pub(crate) events: Vec<Event>,
    /// Its own count.
    pub(crate) usage: Usage,
    /// Its own bill.
    pub(crate) cost: Option<NanoUsd>,
    /// How it says that it ended.
    pub(crate) exit: Option<AgentExit>,
    /// In a sentence.
    pub(crate) message: Option<String>,
    /// What touches trust in its result.
    pub(crate) findings: Vec<Finding>,
    /// The version that it says it is.
    pub(crate) version: Option<String>,
    requests: u64,
}

/// A call as a program told it.
pub(crate) struct Called {
    /// Its id.
    pub(crate) id: String,
    /// The tool.
    pub(crate) tool: String,
    /// Its input.
    pub(crate) input: Value,
}

impl Told {
    /// The model said something, or wants tools run.
    pub(crate) fn said(&mut self, text: &str, thinking: &str, calls: Vec<Called>, usage: Usage) {
        self.requests += 1;
        let calls = calls
            .into_iter()
            .map(|call| CallRecord { id: call.id, tool: call.tool, input: within(call.input) })
            .collect();
        self.push(Event::Answered {
            request: self.requests,
            purpose: Purpose::Act,
            model: None,
            text: clip(text),
            thinking: clip(thinking),
            calls,
            stop: String::new(),
            usage,
            raw_usage: None,
            took_ms: 0,
        });
    }

    /// A tool ran.
    pub(crate) fn ran(&mut self, id: &str, output: &str, is_error: bool) {
        let tool = self.events.iter().rev().find_map(|event| match event {
            Event::Answered { calls, .. } => {
                calls.iter().find(|call| call.id == id).map(|call| call.tool.clone())
            }
            _ => None,
        });
        let (id, output) = (id.to_owned(), clip(output));
        self.push(Event::Ran { id, tool: tool.unwrap_or_default(), output, is_error, took_ms: 0 });
    }

    /// A request had no answer.
    pub(crate) fn unanswered(&mut self, message: &str, again: bool) {
        self.requests += 1;
        self.push(Event::Unanswered { request: self.requests, message: clip(message), again });
    }

    /// Something that touches trust, once.
    pub(crate) fn finds(&mut self, check: &str, detail: &str) {
        if self.findings.iter().any(|finding| finding.check == check) {
            return;
        }
        let (check, detail) = (check.to_owned(), detail.chars().take(500).collect());
        self.findings.push(Finding { check, severity: Severity::Warning, detail });
    }

    fn push(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        }
    }
}

/// A text as it is kept.
pub(crate) fn clip(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let end = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}\n[… {} bytes left out …]", &text[..end], text.len() - end)
}

fn within(input: Value) -> Value {
    match input {
        Value::Object(map) => {
            let clipped = |value: Value| match value {
                Value::String(text) => Value::String(clip(&text)),
                other => other,
            };
            Value::Object(map.into_iter().map(|(key, value)| (key, clipped(value))).collect())
        }
        Value::String(text) => Value::String(clip(&text)),
        other => other,
    }
}

/// How a program's work began, as the built-in agent would say it.
pub(crate) fn started(program: String, model: &str, instruction: &str, workdir: &str) -> Event {
    Event::Started {
        version: EVENTS_VERSION,
        program,
        model: model.to_owned(),
        wire: String::new(),
        instruction: clip(instruction),
        system: String::new(),
        tools: json!([]),
        workdir: workdir.to_owned(),
    }
}
